//! The Merkle tree of RFC 6962 section 2 (RFC 9162 section 2.1): digests, frontier, proofs and their verification.
//! Knows nothing of where digests are stored: whoever asks for a proof hands over a way to read complete subtrees.

use crate::digest::{Digest, Hasher};

/// The digest of a leaf: SHA-256 of a zero byte and the leaf's bytes.
#[must_use]
pub fn leaf_digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[0]);
    hasher.update(bytes);
    hasher.finish()
}

/// The digest of an inner node: SHA-256 of a one byte and both children.
#[must_use]
pub fn node_digest(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1u8; 65];
    let (l, r) = bytes.split_at_mut(33);
    l.iter_mut().skip(1).zip(left.0).for_each(|(to, from)| *to = from);
    r.copy_from_slice(&right.0);
    Digest::of(&bytes)
}

/// The root of the tree without leaves.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

/// The roots of a tree's maximal complete subtrees, largest first: all that is needed to append and to give the root.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    // INVARIANT: one digest for each set bit of `size`, highest bit first.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The empty tree's.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The frontier of a tree of `size` leaves; `None` if there are not as many peaks as `size` has set bits.
    #[must_use]
    pub fn from_parts(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The subtrees' roots, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Appends a leaf. `completed` is told of each inner node that this completes: level (from 1), index in the level,
    /// digest; lowest first.
    pub fn append(&mut self, leaf: Digest, mut completed: impl FnMut(u32, u64, Digest)) {
        let mut digest = leaf;
        for level in 1..=self.size.trailing_ones() {
            // INVARIANT: `size` has a set bit for each round, so a peak to merge with.
            let Some(left) = self.peaks.pop() else { break };
            digest = node_digest(&left, &digest);
            completed(level, self.size >> level, digest);
        }
        self.peaks.push(digest);
        self.size += 1;
    }

    /// The tree's root.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.peaks.iter().rev().copied().reduce(|right, left| node_digest(&left, &right)).unwrap_or_else(empty_root)
    }
}

/// The root of the tree's first `size` leaves. `node(level, index)` gives the root of the complete subtree of
/// `2^level` leaves that begins at leaf `index * 2^level`.
///
/// # Errors
/// Those of `node`.
pub fn root<E>(size: u64, node: &mut (impl FnMut(u32, u64) -> Result<Digest, E> + ?Sized)) -> Result<Digest, E> {
    if size == 0 { Ok(empty_root()) } else { range(0, size, node) }
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves (RFC 6962 section 2.1.1), lowest first.
/// Empty unless `index < size`.
///
/// # Errors
/// Those of `node`, which is as for [`root`].
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    node: &mut (impl FnMut(u32, u64) -> Result<Digest, E> + ?Sized),
) -> Result<Vec<Digest>, E> {
    let mut proof = Vec::new();
    if index >= size {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range(middle, end, node)?);
            end = middle;
        } else {
            proof.push(range(start, middle, node)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The consistency proof between the trees of `old` and `new` leaves (RFC 6962 section 2.1.2).
/// Empty unless `0 < old < new`.
///
/// # Errors
/// Those of `node`, which is as for [`root`].
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    node: &mut (impl FnMut(u32, u64) -> Result<Digest, E> + ?Sized),
) -> Result<Vec<Digest>, E> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut start, mut end, mut is_old_root_known) = (0, new, true);
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range(middle, end, node)?);
            end = middle;
        } else {
            proof.push(range(start, middle, node)?);
            start = middle;
            is_old_root_known = false;
        }
    }
    if !is_old_root_known {
        proof.push(range(start, end, node)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is leaf `index` of the tree of `size` leaves with this root
/// (RFC 9162 section 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, root: &Digest, proof: &[Digest]) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut digest) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            digest = node_digest(sibling, &digest);
            let skipped = if node & 1 == 0 { node.trailing_zeros().min(63) } else { 0 };
            node >>= skipped;
            last >>= skipped;
        } else {
            digest = node_digest(&digest, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && digest == *root
}

/// Whether `proof` shows that the tree of `old` leaves is the beginning of the one of `new` leaves
/// (RFC 9162 section 2.1.4.2). An empty old tree shows nothing, so it is consistent with an empty new one only.
#[must_use]
pub fn verify_consistency(old: u64, new: u64, old_root: &Digest, new_root: &Digest, proof: &[Digest]) -> bool {
    if old == new {
        return proof.is_empty() && old_root == new_root && (old != 0 || *old_root == empty_root());
    }
    if old == 0 || old > new {
        return false;
    }
    let mut siblings = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { siblings.next() };
    let Some(first) = first else { return false };
    let shift = (old - 1).trailing_ones();
    let (mut node, mut last) = (old.wrapping_sub(1) >> shift, (new - 1) >> shift);
    let (mut from_old, mut from_new) = (*first, *first);
    for sibling in siblings {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            from_old = node_digest(sibling, &from_old);
            from_new = node_digest(sibling, &from_new);
            let skipped = if node & 1 == 0 { node.trailing_zeros().min(63) } else { 0 };
            node >>= skipped;
            last >>= skipped;
        } else {
            from_new = node_digest(&from_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == *old_root && from_new == *new_root
}

/// The root over leaves `start..end`, where `start` is a multiple of the largest power of two below their number.
pub(crate) fn range<E>(
    start: u64,
    end: u64,
    node: &mut (impl FnMut(u32, u64) -> Result<Digest, E> + ?Sized),
) -> Result<Digest, E> {
    let count = end - start;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return node(level, start >> level);
    }
    let middle = start + split(count);
    let (left, right) = (range(start, middle, node)?, range(middle, end, node)?);
    Ok(node_digest(&left, &right))
}

/// The largest power of two below `count`, which is over 1.
pub(crate) fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

#[cfg(test)]
#[path = "merkle_tests.rs"]
mod tests;
