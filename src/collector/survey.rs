//! What discovery would find right now, for the subcommand `check`. Nothing is followed and nothing is changed.

use super::docker::{self, Api, explain};
use super::monitor::{Facts, Labels, Own, Rules, Verdict};
use super::{Way, containers_dir, way};
use crate::config::Config;
use crate::source::Container;
use bollard::Docker;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest that Docker's API may take for all questions together.
const API_PATIENCE: Duration = Duration::from_secs(5);

/// What discovery finds, and how.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Number of containers in the containers directory, or why it cannot be read and what to do about it.
    pub directory: Result<usize, String>,
    /// Address and version of Docker's API, or why it cannot be used; `None` when it is not to be used.
    pub api: Option<Result<String, String>>,
    /// Containers that are collected, by name.
    pub containers: Vec<Surveyed>,
    /// Containers that match but are left out: name and reason.
    pub excluded: Vec<(String, String)>,
    /// Containers that do not match: name and service, by name. What a person may have meant is among them.
    pub others: Vec<(String, String)>,
    /// What could not be looked at.
    pub problems: Vec<String>,
}

/// A container that is collected.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// What is known of it, log driver and `max-size` included.
    pub container: Arc<Container>,
    /// Whether the containers directory shows it.
    pub in_directory: bool,
    /// Whether Docker's API shows it.
    pub in_api: bool,
    /// How its log is read, or why it cannot be.
    pub log: Result<LogAccess, String>,
}

/// How a log is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogAccess {
    /// From this file, which can be opened or is not there yet.
    File(PathBuf),
    /// By Docker's API.
    Stream,
}

/// Looks at what matches now.
pub async fn survey(config: &Config) -> Survey {
    let rules = Rules::new(&config.target_service, Own::detect());
    look(&config.containers_dir, Api::of(&config.docker_host).as_ref(), &rules).await
}

pub(super) async fn look(dir: &Path, api: Option<&Api>, rules: &Rules) -> Survey {
    let mut findings = Findings::default();
    let directory = findings.of_directory(dir);
    let api_state = match api {
        None => None,
        Some(api) => Some(findings.of_api(api, rules).await),
    };
    let usable = api.filter(|_| matches!(api_state, Some(Ok(_))));
    let mut survey = Survey {
        directory,
        api: api_state,
        containers: Vec::new(),
        excluded: Vec::new(),
        others: Vec::new(),
        problems: findings.problems,
    };
    for (facts, in_directory, in_api) in findings.found.into_values() {
        let container = facts.container();
        let exclude = |why: &str| (facts.name.clone(), why.to_owned());
        match rules.judge(&facts) {
            Verdict::Collect => {
                let log = match way(&facts, dir, usable, false, false) {
                    Ok(Way::File(path)) => Ok(LogAccess::File(path)),
                    Ok(Way::Stream(_)) => Ok(LogAccess::Stream),
                    Err(why) => Err(why),
                };
                survey.containers.push(Surveyed { container, in_directory, in_api, log });
            }
            Verdict::Disabled => survey.excluded.push(exclude("label rask.enabled is false")),
            Verdict::Own => survey.excluded.push(exclude("it is the forwarder itself")),
            Verdict::Other => survey.others.push((container.name.clone(), container.service.clone())),
        }
    }
    survey.others.extend(findings.others.into_values());
    survey.others.sort();
    survey.containers.sort_by(|a, b| a.container.name.cmp(&b.container.name));
    survey
}

#[derive(Default)]
struct Findings {
    /// By id: what it is, whether the directory shows it, whether the API does.
    found: BTreeMap<String, (Facts, bool, bool)>,
    /// By id: name and service of those of which only the API knows, and that do not match.
    others: BTreeMap<String, (String, String)>,
    problems: Vec<String>,
}

impl Findings {
    fn of_directory(&mut self, dir: &Path) -> Result<usize, String> {
        let all = containers_dir::everything(dir)
            .map_err(|error| format!("{}: {error}; {}", dir.display(), containers_dir::CURE))?;
        let count = all.len();
        let mut closed = 0;
        for (id, facts) in all {
            match facts {
                Ok(facts) => {
                    self.found.insert(id, (facts, true, false));
                }
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => closed += 1,
                Err(error) => self.problems.push(format!("container {}: {error}", super::short(&id))),
            }
        }
        if closed > 0 {
            let cure = containers_dir::CURE;
            self.problems.push(format!("{closed} of {count} containers in {} are closed to us: {cure}", dir.display()));
        }
        Ok(count)
    }

    async fn of_api(&mut self, api: &Api, rules: &Rules) -> Result<String, String> {
        let questions = async {
            let docker = api.connect().await?;
            self.ask(&docker, rules).await?;
            Ok(format!("{api}, version {}", docker.client_version()))
        };
        match tokio::time::timeout(API_PATIENCE, questions).await {
            Ok(answer) => answer.map_err(|error: bollard::errors::Error| format!("{api}: {}", explain(&error))),
            Err(_) => Err(format!("{api}: no answer in {} s", API_PATIENCE.as_secs())),
        }
    }

    async fn ask(&mut self, docker: &Docker, rules: &Rules) -> Result<(), bollard::errors::Error> {
        for facts in docker::candidates(docker, rules).await? {
            let entry = self.found.entry(facts.id.clone()).or_insert((facts, false, false));
            entry.2 = true;
        }
        for (id, name, labels) in docker::everything(docker).await? {
            if let Some(entry) = self.found.get_mut(&id) {
                entry.2 = true;
                continue;
            }
            let Labels { compose_service, service, .. } = labels;
            let service = compose_service.or(service).unwrap_or_else(|| name.clone());
            self.others.insert(id, (name, service));
        }
        Ok(())
    }
}
