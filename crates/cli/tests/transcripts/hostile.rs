//! Hostile charters through every command that reads one: an error with its place, in bounded time and memory, and an output
//! that a person can scroll.

use crate::fixture;
use crate::scene::Scene;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const WORK: &str = "@id(\"work\") @owner(\"team\") @reason(\"Work.\")\npermit (principal, action, resource);\n";
const MEMORY_KIB: u32 = 4 << 20;
/// Generous, for a busy machine: what grows exponentially takes years.
const DEADLINE: Duration = Duration::from_secs(900);
const OUTPUT_MAX: usize = 1 << 19;

/// `charter.toml`'s end, `rules.cedar`, and codes of which one is told.
type Bad = (&'static str, Vec<u8>, Vec<u8>, &'static [&'static str]);

/// The same, with both files in one.
type Written = (&'static str, (Vec<u8>, Vec<u8>), &'static [&'static str]);

fn bad() -> Vec<Bad> {
    let rule = |when: &str| {
        format!(
            "{WORK}@id(\"x\") @owner(\"team\") @reason(\"r\") forbid (principal, action, resource) when {{ {when} }};\n"
        )
    };
    let toml = |text: String| (text.into_bytes(), WORK.as_bytes().to_vec());
    let cedar = |text: String| (Vec::new(), text.into_bytes());
    let long = "v".repeat(100_000);
    let facts: String = (0..100_000).map(|n| format!("f{n} = 'once did fs.read'\n")).collect();
    let keys: String = (0..100_000).map(|n| format!("k{n} = {n}\n")).collect();
    let all: Vec<Written> = vec![
        ("a line of a mebibyte", toml("a".repeat(1 << 20)), &["FB0101"]),
        ("a text of a mebibyte", toml(format!("[facts]\nf = '{}'\n", "x ".repeat(1 << 19))), &["FB0120", "FB0160"]),
        (
            "a fact of a hundred thousand brackets",
            toml(format!("[facts]\nf = '{}did fs.read{}'\n", "(".repeat(100_000), ")".repeat(100_000))),
            &["FB0160"],
        ),
        (
            "tables in tables",
            toml(format!("a = {}1{}\n", "[".repeat(100_000), "]".repeat(100_000))),
            &["FB0101", "FB0160"],
        ),
        (
            "brackets in a rule",
            cedar(rule(&format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000)))),
            &["FB0160"],
        ),
        ("a hundred thousand facts", toml(format!("[facts]\n{facts}")), &["FB0160"]),
        ("a hundred thousand unknown keys", toml(format!("[sandbox]\n{keys}")), &["FB0102"]),
        (
            "globs that explode",
            toml(format!("[sandbox]\nhide = [\"/{}\"]\nscratch = [\"{}\"]\n", "{a,b}".repeat(200), "{".repeat(500))),
            &["FB0103"],
        ),
        (
            "a window beyond what time has",
            toml("[facts]\nf = 'once[9223372036854775808ns] did fs.read'\n".to_owned()),
            &["FB0120"],
        ),
        (
            "a number beyond 64 bits",
            toml("[budget.b]\ncount = \"fs.read\"\nlimit = 99999999999999999999\n".to_owned()),
            &["FB0101", "FB0103"],
        ),
        ("a long verb in a fact", toml(format!("[facts]\nf = 'once did {long}'\n")), &["FB0120", "FB0121"]),
        ("a long verb in a budget", toml(format!("[budget.b]\ncount = \"{long}\"\nlimit = 1\n")), &["FB0121"]),
        (
            "a long verb in a rule",
            cedar(format!(
                "{WORK}@id(\"x\") @owner(\"team\") @reason(\"r\") forbid (principal, action == Action::\"{long}\", resource);\n"
            )),
            &["FB0110", "FB0111", "FB0121"],
        ),
        ("a long owner", cedar(WORK.replace("team", &long)), &["FB0105"]),
        ("the same id twice", cedar(format!("{WORK}{WORK}")), &["FB0114"]),
    ];
    let mut out: Vec<Bad> = all.into_iter().map(|(name, (toml, cedar), codes)| (name, toml, cedar, codes)).collect();
    out.push(("bytes that are no text", b"# \xff\xfe\n".to_vec(), WORK.as_bytes().to_vec(), &["FB05"]));
    out.push(("rules that are no text", Vec::new(), b"// \xff\n".to_vec(), &["FB05"]));
    out
}

fn run(scene: &Scene, words: &[&str]) -> Output {
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\" > out 2> err")])
        .arg(env!("CARGO_BIN_EXE_flyball"))
        .args(words)
        .current_dir(scene.repo())
        .env_clear()
        .env("HOME", scene.root.join("home"))
        .env("FLYBALL_HOME", scene.ledger())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("still not done: {words:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let read = |name: &str| std::fs::read(scene.repo().join(name)).unwrap();
    Output { status, stdout: read("out"), stderr: read("err") }
}

