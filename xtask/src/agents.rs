//! The agent programs that the end-to-end tests run unmodified, installed into `.agents/` from locks with digests.
//!
//! Install scripts stay off: the platform's package holds the program itself, and `.agents/bin/NAME` links to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, exec};

/// An agent program: its pin, and where npm puts what holds it.
struct Agent {
    /// The name in `.agents/bin`.
    name: &'static str,
    version: &'static str,
    /// The folder with its lock below `xtask/agents`, and below `.agents`.
    lock: &'static str,
    /// Folder with one package per platform, below `node_modules`, and how their names begin.
    packages: &'static str,
    begins: &'static str,
    /// Where in such a package the program is; `*` is any one folder.
    program: &'static [&'static str],
}

const CLAUDE: Agent = Agent {
    name: "claude",
    version: "2.1.197",
    lock: "",
    packages: "@anthropic-ai",
    begins: "claude-code-",
    program: &["claude"],
};

const CODEX: Agent = Agent {
    name: "codex",
    version: "0.169.0",
    lock: "codex",
    packages: "@openai",
    begins: "codex-",
    program: &["vendor", "*", "bin", "codex"],
};

/// A program of node's, the same on every platform.
const GEMINI: Agent = Agent {
    name: "gemini",
    version: "0.61.0",
    lock: "gemini",
    packages: "@google",
    begins: "gemini-cli",
    program: &["bundle", "gemini.js"],
};

/// Installs what every test run uses; does nothing where all is as pinned.
pub(crate) fn install() -> Result<(), Failure> {
    let (readers, mcp) = (install_readers(), install_mcp());
    install_one(&CLAUDE).and(mcp).and(readers)
}

/// Others' readers of what Flyball writes (attestations, exports), into `.agents/readers/py`.
fn install_readers() -> Result<(), Failure> {
    let (from, folder) = (exec::root().join("xtask/agents/readers"), exec::root().join(".agents/readers"));
    // Written last, so that what stands there was installed to its end.
    let done = folder.join("installed");
    let wanted = std::fs::read(from.join("requirements.txt"))?;
    if std::fs::read(&done).is_ok_and(|had| had == wanted) {
        println!("agents: readers of attestations and exports are in {}", folder.display());
        return Ok(());
    }
    if !exec::has("python3") {
        return Err("`python3` brings the readers of attestations and exports: install it".into());
    }
    std::fs::create_dir_all(&folder)?;
    let requirements = from.join("requirements.txt");
    exec::run(Command::new("python3").current_dir(&folder).args(["-m", "venv", "py"]))?;
    let mut pip = Command::new(folder.join("py/bin/pip"));
    exec::run(pip.args(["install", "-q", "--disable-pip-version-check", "-r"]).arg(requirements))?;
    std::fs::write(&done, wanted)?;
    println!("agents: installed readers of attestations and exports in {}", folder.display());
    Ok(())
}

/// Installs every agent, also the ones that only the long runs use for their size.
pub(crate) fn install_all() -> Result<(), Failure> {
    install()?;
    install_one(&CODEX)?;
    install_one(&GEMINI)
}

/// What the tests put on both sides of the MCP gateway, into `.agents/mcp`: servers, clients and the conformance suite, with the node
/// that it needs.
fn install_mcp() -> Result<(), Failure> {
    let (from, folder) = (exec::root().join("xtask/agents/mcp"), exec::root().join(".agents/mcp"));
    let files = ["package.json", "package-lock.json", "requirements.txt"];
    // Written last, so that what stands there was installed to its end.
    let done = folder.join("installed");
    let wanted: Vec<u8> = files.iter().filter_map(|file| std::fs::read(from.join(file)).ok()).flatten().collect();
    if std::fs::read(&done).is_ok_and(|had| had == wanted) {
        println!("agents: MCP servers and clients are in {}", folder.display());
        return Ok(());
    }
    if !exec::has("npm") || !exec::has("python3") {
        return Err("`npm` and `python3` bring the MCP servers and clients: install both".into());
    }
    std::fs::create_dir_all(&folder)?;
    for file in files {
        std::fs::copy(from.join(file), folder.join(file))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    exec::run(&mut npm)?;
    exec::run(Command::new("python3").current_dir(&folder).args(["-m", "venv", "py"]))?;
    exec::run(Command::new("py/bin/pip").current_dir(&folder).args(["install", "-q", "-r", "requirements.txt"]))?;
    std::fs::write(&done, wanted)?;
    println!("agents: installed MCP servers and clients in {}", folder.display());
    Ok(())
}

fn install_one(agent: &Agent) -> Result<(), Failure> {
    let Agent { name, version, .. } = agent;
    let bin = exec::root().join(".agents/bin");
    let folder = exec::root().join(".agents").join(agent.lock);
    let program = bin.join(name);
    if is_installed(agent, &folder, &program) {
        println!("agents: {name} {version} is in {}", folder.display());
        return Ok(());
    }
    if !exec::has("npm") {
        return Err("`npm` is not on the path, and agent programs come from its registry: install node and npm".into());
    }
    for folder in [&bin, &folder] {
        std::fs::create_dir_all(folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    }
    for file in ["package.json", "package-lock.json"] {
        let from = exec::root().join("xtask/agents").join(agent.lock).join(file);
        std::fs::copy(&from, folder.join(file)).map_err(|error| format!("`{}`: {error}", from.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    exec::run(&mut npm)?;
    link(&program_installed(agent, &folder)?, &program)?;
    if !is_installed(agent, &folder, &program) {
        return Err(format!("`{}` does not say that it is {version}", program.display()).into());
    }
    println!("agents: installed {name} {version} in {}", folder.display());
    Ok(())
}

/// Whether the pinned version answers, installed from the lock as it stands now.
fn is_installed(agent: &Agent, folder: &Path, program: &Path) -> bool {
    let lock = std::fs::read(exec::root().join("xtask/agents").join(agent.lock).join("package-lock.json")).ok();
    let is_same_lock = lock.is_some() && lock == std::fs::read(folder.join("package-lock.json")).ok();
    let scratch = std::env::temp_dir();
    let told = exec::read(Command::new(program).arg("--version").env("HOME", scratch));
    is_same_lock && told.is_ok_and(|told| told.split_whitespace().any(|word| word == agent.version))
}

/// The one program among the platform packages that npm chose for this machine.
fn program_installed(agent: &Agent, folder: &Path) -> Result<PathBuf, Failure> {
    let mut found: Vec<PathBuf> = entries(&folder.join("node_modules").join(agent.packages))?;
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(agent.begins)));
    for part in agent.program {
        found = match *part {
            "*" => found.iter().filter_map(|path| entries(path).ok()).flatten().collect(),
            part => found.iter().map(|path| path.join(part)).filter(|path| path.exists()).collect(),
        };
    }
    // Where both C libraries' packages came, the one named plainly is the common one, and sorts first.
    found.sort();
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| "npm brought no program for this platform".into())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let found = std::fs::read_dir(folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    Ok(found.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
}

fn link(program: &Path, name: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::os::unix::fs::symlink(program, name).map_err(|error| format!("`{}`: {error}", name.display()).into())
}
