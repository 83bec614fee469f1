//! The unmodified Codex CLI: it edits with its own tool, runs commands, is refused and reads why, and its work is applied.

use crate::support::{self, Case, World};
use flyball_testkit::codex::Codex;
use flyball_testkit::model_endpoint::{ModelEndpoint, Turn};
use flyball_testkit::repo::{CANARY, FIX};
use flyball_testkit::user::User;
use std::process::Stdio;

pub fn cases() -> Vec<Case> {
    vec![Case { name: "codex_works_and_is_governed", needs: why_not, run: codex }]
}

fn why_not(_: User) -> Option<String> {
    let is_wanted = std::env::var_os("FLYBALL_SAME").is_some_and(|value| value == "all");
    let short =
        (!is_wanted).then(|| "a large download: runs with FLYBALL_SAME=all, as in `cargo xtask same`".to_owned());
    short.or_else(|| Codex::find().err())
}

const EDIT: &str = "*** Begin Patch
*** Update File: words.sh
@@
 # Prints how many words a file has.
-wc -l <\"$1\"
+wc -w <\"$1\"
*** End Patch";

const HOOK: &str = "*** Begin Patch
*** Add File: .git/hooks/pre-commit
+owned
*** End Patch";

/// The forbidden things: the step, and the words that its tool output must hold.
fn forbidden() -> Vec<(Turn, &'static str)> {
    vec![
        (
            Turn::exec("perl -e 'open(F, q(>), q(.git/hooks/pre-push)) and print F q(owned)'; echo end"),
            "flyball: denied",
        ),
        (Turn::exec("git push origin HEAD:main"), "flyball: denied"),
        (Turn::exec("cat \"$HOME/.ssh/id_ed25519\""), "flyball: denied"),
        (Turn::exec("npm install left-pad"), "flyball: denied"),
        // Its own tool writes in its own process: the hook says why beforehand.
        (Turn::patch(HOOK), "flyball: denied"),
    ]
}

fn codex(user: User) {
    let world = World::new(user);
    let mut turns = vec![
        Turn::exec("echo ready; cat words.sh"),
        Turn::patch(EDIT),
        Turn::exec("sh test.sh"),
        Turn::exec("git add -A && git commit -q -m 'Count words, not lines' && git log --oneline | head -3"),
    ];
    let first_forbidden = turns.len();
    turns.extend(forbidden().into_iter().map(|(turn, _)| turn));
    turns.push(Turn::say("done"));
    let endpoint = ModelEndpoint::start(turns).unwrap();
    world.init("", "");
    // The user says that the model is on this machine.
    world.edit("rules.cedar", "[\"localhost\",", "[\"host.internal\", \"localhost\",");

    let before = world.repo.text("words.sh").unwrap();
    let front = world.front(&["run", "--json", "--apply", "never", "--on-hold", "deny"]);
    let codex = Codex::find().unwrap();
    let mut command = codex.command(&front, &endpoint, &world.repo, user, "fix the failing test").unwrap();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let summary = support::summary(&output);
    let told = || format!("{summary}\n{}\n{}", String::from_utf8_lossy(&output.stdout), support::stderr(&output));
    assert_eq!(summary["exit"], 0, "{}", told());

    // The work is there and the user's tree is untouched until it is applied.
    assert_eq!(world.repo.text("words.sh").unwrap(), before);
    for (turn, words) in [(0, "ready"), (1, "words.sh"), (2, "ok: three words"), (3, "Count words, not lines")] {
        assert!(endpoint.result_of(turn).contains(words), "{turn}: {}\n{}", endpoint.result_of(turn), told());
    }
    // Each forbidden thing failed, and the agent could read why.
    for (n, (turn, words)) in forbidden().iter().enumerate() {
        let result = endpoint.result_of(first_forbidden + n);
        assert!(result.contains(words), "{turn:?} gave the agent:\n{result}\n{}", told());
        assert!(!result.contains(CANARY), "{turn:?} leaked:\n{result}");
    }
    let denied = format!("flyball: denied fs.write {}", world.repo.workspace().join(".git/hooks/pre-commit").display());
    assert!(support::stderr(&output).contains(&denied), "{}", told());
    let tip = |name: &str| world.repo.git(user, &["rev-parse", name]).unwrap();
    assert_eq!(tip("origin/main"), tip("main"));

    // The record tells the truth about it.
    let log = world.log();
    for verb in ["git.push", "dependency.add"] {
        let rulings = support::verdicts(&log, verb);
        assert!(!rulings.is_empty() && rulings.iter().all(|(_, verdict)| *verdict != "allow"), "{verb}: {rulings:?}");
    }
    let last = log.last().unwrap()["seq"].to_string();
    assert!(world.ok(&["at", "@", &last, "words.sh"]).contains(FIX));
    world.verifies();

    world.ok(&["apply", "@"]);
    assert!(world.repo.text("words.sh").unwrap().contains(FIX));
    for hook in ["pre-commit", "pre-push"] {
        let hook = world.repo.workspace().join(".git/hooks").join(hook);
        assert!(!std::fs::read_to_string(&hook).unwrap_or_default().contains("owned"), "{}", hook.display());
    }
    world.verifies();
}
