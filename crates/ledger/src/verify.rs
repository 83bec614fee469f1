//! Verification: everything that can be recomputed from the stored bytes is, and held against what was signed.
//!
//! What a single copy of a ledger cannot show: that it was taken back whole to an earlier signed state. Only someone
//! who saw a later checkpoint (a witness) can.

pub(crate) mod content;
pub(crate) mod erased;
mod registers;
pub(crate) mod shape;

use crate::{
    Digest, Keychain, Ledger, LedgerError, head,
    merkle::{self, Frontier},
    schema,
    tiles::{HEIGHT, WIDTH},
    witness::{self, WitnessedBy},
};
pub use erased::Erased;
pub use registers::Registers;
use rusqlite::Connection;
use serde::Serialize;
use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
};

/// Problems beyond this many are counted, not told.
const PROBLEMS_MAX: usize = 1000;

/// What verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Entries read: of the stream that was asked for, or all.
    pub entries: u64,
    /// Checkpoints whose signature and root hold, the head's included.
    pub checkpoints: u64,
    /// The keys (`NAME+ID+KEY`) whose signature stands under the head.
    pub signed_by: Vec<String>,
    /// Witnesses that cosigned this history, up to its head or an earlier checkpoint. Empty: nobody else could tell if the whole ledger were taken back.
    pub witnessed_by: Vec<String>,
    /// How far each of them did, and when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub witnessed: Vec<WitnessedBy>,
    /// How far the registers that sessions share were recomputed, over all streams.
    pub registers: Registers,
    /// What was erased on request: its entries stand, its content is gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<Erased>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable code, `FB0330` to `FB0349`.
    pub code: &'static str,
    /// The stream, where there is one to name.
    pub stream: Option<String>,
    /// The entry's number in the stream, where there is one to name.
    pub seq: Option<u64>,
    /// The entry's place in the tree, where there is one to name.
    pub leaf: Option<u64>,
    /// What is wrong, in words.
    pub message: String,
}

impl Ledger {
    /// Recomputes everything from the stored bytes, in one snapshot, while others may go on writing: the shape, numbers,
    /// causes and times of entries, their digests, the tiles, the frontier, each kept checkpoint with its signature, and
    /// the content of blobs and payloads, and what the registers that sessions share hold. With `stream`, only the entries of that one are read closely, but the whole
    /// tree is still recomputed: that is what the signatures are on.
    ///
    /// # Errors
    /// Only if the ledger cannot be opened or `stream` does not exist: whatever else is wrong is in the report.
    pub fn verify(&self, stream: Option<&str>) -> Result<Report, LedgerError> {
        let dir = self.dir();
        let db = schema::open_read(dir)?;
        db.execute_batch("BEGIN").map_err(|e| self.fail(e))?;
        let streams = shape::Streams::load(&db).map_err(|e| self.fail(e))?;
        if let Some(name) = stream
            && !streams.has(name)
        {
            return Err(LedgerError::NoStream(name.to_owned()));
        }
        let mut found = Found::new(stream);
        structure(&db, &mut found);
        let mut signed = Signed::load(&db, dir, self.keys(), &mut found);
        let (entries, mut relied, registers) = scan(&db, streams, &mut signed, &mut found);
        let checkpoints = signed.confirmed;
        content::check(self, &db, &relied, &mut found);

        let witnessed = std::mem::take(&mut signed.witnessed);
        let witnessed_by = witnessed.iter().map(|by| by.witness.clone()).collect();
        let signed_by = signed.head_key.into_iter().collect();
        found.name_entries(&db);
        let problems = found.finish();
        let ok = problems.is_empty();
        let erased = relied.erased.take();
        Ok(Report { ok, entries, checkpoints, signed_by, witnessed_by, witnessed, registers, erased, problems })
    }
}

/// The problems so far.
pub(crate) struct Found {
    only: Option<String>,
    problems: Vec<Problem>,
    untold: u64,
}

impl Found {
    pub(crate) fn new(only: Option<&str>) -> Self {
        Self { only: only.map(str::to_owned), problems: Vec::new(), untold: 0 }
    }

    pub(crate) fn add(&mut self, code: &'static str, place: Place<'_>, message: String) {
        let (stream, seq, leaf) = match place {
            Place::Ledger => (None, None, None),
            Place::Leaf(leaf) => (None, None, Some(leaf)),
            Place::Entry(stream, seq, leaf) => (Some(stream.to_owned()), Some(seq), leaf),
        };
        // What is wrong with another stream's entry is not this stream's, unless the tree shows it.
        if self.only.is_some() && stream.is_some() && stream != self.only {
            return;
        }
        if self.problems.len() >= PROBLEMS_MAX {
            self.untold += 1;
            return;
        }
        self.problems.push(Problem { code, stream, seq, leaf, message });
    }

