//! The laws on Rust source: who prints, what is pure, who is unsafe, how long a file grows.

use std::collections::BTreeSet;
use std::path::Path;

use super::Breach;
use super::lexer::{Source, is_word};
use super::tracked::Tracked;

/// Lines of shipped code and comment that a file may have: past a screenful of screens it has a seam.
const FILE_LINES_MAX: usize = 700;

/// Something that shipped code of some crates must not name.
struct Law {
    rule: &'static str,
    /// Words or paths, found as whole tokens.
    tokens: &'static [&'static str],
    is_bound: fn(&str) -> bool,
    remedy: &'static str,
}

const LAWS: &[Law] = &[
    Law {
        rule: "print",
        tokens: &[
            "print!",
            "println!",
            "eprint!",
            "eprintln!",
            "dbg!",
            "io::stdout",
            "io::stderr",
            "stdout()",
            "stderr()",
        ],
        is_bound: |krate| !matches!(krate, "crates/cli" | "xtask"),
        remedy: "only `cli` prints: give the value back to the caller",
    },
    Law {
        rule: "pure",
        tokens: &[
            "std::fs",
            "std::net",
            "std::thread",
            "std::process",
            "std::env",
            "std::os",
            "SystemTime",
            "Instant",
            "Timestamp::now",
            "Zoned::now",
            "rand",
            "getrandom",
        ],
        is_bound: is_pure,
        remedy: "this crate is pure: time, files and chance come in with the input",
    },
    Law {
        rule: "float",
        tokens: &["f32", "f64"],
        is_bound: is_pure,
        remedy: "floats differ between machines: use integers, checked",
    },
    Law {
        rule: "hash-order",
        tokens: &["HashMap", "HashSet", "hash_map", "hash_set", "RandomState"],
        is_bound: is_pure,
        remedy: "its order is random, and a ruling must not be: use `BTreeMap` or `BTreeSet`",
    },
    Law {
        rule: "unsafe",
        tokens: &["unsafe"],
        is_bound: |krate| krate != "crates/sandbox",
        remedy: "only `sandbox` is unsafe: ask it for what is needed",
    },
];

fn is_pure(krate: &str) -> bool {
    matches!(krate, "crates/kernel" | "crates/intent")
}

pub(super) fn check(files: &[Tracked]) -> Vec<Breach> {
    let sources: Vec<(&str, &str, Source)> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .filter_map(|file| {
            std::str::from_utf8(&file.bytes).ok().map(|text| (file.path.as_str(), text, Source::read(text)))
        })
        .collect();
    let test_folders: BTreeSet<String> =
        sources.iter().flat_map(|(path, _, source)| test_folders_of(path, &source.test_modules)).collect();
    let is_in_test_module = |path: &str| {
        let within = path.strip_suffix(".rs").unwrap_or(path);
        Path::new(within).ancestors().any(|folder| folder.to_str().is_some_and(|f| test_folders.contains(f)))
    };
    let mut breaches = Vec::new();
    for (path, text, source) in &sources {
        breaches.extend(check_roots(path, source));
        if !is_test_file(path) && !is_in_test_module(path) {
            breaches.extend(check_length(path, source));
            breaches.extend(check_tokens(path, text, source));
            breaches.extend(check_safety(path, text, source));
        }
    }
    breaches
}

/// Each crate but `sandbox` forbids unsafe code to the compiler as well; the fuzzer's own entry is libFuzzer's, by macro.
fn check_roots(path: &str, source: &Source) -> Option<Breach> {
    let is_root = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    let forbids = source.code.replace(' ', "").contains("#![forbid(unsafe_code)]");
    (is_root && !matches!(krate(path), "crates/sandbox" | "fuzz") && !forbids).then(|| Breach {
        place: path.to_owned(),
        rule: "unsafe",
        what: "lacks `#![forbid(unsafe_code)]`: put it below the crate's documentation".to_owned(),
    })
}

fn check_length(path: &str, source: &Source) -> Option<Breach> {
    let lines = source.lines_shipped();
    (lines > FILE_LINES_MAX).then(|| Breach {
        place: path.to_owned(),
        rule: "length",
        what: format!(
            "has {lines} lines, tests aside, and {FILE_LINES_MAX} is the most: split it along a seam that has a name"
        ),
    })
}

