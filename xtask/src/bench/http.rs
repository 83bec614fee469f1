//! What the broker adds to HTTP over TLS: the same client and the same server, in a session with its TLS opened and without one.

use super::workloads::{find_flyball, init, median};
use crate::{Failure, exec};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Requests a round over so many connections at once.
const REQUESTS: u32 = 20_000;
const CONNECTIONS: u32 = 64;
/// Requests one by one, for the time that each takes.
const SINGLE: u32 = 2000;
/// Streamed answers of a model.
const STREAMS: u32 = 200;
const BIG_BYTES: u64 = 1 << 30;

/// 1 KiB at once, a stream of events that begins at once, and one body as long as wished either way.
const ORIGIN: &str = r#"
const https = require('https'), fs = require('fs');
const small = Buffer.alloc(1024, 120), piece = Buffer.alloc(65536, 121);
const event = (name, data) => `event: ${name}\ndata: ${JSON.stringify({ type: name, ...data })}\n\n`;
https.createServer({ cert: fs.readFileSync('cert.pem'), key: fs.readFileSync('key.pem') }, (q, a) => {
  let got = 0;
  q.on('data', (d) => got += d.length).on('end', () => {
    if (q.url.startsWith('/big')) {
      let left = +q.headers['x-bytes'] / 65536;
      a.writeHead(200, { 'content-length': q.headers['x-bytes'] });
      const more = () => { while (left > 0) { left--; if (!a.write(piece)) return a.once('drain', more); } a.end(); };
      return more();
    }
    if (q.url === '/v1/messages') {
      a.writeHead(200, { 'content-type': 'text/event-stream' });
      a.write(event('message_start', { message: { usage: { input_tokens: 5, output_tokens: 1 } } }));
      return setTimeout(() => a.end(event('message_delta', { usage: { output_tokens: 9 } }) + event('message_stop', {})), 3);
    }
    if (q.url === '/take') { const said = String(got); a.writeHead(200, { 'content-length': said.length }); return a.end(said); }
    a.writeHead(200, { 'content-length': '1024' });
    a.end(small);
  });
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
"#;

const CLIENT: &str = r#"
const https = require('https'), fs = require('fs');
const [what, host, port, ca, n, c] = process.argv.slice(2);
const agent = new https.Agent({ keepAlive: true, maxSockets: +c || 1, ca: fs.readFileSync(ca) });
const ask = (more, body) => new Promise((ok, no) => {
  const q = https.request({ host, port: +port, servername: 'host.internal', agent, ...more, headers: { host: 'host.internal:' + port, ...more.headers } }, (a) => {
    let first = 0, got = 0;
    a.on('data', (d) => { first ||= performance.now(); got += d.length; }).on('end', () => a.statusCode === 200 ? ok({ first, got }) : no(new Error('status ' + a.statusCode)));
  }).on('error', no);
  if (typeof body === 'function') body(q); else q.end(body);
});
const small = async () => { if ((await ask({ path: '/small' })).got !== 1024) throw new Error('short'); };
const middle = (times) => times.sort((a, b) => a - b)[times.length >> 1];
const call = JSON.stringify({ model: 'm', max_tokens: 50, stream: true, messages: [{ role: 'user', content: 'x'.repeat(500) }] });
const does = {
  many: async () => {
    const lane = async (n) => { for (let i = 0; i < n; i++) await small(); };
    const all = (n) => Promise.all(Array.from({ length: +c }, () => lane(n)));
    await all(10);
    const begun = performance.now();
    await all(n / c);
    return n / (performance.now() - begun) * 1000;
  },
  single: async () => {
    for (let i = 0; i < 200; i++) await small();
    const times = [];
    for (let i = 0; i < n; i++) { const begun = performance.now(); await small(); times.push(performance.now() - begun); }
    return middle(times);
  },
  stream: async () => {
    const times = [];
    for (let i = 0; i < n; i++) {
      const begun = performance.now();
      const { first } = await ask({ path: '/v1/messages', method: 'POST', headers: { 'content-type': 'application/json' } }, call);
      if (i >= 20) times.push(first - begun);
    }
    return middle(times);
  },
  big: async () => {
    for (let i = 0; i < 200; i++) await small();
    console.log('ready');
    await new Promise((ok) => setTimeout(ok, 500));
    if ((await ask({ path: '/big', headers: { 'x-bytes': n } })).got !== +n) throw new Error('short');
    console.log('down');
    await new Promise((ok) => setTimeout(ok, 200));
    const piece = Buffer.alloc(65536, 122);
    let left = n / 65536;
    await ask({ path: '/take', method: 'POST', headers: { 'content-length': n } }, (q) => {
      const more = () => { while (left > 0) { left--; if (!q.write(piece)) return q.once('drain', more); } q.end(); };
      more();
    });
    console.log('up');
    await new Promise((ok) => setTimeout(ok, 200));
    return 0;
  },
};
does[what]().then((told) => { console.log(told); agent.destroy(); }, (error) => { console.error(error); process.exit(1); });
"#;

struct Place {
    scratch: PathBuf,
    workspace: PathBuf,
    program: PathBuf,
    port: u16,
}

/// The section for docs/benchmarks.md.
pub(super) fn measure(flyball: Option<PathBuf>, rounds: usize) -> Result<String, Failure> {
    for needed in ["node", "openssl"] {
        exec::find(needed).ok_or_else(|| format!("`{needed}` is missing"))?;
    }
    let scratch = std::env::temp_dir().join(format!("flyball-bench-http-{}", std::process::id()));
    let workspace = scratch.join("w");
    std::fs::create_dir_all(&workspace)?;
    let program = find_flyball(flyball, &scratch)?;
    open_workspace(&program, &scratch, &workspace)?;
    std::fs::write(scratch.join("origin.js"), ORIGIN)?;
    std::fs::write(workspace.join("client.js"), CLIENT)?;
    let (mut origin, port) = started(Command::new("node").arg("origin.js").current_dir(&scratch))?;
    let table = table(&Place { scratch: scratch.clone(), workspace, program, port }, rounds);
    origin.kill()?;
    origin.wait()?;
    std::fs::remove_dir_all(scratch)?;
    table
}

/// A charter that opens TLS to the server of a test, and what that server shows.
pub(super) fn open_workspace(program: &Path, scratch: &Path, workspace: &Path) -> Result<(), Failure> {
    init(program, workspace)?;
    let rules = workspace.join(".flyball/rules.cedar");
    let text = std::fs::read_to_string(&rules)?;
    std::fs::write(&rules, text.replacen("[\"localhost\",", "[\"host.internal\", \"localhost\",", 1))?;
    let charter = workspace.join(".flyball/charter.toml");
    let text = std::fs::read_to_string(&charter)?;
    std::fs::write(&charter, text + "\n[http]\nopen = true\n")?;
    certificates(scratch)
}

/// An authority for the test, and a server's certificate by it.
fn certificates(dir: &Path) -> Result<(), Failure> {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench -keyout ca.key -out ca.pem \
        && openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=host.internal -keyout key.pem -out leaf.csr \
        && printf 'subjectAltName=DNS:host.internal\\n' >leaf.ext \
        && openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out cert.pem";
    exec::run(Command::new("sh").args(["-ec", script]).current_dir(dir).stderr(Stdio::null()))
}

pub(super) fn started(command: &mut Command) -> Result<(Child, u16), Failure> {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok((child, line.trim().parse()?))
}

impl Place {
    fn client(&self, is_governed: bool, what: &str, counts: [u64; 2]) -> Command {
        let [n, connections] = counts.map(|count| count.to_string());
        let port = self.port.to_string();
        let mut command = match is_governed {
            false => Command::new("node"),
            true => {
                let mut command = Command::new(&self.program);
                command.arg("--ledger").arg(self.scratch.join("ledger"));
                command.args(["run", "--apply", "never", "--on-hold", "deny", "--", "node"]);
                command.env("SSL_CERT_FILE", self.scratch.join("ca.pem")).stderr(Stdio::null());
                command
            }
        };
        let (host, ca) = match is_governed {
            false => ("127.0.0.1".to_owned(), self.scratch.join("ca.pem")),
            true => ("host.internal".to_owned(), "/.flyball/trust.pem".into()),
        };
        command.args(["client.js", what, &host, &port]).arg(ca).args([n, connections]);
        command.current_dir(&self.workspace).stdin(Stdio::null());
        command
    }

    fn told(&self, is_governed: bool, what: &str, counts: [u64; 2]) -> Result<f64, Failure> {
        let text = exec::read(&mut self.client(is_governed, what, counts))?;
        let line = text.lines().find(|line| line.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
        line.parse().map_err(|_| format!("`{what}` of the client said `{text}`").into())
    }

    /// Medians of rounds without a session and in one, in turns.
    fn both(&self, rounds: usize, what: &str, counts: [u64; 2]) -> Result<[f64; 2], Failure> {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in 0..2 {
                let is_governed = (round + turn) % 2 == 1;
                let told = self.told(is_governed, what, counts)?;
                if let Some(times) = times.get_mut(usize::from(is_governed)) {
                    times.push(Duration::from_secs_f64(told));
                }
            }
        }
        Ok(times.map(|times| median(times).as_secs_f64()))
    }
}

fn table(place: &Place, rounds: usize) -> Result<String, Failure> {
    let mut out = format!(
        "`cargo xtask bench http`, {}, medians of {rounds} interleaved rounds; client and server in Node, on the same cores as the broker\n\n\
         | HTTP/1.1 over TLS | direct | in a session | |\n|---|---|---|---|\n",
        super::machine()
    );
    let [direct, through] = place.both(rounds, "many", [REQUESTS.into(), CONNECTIONS.into()])?;
    out.push_str(&format!(
        "| answers of 1 KiB a second, {CONNECTIONS} connections | {direct:.0} | {through:.0} | {:.2} |\n",
        through / direct.max(1.0)
    ));
    let ms = |told: f64| format!("{told:.3} ms");
    for (name, what, n) in
        [("one request, p50", "single", SINGLE), ("first byte of a model's streamed answer, p50", "stream", STREAMS)]
    {
        let [direct, through] = place.both(rounds, what, [n.into(), 1])?;
        out.push_str(&format!("| {name} | {} | {} | {} more |\n", ms(direct), ms(through), ms(through - direct)));
    }
    let seen = memory(place)?;
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    out.push_str(&format!(
        "\n| the supervisor's memory, a body of 1 GiB | |\n|---|---|\n| before | {} |\n| after one came | {} |\n| after one went | {} |\n| at most | {} |\n",
        mib(seen.before),
        mib(seen.down),
        mib(seen.up),
        mib(seen.most)
    ));
    Ok(out.trim_end().to_owned())
}

#[derive(Default)]
struct Memory {
    before: u64,
    down: u64,
    up: u64,
    most: u64,
}

fn memory(place: &Place) -> Result<Memory, Failure> {
    let mut run = place.client(true, "big", [BIG_BYTES, 1]).stdout(Stdio::piped()).spawn()?;
    let (id, stdout) = (run.id(), run.stdout.take());
    let kib = |field: &str| -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    let (rss, most) = (|| kib("VmRSS:").unwrap_or_default(), || kib("VmHWM:").unwrap_or_default());
    let mut seen = Memory::default();
    let stdout = stdout.ok_or("no output")?;
    for line in BufReader::new(stdout).lines() {
        match line?.as_str() {
            "ready" => seen.before = rss(),
            "down" => seen.down = rss(),
            "up" => (seen.up, seen.most) = (rss(), most()),
            _ => {}
        }
    }
    let status = run.wait()?;
    let is_whole = [seen.before, seen.down, seen.up].iter().all(|kib| *kib > 0);
    if status.success() && is_whole { Ok(seen) } else { Err("the long body did not come through".into()) }
}
