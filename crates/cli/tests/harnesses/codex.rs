use crate::{Case, World, text};
use flyball_gateway::hook::install::{entries, trust};
use flyball_intent::Harness;
use flyball_testkit::codex::Codex;
use flyball_testkit::model_endpoint::{ModelEndpoint, Turn};
use std::process::Command;

pub fn cases() -> Vec<Case> {
    let needs = || Codex::find().err();
    vec![
        Case { name: "codex_is_ruled_on_by_its_hooks", needs, run: works },
        Case { name: "codex_calls_no_hook_that_is_not_trusted", needs, run: untrusted },
        Case { name: "codex_stops_where_a_hook_is_gone", needs, run: gone },
    ]
}

fn command(world: &World, endpoint: &ModelEndpoint) -> Command {
    let mut command = Codex::find().unwrap().plain(endpoint.port(), "go");
    command.env_clear().env("HOME", world.path("home")).env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// What Codex records when its user trusts the hooks.
fn trust_them(world: &World) {
    let file = world.path("home").join(".codex/hooks.json");
    let mut config = String::new();
    for entry in entries(Harness::Codex, &std::fs::read(&file).unwrap()).unwrap() {
        let (event, digest) = (trust::label(&entry.event), trust::digest(&entry));
        config.push_str(&format!("[hooks.state.\"{}:{event}:0:0\"]\ntrusted_hash = \"{digest}\"\n", file.display()));
    }
    std::fs::write(world.path("home").join(".codex/config.toml"), config).unwrap();
}

fn works() {
    let world = World::new();
    world.ok(&["hook", "install", "codex", "--user", "--within", "120"]);
    trust_them(&world);
    let patch = "*** Begin Patch\n*** Add File: forbidden.txt\n+x\n*** End Patch";
    let endpoint = ModelEndpoint::start(vec![
        Turn::exec("echo ready >made"),
        Turn::exec("echo x >forbidden.sh"),
        Turn::patch(patch),
        Turn::exec("git push -q origin main"),
        Turn::say("done"),
    ])
    .unwrap();
    let output = world.run(command(&world, &endpoint), true);
    let told = || format!("{:#?}\n{}\n{}", endpoint.tool_results(), text(&output.stdout), text(&output.stderr));
    world.has_made_pushed_and_refused(&endpoint, &told());
}

/// This is what `install` and `doctor` warn of.
fn untrusted() {
    let world = World::new();
    world.ok(&["hook", "install", "codex", "--user"]);
    let endpoint = ModelEndpoint::start(vec![Turn::exec("echo x >forbidden.sh"), Turn::say("done")]).unwrap();
    world.run(command(&world, &endpoint), false);
    assert!(world.file("forbidden.sh").exists());
    assert_eq!(world.ok(&["ps", "--json"]), "");
}

fn gone() {
    let world = World::new();
    world.ok(&["hook", "install", "codex", "--user"]);
    world.edit(&world.path("home").join(".codex/hooks.json"), env!("CARGO_BIN_EXE_flyball"), "/nowhere/flyball");
    trust_them(&world);
    let endpoint = ModelEndpoint::start(vec![Turn::exec("echo ready >made"), Turn::say("done")]).unwrap();
    world.run(command(&world, &endpoint), false);
    assert!(!world.file("made").exists());
}
