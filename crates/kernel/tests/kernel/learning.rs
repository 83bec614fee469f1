//! A learning charter: what stays in the session passes and says what it would have been; the rest is ruled on as ever.

use crate::{HEAD, Run, exec, file, said};
use flyball_kernel::*;

const RULES: &str = "@id(\"reads\") @owner(\"dev\") @reason(\"r\")
permit (principal, action in [Action::\"fs.read\", Action::\"process\"], resource);

@id(\"no-keys\") @owner(\"dev\") @reason(\"r\")
forbid (principal, action == Action::\"fs.read\", resource) when { resource.path like \"*/id_rsa\" };

@id(\"ask\") @owner(\"dev\") @reason(\"r\") @escalate(\"dev\")
forbid (principal, action == Action::\"process.exec\", resource);

@id(\"no-deleting\") @owner(\"dev\") @reason(\"r\")
forbid (principal, action == Action::\"fs.delete\", resource);
";

fn charter() -> Charter {
    let sources =
        Sources::from([("charter.toml".to_owned(), HEAD.to_owned()), ("rules.cedar".to_owned(), RULES.to_owned())]);
    Charter::compile(&sources).unwrap().0
}

fn run() -> Run {
    Run::new(charter().learning(vec!["/w/.flyball".to_owned(), "/home/u/.ssh".to_owned()]))
}

#[test]
fn what_stays_inside_passes_and_says_what_it_would_have_been() {
    let mut run = run();
    let ruling = run.attempt(&file("fs.write", "/w/src/a"));
    assert_eq!(said(&ruling), "allow learning no-rule-permits");
    assert!(ruling.reasons[0].reason.contains("would have been denied"), "{ruling:#?}");
    let asked = run.attempt(&exec("make", &["all"]));
    assert_eq!(said(&asked), "allow ask learning");
    assert!(asked.reasons[1].reason.contains("would have been asked about") && asked.effects.is_empty(), "{asked:#?}");
    assert_eq!(said(&run.attempt(&file("fs.delete", "/w/src/a"))), "allow learning no-deleting no-rule-permits");
    assert_eq!(said(&run.attempt(&file("fs.read", "/w/src/a"))), "allow reads");
    // It counts as carried out, once it is.
    run.step(Event::Dispatch { of: ruling.of });
    assert!(run.step(Event::Outcome { of: ruling.of, ok: true, attrs: Default::default() }).is_empty());
}

#[test]
fn the_boundary_stays() {
    let mut run = run();
    for path in ["/home/u", "/w"] {
        assert_eq!(run.attempt(&file("fs.write", path)).verdict, Verdict::Allow, "{path}");
        assert_eq!(run.attempt(&file("fs.delete", path)).verdict, Verdict::Deny, "{path}");
    }
    for path in ["/w/.flyball", "/w/.flyball/rules.cedar", "/home/u/.ssh/config"] {
        assert_eq!(run.attempt(&file("fs.write", path)).verdict, Verdict::Deny, "{path}");
        assert_eq!(run.attempt(&file("fs.delete", path)).verdict, Verdict::Deny, "{path}");
    }
    let moved = file("fs.move", "/w/a").with("to", "/w/.flyball/rules.cedar").unwrap();
    assert_eq!(run.attempt(&moved).verdict, Verdict::Deny);
    let linked = file("fs.link", "/w/a").with("target", "/home/u/.ssh/id").unwrap();
    assert_eq!(run.attempt(&linked).verdict, Verdict::Deny);
    assert_eq!(run.attempt(&file("fs.read", "/w/id_rsa")).verdict, Verdict::Deny);
    assert_eq!(run.attempt(&file("fs.write", "/w/.flyballer")).verdict, Verdict::Allow);
    let secret = file("fs.write", "/w/a").with("content", true).unwrap();
    let secret = secret.with("secrets", vec!["aws-access-key".to_owned()]).unwrap();
    // No rule of this charter reads content: what it says is not what refuses it.
    assert_eq!(run.attempt(&secret).verdict, Verdict::Allow);
}

#[test]
fn what_leaves_the_session_is_ruled_on_as_ever() {
    let endpoint = Resource::new(ResourceKind::Endpoint).with("host", "a.example").unwrap();
    let target = Resource::new(ResourceKind::Target).with("name", "api").unwrap();
    let branch = Resource::new(ResourceKind::Ref).with("name", "main").unwrap();
    let mut run = run();
    for (verb, resource) in [("net.connect", endpoint), ("deploy.apply", target), ("git.push", branch)] {
        let action = Action::new(verb, resource, Surface::Exec).unwrap();
        assert_eq!(said(&run.attempt(&action)), "deny no-rule-permits", "{verb}");
    }
    // A stopped session stays stopped.
    let stop = Event::Control { act: "quarantine".into(), level: None, by: "user:alice".into(), reason: "x".into() };
    run.step(stop);
    assert_eq!(run.attempt(&file("fs.write", "/w/src/a")).verdict, Verdict::Deny);
}

#[test]
fn its_rulings_are_not_the_charters_own() {
    let (plain, learning) = (charter(), charter().learning(vec!["/w/.flyball".to_owned()]));
    assert!(learning.is_learning() && !plain.is_learning());
    assert_ne!(plain.digest(), learning.digest());
    assert_ne!(learning.digest(), charter().learning(Vec::new()).digest());
    let ruling = Run::new(learning.clone()).attempt(&file("fs.write", "/w/a"));
    assert_eq!(ruling.charter, learning.digest());
}
