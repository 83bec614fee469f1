//! What `check` finds in charters that compile, and what it must not find in good ones.

use crate::*;
use flyball_kernel::analysis::{Analysis, analyse};

fn analysed(toml: &str, cedar: &str) -> Analysis {
    let sources = Sources::from([
        ("charter.toml".to_owned(), format!("{HEAD}{toml}")),
        ("rules.cedar".to_owned(), cedar.to_owned()),
    ]);
    let (charter, _) = Charter::compile(&sources).unwrap_or_else(|e| panic!("{}", render(&e)));
    analyse(&charter, &sources)
}

/// Folders with a charter below a folder of the repository.
fn charters(folder: &str) -> Vec<(String, Sources)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    let read = |dir: &std::path::Path| -> Sources {
        let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        let name = |p: &std::path::Path| p.file_name().unwrap().to_string_lossy().into_owned();
        let is_charter = |p: &std::path::PathBuf| name(p) == "charter.toml" || name(p).ends_with(".cedar");
        files.filter(is_charter).map(|p| (name(&p), std::fs::read_to_string(&p).unwrap())).collect()
    };
    folders
        .iter()
        .filter(|dir| dir.join("charter.toml").exists())
        .map(|dir| (dir.file_name().unwrap().to_string_lossy().into_owned(), read(dir)))
        .collect()
}

/// The library's charters and the one of `init` have no idle rules: what is found there is found in error.
#[test]
fn good_charters_raise_no_alarm() {
    let mut all = charters("../../charters");
    all.extend(charters("benches"));
    assert!(all.len() >= 2);
    for (name, sources) in all {
        let (charter, _) = Charter::compile(&sources).unwrap_or_else(|e| panic!("{name}: {}", render(&e)));
        let found = analyse(&charter, &sources);
        // What waits for a surface says so itself.
        let is_awaited = |d: &&Diagnostic| d.code == "FB0184" && d.severity == Severity::Warning;
        let alarms: Vec<Diagnostic> = found.findings.0.iter().filter(|d| !is_awaited(d)).cloned().collect();
        assert!(alarms.is_empty(), "{name}: {}", render(&Diagnostics(alarms)));
        println!("{name}: {}", render(&found.findings));
        assert_eq!(found.examples, found.examples_held);
    }
}

