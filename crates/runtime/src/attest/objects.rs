//! Git's objects, as far as it takes to say which are commits: <https://git-scm.com/docs/gitformat-pack>. Nothing that a file says
//! of itself is believed: a commit's id is the digest of its bytes. Total, and bounded in what it inflates.

use flate2::read::ZlibDecoder;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// A larger object is no commit that anybody writes.
pub(crate) const COMMIT_BYTES_MAX: u64 = 1 << 20;
/// What may be done for all packs of one attestation: bytes that are inflated or copied, and what a step costs beside them.
pub(super) const WORK_MAX: u64 = 4 << 30;
/// A stream that is inflated takes so much beside its bytes; a look at what an object is.
const INFLATING: u64 = 2048;
const LOOKING: u64 = 32;
/// Of all deltas that lead to one commit.
const DELTAS_BYTES_MAX: u64 = 16 << 20;
/// Deltas of deltas; git makes 50, 250 at most by its own settings.
const DEPTH_MAX: usize = 4096;
/// Before the ids in an index: magic, version, and how many ids begin with each byte.
const INDEX_HEAD: usize = 8 + 256 * 4;

/// Whether the bytes of an object that stands alone are the commit of this id.
pub(super) fn is_commit(object: &[u8], id: &str) -> bool {
    let mut inflated = Vec::new();
    let most = COMMIT_BYTES_MAX + 64;
    if ZlibDecoder::new(object).take(most).read_to_end(&mut inflated).is_err() || !inflated.starts_with(b"commit ") {
        return false;
    }
    let Some(end) = inflated.iter().position(|b| *b == 0) else { return false };
    let said = inflated.get(7..end).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
    said == Some(inflated.len() - end - 1) && digest(&inflated, id.len() / 2) == id
}

/// Whether a file that stands where an object does says of itself that it is one, and no commit.
pub(super) fn says_other(object: &[u8]) -> bool {
    let mut start = Vec::new();
    let _ = ZlibDecoder::new(object).take(5).read_to_end(&mut start);
    [&b"tree "[..], b"blob ", b"tag "].iter().any(|kind| start.starts_with(kind))
}

/// Whether a pack has this object, by its index.
pub(super) fn lists(index: &[u8], id: &str) -> bool {
    let Some(index) = Index::parse(index, id.len() / 2) else { return false };
    let bytes = (0..id.len()).step_by(2).map(|at| u8::from_str_radix(id.get(at..at + 2)?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>().is_some_and(|id| index.find(&id).is_some())
}

/// The ids of the commits in a pack; nothing where pack and index are not one, or it takes more than is `left` to do.
pub(super) fn commits(pack: &[u8], index: &[u8], left: &mut u64) -> Option<BTreeSet<String>> {
    let is_of_pack = |index: &Index<'_>| pack.ends_with(index.pack_digest) && pack.starts_with(b"PACK");
    let index = Index::parse(index, 20).filter(is_of_pack).or_else(|| Index::parse(index, 32).filter(is_of_pack))?;
    let mut by_place = BTreeMap::new();
    for n in 0..index.count {
        by_place.insert(index.place(n)?, index.id(n)?);
    }
    let mut pack = Pack { bytes: pack, index: &index, left };
    let mut out = BTreeSet::new();
    for (place, id) in &by_place {
        if pack.is_commit(*place)? {
            let content = pack.content(*place)?;
            let mut object = format!("commit {}\0", content.len()).into_bytes();
            object.extend(content);
            if digest(&object, index.width) == hex(id) {
                out.insert(hex(id));
            }
        }
    }
    Some(out)
}

struct Index<'i> {
    bytes: &'i [u8],
    width: usize,
    count: usize,
    pack_digest: &'i [u8],
}

impl<'i> Index<'i> {
    /// An index of version 2, whose ids are so wide.
    fn parse(bytes: &'i [u8], width: usize) -> Option<Self> {
        if bytes.get(..8)? != b"\xfftOc\0\0\0\x02" {
            return None;
        }
        let count = usize::try_from(number(bytes, INDEX_HEAD - 4)?).ok()?;
        let least = INDEX_HEAD.checked_add(count.checked_mul(width + 8)?)?.checked_add(2 * width)?;
        let far = bytes.len().checked_sub(least)?;
        let pack_digest = bytes.get(bytes.len() - 2 * width..bytes.len() - width)?;
        (far.is_multiple_of(8) && far / 8 <= count).then_some(Self { bytes, width, count, pack_digest })
    }

    fn id(&self, n: usize) -> Option<&'i [u8]> {
        let at = INDEX_HEAD + n * self.width;
        self.bytes.get(at..at + self.width)
    }

    /// Where the object begins in the pack.
    fn place(&self, n: usize) -> Option<usize> {
        let places = INDEX_HEAD + self.count * (self.width + 4);
        let near = number(self.bytes, places + 4 * n)?;
        if near < 1 << 31 {
            return usize::try_from(near).ok();
        }
        let far = places + 4 * self.count + 8 * usize::try_from(near - (1 << 31)).ok()?;
        usize::try_from((number(self.bytes, far)? << 32) | number(self.bytes, far.checked_add(4)?)?).ok()
    }

    fn find(&self, id: &[u8]) -> Option<usize> {
        let (mut from, mut to) = (0, self.count);
        while from < to {
            let middle = from + (to - from) / 2;
            match self.id(middle)?.cmp(id) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return self.place(middle),
            }
        }
        None
    }
}

