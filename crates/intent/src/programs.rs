//! Which reader reads which program.

use crate::reading::{Command, Reading};

pub(crate) mod agents;
mod deploy;
mod effects;
mod files;
mod git;
mod github;
mod network;
pub(crate) mod packages;
mod sed;
mod wrappers;

/// Adds what a well-known program implies with these arguments. Any other implies nothing beyond that it runs.
pub(crate) fn read(to: &mut Reading<'_>, command: &Command) {
    match command.program.as_str() {
        "git" => git::read(to, command),
        "gh" => github::read(to, command),
        "npm" | "pnpm" | "yarn" | "bun" | "pip" | "pipx" | "uv" | "poetry" | "cargo" | "go" => {
            agents::of_runner(to, command);
            packages::read(to, command);
        }
        "kubectl" | "oc" | "helm" | "terraform" | "tofu" | "docker" | "podman" | "docker-compose" => {
            deploy::read(to, command);
        }
        "curl" | "wget" | "ssh" | "scp" | "sftp" | "rsync" | "nc" | "ncat" | "netcat" | "telnet" => {
            network::read(to, command);
        }
        "sh" | "bash" | "dash" | "zsh" | "ash" | "ksh" => wrappers::shell(to, command),
        "python3" | "node" | "perl" | "ruby" | "php" => wrappers::interpreter(to, command),
        _ => {
            if !wrappers::read(to, command) && !agents::read(to, command) && !effects::read(to, command) {
                files::read(to, command);
            }
        }
    }
}
