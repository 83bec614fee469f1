//! Who is one person, and who is the agent, by whichever contact.

use crate::*;
use flyball_kernel::analysis::{Narrower, compare};

pub const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const ANN: &str = "key:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const RULE: &str = r#"@id("two") @owner("dev") @reason("two people") @escalate("two")
forbid (principal, action == Action::"fs.write", resource);
"#;

fn text(people: &str, dev: &str, quorum: u32) -> String {
    format!(
        "[charter]\nname = \"t\"\n[people]\n{people}\n[owners]\ndev = [{dev}]\n[escalation.two]\nask = \"dev\"\nquorum = {quorum}\n\
         within = \"5m\"\nthen = \"deny\"\n"
    )
}

fn compiled(toml: String) -> Result<Charter, Vec<String>> {
    let files = [("charter.toml".to_owned(), toml), ("rules.cedar".to_owned(), format!("{ALL}{RULE}"))];
    let told = |found: Diagnostics| found.0.iter().map(|d| format!("{} {}", d.code, d.message)).collect();
    Charter::compile(&Sources::from(files)).map(|(charter, _)| charter).map_err(told)
}

#[test]
fn an_account_and_a_key_that_may_be_one_persons_are_refused_for_a_quorum() {
    let both = format!("\"user:ann\", \"{ANN}\"");
    let told = compiled(text("", &both, 2)).unwrap_err();
    assert!(told[0].starts_with("FB0135") && told[0].contains("[escalation.two]"), "{told:?}");
    assert!(compiled(text("", &both, 1)).is_ok(), "either may answer alone");
    // As one person they are one, and as two they are two.
    let told = compiled(text(&format!("ann = [{both}]"), "\"ann\"", 2)).unwrap_err();
    assert!(told[0].starts_with("FB0132") && told[0].contains("2 answers of 1 people"), "{told:?}");
    let people = format!("ann = [\"{ANN}\"]\nbob = \"user:bob\"");
    assert!(compiled(text(&people, "\"ann\", \"bob\"", 2)).is_ok());
    // Some are said to be who they are: then all must be.
    let told = compiled(text("bob = \"user:bob\"", &format!("\"bob\", \"{ANN}\""), 2)).unwrap_err();
    assert!(told[0].starts_with("FB0135"), "{told:?}");
    let told = compiled(text(&format!("ann = [\"{ANN}\"]\nbob = [\"{ANN} laptop\"]"), "\"ann\"", 1)).unwrap_err();
    assert!(told[0].starts_with("FB0136") && told[0].contains("of `ann` and of `bob`"), "{told:?}");
}

#[test]
fn who_has_several_contacts_counts_once() {
    let people = format!("ann = [\"user:ann\", \"{ANN}\"]\nbob = [\"user:bob\"]");
    let mut run = Run::new(compiled(text(&people, "\"ann\", \"bob\"", 2)).unwrap());
    let held = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(held.reasons[0].needs.as_deref().map(|n| n.contains("2 of two")), Some(true), "{held:?}");
    assert_eq!(said(&run.answer(&held, "user:ann", Verdict::Allow, None)), "hold answer-counted");
    assert_eq!(said(&run.answer(&held, ANN, Verdict::Allow, None)), "hold answer-twice");
    assert_eq!(said(&run.answer(&held, "user:bob", Verdict::Allow, None)), "allow all answered");
}

#[test]
fn a_key_of_the_agents_own_approves_nothing() {
    let people = format!("claude = [\"user:runner\", \"{ANN}\"]\nbob = [\"user:bob\"]");
    let mut run = Run::new(compiled(text(&people, "\"claude\", \"bob\", \"user:claude\"", 1)).unwrap());
    let held = run.attempt(&file("fs.write", "/w/a"));
    for by in ["user:runner", ANN, "user:claude"] {
        for verdict in [Verdict::Allow, Verdict::Deny] {
            assert_eq!(said(&run.answer(&held, by, verdict, None)), "hold answer-by-agent", "{by}");
        }
    }
    assert_eq!(said(&run.answer(&held, "user:bob", Verdict::Allow, None)), "allow all answered");
}

#[test]
fn a_charter_that_forgets_who_is_one_is_not_narrower() {
    let key = |n: char| ANN.replace("IJdD", &format!("IJd{n}"));
    let keys = format!("\"{}\", \"{}\", \"{}\"", key('A'), key('B'), key('C'));
    let one = format!("ann = [\"{}\", \"{}\"]", key('A'), key('B'));
    let was = compiled(text(&one, &keys, 2)).unwrap();
    let is = compiled(text("", &keys, 2)).unwrap();
    let session = Session { workspace: "/w".into(), home: "/h".into(), agent: "a".into() };
    let found = compare(&was, &is, &session);
    assert_ne!(found.is_narrower, Narrower::Proved, "{found:#?}");
    assert!(found.widened_settings.iter().any(|s| s.contains("counts as several")), "{:?}", found.widened_settings);
    assert_eq!(compare(&is, &was, &session).widened_settings, Vec::<String>::new());
}
