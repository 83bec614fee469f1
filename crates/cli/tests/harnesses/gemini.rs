use crate::{Case, World, text, verdict};
use flyball_testkit::gemini::Gemini;
use flyball_testkit::model_endpoint::{ModelEndpoint, Turn};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    let needs = || Gemini::find().err();
    vec![
        Case { name: "gemini_is_ruled_on_by_its_hooks", needs, run: works },
        Case { name: "gemini_stops_where_a_hook_is_gone", needs, run: gone },
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
    assert_eq!(std::fs::read_to_string(world.file("made")).unwrap(), "ready\n", "{}", told());
    for (turn, file) in [(1, "forbidden.sh"), (2, "forbidden.txt")] {
        assert!(!world.file(file).exists(), "{}", told());
        assert!(endpoint.result_of(turn).contains("no-forbidden-file"), "{}", told());
    }
    assert_eq!(world.git(&["rev-parse", "main"]), world.git(&["ls-remote", "origin", "main"])[..40].to_owned() + "\n");
    let log = world.closed();
    assert_eq!(verdict(&log, "fs.write", "/made"), "allow");
    assert_eq!(verdict(&log, "fs.write", "/forbidden.txt"), "deny");
    assert_eq!(verdict(&log, "git.push", "main"), "hold");
}

fn gone() {
    let world = world();
    world.edit(&world.path("home").join(".gemini/settings.json"), env!("CARGO_BIN_EXE_flyball"), "/nowhere/flyball");
    let endpoint = ModelEndpoint::start(vec![shell("echo ready >made"), Turn::say("done")]).unwrap();
    world.run(Gemini::find().unwrap().command(&endpoint, &world.path("home"), "go"), false);
    assert!(!world.file("made").exists());
}
