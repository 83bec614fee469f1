#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::gate::{Answered, Asking, Gate};
use crate::mcp::{Around, Pins};
use flyball_intent::McpOwn;
use flyball_kernel::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Default)]
struct World {
    asked: Mutex<Vec<String>>,
}

impl Gate for World {
    fn ask(&self, asking: Asking) -> Answered {
        let said = format!("{} {}", asking.actions[0].verb, asking.actions[0].resource.id());
        let is_denied = said == "tool.call b/danger";
        self.asked.lock().unwrap().push(said);
        if is_denied {
            Answered::Denied { attempt: 1, text: "no".into() }
        } else {
            Answered::Allowed { attempts: vec![1] }
        }
    }
    fn outcome(&self, _: &[u64], _: Option<bool>, _: &BTreeMap<String, Value>) {}
    fn observe(&self, _: &str, _: &[u64], _: Json) -> Option<u64> {
        Some(1)
    }
}

impl Pins for World {
    fn known(&self, _: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        Ok(None)
    }
    fn keep(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// What one end was told, until it is gone.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.1.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Told {
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}

struct End {
    many: Weak<Many>,
    at: usize,
    told: Told,
}

impl Peers for End {
    fn to_server(&self, line: &[u8]) -> std::io::Result<()> {
        self.told.clone().write_all(&[line, b"\n"].concat())
    }
    fn to_client(&self, line: &[u8]) -> std::io::Result<()> {
        self.many.upgrade().unwrap().said(self.at, line);
        Ok(())
    }
}

struct Scene {
    many: Arc<Many>,
    world: Arc<World>,
    client: Told,
    servers: Vec<Told>,
}

impl Scene {
    /// Servers `a` and `b`, introduced, with the tools that they list.
    fn new() -> Self {
        let (world, client) = (Arc::new(World::default()), Told::default());
        let many = Many::new(&["a".to_owned(), "b".to_owned()], Box::new(client.clone()));
        let mut servers = Vec::new();
        for (at, name) in ["a", "b"].iter().enumerate() {
            let around = Around {
                server: (*name).into(),
                kind: (*name).into(),
                cwd: "/w".into(),
                home: "/h".into(),
                roots: Vec::new(),
                wait: Duration::ZERO,
                own: McpOwn::default(),
                git: Box::new(|_| None),
            };
            let told = Told::default();
            let end = Arc::new(End { many: Arc::downgrade(&many), at, told: told.clone() });
            many.stand(
                at,
                Proxy::new(around, Arc::clone(&world) as Arc<dyn Gate>, Arc::clone(&world) as Arc<dyn Pins>, end),
            );
            servers.push(told);
        }
        Self { many, world, client, servers }
    }

    fn says(&self, line: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
        self.many.from_client(&Frame::Line(line.as_bytes().to_vec()));
        (self.servers[0].take(), self.servers[1].take(), self.client.take())
    }

    fn server(&self, at: usize, line: &str) -> Vec<String> {
        let proxy = self.many.servers[at].proxy.get().unwrap();
        proxy.from_server(&Frame::Line(line.as_bytes().to_vec()));
        self.client.take()
    }

    fn listed(self) -> Self {
        self.says(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        self.server(0, r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"run","n":1.10},{"name":"b__run"}]}}"#);
        let said = self.server(
            1,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"run"},{"name":"danger"}],"nextCursor":"x"}}"#,
        );
        assert_eq!(
            said,
            [
                r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a__run","n":1.10},{"name":"a__b__run"},{"name":"b__run"},{"name":"b__danger"}],"nextCursor":"flyball:{\"b\":\"x\"}"}}"#
            ]
        );
        self.world.asked.lock().unwrap().clear();
        self
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.world.asked.lock().unwrap())
    }
}

fn call(id: u32, name: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{{"n":1.10}}}}}}"#
    )
}

