//! Real shells as oracle: every program that a script starts must be in what was read of it, with its words and its folder, or the
//! reading says that it is opaque.
//!
//! Scripts are made up from a seed; [`SCRIPTS`] of them by default, `FLYBALL_ORACLE=all` for fifty times as many. The programs are stubs
//! that write down how they were started.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use flyball_intent::{Exec, command_actions};
use flyball_kernel::{Action, Value};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SCRIPTS: u64 = 160;
const STUBS: &[&str] = &["rm", "cp", "touch", "git", "kubectl", "chmod"];
const REAL: &[&str] = &["sh", "bash", "dash", "xargs", "cat", "env", "timeout", "true", "false", "mkdir", "nice"];

/// A started program: its name, its folder, its words.
type Started = (String, String, Vec<String>);

struct Scene {
    dir: tempfile::TempDir,
    work: PathBuf,
}

impl Scene {
    /// `None` where a program is missing.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (bin, work) = (dir.path().join("bin"), dir.path().join("w"));
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir_all(work.join("sub/a")).unwrap();
        std::fs::write(work.join("list"), "listed\n").unwrap();
        std::fs::write(work.join("env.sh"), "X=sourced; Y=sourced\n").unwrap();
        let log = dir.path().join("log");
        for name in STUBS {
            let text = format!(
                "#!/bin/sh\n{{ printf '%s\\037' {name} \"$(pwd -P)\" \"$@\"; printf '\\036'; }} >> '{}'\n",
                log.display()
            );
            std::fs::write(bin.join(name), text).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in REAL {
            let real = ["/bin", "/usr/bin"].iter().map(|d| Path::new(d).join(name)).find(|p| p.exists())?;
            std::os::unix::fs::symlink(real, bin.join(name)).unwrap();
        }
        Some(Self { work: work.canonicalize().unwrap(), dir })
    }

    fn run(&self, shell: &str, script: &str) -> Vec<Started> {
        let log = self.dir.path().join("log");
        let _ = std::fs::remove_file(&log);
        let bin = self.dir.path().join("bin");
        let mut command = Command::new(bin.join("timeout"));
        command.arg("20").arg(bin.join(shell)).args(["-c", script]).current_dir(&self.work).env_clear();
        command
            .env("PATH", &bin)
            .env("HOME", "/home/u")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().unwrap();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let records = text.split('\u{1e}').filter(|record| !record.is_empty());
        let one = |record: &str| {
            let mut words: Vec<String> = record.split('\u{1f}').map(str::to_owned).collect();
            words.pop();
            (words.remove(0), words.remove(0), words)
        };
        records.map(one).collect()
    }

    /// What is read of it; `None` where some of it is opaque.
    fn read(&self, shell: &str, script: &str) -> Option<Vec<Started>> {
        let argv = [shell, "-c", script].map(str::to_owned);
        let cwd = self.work.to_str().unwrap();
        let exec =
            Exec { program: &format!("/usr/bin/{shell}"), argv: &argv, cwd, home: "/home/u", script: None, git: None };
        let actions = command_actions(&exec);
        let is_opaque = |action: &Action| action.verb.name() == "process.exec" && action.attr("opaque").is_some();
        if actions.iter().any(is_opaque) {
            return None;
        }
        let text = |action: &Action, name: &str| match action.resource.field(name) {
            Some(Value::Str(text)) => text.clone(),
            _ => String::new(),
        };
        let one = |action: &Action| {
            let argv = match action.resource.field("argv") {
                Some(Value::Strs(words)) => words.clone(),
                _ => Vec::new(),
            };
            (text(action, "program"), text(action, "cwd"), argv)
        };
        Some(actions.iter().filter(|action| action.verb.name() == "process.exec").map(one).collect())
    }

