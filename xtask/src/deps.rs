//! The system packages that tests use. Installed where we may; told where we may not, and then those tests are skipped.

use std::process::{Command, Stdio};

use crate::{Failure, exec};

/// A program, the Debian package that brings it, and what can't run without it.
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
    for_what: &'static str,
}

/// No program of its own brings it: Python says whether it can make environments.
const VENV: &str = "python3 -m ensurepip";

const NEEDS: &[Need] = &[
    Need { program: "git", package: "git", for_what: "every test on a repository" },
    Need { program: "tmux", package: "tmux", for_what: "every test of a screen: `flyball watch` and `run`'s terminal" },
    Need {
        program: "vim",
        package: "vim",
        for_what: "the test of an editor on `run`'s terminal, and sameness of how editors save",
    },
    Need { program: "rg", package: "ripgrep", for_what: "the run of ripgrep under governance, and its workload" },
    Need { program: "zip", package: "zip", for_what: "sameness of archives" },
    Need { program: "unzip", package: "unzip", for_what: "sameness of archives" },
    Need { program: "setfattr", package: "attr", for_what: "sameness of archives" },
    Need { program: "sqlite3", package: "sqlite3", for_what: "sameness of databases" },
    Need { program: "script", package: "bsdutils", for_what: "sameness of how editors save" },
    Need { program: "python3", package: "python3", for_what: "sameness of Python and of single calls" },
    Need { program: VENV, package: "python3-venv", for_what: "the MCP servers and clients of Python" },
    Need { program: "npm", package: "npm", for_what: "agent programs, and the MCP servers and clients of node" },
    Need { program: "cvc5", package: "cvc5", for_what: "`flyball check --prove` against a solver" },
    Need { program: "make", package: "make", for_what: "sameness of C builds" },
    Need { program: "cc", package: "gcc", for_what: "the ledger on a file layer that fails or forgets" },
    Need {
        program: "strace",
        package: "strace",
        for_what: "apply and rollback with each of their calls failed or cut off",
    },
    Need { program: "ssh-keygen", package: "openssh-client", for_what: "answers signed by people's SSH keys" },
    Need { program: "bwrap", package: "bubblewrap", for_what: "the baseline beside Flyball in the workloads" },
];

/// Large ones, for the long workloads of `cargo xtask same`.
const NEEDS_OF_SAME: &[Need] = &[
    Need { program: "go", package: "golang-go", for_what: "sameness of Go builds" },
    Need { program: "javac", package: "default-jdk-headless", for_what: "sameness of Java builds" },
    Need { program: "chromium", package: "chromium", for_what: "sameness of a browser" },
    Need { program: "pg_lsclusters", package: "postgresql", for_what: "sameness of PostgreSQL" },
];

/// Installs what is missing of the small ones; gives what still is.
pub(crate) fn install() -> Result<Vec<&'static Need>, Failure> {
    install_from(NEEDS)
}

/// Installs what is missing for every workload of `cargo xtask same`; gives what still is.
pub(crate) fn install_for_same() -> Result<Vec<&'static Need>, Failure> {
    Ok([install_from(NEEDS)?, install_from(NEEDS_OF_SAME)?].concat())
}

fn install_from(needs: &'static [Need]) -> Result<Vec<&'static Need>, Failure> {
    let missing = still_missing(needs);
    if missing.is_empty() {
        return Ok(missing);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let Some(prefix) = root_prefix() else {
        return Ok(missing);
    };
    for arguments in
        [vec!["update", "-qq"], [vec!["install", "-y", "-qq", "--no-install-recommends"], packages].concat()]
    {
        let mut command = apt(prefix);
        command.args(&arguments);
        if let Err(failure) = exec::run(&mut command) {
            // A machine without the registry still runs every other test.
            eprintln!("deps: {failure}");
        }
    }
    Ok(still_missing(needs))
}

/// Says what can't run without the packages that are missing.
pub(crate) fn tell(missing: &[&Need]) {
    for need in missing {
        eprintln!(
            "deps: `{}` (Debian package {}) is not here; skipped without it: {}",
            need.program, need.package, need.for_what
        );
    }
}

fn still_missing(needs: &'static [Need]) -> Vec<&'static Need> {
    needs.iter().filter(|need| !is_here(need)).collect()
}

fn is_here(need: &Need) -> bool {
    match need.program {
        VENV => exec::read(Command::new("python3").args(["-c", "import ensurepip"])).is_ok(),
        program => exec::has(program),
    }
}

/// The words before `apt-get` that make it root's: none for root, `sudo -n` where that asks for no password.
fn root_prefix() -> Option<&'static [&'static str]> {
    if !exec::has("apt-get") {
        return None;
    }
    let is_root = exec::read(Command::new("id").arg("-u")).is_ok_and(|told| told.trim() == "0");
    if is_root {
        return Some(&[]);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    sudo.status().is_ok_and(|status| status.success()).then_some(&["sudo", "-n"])
}

fn apt(prefix: &[&str]) -> Command {
    let words: Vec<&str> = prefix.iter().copied().chain(["apt-get"]).collect();
    let (program, rest) = words.split_first().unwrap_or((&"apt-get", &[]));
    let mut command = Command::new(program);
    command.args(rest).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    command
}