#[test]
fn a_call_goes_to_the_server_that_its_name_says_and_is_ruled_on_there() {
    let scene = Scene::new().listed();
    // Two servers have a tool of that name, and one calls its own as the other's is called here.
    for (name, at, own) in [("a__run", 0, "run"), ("b__run", 1, "run"), ("a__b__run", 0, "b__run")] {
        let (a, b, client) = scene.says(&call(2, name));
        let (to, other) = if at == 0 { (a, b) } else { (b, a) };
        // The second one has more tools than were listed: the gateway looks itself first.
        let to = if to[0].contains("tools/list") {
            let id = serde_json::from_str::<Json>(&to[0]).unwrap()["id"].clone();
            assert!(client.is_empty());
            scene.server(1, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"name":"run"}}]}}}}"#));
            scene.servers[1].take()
        } else {
            to
        };
        assert_eq!((to, other), (vec![call(2, own)], vec![]), "{name}");
        let answer = r#"{"jsonrpc":"2.0", "id":2,"result":{"content":[],"n":1.10}}"#;
        assert!(scene.server(1 - at, answer).is_empty(), "another server answers nothing that it was not asked");
        assert_eq!(scene.server(at, answer), [answer]);
    }
    assert!(scene.asked().contains(&"tool.call a/b__run".to_owned()));
    let (a, b, client) = scene.says(&call(3, "b__danger"));
    assert!(a.is_empty() && b.is_empty() && client[0].contains("\"isError\":true"), "{client:?}");
    assert_eq!(scene.asked(), ["tool.call b/danger"]);
    for name in ["run", "c__run", "__run", "A__run", "a_run", ""] {
        let (a, b, client) = scene.says(&call(4, name));
        assert!(a.is_empty() && b.is_empty() && client[0].contains("-32602"), "{name}: {client:?}");
    }
}

