//! Sessions at the same time on one ledger: what one does counts in the other from then on.

use crate::people::wait_for;
use crate::support::{Case, World, nothing};
use flyball_testkit::user::User;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_live_session_is_refused_for_what_another_just_did", needs: nothing, run: in_turns },
        Case { name: "of_two_sessions_at_once_exactly_one_has_what_one_may_have", needs: nothing, run: at_once },
        Case { name: "what_a_window_leaves_out_is_not_read", needs: nothing, run: out_of_the_window },
        Case { name: "a_charter_that_is_adopted_sees_what_others_did_before", needs: nothing, run: adopted },
    ]
}

const RULE: &str = "@id(\"fleet\") @owner(\"maintainer\") @reason(\"seen elsewhere\") \
                    forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.seen };\n";

fn fact(window: &str) -> String {
    format!("[facts]\nseen = {{ is = 'once{window} did process.exec(argv has \"magic\")', per = \"fleet\" }}\n")
}

/// A session whose shell does what it is told, line by line.
pub struct Live {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    id: String,
}

impl Live {
    pub fn start(world: &World) -> Self {
        let before = ids(world);
        let shell = "while read line; do eval \"$line\"; echo \"said $?\"; done";
        let words = ["run", "--on-hold", "deny", "--apply", "never", "--", "sh", "-c", shell];
        let mut command = world.flyball(&words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let id = wait_for("the session", || ids(world).into_iter().find(|id| !before.contains(id)));
        let mut live = Self { child, to, from, id };
        assert!(live.act(":"), "it listens");
        live
    }

    /// Whether the shell says that it went well.
    pub fn act(&mut self, line: &str) -> bool {
        writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
        loop {
            let mut said = String::new();
            assert!(self.from.read_line(&mut said).unwrap() > 0, "it ended at `{line}`");
            if let Some(status) = said.strip_prefix("said ") {
                return status.trim() == "0";
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it; gives what it wrote to standard error, and its record.
    pub fn end(mut self, world: &World) -> (String, Vec<Value>) {
        self.to = None;
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        let text = world.ok(&["log", &self.id, "--json"]);
        (said, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

fn ids(world: &World) -> Vec<String> {
    let output = world.flyball(&["ps", "--json"]).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].as_str().unwrap().to_owned()).collect()
}

/// What a session was told of others: stream and entry.
fn told(log: &[Value]) -> Vec<(String, u64)> {
    let told = log.iter().filter_map(|e| e["body"].get("elsewhere"));
    told.map(|e| (e["stream"].as_str().unwrap().to_owned(), e["seq"].as_u64().unwrap())).collect()
}

fn in_turns(user: User) {
    let world = World::new(user);
    world.init(&fact(""), RULE);
    let (mut one, mut two) = (Live::start(&world), Live::start(&world));
    assert!(two.act("echo a > first"), "nothing was done yet");
    assert!(one.act("/bin/true magic"));
    assert!(!two.act("echo a > second"), "the other session's action counts here at once");
    assert!(!one.act("echo a > third"), "and in its own");
    assert!(two.act("/bin/true other"), "what the rule is not about goes on");
    assert!(!two.act("echo a > fourth"));
    let mut three = Live::start(&world);
    assert!(!three.act("echo a > fifth"), "and in a session that starts later");
    let id = one.id.clone();
    let (said, _) = one.end(&world);
    assert!(said.contains("seen elsewhere"), "{said}");
    for live in [two, three] {
        let (said, log) = live.end(&world);
        assert!(said.contains("seen elsewhere"), "{said}");
        // Each shell is an exec too, and each is told once.
        let told = told(&log);
        let mut once = told.clone();
        once.dedup();
        assert_eq!(told, once, "each event is told once");
        let witness = log.iter().find(|e| e["body"]["elsewhere"]["action"].to_string().contains("magic")).unwrap();
        assert_eq!(witness["body"]["elsewhere"]["stream"], id.as_str());
        let denied = log.iter().find(|e| e["kind"] == "ruling" && e["body"]["verdict"] == "deny").unwrap();
        assert_eq!(denied["body"]["reasons"][0]["witnesses"][0], witness["seq"], "{denied}");
        world.ok(&["verify"]);
    }
}

fn at_once(user: User) {
    const CLAIMS: usize = 40;
    let world = World::new(user);
    world.init(
        "[facts]\nclaimed = { is = 'once did fs.write(path: $path)', per = \"fleet\" }\n",
        "@id(\"one-owner\") @owner(\"maintainer\") @reason(\"claimed by another\") \
         forbid (principal, action == Action::\"fs.write\", resource) \
         when { resource.rel like \"claims/*\" && context.fact.claimed };\n",
    );
    std::fs::create_dir(world.repo.workspace().join("claims")).unwrap();
    user.own(&world.repo.workspace().join("claims")).unwrap();
    let claim = format!(
        "n=0; won=; while [ $n -lt {CLAIMS} ]; do {{ echo mine > claims/c$n; }} 2> /dev/null && echo \"won $n\"; n=$((n+1)); done"
    );
    let mut all = [Live::start(&world), Live::start(&world)];
    // Both are told before either answers.
    for live in &mut all {
        writeln!(live.to.as_mut().unwrap(), "{claim}").unwrap();
    }
    let mut won = Vec::new();
    for live in &mut all {
        loop {
            let mut said = String::new();
            assert!(live.from.read_line(&mut said).unwrap() > 0, "it ended");
            match said.trim().strip_prefix("won ") {
                Some(which) => won.push(which.parse::<usize>().unwrap()),
                None => break,
            }
        }
    }
    won.sort_unstable();
    assert_eq!(won, (0..CLAIMS).collect::<Vec<_>>(), "each is won once");
    for live in all {
        live.end(&world);
    }
    world.ok(&["verify"]);
}

fn out_of_the_window(user: User) {
    let world = World::new(user);
    world.init(&fact("[2s]"), RULE);
    let mut one = Live::start(&world);
    assert!(one.act("/bin/true magic"));
    let begun = std::time::Instant::now();
    one.end(&world);
    wait_for("the window to pass", || (begun.elapsed().as_secs() >= 3).then_some(()));
    let mut two = Live::start(&world);
    assert!(two.act("echo a > first"));
    let (_, log) = two.end(&world);
    assert_eq!(told(&log), [], "what is too old to matter is not read");
}

fn adopted(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (mut one, mut two) = (Live::start(&world), Live::start(&world));
    assert!(one.act("/bin/true magic") && two.act("echo a > first"));
    let dir = world.repo.scratch().join("narrow");
    std::fs::create_dir(&dir).unwrap();
    for entry in std::fs::read_dir(world.repo.workspace().join(".flyball")).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let text = match entry.file_name().to_str().unwrap() {
            "charter.toml" if text.contains("\n[facts]\n") => {
                text.replacen("\n[facts]\n", &format!("\n{}", fact("")), 1)
            }
            "charter.toml" => format!("{text}\n{}", fact("")),
            "more.cedar" => text + RULE,
            _ => text,
        };
        std::fs::write(dir.join(entry.file_name()), text).unwrap();
    }
    user.own(&dir).unwrap();
    world.ok(&["constrain", &two.id, "--reason", "test", "--charter", dir.to_str().unwrap()]);
    assert!(!two.act("echo a > second"), "what another session did before the change counts");
    assert!(one.act("echo a > third"), "the other session has its charter still");
    one.end(&world);
    let (said, _) = two.end(&world);
    assert!(said.contains("seen elsewhere"), "{said}");
    world.ok(&["verify"]);
}
