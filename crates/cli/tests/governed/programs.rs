//! The tools that agents use, unmodified, and what a user expects of any command runner.

use crate::support::{Case, World, nothing, program, stderr, verdicts};
use flyball_testkit::user::User;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "the_replay_level_is_what_the_record_supports", needs: nothing, run: replay_level },
        Case { name: "exit_codes_stdin_and_streams_are_the_programs", needs: nothing, run: plain },
        Case { name: "git_clone_checkout_commit_status", needs: nothing, run: git },
        Case { name: "cargo_build", needs: |user| toolchain(user).err(), run: cargo },
        Case { name: "npm_ci", needs: |_| program("npm"), run: npm },
        Case { name: "rg_over_the_tree", needs: |_| program("rg"), run: rg },
        Case { name: "deny_on_red_until_green", needs: nothing, run: facts },
        Case { name: "apply_takes_all_and_conflicts_take_nothing", needs: nothing, run: apply },
    ]
}

fn plain(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (summary, output) = world.run("echo out; echo err >&2; exit 7");
    assert_eq!(summary["exit"], 7);
    assert_eq!(output.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("out\n"));
    assert!(stderr(&output).contains("err\n"));
    let (summary, _) = world.run("kill -TERM $$");
    assert_eq!(summary["exit"], 128 + 15);
    let missing = world.flyball(&["run", "--", "no-such-program-here"]).output().unwrap();
    assert!(!missing.status.success());
    assert!(stderr(&missing).contains("no-such-program-here"), "{}", stderr(&missing));
}

fn git(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "git clone -q . copy && cd copy && git config user.email a@b && git config user.name n \
                  && git checkout -q -b topic && printf more >> README.md && git commit -qam more && git status --short \
                  && git log --oneline | wc -l && git fsck";
    let (summary, output) = world.run(script);
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains('2'));
    assert!(!world.repo.workspace().join("copy").exists());
    world.verifies();
}

fn cargo(user: User) {
    let world = World::new(user);
    std::fs::create_dir_all(world.repo.workspace().join("src")).unwrap();
    std::fs::write(world.repo.workspace().join("src/main.rs"), "fn main() { println!(\"built\"); }\n").unwrap();
    std::fs::write(
        world.repo.workspace().join("Cargo.toml"),
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
    )
    .unwrap();
    user.own(&world.repo.workspace()).unwrap();
    let toolchain = toolchain(user).unwrap();
    world.init(&format!("[sandbox]\nexpose = [{toolchain:?}]\n"), "");
    let (summary, output) =
        world.run(&format!("PATH={toolchain}/bin:$PATH cargo build --offline -q && ./target/debug/small"));
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("built"));
    assert!(!world.repo.workspace().join("target").exists());
}

/// The toolchain itself, behind rustup's proxy, where this user can read it.
fn toolchain(user: User) -> Result<String, String> {
    let output =
        std::process::Command::new("rustc").args(["--print", "sysroot"]).output().map_err(|e| e.to_string())?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let cargo = format!("{sysroot}/bin/cargo");
    let runs = user.command(&cargo, std::path::Path::new("/tmp")).arg("--version").output();
    match runs {
        Ok(output) if output.status.success() => Ok(sysroot),
        _ => Err(format!("the toolchain at `{sysroot}` is closed to this user")),
    }
}

fn npm(user: User) {
    let world = World::new(user);
    let workspace = world.repo.workspace();
    // Packages of its own, so that the test needs no registry.
    std::fs::create_dir_all(workspace.join("packages/leaf")).unwrap();
    std::fs::write(workspace.join("packages/leaf/package.json"), r#"{"name":"leaf","version":"1.0.0","main":"i.js"}"#)
        .unwrap();
    std::fs::write(workspace.join("packages/leaf/i.js"), "module.exports = 'leaf works'\n").unwrap();
    std::fs::write(
        workspace.join("package.json"),
        r#"{"name":"t","version":"1.0.0","dependencies":{"leaf":"file:packages/leaf"}}"#,
    )
    .unwrap();
    std::fs::write(
        workspace.join("package-lock.json"),
        r#"{"name":"t","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"t","version":"1.0.0","dependencies":{"leaf":"file:packages/leaf"}},"node_modules/leaf":{"resolved":"packages/leaf","link":true},"packages/leaf":{"version":"1.0.0"}}}"#,
    )
    .unwrap();
    user.own(&workspace).unwrap();
    world.init("", "");
    let (summary, output) =
        world.run("npm ci --offline --no-audit --no-fund && node -e 'console.log(require(\"leaf\"))'");
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("leaf works"));
    assert!(!workspace.join("node_modules").exists());
}

fn rg(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (summary, output) = world.run("rg -c Page docs | wc -l");
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("40"));
}

fn facts(user: User) {
    let world = World::new(user);
    world.init(
        "[facts]\ngreen = 'no did fs.write(path like \"*.sh\") since result process.exec(program: \"dash\", argv has \"test.sh\", exit: 0)'\n",
        "@id(\"no-deploy-on-red\") @owner(\"maintainer\") @reason(\"Deploys need a green test.\")\n\
         forbid (principal, action == Action::\"process.exec\", resource)\n\
         when { resource.program == \"echo\" && resource.argv.contains(\"deploying\") }\n\
         unless { context.fact.green };\n",
    );
    let script =
        "env echo deploying; sed -i 's/wc -l/wc -w/' words.sh; env echo deploying; sh test.sh; env echo deploying";
    let (_, output) = world.run(script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches("deploying\n").count(), 1, "{text}\n{}", stderr(&output));
    assert!(stderr(&output).contains("no-deploy-on-red"), "{}", stderr(&output));
    let log = world.log();
    let denied: Vec<_> = verdicts(&log, "process.exec").into_iter().filter(|(_, v)| *v == "deny").collect();
    assert!(denied.len() >= 2, "{denied:?}");
    world.verifies();
}

fn apply(user: User) {
    let world = World::new(user);
    world.init("", "");
    world
        .run("printf new > a.txt; rm docs/page-00.md; printf changed > README.md; chmod 700 test.sh; ln -s a.txt link");
    // Somebody changed the same file meanwhile: nothing is taken.
    std::fs::write(world.repo.workspace().join("README.md"), "mine\n").unwrap();
    let refused = world.flyball(&["apply", "@"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("README.md"), "{}", stderr(&refused));
    assert!(!world.repo.workspace().join("a.txt").exists());
    assert!(world.repo.workspace().join("docs/page-00.md").exists());
    std::fs::write(
        world.repo.workspace().join("README.md"),
        "# words\n\nCounts the words of a file. `sh test.sh` tests it.\n",
    )
    .unwrap();
    world.ok(&["apply", "@"]);
    assert_eq!(world.repo.text("a.txt").unwrap(), "new");
    assert_eq!(world.repo.text("README.md").unwrap(), "changed");
    assert!(!world.repo.workspace().join("docs/page-00.md").exists());
    assert_eq!(std::fs::read_link(world.repo.workspace().join("link")).unwrap().to_str(), Some("a.txt"));
    world.verifies();
}

fn replay_level(user: User) {
    let world = World::new(user);
    world.init("", "");
    let level = |script: &str| world.run(script).0["replay_level"].clone();
    assert_eq!(level("printf x > a.txt"), 3);
    // A pipe holds nothing that could be recorded.
    assert_eq!(level("mkfifo pipe; env true"), 2);
}
