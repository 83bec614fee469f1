//! The corpus of `dogwood-language`, translated by the workspace in `oracle/`, through our kernel.

use super::Closing;
use crate::{Failure, exec};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const STORED: &str = "crates/kernel/tests/dogwood/cases.jsonl";

/// Translates the corpus anew, stores it for `cargo test`, adds changed traces that their engine rules on, compares, and
/// writes docs/oracle.md.
pub(super) fn compare(rest: &[String]) -> Result<Closing, Failure> {
    if rest == ["--stored"] {
        return judge(&exec::root().join(STORED), "0");
    }
    let mutants = match rest {
        [] => "20",
        [flag, n] if flag == "--mutants" && n.parse::<u32>().is_ok() => n,
        _ => return Err("`oracle dogwood` takes `--mutants N`, changed traces for each case, or `--stored`: the cases as they were translated last".into()),
    };
    let program = build()?;
    let stored = exec::read(Command::new(&program).arg("cases"))?;
    std::fs::write(exec::root().join(STORED), &stored)?;
    let folder = exec::root().join("target/oracle");
    let cases = folder.join("cases.jsonl");
    std::fs::write(&cases, exec::read(Command::new(&program).args(["cases", "--mutants", mutants]))?)?;
    judge(&cases, mutants)
}

/// Puts the translated cases to our kernel, and writes the page.
fn judge(cases: &Path, mutants: &str) -> Result<Closing, Failure> {
    let told = exec::root().join("target/oracle/told.json");
    let mut command = exec::cargo();
    command.args(["test", "--release", "--locked", "-p", "flyball-kernel", "--test", "kernel", "--", "dogwood"]);
    command.env("FLYBALL_DOGWOOD_CASES", cases).env("FLYBALL_DOGWOOD_TOLD", &told);
    exec::run(&mut command)?;
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&told)?)?;
    let (page, closing) = page(&told, mutants);
    std::fs::write(exec::root().join("docs/oracle.md"), page)?;
    Ok(Closing::Same(closing))
}

/// Builds what stands in the workspace of its own.
pub(crate) fn build() -> Result<PathBuf, Failure> {
    let target = exec::root().join("target/oracle");
    let mut command = exec::cargo();
    command.args(["build", "--release", "--locked"]).current_dir(exec::root().join("oracle"));
    exec::run(command.env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join("release/flyball-oracle"))
}

fn page(told: &serde_json::Value, mutants: &str) -> (String, String) {
    let number = |name: &str| told[name].as_u64().unwrap_or_default();
    let same = told["same"].as_array().map_or(0, Vec::len);
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, reason) in told["left_out"].as_object().into_iter().flatten() {
        by_reason.entry(reason.as_str().unwrap_or_default()).or_default().push(name);
    }
    let of_theirs = "policies that its own parser must refuse";
    let refused = by_reason.remove(of_theirs).map_or(0, |names| names.len());
    let left_out: usize = by_reason.values().map(Vec::len).sum();
    let closing = format!(
        "{same} of {} cases translated, {} traces, {} verdicts equal, {} sums beyond 64 bits refused; {left_out} left out",
        same + left_out,
        number("traces"),
        number("verdicts") - number("overflowed"),
        number("overflowed"),
    );
    let (how, changed) = match mutants {
        "0" => ("--stored".to_owned(), String::new()),
        n => (format!("--mutants {n}"), format!(", and rules on {n} random changes of each case's traces as well")),
    };
    let mut out = format!(
        "# Oracles\n\n\
         `cargo xtask oracle` holds Flyball's language against what others wrote; the short forms run with every `cargo test`.\n\n\
         ## dogwood\n\n\
         `cargo xtask oracle dogwood {how}`: the corpus inside the crate `dogwood-language` 1.1.0 (Apache-2.0), translated by\n\
         `oracle/`, a workspace of its own. Each event of theirs is an attempt of ours, each temporal condition becomes facts, each\n\
         policy a rule; after each event that theirs rules on, the same request is put to our kernel. Their own engine has to give the\n\
         corpus's verdicts when they are translated{changed}.\n\n\
         {closing}. Beside these, {refused} cases of the corpus hold policies that its own parser must refuse.\n\n\
         Where a sum leaves 64 bits, theirs goes on in 128 and ours refuses the action.\n\n\
         Left out, by reason:\n",
    );
    let mut reasons: Vec<(&str, Vec<&str>)> = by_reason.into_iter().collect();
    reasons.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(b.0)));
    for (reason, names) in reasons {
        // Writing to a String can't fail.
        let _ = write!(out, "\n- **{reason}** ({}): {}\n", names.len(), names.join(", "));
    }
    (out, closing)
}
