//! Events that an atom of a fact or an obligation speaks of: whether there can be any.

use super::coverage::is_mediated;
use crate::action::Value;
use crate::charter::Charter;
use crate::facts::{Cmp, Pattern, Test};
use std::collections::BTreeMap;

/// Why no event can match an atom, whatever is mediated.
pub(crate) fn contradiction(pattern: &Pattern) -> Option<String> {
    if pattern.verbs.is_empty() {
        return Some("it names no verb".to_owned());
    }
    let mut equal: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut bounds: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (attr, test) in &pattern.tests {
        match test {
            Test::Equal(value) => {
                if let Some(other) = equal.insert(attr, value).filter(|other| *other != value) {
                    return Some(format!("`{attr}` can't be both {} and {}", shown(other), shown(value)));
                }
            }
            Test::Compare(cmp, n) => {
                let (low, high) = bounds.entry(attr).or_insert((i64::MIN, i64::MAX));
                match cmp {
                    Cmp::Eq => (*low, *high) = ((*low).max(*n), (*high).min(*n)),
                    Cmp::Lt => *high = (*high).min(n.saturating_sub(1)),
                    Cmp::Le => *high = (*high).min(*n),
                    Cmp::Gt => *low = (*low).max(n.saturating_add(1)),
                    Cmp::Ge => *low = (*low).max(*n),
                    Cmp::Ne => {}
                }
                if low > high {
                    return Some(format!("no number is what `{attr}` is to be"));
                }
            }
            _ => {}
        }
    }
    for (attr, test) in &pattern.tests {
        let Some(value) = equal.get(attr) else { continue };
        let is_met = match (test, value) {
            (Test::Unequal(other), value) => other != *value,
            (Test::Like(glob), Value::Str(text)) => glob.is_match(text),
            (Test::Has(item), Value::Strs(items)) => items.contains(item),
            (Test::Compare(cmp, limit), Value::Long(n)) => cmp.holds(*n, *limit),
            _ => true,
        };
        if !is_met {
            return Some(format!("`{attr}` is to be {}, and something else as well", shown(value)));
        }
    }
    None
}

fn shown(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The verbs of an atom that nothing in this version mediates, when that is all of them.
pub(crate) fn unmediated(charter: &Charter, pattern: &Pattern) -> Option<Vec<&'static str>> {
    let names: Vec<&'static str> = pattern.verbs.iter().map(|v| v.name()).collect();
    (!pattern.verbs.iter().any(|v| is_mediated(*v, charter))).then_some(names)
}
