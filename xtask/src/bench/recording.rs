//! What keeping a body for the record takes: of what passes in a time, and of the supervisor's processor time.
//!
//! A model's answer is kept, the same bytes at another path are not; other HTTP bodies are kept by `run --record` only, so that row
//! holds a whole recorded run against one that is not. The client asks for no time: in a recorded run that is a call of its own.

use super::http::{open_workspace, started};
use super::workloads::find_flyball;
use crate::{Failure, exec};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of answers in one run, after one to warm up.
const RUN_BYTES: u64 = 192 << 20;
const PACED_CONNECTIONS: u32 = 16;
const PACED_EVENTS: u32 = 500;
const PACED_EVERY_MS: u32 = 10;
/// Bytes a second of a network of 1 Gbit/s, for all connections together.
const NETWORK_BYTES: u64 = 125_000_000;
/// Ticks of a processor's clock a second, as the system tells times in `/proc`.
const TICKS: f64 = 100.0;

/// `x-sizes: EVENT_BYTES,ANSWER_BYTES`: a stream of such events, or, of none, one body; with `,EVERY_MS` so many events, one each time;
/// with `,0,RATE` so many bytes a second, where what the reader did not take in 50 ms is not caught up. Every answer is another.
const ORIGIN: &str = r#"
const https = require('https'), fs = require('fs');
const event = (name, data) => `event: ${name}\ndata: ${JSON.stringify({ type: name, ...data })}\n\n`;
const delta = (length) => event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'x'.repeat(length) } });
const piece = (bytes) => {
  if (bytes === 0) return Buffer.alloc(65536, 121);
  const one = delta(Math.max(1, bytes - delta(0).length));
  return Buffer.from(one.repeat(Math.max(1, Math.floor(65536 / one.length))));
};
const pieces = new Map();
let nth = 0;
https.createServer({ cert: fs.readFileSync('cert.pem'), key: fs.readFileSync('key.pem') }, (q, a) => {
  q.on('data', () => 0).on('end', () => {
    const kind = q.headers['x-kind'], [bytes, length, every, rate] = q.headers['x-sizes'].split(',').map(Number);
    const first = kind === 'events' ? event('message_start', { message: { id: 'm' + nth++ + Date.now(), usage: { input_tokens: 5, output_tokens: 1 } } }) : String(nth++).padEnd(64, '-');
    const last = kind === 'events' ? event('message_delta', { usage: { output_tokens: 9 } }) + event('message_stop', {}) : '';
    a.writeHead(200, { 'content-type': kind === 'events' ? 'text/event-stream' : 'application/octet-stream' });
    a.write(first);
    if (every) {
      let left = length;
      const one = delta(bytes - delta(0).length);
      const timer = setInterval(() => { a.write(one); if (--left === 0) { clearInterval(timer); a.end(last); } }, every);
      return;
    }
    const same = pieces.get(bytes) ?? pieces.set(bytes, piece(bytes)).get(bytes);
    let left = Math.ceil(length / same.length);
    if (rate) {
      let due = performance.now();
      const step = same.length / rate * 1000;
      const more = () => {
        const now = performance.now();
        due = Math.max(due, now - 50);
        while (left > 0 && due <= now) { left--; due += step; if (!a.write(same)) return a.once('drain', more); }
        if (left > 0) setTimeout(more, 1); else a.end(last);
      };
      return more();
    }
    const more = () => { while (left > 0) { left--; if (!a.write(same)) return a.once('drain', more); } a.end(last); };
    more();
  });
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
"#;

const CLIENT: &str = r#"
import http.client, json, ssl, sys, threading
port, ca, path, kind, sizes, answers, connections = sys.argv[1:]
call = json.dumps({"model": "m", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "x"}]})
def opened():
    context = ssl.create_default_context(cafile=ca)
    return http.client.HTTPSConnection("host.internal", int(port), context=context)
def ask(to, sizes):
    to.request("POST", path, call, {"content-type": "application/json", "x-kind": kind, "x-sizes": sizes})
    answer, got, room = to.getresponse(), 0, bytearray(1 << 16)
    assert answer.status == 200, answer.status
    while True:
        n = answer.readinto(room)
        if n == 0:
            return got
        got += n
all = [opened() for _ in range(int(connections))]
for to in all:
    ask(to, sizes.split(",")[0] + ",65536")
