//! Maps whose keys are no strings, as lists of pairs in the keys' order: JSON's keys are strings.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;

pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(map)
}

pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let pairs = Vec::<(K, V)>::deserialize(from)?;
    // One state has one form: what is out of order or there twice was not written by us.
    if pairs.windows(2).any(|two| matches!(two, [(a, _), (b, _)] if a >= b)) {
        return Err(D::Error::custom("keys out of order"));
    }
    Ok(pairs.into_iter().collect())
}
