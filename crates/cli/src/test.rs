//! `test`: rules on actions from JSON lines, offline.
//!
//! Numbers are a session's: each input line takes one, each ruling the next. An attempt that is allowed counts as carried
//! out with its ruling, so `did` holds from there on.

use crate::args::Test;
use crate::charter_dir::{self, FOLDER};
use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, visible};
use flyball_kernel::{Action, Charter, Event, Input, Kernel, Ruling, Session, Value, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest input line, bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// 2026-01-01T00:00:00Z: when the first line happens that names no time.
const START_NS: u64 = 1_767_225_600_000_000_000;

/// Between lines that name no time.
const STEP_NS: u64 = 1_000_000_000;

#[derive(Serialize)]
struct Numbered<'r> {
    seq: u64,
    #[serde(flatten)]
    ruling: &'r Ruling,
}

/// `flyball test`.
pub fn test(out: Output, args: &Test) -> Result<(), Failure> {
    let (named, files) = match args.paths.split_first() {
        Some((first, rest)) if first.is_dir() || first.ends_with("charter.toml") => (Some(first.as_path()), rest),
        _ => (None, args.paths.as_slice()),
    };
    if files.is_empty() {
        return Err(Failure::user("FB0504", "no file of actions was named")
            .hint("name one, or `-` for standard input")
            .of(Kind::Usage));
    }
    let dir = charter_dir::locate(named)?;
    let (charter, ..) = charter_dir::load(out, &dir)?;
    let mut bench = Bench::new(charter, session(&dir, args.workspace.as_deref()));
    for file in files {
        let reader: Box<dyn Read> = if file.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(
                std::fs::File::open(file)
                    .map_err(|e| Failure::user("FB0512", format!("can't read `{}`: {e}", file.display())))?,
            )
        };
        bench.feed(out, file, BufReader::new(reader))?;
    }
    match (args.exit_code, bench.strictest) {
        (true, Some(Verdict::Deny)) => Err(Failure::said(Kind::Denied)),
        (true, Some(Verdict::Hold)) => Err(Failure::said(Kind::Waiting)),
        _ => Ok(()),
    }
}

/// The workspace is the folder that the charter governs; a charter that lies elsewhere is tested in `/w`.
pub fn session(dir: &Path, workspace: Option<&Path>) -> Session {
    let of_charter = || {
        let dir = dir.canonicalize().ok()?;
        if dir.file_name()? == FOLDER { dir.parent().map(Path::to_path_buf) } else { None }
    };
    let workspace = workspace.map(Path::to_path_buf).or_else(of_charter).unwrap_or_else(|| PathBuf::from("/w"));
    let home = std::env::var("HOME").ok().filter(|h| h.starts_with('/')).unwrap_or_else(|| "/root".to_owned());
    Session { workspace: workspace.to_string_lossy().into_owned(), home, agent: "agent".to_owned() }
}

/// A kernel with the numbers that a session would give.
struct Bench {
    kernel: Kernel,
    seq: u64,
    at_ns: u64,
    /// Digests of held actions: an answer in a file need not spell them out.
    held: BTreeMap<u64, String>,
    strictest: Option<Verdict>,
}

impl Bench {
    fn new(charter: Charter, session: Session) -> Self {
        let kernel = Kernel::new(Arc::new(charter), session);
        Self { kernel, seq: 0, at_ns: START_NS - STEP_NS, held: BTreeMap::new(), strictest: None }
    }

    fn feed(&mut self, out: Output, file: &Path, mut from: impl BufRead) -> Result<(), Failure> {
        for number in 1_u64.. {
            let mut line = Vec::new();
            let fail = |why: String| {
                Failure::user("FB0504", format!("{}:{number}: {why}", file.display()))
                    .hint("`flyball test --help` shows the forms")
            };
            let read =
                from.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line).map_err(|e| fail(e.to_string()))?;
            if read == 0 {
                break;
            }
            if u64::try_from(read).is_ok_and(|n| n > LINE_BYTES_MAX) {
                return Err(fail(format!("longer than {LINE_BYTES_MAX} bytes")));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let (event, at_ns) = parse(&line, &self.held).map_err(fail)?;
            self.take(out, event, at_ns).map_err(fail)?;
        }
        Ok(())
    }