#[test]
fn all_are_asked_and_one_answer_comes_back() {
    let scene = Scene::new();
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let (a, b, _) = scene.says(hello);
    assert_eq!((a, b), (vec![hello.to_owned()], vec![hello.to_owned()]));
    assert!(scene.server(0, r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":false}},"serverInfo":{"name":"x"},"instructions":"i"}}"#).is_empty());
    // A second answer of the first is none of the second's.
    assert!(scene.server(0, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#).is_empty());
    let said = scene.server(1, r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{}}}}"#);
    let said: Json = serde_json::from_str(&said[0]).unwrap();
    assert_eq!(said["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(said["result"]["capabilities"], json!({"tools": {"listChanged": true}, "resources": {}}));
    assert_eq!(said["result"]["instructions"], "a: i");
    // One that has no such lists is left out of them; where none has, that is said.
    let list = r#"{"jsonrpc":"2.0","id":5,"method":"prompts/list","params":{"cursor":"flyball:{\"b\":\"7\"}"}}"#;
    let (a, b, _) = scene.says(list);
    assert!(a.is_empty() && b[0].contains(r#""cursor":"7""#), "{b:?}");
    let none = r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"none"}}"#;
    assert_eq!(scene.server(1, none), [none]);
    for cursor in ["7", "flyball:7", r#"flyball:{\"c\":\"7\"}"#] {
        let (.., client) = scene.says(&list.replace(r#"flyball:{\"b\":\"7\"}"#, cursor));
        assert!(client[0].contains("-32602"), "{cursor}: {client:?}");
    }
    // A server that ends answers for all that it was asked.
    scene.says(r#"{"jsonrpc":"2.0","id":6,"method":"tools/list"}"#);
    scene.server(0, r#"{"jsonrpc":"2.0","id":6,"result":{"tools":[]}}"#);
    scene.many.servers[1].proxy.get().unwrap().server_ended();
    assert_eq!(scene.client.take(), [r#"{"jsonrpc":"2.0","id":6,"result":{"tools":[]}}"#]);
}

#[test]
fn an_address_is_one_servers_and_servers_questions_are_told_apart() {
    let scene = Scene::new();
    scene.says(r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#);
    scene.server(0, r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"x:1"},{"uri":"x:2"}]}}"#);
    let said = scene
        .server(1, r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"x:2","name":"mine"},{"uri":"x:3"}]}}"#);
    assert!(said[0].contains(r#"[{"uri":"x:1"},{"uri":"x:2"},{"uri":"x:3"}]"#), "{said:?}");
    let read =
        |uri: &str| format!(r#"{{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{{"uri":"{uri}"}}}}"#);
    let (a, b, _) = scene.says(&read("x:2"));
    assert_eq!((a.len(), b.len()), (1, 0));
    scene.server(0, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    let (a, b, client) = scene.says(&read("x:4"));
    assert!(a.is_empty() && b.is_empty() && client[0].contains("-32602"));
    // Both servers call their question 9.
    let question = r#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#;
    let ids: Vec<Json> =
        [0, 1].map(|at| serde_json::from_str::<Json>(&scene.server(at, question)[0]).unwrap()["id"].clone()).into();
    assert_ne!(ids[0], ids[1]);
    let (a, b, _) = scene.says(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"roots":[]}}}}"#, ids[1]));
    assert_eq!((a, b), (vec![], vec![r#"{"jsonrpc":"2.0","id":9,"result":{"roots":[]}}"#.to_owned()]));
    // An answer that was given is given once, and what nobody asked reaches nobody.
    for id in [ids[1].to_string(), "9".to_owned(), "\"flyball/77\"".to_owned()] {
        let (a, b, _) = scene.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"roots":[]}}}}"#));
        assert!(id != "9" && a.is_empty() && b.is_empty() || id == "9" && b.is_empty(), "{id}: {a:?} {b:?}");
    }
}

#[test]
fn bad_input_is_answered_and_the_next_is_served() {
    let scene = Scene::new().listed();
    for line in
        ["{", "[]", r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, r#"{"jsonrpc":"2.0","id":8,"method":"x/y"}"#]
    {
        let (a, b, client) = scene.says(line);
        assert!(a.is_empty() && b.is_empty() && client.len() == 1 && client[0].contains("error"), "{line}: {client:?}");
    }
    let (a, ..) = scene.says(&call(7, "a__run"));
    assert_eq!(a.len(), 1);
    // Another server's word for it, if its proxy let that through.
    scene.many.said(1, br#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
    assert!(scene.client.take().is_empty());
    // The same id again, while the first waits.
    let (a, b, client) = scene.says(&call(7, "b__run"));
    assert!(a.is_empty() && b.is_empty() && client[0].contains("waits for its answer"), "{client:?}");
    for id in 20..50 {
        scene.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"prompts/list"}}"#));
    }
    assert_eq!(scene.many.lock().waiting.len(), 1 + ALL_MAX);
    let (.., client) = scene.says(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#);
    assert_eq!(client, [r#"{"jsonrpc":"2.0","id":9,"result":{}}"#]);
}

/// Else a server would wait for the answer for ever.
#[test]
fn a_server_s_question_that_no_client_hears_is_answered() {
    let scene = Scene::new();
    let question = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"roots/list"}}"#);
    assert_eq!(scene.server(1, &question("q")), [r#"{"jsonrpc":"2.0","id":"flyball/1","method":"roots/list"}"#]);
    assert!(scene.servers[1].take().is_empty());
    scene.client.1.store(true, Ordering::SeqCst);
    scene.server(1, &question("r"));
    let told = scene.servers[1].take();
    assert!(told.len() == 1 && told[0].contains(r#""id":"r""#) && told[0].contains("does not listen"), "{told:?}");
    // Nobody answers it twice.
    scene.client.1.store(false, Ordering::SeqCst);
    let (_, told, _) = scene.says(r#"{"jsonrpc":"2.0","id":"flyball/2","result":{"roots":[]}}"#);
    assert!(told.is_empty(), "{told:?}");
    let (_, told, _) = scene.says(r#"{"jsonrpc":"2.0","id":"flyball/1","result":{"roots":[]}}"#);
    assert_eq!(told, [r#"{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#]);
}
