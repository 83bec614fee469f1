//! The baseline of every governed run: the unmodified agent, our script, a real repository, and no Flyball.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use flyball_testkit::claude::{Claude, Invocation};
use flyball_testkit::model_endpoint::{ModelEndpoint, Turn};
use flyball_testkit::repo::{BUG, FIX, Repo};
use flyball_testkit::user::User;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let found = Claude::find();
    let trials = User::each()
        .into_iter()
        .map(|user| {
            let name = format!("claude_fixes_tests_and_commits_as_{}", user.kind());
            match found.clone() {
                Ok(claude) => Trial::test(name, move || fixes_tests_and_commits(&claude, user)),
                Err(why) => {
                    eprintln!("skipped {name}: {why}");
                    Trial::test(name, || Ok(())).with_ignored_flag(true)
                }
            }
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn fixes_tests_and_commits(claude: &Claude, user: User) -> Result<(), Failed> {
    let repo = Repo::new(user)?;
    let words = repo.workspace().join("words.sh");
    let words = words.to_string_lossy();
    let endpoint = ModelEndpoint::start(vec![
        Turn::bash("sh test.sh"),
        Turn::read(&words),
        Turn::edit(&words, BUG, FIX),
        Turn::bash("sh test.sh"),
        Turn::write(&repo.workspace().join("NEWS").to_string_lossy(), "words are counted\n"),
        Turn::bash("git add -A && git commit -q -m 'Count words, not lines' && git log --oneline | wc -l"),
        Turn::say("Done."),
    ])?;
    let output = Invocation::new(claude, &endpoint, &repo, user, "fix the failing test")?.plain().output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let results = endpoint.tool_results();
    assert_eq!(results.len(), 6, "{results:?}\n{told}");
    assert!(endpoint.result_of(0).contains("expected 3 words"), "{results:?}");
    assert!(endpoint.result_of(3).contains("ok: three words"), "{results:?}");
    assert_eq!(endpoint.result_of(5).trim(), "2", "{results:?}");
    assert_eq!(repo.git(user, &["status", "--short"])?, "");
    assert!(repo.text("words.sh")?.contains(FIX));
    Ok(())
}
