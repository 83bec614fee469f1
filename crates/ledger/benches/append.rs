//! `cargo bench -p flyball-ledger`: what an append costs, beside a raw append and fdatasync of the same run and disk;
//! and how fast a ledger is verified. Medians of the rounds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench")]

use flyball_ledger::bundle::{self, Export, Limits};
use flyball_ledger::{Digest, Draft, Filter, Kind, Ledger, merkle};
use serde_json::json;
use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

const ROUNDS: usize = 7;
const DURABLE_APPENDS: u64 = 200;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("skipped: a bench runs under `cargo bench`");
        return;
    }
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    durable(disk);
    many_writers(disk);
    callers_share(disk);
    long_content(disk);
    verification(disk);
    large(disk);
}

/// An entry of 1 KiB, give or take a few bytes.
fn draft(n: u64) -> Draft {
    let body = json!({"n": n, "pad": "x".repeat(870)});
    Draft { at_ns: n, kind: Kind::Attempt, actor: "bench".into(), cause: vec![], body }
}

fn durable(disk: &Path) {
    let (mut raw, mut ours, mut ratios) = (vec![], vec![], vec![]);
    let dir = tempfile::tempdir_in(disk).unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
    let stream = ledger.stream("s").unwrap();
    let mut file = File::create(dir.path().join("raw")).unwrap();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..DURABLE_APPENDS {
            file.write_all(&[b'x'; 1024]).unwrap();
            file.sync_data().unwrap();
        }
        let plain = start.elapsed();
        let start = Instant::now();
        for _ in 0..DURABLE_APPENDS {
            let seq = stream.append(draft(stream.last_seq() + 1)).unwrap();
            stream.durable(seq).unwrap();
        }
        let durable = start.elapsed();
        ratios.push(plain.as_secs_f64() / durable.as_secs_f64());
        raw.push(plain);
        ours.push(durable);
    }
    let each = |times: Vec<Duration>| median(times.iter().map(Duration::as_secs_f64)) * 1e6 / DURABLE_APPENDS as f64;
    println!("raw 1 KiB append + fdatasync   {:>9.1} us", each(raw));
    println!("durable append, one writer     {:>9.1} us", each(ours));
    println!("ratio to raw (aim 0.5)         {:>9.2}", median(ratios));
}

fn many_writers(disk: &Path) {
    let dir = tempfile::tempdir_in(disk).unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
    let streams: Vec<_> = (0..64).map(|n| ledger.stream(&format!("s{n}")).unwrap()).collect();
    let rates = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for stream in &streams {
                scope.spawn(move || {
                    for _ in 0..20 {
                        let seq = stream.append(draft(stream.last_seq() + 1)).unwrap();
                        stream.durable(seq).unwrap();
                    }
                });
            }
        });
        64.0 * 20.0 / start.elapsed().as_secs_f64()
    });
    println!("durable appends, 64 writers    {:>9.0} /s", median(rates.collect::<Vec<_>>()));
}

fn callers_share(disk: &Path) {
    let dir = tempfile::tempdir_in(disk).unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
    let stream = ledger.stream("s").unwrap();
    let mut sparse = Vec::new();
    for _ in 0..300 {
        let draft = draft(stream.last_seq() + 1);
        let start = Instant::now();
        stream.append(draft).unwrap();
        sparse.push(start.elapsed().as_secs_f64() * 1e6);
        // The writer sleeps again, so that each append pays for waking it.
        stream.flush().unwrap();
    }
    let mut burst = Vec::new();
    for _ in 0..ROUNDS {
        for _ in 0..5000 {
            let draft = draft(stream.last_seq() + 1);
            let start = Instant::now();
            stream.append(draft).unwrap();
            burst.push(start.elapsed().as_secs_f64() * 1e6);
        }
        stream.flush().unwrap();
    }
    for (name, mut times) in [("idle writer", sparse), ("busy writer", burst)] {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        println!("append to an {name}        p50 {:>6.1} us, p99 {:>6.1} us", at(0.5), at(0.99));
    }
}

/// Processor time of this process in ms, the system's own for it included (proc(5), `stat`, fields 14 and 15).
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 * 10.0
}

/// A payload in the database beside one in a file of its own, each waited for until it is on the disk.
fn long_content(disk: &Path) {
    const MIB: usize = 64;
    for kib in [256, 512, 1024, 4096] {
        let (mut processor, mut until) = ([vec![], vec![]], [vec![], vec![]]);
        for round in 0..2 * ROUNDS {
            let is_filed = round % 2 == 1;
            let dir = tempfile::tempdir_in(disk).unwrap();
            let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
            let stream = ledger.stream("s").unwrap();
            let (mut bytes, count) = (vec![b'x'; kib << 10], (MIB << 10) / kib);
            let before = processor_ms();
            for n in 0..count {
                bytes[..8].copy_from_slice(&n.to_le_bytes());
                let start = Instant::now();
                let payload = if is_filed {
                    let mut content = ledger.begin_content().unwrap();
                    bytes.chunks(16 << 10).for_each(|piece| content.add(piece).unwrap());
                    content.store_payload(None).unwrap()
                } else {
                    ledger.payload(&bytes).unwrap()
                };
                let body = json!({ "answer": payload });
                let seq = stream.append(Draft { body, ..draft(stream.last_seq() + 1) }).unwrap();
                stream.on_disk(seq).unwrap();
                until[usize::from(is_filed)].push(start.elapsed().as_secs_f64() * 1e3);
            }
            ledger.flush().unwrap();
            processor[usize::from(is_filed)].push((processor_ms() - before) / MIB as f64);
        }
        for ((name, processor), until) in ["database", "file"].into_iter().zip(processor).zip(until) {
            let (processor, until) = (median(processor), median(until));
            println!(
                "{kib:>4} KiB in a {name:<9} {processor:>5.2} ms of processor a MiB, on the disk after {until:>6.2} ms"
            );
        }
    }
}