    fn take(&mut self, out: Output, event: Event, at_ns: Option<u64>) -> Result<(), String> {
        let at_ns = at_ns.unwrap_or(self.at_ns + STEP_NS);
        if at_ns < self.at_ns {
            return Err(format!("its time is before the line before it, {}", flyball_runtime::rfc3339(self.at_ns)));
        }
        self.at_ns = at_ns;
        self.seq += 1;
        for ruling in self.kernel.step_alone(&Input { seq: self.seq, at_ns, event }) {
            self.seq += 1;
            self.strictest = self.strictest.max(Some(ruling.verdict));
            print(out, self.seq, &ruling);
            match ruling.verdict {
                Verdict::Allow | Verdict::Modify => {
                    self.held.remove(&ruling.of);
                    let event = Event::Dispatch { of: ruling.of };
                    self.kernel.step(&Input { seq: self.seq, at_ns, event });
                }
                Verdict::Hold => {
                    self.held.insert(ruling.of, ruling.action.to_string());
                }
                Verdict::Deny => {
                    self.held.remove(&ruling.of);
                }
            }
        }
        Ok(())
    }
}

fn print(out: Output, seq: u64, ruling: &Ruling) {
    if out.is_json {
        out.json(&Numbered { seq, ruling });
        return;
    }
    let verdict =
        serde_json::to_value(ruling.verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let reasons: Vec<String> = ruling
        .reasons
        .iter()
        .map(|r| {
            let owner = if r.owner.is_empty() { String::new() } else { format!(" ({})", r.owner) };
            let because = match r.witnesses.as_slice() {
                [] => String::new(),
                some => format!(", because of {}", some.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
            };
            let needs = r.needs.as_ref().map(|n| format!("; passes with: {n}")).unwrap_or_default();
            format!("{}{owner}: {}{because}{needs}", r.rule, r.reason)
        })
        .collect();
    let painted = out.paint(Style::of_verdict(&verdict), &format!("{verdict:6}"));
    out.line(&format!("{seq:>4}  of {:>3}  {painted}  {}", ruling.of, visible(&reasons.join(" | "))));
}

/// A line's event and time.
fn parse(line: &[u8], held: &BTreeMap<u64, String>) -> Result<(Event, Option<u64>), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        of: u64,
        #[serde(default)]
        action: Option<String>,
        verdict: Verdict,
        #[serde(default)]
        with: Option<Box<Action>>,
        by: String,
        #[serde(default)]
        reason: String,
    }
    let json: Json = serde_json::from_slice(line).map_err(|e| format!("no JSON: {e}"))?;
    let object = json.as_object().ok_or("not an object")?;
    let at = object.get("at").map(time).transpose()?;
    if object.contains_key("verb") {
        return Ok((Event::Attempt(serde_json::from_value(json).map_err(|e| e.to_string())?), at));
    }
    let mut kinds = object.iter().filter(|(key, _)| *key != "at");
    let (Some((kind, body)), None) = (kinds.next(), kinds.next()) else {
        return Err(
            "neither an action (`verb`) nor an object with one of `result`, `observe`, `answer`, `tick`".to_owned()
        );
    };
    let body = body.clone();
    let event = match kind.as_str() {
        "result" => result(body)?,
        "observe" => Event::Observe { attrs: serde_json::from_value(body).map_err(|e| format!("`observe`: {e}"))? },
        "answer" => {
            let it: Answer = serde_json::from_value(body).map_err(|e| format!("`answer`: {e}"))?;
            let action = it.action.or_else(|| held.get(&it.of).cloned()).unwrap_or_default();
            Event::Answer { of: it.of, action, verdict: it.verdict, with: it.with, by: it.by, reason: it.reason }
        }
        "tick" => return Ok((Event::Tick, Some(time(&body)?))),
        other => {
            return Err(format!(
                "no input `{}`; there are `result`, `observe`, `answer`, `tick`",
                other.chars().take(40).collect::<String>()
            ));
        }
    };
    Ok((event, at))
}

fn result(body: Json) -> Result<Event, String> {
    let Json::Object(mut body) = body else { return Err("`result` is to be an object".to_owned()) };
    let of = body.remove("of").and_then(|v| v.as_u64()).ok_or("`result` lacks `of`, the attempt's number")?;
    let ok = body.remove("ok").and_then(|v| v.as_bool()).ok_or("`result` lacks `ok`, true or false")?;
    let attrs: BTreeMap<String, Value> =
        serde_json::from_value(Json::Object(body)).map_err(|e| format!("`result`: {e}"))?;
    Ok(Event::Outcome { of, ok, attrs })
}

fn time(value: &Json) -> Result<u64, String> {
    let text = value.as_str().ok_or("a time is RFC 3339 text")?;
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|e| format!("`{}` is no RFC 3339 time: {e}", text.chars().take(40).collect::<String>()))?;
    u64::try_from(at.as_nanosecond()).map_err(|_| format!("`{at}` is before 1970"))
}
