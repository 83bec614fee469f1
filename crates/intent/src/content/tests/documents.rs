//! The leaves of TOML and JSON, against readers that build the whole tree.

use super::super::doc::{self, Leaf, is_item};
use proptest::prelude::*;
use std::collections::BTreeSet;

type See<'a> = &'a mut dyn FnMut(doc::Path<'_>, Leaf<'_>);

/// Each leaf as `PATH = VALUE`, items by `[]`; tables that are empty or only headers left out.
fn ours(leaves: &dyn Fn(See<'_>) -> Result<(), doc::Unread>) -> Option<BTreeSet<String>> {
    let mut out = BTreeSet::new();
    let mut see = |path: doc::Path<'_>, leaf: Leaf<'_>| {
        let steps: Vec<&str> = path.iter().map(|step| if is_item(step) { "[]" } else { step }).collect();
        match leaf {
            Leaf::Str(text) => drop(out.insert(format!("{} = {text:?}", steps.join("\0")))),
            Leaf::Other(_) => drop(out.insert(format!("{} other", steps.join("\0")))),
            Leaf::Empty => {}
        }
    };
    leaves(&mut see).ok().map(|()| out)
}

fn of_toml(value: &toml::Value, path: &mut Vec<String>, out: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                path.push(key.clone());
                of_toml(value, path, out);
                path.pop();
            }
        }
        toml::Value::Array(items) => {
            path.push("[]".to_owned());
            items.iter().for_each(|item| of_toml(item, path, out));
            path.pop();
        }
        toml::Value::String(text) => drop(out.insert(format!("{} = {text:?}", path.join("\0")))),
        _ => drop(out.insert(format!("{} other", path.join("\0")))),
    }
}

fn of_json(value: &serde_json::Value, path: &mut Vec<String>, out: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(table) => {
            for (key, value) in table {
                path.push(key.clone());
                of_json(value, path, out);
                path.pop();
            }
        }
        serde_json::Value::Array(items) => {
            path.push("[]".to_owned());
            items.iter().for_each(|item| of_json(item, path, out));
            path.pop();
        }
        serde_json::Value::String(text) => drop(out.insert(format!("{} = {text:?}", path.join("\0")))),
        _ => drop(out.insert(format!("{} other", path.join("\0")))),
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c-d"), Just("'x.y'"), Just("\"\\u00e9 z\""), Just("a.b"), Just(" a . 'c' ")]
        .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("1"),
        Just("true"),
        Just("1.5"),
        Just("1979-05-27T07:32:00Z"),
        Just("'x'"),
        Just("\"a\\tb\""),
        Just("\"\"\"\nm\\\n  n\"\"\""),
        Just("'''\nq'''"),
        Just("[]"),
        Just("{}")
    ]
    .prop_map(str::to_owned);
    scalar.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[ {},\n # c\n ]", items.join(" ,\n"))),
            prop::collection::vec((key(), inner), 1..3).prop_map(|items| format!(
                "{{ {} }}",
                items.iter().map(|(k, v)| format!("{k} = {v}")).collect::<Vec<_>>().join(", ")
            )),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| format!("{key} = {value} # c")),
        2 => key().prop_map(|key| format!("[{key}]")),
        2 => key().prop_map(|key| format!("[[ {key} ]]")),
        1 => Just("\r".to_owned()),
        1 => "[ -~]{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn toml_leaves_are_those_of_the_tree(lines in prop::collection::vec(line(), 0..8)) {
        let text = lines.join("\n");
        if let Ok(tree) = text.parse::<toml::Table>() {
            let mut expect = BTreeSet::new();
            of_toml(&toml::Value::Table(tree), &mut Vec::new(), &mut expect);
            prop_assert_eq!(ours(&|see| doc::toml(&text, see)), Some(expect), "{}", text);
        } else {
            // A key said twice is all that we take and the tree's reader doesn't.
            let _ = doc::toml(&text, &mut |_, _| {});
        }
    }

    #[test]
    fn json_leaves_are_those_of_the_tree(text in r#"[\[\]{}",:a1 \\n]{0,40}"#) {
        let tree: Result<serde_json::Value, _> = serde_json::from_str(&text);
        let is = ours(&|see| doc::json(&text, see));
        prop_assert_eq!(tree.is_ok(), is.is_some());
        if let (Ok(tree), Some(is)) = (tree, is) {
            let mut expect = BTreeSet::new();
            of_json(&tree, &mut Vec::new(), &mut expect);
            // Of a key that is said twice the tree has the last value alone.
            prop_assert!(expect.is_subset(&is), "{}", text);
        }
    }
}

#[test]
fn deep_documents_are_unread() {
    for depth in [1_000, 1_000_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert!(doc::json(&text, &mut |_, _| {}).is_err());
        }
        for text in [
            format!("a = {}", "[".repeat(depth)),
            format!("a = {}", "{a=".repeat(depth)),
            format!("{}a = 1", "a.".repeat(depth)),
            format!("[{}a]", "a.".repeat(depth)),
            format!("{}\n", "[a.b]\nc.d = 1\n".repeat(depth.min(1_000))),
        ] {
            let is_short = text.contains("[a.b]");
            assert_eq!(doc::toml(&text, &mut |_, _| {}).is_err(), !is_short, "{}", &text[..20]);
        }
        for text in ["[".repeat(depth), "{a: ".repeat(depth), "- ".repeat(depth)] {
            assert!(doc::yaml(&text, &mut |_, _| {}).is_err(), "{}", &text[..20]);
        }
    }
}