struct Pack<'p> {
    bytes: &'p [u8],
    index: &'p Index<'p>,
    /// What may still be done.
    left: &'p mut u64,
}

enum Form {
    /// Whole, of this type.
    Whole(u8),
    /// What it is made of begins there.
    Delta(usize),
}

impl Pack<'_> {
    /// What the object at a place is, its length (a delta's own), and where its bytes begin.
    fn head(&self, place: usize) -> Option<(Form, u64, usize)> {
        let mut at = place;
        let mut byte = || {
            let byte = *self.bytes.get(at)?;
            at += 1;
            Some(byte)
        };
        let first = byte()?;
        let (kind, mut size, mut shift, mut last) = ((first >> 4) & 7, u64::from(first & 15), 4, first);
        while last & 0x80 != 0 {
            last = byte()?;
            size |= u64::from(last & 0x7f).checked_shl(shift).filter(|_| shift < 60)?;
            shift += 7;
        }
        let form = match kind {
            1..=4 => Form::Whole(kind),
            6 => {
                let mut last = byte()?;
                let mut back = usize::from(last & 0x7f);
                while last & 0x80 != 0 {
                    last = byte()?;
                    back = back.checked_add(1)?.checked_mul(128)? | usize::from(last & 0x7f);
                }
                Form::Delta(place.checked_sub(back).filter(|base| *base < place)?)
            }
            7 => {
                let id = self.bytes.get(at..at.checked_add(self.index.width)?)?;
                at += self.index.width;
                Form::Delta(self.index.find(id)?)
            }
            _ => return None,
        };
        Some((form, size, at))
    }

    fn takes(&mut self, work: u64) -> Option<()> {
        *self.left = self.left.checked_sub(work)?;
        Some(())
    }

    fn is_commit(&mut self, place: usize) -> Option<bool> {
        let mut at = place;
        for _ in 0..DEPTH_MAX {
            self.takes(LOOKING)?;
            match self.head(at)?.0 {
                Form::Whole(kind) => return Some(kind == 1),
                Form::Delta(base) => at = base,
            }
        }
        None
    }

    /// An object's bytes: those of the whole one that its deltas begin with, and each of them applied.
    fn content(&mut self, place: usize) -> Option<Vec<u8>> {
        let (mut deltas, mut held, mut at) = (Vec::new(), 0, place);
        let mut content = loop {
            let (form, size, from) = self.head(at)?;
            held += size;
            let bytes = self.inflate(from, size).filter(|_| held <= DELTAS_BYTES_MAX + COMMIT_BYTES_MAX)?;
            match form {
                Form::Whole(_) => break bytes,
                Form::Delta(base) if deltas.len() < DEPTH_MAX => {
                    deltas.push(bytes);
                    at = base;
                }
                Form::Delta(_) => return None,
            }
        };
        while let Some(delta) = deltas.pop() {
            content = applied(&content, &delta)?;
            self.takes(content.len() as u64)?;
        }
        Some(content)
    }

    fn inflate(&mut self, from: usize, size: u64) -> Option<Vec<u8>> {
        self.takes(size.checked_add(INFLATING).filter(|_| size <= COMMIT_BYTES_MAX)?)?;
        let mut out = Vec::new();
        ZlibDecoder::new(self.bytes.get(from..)?).take(size + 1).read_to_end(&mut out).ok()?;
        (out.len() as u64 == size).then_some(out)
    }
}

