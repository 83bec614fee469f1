//! `flyball demo`, the first thing that a person runs: the whole story in one process, which outlives the session it tells of.

use crate::support::{Case, World, nothing, stderr};
use flyball_testkit::user::User;

pub fn cases() -> Vec<Case> {
    vec![Case { name: "the_demo_tells_its_whole_story", needs: nothing, run: demo }]
}

fn demo(user: User) {
    let world = World::new(user);
    let stages = world.repo.scratch().join("demos");
    std::fs::create_dir(&stages).unwrap();
    user.own(&stages).unwrap();
    let output = world.flyball(&["demo"]).env("TMPDIR", &stages).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = format!("{told}\n{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{said}");
    let mut rest = said.as_str();
    for next in [
        "1. The charter",
        "2. The agent runs",
        "1 denied, 1 asked about",
        "no-deploy-on-red (owner team): Deploys need green tests.",
        "deleted   -",
        "rolled back to entry",
        "modified  31 bytes",
        "applied: 2 paths",
        "total() { echo $(($1 * $2)); }",
        "every byte is as it was signed",
    ] {
        let at = rest.find(next).unwrap_or_else(|| panic!("`{next}` does not follow in:\n{said}"));
        rest = &rest[at + next.len()..];
    }
    assert_eq!(std::fs::read_dir(&stages).unwrap().count(), 0, "it left something behind");
}
