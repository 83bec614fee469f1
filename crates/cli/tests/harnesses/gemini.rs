use crate::{Case, World, is_caused, text};
use flyball_testkit::gemini::Gemini;
use flyball_testkit::model_endpoint::{ModelEndpoint, Turn};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    let needs = || Gemini::find().err();
    vec![
        Case { name: "gemini_is_ruled_on_by_its_hooks", needs, run: works },
        Case { name: "gemini_stops_where_a_hook_is_gone", needs, run: gone },
        Case { name: "gemini_goes_on_with_the_input_that_passes", needs, run: changed },
        Case { name: "gemini_under_run_has_hooks_and_a_boundary", needs, run: governed },
    ]
}

fn world() -> World {
    let world = World::new();
    std::fs::create_dir(world.path("home").join(".gemini")).unwrap();
    std::fs::write(world.path("home").join(".gemini/settings.json"), Gemini::settings().to_string()).unwrap();
    world.ok(&["hook", "install", "gemini", "--user", "--within", "120"]);
    world
}

fn shell(command: &str) -> Turn {
    Turn::call("run_shell_command", json!({"command": command, "description": "scripted step"}))
}

fn works() {
    let world = world();
    let forbidden = world.file("forbidden.txt");
    let endpoint = ModelEndpoint::start(vec![
        shell("echo ready >made"),
        shell("echo x >forbidden.sh"),
        Turn::call("write_file", json!({"file_path": forbidden, "content": "x"})),
        shell("git push -q origin main"),
        Turn::say("done"),
    ])
    .unwrap();
    let output = world.run(Gemini::find().unwrap().command(&endpoint, &world.path("home"), "go"), true);
    let told = || format!("{:#?}\n{}\n{}", endpoint.tool_results(), text(&output.stdout), text(&output.stderr));
    world.has_made_pushed_and_refused(&endpoint, &told());
}

fn gone() {
    let world = world();
    world.edit(&world.path("home").join(".gemini/settings.json"), env!("CARGO_BIN_EXE_flyball"), "/nowhere/flyball");
    let endpoint = ModelEndpoint::start(vec![shell("echo ready >made"), Turn::say("done")]).unwrap();
    world.run(Gemini::find().unwrap().command(&endpoint, &world.path("home"), "go"), false);
    assert!(!world.file("made").exists());
}

fn changed() {
    let world = world();
    let scale = world.clamps();
    let endpoint = ModelEndpoint::start(vec![shell(&scale), Turn::say("done")]).unwrap();
    let output = world.run(Gemini::find().unwrap().command(&endpoint, &world.path("home"), "go"), false);
    world.has_scaled(&format!("{:#?}\n{}\n{}", endpoint.tool_results(), text(&output.stdout), text(&output.stderr)));
}

/// In the sandbox nothing is installed, and nothing of the user's is changed.
fn governed() {
    let world = World::new();
    std::fs::create_dir(world.path("home").join(".gemini")).unwrap();
    let settings = world.path("home").join(".gemini/settings.json");
    std::fs::write(&settings, Gemini::settings().to_string()).unwrap();
    world.reaches_this_machine();
    let forbidden = world.file("forbidden.txt");
    let endpoint = ModelEndpoint::start(vec![
        shell("echo ready >made"),
        Turn::call("write_file", json!({"file_path": forbidden, "content": "x"})),
        Turn::say("done"),
    ])
    .unwrap();
    let plain = Gemini::find().unwrap().command(&endpoint, &world.path("home"), "go");
    let mut command = world.governed("gemini", &plain);
    command.env("GOOGLE_GEMINI_BASE_URL", format!("http://host.internal:{}", endpoint.port()));
    let output = world.run(command, false);
    let told = || format!("{:#?}\n{}\n{}", endpoint.tool_results(), text(&output.stdout), text(&output.stderr));
    let log = world.closed();
    assert_eq!(log[0]["body"]["hooks"], "gemini", "{}", told());
    // Its launcher starts it anew, and that is no other agent.
    let started: Vec<_> = log.iter().filter(|e| e["body"]["verb"] == "agent.spawn").collect();
    assert!(started.is_empty(), "{started:#?}\n{}", told());
    assert!(endpoint.result_of(1).contains("no-forbidden-file"), "{}", told());
    is_caused(&log, "fs.write", "/made", "BeforeTool", &told());
    assert_eq!(std::fs::read_to_string(settings).unwrap(), Gemini::settings().to_string());
}
