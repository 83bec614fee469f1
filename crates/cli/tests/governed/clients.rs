//! The clients that people have, through opened TLS, each as it is set up: whom it trusts by default is whom the session trusts.

use crate::support::{Case, program};
use crate::web;
use flyball_testkit::user::User;
use std::path::Path;
use std::process::Command;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "whom_clients_trust", needs: |_| needs(&["curl", "git"]), run: whom },
        Case { name: "java_trusts_the_session", needs: |_| needs(&["java", "javac"]), run: java },
        Case { name: "chromium_trusts_the_session", needs: |_| needs(&["chromium"]), run: chromium },
        Case { name: "who_trusts_nobody_else_is_told_of", needs: |_| needs(&["curl"]), run: pinned },
        Case { name: "what_passes_and_what_is_closed_by_name", needs: |_| needs(&["curl"]), run: closed },
    ]
}

fn needs(programs: &[&'static str]) -> Option<String> {
    ["openssl", "python3"].iter().chain(programs).find_map(|name| program(name))
}

/// A client's name, what it needs, its script and what it prints when the request came through.
const CLIENTS: &[(&str, &[&str], &str, &str)] = &[
    ("curl", &["curl"], "curl -sS @URL@/curl", "GET /curl 0"),
    ("wget", &["wget"], "wget -qO- @URL@/wget", "GET /wget 0"),
    (
        "openssl",
        &["openssl"],
        "printf 'GET /openssl HTTP/1.0\\r\\nHost: @HOST@\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -connect @HOST@ 2>&1",
        "GET /openssl 0",
    ),
    (
        "urllib",
        &["python3"],
        "/usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen(\"@URL@/urllib\").read().decode())'",
        "GET /urllib 0",
    ),
    ("node", &["node"], "node -e 'fetch(\"@URL@/node\").then(r => r.text()).then(t => console.log(t))'", "GET /node 0"),
    ("git", &["git"], "git clone -q @URL@/files/r.git cloned && cat cloned/a.txt", "in the repository"),
    (
        "pip",
        &["pip"],
        "/usr/bin/python3 -m pip download -q --disable-pip-version-check --no-deps --index-url @URL@/files/simple demo -d got && ls got",
        "demo-1.0-py3-none-any.whl",
    ),
    (
        "requests",
        &["pip"],
        "/usr/bin/python3 -c '\ntry:\n import requests\nexcept ImportError:\n from pip._vendor import requests\nprint(requests.get(\"@URL@/requests\").text)'",
        "GET /requests 0",
    ),
    ("npm", &["npm"], "npm view demo version --registry=@URL@/files/npm/ --no-update-notifier", "7.7.7"),
    (
        "cargo",
        &["cargo"],
        "mkdir -p /tmp/c/src && touch /tmp/c/src/lib.rs && cd /tmp/c && printf '[package]\\nname = \"c\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\ndemo-crate = { version = \"1\", registry = \"here\" }\\n' >Cargo.toml && CARGO_REGISTRIES_HERE_INDEX=sparse+@URL@/files/index/ cargo generate-lockfile -q && grep -A1 'name = \"demo-crate\"' Cargo.lock",
        "version = \"1.0.7\"",
    ),
    (
        "go",
        &["go"],
        "GOFLAGS=-mod=mod GOPROXY=@URL@/files/go GONOSUMDB='*' GONOSUMCHECK=1 GOTOOLCHAIN=local go list -m -versions example.test/demo",
        "v1.2.3",
    ),
];

/// What the server has of each registry.
fn files(dir: &Path) {
    let script = r#"
        set -e; mkdir -p files/simple/demo files/npm files/index/de/mo files/go/example.test/demo/@v src
        git init -q -b main src; cd src; git config user.name t; git config user.email t@example.test
        echo 'in the repository' >a.txt; git add -A; git commit -q -m first; cd ..
        git clone -q --bare src files/r.git; git -C files/r.git update-server-info; rm -rf src
        python3 -c '
import zipfile
z = zipfile.ZipFile("files/demo-1.0-py3-none-any.whl", "w")
z.writestr("demo/__init__.py", ""); z.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
z.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
z.writestr("demo-1.0.dist-info/RECORD", ""); z.close()'
        echo '<a href="../../demo-1.0-py3-none-any.whl">demo-1.0-py3-none-any.whl</a>' >files/simple/demo/index.html
        echo '{"name":"demo","dist-tags":{"latest":"7.7.7"},"versions":{"7.7.7":{"name":"demo","version":"7.7.7","dist":{"tarball":"http://x/x.tgz","shasum":"x"}}}}' >files/npm/demo
        echo '{"dl":"https://host.internal/dl"}' >files/index/config.json
        echo '{"name":"demo-crate","vers":"1.0.7","deps":[],"cksum":"'$(printf x | sha256sum | cut -d" " -f1)'","features":{},"yanked":false}' >files/index/de/mo/demo-crate
        printf 'v1.2.3\n' >files/go/example.test/demo/@v/list
        printf 'module example.test/demo\n' >files/go/example.test/demo/@v/v1.2.3.mod
        printf '{"Version":"v1.2.3","Time":"2026-01-01T00:00:00Z"}' >files/go/example.test/demo/@v/v1.2.3.info
        cp files/go/example.test/demo/@v/v1.2.3.info files/go/example.test/demo/@latest
        chmod -R a+rX files"#;
    let made = Command::new("bash").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn whom(user: User) {
    let (world, server, outside) = web::scene(user);
    files(outside.path());
    let mut script = String::new();
    let mut expected = Vec::new();
    for (name, needs, text, expect) in CLIENTS {
        if let Some(why) = needs.iter().find_map(|name| program(name)) {
            eprintln!("skipped: {name}: {why}");
            continue;
        }
        let text = text.replace("@HOST@", &format!("host.internal:{}", server.port));
        script.push_str(&format!("echo '<{name}>'; ( {text} ) 2>&1; echo '</{name}>'\n"));
        expected.push((name, expect));
    }
    // What an ordinary user can't run here is no failure of theirs to trust.
    let said = web::run(&world, &server, &script);
    for (name, expect) in expected {
        let of = said.split_once(&format!("<{name}>\n")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
        let of = of.unwrap_or_else(|| panic!("{name} is not in:\n{said}")).0;
        if ["not found", "Permission denied", "No module named", "rustup could not choose"]
            .iter()
            .any(|why| of.contains(why))
        {
            eprintln!("skipped: {name}: {}", of.trim());
            continue;
        }
        assert!(of.contains(expect), "{name} said:\n{of}\nof all:\n{said}");
    }
}

/// Java has a trust store of its own, in whose place the session's stands.
fn java(user: User) {
    let (world, server, _outside) = web::scene(user);
    let program = format!(
        "import java.net.*; import java.io.*; class T {{ public static void main(String[] a) throws Exception {{\n\
         var c = URI.create(\"https://host.internal:{}/java\").toURL().openConnection();\n\
         System.out.println(new BufferedReader(new InputStreamReader(c.getInputStream())).readLine()); }} }}",
        server.port
    );
    std::fs::write(world.repo.workspace().join("T.java"), program).unwrap();
    let said = web::run(&world, &server, "java -Xshare:auto -XX:TieredStopAtLevel=1 T.java");
    assert!(said.contains("GET /java 0"), "{said}");
    if program_is("keytool") {
        let said = web::run(
            &world,
            &server,
            "keytool -list -cacerts -storepass changeit 2>&1 | tail -n 2; keytool -list -cacerts -storepass wrong 2>&1 | tail -n 2",
        );
        assert!(said.contains("trusted-") && said.contains("password was incorrect"), "{said}");
    }
}

/// Chromium goes by its administrator's policy, to which nobody inside adds.
fn chromium(user: User) {
    let (world, server, _outside) = web::scene(user);
    let script = "timeout 120 chromium --headless --no-sandbox --disable-gpu --no-first-run --user-data-dir=/tmp/profile \
        --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE host.internal' --dump-dom @URL@/chromium 2>/tmp/said || tail -n 3 /tmp/said\n\
        for to in /etc/chromium/policies/managed/more.json /etc/chromium/policies/managed/zz-flyball.json /etc/chromium/new; do\n\
        echo '{}' 2>/dev/null >$to && echo written; done; mv /etc/chromium /etc/other; ls /etc/chromium";
    let said = web::run(&world, &server, script);
    assert!(said.contains("GET /chromium 0"), "{said}");
    let own = Path::new("/etc/chromium/master_preferences");
    assert!(!said.contains("written") && (!own.exists() || said.contains("master_preferences\n")), "{said}");
}

fn program_is(name: &'static str) -> bool {
    program(name).is_none()
}

/// A client that believes one certificate and no authority gets no answer, and people are told what to do.
fn pinned(user: User) {
    let (world, server, outside) = web::scene(user);
    let pem = std::fs::read_to_string(outside.path().join("cert.pem")).unwrap();
    std::fs::write(world.repo.workspace().join("pin.pem"), pem).unwrap();
    let said = web::run(&world, &server, "curl -sS --cacert pin.pem @URL@/pinned; echo ended $?");
    assert!(!said.contains("GET /pinned") && said.contains("ended 60"), "{said}");
    assert!(said.contains("name the host under `[http] pass`"), "{said}");
    let alert = world.log().into_iter().find(|e| e["kind"] == "alert" && e["body"]["alert"] == "http");
    assert!(alert.is_some_and(|a| a["body"]["detail"].to_string().contains("host.internal")), "no alert");
}

/// What the charter names stays closed, by host and altogether; nothing there is ruled on but the connection.
fn closed(user: User) {
    let (world, server, outside) = web::scene(user);
    let pem = std::fs::read_to_string(outside.path().join("cert.pem")).unwrap();
    std::fs::write(world.repo.workspace().join("pin.pem"), pem).unwrap();
    let script = "echo 'url = @URL@/forbidden' >settings; curl -sS --cacert pin.pem -K settings; echo \"${SSL_CERT_FILE:-none}\"";
    for (toml, trust) in
        [("[http]\npass = [\"host.internal\"]\n", "/.flyball/trust.pem"), ("[http]\nopen = false\n", "none")]
    {
        world.change("charter.toml", |text| format!("{}\n{toml}", text.split("\n[http]").next().unwrap_or_default()));
        let said = web::run(&world, &server, script);
        assert!(said.contains("GET /forbidden 0") && said.contains(&format!("{trust}\n")), "{toml}: {said}");
        assert!(!world.log().iter().any(|e| e["body"]["verb"] == "http.request"), "{toml}");
    }
}