/// A case a line: a heading, then TOML and Cedar with something in it that does nothing. Rules are `id: rule`.
pub const CASES: &[(&str, &str, &[&str])] = &[
    (
        "vacuous",
        "",
        &[
            "all: permit (principal, action, resource);",
            "nowhere: forbid (principal, action in Action::\"fs\", resource) when { resource.zone == \"home\" && resource.rel like \"src/*\" };",
            "numbers: forbid (principal, action == Action::\"net.connect\", resource) when { resource.port > 5 && resource.port < 3 };",
            "patterns: forbid (principal, action == Action::\"net.connect\", resource) when { resource.host like \"*.com\" && resource.host like \"*.org\" };",
            "sound: forbid (principal, action == Action::\"net.connect\", resource) when { resource.host like \"a*\" && resource.host like \"*a\" && resource.host != \"a\" };",
        ],
    ),
    (
        "duplicate",
        "",
        &[
            "all: permit (principal, action, resource);",
            "one: forbid (principal, action == Action::\"fs.write\", resource) when { resource.zone == \"home\" || resource.name == \"x\" };",
            "two: forbid (principal, action in [Action::\"fs.write\"], resource) when { resource.zone == \"home\" || resource.name == \"x\" };",
        ],
    ),
    (
        "shadowed",
        "",
        &[
            "all: permit (principal, action, resource);",
            "few: permit (principal, action in Action::\"git\", resource);",
            "wide: forbid (principal, action in Action::\"fs\", resource) when { resource.rel like \"src/*\" };",
            "narrow: forbid (principal, action == Action::\"fs.write\", resource) when { resource.rel like \"src/*.rs\" && context.autonomy < 2 };",
            "first: forbid (principal, action == Action::\"net.connect\", resource) when { resource.port < 100 };",
            "last: forbid (principal, action == Action::\"net.connect\", resource) when { resource.port >= 90 };",
            "middle: forbid (principal, action == Action::\"net.connect\", resource) when { resource.port > 50 && resource.port < 150 };",
        ],
    ),
    (
        "overruled",
        "",
        &[
            "files: permit (principal, action in Action::\"fs\", resource);",
            "tests: permit (principal, action == Action::\"fs.write\", resource) when { resource.rel like \"tests/*\" };",
            "push: permit (principal, action == Action::\"git.push\", resource) when { resource.name == \"main\" };",
            "shared: forbid (principal, action == Action::\"git.push\", resource) when { [\"main\", \"master\"].contains(resource.name) };",
            "ask-git: @escalate(\"dev\") forbid (principal, action == Action::\"git.push\", resource) when { resource.name == \"master\" };",
            "ask-deploy: @escalate(\"dev\") forbid (principal, action in Action::\"deploy\", resource);",
        ],
    ),
    (
        "not mediated",
        "[facts]\nbusy = 'count[10m] attempt remediation.start >= 3'\nread = 'once did fs.read'\n[budget.tokens]\nsum = \"model.call.tokens\"\nlimit = 5\n[envelope.valve]\nof = \"control.actuate.value\"\nmax = 5\n[[obligation]]\nname = \"told\"\nowner = \"dev\"\nreason = \"r\"\nwhen = 'did incident.open(id: i)'\nmust = 'did incident.escalate(id: i)'\nwithin = \"5m\"\notherwise = \"pause\"",
        &[
            "all: permit (principal, action, resource);",
            "fixes: forbid (principal, action == Action::\"remediation.start\", resource) when { context.fact.busy };",
            "reads: forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.read };",
        ],
    ),
    (
        "events that can't be",
        "[facts]\na = 'once did fs.write(path: \"a\", path: \"b\")'\nb = 'once did fs.write(path: \"a\", path like \"b*\")'\nc = 'count did fs.write(bytes > 5, bytes < 3)'\nd = 'once did fs.write(path like \"a*\", path like \"*b\")'",
        &[
            "all: permit (principal, action, resource) when { (context.fact.a || context.fact.b) == (context.fact.d || context.fact.c > 3) };",
        ],
    ),
    (
        "examples that don't hold",
        "[facts]\ngreen = 'no did fs.write(rel like \"src/**\") since result process.exec(program: \"cargo\", exit: 0)'\n[[example]]\ngiven = [\"result process.exec(program: 'cargo', exit: 0)\", \"did fs.write(path: 'src/a.rs')\"]\nattempt = \"deploy.apply(name: 'api')\"\nexpect = \"allow\"\n[[example]]\ngiven = [\"result process.exec(program: 'cargo', exit: 0)\"]\nattempt = \"deploy.apply(name: 'api')\"\nexpect = \"deny red\"\n[[example]]\nattempt = \"fs.write(path: 'a')\"\nexpect = \"allow\"",
        &[
            "all: permit (principal, action, resource);",
            "red: forbid (principal, action in Action::\"deploy\", resource) unless { context.fact.green };",
        ],
    ),
];

/// `id: rule`, with what each rule needs.
pub fn cedar(rules: &[&str]) -> String {
    let rule = |rule: &&str| {
        let (id, rule) = rule.split_once(": ").unwrap();
        format!("@id(\"{id}\") @owner(\"dev\") @reason(\"r\")\n{rule}\n")
    };
    rules.iter().map(rule).collect()
}

#[test]
fn findings_of_the_analysis_read_well() {
    let mut out = String::new();
    for (name, toml, rules) in CASES {
        let found = analysed(toml, &cedar(rules));
        assert!(found.findings.0.iter().all(|d| CODES.iter().any(|(code, ..)| *code == d.code)));
        assert!(!found.findings.0.is_empty(), "{name}");
        out.push_str(&format!("## {name}\n{}\n", render(&found.findings)));
        for finding in &found.findings.0 {
            for related in &finding.related {
                out.push_str(&format!(
                    "{}:{} -> {}:{} {}\n",
                    finding.file, finding.line, related.file, related.line, related.message
                ));
            }
        }
    }
    insta::assert_snapshot!(out);
}

