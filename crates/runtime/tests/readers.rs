//! Every reader of the repository over the seeds in `fuzz/seeds` and mutations of them: the short form of `cargo xtask fuzz`, the
//! same bytes on every machine. `FLYBALL_FUZZ_ROUNDS=N` makes N times as many.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../../../fuzz/src/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use targets::{TARGETS, Target};

#[test]
fn content_readers_stand_whatever_they_are_given() {
    run(|target| !target.path.is_empty());
}

#[test]
fn other_readers_stand_whatever_they_are_given() {
    run(|target| target.path.is_empty());
}

fn run(is_mine: fn(&Target) -> bool) {
    let more = std::env::var("FLYBALL_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for target in TARGETS.iter().filter(|target| is_mine(target)) {
        let mut files: Vec<_> = std::fs::read_dir(folder.join(target.name))
            .unwrap_or_else(|error| panic!("no seeds for {}: {error}", target.name))
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        assert!(!seeds.is_empty(), "no seeds for {}", target.name);
        for seed in &seeds {
            check(target, seed);
        }
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for _ in 0..target.rounds * more {
            check(target, &mutated(&seeds, &mut dice));
        }
    }
}

fn check(target: &Target, data: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(target.path, data))).is_err() {
        panic!("`{}` fails on {:?}: keep it in fuzz/seeds/{0}", target.name, data.escape_ascii().to_string());
    }
}

/// xorshift64*: the same throws everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

/// A seed after one to eight changes: bytes flipped, set, dropped, doubled, moved, or taken from another seed.
fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    const ODD: &[&[u8]] = &[
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\"",
        b"'",
        b"{",
        b"[",
        b"(",
        b"\\",
        b"\\u0000",
        b"-1",
        b"9223372036854775808",
        b"\xe2\x80\xae",
        b"\t",
        b"#",
        b"::",
        b"@",
        b".",
        b"..",
        b"/",
        b"*",
        b"&",
        b"<<: ",
        b"$",
        b"\n\n",
        b"\xf0\x9f\x92\xa9",
    ];
    let mut data = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(8) {
        let at = dice.below(data.len() + 1);
        let end = (at + 1 + dice.below(24)).min(data.len());
        let at_byte = at.min(data.len().saturating_sub(1));
        match dice.below(8) {
            0 if !data.is_empty() => data[at_byte] ^= 1 << dice.below(8),
            1 if !data.is_empty() => data[at_byte] = dice.below(256) as u8,
            2 => drop(data.drain(at.min(end)..end)),
            3 => {
                let piece = data[at.min(end)..end].to_vec();
                let times = 1 + dice.below(40);
                data.splice(at..at, piece.repeat(times));
            }
            4 => {
                let piece: Vec<u8> = data.drain(at.min(end)..end).collect();
                let to = dice.below(data.len() + 1);
                data.splice(to..to, piece);
            }
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                let until = (from + dice.below(64)).min(other.len());
                data.splice(at..at, other[from..until].iter().copied());
            }
            6 => data.truncate(at),
            _ => {
                let odd = ODD[dice.below(ODD.len())];
                data.splice(at..at, odd.iter().copied());
            }
        }
        data.truncate(64 * 1024);
    }
    data
}
