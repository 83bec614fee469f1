//! The agent programs that the end-to-end tests run unmodified, installed into `.agents/` from a lock with digests.
//!
//! Install scripts stay off: the platform's package holds the program itself, and `.agents/bin/NAME` links to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, exec};

const CLAUDE_VERSION: &str = "2.1.197";

/// Installs what is missing or of another version; does nothing where all is as pinned.
pub(crate) fn install() -> Result<(), Failure> {
    let folder = folder();
    if is_installed(&folder) {
        println!("agents: claude {CLAUDE_VERSION} is in {}", folder.display());
        return Ok(());
    }
    if !exec::has("npm") {
        return Err("`npm` is not on the path, and agent programs come from its registry: install node and npm".into());
    }
    std::fs::create_dir_all(folder.join("bin")).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    for name in ["package.json", "package-lock.json"] {
        let from = exec::root().join("xtask/agents").join(name);
        std::fs::copy(&from, folder.join(name)).map_err(|error| format!("`{}`: {error}", from.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    exec::run(&mut npm)?;
    link(&program_installed(&folder)?, &folder.join("bin/claude"))?;
    if !is_installed(&folder) {
        return Err(
            format!("`{}` does not say that it is {CLAUDE_VERSION}", folder.join("bin/claude").display()).into()
        );
    }
    println!("agents: installed claude {CLAUDE_VERSION} in {}", folder.display());
    Ok(())
}

fn folder() -> PathBuf {
    exec::root().join(".agents")
}

/// Whether the pinned version answers, installed from the lock as it stands now.
fn is_installed(folder: &Path) -> bool {
    let lock = std::fs::read(exec::root().join("xtask/agents/package-lock.json")).ok();
    let is_same_lock = lock.is_some() && lock == std::fs::read(folder.join("package-lock.json")).ok();
    let scratch = std::env::temp_dir();
    let told = exec::read(Command::new(folder.join("bin/claude")).arg("--version").env("HOME", scratch));
    is_same_lock && told.is_ok_and(|told| told.split_whitespace().next() == Some(CLAUDE_VERSION))
}

/// The one program among the platform packages that npm chose for this machine.
fn program_installed(folder: &Path) -> Result<PathBuf, Failure> {
    let packages = folder.join("node_modules/@anthropic-ai");
    let found = std::fs::read_dir(&packages).map_err(|error| format!("`{}`: {error}", packages.display()))?;
    let mut programs: Vec<PathBuf> = found
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("claude-code-")))
        .map(|path| path.join("claude"))
        .filter(|program| program.is_file())
        .collect();
    // Where both C libraries' packages came, the one named plainly is the common one, and sorts first.
    programs.sort();
    programs.into_iter().next().ok_or_else(|| "npm brought no program for this platform".into())
}

fn link(program: &Path, name: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::os::unix::fs::symlink(program, name).map_err(|error| format!("`{}`: {error}", name.display()).into())
}