/// Each `unsafe` block or implementation says right above, or beside, why it holds there.
fn check_safety(path: &str, text: &str, source: &Source) -> Vec<Breach> {
    const LINES_ABOVE_MAX: usize = 8;
    let original: Vec<&str> = text.lines().collect();
    let says_why = |number: usize| {
        let near = original.get(number.saturating_sub(LINES_ABOVE_MAX)..=number).unwrap_or_default();
        near.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
    };
    let lines = source.code.lines().enumerate();
    let unsaid = lines.filter(|(number, line)| holds_token(line, "unsafe") && !says_why(*number));
    unsaid
        .map(|(number, _)| Breach {
            place: format!("{path}:{}", number + 1),
            rule: "safety",
            what: "is `unsafe` without a `// SAFETY:` above that says why it holds here".to_owned(),
        })
        .collect()
}

fn check_tokens(path: &str, text: &str, source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let original: Vec<&str> = text.lines().collect();
    for law in LAWS.iter().filter(|law| (law.is_bound)(krate(path))) {
        for (number, line) in source.code.lines().enumerate() {
            let found = law.tokens.iter().find(|token| holds_token(line, token));
            if let Some(token) = found
                && !is_excused(&original, number, law.rule)
            {
                breaches.push(Breach {
                    place: format!("{path}:{}", number + 1),
                    rule: law.rule,
                    what: format!("names `{token}`; {}", law.remedy),
                });
            }
        }
    }
    breaches
}

/// Whether the line, or one of the comment lines right above it, says `tidy: allow RULE: why`; or any line of the file
/// says `tidy: allow RULE in this file: why`.
fn is_excused(lines: &[&str], number: usize, rule: &str) -> bool {
    let excuse = format!("tidy: allow {rule}: ");
    let file_excuse = format!("tidy: allow {rule} in this file: ");
    let has = |line: &str, excuse: &str| line.split_once(excuse).is_some_and(|(_, why)| why.trim().len() > 10);
    let has_excuse = |line: &&str| has(line, &excuse);
    if lines.iter().any(|line| has(line, &file_excuse)) {
        return true;
    }
    let above = lines.get(..number).unwrap_or_default().iter().rev();
    lines.get(number).is_some_and(has_excuse)
        || above.take_while(|line| line.trim_start().starts_with("//")).any(has_excuse)
}

/// Whether the token stands in the line and is not part of a longer name.
fn holds_token(line: &str, token: &str) -> bool {
    line.match_indices(token).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|index| line.as_bytes().get(index));
        let after = line.as_bytes().get(at + token.len());
        let begins_inside = before.is_some_and(|byte| is_word(*byte));
        let ends_inside = token.bytes().last().is_some_and(is_word) && after.is_some_and(|byte| is_word(*byte));
        !begins_inside && !ends_inside
    })
}

/// The crate's folder: `crates/NAME`, `xtask` or `testkit`.
fn krate(path: &str) -> &str {
    let parts = if path.starts_with("crates/") { 2 } else { 1 };
    path.match_indices('/').nth(parts - 1).and_then(|(at, _)| path.get(..at)).unwrap_or(path)
}

/// Files that only tests compile, by where they lie. The testkit is one whole, and so is what oracles need of others.
fn is_test_file(path: &str) -> bool {
    let folders = ["/tests/", "/benches/", "/examples/", "/fuzz/"];
    path.starts_with("testkit/")
        || path.starts_with("oracle/")
        || path.ends_with("/tests.rs")
        || folders.iter().any(|folder| path.contains(folder))
}

