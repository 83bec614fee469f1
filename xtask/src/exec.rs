//! Running other programs, and where the repository is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// The repository's root: the folder above this crate's.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Whether a program of that name is on the path.
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
}

/// The first executable of that name on the path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Runs a command with the caller's own output; anything but success is a failure that quotes the command.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("`{}`: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", shown(command)).into()) }
}

/// Runs a command and gives what it wrote to standard output.
pub(crate) fn read(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("`{}`: {error}", shown(command)))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let told = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{}` ended with {}: {}", shown(command), output.status, told.trim()).into())
    }
}

/// The command as a person would type it, for messages.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Cargo as the one that runs us, so that a chore never mixes toolchains.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The binary that is given, or the debug one, built.
pub(crate) fn flyball(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => Ok(path),
        None => {
            run(cargo().args(["build", "--quiet", "--locked", "-p", "flyball"]))?;
            Ok(root().join("target/debug/flyball"))
        }
    }
}