/// The same refusal by two owners, and two paths for one action. What differs in neither is no conflict.
#[test]
fn two_owners_or_two_paths_for_the_same() {
    let rule = |id: &str, more: &str, rule: &str| format!("@id(\"{id}\") {more} @reason(\"r\") {rule};\n");
    let ours = "@owner(\"dev\")";
    let theirs = "@owner(\"boss\")";
    let writes = "forbid (principal, action == Action::\"fs.write\", resource) when { resource.zone == \"home\" }";
    let push = "forbid (principal, action == Action::\"git.push\", resource) when { resource.name == \"main\" }";
    let force = "forbid (principal, action == Action::\"git.push\", resource) when { context.attrs has force && context.attrs.force && context.fact.late }";
    let toml = "[facts]\nlate = 'count[1h] did git.push by remote >= 3'\n";
    let cedar = [
        rule("all", ours, "permit (principal, action, resource)"),
        rule("home", ours, writes),
        rule("home-too", theirs, writes),
        rule("notes", theirs, &writes.replace("\"home\"", "\"home\" && resource.name == \"notes\"")),
        rule("main", &format!("{ours} @escalate(\"dev\")"), push),
        rule("force", &format!("{theirs} @escalate(\"boss\")"), force),
        rule(
            "other",
            &format!("{ours} @escalate(\"dev\")"),
            "forbid (principal, action == Action::\"git.tag\", resource)",
        ),
    ]
    .concat();
    let found = analysed(toml, &cedar).findings;
    insta::assert_snapshot!(render(&found));
    let conflict = found.0.iter().find(|d| d.message.contains("both")).expect("two paths");
    assert!(conflict.request.is_some() && conflict.related.len() == 1, "{conflict:?}");
    // The run that it shows is one: as an example it comes to both questions.
    let given: Vec<String> =
        conflict.message.split('`').filter(|part| part.contains("did git.push")).map(|g| format!("\"{g}\"")).collect();
    assert!(!given.is_empty(), "{}", conflict.message);
    let attempt = conflict.message.split('`').find(|part| part.starts_with("git.push(")).unwrap();
    for expect in ["hold main", "hold force"] {
        let example =
            format!("[[example]]\ngiven = [{}]\nattempt = \"{attempt}\"\nexpect = \"{expect}\"\n", given.join(", "));
        let found = analysed(&format!("{toml}{example}"), &cedar);
        assert_eq!((found.examples, found.examples_held), (1, 1), "{}", render(&found.findings));
    }
    // One of them refused outright, nobody is asked twice.
    let refused = cedar.replace(
        "@escalate(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"git.push\"",
        "@reason(\"r\") forbid (principal, action == Action::\"git.push\"",
    );
    assert!(analysed(toml, &refused).findings.0.iter().all(|d| !d.message.contains("both")));
}

/// However many rules, and however entangled: it ends, by counting steps, and says that it stopped short.
#[test]
fn a_charter_of_many_rules_is_analysed_in_bounded_work() {
    let mut cedar = ALL.to_owned();
    for n in 0..2_500 {
        cedar.push_str(&format!(
            "@id(\"r{n}\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when {{ resource.rel like \"*{n}*\" && resource.name != \"{n}\" }};\n"
        ));
    }
    let found = analysed("", &cedar);
    assert!(found.findings.0.iter().all(|d| d.code == "FB0187"), "{}", render(&found.findings));
    assert_eq!(found.coverage.len(), 2_501);
}

#[test]
fn huge_conditions_are_analysed_in_bounded_work() {
    let either: Vec<String> =
        (0..70).map(|n| format!("(resource.name like \"*{n}*\" && resource.rel like \"*/{n}/*\")")).collect();
    let all: Vec<String> =
        (0..35).map(|n| format!("!(resource.name like \"*{n}x*y*\" || resource.rel like \"*{n}*z\")")).collect();
    let rule = |id: &str, body: String| {
        format!(
            "@id(\"{id}\") @owner(\"dev\") @reason(\"r\") forbid (principal, action in Action::\"fs\", resource) when {{ {body} }};\n"
        )
    };
    let cedar = [
        ALL.to_owned(),
        rule("either", either.join(" || ")),
        rule("every", all.join(" && ")),
        rule("both", format!("({}) && {}", either.join(" || "), all.join(" && "))),
    ]
    .concat();
    let found = analysed("", &cedar);
    assert!(found.findings.0.iter().all(|d| d.code != "FB0180"), "{}", render(&found.findings));
}