input_line = sys.stdin.readline
print("begin", flush=True); input_line()
got = [0] * len(all)
def lane(n):
    for _ in range(int(answers)):
        got[n] += ask(all[n], sizes)
threads = [threading.Thread(target=lane, args=(n,)) for n in range(1, len(all))]
for thread in threads: thread.start()
lane(0)
for thread in threads: thread.join()
print("done", sum(got), flush=True); input_line()
"#;

/// What is compared, and how it is asked for.
struct Row {
    name: &'static str,
    kind: &'static str,
    sizes: String,
    answers: u64,
    connections: u32,
}

struct Place {
    scratch: PathBuf,
    workspace: PathBuf,
    program: PathBuf,
    port: u16,
}

/// One run, as it was seen from outside.
#[derive(Clone, Copy, Default)]
struct Seen {
    mib: f64,
    seconds: f64,
    /// Of the supervisor, until the last body was on record.
    processor_ms: f64,
}

/// The section for docs/benchmarks.md.
pub(super) fn measure(flyball: Option<PathBuf>, rounds: usize) -> Result<String, Failure> {
    for needed in ["node", "openssl", "python3"] {
        exec::find(needed).ok_or_else(|| format!("`{needed}` is missing"))?;
    }
    let scratch = std::env::temp_dir().join(format!("flyball-bench-recording-{}", std::process::id()));
    let workspace = scratch.join("w");
    std::fs::create_dir_all(&workspace)?;
    let program = find_flyball(flyball, &scratch)?;
    open_workspace(&program, &scratch, &workspace)?;
    std::fs::write(scratch.join("origin.js"), ORIGIN)?;
    std::fs::write(workspace.join("client.py"), CLIENT)?;
    let (mut origin, port) = started(Command::new("node").arg("origin.js").current_dir(&scratch))?;
    let table = table(&Place { scratch: scratch.clone(), workspace, program, port }, rounds);
    origin.kill()?;
    origin.wait()?;
    std::fs::remove_dir_all(scratch)?;
    table
}

fn table(place: &Place, rounds: usize) -> Result<String, Failure> {
    let full = |name, kind, event: u64, mib: u64| {
        let bytes = mib << 20;
        Row { name, kind, sizes: format!("{event},{bytes}"), answers: RUN_BYTES / bytes, connections: 1 }
    };
    let rows = [
        full("events of 120 bytes, answers of 4 MiB", "events", 120, 4),
        full("events of 4 KB, answers of 4 MiB", "events", 4096, 4),
        full("events of 4 KB, answers of 16 MiB", "events", 4096, 16),
        full("bodies of 4 MiB", "body", 0, 4),
        full("bodies of 16 MiB", "body", 0, 16),
    ];
    let mut out = format!(
        "`cargo xtask bench recording`, {}, medians of {rounds} interleaved rounds of {} MiB over one TLS connection; client in Python \
         and server in Node, on the same cores as the broker\n\n\
         | as fast as it goes | {COLUMNS}",
        super::machine(),
        RUN_BYTES >> 20
    );
    for row in rows {
        out.push_str(&place.line(&row, rounds)?);
    }
    let network = |name, kind, event: u64, mib: u64, connections: u32| {
        let (bytes, each) = (mib << 20, u64::from(connections));
        let sizes = format!("{event},{bytes},0,{}", NETWORK_BYTES / each);
        Row { name, kind, sizes, answers: RUN_BYTES / bytes / each, connections }
    };
    let rows = [
        network("events of 4 KB, answers of 4 MiB, one connection", "events", 4096, 4, 1),
        network("the same on four", "events", 4096, 4, 4),
        network("bodies of 16 MiB, one connection", "body", 0, 16, 1),
        network("the same on four", "body", 0, 16, 4),
    ];
    out.push_str(&format!("\n| the server sends 125 MB a second in all, as a network of 1 Gbit/s | {COLUMNS}"));
    for row in rows {
        out.push_str(&place.line(&row, rounds)?);
    }
    let paced = Row {
        name: "",
        kind: "events",
        sizes: format!("120,{PACED_EVENTS},{PACED_EVERY_MS}"),
        answers: 1,
        connections: PACED_CONNECTIONS,
    };
    let [not, kept] = place.both(&paced, rounds)?;
    let events = f64::from(PACED_CONNECTIONS * PACED_EVENTS);
    out.push_str(&format!(
        "\n| {PACED_CONNECTIONS} answers at once, each {} events a second, {PACED_EVENTS} of them | not kept | kept |\n|---|---|---|\n\
         | events a second | {:.0} | {:.0} |\n| supervisor's processor, us an event | {:.0} | {:.0} |\n",
        1000 / PACED_EVERY_MS,
        events / not.seconds,
        events / kept.seconds,
        not.processor_ms * 1000.0 / events,
        kept.processor_ms * 1000.0 / events,
    ));
    Ok(out.trim_end().to_owned())
}

