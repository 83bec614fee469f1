//! The charters of `charters/`: each compiles, its examples hold, each rule is shown stopping something and letting
//! something pass, and its README's table is made from those examples.

use crate::render;
use flyball_kernel::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const BEGIN: &str =
    "<!-- The table is made from the examples: FLYBALL_WRITE=1 cargo test -p flyball-kernel library -->\n";
const END: &str = "<!-- end of the table -->\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charters")
}

fn names() -> Vec<String> {
    let all = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let mut names: Vec<String> = all.map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert!(names.len() >= 2, "{names:?}");
    names
}

fn sources(name: &str) -> Sources {
    let files = std::fs::read_dir(folder().join(name)).unwrap().map(|e| e.unwrap().path());
    let is_ours = |p: &PathBuf| p.extension().is_some_and(|e| e == "cedar" || e == "toml");
    let named =
        |p: PathBuf| (p.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&p).unwrap());
    files.filter(is_ours).map(named).collect()
}

#[test]
fn every_charter_of_the_library_holds() {
    for name in names() {
        let sources = sources(&name);
        let (charter, warnings) = Charter::compile(&sources).unwrap_or_else(|e| panic!("{name}\n{}", render(&e)));
        assert!(warnings.0.is_empty(), "{name}\n{}", render(&warnings));
        assert_eq!(charter.default_verdict(), DefaultVerdict::Deny, "{name}");
        let outcomes = check_examples(&charter);
        let wrong: Vec<_> = outcomes.iter().filter(|o| !o.passed).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        both_ways(&name, &charter, &outcomes);
        table_is_theirs(&name, &sources, &outcomes);
    }
}

/// Each rule, envelope and budget stops at least one example, and lets at least one pass that it has a say in.
fn both_ways(name: &str, charter: &Charter, outcomes: &[ExampleOutcome]) {
    let verb = |o: &ExampleOutcome| o.attempt.split('(').next().unwrap().to_owned();
    let passes = |o: &ExampleOutcome| o.got.verdict == Verdict::Allow;
    let names_it = |o: &ExampleOutcome, id: &str| o.got.reasons.iter().any(|r| r.rule == id);
    let mut lacking = Vec::new();
    for rule in charter.rules() {
        let of_it = || outcomes.iter().filter(|o| rule.verbs.contains(&verb(o).as_str()));
        let (stops, lets) = match rule.effect {
            RuleEffect::Forbid => (of_it().any(|o| !passes(o) && names_it(o, &rule.id)), of_it().any(passes)),
            // What a permit leaves out is stopped by the default. What people agree to when they are asked passes by it.
            RuleEffect::Permit => {
                (true, of_it().any(|o| (passes(o) && names_it(o, &rule.id)) || o.got.verdict == Verdict::Hold))
            }
        };
        if !stops || !lets {
            // A rule that is asked about each time lets pass what people answer: nothing of it can be an example.
            let always_asks = rule.escalate.is_some() && stops;
            if !always_asks {
                lacking.push(format!("{} (stops {stops}, lets pass {lets})", rule.id));
            }
        }
    }
    for section in ["envelope", "budget"] {
        let text = &sources(name)["charter.toml"];
        for header in text.lines().filter_map(|l| l.strip_prefix(&format!("[{section}."))?.strip_suffix(']')) {
            if !outcomes.iter().any(|o| !passes(o) && names_it(o, header)) {
                lacking.push(format!("{section} {header}"));
            }
        }
    }
    assert!(lacking.is_empty(), "{name}: without an example: {lacking:#?}");
}

fn table_is_theirs(name: &str, sources: &Sources, outcomes: &[ExampleOutcome]) {
    let path = folder().join(name).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap_or_else(|| panic!("{name}: README.md has no table"));
    let (_, after) = rest.split_once(END).unwrap();
    let made = format!("{before}{BEGIN}{}{END}{after}", table(sources, outcomes));
    if std::env::var_os("FLYBALL_WRITE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(now == made, "{name}: README.md's table is not what the examples are: FLYBALL_WRITE=1 writes it");
}

fn table(sources: &Sources, outcomes: &[ExampleOutcome]) -> String {
    let toml: toml::Table = sources["charter.toml"].parse().unwrap();
    let given: Vec<Vec<String>> = toml["example"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e.get("given").and_then(|g| g.as_array()).into_iter().flatten())
        .map(|given| given.map(|g| g.as_str().unwrap().to_owned()).collect())
        .collect();
    let mut rows: BTreeMap<u8, BTreeSet<(usize, String)>> = BTreeMap::new();
    for (outcome, given) in outcomes.iter().zip(&given) {
        let verdict = format!("{:?}", outcome.got.verdict).to_lowercase();
        let by: Vec<&str> = outcome.got.reasons.iter().map(|r| r.rule.as_str()).collect();
        let after = given.iter().map(|g| format!("`{g}`")).collect::<Vec<_>>().join(", ");
        let row = format!("| {verdict} | `{}` | {after} | {} |", outcome.attempt, by.join(", "));
        let order = if outcome.got.verdict == Verdict::Allow { 1 } else { 0 };
        rows.entry(order).or_default().insert((outcome.index, row.replace("  ", " ")));
    }
    let mut out = String::new();
    for (order, rows) in rows {
        writeln!(out, "\n**{}**\n", if order == 0 { "Stops" } else { "Lets through" }).unwrap();
        writeln!(out, "| ruling | attempted | after | by |\n|---|---|---|---|").unwrap();
        rows.iter().for_each(|(_, row)| writeln!(out, "{row}").unwrap());
    }
    out + "\n"
}