    /// Says which entry stands at the leaf that a problem is about, or would: a leaf's number tells a person nothing.
    fn name_entries(&mut self, db: &Connection) {
        for problem in self.problems.iter_mut().filter(|problem| problem.stream.is_none()) {
            let Some(leaf) = problem.leaf else { continue };
            let text = match (entry_at(db, leaf, "="), entry_at(db, leaf, "<")) {
                (Some((stream, seq)), _) => format!("; leaf {leaf} is entry {seq} of `{stream}`"),
                (None, Some((stream, seq))) => format!("; the last one before is entry {seq} of `{stream}`"),
                (None, None) => "; no entry is before".to_owned(),
            };
            problem.message.push_str(&text);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Problem> {
        if self.untold > 0 {
            let message = format!("{} more problems are not listed", self.untold);
            self.problems.push(Problem { code: "FB0344", stream: None, seq: None, leaf: None, message });
        }
        self.problems
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Ledger,
    Leaf(u64),
    Entry(&'a str, u64, Option<u64>),
}

/// The entry at a leaf or the last one below it, as it names itself.
fn entry_at(db: &Connection, leaf: u64, how: &str) -> Option<(String, u64)> {
    let sql = format!("SELECT seq, data FROM entries WHERE leaf {how} ?1 ORDER BY leaf DESC LIMIT 1");
    let read = db.query_row(&sql, [crate::writer::to_sql(leaf)], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)));
    let (seq, data): (i64, Vec<u8>) = read.ok()?;
    let stream = serde_json::from_slice::<serde_json::Value>(&data).ok()?;
    Some((stream.get("stream")?.as_str()?.to_owned(), seq.unsigned_abs()))
}

/// The database has what this version makes, nothing more, and its indexes say what its tables say.
fn structure(db: &Connection, found: &mut Found) {
    let checked: rusqlite::Result<()> = (|| {
        let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let there: BTreeMap<String, String> = rows.collect::<Result<_, _>>()?;
        for (name, sql) in &there {
            match schema::TABLES.iter().find(|(table, _)| table == name) {
                Some((_, expected)) if expected == sql => {}
                Some(_) => found.add("FB0344", Place::Ledger, format!("the table `{name}` was changed")),
                None => found.add("FB0344", Place::Ledger, format!("there is a `{name}` that is not flyball's")),
            }
        }
        let mut statement = db.prepare("PRAGMA integrity_check(20)")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        for line in rows {
            let line = line?;
            if line != "ok" {
                found.add("FB0344", Place::Ledger, format!("sqlite: {line}"));
            }
        }
        Ok(())
    })();
    if let Err(error) = checked {
        found.add("FB0344", Place::Ledger, format!("the database cannot be read: {error}"));
    }
}

/// A size, the root that was signed for it, how to call it, and who cosigned it.
type Waiting = (u64, Digest, String, Option<WitnessedBy>);

/// What was signed, waiting for the tree to reach its size.
struct Signed {
    /// By size: the root, and how to call it. Only those whose signature holds.
    waiting: VecDeque<Waiting>,
    head: Option<head::Head>,
    /// The key under the head.
    head_key: Option<String>,
    confirmed: u64,
    witnessed: Vec<WitnessedBy>,
}

impl Signed {
    fn load(db: &Connection, dir: &Path, keys: &Keychain, found: &mut Found) -> Self {
        let mut waiting = Vec::new();
        let mut kept = 0;
        let read: rusqlite::Result<()> = (|| {
            let mut statement = db.prepare("SELECT number, size, note FROM checkpoints ORDER BY number")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (number, size, note): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (number, size) = (number.unsigned_abs(), size.unsigned_abs());
                if number != kept + 1 {
                    let message = format!("checkpoint {} of those kept is missing", kept + 1);
                    found.add("FB0343", Place::Ledger, message);
                }
                kept = number;
                let name = format!("checkpoint {number} (of size {size})");
                match keys.open(&note) {
                    Ok((checkpoint, _)) if checkpoint.size == size => waiting.push((size, checkpoint.root, name, None)),
                    Ok((other, _)) => {
                        let message = format!("{name} is in truth of size {}", other.size);
                        found.add("FB0338", Place::Ledger, message);
                    }
                    Err(error) => found.add("FB0338", Place::Ledger, format!("{name}: {error}")),
                }
            }
            Ok(())
        })();
        if let Err(error) = read {
            found.add("FB0344", Place::Ledger, format!("the checkpoints cannot be read: {error}"));
        }
        let head =
            head::read_unchecked(db, dir).map_err(|error| found.add("FB0337", Place::Ledger, error.to_string())).ok();
        let mut head_key = None;
        if let Some(head) = &head {
            if head.kept != kept {
                let message = format!("{} checkpoints were kept, and {kept} are there", head.kept);
                found.add("FB0343", Place::Ledger, message);
            }
            if head.frontier.size() > 0 || kept > 0 || !head.note.is_empty() {
                match keys.open(&head.note) {
                    Ok((checkpoint, key)) => {
                        head_key = Some(key.to_vkey());
                        if checkpoint.size != head.frontier.size() || checkpoint.root != head.frontier.root() {
                            let message = format!(
                                "the stored frontier has {} entries and another root than the head's checkpoint of {}",
                                head.frontier.size(),
                                checkpoint.size
                            );
                            let first = Place::Leaf(checkpoint.size.min(head.frontier.size()));
                            found.add("FB0337", first, message);
                        }
                        waiting.push((checkpoint.size, checkpoint.root, "the head's checkpoint".into(), None));
                    }
                    Err(error) => found.add("FB0338", Place::Ledger, format!("the head: {error}")),
                }
            }
        }
        for (asked, checkpoint, at, _) in witness::notes(dir, keys) {
            let name = format!(
                "the checkpoint that the witness `{}` cosigned (of size {})",
                asked.cosigner.name(),
                checkpoint.size
            );
            let by = WitnessedBy::new(&asked.cosigner, checkpoint.size, at);
            waiting.push((checkpoint.size, checkpoint.root, name, Some(by)));
        }
        waiting.sort_by_key(|(size, ..)| *size);
        Self { waiting: waiting.into(), head, head_key, confirmed: 0, witnessed: Vec::new() }
    }
}

/// The tree as it is recomputed, and how far it is known to be what was signed.
struct Tree {
    frontier: Frontier,
    /// Above level 0, by level: the tile that is growing.
    growing: Vec<(u64, Vec<u8>)>,
    /// Entries up to here are confirmed by a signature.
    confirmed_size: u64,
    /// After a gap the digests that follow cannot be put together.
    is_broken: bool,
    tiles: u64,
}

/// Reads all entries in the order of the tree. Returns how many were asked for, and what they refer to.
fn scan(
    db: &Connection,
    mut streams: shape::Streams,
    signed: &mut Signed,
    found: &mut Found,
) -> (u64, content::Relied, Registers) {
    let (frontier, growing) = Default::default();
    let mut tree = Tree { frontier, growing, confirmed_size: 0, is_broken: false, tiles: 0 };
    let mut relied = content::Relied::default();
    let mut told = registers::Told::default();
    let (mut next_leaf, mut count) = (0u64, 0u64);
    confirm(&mut tree, signed, found);
    let read: rusqlite::Result<()> = (|| {
        let mut statement = db.prepare("SELECT leaf, stream, seq, digest, data FROM entries ORDER BY leaf")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (leaf, number, seq) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
            let (leaf, seq) = (leaf.unsigned_abs(), seq.unsigned_abs());
            let (digest, data) = (row.get_ref(3)?.as_blob()?, row.get_ref(4)?.as_blob()?);
            if leaf != next_leaf {
                let message = format!("{} missing from the tree", leaves(next_leaf, leaf));
                found.add("FB0331", Place::Leaf(next_leaf), message);
                tree.is_broken = true;
            }
            next_leaf = leaf + 1;
            count += u64::from(streams.check(number, seq, leaf, data, found, &mut relied));
            told.note(data, leaf, found);
            let computed = merkle::leaf_digest(data);
            let recorded = Digest::from_slice(digest);
            if recorded != Some(computed) {
                let message = "its bytes are not those whose digest was recorded".to_owned();
                found.add("FB0330", streams.place(number, seq, leaf), message);
            }
            // The recorded digest, so that an altered entry does not make all that follows look altered too.
            tree.append(recorded.unwrap_or(computed), db, found)?;
            confirm(&mut tree, signed, found);
        }
        Ok(())
    })();
    if let Err(error) = read {
        let message = format!("the entries from leaf {next_leaf} on cannot be read: {error}");
        found.add("FB0344", Place::Leaf(next_leaf), message);
        tree.is_broken = true;
    }
    for (size, _, name, _) in signed.waiting.drain(..) {
        if size > next_leaf {
            let message = format!("{} missing: {name} was signed with them", leaves(next_leaf, size));
            found.add("FB0331", Place::Leaf(next_leaf), message);
        }
    }
    streams.finish(found);
    let is_whole = !tree.is_broken && signed.head.as_ref().is_some_and(|head| head.frontier.size() <= next_leaf);
    let registers = told.finish(db, is_whole, found);
    tree.finish(db, signed.head.as_ref(), next_leaf, found);
    (count, relied, registers)
}

