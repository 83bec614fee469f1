//! Everything that is wrong is told at once, each with its place, code and remedy. The snapshot is what people read.

use crate::*;

/// A case a line: a heading, then TOML or Cedar that is wrong. The heads are those of every test charter.
pub const CASES: &[(&str, &str, &str)] = &[
    ("syntax", "[charter", ""),
    ("unknown key", "[sandbox]\nhidden = [\"~/.ssh\"]", ""),
    ("unknown section", "[budgets.x]\nlimit = 1", ""),
    ("wrong types", "[limits]\npids = \"many\"\nmemory = \"big\"\ncpu = \"half\"", ""),
    (
        "paths",
        "[sandbox]\nhide = [\"ssh\"]\nprotect = [\"/etc\", \"../x\"]\nscratch = [\"target/**\"]\nrequire = [\"landlok\"]",
        "",
    ),
    ("owners", "[escalation.z]\nask = \"devs\"\nwithin = \"5 minutes\"\nthen = \"nobody\"", ""),
    ("quorum", "[escalation.z]\nask = \"dev\"\nquorum = 3\nwithin = \"5m\"\nthen = \"deny\"", ""),
    (
        "loop",
        "[escalation.x]\nask = \"dev\"\nwithin = \"5m\"\nthen = \"y\"\n[escalation.y]\nask = \"dev\"\nwithin = \"5m\"\nthen = \"x\"",
        "",
    ),
    (
        "obligations",
        "[[obligation]]\nwhen = 'once did incident.open'\nmust = 'did incident.escalate(id: $id)'\nwithin = \"0\"\nowner = \"nobody\"\notherwise = \"paus\"\nopen_max = 0\n[[obligation]]\nname = \"x\"\nwhen = 'did incident.open(id: i)'\nmust = 'did incident.escalate(id: $i)'\nwithin = \"5m\"\nowner = \"dev\"\notherwise = \"escalate:nowhere\"\nwhenn = 1\n[[obligation]]\nowner = \"dev\"",
        "",
    ),
    (
        "commands",
        "[[contract]]\nname = \"x\"\ncommand = \"make test\"\n[[contract]]\nname = \"y\"\ncommand = []\n[[contract]]\nname = \"z\"\ncommand = [\"make\"]\nwithin = \"2h\"\n[[contract]]\nname = \"w\"\nno_open_questions = true\nwithin = \"2m\"",
        "",
    ),
    (
        "contracts",
        "[facts]\nn = 'count attempt fs.read'\nd = 'once did fs.read(path: $path)'\n[[contract]]\nname = \"x\"\n[[contract]]\nname = \"x\"\nholds = [\"nothing\"]\nfacts = [\"n\", \"d\", \"none\"]\nreplay_at_least = 6\ncoverage = \"some\"\nhold = 1",
        "",
    ),
    (
        "fact syntax",
        "[facts]\na = 'once did'\nb = 'did fs.write('\nc = 'once[5x] did fs.read'\nd = 'did fs.read(path: \"x)'",
        "",
    ),
    (
        "fact names",
        "[facts]\na = 'once did fs.writ'\nb = 'once did fs.write(pth: \"x\")'\nc = 'once did process.exec(exit: 0)'\nd = 'e and a'\nonce = 'a'",
        "",
    ),
    (
        "fact types",
        "[facts]\na = 'once did fs.write(bytes: \"x\")'\nb = 'once did fs.write(path has \"x\")'\nc = 'count did fs.read and a'\nd = 'a >= 3'\ne = 'once did fs.write(path: $bytes)'",
        "",
    ),
    (
        "safe range",
        "[facts]\na = 'not once did fs.read(path: p)'\nb = 'no did fs.write(path: p) since result process.exec(exit: 0)'\nc = 'once did fs.read(path: p) or once did fs.write'\nd = 'once did fs.read(path != p)'\ne = 'once (did fs.read and not once did fs.write(path: $path))'",
        "",
    ),
    ("fact cycle", "[facts]\na = 'b or once did fs.read'\nb = 'not a'", ""),
    (
        "rule annotations",
        "",
        "permit (principal, action, resource);\n@id(\"x\") @owner(\"sre\") @reason(\"r\") @escalte(\"dev\") forbid (principal, action, resource);",
    ),
    ("rule syntax", "", "@id(\"x\") forbid (principal, action, resource) when { resource.path = 1 };"),
    (
        "rule types",
        "",
        "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when { resource.pth == \"x\" };\n@id(\"y\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.wite\", resource);\n@id(\"z\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.nothing };",
    ),
    (
        "dead rules",
        "",
        "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource is Package);\n@id(\"y\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when { 1 == 2 };",
    ),
    (
        "duplicates and escalation",
        "",
        "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action, resource);\n@id(\"x\") @owner(\"dev\") @reason(\"r\") @escalate(\"def\") forbid (principal, action, resource);\n@id(\"p\") @owner(\"dev\") @reason(\"r\") @escalate(\"dev\") permit (principal, action, resource);",
    ),
    ("templates", "", "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal == ?principal, action, resource);"),
    (
        "budgets",
        "[budget.a]\nlimit = 1\n[budget.b]\nsum = \"model.call.tokns\"\nlimit = -1\nper = \"day\"\nwarn_at = [1.5]",
        "",
    ),
    (
        "envelopes",
        "[envelope.a]\nof = \"deploy.scale.replica\"\nmin = 5\nmax = 1\non_breach = \"escalate:x\"\n[envelope.b]\nof = \"deploy.scale.replicas\"\n[envelope.c]\nof = \"deploy.scale.replicas\"\nrate = 1",
        "",
    ),
    (
        "autonomy",
        "[autonomy]\nlevels = [\"bounded\", \"observe\"]\nstart = \"full\"\n[[autonomy.lower]]\nwhen = \"x\"\nto = \"observe\"",
        "",
    ),
    (
        "examples",
        "[[example]]\nattempt = \"fs.write(path: p)\"\nexpect = \"deny\"\n[[example]]\nattempt = \"fs.write(pat: 'x')\"\nexpect = \"deny\"\n[[example]]\nattempt = \"fs.read(path: 'x')\"\nexpect = \"deny no-rul-permits\"\ngiven = [\"did fs.wrote\"]",
        "",
    ),
    (
        "rule entities",
        "",
        "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource is Fil);",
    ),
    ("unread", "[facts]\na = 'once did fs.read'", ALL),
];

