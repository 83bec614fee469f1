use crate::{Case, World, is_caused, text};
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
        Case { name: "codex_goes_on_with_the_input_that_passes", needs, run: changed },
        Case { name: "codex_under_run_has_hooks_that_it_calls", needs, run: governed },
        Case { name: "codex_whose_hooks_are_off_is_said_to_have_none", needs, run: off },
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

fn governed_command(world: &World, endpoint: &ModelEndpoint) -> Command {
    world.reaches_this_machine();
    let mut command = Command::new("codex");
    command.args(Codex::arguments_inside(endpoint.port(), "go")).env("HOME", world.path("home"));
    world.governed("codex", &command)
}

/// In the sandbox nothing is installed or trusted by a user, and nothing of the user's is changed.
fn governed() {
    let world = World::new();
    let config = world.path("home").join(".codex/config.toml");
    std::fs::create_dir(config.parent().unwrap()).unwrap();
    std::fs::write(&config, "# mine\nmodel_reasoning_effort = \"low\"\n").unwrap();
    let forbidden = world.file("forbidden.txt");
    let patch = |file: &str| Turn::patch(&format!("*** Begin Patch\n*** Add File: {file}\n+x\n*** End Patch"));
    let endpoint = ModelEndpoint::start(vec![
        Turn::exec("sh -c 'echo ready >made'"),
        Turn::exec("echo x >forbidden.sh"),
        patch("forbidden.txt"),
        patch("patched.txt"),
        Turn::say("done"),
    ])
    .unwrap();
    let output = world.run(governed_command(&world, &endpoint), false);
    let told = || format!("{:#?}\n{}\n{}", endpoint.tool_results(), text(&output.stdout), text(&output.stderr));
    let log = world.closed();
    assert_eq!(log[0]["body"]["hooks"], "codex", "{}", told());
    // Its launcher starts it anew, and that is no other agent.
    let started: Vec<_> = log.iter().filter(|e| e["body"]["verb"] == "agent.spawn").collect();
    assert!(started.is_empty(), "{started:#?}\n{}", told());
    // One chain: the tool's use, the shell that runs its command, the program in it, the file.
    let chain = is_caused(&log, "fs.write", "/made", "PreToolUse", &told());
    let verbs: Vec<&str> = chain.iter().filter_map(|e| e["body"]["verb"].as_str()).collect();
    assert_eq!(verbs, ["fs.write", "process.exec", "process.exec"], "{chain:#?}");
    is_caused(&log, "fs.write", "/patched.txt", "PreToolUse", &told());
    // The model reads why before anything ran.
    for turn in [1, 2] {
        assert!(endpoint.result_of(turn).contains("no-forbidden-file"), "{}", told());
    }
    assert!(!forbidden.exists());
    let uncovered = log.last().unwrap()["body"]["uncovered"].to_string();
    assert!(!uncovered.contains("hooks"), "{uncovered}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "# mine\nmodel_reasoning_effort = \"low\"\n");
    assert!(!config.with_file_name("hooks.json").exists());
}

/// Codex says nothing of hooks that it does not call, so that the session does; the boundary holds all the same.
fn off() {
    let world = World::new();
    let config = world.path("home").join(".codex/config.toml");
    std::fs::create_dir(config.parent().unwrap()).unwrap();
    let script = || ModelEndpoint::start(vec![Turn::exec("echo x >forbidden.sh"), Turn::say("done")]).unwrap();
    std::fs::write(&config, "[features]\nhooks = false\n").unwrap();
    let endpoint = script();
    let output = world.run(governed_command(&world, &endpoint), false);
    assert!(text(&output.stderr).contains("`features.hooks` is `false`"), "{}", text(&output.stderr));
    assert!(endpoint.result_of(0).contains("no-forbidden-file"), "{:?}", endpoint.tool_results());

    std::fs::remove_file(&config).unwrap();
    let endpoint = script();
    let mut command = world.governed("codex", &{
        let mut command = Command::new("codex");
        command.args(["-c", "features.hooks=false"]).args(Codex::arguments_inside(endpoint.port(), "go"));
        command.env("HOME", world.path("home"));
        command
    });
    command.current_dir(world.path("w"));
    let output = world.run(command, false);
    let log = world.closed();
    assert_eq!(log[0]["body"]["hooks"], "codex");
    let uncovered = log.last().unwrap()["body"]["uncovered"].to_string();
    assert!(uncovered.contains("codex has called none"), "{uncovered}");
    assert!(text(&output.stderr).contains("codex has called none"), "{}", text(&output.stderr));
    assert!(endpoint.result_of(0).contains("no-forbidden-file"), "{:?}", endpoint.tool_results());
}

fn changed() {
    let world = World::new();
    let scale = world.clamps();
    world.ok(&["hook", "install", "codex", "--user", "--within", "120"]);
    trust_them(&world);
    let endpoint = ModelEndpoint::start(vec![Turn::exec(&scale), Turn::say("done")]).unwrap();
    let output = world.run(command(&world, &endpoint), false);
    world.has_scaled(&format!("{:#?}\n{}\n{}", endpoint.tool_results(), text(&output.stdout), text(&output.stderr)));
}
