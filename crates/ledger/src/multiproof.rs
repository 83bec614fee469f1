//! The inclusion of many leaves at once: of the tree's ranges that hold none of them, the roots. All inclusion proofs of a
//! session together have each node once, so that a bundle grows with its session and not with the tree.
//!
//! The order is that of the tree, read from the left: a range without any of the leaves is given as its root, one with some is
//! split as RFC 6962 section 2.1 splits it. `docs/bundle.md` says it again for other implementations.

use crate::{
    Digest,
    merkle::{self, node_digest, split},
};

/// The digests that these leaves lack to give the root of the tree of `size` leaves. `leaves` ascend and are below `size`;
/// `node` is as for [`merkle::root`].
///
/// # Errors
/// Those of `node`.
pub fn prove<E>(
    leaves: &[u64],
    size: u64,
    node: &mut (impl FnMut(u32, u64) -> Result<Digest, E> + ?Sized),
) -> Result<Vec<Digest>, E> {
    let mut proof = Vec::new();
    if size > 0 {
        walk(0, size, leaves, &mut proof, node)?;
    }
    Ok(proof)
}

fn walk<E>(
    start: u64,
    end: u64,
    leaves: &[u64],
    proof: &mut Vec<Digest>,
    node: &mut (impl FnMut(u32, u64) -> Result<Digest, E> + ?Sized),
) -> Result<(), E> {
    if leaves.is_empty() {
        proof.push(merkle::range(start, end, node)?);
        return Ok(());
    }
    if end - start <= 1 {
        return Ok(());
    }
    let middle = start + split(end - start);
    let (left, right) = leaves.split_at(leaves.partition_point(|leaf| *leaf < middle));
    walk(start, middle, left, proof, node)?;
    walk(middle, end, right, proof, node)
}

/// The root of the tree of `size` leaves that these leaves, ascending, and the digests that `next` gives one after the other
/// lead to; `None` if `next` ends too early, or the leaves are not below `size` and ascending. Who has digests left over holds
/// another proof.
#[must_use]
pub fn root(leaves: &[(u64, Digest)], size: u64, next: &mut dyn FnMut() -> Option<Digest>) -> Option<Digest> {
    let is_ascending = leaves.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a < b));
    if !is_ascending || leaves.last().is_some_and(|(last, _)| *last >= size) {
        return None;
    }
    if size == 0 { Some(merkle::empty_root()) } else { combine(0, size, leaves, next) }
}

fn combine(start: u64, end: u64, leaves: &[(u64, Digest)], next: &mut dyn FnMut() -> Option<Digest>) -> Option<Digest> {
    if leaves.is_empty() {
        return next();
    }
    if end - start <= 1 {
        return leaves.first().map(|(_, digest)| *digest);
    }
    let middle = start + split(end - start);
    let (left, right) = leaves.split_at(leaves.partition_point(|(leaf, _)| *leaf < middle));
    let left = combine(start, middle, left, next)?;
    Some(node_digest(&left, &combine(middle, end, right, next)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::merkle::{Frontier, leaf_digest};
    use proptest::prelude::*;

    fn tree(size: u64) -> (Vec<Digest>, Digest) {
        let leaves: Vec<Digest> = (0..size).map(|n| leaf_digest(&n.to_le_bytes())).collect();
        let mut frontier = Frontier::new();
        leaves.iter().for_each(|leaf| frontier.append(*leaf, |_, _, _| {}));
        (leaves, frontier.root())
    }

    fn naive(leaves: &[Digest]) -> Digest {
        match leaves {
            [one] => *one,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                node_digest(&naive(left), &naive(right))
            }
        }
    }

    fn root(leaves: &[(u64, Digest)], size: u64, proof: &[Digest]) -> Option<Digest> {
        let mut rest = proof.iter().copied();
        let root = super::root(leaves, size, &mut || rest.next())?;
        rest.next().is_none().then_some(root)
    }

    proptest! {
        #[test]
        fn any_leaves_of_any_tree(size in 1u64..200, picked: Vec<prop::sample::Index>, at: prop::sample::Index) {
            let (all, whole) = tree(size);
            let picked: Vec<u64> = picked.iter().map(|i| i.index(size as usize) as u64).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            let mut node = |level: u32, index: u64| {
                let start = (index << level) as usize;
                Ok::<_, ()>(naive(&all[start..start + (1 << level)]))
            };
            let proof = prove(&picked, size, &mut node).unwrap();
            let leaves: Vec<(u64, Digest)> = picked.iter().map(|n| (*n, all[*n as usize])).collect();
            prop_assert_eq!(root(&leaves, size, &proof), Some(whole));
            // Of one leaf it has the digests of its inclusion proof, and no others.
            if let [(only, _)] = leaves.as_slice() {
                let mut usual = merkle::inclusion_proof(*only, size, &mut node).unwrap();
                let mut ours = proof.clone();
                usual.sort();
                ours.sort();
                prop_assert_eq!(usual, ours);
            }
            // Whatever is changed, another root comes out or none.
            if !leaves.is_empty() {
                let mut other = leaves.clone();
                let n = at.index(other.len());
                other[n].1.0[0] ^= 1;
                prop_assert_ne!(root(&other, size, &proof), Some(whole));
            }
            if !proof.is_empty() {
                let mut other = proof.clone();
                let n = at.index(other.len());
                other[n].0[31] ^= 1;
                prop_assert_ne!(root(&leaves, size, &other), Some(whole));
                prop_assert_ne!(root(&leaves, size, &proof[1..]), Some(whole));
            }
            let longer: Vec<Digest> = proof.iter().copied().chain([whole]).collect();
            prop_assert_eq!(root(&leaves, size, &longer), None);
        }

        #[test]
        fn nothing_is_too_odd(leaves: Vec<(u64, [u8; 32])>, size: u64, proof: Vec<[u8; 32]>) {
            let leaves: Vec<_> = leaves.into_iter().map(|(n, d)| (n, Digest(d))).collect();
            let _ = root(&leaves, size, &proof.into_iter().map(Digest).collect::<Vec<_>>());
        }
    }
}
