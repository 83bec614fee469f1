//! Changes of a charter's text: what `suggest` tries and shows. Text in, text out; whether the result compiles, and what
//! it means, is for [`crate::Charter::compile`] to say.

use crate::charter::Sources;
use cedar_policy::{Policy, PolicySet};
use std::ops::Range;
use std::str::FromStr as _;
use toml::de::DeTable;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// A rule, put at the end of the rules.
    Add {
        /// Its Cedar text.
        rule: String,
    },
    /// An `unless` on a rule that forbids.
    Except {
        /// The rule's id.
        rule: String,
        /// What no longer falls under it, a Cedar expression.
        condition: String,
    },
    /// More items in a literal set that a rule tests a value against: `["a"].contains(resource.host)`.
    Extend {
        /// The rule's id.
        rule: String,
        /// The value that is tested, such as `resource.host`.
        tested: String,
        /// Which of the rule's sets that test it, from 0.
        nth: usize,
        /// What is added.
        items: Vec<String>,
    },
    /// Another number that a rule compares a fact with: `context.fact.deleted > 500`.
    Compare {
        /// The rule's id.
        rule: String,
        /// The fact.
        fact: String,
        /// Which of the rule's comparisons of it, from 0.
        nth: usize,
        /// The number.
        to: i64,
    },
    /// Another number in `[section.name]` of `charter.toml`.
    Number {
        /// `budget` or `envelope`.
        section: String,
        /// The budget's or envelope's name.
        name: String,
        /// `limit`, `max`, …
        key: String,
        /// The number.
        to: i64,
    },
    /// An `[[example]]`, put at the end of `charter.toml`.
    Example {
        /// As in the charter, such as `fs.write(path: 'a')`.
        attempt: String,
        /// Such as `allow`.
        expect: String,
    },
}

/// The charter's text with a change made; nothing when there is no such place in it.
#[must_use]
pub fn amended(sources: &Sources, change: &Amendment) -> Option<Sources> {
    let mut out = sources.clone();
    let (file, text) = match change {
        Amendment::Add { rule } => {
            let file = if sources.contains_key("rules.cedar") || !sources.keys().any(|f| f.ends_with(".cedar")) {
                "rules.cedar".to_owned()
            } else {
                sources.keys().rfind(|f| f.ends_with(".cedar"))?.clone()
            };
            let before = sources.get(&file).map(|t| t.trim_end()).unwrap_or_default();
            let between = if before.is_empty() { "" } else { "\n\n" };
            (file, format!("{before}{between}{}\n", rule.trim()))
        }
        Amendment::Except { rule, condition } => {
            let (file, text, span) = rule_text(sources, rule)?;
            let end = span.start + text.get(span)?.rfind(';')?;
            let (before, after) = (text.get(..end)?, text.get(end..)?);
            (file, format!("{}\nunless {{ {condition} }}{after}", before.trim_end()))
        }
        Amendment::Extend { rule, tested, nth, items } => {
            let (file, text, span) = rule_text(sources, rule)?;
            let within = sets(text.get(span.clone())?, tested).into_iter().nth(*nth)?;
            let (from, to) = (span.start + within.start, span.start + within.end);
            (file, format!("{}{}{}", text.get(..from)?, more(text.get(from..to)?, items), text.get(to..)?))
        }
        Amendment::Compare { rule, fact, nth, to } => {
            let (file, text, span) = rule_text(sources, rule)?;
            let (within, _) = comparisons(text.get(span.clone())?, fact).into_iter().nth(*nth)?;
            let (from, end) = (span.start + within.start, span.start + within.end);
            (file, format!("{}{to}{}", text.get(..from)?, text.get(end..)?))
        }
        Amendment::Number { section, name, key, to } => {
            let text = sources.get("charter.toml")?;
            let (span, _) = number(text, section, name, key)?;
            ("charter.toml".to_owned(), format!("{}{to}{}", text.get(..span.start)?, text.get(span.end..)?))
        }
        Amendment::Example { attempt, expect } => {
            let before = sources.get("charter.toml")?.trim_end();
            let example = format!("[[example]]\nattempt = \"{}\"\nexpect = \"{}\"", escaped(attempt), escaped(expect));
            ("charter.toml".to_owned(), format!("{before}\n\n{example}\n"))
        }
    };
    out.insert(file, text);
    Some(out)
}

