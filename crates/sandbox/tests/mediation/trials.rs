use crate::scene::{Event, Scene, allow, deny_name, paths};
use flyball_sandbox::{Attempt, Done, EndedBy, Status};
use libtest_mimic::Trial;

pub fn all() -> Vec<Trial> {
    vec![
        trial("git_and_shell_pipelines_work", git),
        trial("a_program_runs_and_is_recorded", runs),
        trial("a_denied_call_has_no_effect_and_says_why", denied),
    ]
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn runs() {
    let scene = Scene::new();
    let (exit, log) =
        scene.shell("mkdir d && echo hello > d/f && mv d/f d/g && chmod 600 d/g && /bin/true; exit 7", allow);
    assert_eq!((exit.status, exit.by), (Status::Code(7), EndedBy::Program));
    assert_eq!(scene.text("d/g"), "hello\n");
    let open = |event: &Event| matches!(event, Event::Asked(call) if matches!(&call.attempt, Attempt::Open { path, create: true, .. } if *path == scene.workspace().join("d/f")));
    assert_eq!(log.iter().filter(|event| open(event)).count(), 1);
}

fn git() {
    let scene = Scene::new();
    let script = "exec >log 2>&1; set -ex; git init -q r; cd r; git config user.email a@b; git config user.name n; \
        seq 1 200 | sed s/1/x/ | sort | uniq > a; cat /etc/passwd | head -2 | tee b >/dev/null; ls -l > c; \
        git add -A; git commit -qm one; git status --porcelain; git log --oneline | wc -l > ../commits; \
        python3 -c 'import threading,os\ndef f(i):\n  for k in range(50):\n    p=f\"t{i}-{k}\"\n    open(p,\"w\").write(\"x\")\n    os.rename(p,p+\"r\")\n    os.unlink(p+\"r\")\n  \nt=[threading.Thread(target=f,args=(i,)) for i in range(8)]\n[x.start() for x in t];[x.join() for x in t]'; \
        echo hi > /dev/null; echo err > /dev/stderr; echo a >> /dev/fd/1; mkfifo p; (cat p > q) & echo through > p; wait; cat q";
    let (exit, log) = scene.shell(script, allow);
    let asked = log.iter().filter(|event| matches!(event, Event::Asked(_))).count();
    assert_eq!(exit.status, Status::Code(0), "{}", scene.text("log"));
    assert_eq!(scene.text("commits"), "1\n");
    assert_eq!(scene.text("r/q"), "through\n");
    assert!(asked > 1200, "{asked}");
}

fn denied() {
    let scene = Scene::new();
    let (exit, _) = scene.shell("echo x 2>err > secret; echo rest $? > ok", deny_name("secret"));
    assert_eq!(exit.status, Status::Code(0));
    assert!(scene.after("secret").is_none());
    assert!(scene.text("err").starts_with("flyball: secret is not yours\n"), "{}", scene.text("err"));
    assert_eq!(scene.text("ok"), "rest 2\n");
}
