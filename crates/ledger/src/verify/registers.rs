//! Shared registers: what entries tell of them, each against the one before, and the table against the last.

use super::{Found, Place};
use crate::schema;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far shared registers could be recomputed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Registers {
    /// Changes that follow from the entries before them, refused ones included.
    pub followed: u64,
    /// Changes of an earlier version, whose entries do not say what was added: what they tell was taken as it is.
    pub untold: u64,
    /// Whether the tree has all its entries; where one is missing nothing that stands behind it can be recomputed.
    pub is_whole: bool,
}

/// The bytes that no entry about shared registers lacks. What an agent chooses stands in strings, with its quotes escaped.
const MARK: &[u8] = b"\"registers\":[";

/// The registers as the entries so far tell of them.
#[derive(Default)]
pub(super) struct Told {
    last: BTreeMap<String, Last>,
    followed: u64,
    untold: u64,
}

struct Last {
    value: i64,
    stream: String,
    seq: u64,
}

#[derive(Deserialize)]
struct Line {
    stream: String,
    seq: u64,
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    registers: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    register: String,
    value: i64,
    made: bool,
    #[serde(default)]
    add: Option<i64>,
    #[serde(default)]
    limit: Option<i64>,
}

impl Told {
    /// Takes in an entry, in the order of the tree.
    pub fn note(&mut self, data: &[u8], leaf: u64, found: &mut Found) {
        if !data.windows(MARK.len()).any(|bytes| bytes == MARK) {
            return;
        }
        // What is no list of changes is about something else; an entry whose bytes were changed is told of elsewhere.
        let Ok(Line { stream, seq, body }) = serde_json::from_slice(data) else { return };
        for Change { register, value, made, add, limit } in body.registers {
            let before = self.last.get(&register).map_or(0, |last| last.value);
            let after = match add {
                Some(add) => before.checked_add(add).filter(|after| limit.is_none_or(|limit| *after <= limit)),
                None if made => Some(value),
                None => None,
            };
            if (after.unwrap_or(before), after.is_some()) == (value, made) {
                *(if add.is_none() && made { &mut self.untold } else { &mut self.followed }) += 1;
            } else {
                let then = after.map_or(format!("{before}, unchanged"), |after| after.to_string());
                let message = format!(
                    "it tells that register `{register}` holds {value}; by the entries before it that is {then}"
                );
                found.add("FB0345", Place::Entry(&stream, seq, Some(leaf)), message);
            }
            self.last.insert(register, Last { value, stream: stream.clone(), seq });
        }
    }

    /// Holds the table against what was told last.
    pub fn finish(self, db: &Connection, is_whole: bool, found: &mut Found) -> Registers {
        let Self { last, followed, untold } = self;
        if is_whole && let Err(error) = compare(db, last, found) {
            found.add("FB0344", Place::Ledger, format!("the registers cannot be read: {error}"));
        }
        Registers { followed, untold, is_whole }
    }
}

fn compare(db: &Connection, mut last: BTreeMap<String, Last>, found: &mut Found) -> rusqlite::Result<()> {
    if schema::has_registers(db)? {
        let mut statement = db.prepare("SELECT name, value FROM registers ORDER BY name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (name, value): (String, i64) = (row.get(0)?, row.get(1)?);
            match last.remove(&name) {
                Some(told) if told.value == value => {}
                Some(told) => {
                    let message = format!(
                        "register `{name}` holds {value}, and this, the last entry about it, tells {}",
                        told.value
                    );
                    found.add("FB0345", Place::Entry(&told.stream, told.seq, None), message);
                }
                None => {
                    found.add(
                        "FB0345",
                        Place::Ledger,
                        format!("register `{name}` holds {value}, and no entry tells of it"),
                    );
                }
            }
        }
    }
    for (name, told) in last.into_iter().filter(|(_, told)| told.value != 0) {
        let message = format!("register `{name}` is gone, and this entry tells that it holds {}", told.value);
        found.add("FB0345", Place::Entry(&told.stream, told.seq, None), message);
    }
    Ok(())
}
