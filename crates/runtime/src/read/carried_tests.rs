#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use flyball_ledger::Draft;
use serde_json::json;

const SECRET: &str = "the launch is planned for the ninth of next month, weather permitting";

struct Scene {
    _dir: tempfile::TempDir,
    ledger: Ledger,
    stream: flyball_ledger::Stream,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        let scene = Self { _dir: dir, ledger, stream };
        scene.put(Kind::Open, &[], json!({"workspace": "/w", "name": "s", "agent": "a"}));
        scene
    }

    fn put(&self, kind: Kind, cause: &[u64], body: Json) -> u64 {
        let draft = Draft { at_ns: 1, kind, actor: "a".into(), cause: cause.to_vec(), body };
        self.stream.append(draft).unwrap()
    }

    fn write(&self, path: &str, text: &str) -> u64 {
        let digest = self.ledger.put_blob(text.as_bytes()).unwrap().to_string();
        let node = json!({"kind": "file", "digest": digest, "size": text.len(), "mode": 0o644});
        self.put(Kind::Observe, &[1], json!({"workspace": {"changes": [{"path": path, "node": node}]}}))
    }

    fn attempt(&self, verb: &str, attrs: Json) -> u64 {
        let resource = json!({"type": "Request", "method": "POST", "host": "x", "path": "/"});
        self.put(Kind::Attempt, &[1], json!({"verb": verb, "resource": resource, "attrs": attrs}))
    }

    fn read(&self, seq: u64) -> Carried {
        self.ledger.flush().unwrap();
        carried(&self.ledger, "s", seq).unwrap()
    }
}

fn names(sources: &[Source]) -> Vec<(u64, &str)> {
    sources.iter().map(|source| (source.seq, source.path.as_deref().unwrap_or(&source.what))).collect()
}

#[test]
fn what_a_request_has_bytes_of_is_told_and_the_rest_it_could_have() {
    let scene = Scene::new();
    let plan = scene.write("plan", &format!("# Plan\n\n{SECRET}\n\"quoted\"\n"));
    let other = scene.write("other", "nothing that anybody asked about, and quite long at that");
    let blank = scene.write("blank", &" ".repeat(400));
    let word = scene.write("token", "hunter2-hunter2\n");
    let call = scene.attempt("model.call", json!({}));
    let said = scene.ledger.payload(format!("ok: {}", "answer of the model, ".repeat(400)).as_bytes()).unwrap();
    let answer = scene.put(Kind::Observe, &[call], json!({"answer": {"status": 200, "body": said}}));
    // Escaped in JSON, in the middle of other text, over 4 KiB: beside the entry.
    let body = json!({"messages": [{"content": format!("{} I read:\n# Plan\n\n{SECRET}\n\"quoted\"\n", "x y z ".repeat(900))}]});
    let request = scene.ledger.payload(body.to_string().as_bytes()).unwrap();
    let out = scene.attempt("http.request", json!({"query": "t=hunter2-hunter2", "pad": " ".repeat(64)}));
    scene.put(Kind::Observe, &[out], json!({"model": {"of": out}, "request": {"method": "POST", "body": request}}));
    let later = scene.write("later", SECRET);
    let told = scene.read(out);
    assert_eq!(names(&told.carried), [(plan, "plan"), (word, "token")], "{told:?}");
    assert_eq!(names(&told.could), [(other, "other"), (blank, "blank"), (answer, "answer")], "{told:?}");
    assert!(told.carried[0].bytes >= 48 && told.seen_bytes > 5000);
    let nodes: Vec<u64> = told.trace.nodes.iter().map(|node| node.seq).collect();
    assert_eq!((told.trace.focus, nodes), (Some(out), vec![1, plan, word, out]));
    let last = told.trace.nodes.last().unwrap();
    assert_eq!(last.because, [plan, word], "an edge to what it carried");
    assert!(later > out);
    // An answer that goes out again.
    let body = format!("{{\"text\":\"{}\"}}", "answer of the model, ".repeat(3));
    let again = scene.attempt("tool.call", json!({"arguments": body}));
    assert_eq!(names(&scene.read(again).carried), [(answer, "answer")]);
    // One that came in pieces.
    let pieces = ["what the model said", " in several piec", "es, each an event"];
    let events = |piece: &&str| format!("event: x\ndata: {}\n\n", json!({"type": "y", "delta": {"text": piece}}));
    let said = scene.ledger.payload(pieces.iter().map(events).collect::<String>().as_bytes()).unwrap();
    let streamed = scene.put(Kind::Observe, &[call], json!({"answer": {"body": said}}));
    let again = scene.attempt("http.request", json!({"path": format!("/{}", pieces.concat())}));
    assert_eq!(names(&scene.read(again).carried), [(streamed, "answer")]);
}

#[test]
fn a_push_carries_the_files_that_are_objects_of_the_repository() {
    let scene = Scene::new();
    let text = format!("{SECRET}\n");
    let (sent, kept) = (scene.write("sent", &text), scene.write("kept", "never added to git, by nobody at all"));
    let id = git_id(text.as_bytes());
    // As `git hash-object` has it.
    assert_eq!(git_id(b"a\n"), "78981922613b2afb6025042ff6bd878ac1994e85");
    scene.write(&format!(".git/objects/{}/{}", &id[..2], &id[2..]), "zlib");
    let push = scene.attempt("git.push", json!({}));
    let told = scene.read(push);
    assert_eq!((names(&told.carried), names(&told.could)), (vec![(sent, "sent")], vec![(kept, "kept")]));
    assert_eq!(told.carried[0].bytes, text.len() as u64);
    assert!(told.unseen.iter().any(|why| why.contains("not on record")), "{:?}", told.unseen);
    let read = scene.attempt("fs.read", json!({}));
    scene.ledger.flush().unwrap();
    assert!(carried(&scene.ledger, "s", read).is_err(), "it leads nowhere");
    assert!(carried(&scene.ledger, "s", 1).is_err());
}