/// Holds the tree against each checkpoint of its present size.
fn confirm(tree: &mut Tree, signed: &mut Signed, found: &mut Found) {
    while signed.waiting.front().is_some_and(|(size, ..)| *size <= tree.frontier.size()) {
        let Some((size, root, name, by)) = signed.waiting.pop_front() else { return };
        if tree.is_broken {
            continue;
        }
        if tree.frontier.root() == root {
            match by {
                Some(by) => signed.witnessed.push(by),
                None => signed.confirmed += 1,
            }
            tree.confirmed_size = size;
        } else {
            let message = format!("{} not what {name} was signed for", leaves(tree.confirmed_size, size));
            found.add("FB0339", Place::Leaf(tree.confirmed_size), message);
        }
    }
}

impl Tree {
    fn append(&mut self, digest: Digest, db: &Connection, found: &mut Found) -> rusqlite::Result<()> {
        let mut completed = Vec::new();
        self.frontier.append(digest, |level, index, digest| {
            if level.is_multiple_of(HEIGHT) {
                completed.push((level / HEIGHT, index, digest));
            }
        });
        for (level, index, digest) in completed {
            let place = level as usize - 1;
            if self.growing.len() <= place {
                self.growing.push((0, Vec::new()));
            }
            let Some((tile, data)) = self.growing.get_mut(place) else { continue };
            *tile = index / WIDTH;
            data.extend(digest.0);
            if data.len() as u64 == WIDTH * 32 {
                let (tile, data) = (*tile, std::mem::take(data));
                self.check_tile(db, level, tile, &data, found)?;
            }
        }
        Ok(())
    }