/// Where the modules that only tests compile lie, with all their own.
fn test_folders_of(path: &str, modules: &[String]) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let owns_folder = ["/lib", "/main", "/mod"].iter().find_map(|end| stem.strip_suffix(end));
    let folder = owns_folder.unwrap_or(stem);
    modules.iter().map(|name| format!("{folder}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<Tracked> = files
            .iter()
            .map(|(path, text)| Tracked { path: (*path).to_owned(), bytes: text.as_bytes().to_vec() })
            .collect();
        check(&files).iter().map(Breach::to_string).collect()
    }

    fn rules_of(path: &str, text: &str) -> Vec<&'static str> {
        let file = Tracked { path: path.to_owned(), bytes: text.as_bytes().to_vec() };
        check(&[file]).into_iter().map(|breach| breach.rule).collect()
    }

    #[test]
    fn only_the_cli_prints() {
        let text = "fn f() { println!(\"x\") }\n";
        assert_eq!(rules_of("crates/ledger/src/a.rs", text), ["print"]);
        assert_eq!(rules_of("crates/cli/src/a.rs", text), ["print"; 0]);
        assert_eq!(rules_of("crates/ledger/tests/a.rs", text), ["print"; 0]);
        assert_eq!(rules_of("crates/sandbox/src/a.rs", "fn f() { std::io::stdout().lock(); }\n"), ["print"]);
        assert_eq!(rules_of("crates/ledger/src/a.rs", "// println!(\n"), ["print"; 0]);
    }

    #[test]
    fn pure_crates_have_no_clock_files_or_threads() {
        for text in [
            "use std::fs;\n",
            "fn f() { std::thread::spawn(|| ()); }\n",
            "use std::time::Instant;\n",
            "fn f() -> u64 { jiff::Timestamp::now().as_second() }\n",
            "fn f() { let _ = std::process::id(); }\n",
        ] {
            assert_eq!(rules_of("crates/kernel/src/a.rs", text), ["pure"], "{text}");
            assert_eq!(rules_of("crates/runtime/src/a.rs", text), ["pure"; 0], "{text}");
        }
        assert_eq!(rules_of("crates/intent/src/a.rs", "fn f(x: Operand, brand: u8) {}\n"), ["pure"; 0]);
    }

    #[test]
    fn pure_crates_have_no_floats_or_hash_order() {
        assert_eq!(rules_of("crates/kernel/src/a.rs", "fn f(x: f64) {}\n"), ["float"]);
        assert_eq!(rules_of("crates/intent/src/a.rs", "use std::collections::HashMap;\n"), ["hash-order"]);
        assert_eq!(rules_of("crates/kernel/src/a.rs", "fn f(v: &Value) { v.as_f64(); }\n"), ["float"; 0]);
    }

    #[test]
    fn only_the_sandbox_is_unsafe() {
        let why = "// SAFETY: g has no precondition.\nfn f() { unsafe { g() } }\n";
        assert_eq!(rules_of("crates/runtime/src/a.rs", why), ["unsafe"]);
        assert_eq!(rules_of("crates/sandbox/src/a.rs", why), ["unsafe"; 0]);
        assert_eq!(rules_of("crates/sandbox/src/a.rs", "fn f() { unsafe { g() } }\n"), ["safety"]);
        assert_eq!(rules_of("crates/runtime/src/lib.rs", "//! Doc.\n"), ["unsafe"]);
        assert_eq!(rules_of("crates/runtime/src/lib.rs", "//! Doc.\n#![forbid(unsafe_code)]\n"), ["unsafe"; 0]);
        assert_eq!(
            rules_of("crates/runtime/src/lib.rs", "// #![forbid(unsafe_code)]\n"),
            ["unsafe"],
            "a comment forbids nothing"
        );
    }

    #[test]
    fn an_excuse_needs_its_rule_and_a_reason() {
        let path = "crates/kernel/src/a.rs";
        let excused = "// tidy: allow hash-order: Cedar's constructor takes one; never iterated\nuse std::collections::HashMap;\n";
        assert_eq!(rules_of(path, excused), ["x"; 0]);
        let whole =
            "// tidy: allow hash-order in this file: Cedar takes them\n\nfn f(a: HashMap) {}\nfn g(a: HashSet) {}\n";
        assert_eq!(rules_of(path, whole), ["x"; 0]);
        assert_eq!(rules_of(path, "use std::collections::HashMap; // tidy: allow hash-order: \n"), ["hash-order"]);
        assert_eq!(
            rules_of(path, "use std::collections::HashMap; // tidy: allow float: a good long reason\n"),
            ["hash-order"]
        );
    }

    #[test]
    fn a_long_file_is_told_and_its_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(rules_of("crates/ledger/src/a.rs", &long), ["length"]);
        assert_eq!(rules_of("crates/ledger/tests/a.rs", &long), ["length"; 0]);
        let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(rules_of("crates/ledger/src/a.rs", &tests), ["length"; 0]);
    }

    #[test]
    fn a_test_module_in_its_own_file_is_a_test() {
        let worked = ("crates/kernel/src/facts/worked.rs", "fn f() { println!(\"x\") }\n");
        assert_eq!(told(&[("crates/kernel/src/facts.rs", "#[cfg(test)]\nmod worked;\n"), worked]).len(), 0);
        assert_eq!(told(&[("crates/kernel/src/facts.rs", "mod worked;\n"), worked]).len(), 1);
        let below = ("crates/kernel/src/facts/worked/logs.rs", "fn f() { println!(\"x\") }\n");
        assert_eq!(told(&[("crates/kernel/src/facts.rs", "#[cfg(test)]\nmod worked;\n"), below]).len(), 0);
    }
}