/// What a delta makes of the object that it is of.
fn applied(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    let length = |at: &mut usize| {
        let (mut out, mut shift) = (0_u64, 0);
        loop {
            let byte = *delta.get(*at)?;
            *at += 1;
            out |= u64::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 60)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(out);
            }
        }
    };
    let is_of_base = length(&mut at)? == base.len() as u64;
    let wanted = length(&mut at).filter(|bytes| is_of_base && *bytes <= COMMIT_BYTES_MAX)?;
    let mut out = Vec::new();
    while let Some(&how) = delta.get(at) {
        at += 1;
        let part = if how & 0x80 != 0 {
            let mut part = |bits: std::ops::Range<u32>| {
                let mut out = 0_usize;
                for (nth, bit) in bits.enumerate() {
                    if how & (1 << bit) != 0 {
                        out |= usize::from(*delta.get(at)?) << (8 * nth);
                        at += 1;
                    }
                }
                Some(out)
            };
            let (from, bytes) = (part(0..4)?, part(4..7)?);
            let bytes = if bytes == 0 { 0x10000 } else { bytes };
            base.get(from..from.checked_add(bytes)?)?
        } else {
            let part = delta.get(at..at + usize::from(how)).filter(|part| !part.is_empty())?;
            at += part.len();
            part
        };
        if (out.len() + part.len()) as u64 > wanted {
            return None;
        }
        out.extend_from_slice(part);
    }
    (out.len() as u64 == wanted).then_some(out)
}

/// Four bytes of an index, the highest first.
fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_be_bytes(four).into())
}

fn digest(object: &[u8], width: usize) -> String {
    match width {
        20 => hex(&Sha1::digest(object)),
        _ => hex(&Sha256::digest(object)),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_bytes_give_nothing() {
        // A delta that copies beyond its base, adds more than it says, or says nothing; a chain that leads to itself.
        for delta in [&[3, 5, 0x91, 2, 9][..], &[3, 1, 2, b'a', b'b'], &[3, 1, 0], &[9, 0], &[0xff; 40], &[]] {
            assert_eq!(applied(b"abc", delta), None, "{delta:?}");
        }
        assert_eq!(applied(b"abc", &[3, 4, 0x90, 3, 1, b'd']).as_deref(), Some(&b"abcd"[..]));
        let mut index = b"\xfftOc\0\0\0\x02".to_vec();
        index.extend([0, 0, 0, 1].repeat(256));
        index.extend([7; 20]);
        index.extend([0; 4]);
        index.extend([0, 0, 0, 12]);
        index.extend([9; 40]);
        let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
        pack.push(0x70);
        pack.extend([7; 20]);
        pack.extend([9; 20]);
        assert!(Index::parse(&index, 20).is_some());
        assert_eq!(commits(&pack, &index, &mut WORK_MAX.clone()), None, "an object that is a delta of itself");
        for cut in 0..index.len() {
            assert_eq!(commits(&pack, index.get(..cut).unwrap_or_default(), &mut WORK_MAX.clone()), None);
        }
    }

    /// A long object and deltas of deltas of it, each of which copies all: a few kilobytes that would take hours.
    #[test]
    fn deltas_that_copy_much_end_it() {
        use std::io::Write as _;
        let packed = |bytes: &[u8]| {
            let mut to = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            to.write_all(bytes).and_then(|()| to.finish()).unwrap_or_default()
        };
        let varint = |mut n: usize| {
            let mut out = Vec::new();
            while n > 0x7f {
                out.push(u8::try_from(n & 0x7f).unwrap_or_default() | 0x80);
                n >>= 7;
            }
            out.push(u8::try_from(n).unwrap_or_default());
            out
        };
        let head = |kind: u8, n: usize| {
            let mut out = vec![kind << 4 | u8::try_from(n & 15).unwrap_or_default() | 0x80];
            out.extend(varint(n >> 4));
            out
        };
        let long = 1 << 20;
        let mut delta = [varint(long), varint(long)].concat();
        (0..16_u8).for_each(|n| delta.extend([0x84, n]));
        let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
        let mut places = vec![pack.len()];
        pack.extend([head(1, long), packed(&vec![b'x'; long])].concat());
        for _ in 0..150 {
            let (place, last) = (pack.len(), places.last().copied().unwrap_or_default());
            let back = place - last;
            let far: Vec<u8> = match back.checked_sub(128) {
                None => vec![u8::try_from(back).unwrap_or_default()],
                Some(far) => vec![
                    u8::try_from(far >> 7).unwrap_or_default() | 0x80,
                    u8::try_from(far & 0x7f).unwrap_or_default(),
                ],
            };
            pack.extend([head(6, delta.len()), far, packed(&delta)].concat());
            places.push(place);
        }
        pack.extend([9; 20]);
        let number = |n: usize| u32::try_from(n).unwrap_or_default().to_be_bytes();
        let mut index = b"\xfftOc\0\0\0\x02".to_vec();
        index.extend(number(places.len()).repeat(256));
        (0..places.len()).for_each(|n| index.extend([&[0; 16][..], &number(n)].concat()));
        index.extend(vec![0; 4 * places.len()]);
        places.iter().for_each(|place| index.extend(number(*place)));
        index.extend([9; 40]);
        let mut left = WORK_MAX;
        assert_eq!(commits(&pack, &index, &mut left), None, "{} bytes, {left} left to do", pack.len());
        assert!(left < 32 << 20, "it is ended by what it takes, and not by what it is: {left}");
    }
}
