//! Data labels: what a session has read is on all that it writes, whichever way it writes it.

use crate::people::{start, wait_for};
use crate::registers::end;
use crate::support::{Case, World, nothing, program, stderr};
use flyball_testkit::user::User;

pub fn cases() -> Vec<Case> {
    let python = |_| program("/usr/bin/python3");
    vec![
        Case { name: "what_was_read_taints_and_is_carried_into_the_next_session", needs: nothing, run: tainted },
        Case { name: "a_descriptor_from_before_the_read_carries_the_label", needs: nothing, run: kept },
        Case { name: "a_mapping_from_before_the_read_carries_the_label", needs: python, run: mapped },
        Case { name: "a_file_opened_for_writing_is_read_as_well", needs: nothing, run: read_by_writing },
    ]
}

/// A secret, and a place that it must not come to.
pub fn guarded(user: User) -> World {
    let world = World::new(user);
    let me = flyball_runtime::control::user(user.uid());
    world.init("", "");
    world.change("charter.toml", |text| {
        text.replace("[owners]\n", &format!("[owners]\nguards = [\"{me}\"]\n"))
            + "\n[[label]]\nname = \"secret\"\npaths = [\"secrets/**\"]\nowner = \"guards\"\n"
    });
    world.change("more.cedar", |_| {
        "@id(\"stays-inside\") @owner(\"guards\") @reason(\"what is secret stays out of public\")\n\
         forbid (principal, action == Action::\"fs.write\", resource)\n\
         when { resource.rel like \"public/*\" && context.attrs has labels && context.attrs.labels.contains(\"secret\") };\n"
            .to_owned()
    });
    let workspace = world.repo.workspace();
    for dir in ["secrets", "public"] {
        std::fs::create_dir(workspace.join(dir)).unwrap();
    }
    std::fs::write(workspace.join("secrets/key"), "k\n").unwrap();
    for name in ["secrets", "public", "secrets/key"] {
        user.own(&workspace.join(name)).unwrap();
    }
    world
}

fn tainted(user: User) {
    let world = guarded(user);
    let workspace = world.repo.workspace();
    let (summary, output) =
        world.run("echo 1 > public/a && cat secrets/key > /dev/null && echo 2 > notes; echo 3 > public/b");
    assert_ne!(summary["exit"], 0, "{summary} {}", stderr(&output));
    assert!(stderr(&output).contains("stays-inside"), "{}", stderr(&output));
    let log = world.log();
    let registers = &log.last().unwrap()["body"]["registers"];
    assert!(registers["labels"]["secret"].is_u64(), "{registers}");
    world.ok(&["apply", "@"]);
    let there = ["notes", "public/a", "public/b"].map(|name| workspace.join(name).exists());
    assert_eq!(there, [true, true, false], "{}", world.ok(&["log", "@"]));

    let (clean, output) = world.run("echo 1 > public/c");
    assert_eq!(clean["exit"], 0, "who reads nothing of it is not tainted: {}", stderr(&output));
    let (carried, output) = world.run("cat notes > /dev/null; echo 1 > public/d");
    assert_ne!(carried["exit"], 0, "what was written with it carries it: {}", stderr(&output));

    let child = start(&world, "cat notes > /dev/null; until echo 1 > public/d; do sleep 0.2; done");
    let declassify = |label: &str| world.flyball(&["declassify", "@", label, "--reason", "seen"]).output().unwrap();
    wait_for("the owner's word", || declassify("secret").status.success().then_some(()));
    let (freed, said) = end(child);
    assert_eq!(freed["exit"], 0, "{freed} {said}");
    world.verifies();
}

/// Whether a session that reads this file, which is in the real tree, is kept from the place that is closed to the secret.
fn is_carried_by(world: &World, file: &str) -> bool {
    let (summary, output) = world.run(&format!("cat {file} > /dev/null && echo 1 > public/z"));
    let is_refused = summary["exit"] != 0;
    assert_eq!(is_refused, stderr(&output).contains("stays-inside"), "{summary} {}", stderr(&output));
    is_refused
}

fn kept(user: User) {
    let world = guarded(user);
    let script = "mkdir d sub; echo clean > closed; exec 3> out 4> d/inner 5> moved; mv moved renamed; mv d sub/e; \
                  cat secrets/key > /dev/null; cat secrets/key >&3; cat secrets/key >&4; cat secrets/key >&5; exit 0";
    let (summary, output) = world.run(script);
    assert_eq!(summary["exit"], 0, "{summary} {}", stderr(&output));
    world.verifies();
    world.ok(&["apply", "@"]);
    for file in ["out", "sub/e/inner", "renamed"] {
        assert!(is_carried_by(&world, file), "{file} holds the secret and does not carry its label");
    }
    assert!(!is_carried_by(&world, "closed"), "what was closed before the read is clean");
}

/// A file that is mapped shared and closed.
fn mapped(user: User) {
    let world = guarded(user);
    // Nothing is executed between the renaming and the read: nobody looked at the workspace meanwhile.
    let script = "import mmap,os\nos.mkdir('d')\nf=os.open('d/out',os.O_RDWR|os.O_CREAT)\nos.ftruncate(f,4096)\n\
                  m=mmap.mmap(f,4096)\nos.close(f)\nos.rename('d','e')\nm[:2]=open('secrets/key','rb').read()\n";
    std::fs::write(world.repo.workspace().join("map.py"), script).unwrap();
    let (summary, output) = world.run("/usr/bin/python3 map.py");
    assert_eq!(summary["exit"], 0, "{summary} {}", stderr(&output));
    world.ok(&["apply", "@"]);
    let out = std::fs::read(world.repo.workspace().join("e/out")).unwrap();
    assert!(out.starts_with(b"k\n"), "{out:?}");
    assert!(is_carried_by(&world, "e/out"));
}

/// Who may write to it and keeps what is in it can read it: that is no way round.
fn read_by_writing(user: User) {
    for way in [
        "exec 3<> secrets/key; cat <&3 > notes",
        "exec 3>> secrets/key; rm secrets/key; cat /proc/self/fd/3 > notes",
        "exec 3>> secrets/key; cat /dev/fd/3 > notes",
    ] {
        let world = guarded(user);
        let (summary, output) = world.run(&format!("{way}; echo 1 > public/x"));
        assert_ne!(summary["exit"], 0, "{way}: {summary} {}", stderr(&output));
        assert!(stderr(&output).contains("stays-inside"), "{way}: {}", stderr(&output));
        world.verifies();
    }
    let world = guarded(user);
    let (summary, output) = world.run("echo new > secrets/key; echo 1 > public/x");
    assert_eq!(summary["exit"], 0, "who overwrites it has read nothing: {}", stderr(&output));
}
