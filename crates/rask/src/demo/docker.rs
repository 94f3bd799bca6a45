//! Real containers that run `rask gen`, by way of the `docker` command: the demo does what a person would type.

use super::{Options, SERVICES, new_run};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Label of every container that the demo starts.
const LABEL: &str = "rask.demo=1";

/// Where the daemon keeps its containers. Errors say what to do: no Docker, no image, no right to read.
pub(super) fn containers_dir(image: &str) -> io::Result<PathBuf> {
    let root = docker(&["info", "--format", "{{.DockerRootDir}}"])
        .map_err(|error| io::Error::other(format!("Docker is not usable here: {error}")))?;
    docker(&["image", "inspect", "--format", "{{.Id}}", image]).map_err(|_| {
        io::Error::other(format!("there is no image {image}: run deploy/base-images.sh, or name another with --image"))
    })?;
    let dir = Path::new(root.trim()).join("containers");
    fs::read_dir(&dir)
        .map_err(|error| io::Error::other(format!("{} cannot be read ({error}): try as root", dir.display())))?;
    Ok(dir)
}

/// Containers of the three services; dropping it removes them.
pub(super) struct Containers {
    names: Vec<String>,
    reports: PathBuf,
}

impl Containers {
    pub(super) fn start(image: &str, dir: &Path, options: &Options) -> io::Result<Self> {
        let reports = dir.join("reports");
        fs::create_dir_all(&reports)?;
        let program = format!("{}:/rask:ro", std::env::current_exe()?.display());
        let mut containers = Self { names: Vec::new(), reports };
        for service in SERVICES {
            let run = new_run();
            let name = format!("rask-demo-{}-{run}", service.name);
            containers.names.push(name.clone());
            let (max_size, max_file) =
                (format!("max-size={}", options.max_size), format!("max-file={}", service.max_file));
            let compress = format!("compress={}", service.compress);
            let (label, group) = (format!("com.docker.compose.service={}", service.name), "rask.group=demo");
            let reports = format!("{}:/reports", containers.reports.display());
            let rate = (options.rate / SERVICES.len() as u64).max(1).to_string();
            let (share, report) = (service.stderr_share.to_string(), format!("/reports/{}.json", service.name));
            let format = clap::ValueEnum::to_possible_value(&service.format);
            let format = format.as_ref().map_or("plain", |value| value.get_name()).to_owned();
            #[rustfmt::skip]
            docker(&[
                "run", "--detach", "--pull", "never", "--name", &name, "--network", "none",
                "--label", LABEL, "--label", &label, "--label", group,
                "--log-driver", "json-file", "--log-opt", &max_size, "--log-opt", &max_file, "--log-opt", &compress,
                "--volume", &program, "--volume", &reports, "--entrypoint", "/rask", image,
                "gen", "--format", &format, "--rate", &rate, "--stderr-share", &share, "--run", &run, "--report", &report,
            ])?;
        }
        Ok(containers)
    }

    /// Stops them and says how many events each wrote.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u64>> {
        let names = self.names.iter().map(String::as_str);
        docker(&["stop"].into_iter().chain(names).collect::<Vec<_>>())?;
        SERVICES
            .iter()
            .map(|service| {
                let report = fs::read(self.reports.join(format!("{}.json", service.name)))?;
                let report: serde_json::Value = serde_json::from_slice(&report)?;
                Ok(report["stdout"].as_u64().unwrap_or(0) + report["stderr"].as_u64().unwrap_or(0))
            })
            .collect()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let names = self.names.iter().map(String::as_str);
        let _ = docker(&["rm", "--force", "--volumes"].into_iter().chain(names).collect::<Vec<_>>());
    }
}

fn docker(args: &[&str]) -> io::Result<String> {
    let output = Command::new("docker").args(args).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("docker {}: {}", args[0], String::from_utf8_lossy(&output.stderr).trim())))
}