const COLUMNS: &str =
    "not kept, MiB/s | kept | | supervisor's processor, ms a MiB, not kept | kept |\n|---|---|---|---|---|---|\n";

impl Place {
    fn line(&self, row: &Row, rounds: usize) -> Result<String, Failure> {
        let [not, kept] = self.both(row, rounds)?;
        let rate = |seen: Seen| seen.mib / seen.seconds.max(1e-9);
        let each = |seen: Seen| seen.processor_ms / seen.mib.max(1e-9);
        Ok(format!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} |\n",
            row.name,
            rate(not),
            rate(kept),
            rate(kept) / rate(not).max(1e-9),
            each(not),
            each(kept)
        ))
    }

    /// Medians of rounds that are not kept and kept, in turns.
    fn both(&self, row: &Row, rounds: usize) -> Result<[Seen; 2], Failure> {
        let mut all = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in 0..2 {
                let is_kept = (round + turn) % 2 == 1;
                let seen = self.run(row, is_kept)?;
                if let Some(all) = all.get_mut(usize::from(is_kept)) {
                    all.push(seen);
                }
            }
        }
        let middle = |all: &[Seen], of: fn(&Seen) -> f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Ok(all.map(|all| Seen {
            mib: middle(&all, |seen| seen.mib),
            seconds: middle(&all, |seen| seen.seconds),
            processor_ms: middle(&all, |seen| seen.processor_ms),
        }))
    }

    fn run(&self, row: &Row, is_kept: bool) -> Result<Seen, Failure> {
        let is_model = row.kind == "events";
        let mut command = Command::new(&self.program);
        command.arg("--ledger").arg(self.scratch.join("ledger")).arg("run");
        if is_kept && !is_model {
            command.arg("--record");
        }
        let path = if is_kept && is_model { "/v1/messages" } else { "/v1/other" };
        command.args(["--apply", "never", "--on-hold", "deny", "--", "python3", "client.py"]);
        command.args([&self.port.to_string(), "/.flyball/trust.pem", path, row.kind, &row.sizes]);
        command.args([row.answers.to_string(), row.connections.to_string()]);
        command.env("SSL_CERT_FILE", self.scratch.join("ca.pem")).current_dir(&self.workspace);
        let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (id, mut go) = (run.id(), run.stdin.take().ok_or("no pipe")?);
        let (mut seen, mut begun) = (Seen::default(), Instant::now());
        for line in BufReader::new(run.stdout.take().ok_or("no output")?).lines() {
            let line = line?;
            if line == "begin" {
                seen.processor_ms = -settled(id)?;
                begun = Instant::now();
                std::io::Write::write_all(&mut go, b"\n")?;
            } else if let Some(bytes) = line.strip_prefix("done ") {
                seen.seconds = begun.elapsed().as_secs_f64();
                seen.mib = bytes.trim().parse::<f64>()? / f64::from(1 << 20);
                seen.processor_ms += settled(id)?;
                std::io::Write::write_all(&mut go, b"\n")?;
            }
        }
        let status = run.wait()?;
        let is_whole = status.success() && seen.mib > 0.0 && seen.seconds > 0.0;
        if is_whole { Ok(seen) } else { Err(format!("the answers of `{}` did not come through", row.name).into()) }
    }
}

/// Processor time of a process in ms, once it takes no more: what came is on record then.
fn settled(id: u32) -> Result<f64, Failure> {
    let mut last = processor_ms(id)?;
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = processor_ms(id)?;
        if now - last <= 1000.0 / TICKS {
            return Ok(now);
        }
        last = now;
    }
}

/// By the processor's clock, the system's own time for it included (proc(5), `stat`, fields 14 and 15).
fn processor_ms(id: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 * 1000.0 / TICKS)
}
