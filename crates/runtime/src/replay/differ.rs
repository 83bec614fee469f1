//! Where two values differ first, in the order in which they are written.

use serde_json::Value as Json;

/// The path of the first difference as a JSON pointer, and both sides of it. Empty, with both whole, where only the order of
/// members differs.
pub(crate) fn first(a: &Json, b: &Json) -> (String, Json, Json) {
    let (mut at, mut a, mut b) = (String::new(), a, b);
    // INVARIANT: each turn goes one level down, and readers of JSON stop at 128.
    loop {
        match (a, b) {
            (Json::Object(x), Json::Object(y)) => {
                let keys = x.keys().chain(y.keys().filter(|k| !x.contains_key(*k)));
                let Some(key) = keys.into_iter().find(|k| x.get(*k) != y.get(*k)) else { break };
                at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                (a, b) = (x.get(key).unwrap_or(&Json::Null), y.get(key).unwrap_or(&Json::Null));
            }
            (Json::Array(x), Json::Array(y)) => {
                let Some(n) = (0..x.len().max(y.len())).find(|n| x.get(*n) != y.get(*n)) else { break };
                at = format!("{at}/{n}");
                (a, b) = (x.get(n).unwrap_or(&Json::Null), y.get(n).unwrap_or(&Json::Null));
            }
            _ => break,
        }
    }
    (at, a.clone(), b.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_the_first_field_and_both_sides() {
        let a = json!({"of": 2, "reasons": [{"rule": "a"}, {"rule": "b"}]});
        let b = json!({"of": 2, "reasons": [{"rule": "a"}, {"rule": "c"}]});
        assert_eq!(first(&a, &b), ("/reasons/1/rule".to_owned(), json!("b"), json!("c")));
        assert_eq!(first(&a, &Json::Null).0, "");
        let longer = json!({"of": 2, "reasons": [{"rule": "a"}, {"rule": "b"}, {}]});
        assert_eq!(first(&a, &longer), ("/reasons/2".to_owned(), Json::Null, json!({})));
    }
}