/// How many literal sets of a rule a value is tested against, by `contains`.
#[must_use]
pub fn sets_testing(sources: &Sources, rule: &str, tested: &str) -> usize {
    let found = rule_text(sources, rule).and_then(|(_, text, span)| Some(sets(text.get(span)?, tested).len()));
    found.unwrap_or_default()
}

/// The numbers that a rule compares a fact with by `>` or `>=`, in order.
#[must_use]
pub fn compared_with(sources: &Sources, rule: &str, fact: &str) -> Vec<i64> {
    let found = rule_text(sources, rule).and_then(|(_, text, span)| Some(comparisons(text.get(span)?, fact)));
    found.unwrap_or_default().into_iter().map(|(_, number)| number).collect()
}

/// The number at a key of `[section.name]`.
#[must_use]
pub fn number_at(sources: &Sources, section: &str, name: &str, key: &str) -> Option<i64> {
    Some(number(sources.get("charter.toml")?, section, name, key)?.1)
}

/// Text within double quotes, as TOML and Cedar both read it.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out
}

/// The file of a rule, its text, and where in it the rule stands.
fn rule_text<'s>(sources: &'s Sources, id: &str) -> Option<(String, &'s str, Range<usize>)> {
    sources.iter().filter(|(file, _)| file.ends_with(".cedar")).find_map(|(file, text)| {
        let set = PolicySet::from_str(text).ok()?;
        let is_it = |p: &&Policy| p.annotation("id").map(str::trim) == Some(id);
        let loc = set.policies().find(is_it)?.as_ref().loc().map(|loc| loc.start()..loc.end())?;
        Some((file.clone(), text.as_str(), loc))
    })
}

/// The parts of a Cedar text that are neither strings nor comments nor blank, with their places: words with their dots,
/// and single signs.
fn words(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with('"') {
            string_length(rest)
        } else {
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            let sign = rest.chars().next().map_or(1, char::len_utf8);
            let length = if word > 0 { word } else { sign };
            if let Some(word) = rest.get(..length).filter(|w| !w.trim().is_empty()) {
                out.push((at..at + length, word));
            }
            length
        };
        at += length.max(1);
    }
    out
}

/// Bytes of the string literal at the start.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What stands between the brackets of each `[…].contains(TESTED)`.
fn sets(text: &str, tested: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut open = None;
    let words = words(text);
    for (n, (place, word)) in words.iter().enumerate() {
        match *word {
            "[" => open = Some(place.end),
            "]" => {
                let next = |k: usize| words.get(n + k).map(|(_, word)| *word);
                let is_it = next(1) == Some(".contains") && next(2) == Some("(") && next(3) == Some(tested);
                if let Some(from) = open.take().filter(|_| is_it && next(4) == Some(")")) {
                    out.push(from..place.start);
                }
            }
            _ => {}
        }
    }
    out
}

/// A set's items with more of them, set out as those before.
fn more(inside: &str, items: &[String]) -> String {
    let list = inside.trim_end();
    let tail = inside.get(list.len()..).unwrap_or_default();
    // What stood between the last two items stands between these as well.
    let between = match (list.rfind(','), list.rfind('\n')) {
        (Some(comma), Some(line)) if line > comma => list.get(comma + 1..).map(|rest| {
            let blank = rest.len() - rest.trim_start().len();
            rest.get(..blank).unwrap_or(" ").to_owned()
        }),
        _ => None,
    };
    let between = between.unwrap_or_else(|| " ".to_owned());
    let mut out = list.to_owned();
    for item in items {
        if !out.trim().is_empty() && !out.trim_end().ends_with(',') {
            out.push(',');
        }
        if !out.is_empty() {
            out.push_str(&between);
        }
        out.push_str(&format!("\"{}\"", escaped(item)));
    }
    out + tail
}