fn verification(disk: &Path) {
    let dir = tempfile::tempdir_in(disk).unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
    let stream = ledger.stream("s").unwrap();
    let entries = 60_000;
    let start = Instant::now();
    for n in 1..=entries {
        stream.append(draft(n)).unwrap();
    }
    stream.flush().unwrap();
    println!("appended to the disk           {:>9.0} entries/s", entries as f64 / start.elapsed().as_secs_f64());
    let bytes: usize = [1, entries / 2, entries].map(|n| ledger.entry("s", n).unwrap().raw.len()).iter().sum();
    let megabytes = bytes as f64 / 3.0 * entries as f64 / 1e6;
    let rates = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        assert!(ledger.verify(None).unwrap().ok);
        megabytes / start.elapsed().as_secs_f64()
    });
    println!("verification                   {:>9.0} MB/s of entries", median(rates.collect::<Vec<_>>()));
    // What can't be avoided: SHA-256 over the same bytes, an entry at a time.
    let raw: Vec<Vec<u8>> = ledger.entries("s", .., Filter::default()).unwrap().map(|e| e.unwrap().raw).collect();
    let plain = median((0..ROUNDS).map(|_| {
        let start = Instant::now();
        raw.iter().for_each(|raw| _ = std::hint::black_box(Digest::of(raw)));
        megabytes / start.elapsed().as_secs_f64()
    }));
    drop(raw);
    let mut bundle = Vec::new();
    ledger.export(&Export { session: "s".into(), payloads: true, ..Export::default() }, &mut bundle).unwrap();
    let (mut ratios, mut bundles) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        assert!(ledger.verify(None).unwrap().ok);
        ratios.push(megabytes / start.elapsed().as_secs_f64() / plain);
        let start = Instant::now();
        assert!(bundle::read(bundle.as_slice(), disk, Limits::default()).unwrap().report.ok);
        bundles.push(megabytes / start.elapsed().as_secs_f64());
    }
    println!("plain SHA-256 of the same      {plain:>9.0} MB/s");
    println!("verification to plain SHA-256  {:>9.2}", median(ratios));
    println!("verification of a bundle       {:>9.0} MB/s of entries", median(bundles));
    let mut proofs: Vec<f64> = Vec::new();
    for n in (0..entries).step_by(601) {
        let start = Instant::now();
        ledger.prove_inclusion(n, entries).unwrap();
        proofs.push(start.elapsed().as_secs_f64() * 1e6);
    }
    println!("inclusion proof in {entries}        {:>9.0} us", median(proofs));
}

/// A proof among ten million entries. The rows are put into the store as a writer would leave them, but for the signatures, which
/// proofs don't read: appending as many takes minutes.
fn large(disk: &Path) {
    const LEAVES: u64 = 10_000_000;
    if std::env::var_os("FLYBALL_BENCH_LARGE").is_none() {
        println!("inclusion proof in {LEAVES}     skipped: FLYBALL_BENCH_LARGE=1 takes a gigabyte and a minute");
        return;
    }
    let dir = tempfile::tempdir_in(disk).unwrap();
    let path = dir.path().join("ledger");
    let ledger = Ledger::open(&path).unwrap();
    let stream = ledger.stream("s").unwrap();
    stream.append(draft(1)).unwrap();
    drop(stream);
    let mut db = rusqlite::Connection::open(path.join("ledger.db")).unwrap();
    db.execute_batch("DELETE FROM entries; DELETE FROM tiles; PRAGMA synchronous = OFF").unwrap();
    let (mut frontier, mut tiles) = (merkle::Frontier::new(), std::collections::BTreeMap::<(u32, u64), Vec<u8>>::new());
    let tx = db.transaction().unwrap();
    let mut put = tx
        .prepare("INSERT INTO entries (leaf, stream, seq, digest, data) VALUES (?1, 1, ?1 + 1, ?2, x'7b7d')")
        .unwrap();
    for n in 0..LEAVES {
        let leaf = merkle::leaf_digest(&n.to_le_bytes());
        put.execute((n as i64, leaf.0)).unwrap();
        frontier.append(leaf, |level, index, digest| {
            if level.is_multiple_of(8) {
                tiles.entry((level / 8, index / 256)).or_default().extend(digest.0);
            }
        });
    }
    drop(put);
    for ((level, tile), data) in tiles {
        tx.execute("INSERT INTO tiles (level, tile, data) VALUES (?1, ?2, ?3)", (level, tile as i64, data)).unwrap();
    }
    let peaks: Vec<u8> = frontier.peaks().iter().flat_map(|digest| digest.0).collect();
    tx.execute("UPDATE head SET size = ?1, peaks = ?2", (LEAVES as i64, peaks)).unwrap();
    tx.commit().unwrap();
    let mut proofs = Vec::new();
    for n in (0..LEAVES).step_by(LEAVES as usize / 997) {
        let start = Instant::now();
        let proof = ledger.prove_inclusion(n, LEAVES).unwrap();
        proofs.push(start.elapsed().as_secs_f64() * 1e6);
        assert!(merkle::verify_inclusion(&merkle::leaf_digest(&n.to_le_bytes()), n, LEAVES, &frontier.root(), &proof));
    }
    proofs.sort_by(f64::total_cmp);
    println!(
        "inclusion proof in {LEAVES}     {:>9.0} us p50, {:.0} us p99",
        proofs[proofs.len() / 2],
        proofs[proofs.len() * 99 / 100]
    );
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