#[test]
fn findings_read_well() {
    let mut out = String::new();
    for (name, toml, cedar) in CASES {
        let found = match compile(toml, cedar) {
            Ok((_, warnings)) => warnings,
            Err(found) => found,
        };
        assert!(!found.0.is_empty(), "{name}");
        for d in &found.0 {
            assert!(CODES.iter().any(|(code, ..)| *code == d.code), "{} has no page", d.code);
        }
        out.push_str(&format!("## {name}\n{}\n", render(&found)));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn codes_are_sorted_and_explained() {
    assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
    for (code, title, page) in CODES {
        assert!(code.starts_with("FB01") && code.len() == 6, "{code}");
        assert!(!title.is_empty() && page.len() > 40, "{code}");
    }
}

/// The codes that a source names, but for the table of pages.
fn used(dir: &std::path::Path, out: &mut std::collections::BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            used(&path, out);
        } else if !path.ends_with("charter/codes.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            out.extend(text.split("\"FB").skip(1).filter_map(|s| Some(format!("FB{}", s.get(..4)?))));
        }
    }
}

#[test]
fn every_code_that_is_told_has_a_page_and_every_page_is_told() {
    let mut told = std::collections::BTreeSet::new();
    used(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut told);
    let pages: std::collections::BTreeSet<String> = CODES.iter().map(|(code, ..)| (*code).to_owned()).collect();
    assert_eq!(told, pages);
}

#[test]
fn the_digest_is_of_the_meaning() {
    let digest = |toml: &str, cedar: &str| charter(toml, cedar).digest().to_owned();
    let base = digest("", ALL);
    assert!(base.starts_with("sha256:") && base.len() == 71);
    assert_eq!(base, digest("", &ALL.replace('\n', "\r\n")), "line ends of another system change nothing");
    assert_ne!(base, digest("", &ALL.replace("everything", "all")));
    assert_ne!(base, digest("[home]\nkeep = \"agent\"", ALL));
}

#[test]
fn the_schema_is_cedars_own() {
    let schema = charter("[facts]\na = 'once did fs.read'\nb = 'count did fs.read'", ALL).schema_cedar();
    assert!(cedar_policy::Schema::from_cedarschema_str(&schema).is_ok());
    assert!(schema.contains("a: Bool") && schema.contains("b: Long"), "{schema}");
}

#[test]
fn rules_are_listed() {
    let charter = charter(
        "",
        &format!(
            "{ALL}@id(\"net\") @owner(\"dev\") @reason(\"r\") @escalate(\"dev\") forbid (principal, action in Action::\"net\", resource);"
        ),
    );
    let net = charter.rules().iter().find(|r| r.id == "net").unwrap();
    assert_eq!(
        (net.verbs.as_slice(), net.effect, net.escalate.as_deref()),
        (["net.connect", "net.listen"].as_slice(), RuleEffect::Forbid, Some("dev"))
    );
    assert!(charter.mentions_network());
    let closed = crate::charter(
        "",
        "@id(\"fs\") @owner(\"dev\") @reason(\"r\") permit (principal, action in Action::\"fs\", resource);",
    );
    assert!(!closed.mentions_network());
    assert!(!closed.http().opens, "every request would be refused");
    // Where a request may pass at all each is ruled on, unless the charter says otherwise.
    for (toml, opens) in [("", true), ("[http]\npass = [\"a.example\"]", true), ("[http]\nopen = false", false)] {
        assert_eq!(crate::charter(toml, ALL).http().opens, opens, "{toml}");
    }
    let connects =
        "@id(\"net\") @owner(\"dev\") @reason(\"r\") permit (principal, action in Action::\"net\", resource);";
    assert!(!crate::charter("", connects).http().opens);
    assert!(crate::charter("[http]\nopen = true", connects).http().opens);
}