/// The number in each `context.fact.NAME > 5` or `>= 5`, and where it stands.
fn comparisons(text: &str, fact: &str) -> Vec<(Range<usize>, i64)> {
    let wanted = format!("context.fact.{fact}");
    let words = words(text);
    let mut out = Vec::new();
    for (n, (_, word)) in words.iter().enumerate() {
        if *word != wanted || words.get(n + 1).map(|(_, w)| *w) != Some(">") {
            continue;
        }
        let skip = if words.get(n + 2).map(|(_, w)| *w) == Some("=") { 3 } else { 2 };
        if let Some((place, digits)) = words.get(n + skip)
            && let Ok(number) = digits.parse::<i64>()
        {
            out.push((place.clone(), number));
        }
    }
    out
}

fn number(text: &str, section: &str, name: &str, key: &str) -> Option<(Range<usize>, i64)> {
    let parsed = DeTable::parse(text).ok()?;
    let table = parsed.get_ref().get(section)?.get_ref().as_table()?.get(name)?.get_ref().as_table()?;
    let value = table.get(key)?;
    Some((value.span(), crate::charter::table::integer(value.get_ref())?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const RULES: &str = "// [\"x\"].contains(resource.host)\n@id(\"a\") @owner(\"o\") @reason(\"one; two\")\nforbid (principal, action, resource)\nunless {\n    (resource.port == 443 &&\n     [\"one\",\n      \"two\"].contains(resource.host)) || // last; one\n    [\"in]side\"].contains(resource.host)\n};\n\n@id(\"b\") @owner(\"o\") @reason(\"r\")\nforbid (principal, action, resource)\nwhen { context.fact.deleted > 500 && context.fact.deleted >= 7 };\n";

    const TOML: &str = "[charter]\nname = \"t\"\n\n[envelope.r]\nmax = 1_000 # most\n";

    fn sources() -> Sources {
        Sources::from([("charter.toml".to_owned(), TOML.to_owned()), ("rules.cedar".to_owned(), RULES.to_owned())])
    }

    fn check(change: &Amendment, was: &str, now: &str) {
        let before = sources();
        let after = amended(&before, change).unwrap();
        let file = if was.starts_with("max") { "charter.toml" } else { "rules.cedar" };
        assert_eq!(after[file], before[file].replacen(was, now, 1));
        assert!(PolicySet::from_str(&after["rules.cedar"]).is_ok());
    }

    #[test]
    fn each_change_is_the_smallest_of_the_text() {
        let extend = |nth, items: &[&str]| Amendment::Extend {
            rule: "a".to_owned(),
            tested: "resource.host".to_owned(),
            nth,
            items: items.iter().map(|i| (*i).to_owned()).collect(),
        };
        check(&extend(0, &["three"]), "\"two\"]", "\"two\",\n      \"three\"]");
        check(&extend(1, &["a", "b\"c"]), "[\"in]side\"]", "[\"in]side\", \"a\", \"b\\\"c\"]");
        assert_eq!(amended(&sources(), &extend(2, &["x"])), None);
        assert_eq!(sets_testing(&sources(), "a", "resource.host"), 2);
        let except =
            |rule: &str| Amendment::Except { rule: rule.to_owned(), condition: "resource.port == 1".to_owned() };
        check(&except("a"), "host)\n};", "host)\n}\nunless { resource.port == 1 };");
        assert_eq!(amended(&sources(), &except("c")), None);
        let compare = |nth| Amendment::Compare { rule: "b".to_owned(), fact: "deleted".to_owned(), nth, to: 900 };
        check(&compare(0), "> 500", "> 900");
        check(&compare(1), ">= 7", ">= 900");
        assert_eq!(compared_with(&sources(), "b", "deleted"), [500, 7]);
        let set = |key: &str| Amendment::Number {
            section: "envelope".to_owned(),
            name: "r".to_owned(),
            key: key.to_owned(),
            to: 2000,
        };
        check(&set("max"), "max = 1_000", "max = 2000");
        assert_eq!(amended(&sources(), &set("min")), None);
        assert_eq!(number_at(&sources(), "envelope", "r", "max"), Some(1000));
    }
}