    /// Whether it could be read; panics where something ran that was not in it.
    #[track_caller]
    fn compare(&self, script: &str) -> bool {
        for shell in ["dash", "bash"] {
            let Some(read) = self.read(shell, script) else { return false };
            for started in self.run(shell, script) {
                assert!(read.contains(&started), "{shell} ran {started:?}\n{script}\nread: {read:#?}");
            }
        }
        true
    }
}

/// Made-up scripts. The generator is a plain one: the same seed gives the same script everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.roll(all.len())]
    }

    fn name(&mut self) -> &'static str {
        self.of(&["X", "X", "Y", "f"])
    }

    fn value(&mut self) -> &'static str {
        let rare = [
            "'a b'",
            "'*'",
            "''",
            "$(echo q)",
            "~/z",
            "x:~/y",
            "\"$Y\"",
            "$Y",
            "${X}",
            "\"${X}c\"",
            "'a\\b'",
            "$1",
            "${#X}",
        ];
        let plain = ["a", "b", "sub/a", "rm", "cp", "-r", "'c'", "\"d\"", "plan.txt"];
        if self.roll(10) == 0 { self.of(&rare) } else { self.of(&plain) }
    }

    fn word(&mut self) -> String {
        let name = self.name();
        match self.roll(6) {
            0 => format!("${name}"),
            1 | 2 => format!("\"${name}\""),
            3 => format!("${{{name}}}z"),
            4 => format!("p/\"${name}\""),
            _ => self.value().to_owned(),
        }
    }

    fn command(&mut self) -> String {
        let (program, one, two) = (self.of(STUBS), self.word(), self.word());
        let name = self.name();
        match self.roll(24) {
            0..=2 => format!("{program} {one} {two}"),
            7 => format!("${name} {one}"),
            8 => format!("\"${name}\" {one}"),
            3 => format!("env {program} {one}"),
            4 => format!("{name}={two} {program} {one}"),
            5 => format!("sh -c '{program} k'"),
            _ => format!("{program} {one}"),
        }
    }

    fn pipe(&mut self) -> String {
        let (program, one, two) = (self.of(STUBS), self.word(), self.word());
        match self.roll(14) {
            0 => format!("printf 'a\\nb\\n' | xargs {program}"),
            1 => format!("printf '%s\\n' {one} {two} | xargs {program} k"),
            2 => format!("echo {one} {two} | xargs -n1 {program}"),
            3 => format!("echo {one} {two} | xargs -I{{}} {program} {{}} z{{}}"),
            4 => format!("echo {program} | xargs -I{{}} {{}} y"),
            5 => format!("xargs {program} <<E\na b\n c\nE"),
            6 => format!("cat <<'E' | xargs -n 2 {program}\na b\nc\nE"),
            7 => format!("echo '{program} q' | sh"),
            8 => format!("echo a | xargs {program} < list"),
            9 => format!("echo {one} | xargs -r {program}"),
            10 => format!("printf '' | xargs {program} e"),
            11 => format!("echo a b | xargs sh -c '{program} \"$@\"' _"),
            12 => format!("echo a | env xargs {program} {two}"),
            _ => format!("cat list | xargs {program}"),
        }
    }

    fn assignment(&mut self) -> String {
        let (name, value) = (self.name(), self.value());
        if self.roll(12) > 0 {
            return format!("{name}={value}");
        }
        match self.roll(22) {
            0 => format!("{name}+={value}"),
            1 => format!("export {name}={value}"),
            2 => format!("readonly {name}={value}"),
            3 => format!("unset {name}"),
            4 => format!("read {name} < list"),
            5 => format!(": ${{{name}:={value}}}"),
            6 => format!(": $(({name}=3))"),
            7 => format!("printf -v {name} k"),
            8 => format!("eval '{name}=k'"),
            9 => "IFS=a".to_owned(),
            10 => ". ./env.sh".to_owned(),
            11 => format!("set -- {value}; {name}=$1"),
            12 => format!("trap '{name}=k' DEBUG"),
            13 => format!("{name}=k Y={value}"),
            14 => format!("{name}=k :"),
            15 => format!("{name}=k | cat"),
            16 => format!("declare {name}=k"),
            17 => format!("{name}=(k l)"),
            18 => format!("set -u; {name}=k"),
            19 => format!("command export {name}=k"),
            20 => format!("getopts ab {name}"),
            _ => format!("{name}=k &"),
        }
    }

    fn statement(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.roll(5) {
                0 | 1 => self.assignment(),
                2 => self.pipe(),
                _ => self.command(),
            };
        }
        let (name, value) = (self.name(), self.value());
        match self.roll(24) {
            0 => format!("if {}; then {}; else {}; fi", self.block(0), self.block(depth - 1), self.block(depth - 1)),
            1 | 2 => format!("for {name} in {} {value}; do {}; done", self.value(), self.block(depth - 1)),
            3 => format!(
                "for {name} in a b; do {}; {}; done",
                self.block(depth - 1),
                self.of(&["true", "break", "continue", "cd sub"])
            ),
            4 => format!("while true; do {}; break; done", self.block(depth - 1)),
            5 => format!(
                "for i in 1 2; do {} && {}; {}; done",
                self.of(&["true", "false"]),
                self.of(&["continue", "break", ":"]),
                self.block(depth - 1)
            ),
            6 => format!("({})", self.block(depth - 1)),
            7 => format!("{{ {}; }}", self.block(depth - 1)),
            8 => format!("{} && {}", self.of(&["true", "false"]), self.statement(0)),
            9 => format!("{} || {}", self.of(&["true", "false"]), self.statement(0)),
            10 => format!("false && {} || {}", self.assignment(), self.command()),
            11 => format!("case ${name} in a) {};; *) {};; esac", self.block(0), self.block(0)),
            12 => format!("g() {{ {}; }}; g", self.block(0)),
            13 => self
                .of(&["cd sub", "cd sub && cd a", "cd nowhere", "cd nowhere || cd sub", "cd $X", "cd sub/a; cd .."])
                .to_owned(),
            14 => format!("{} | {}", self.statement(0), self.command()),
            15 => format!("until {}; do {}; break; done", self.of(&["false", "true"]), self.block(depth - 1)),
            16 => format!("[[ ${name} -eq 1 ]] && {}", self.command()),
            _ => self.statement(0),
        }
    }

    fn block(&mut self, depth: usize) -> String {
        let count = 1 + self.roll(3);
        let first = (self.roll(2) == 0).then(|| self.assignment());
        let first: Vec<String> = first.into_iter().collect();
        first.into_iter().chain((0..count).map(|_| self.statement(depth))).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn what_shells_start_was_read() {
    let Some(scene) = Scene::new() else {
        eprintln!("skipped: bash, dash or xargs is missing here");
        return;
    };
    let times = if std::env::var("FLYBALL_ORACLE").is_ok_and(|it| it == "all") { 50 } else { 1 };
    let from = std::env::var("FLYBALL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let (mut read, mut followed) = (0, 0);
    for seed in from..from + SCRIPTS * times {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll(2);
        let script = {
            let depth = dice.roll(3);
            dice.block(depth)
        };
        let is_read = scene.compare(&script);
        read += u64::from(is_read);
        followed += u64::from(is_read && script.contains('$'));
    }
    eprintln!("{read} of {} scripts read, {followed} with variables", SCRIPTS * times);
    assert!(read * 5 > SCRIPTS * times, "{read}: hardly anything is read");
    assert!(followed * 20 > SCRIPTS * times, "{followed}: hardly any variable is followed");
}

/// What was found by thinking of it. First what is to be read, then what must not be taken for less than it is.
#[test]
fn known_ways_are_read_or_said_to_be_unread() {
    let Some(scene) = Scene::new() else {
        eprintln!("skipped: bash, dash or xargs is missing here");
        return;
    };
    for script in [
        "X=rm; $X -rf y",
        "X=a; Y=$X/b; rm \"$Y\" ${X}",
        "for f in a b 'c d'; do rm \"$f\"; cp \"$f\" z || true; done; touch k",
        "printf 'a\\nb' | xargs rm",
        "printf '%s\\n' a b | xargs -n1 rm -f",
        "echo a b | xargs -I{} cp {} z/{}",
        "cat <<'E' | xargs rm\na\nE",
        "xargs rm <<< 'a b'",
        "echo 'rm a' | sh",
        "export X=a; rm $X",
        "set -euo pipefail; D=sub; cd \"$D\" && rm k",
        "X=a; (X=b; rm $X); X=c",
        "X=a && rm $X",
    ] {
        assert!(scene.compare(script), "can be read: {script}");
    }
    for script in [
        "X=a; eval 'X=b'; rm $X",
        "X=a; . ./env.sh; rm $X",
        "X=a; read X < list; rm $X",
        "trap 'X=b' DEBUG; X=a; rm $X",
        "X=a; g() { X=b; }; g; rm $X",
        "X=a; for i in 1 2; do rm $X; X=b; done",
        "X=a; while true; do rm $X; test -n \"$Z\" && break; X=b; Z=1; done",
        "X=a; false && X=b; rm $X",
        "X=a; if false; then X=b; fi; rm $X",
        "readonly X=a; X=b; rm $X",
        "X=sub/a; IFS=/; rm $X",
        "X='a b'; rm $X",
        "X=a:~/b; rm $X",
        "X=a; : $((X=7)); rm $X",
        "X=a; ((X=7)); rm $X",
        "X=a; [[ X=7 -eq 7 ]]; rm $X",
        "X=a; printf -v X b; rm $X",
        "X=a; command read X < list; rm $X",
        "X=a; r\\ead X < list; rm $X",
        "X=a; C=read; $C X < list; rm $X",
        "X=a; : \"${X:=b}\"; unset X; : \"${X:=b}\"; rm $X",
        "X=a; X=b :; rm $X",
        "for X in a b; do :; done; rm $X",
        "echo() { cat list; }; echo a | xargs rm",
        "while true; do echo a | xargs rm; [ \"$n\" ] && break; n=1; echo() { cat list; }; done",
        "echo a | xargs rm < list",
        "echo a | sh -c 'xargs rm' < list",
        "echo a | { cat list | xargs rm; }",
        "echo b | xargs -I=x rm a=x",
        "echo '\"a b\"' | xargs rm",
        "echo 'a\\ b' | xargs rm",
        "echo 'rm a' | sh < list",
        "sh <<< 'rm a' < list",
        "X='z[$(rm k)]'; ((X))",
        "X='z[$(rm k)]'; : $((X))",
        "let 'z[$(rm k)]=1'",
        "[[ 'z[$(rm k)]' -eq 1 ]]",
        "test -v 'z[$(rm k)]'",
        "printf -v 'z[$(rm k)]' x",
        "hash -p \"$(command -v rm)\" touch; touch k",
        "mapfile -c 1 -C 'rm k; :' < list",
        "env 'BASH_FUNC_touch%%=() { rm k; }' bash -c 'touch x'",
        "for i in 1 2; do rm k; cd sub; done",
        "cd nowhere; rm k",
        "cd nowhere || true; rm k",
        "cd sub && false; rm k",
        "PS4='$(rm k)'; set -x; :",
        "X=a; command export X=b; rm $X",
        "X=a; builtin export X=b; rm $X",
        "command cd sub; rm k",
        "builtin cd sub; rm k",
        "command command -p cd sub; rm k",
        "eval 'cd sub'; rm k",
        "command eval 'rm k; cd sub; rm k'; rm k",
        "trap 'cd sub' DEBUG; touch k; rm k",
        "CDPATH=/tmp:sub; cd a; rm k",
        "cd -P sub/..; rm k",
        "((rm\ntouch k))",
        "[[ a && rm ]]",
        "X=$'rm'; rm $X",
    ] {
        scene.compare(script);
    }
}
