//! The part that runs beside the workload, plainly or inside the session: it starts the script, and then tells how that
//! ended and what the tree looks like from there.

use crate::tree::Tree;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The word that makes this binary that part, and no test run.
pub const WORD: &str = "same-inside";
/// What the line with the report begins with.
const MARK: &str = "SAME-REPORT ";

/// What a workload left behind.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The exit code, or 128 and the signal's number.
    pub code: i32,
    pub stdout: String,
    pub tree: Tree,
}

/// Runs the script with the working directory as it is, and prints the report.
pub fn run(script: &OsStr) {
    let child = Command::new("sh").arg("-eu").arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default());
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = Report { code, stdout, tree: Tree::read(Path::new(".")) };
    println!("\n{MARK}{}", serde_json::to_string(&report).unwrap());
}

/// The report in what was printed.
pub fn report(stdout: &[u8]) -> Option<Report> {
    let text = String::from_utf8_lossy(stdout);
    text.lines().find_map(|line| serde_json::from_str(line.strip_prefix(MARK)?).ok())
}
