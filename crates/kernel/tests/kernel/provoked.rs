//! Each code that a charter can be told of is provoked by some charter here: a finding that nothing gives is no finding.

use crate::*;
use flyball_kernel::analysis::analyse;
use std::collections::BTreeSet;

/// What the cases whose text is a snapshot don't give. A rule stands without its annotations.
const CASES: &[(&str, &str, &str)] = &[
    (
        "FB0116",
        "",
        "forbid (principal, action == Action::\"fs.write\", resource) when { resource.name == \"a\u{202e}b\" };",
    ),
    (
        "FB0117",
        "",
        "permit (principal, action == Action::\"fs.write\", resource) unless { context.attrs has secrets };",
    ),
    ("FB0124", "[facts]\na = 'count[1m, *) did fs.read'", ""),
    ("FB0133", "[owners.bots]\n[escalation.z]\nask = \"dev\"\nwithin = \"5m\"\nthen = \"deny\"", ""),
    ("FB0134", "[escalation.z]\nask = \"dev\"\nwithin = \"5m\"\nthen = \"deny\"", ""),
    ("FB0135", "[escalation.z]\nask = \"boss\"\nquorum = 2\nwithin = \"5m\"\nthen = \"deny\"", ""),
    ("FB0136", "[people]\nann = [\"user:ann\"]\nbob = [\"user:ann\"]", ""),
    ("FB0153", "[[governance]]\nconsequence = \"low\"\nreversibility = \"pure\"\ndurable = false", ""),
    ("FB0154", "[[label]]\nname = \"x\"\nowner = \"dev\"", ""),
    ("FB0160", "[facts]\na = 'DEEP'", ""),
];

/// The one code that no charter gives: Flyball's own schema would have to be wrong.
const NEVER: &str = "FB0199";

#[test]
fn every_code_of_charters_is_provoked() {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let deep = format!("{}did fs.read", "not ".repeat(100));
    for (code, toml, rule) in CASES {
        let rule =
            if rule.is_empty() { String::new() } else { format!("@id(\"x\") @owner(\"dev\") @reason(\"r\") {rule}") };
        let toml = match *code {
            "FB0133" => HEAD.replace("[\"user:carol\"]", "[\"agent:claude\"]"),
            "FB0134" => HEAD.replace("[\"user:carol\"]", "[\"key:ssh-ed25519 none\"]"),
            "FB0135" => {
                let key = format!("[\"user:carol\", \"key:ssh-ed25519 {}\"]", people::KEY);
                format!("{}{}", HEAD.replace("[\"user:carol\"]", &key), toml)
            }
            _ => format!("{HEAD}{}", toml.replace("DEEP", &deep)),
        };
        let found = codes(&[("charter.toml", &toml), ("rules.cedar", &rule)]);
        assert!(found.contains(code), "{code}: {found:?}");
        told.extend(found);
    }
    for files in [&[("rules.cedar", ALL)][..], &[("charter.toml", HEAD), ("rules.txt", "")]] {
        let found = codes(files);
        assert!(found.contains("FB0107"), "{found:?}");
        told.extend(found);
    }
    for (_, toml, cedar) in diagnostics::CASES {
        told.extend(codes(&[("charter.toml", &format!("{HEAD}{toml}")), ("rules.cedar", cedar)]));
    }
    for (_, toml, rules) in analysis::CASES {
        told.extend(analysed(toml, &analysis::cedar(rules)));
    }
    told.extend(analysed("[require]\ncoverage = [\"control.actuate\"]", ALL));
    told.extend(analysed("", &entangled()));
    let home = "forbid (principal, action == Action::\"fs.write\", resource) when { resource.zone == \"home\" };\n";
    let twice = ["dev", "boss"].map(|owner| format!("@id(\"by-{owner}\") @owner(\"{owner}\") @reason(\"r\") {home}"));
    told.extend(analysed("", &format!("{ALL}{}", twice.concat())));
    told.extend(snapshots());
    let all: BTreeSet<&str> = CODES.iter().map(|(code, ..)| *code).filter(|code| *code != NEVER).collect();
    assert_eq!(all.difference(&told).collect::<Vec<_>>(), Vec::<&&str>::new(), "pages of codes that nothing gives");
}

fn codes(files: &[(&str, &str)]) -> BTreeSet<&'static str> {
    let sources: Sources = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let found = match Charter::compile(&sources) {
        Ok((_, warnings)) => warnings,
        Err(found) => found,
    };
    found.0.iter().map(|d| d.code).collect()
}

fn analysed(toml: &str, cedar: &str) -> BTreeSet<&'static str> {
    let sources: Sources =
        [("charter.toml".to_owned(), format!("{HEAD}{toml}")), ("rules.cedar".to_owned(), cedar.to_owned())].into();
    let (charter, _) = Charter::compile(&sources).unwrap_or_else(|e| panic!("{}", render(&e)));
    analyse(&charter, &sources).findings.0.iter().map(|d| d.code).collect()
}

/// Rules of one verb that the analysis can't tell apart within its steps.
fn entangled() -> String {
    let rule = |n: usize| {
        let names: Vec<String> = (0..30).map(|m| format!("resource.name like \"*{n}x{m}*y*\"")).collect();
        format!(
            "@id(\"r{n}\") @owner(\"dev\") @reason(\"r\") forbid (principal, action in Action::\"fs\", resource) when {{ {} }};\n",
            names.join(" || ")
        )
    };
    ALL.to_owned() + &(0..150).map(rule).collect::<String>()
}

fn snapshots() -> BTreeSet<&'static str> {
    let bytes = Run::new(charter("", ALL)).kernel.snapshot();
    let restored = |toml: &str, bytes: &[u8]| Kernel::restore(Arc::new(charter(toml, ALL)), bytes).unwrap_err().code();
    let older = String::from_utf8(bytes.clone()).unwrap().replacen("{\"version\":2,", "{\"version\":1,", 1);
    [restored("", older.as_bytes()), restored("[env]\npass = [\"X\"]\n", &bytes), restored("", &bytes[1..])].into()
}
