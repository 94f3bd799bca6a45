//! The release binary, next to this program's own.

use std::path::PathBuf;
use std::process::Command;

/// Builds the forwarder and says where it is.
pub(crate) fn forwarder() -> std::io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["build", "--release", "--package", "rask-log-forwarder"]).status()?;
    if !status.success() {
        return Err(std::io::Error::other("the forwarder does not build"));
    }
    Ok(std::env::current_exe()?.with_file_name("rask-log-forwarder"))
}