fn write(dir: &Path, toml: &[u8], cedar: &[u8]) {
    let head = b"[charter]\nname = \"t\"\n\n[owners]\nteam = [\"user:ann\"]\n\n";
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("charter.toml"), [&head[..], toml].concat()).unwrap();
    std::fs::write(dir.join("rules.cedar"), cedar).unwrap();
}

#[test]
fn hostile_charters_are_refused_with_their_place() {
    let scene = Scene::new();
    fixture::session(&scene);
    write(&scene.repo().join("good"), b"", WORK.as_bytes());
    // All through `check`; through the others, which compile by the same function, one in six, or all where asked.
    let is_long = std::env::var_os("FLYBALL_ROUNDS").is_some();
    for (n, (name, toml, cedar, codes)) in bad().into_iter().enumerate() {
        let dir = scene.repo().join("bad");
        write(&dir, &toml, &cedar);
        let commands = [
            &["check", "bad"][..],
            &["check", "bad", "--json"],
            &["diff", "good", "bad"],
            &["diff", "bad", "good"],
            &["suggest", "@", "--charter", "bad"],
            &["constrain", "@", "--charter", "bad", "--reason", "r"],
        ];
        for (m, words) in commands.into_iter().enumerate() {
            if m > 0 && !is_long && n % 6 != m {
                continue;
            }
            let output = run(&scene, words);
            let said = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&said);
            let shown: String = text.chars().take(2_000).collect();
            assert!(matches!(output.status.code(), Some(1 | 2)), "{name}: {words:?} {:?}: {shown}", output.status);
            assert!(!text.contains("panicked"), "{name}: {words:?}: {shown}");
            assert!(codes.iter().any(|code| text.contains(code)), "{name}: {words:?}: {shown}");
            assert!(text.contains("charter.toml") || text.contains("rules.cedar"), "{name}: {words:?}: {shown}");
            assert!(said.len() < OUTPUT_MAX, "{name}: {words:?}: {} bytes: {shown}", said.len());
        }
    }
}

/// Large, and nothing wrong with it: it is read, compared and changed, or the analysis says where it stopped short.
#[test]
fn a_charter_of_many_rules_is_read_and_compared() {
    let count = if std::env::var_os("FLYBALL_ROUNDS").is_some() { 3_000 } else { 150 };
    let scene = Scene::new();
    fixture::session(&scene);
    let rule = |n: usize, name: &str| {
        format!(
            "@id(\"r{n}\") @owner(\"team\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when {{ resource.rel like \"{name}{n}/*\" }};\n"
        )
    };
    let many = |name: &str| format!("{WORK}{}", (0..count).map(|n| rule(n, name)).collect::<String>());
    write(&scene.repo().join("one"), b"", many("a").as_bytes());
    write(&scene.repo().join("other"), b"", many("b").as_bytes());
    for words in [
        &["check", "one", "--json"][..],
        &["diff", "one", "one"],
        &["diff", "one", "other"],
        &["suggest", "@", "--charter", "one"],
    ] {
        let begun = Instant::now();
        let output = run(&scene, words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{words:?}: {} bytes in {:?}", text.len(), begun.elapsed());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(text.len() < 4 << 20, "{words:?}: {} bytes", text.len());
    }
}
