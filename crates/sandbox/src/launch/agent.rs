//! The last steps before the program: a session of its own, its confinement, the filter, and the exec, which is itself
//! mediated.

use super::confine;
use super::step::{At, Step};
use super::sys;
use super::wire::{self, Boot, Report};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::Access;
use rustix::process::DumpableBehavior;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Searched when the inner environment has no PATH, as execvp(3) does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Becomes the agent. Never returns.
pub(super) fn run(boot: &Boot, socket: OwnedFd, terminal: Option<OwnedFd>) -> ! {
    match prepare(boot, &socket, terminal) {
        Ok(Some(program)) => sys::exit_now(exec(boot, &socket, program)),
        Ok(None) => {}
        Err(failure) => {
            let _ = wire::write(&socket, &failure.report());
        }
    }
    sys::exit_now(126)
}

/// The program and what it is started with, as the kernel wants it.
struct Program {
    path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

fn prepare(boot: &Boot, socket: &OwnedFd, terminal: Option<OwnedFd>) -> Step<Option<Program>> {
    rustix::process::setsid().doing("starting a session")?;
    if let Some(terminal) = terminal {
        rustix::process::ioctl_tiocsctty(&terminal).doing("taking the terminal")?;
        rustix::stdio::dup2_stdin(&terminal).doing("taking the terminal")?;
        rustix::stdio::dup2_stdout(&terminal).doing("taking the terminal")?;
        rustix::stdio::dup2_stderr(&terminal).doing("taking the terminal")?;
        // Closed below, with all that is not 0, 1 or 2.
        std::mem::forget(terminal);
    }
    sys::reset_signals();
    confine::confine(boot)?;
    rustix::process::chdir(&boot.spec.cwd).at("entering the working directory", &boot.spec.cwd)?;
    // Looked up before the filter is on: each try afterwards would be a question.
    let program = match find(boot) {
        Ok(path) => Program {
            path: c_string(path.into_os_string()),
            argv: boot.spec.argv.iter().cloned().map(c_string).collect(),
            env: boot.spec.env.iter().map(|(name, value)| pair(name, value)).collect(),
        },
        Err(report) => {
            let _ = wire::write(socket, &report);
            return Ok(None);
        }
    };
    sys::close_from(3, &[socket.as_raw_fd()]).doing("closing descriptors")?;
    // An ordinary user's supervisor may take the listener only from a process that is open to it. Nothing else runs
    // inside yet, and this one holds nothing more.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).doing("opening the agent to the supervisor")?;
    Ok(Some(program))
}

/// Puts the filter on, waits for the go and runs the program; on failure the exit code that a shell would give.
fn exec(boot: &Boot, socket: &OwnedFd, program: Program) -> i32 {
    let filter: Vec<libc::sock_filter> =
        boot.filter.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    if boot.spec.gives {
        sys::same_addresses();
    }
    let listening = match sys::install_filter(&filter) {
        Ok(fd) => Report::Listening { fd },
        Err(error) => Report::Failed {
            step: "installing the filter".to_owned(),
            path: None,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        },
    };
    // `read` and `write` only: what else there is may by now be a question that nobody answers yet.
    if wire::write(socket, &listening).is_err() || !matches!(rustix::io::read(socket, &mut [0u8; 8]), Ok(1..)) {
        return 126;
    }
    let error = sys::execve(&program.path, &program.argv, &program.env);
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let _ = wire::write(socket, &Report::ExecFailed { errno });
    if errno == libc::ENOENT { 127 } else { 126 }
}

fn find(boot: &Boot) -> Result<PathBuf, Report> {
    let program = boot.spec.argv.first().map_or(OsStr::new(""), OsString::as_os_str);
    let not_found =
        |looked_in: String| Report::ProgramNotFound { program: program.to_string_lossy().into(), looked_in };
    if program.as_bytes().contains(&b'/') {
        return match runnable(Path::new(program)) {
            Ok(()) => Ok(PathBuf::from(program)),
            Err(libc::ENOENT | libc::ENOTDIR) => Err(not_found(format!("`{}`", boot.spec.cwd.display()))),
            Err(errno) => Err(Report::ProgramNotRunnable { program: program.to_string_lossy().into(), errno }),
        };
    }
    let path =
        boot.spec.env.iter().find(|(name, _)| name == "PATH").map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
    let mut refused = None;
    for dir in std::env::split_paths(path).filter(|_| !program.is_empty()) {
        let candidate = dir.join(program);
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(libc::ENOENT | libc::ENOTDIR) => {}
            Err(errno) => refused = refused.or(Some((candidate, errno))),
        }
    }
    Err(match refused {
        Some((candidate, errno)) => Report::ProgramNotRunnable { program: candidate.display().to_string(), errno },
        None => not_found(format!("PATH `{}`", path.to_string_lossy())),
    })
}

fn runnable(path: &Path) -> Result<(), i32> {
    let stat = rustix::fs::stat(path).map_err(|errno| errno.raw_os_error())?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(libc::EISDIR);
    }
    rustix::fs::access(path, Access::EXEC_OK).map_err(|errno| errno.raw_os_error())
}

fn pair(name: &OsStr, value: &OsStr) -> CString {
    let mut joined = name.to_owned();
    joined.push("=");
    joined.push(value);
    c_string(joined)
}

/// The supervisor has refused strings with a NUL; were one here, it would end there.
fn c_string(text: OsString) -> CString {
    let mut bytes = text.into_vec();
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    CString::new(bytes).unwrap_or_default()
}
