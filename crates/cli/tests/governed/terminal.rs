//! `flyball run` in a real terminal: the program has a pty of its own, and what a person does to theirs reaches it.

use crate::screen::Screen;
use crate::support::{Case, World, program};
use flyball_testkit::user::User;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "terminal_window_size_passes_through", needs: tmux, run: window },
        Case { name: "terminal_ctrl_c_reaches_the_program", needs: tmux, run: interrupt },
        Case { name: "terminal_job_control_works_inside", needs: tmux, run: jobs },
        Case { name: "terminal_vim_works_inside", needs: vim, run: edit },
    ]
}

fn tmux(_: User) -> Option<String> {
    program("tmux").or_else(|| program("bash"))
}

fn vim(user: User) -> Option<String> {
    tmux(user).or_else(|| program("vim"))
}

/// A governed program on a terminal of 80 columns and 24 rows.
fn run(world: &World, words: &str) -> Screen {
    let screen = Screen::new(world.user, world.repo.scratch(), &world.repo.workspace(), (80, 24), &[]);
    let front: Vec<String> =
        world.front(&["run", "-q", "--apply", "never"]).iter().map(|w| w.to_string_lossy().into_owned()).collect();
    screen.line(&format!("clear; {} -- {words}; echo left with $?", front.join(" ")));
    screen
}

fn world(user: User) -> World {
    let world = World::new(user);
    world.init("", "");
    world
}

fn script(world: &World, text: &str) {
    std::fs::write(world.repo.workspace().join("work.sh"), text).unwrap();
}

/// What the shell has after a governed program: line editing, echo, and a cursor.
fn is_given_back(screen: &Screen) {
    assert_eq!((screen.ask("alternate_on"), screen.ask("cursor_flag")), ("0".into(), "1".into()));
    screen.line("stty -a | tr ' ;' '\\n\\n' | grep -cxE 'icanon|echo|isig|icrnl|opost'");
    screen.wait("a terminal as it was", |t| t.lines().any(|l| l.trim() == "5"));
}

fn window(user: User) {
    let world = world(user);
    script(
        &world,
        "trap 'echo told; stty size' WINCH\nstty size\nwhile :; do read -r line && test \"$line\" = end && exit 3; done\n",
    );
    let screen = run(&world, "bash work.sh");
    screen.wait("the size at the start", |t| t.lines().any(|l| l.trim() == "24 80"));
    screen.resize(100, 30);
    // bash runs a trap once its builtin has read a line, and the line may be there before the signal.
    screen.wait("the size after it changed", |t| {
        let is_told = t.contains("told") && t.lines().any(|l| l.trim() == "30 100");
        if !is_told {
            screen.press(&["Enter"]);
            std::thread::sleep(std::time::Duration::from_millis(250));
        }
        is_told
    });
    screen.line("end");
    screen.wait_for("left with 3");
    is_given_back(&screen);
}

fn interrupt(user: User) {
    let world = world(user);
    script(&world, "trap 'echo interrupted; exit 7' INT\necho begun\nwhile :; do sleep 0.05; done\n");
    let screen = run(&world, "bash work.sh");
    screen.wait_for("begun");
    screen.press(&["C-c"]);
    screen.wait("the program's own end", |t| t.contains("interrupted") && t.contains("left with 7"));
    is_given_back(&screen);
    let log = world.log();
    assert_eq!(log.last().unwrap()["body"]["ended_by"], "program");
}

fn jobs(user: User) {
    let world = world(user);
    // The job tells where it is: its first word comes once it is in the foreground, where a key's signal is for it, and the
    // word at its going on once it is there again. The screen's echo of what was typed tells neither.
    script(
        &world,
        "trap 'echo goes on' CONT\ntrap 'echo interrupted; exit 7' INT\necho begun\nwhile :; do sleep 0.05; done\n",
    );
    let screen = run(&world, "bash --norc --noprofile -i");
    // Of the environment only what the charter names comes in: the shell inside has its own prompt.
    let text = screen.wait_for("bash-");
    assert!(!text.contains("no job control"), "{text}");
    screen.line("echo inside $((40 + 2))");
    screen.wait_for("inside 42");
    screen.line("bash work.sh");
    screen.wait_for("begun");
    screen.press(&["C-z"]);
    screen.wait_for("Stopped");
    screen.line("jobs; fg");
    screen.wait_for("goes on");
    screen.press(&["C-c"]);
    screen.wait_for("interrupted");
    screen.line("echo after $((50 + $?))");
    screen.wait_for("after 57");
    screen.line("exit 5");
    screen.wait_for("left with 5");
    is_given_back(&screen);
}

fn edit(user: User) {
    let world = world(user);
    let screen = run(&world, "vim -u NONE -n note.txt");
    screen.wait("an editor's screen", |t| t.contains("~\n") && t.contains("note.txt"));
    screen.resize(100, 30);
    screen.wait("the editor on the larger screen", |t| t.lines().filter(|l| l.trim() == "~").count() > 24);
    screen.type_in("ihello from inside");
    screen.press(&["Escape"]);
    screen.wait_for("hello from inside");
    screen.line(":wq");
    screen.wait_for("left with 0");
    is_given_back(&screen);
    assert!(!world.repo.workspace().join("note.txt").exists(), "it was not applied");
    let last = world.log().len().to_string();
    assert_eq!(world.ok(&["at", "@", &last, "note.txt"]), "hello from inside\n");
    world.verifies();
}
