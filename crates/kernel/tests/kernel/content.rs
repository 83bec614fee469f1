//! The second judgement of a write: what the file says, once it is there.

use crate::*;

const RULES: &str = r#"
@id("files") @owner("dev") @reason("files are the work")
permit (principal, action in Action::"fs", resource);
@id("no-secrets") @owner("dev") @reason("secrets are not written")
forbid (principal, action == Action::"fs.write", resource) when { context.attrs has secrets && context.attrs.secrets.containsAny(["aws"]) };
@id("no-left-pad") @owner("dev") @reason("use str.padStart")
forbid (principal, action == Action::"dependency.add", resource) when { resource.name == "left-pad" };
@id("docs-are-asked-about") @owner("dev") @reason("docs have readers") @escalate("dev")
forbid (principal, action == Action::"fs.write", resource) when { resource.rel like "docs/*" };
"#;

fn content(path: &str) -> Action {
    file("fs.write", path).with("content", true).unwrap()
}

#[test]
fn only_rules_that_read_content_have_a_say_in_it_and_the_default_has_none() {
    let charter = charter("", RULES);
    assert_eq!(charter.reads_content().attrs.iter().copied().collect::<Vec<_>>(), ["secrets"]);
    assert!(charter.reads_content().dependencies, "the default denies what no rule permits");
    let mut run = Run::new(charter);
    let with = |path: &str, secrets: &[&str]| {
        let secrets: Vec<String> = secrets.iter().map(|s| (*s).to_owned()).collect();
        content(path).with("secrets", secrets).unwrap()
    };
    assert_eq!(said(&run.attempt(&with("/w/a", &["aws"]))), "deny no-secrets");
    assert_eq!(said(&run.attempt(&with("/w/a", &["slack"]))), "allow default");
    // Asked about at the open, by a rule that knows nothing of content: not a second time.
    assert_eq!(said(&run.attempt(&file("fs.write", "/w/docs/a"))), "hold docs-are-asked-about");
    assert_eq!(said(&run.attempt(&with("/w/docs/a", &["slack"]))), "allow default");
    // What a session had written when it was stopped is judged for itself.
    run.step(Event::Control { act: "quarantine".into(), level: None, by: "user:alice".into(), reason: String::new() });
    assert_eq!(said(&run.attempt(&with("/w/a", &["slack"]))), "allow default");
    assert_eq!(said(&run.attempt(&with("/w/a", &["aws"]))), "deny no-secrets");
    assert_eq!(said(&run.attempt(&file("fs.write", "/w/a"))), "deny session-quarantined");
}

#[test]
fn packages_read_from_content_meet_all_their_rules_and_the_default() {
    let package = |name: &str| {
        let resource = Resource::new(ResourceKind::Package).with("ecosystem", "npm").unwrap();
        let resource = resource.with("name", name).unwrap();
        Action::new("dependency.add", resource, Surface::Fs).unwrap()
    };
    let mut run = Run::new(charter("", RULES));
    assert_eq!(said(&run.attempt(&package("left-pad"))), "deny no-left-pad no-rule-permits");
    assert_eq!(said(&run.attempt(&package("chalk"))), "deny no-rule-permits");
    let mut run = Run::new(charter("", &format!("{RULES}{ALL}")));
    assert_eq!(said(&run.attempt(&package("chalk"))), "allow all");
}

#[test]
fn facts_and_budgets_count_a_write_once() {
    let toml = r#"
[facts]
writes = 'count did fs.write(path like "src/**")'
keys = 'count did fs.write(secrets has "aws")'
[budget.files]
count = "fs.write"
limit = 2
per = "session"
"#;
    let cedar = format!(
        "{ALL}@id(\"many\") @owner(\"dev\") @reason(\"x\") forbid (principal, action == Action::\"git.commit\", resource)
         when {{ context.fact.writes == 1 && context.fact.keys == 1 }};"
    );
    let charter = charter(toml, &cedar);
    assert_eq!(charter.reads_content().attrs.iter().copied().collect::<Vec<_>>(), ["secrets"], "a fact names it");
    let mut run = Run::new(charter);
    run.does(&file("fs.write", "/w/src/a"));
    run.does(&content("/w/src/a").with("secrets", vec!["aws".to_owned()]).unwrap());
    run.does(&content("/w/src/a"));
    let commit = Action::new("git.commit", Resource::new(ResourceKind::Ref), Surface::Git).unwrap();
    assert_eq!(said(&run.attempt(&commit)), "deny many");
    // The budget of two has one left.
    run.does(&file("fs.write", "/w/src/b"));
    assert_eq!(said(&run.attempt(&file("fs.write", "/w/src/c"))), "deny files");
}

#[test]
fn what_nobody_asks_for_is_not_read() {
    let none = charter("", ALL);
    // Everything is permitted and nothing forbidden, yet the default is `deny`: a later rule could matter to packages.
    assert!(none.reads_content().attrs.is_empty());
    let open = HEAD.replace("name = \"test\"", "name = \"test\"\ndefault = \"allow\"");
    let compiled = |cedar: &str| {
        let sources = [("charter.toml".to_owned(), open.clone()), ("r.cedar".to_owned(), cedar.to_owned())];
        Charter::compile(&Sources::from(sources)).unwrap().0
    };
    assert!(!compiled("").reads_content().is_any());
    let rule = |when: &str| {
        compiled(&format!(
            "@id(\"r\") @owner(\"dev\") @reason(\"x\") forbid (principal, action == Action::\"fs.write\", resource) when {{ {when} }};"
        ))
    };
    let read = |when: &str| rule(when).reads_content().attrs.iter().copied().collect::<Vec<_>>();
    assert_eq!(read("resource.rel == \"x\""), Vec::<&str>::new());
    assert_eq!(read("context.attrs has bytes && context.attrs.bytes > 3"), Vec::<&str>::new());
    assert_eq!(read("context.attrs has imports && context.attrs.imports.contains(\"os\")"), ["imports"]);
    assert_eq!(read("context has attrs.ci && context.attrs.ci"), ["ci"]);
    assert_eq!(read("context.attrs has content && context.attrs.content"), ["content"]);
}

#[test]
fn a_permit_that_reads_content_is_warned_of() {
    let cedar = "@id(\"p\") @owner(\"dev\") @reason(\"x\") permit (principal, action == Action::\"fs.write\", resource) \
                 unless { context.attrs has secrets };";
    let (_, warnings) = compile("", cedar).unwrap();
    assert!(render(&warnings).contains("FB0117"), "{}", render(&warnings));
}
