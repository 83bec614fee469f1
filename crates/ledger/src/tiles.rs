//! The tree as C2SP tlog-tiles (<https://c2sp.org/tlog-tiles>): how tiles grow with the tree, and their bytes.
//!
//! Level-0 tiles are the digests beside the entries; those above are rows of their own.

use crate::{Digest, LedgerError, writer::to_sql};
use rusqlite::{Connection, OptionalExtension as _, Transaction};
use std::{collections::BTreeMap, path::Path};

/// A full tile's digests.
pub(crate) const WIDTH: u64 = 256;
/// The levels of the tree in one tile.
pub(crate) const HEIGHT: u32 = 8;

/// Digests that a commit adds to the tiles above level 0.
#[derive(Default)]
pub(crate) struct Grown(BTreeMap<(u32, u64), Vec<(u64, Digest)>>);

impl Grown {
    /// Takes a completed node of the tree, in order; keeps those that a tile holds.
    pub(crate) fn note(&mut self, level: u32, index: u64, digest: Digest) {
        if level.is_multiple_of(HEIGHT) {
            self.0.entry((level / HEIGHT, index / WIDTH)).or_default().push((index % WIDTH, digest));
        }
    }

    pub(crate) fn write(self, tx: &Transaction<'_>, dir: &Path) -> Result<(), LedgerError> {
        for ((level, tile), digests) in self.0 {
            let mut data = stored(tx, dir, level, tile)?.unwrap_or_default();
            for (place, digest) in digests {
                if data.len() as u64 != place * 32 {
                    let cause = format!("tile {tile} of level {level} has {} bytes, not {}", data.len(), place * 32);
                    return Err(LedgerError::damaged(dir, cause));
                }
                data.extend(digest.0);
            }
            let sql = "INSERT OR REPLACE INTO tiles (level, tile, data) VALUES (?1, ?2, ?3)";
            let row = (i64::from(level), to_sql(tile), data);
            tx.prepare_cached(sql).and_then(|mut s| s.execute(row)).map_err(|e| LedgerError::store(dir, e))?;
        }
        Ok(())
    }
}

/// The first `width` digests of a tile; `None` if there are not as many.
pub(crate) fn read(
    db: &Connection,
    dir: &Path,
    level: u32,
    tile: u64,
    width: u64,
) -> Result<Option<Vec<u8>>, LedgerError> {
    if width == 0 || width > WIDTH {
        return Ok(None);
    }
    let data = if level == 0 { Some(leaves(db, dir, tile, width)?) } else { stored(db, dir, level, tile)? };
    let bytes = usize::try_from(width * 32).unwrap_or(usize::MAX);
    Ok(data.and_then(|mut data| {
        let is_enough = data.len() >= bytes;
        data.truncate(bytes);
        is_enough.then_some(data)
    }))
}

/// Nodes of the tree of the first `size` leaves, for whoever reads many: the tile that was read last of each level is kept.
pub(crate) struct Nodes<'d> {
    db: &'d Connection,
    dir: &'d Path,
    size: u64,
    last: BTreeMap<u32, (u64, Vec<Digest>)>,
}

impl<'d> Nodes<'d> {
    pub(crate) fn new(db: &'d Connection, dir: &'d Path, size: u64) -> Self {
        Self { db, dir, size, last: BTreeMap::new() }
    }

    /// The root of the complete subtree of `2^level` leaves that begins at leaf `index << level`, out of one tile.
    pub(crate) fn node(&mut self, level: u32, index: u64) -> Result<Digest, LedgerError> {
        let (tile_level, height) = (level / HEIGHT, level % HEIGHT);
        let first = index << height;
        let (tile, start, count) = (first / WIDTH, first % WIDTH, 1u64 << height);
        let absent = || LedgerError::damaged(self.dir, format!("the tree's node {index} of level {level} is gone"));
        if self.last.get(&tile_level).is_none_or(|(number, _)| *number != tile) {
            let there = self.size >> (HEIGHT * tile_level);
            let width = there.saturating_sub(tile.saturating_mul(WIDTH)).min(WIDTH);
            let data = read(self.db, self.dir, tile_level, tile, width)?.ok_or_else(absent)?;
            self.last.insert(tile_level, (tile, data.chunks_exact(32).filter_map(Digest::from_slice).collect()));
        }
        let place = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let row = self.last.get(&tile_level).and_then(|(_, row)| row.get(place(start)..place(start + count)));
        combined(row.ok_or_else(absent)?.to_vec()).ok_or_else(absent)
    }
}

/// The root over as many digests as a power of two.
fn combined(mut row: Vec<Digest>) -> Option<Digest> {
    while row.len() > 1 {
        row = row.chunks(2).filter_map(|p| Some(crate::merkle::node_digest(p.first()?, p.get(1)?))).collect();
    }
    row.first().copied()
}

fn leaves(db: &Connection, dir: &Path, tile: u64, width: u64) -> Result<Vec<u8>, LedgerError> {
    let fail = |e| LedgerError::store(dir, e);
    let start = tile.saturating_mul(WIDTH);
    let sql = "SELECT digest FROM entries WHERE leaf >= ?1 AND leaf < ?2 ORDER BY leaf";
    let mut statement = db.prepare_cached(sql).map_err(fail)?;
    let mut rows = statement.query((to_sql(start), to_sql(start.saturating_add(width)))).map_err(fail)?;
    let mut data = Vec::new();
    while let Some(row) = rows.next().map_err(fail)? {
        data.extend(row.get::<_, [u8; 32]>(0).map_err(fail)?);
    }
    Ok(data)
}

fn stored(db: &Connection, dir: &Path, level: u32, tile: u64) -> Result<Option<Vec<u8>>, LedgerError> {
    let sql = "SELECT data FROM tiles WHERE level = ?1 AND tile = ?2";
    let key = (i64::from(level), to_sql(tile));
    let found = db.prepare_cached(sql).and_then(|mut s| s.query_row(key, |row| row.get(0)).optional());
    found.map_err(|e| LedgerError::store(dir, e))
}