    fn check_tile(
        &mut self,
        db: &Connection,
        level: u32,
        tile: u64,
        data: &[u8],
        found: &mut Found,
    ) -> rusqlite::Result<()> {
        use rusqlite::OptionalExtension as _;
        self.tiles += 1;
        if self.is_broken {
            return Ok(());
        }
        let mut statement = db.prepare_cached("SELECT data FROM tiles WHERE level = ?1 AND tile = ?2")?;
        let stored: Option<Vec<u8>> =
            statement.query_row((level, crate::writer::to_sql(tile)), |row| row.get(0)).optional()?;
        if stored.as_deref() == Some(data) {
            return Ok(());
        }
        // The first digest that differs names the entries under it.
        let stored = stored.unwrap_or_default();
        let wrong = data.chunks(32).zip(stored.chunks(32)).take_while(|(a, b)| a == b).count() as u64;
        let span = WIDTH.saturating_pow(level);
        let first = (tile * WIDTH + wrong).saturating_mul(span);
        let message =
            format!("tile {tile} of level {level} is not that of {}", leaves(first, first.saturating_add(span)));
        found.add("FB0336", Place::Leaf(first), message);
        Ok(())
    }

    fn finish(mut self, db: &Connection, head: Option<&head::Head>, next_leaf: u64, found: &mut Found) {
        let growing = std::mem::take(&mut self.growing);
        let checked: rusqlite::Result<i64> = (|| {
            for (level, (tile, data)) in (1..).zip(growing) {
                if !data.is_empty() {
                    self.check_tile(db, level, tile, &data, found)?;
                }
            }
            db.query_row("SELECT count(*) FROM tiles", [], |row| row.get(0))
        })();
        match checked {
            Ok(count) if count.unsigned_abs() == self.tiles || self.is_broken => {}
            Ok(count) => {
                let message = format!("there are {count} tiles, where the entries give {}", self.tiles);
                found.add("FB0336", Place::Ledger, message);
            }
            Err(error) => found.add("FB0344", Place::Ledger, format!("the tiles cannot be read: {error}")),
        }
        if let Some(head) = head
            && !self.is_broken
            && head.frontier != self.frontier
        {
            let message = if head.frontier.size() > next_leaf {
                format!("{} missing: the tree's head counts them", leaves(next_leaf, head.frontier.size()))
            } else {
                format!(
                    "the tree's head has {} entries; the entries give another one, of {next_leaf}",
                    head.frontier.size()
                )
            };
            found.add("FB0337", Place::Leaf(next_leaf.min(head.frontier.size())), message);
        }
    }
}

fn leaves(start: u64, end: u64) -> String {
    match end.saturating_sub(start) {
        0 | 1 => format!("leaf {start} is"),
        _ => format!("leaves {start} to {} are", end - 1),
    }
}