#[test]
fn a_rule_that_would_exhaust_the_stack_is_refused() {
    let rule = |body: String| {
        format!("@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action, resource) when {{ {body} }};")
    };
    for body in [
        vec!["context.opaque"; 100_000].join(" || "),
        format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{}context.opaque", "!".repeat(100_000)),
        format!("context{} == 1", ".attrs".repeat(100_000)),
        format!("{}1 == 2", "1 + ".repeat(100_000)),
        format!("context.autonomy == {}1", "-".repeat(100_000)),
        format!("{}true{}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        let found = compile("", &rule(body)).unwrap_err();
        assert!(found.0.iter().all(|d| d.code == "FB0160"), "{}", render(&found));
    }
    // As large as may be, on a stack as a program's main thread has it; tests have a quarter of that.
    let largest = rule(vec!["context.opaque"; 301].join(" || "));
    let thread = std::thread::Builder::new().stack_size(8 << 20);
    assert!(thread.spawn(move || compile("", &largest).is_ok()).unwrap().join().unwrap());
    // Brackets and signs in texts and comments are none.
    let text = format!("resource.id == \"{}\" // {}\n", "([{!&&".repeat(1_000), "(".repeat(1_000));
    let found = compile("", &rule(text)).unwrap_err();
    assert!(found.0.iter().all(|d| d.code != "FB0160"), "{}", render(&found));
}

/// What `constrain` takes up without a search: each change alone, and whether it is plainly narrower.
#[test]
fn what_is_plainly_narrower() {
    use flyball_kernel::analysis::is_plainly_narrower;
    const BASE: &str = "[facts]\nseen = 'once did fs.read(path: \"/w/a\")'\n[autonomy]\nlevels = [\"observe\", \"propose\", \"bounded\"]\nstart = \"bounded\"\nask = \"dev\"\n[budget.reads]\ncount = \"fs.read\"\nlimit = 3\n";
    let rule = |id: &str, rule: &str| format!("@id(\"{id}\") @owner(\"dev\") @reason(\"r\") {rule}\n");
    let read = rule("read", "permit (principal, action == Action::\"fs.read\", resource);");
    let write = rule("write", "permit (principal, action == Action::\"fs.write\", resource);");
    let once = rule("once", "forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.seen };");
    let rules = [read.as_str(), write.as_str(), once.as_str()].concat();
    let was = charter(BASE, &rules);
    let plain = |toml: &str, cedar: &str| is_plainly_narrower(&was, &charter(toml, cedar));
    let more = |more: &str| format!("{rules}{}", rule("more", more));
    let narrower: &[(&str, String, String)] = &[
        ("the same", BASE.to_owned(), rules.clone()),
        ("another forbid", BASE.to_owned(), more("forbid (principal, action in Action::\"net\", resource);")),
        (
            "another question",
            BASE.to_owned(),
            more("@escalate(\"dev\") forbid (principal, action in Action::\"fs\", resource);"),
        ),
        ("a permit less", BASE.to_owned(), format!("{read}{once}")),
        ("another budget", format!("{BASE}[budget.writes]\ncount = \"fs.write\"\nlimit = 3\n"), rules.clone()),
        ("a lower start", BASE.replace("start = \"bounded\"", "start = \"propose\""), rules.clone()),
        (
            "another fact",
            BASE.replace("[autonomy]", "other = 'once did fs.delete'\n[autonomy]"),
            more("forbid (principal, action in Action::\"net\", resource) when { context.fact.other };"),
        ),
    ];
    for (name, toml, cedar) in narrower {
        assert!(plain(toml, cedar), "{name}");
    }
    let not_plainly: &[(&str, String, String)] = &[
        ("another permit", BASE.to_owned(), more("permit (principal, action in Action::\"net\", resource);")),
        ("a forbid less", BASE.to_owned(), format!("{read}{write}")),
        (
            "a forbid of less",
            BASE.to_owned(),
            rules.replace("context.fact.seen", "context.fact.seen && context.opaque"),
        ),
        (
            "a wider permit",
            BASE.to_owned(),
            rules.replace(
                "permit (principal, action == Action::\"fs.read\"",
                "permit (principal, action in Action::\"fs\"",
            ),
        ),
        (
            "a forbid that asks",
            BASE.to_owned(),
            rules.replace("@reason(\"r\") forbid", "@reason(\"r\") @escalate(\"dev\") forbid"),
        ),
        ("a fact of less", BASE.replace("once did fs.read(path", "once[5m] did fs.read(path"), rules.clone()),
        ("what nothing permits passes", format!("{BASE}[charter]\nname = \"x\"\ndefault = \"allow\"\n"), rules.clone()),
        ("a budget less", BASE.split("[budget.reads]").next().unwrap().to_owned(), rules.clone()),
        ("a larger budget", BASE.replace("limit = 3", "limit = 4"), rules.clone()),
        ("errors ask", format!("{BASE}[charter]\nname = \"x\"\non_error = \"escalate:dev\"\n"), rules.clone()),
    ];
    for (name, toml, cedar) in not_plainly {
        // The head has a `[charter]` of its own.
        let toml = if let Some((before, section)) = toml.split_once("[charter]\n") {
            let sources = HEAD.replace("[charter]\nname = \"test\"\n", &format!("[charter]\n{section}"));
            let files =
                [("charter.toml".to_owned(), format!("{sources}{before}")), ("rules.cedar".to_owned(), cedar.clone())];
            let (is, _) = Charter::compile(&files.into()).unwrap_or_else(|e| panic!("{name}: {}", render(&e)));
            assert!(!is_plainly_narrower(&was, &is), "{name}");
            continue;
        } else {
            toml
        };
        assert!(!plain(toml, cedar), "{name}");
    }
}

/// A setting that is stricter by itself lets more pass where a rule turns on it.
#[test]
fn a_stricter_setting_that_a_rule_turns_on_is_not_narrower() {
    use flyball_kernel::analysis::{Narrower, compare, is_plainly_narrower};
    let session = Session { workspace: "/w".into(), home: "/h".into(), agent: "a".into() };
    let levels = |start: &str| format!("[autonomy]\nlevels = [\"bounded\", \"extended\"]\nstart = \"{start}\"\n");
    let label = "[[label]]\nname = \"reviewed\"\nowner = \"dev\"\npaths = [\"a\"]\n";
    let rule = |when: &str| {
        format!(
            "{ALL}@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) {when};"
        )
    };
    let level = rule("when { context.autonomy > 2 }");
    let carried = rule("unless { context.attrs has labels && context.attrs.labels.contains(\"reviewed\") }");
    for (was, is, rules) in [(levels("extended"), levels("bounded"), level), (String::new(), label.to_owned(), carried)]
    {
        for (rules, is_narrower) in [(rules.as_str(), false), (ALL, true)] {
            let (was, is) = (charter(&was, rules), charter(&is, rules));
            assert_eq!(is_plainly_narrower(&was, &is), is_narrower, "{rules}");
            assert_eq!(compare(&was, &is, &session).is_narrower == Narrower::Proved, is_narrower, "{rules}");
        }
    }
}

/// What no surface brings is a control that is not there, unless the charter says that it waits.
#[test]
fn what_is_not_mediated_is_an_error_unless_it_waits_on_purpose() {
    let rules = "@id(\"valve\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"control.actuate\", resource) when { resource.name == \"valve\" };\n";
    let all = "@id(\"all\") @owner(\"dev\") @reason(\"r\") permit (principal, action, resource);\n";
    let toml = "[budget.moves]\ncount = \"control.actuate\"\nlimit = 1\n[facts]\nbusy = 'once did remediation.start'\n";
    let charter = |not_covered: &str| HEAD.replacen("[charter]\n", &format!("[charter]\n{not_covered}"), 1) + toml;
    let found = |not_covered: &str| -> Vec<(Severity, String)> {
        let sources = Sources::from([
            ("charter.toml".to_owned(), charter(not_covered)),
            ("rules.cedar".to_owned(), format!("{all}{rules}")),
        ]);
        match Charter::compile(&sources) {
            Ok((charter, _)) => analyse(&charter, &sources).findings.0,
            Err(found) => found.0,
        }
        .into_iter()
        .filter(|d| d.code == "FB0184" || d.severity == Severity::Error)
        .map(|d| (d.severity, d.code.to_owned()))
        .collect()
    };
    let of = |severity, code: &str, n| vec![(severity, code.to_owned()); n];
    assert_eq!(found(""), of(Severity::Error, "FB0184", 3));
    assert_eq!(found("not_covered = [\"control.*\", \"remediation.start\"]\n"), of(Severity::Warning, "FB0184", 3));
    let half = found("not_covered = [\"control\"]\n");
    assert_eq!(half.iter().filter(|(severity, _)| *severity == Severity::Error).count(), 1, "{half:?}");
    assert_eq!(found("not_covered = [\"contrl\"]\n"), of(Severity::Error, "FB0121", 1));
}

/// A tool of which the charter says that it is that brings it, at the gateway and by hooks.
#[test]
fn a_verb_that_only_the_charters_own_tools_bring_is_mediated() {
    let rules = "@id(\"valve\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"control.actuate\", resource);\n";
    let tool = "[[mcp.tool]]\nserver = \"plant\"\ntool = \"set\"\nis = \"control.actuate\"\nwith = { name = \"/name\", value = \"/value\" }\n";
    let surfaces = |toml: &str| {
        let found = analysed(toml, &format!("{ALL}{rules}"));
        let is_idle = found.findings.0.iter().any(|d| d.code == "FB0184");
        let row = found.coverage.into_iter().find(|row| row.rule == "valve").unwrap();
        (row.surfaces.into_keys().collect::<Vec<_>>(), is_idle)
    };
    assert_eq!(surfaces(""), (vec![], true));
    assert_eq!(surfaces(tool), (vec!["hook", "mcp"], false));
    let request = "[http]\nopen = true\n[[http.read]]\nhost = \"plant.example\"\nis = \"control.actuate\"\nwith = { name = \"/name\", value = \"/value\" }\n";
    assert_eq!(surfaces(request), (vec!["http"], false));
    assert_eq!(surfaces(&request.replace("true", "false")), (vec![], true));
}
