//! Bad input: what is absurd is told with its place and its code, in bounded time and memory, and lets nothing pass.
//!
//! The cases run in a process of their own that has 1 GiB of address space; one that never ends is killed.

use crate::*;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MEMORY_KIB: u32 = 1 << 20;
/// Generous, for a busy machine: what grows exponentially takes years.
const DEADLINE: Duration = Duration::from_secs(1_800);

#[test]
fn bad_input_takes_bounded_time_and_memory() {
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["bounded::case", "--ignored", "--test-threads=2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    // What the child prints fits into its pipes.
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("still not done: {}", text(child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let out = child.wait_with_output().unwrap();
    let is_ok = out.status.success();
    let told = text(out);
    assert!(is_ok, "{told}");
    // Otherwise the test could pass by running nothing.
    assert!(told.contains("test result: ok. 10 passed"), "{told}");
}

fn text(out: std::process::Output) -> String {
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

/// It is refused, each finding has its place and a page, and one of them has this code. Gives the findings.
fn refused(toml: &str, cedar: &str, code: &str) -> Diagnostics {
    let shown = |text: &str| text.chars().take(120).collect::<String>();
    let Err(found) = compile(toml, cedar) else { panic!("compiles: {} {}", shown(toml), shown(cedar)) };
    let told = || found.0.iter().take(5).map(|d| format!("{} {}\n", d.code, shown(&d.message))).collect::<String>();
    assert!(found.0.iter().any(|d| d.code == code), "no {code} for {}: {}", shown(&format!("{toml}{cedar}")), told());
    for d in &found.0 {
        assert!(d.line >= 1 && d.column >= 1 && (d.file == "charter.toml" || d.file == "rules.cedar"), "{}", told());
        assert!(CODES.iter().any(|(page, ..)| *page == d.code), "{} has no page", d.code);
        assert!(d.message.len() < 2_000, "a message of {} bytes: {}", d.message.len(), shown(&d.message));
    }
    found
}

fn fact(text: &str, code: &str) {
    refused(&format!("[facts]\nf = '''{text}'''"), ALL, code);
}

#[test]
#[ignore = "run by the test above"]
fn case_facts_of_absurd_depth() {
    let atom = "did fs.read";
    for n in [70, 1_000, 100_000] {
        fact(&format!("{}{atom}{}", "(".repeat(n), ")".repeat(n)), "FB0160");
        fact(&format!("{}{atom}", "not ".repeat(n)), "FB0160");
        fact(&format!("{}{atom}", "once ".repeat(n)), "FB0160");
        fact(&format!("{atom}{}", " since did fs.write".repeat(n)), "FB0160");
        fact(&format!("{}{atom}", "exists p . ".repeat(n)), "FB0160");
    }
    for word in ["and", "or"] {
        fact(&vec![atom; 100_000].join(&format!(" {word} ")), "FB0160");
    }
    // Each names the one before it twice: 2^900 parts, were they all written out.
    let mut toml = "[facts]\nf0 = 'once did fs.read'\n".to_owned();
    for n in 1..900 {
        writeln!(toml, "f{n} = 'f{p} and once f{p}'", p = n - 1).unwrap();
    }
    refused(&toml, ALL, "FB0160");
    // One after the other, and sides, of which each is a level of what is walked.
    let mut toml = "[facts]\nf0 = 'once did fs.read'\n".to_owned();
    for n in 1..900 {
        writeln!(toml, "f{n} = 'not f{}'", n - 1).unwrap();
    }
    refused(&toml, ALL, "FB0160");
    for word in ["and", "or", "since"] {
        fact(&vec![atom; 700].join(&format!(" {word} ")), "FB0160");
    }
    let mut toml = "[facts]\n".to_owned();
    for n in 0..100_000 {
        writeln!(toml, "f{n} = 'once did fs.read'").unwrap();
    }
    refused(&toml, ALL, "FB0160");
}

#[test]
#[ignore = "run by the test above"]
fn case_windows_beyond_what_time_has() {
    let beyond = ["9223372036854775808ns", "18446744073709551616ns", "106752d", "99999999999999999999999d"];
    for window in beyond {
        for fact_of in [
            "once[W] did fs.read",
            "once[1s, W] did fs.read",
            "did fs.read since[W] did fs.write",
            "count[W] did fs.read",
        ] {
            fact(&fact_of.replace('W', window), "FB0120");
        }
        for toml in [
            "[escalation.z]\nask = \"dev\"\nwithin = \"W\"\nthen = \"deny\"",
            "[envelope.e]\nof = \"deploy.scale.replicas\"\nrate = 1\nper = \"W\"",
            "[[obligation]]\nname = \"o\"\nwhen = 'did incident.open(id: i)'\nmust = 'did incident.escalate(id: i)'\nwithin = \"W\"\nowner = \"dev\"\notherwise = \"pause\"",
        ] {
            let found = compile(&toml.replace('W', window), ALL).unwrap_err();
            assert!(found.0.iter().any(|d| d.code == "FB0103" || d.code == "FB0105"), "{}", render(&found));
        }
    }
    fact("once[5s, 1s] did fs.read", "FB0120");
    // The longest that can be said, at the end of time.
    let facts = "[facts]\na = 'once[9223372036854775807ns] did fs.read'\nb = 'count[106751d] did fs.read >= 1'\nc = 'not did fs.write since[1s, 106751d] did fs.read'";
    let deny = "forbid (principal, action == Action::\"fs.delete\", resource) when { context.fact.a && context.fact.b && context.fact.c };";
    let mut run = Run::new(charter(facts, &format!("{ALL}@id(\"x\") @owner(\"dev\") @reason(\"r\") {deny}")));
    run.now_ns = u64::MAX - 10 * SECOND;
    run.does(&file("fs.read", "/w/a"));
    assert_eq!(said(&run.attempt(&file("fs.delete", "/w/a"))), "deny x");
}

#[test]
#[ignore = "run by the test above"]
fn case_globs_that_explode() {
    let braces = "{a,b}".repeat(200);
    let nested = format!("{}a{}", "{".repeat(200), "}".repeat(200));
    let stars = "**/".repeat(100_000);
    let brackets = "[!a-z]".repeat(100_000);
    for pattern in [&braces, &nested, &stars, &brackets, "[", "{a", "[z-a]"] {
        fact(&format!("once did fs.read(path like \"{pattern}\")"), "FB0120");
        for toml in [
            format!("[sandbox]\nhide = [\"{pattern}\"]"),
            format!("[[label]]\nname = \"l\"\nowner = \"dev\"\npaths = [\"{pattern}\"]"),
        ] {
            refused(&toml, ALL, "FB0103");
        }
    }
    for host in ["", "*", "*.", "*.a.*", ".a", "A.example", "https://a", "a/b", "a b", &stars] {
        refused(&format!("[http]\npass = [\"{host}\"]"), ALL, "FB0103");
    }
    for (row, code) in [
        ("server = \"s\"\ntool = \"t\"\nis = \"fs.wrote\"\nwith = { path = \"/p\" }", "FB0103"),
        ("server = \"s\"\ntool = \"t\"\nis = \"fs.write\"\nwith = { pathh = \"/p\", path = \"/p\" }", "FB0103"),
        ("server = \"s\"\ntool = \"t\"\nis = \"fs.write\"\nwith = { path = 7 }", "FB0103"),
        // A rule about paths would not find it.
        ("server = \"s\"\ntool = \"t\"\nis = \"fs.write\"", "FB0104"),
        ("server = \"s\"\nis = \"fs.write\"\nwith = { path = \"/p\" }", "FB0104"),
    ] {
        refused(&format!("[[mcp.tool]]\n{row}\n"), ALL, code);
    }
    let with = "with = { name = \"/n\", value = \"/v\" }";
    for (row, code) in [
        ("is = \"control.actuated\"", "FB0103"),
        ("is = \"control.actuate\"", "FB0104"),
        ("is = \"control.actuate\"\nwith = { name = \"/n\", values = \"/v\" }", "FB0103"),
        // It has to be one place, found in one way.
        ("is = \"control.actuate\"\nwith = { name = \"n\", value = \"/*/v\" }", "FB0103"),
        ("is = \"control.actuate\"\nwith = { name = \"{/a|/b}\" }", "FB0103"),
        ("is = \"control.actuate\"\nwith = { name = \"{/a\" }", "FB0103"),
        ("is = \"control.actuate\"\nwith = { name = \"/a?\" }", "FB0103"),
        // A path has a form that no body brings with it.
        ("is = \"fs.write\"\nwith = { path = \"/p\" }", "FB0103"),
        ("is = \"http.request\"\nwith = { method = \"PUT\", host = \"h\", path = \"/p\" }", "FB0103"),
        ("is = \"git.push\"\nwith = { remote = \"o\", name = \"/b\" }", "FB0103"),
        (with, "FB0104"),
    ] {
        refused(&format!("[[http.read]]\nhost = \"h.example\"\n{row}\n"), ALL, code);
    }
    let reads = format!("[[http.read]]\nhost = \"h.example\"\nis = \"control.actuate\"\n{with}\n");
    assert_eq!(charter(&reads, ALL).http().reads[0].json(), ["/n", "/v"]);
    for (row, code) in [
        ("labels = [\"nobodys\"]", "FB0105"),
        ("labels = 3", "FB0103"),
        ("result_max = \"big\"", "FB0103"),
        ("result_max = \"0\"", "FB0103"),
        ("label = []", "FB0102"),
    ] {
        refused(&format!("[mcp.server.web]\n{row}\n"), ALL, code);
    }
    let row = "[[mcp.tool]]\nserver = \"s\"\ntool = \"t\"\nis = \"fs.write\"\nwith = { path = \"/p\" }\n";
    refused(&row.repeat(2), ALL, "FB0103");
    assert_eq!(charter(row, ALL).servers().tools.len(), 1);
    // As bad as may be, against a long name: matching takes time linear in it, or by its length times the pattern's.
    let worst = format!("{}b", "*a".repeat(400));
    let rule = format!(
        "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when {{ resource.name like \"{worst}\" || context.fact.f }};"
    );
    let facts = format!("[facts]\nf = 'once did fs.read(name like \"{worst}\")'");
    let mut run = Run::new(charter(&facts, &format!("{ALL}{rule}")));
    let long = format!("/w/{}", "a".repeat(100_000));
    run.does(&file("fs.read", &long));
    assert_eq!(said(&run.attempt(&file("fs.write", &long))), "allow all");
    assert_eq!(said(&run.attempt(&file("fs.write", &format!("{long}b")))), "deny x");
}

/// A million in release, and more than a fact keeps in debug.
#[test]
#[ignore = "run by the test above"]
fn case_a_million_keys() {
    let keys = if cfg!(debug_assertions) { 70_000 } else { 1_000_000 };
    let facts = "[facts]\nseen = 'once attempt fs.read(path: $path)'\nmany = 'count attempt fs.read by path >= 1000'\n";
    let rule = "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.seen || context.fact.many };";
    let mut run = Run::new(charter(facts, &format!("{ALL}{rule}")));
    assert_eq!(said(&run.attempt(&file("fs.write", "/w/k0"))), "allow all");
    let mut largest = 0;
    for n in 0..keys {
        let event = Event::Attempt(file("fs.read", &format!("/w/k{n}")));
        let of = run.step(event)[0].of;
        run.step(Event::Withdraw { of });
        if n % 10_000 == 0 {
            largest = largest.max(run.kernel.snapshot().len());
        }
    }
    assert!(largest < 64 << 20, "{largest} bytes");
    // It has forgotten some, so nothing that it says is believed: refused, with the reason.
    let ruling = run.attempt(&file("fs.write", "/w/other"));
    assert_eq!(ruling.verdict, Verdict::Deny);
    assert!(ruling.reasons.iter().any(|r| r.rule == "fact-overflow"), "{ruling:#?}");
}

#[test]
#[ignore = "run by the test above"]
fn case_numbers_that_overflow() {
    for n in ["9223372036854775808", "-9223372036854775809", "99999999999999999999999999"] {
        fact(&format!("once did fs.read(bytes > {n})"), "FB0120");
        fact(&format!("count did fs.read >= {n}"), "FB0120");
        let rule = format!(
            "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action, resource) when {{ context.autonomy > {n} }};"
        );
        refused("", &rule, "FB0110");
        for toml in [
            format!("[budget.b]\ncount = \"fs.read\"\nlimit = {n}"),
            format!("[envelope.e]\nof = \"deploy.scale.replicas\"\nmax = {n}"),
            format!("[limits]\npids = {n}"),
        ] {
            let found = compile(&toml, ALL).unwrap_err();
            assert!(found.0.iter().all(|d| d.line >= 1), "{}", render(&found));
        }
    }
    let facts = "[facts]\nread = 'sum of bytes did fs.read > 10'";
    let rule = "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.read };";
    let mut run = Run::new(charter(facts, &format!("{ALL}{rule}")));
    for _ in 0..3 {
        run.does(&file("fs.read", "/w/a").with("bytes", i64::MAX).unwrap());
    }
    let ruling = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(ruling.verdict, Verdict::Deny, "{ruling:#?}");
    assert!(serde_json::from_str::<Input>(r#"{"seq":18446744073709551616,"at_ns":1,"event":"tick"}"#).is_err());
}

#[test]
#[ignore = "run by the test above"]
fn case_times_that_run_backwards() {
    let facts = "[facts]\nfew = 'count[60s] attempt fs.write >= 2'\n[budget.b]\ncount = \"fs.write\"\nlimit = 9\n[envelope.e]\nof = \"deploy.scale.replicas\"\nrate = 1\nper = \"1m\"";
    let rule = "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.few };";
    let mut run = Run::new(charter(facts, &format!("{ALL}{rule}")));
    run.now_ns = 1_000 * SECOND;
    run.does(&file("fs.write", "/w/a"));
    for earlier in [999, 500, 1, 0] {
        run.seq += 1;
        let event = Event::Attempt(file("fs.write", "/w/a"));
        let ruling = run.kernel.step(&Input { seq: run.seq, at_ns: earlier * SECOND, event }).remove(0);
        assert_eq!(ruling.verdict, Verdict::Deny, "{ruling:#?}");
    }
    run.now_ns = 1_010 * SECOND;
    assert_eq!(said(&run.attempt(&file("fs.read", "/w/a"))), "allow all");
}

#[test]
#[ignore = "run by the test above"]
fn case_unknown_verbs() {
    for verb in ["fs.wrote", "fs", "write", "", "fs.write.all", "FS.write", "fs.write\u{0}", "*"] {
        assert!(Action::new(verb, Resource::file("/w/a"), Surface::Fs).is_err());
        let json = serde_json::json!({"verb": verb, "resource": {"kind": "File", "path": "/w/a"}, "surface": "fs"});
        assert!(serde_json::from_value::<Action>(json).is_err());
        match compile(&format!("[facts]\nf = '''once did {verb}(path: \"x\")'''"), ALL) {
            Ok(_) => assert_eq!(verb, "fs", "a whole group"),
            Err(found) => {
                let is_told = |d: &Diagnostic| ["FB0101", "FB0120", "FB0121", "FB0160"].contains(&d.code);
                assert!(found.0.iter().all(|d| d.message.len() < 2_000 && is_told(d)), "{}", found.0[0].code);
            }
        }
        if !verb.contains('\u{0}') && verb != "fs" {
            let rule = format!(
                "@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"{verb}\", resource);"
            );
            let found = compile("", &rule).unwrap_err();
            assert!(found.0.iter().all(|d| d.message.len() < 2_000), "{}", found.0[0].message.len());
        }
        let toml = format!("[budget.b]\ncount = '''{verb}'''\nlimit = 1");
        if let Err(found) = compile(&toml, ALL) {
            assert!(found.0.iter().all(|d| d.message.len() < 2_000));
        } else {
            assert!(["fs", "*"].contains(&verb), "{verb}");
        }
    }
}

#[test]
#[ignore = "run by the test above"]
fn case_names_given_twice() {
    let rule = |when: &str| {
        format!("@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action, resource) when {{ {when} }};\n")
    };
    let found = refused("", &format!("{}{}", rule("context.opaque"), rule("context.autonomy > 1")), "FB0114");
    assert_eq!(found.0[0].line, 2, "at the second: {}", render(&found));
    // Across files, and between rules and what else gives a ruling's reasons their names.
    let files = [
        ("charter.toml".to_owned(), HEAD.to_owned()),
        ("a.cedar".to_owned(), rule("context.opaque")),
        ("b.cedar".to_owned(), rule("context.autonomy > 1")),
    ];
    let found = Charter::compile(&files.into()).unwrap_err();
    assert!(found.0.iter().any(|d| d.code == "FB0114" && d.file == "b.cedar"), "{}", render(&found));
    let found = compile("[budget.x]\ncount = \"fs.read\"\nlimit = 1", &rule("context.opaque")).unwrap_err();
    assert!(!found.0.is_empty());
    for toml in
        ["[facts]\na = 'once did fs.read'\na = 'once did fs.write'", "[charter]\nname = \"again\"", "[owners]\n"]
    {
        refused(toml, ALL, "FB0101");
    }
}

#[test]
#[ignore = "run by the test above"]
fn case_texts_that_no_parser_likes() {
    let deep = |open: &str, close: &str| format!("a = {}1{}", open.repeat(100_000), close.repeat(100_000));
    for toml in [
        deep("[", "]"),
        deep("{a=", "}"),
        format!("[{}]", vec!["a"; 100_000].join(".")),
        "\u{0}".to_owned(),
        "a = \"\u{7f}\"".to_owned(),
        "\u{feff}\u{feff}".to_owned(),
        "a".repeat(1 << 20),
        "[[".repeat(1 << 18),
    ] {
        let found = compile(&toml, ALL).unwrap_err();
        assert!(found.0.len() < 10_000 && found.0.iter().all(|d| d.line >= 1 && d.message.len() < 2_000));
    }
    for cedar in
        ["@".repeat(1 << 18), "permit (".repeat(1 << 14), "\u{0}".to_owned(), "\"".to_owned(), "//".repeat(1 << 18)]
    {
        let Err(found) = compile("", &cedar) else { continue };
        assert!(found.0.len() < 10_000 && found.0.iter().all(|d| d.line >= 1 && d.message.len() < 2_000));
    }
    // Too large is told unread.
    let found = compile("", &" ".repeat((4 << 20) + 1)).unwrap_err();
    assert_eq!(found.0.iter().map(|d| d.code).collect::<Vec<_>>(), ["FB0160"], "{}", render(&found));
}

#[test]
#[ignore = "run by the test above"]
fn case_inputs_of_absurd_size() {
    let mut run = Run::new(charter(
        "[facts]\nf = 'once did fs.read(path: $path)'",
        &format!(
            "{ALL}@id(\"x\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when {{ context.fact.f }};"
        ),
    ));
    let huge = format!("/w/{}", "é/".repeat(1 << 20));
    let argv: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    for action in [file("fs.read", &huge), exec("x", &argv)] {
        let ruling = run.attempt(&action);
        run.step(Event::Withdraw { of: ruling.of });
    }
    // What is one no longer is answered by nobody: numbers that were never given, and answers to nothing.
    for of in [0, 1, u64::MAX] {
        let told = run.step(Event::Dispatch { of });
        assert!(told.iter().all(|r| r.verdict == Verdict::Deny), "{told:#?}");
    }
    assert!(run.kernel.snapshot().len() < 32 << 20);
}
