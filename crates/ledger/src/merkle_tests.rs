//! The tree against a naive one that is the RFC's definition word for word, and against transparency-dev's vectors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::*;
use base64::Engine as _;
use proptest::prelude::*;
use std::{convert::Infallible, path::Path};

/// `MTH` of RFC 6962 section 2.1.
fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(naive_split(leaves.len()));
            node_digest(&naive_root(left), &naive_root(right))
        }
    }
}

/// `PATH` of RFC 6962 section 2.1.1.
fn naive_path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return vec![];
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) =
        if index < k { (naive_path(index, left), right) } else { (naive_path(index - k, right), left) };
    path.push(naive_root(other));
    path
}

/// `SUBPROOF` of RFC 6962 section 2.1.2.
fn naive_subproof(old: usize, leaves: &[Digest], is_whole: bool) -> Vec<Digest> {
    if old == leaves.len() {
        return if is_whole { vec![] } else { vec![naive_root(leaves)] };
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, other) = if old <= k {
        (naive_subproof(old, left, is_whole), right)
    } else {
        (naive_subproof(old - k, right, false), left)
    };
    proof.push(naive_root(other));
    proof
}

fn naive_split(count: usize) -> usize {
    let mut k = 1;
    while k * 2 < count {
        k *= 2;
    }
    k
}

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|n| leaf_digest(&n.to_le_bytes())).collect()
}

fn reader(leaves: &[Digest]) -> impl FnMut(u32, u64) -> Result<Digest, Infallible> {
    |level, index| {
        let start = (index as usize) << level;
        Ok(naive_root(&leaves[start..start + (1 << level)]))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn tree_and_proofs_are_the_rfcs(count in 1usize..300, a: prop::sample::Index, b: prop::sample::Index, flip: prop::sample::Index) {
        let leaves = leaves(count);
        let mut frontier = Frontier::new();
        for leaf in &leaves {
            frontier.append(*leaf, |level, index, digest| {
                let start = (index as usize) << level;
                assert_eq!(digest, naive_root(&leaves[start..start + (1 << level)]));
            });
        }
        let whole = naive_root(&leaves);
        prop_assert_eq!(frontier.root(), whole);
        prop_assert_eq!(root(count as u64, &mut reader(&leaves)).unwrap(), whole);
        let again = Frontier::from_parts(frontier.size(), frontier.peaks().to_vec());
        prop_assert_eq!(again.as_ref(), Some(&frontier));

        let index = a.index(count);
        let proof = inclusion_proof(index as u64, count as u64, &mut reader(&leaves)).unwrap();
        prop_assert_eq!(&proof, &naive_path(index, &leaves));
        prop_assert!(verify_inclusion(&leaves[index], index as u64, count as u64, &whole, &proof));
        for other in (0..count).filter(|n| *n != index) {
            prop_assert!(!verify_inclusion(&leaves[index], other as u64, count as u64, &whole, &proof));
        }

        let old = b.index(count) + 1;
        let old_root = naive_root(&leaves[..old]);
        let consistency = consistency_proof(old as u64, count as u64, &mut reader(&leaves)).unwrap();
        prop_assert_eq!(&consistency, &naive_subproof(old, &leaves, true));
        prop_assert!(verify_consistency(old as u64, count as u64, &old_root, &whole, &consistency));

        for (mut bad, is_inclusion) in [(proof, true), (consistency, false)] {
            if bad.is_empty() { continue; }
            let at = flip.index(bad.len() * 256);
            bad[at / 256].0[at % 256 / 8] ^= 1 << (at % 8);
            let accepted = if is_inclusion {
                verify_inclusion(&leaves[index], index as u64, count as u64, &whole, &bad)
            } else {
                verify_consistency(old as u64, count as u64, &old_root, &whole, &bad)
            };
            prop_assert!(!accepted);
        }
    }

    #[test]
    fn verification_ends_on_any_input(a: u64, b: u64, proof in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let proof: Vec<_> = proof.into_iter().map(Digest).collect();
        prop_assert!(!verify_inclusion(&Digest([1; 32]), a, b, &Digest([2; 32]), &proof));
        prop_assert!(!verify_consistency(a, b, &Digest([1; 32]), &Digest([2; 32]), &proof));
    }
}

#[test]
fn transparency_dev_vectors() {
    let Some(cases) = crate::testing::shared("cases/merkle") else { return };
    let (mut accepted, mut refused) = (0, 0);
    walk(&cases, &mut |path| {
        let case: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let digest = |name: &str| from_base64(&case[name]);
        let proof = match case["proof"].as_array() {
            Some(items) => items.iter().map(from_base64).collect::<Option<Vec<_>>>(),
            None => Some(vec![]),
        };
        let number = |name: &str| case[name].as_u64().unwrap();
        let is_accepted = if path.starts_with(cases.join("inclusion")) {
            (|| {
                let (leaf, root) = (digest("leafHash")?, digest("root")?);
                Some(verify_inclusion(&leaf, number("leafIdx"), number("treeSize"), &root, &proof?))
            })()
        } else {
            (|| {
                let (one, two) = (digest("root1")?, digest("root2")?);
                Some(verify_consistency(number("size1"), number("size2"), &one, &two, &proof?))
            })()
        }
        .unwrap_or(false);
        assert_eq!(is_accepted, !case["wantErr"].as_bool().unwrap(), "{}: {}", path.display(), case["desc"]);
        *(if is_accepted { &mut accepted } else { &mut refused }) += 1;
    });
    assert!(accepted > 5 && refused > 100, "{accepted} accepted, {refused} refused");
}

/// No bytes are nothing. Bytes of another length are no digest; each stands here as one of its own, so that the refusal is not in the reading.
fn from_base64(value: &serde_json::Value) -> Option<Digest> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str()?).unwrap();
    if bytes.is_empty() {
        return None;
    }
    Some(Digest::from_slice(&bytes).unwrap_or_else(|| Digest::of(&[b"not a digest: ", &bytes[..]].concat())))
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path)) {
    for item in std::fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|e| e == "json") {
            visit(&path);
        }
    }
}
