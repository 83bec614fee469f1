//! Secrets by the shapes that their issuers gave them. Only the kind is ever told, never the secret.
//!
//! Most files hold none of the few letters that some secret has to hold: a quick search tells. In the others one pass of an
//! automaton goes over the bytes for all kinds together; and one more for a kind that was found, to tell secrets from the
//! examples of documentation and from those that stood there before.

use regex::bytes::{Regex, RegexSet};
use std::collections::BTreeSet;
use std::sync::{LazyLock, OnceLock};

/// Kind and shape. Where a part of the shape is the secret itself, it is the group `s`.
///
/// Sources: the issuers' own documentation of their prefixes; the shapes agree with those of gitleaks where it has them.
const SHAPES: &[(&str, &str)] = &[
    ("anthropic-key", r"\bsk-ant-(?:api|admin|oat|sid)[0-9]{2}-[A-Za-z0-9_-]{32,}"),
    ("aws-access-key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    (
        "aws-secret-key",
        r#"(?i:aws_?(?:secret)?_?(?:access)?_?(?:secret)?_?key|secret_?access_?key)["']?\s{0,4}(?::|=|=>|:=)\s{0,4}["']?(?P<s>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
    ),
    ("azure-storage-key", r"\bAccountKey=(?P<s>[A-Za-z0-9+/]{86}==)"),
    (
        "database-url",
        r#"\b(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|mssql|sqlserver|cockroachdb|clickhouse)(?:\+[a-z0-9_]{1,16})?://[^\s:/@"'`<>]{0,64}:(?P<s>[^\s/@"'`<>]{3,128})@[^\s/@"'`<>]"#,
    ),
    ("digitalocean-token", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    ("docker-token", r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{27,}"),
    ("github-token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})\b"),
    ("gitlab-token", r"\bgl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|oas|imt)-[A-Za-z0-9_-]{20,}"),
    ("google-api-key", r"\bAIza[A-Za-z0-9_-]{35}\b"),
    ("google-oauth-secret", r"\bGOCSPX-[A-Za-z0-9_-]{28}\b"),
    ("huggingface-token", r"\bhf_[A-Za-z]{34}\b"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.(?P<s>[A-Za-z0-9_-]{16,})"),
    ("npm-token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("openai-key", r"\bsk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{40,}|[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20})"),
    (
        "private-key",
        r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----(?:\\r|\\n|[\r\n\t ]){1,8}(?:[A-Za-z-]{1,20}: [^\r\n]{0,200}(?:\r?\n)+){0,4}\s{0,8}(?P<s>[A-Za-z0-9+/=]{16,76})",
    ),
    ("pypi-token", r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    ("sendgrid-key", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"),
    ("slack-token", r"\bx(?:ox[abeoprs]|app)-[0-9A-Za-z]{1,12}-[0-9A-Za-z-]{10,250}"),
    (
        "slack-webhook",
        r"\bhooks\.slack\.com/(?:services|workflows|triggers)/T?[A-Za-z0-9]{6,14}/[A-Za-z0-9]{8,24}/(?P<s>[A-Za-z0-9]{16,48})",
    ),
    ("stripe-key", r"\b(?:[rs]k_live|whsec)_[A-Za-z0-9]{24,247}\b"),
    ("telegram-token", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
];

/// What of [`SHAPES`] matches nowhere where none of this stands. A test holds each shape against it.
const HINTS: &str = concat!(
    "sk-|A(?:KI|SI|BI|CC)A|(?i:aws|secret)|AccountKey=|postgres|mysql|mariadb|mongodb|redis|amqp|mssql|sqlserver|",
    "cockroachdb|clickhouse|do[opr]_v1_|dckr_|gh[pousr]_|github_pat_|gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|oas|imt)-|",
    r"AIza|GOCSPX-|hf_|eyJ|npm_|PRIVATE KEY|pypi-AgE|SG\.|xox|xapp-|hooks\.slack\.com|[rs]k_live|whsec_|:AA",
);

struct Shapes {
    hints: Regex,
    /// Where a hint was found: most sessions write none, and compiling it takes as long as looking at a thousand files.
    all: OnceLock<Option<RegexSet>>,
    /// One by one, where it comes to that: they take longer to compile than most sessions need.
    each: Vec<(&'static str, String, OnceLock<Option<Regex>>)>,
}

// INVARIANT: the shapes compile; a test sees to it. Should one not, `new_kinds` says so by a kind of its own.
static SHAPES_COMPILED: LazyLock<Option<Shapes>> = LazyLock::new(|| {
    // Bytes, not characters: the classes stay small and so do the automata.
    let bytes = |shape: &str| format!("(?-u){shape}");
    let each: Vec<_> = SHAPES.iter().map(|(kind, shape)| (*kind, bytes(shape), OnceLock::new())).collect();
    Some(Shapes { hints: Regex::new(&bytes(HINTS)).ok()?, all: OnceLock::new(), each })
});

/// The kinds, sorted, of which `new` holds a secret that `old` did not.
pub(super) fn new_kinds(old: Option<&[u8]>, new: &[u8]) -> Vec<&'static str> {
    let Some(shapes) = SHAPES_COMPILED.as_ref() else { return vec!["unread"] };
    if !shapes.hints.is_match(new) {
        return Vec::new();
    }
    let all = || RegexSet::new(shapes.each.iter().map(|(_, shape, _)| shape)).ok();
    let Some(all) = shapes.all.get_or_init(all) else { return vec!["unread"] };
    let mut kinds = Vec::new();
    for index in all.matches(new) {
        let Some((kind, shape, compiled)) = shapes.each.get(index) else { continue };
        let Some(shape) = compiled.get_or_init(|| Regex::new(shape).ok()) else { return vec!["unread"] };
        let known: BTreeSet<&[u8]> = old.map(|old| secrets(shape, old).collect()).unwrap_or_default();
        if secrets(shape, new).any(|secret| !known.contains(secret)) {
            kinds.push(*kind);
        }
    }
    kinds.sort_unstable();
    kinds
}

fn secrets<'t>(shape: &'t Regex, text: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
    shape
        .captures_iter(text)
        .filter_map(|found| found.name("s").or_else(|| found.get(0)))
        .map(|secret| secret.as_bytes())
        .filter(|secret| !is_placeholder(secret))
}

/// What stands in documentation instead of a secret: it says so, or has no randomness.
fn is_placeholder(secret: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "example",
        "placeholder",
        "changeme",
        "change-me",
        "change_me",
        "redacted",
        "your-",
        "your_",
        "yourpass",
        "xxxx",
        "****",
        "....",
        "-here",
        "_here",
        "dummy",
        "abcdefghij",
        "0123456789",
        "1234567890",
    ];
    // Whole passwords that guard nothing but a developer's own machine, and variables in place of one.
    const WHOLE: &[&str] = &[
        "password", "passwd", "pass", "pwd", "secret", "postgres", "mysql", "root", "admin", "user", "username",
        "test", "guest", "redis", "mongo", "12345", "123456", "token", "pw",
    ];
    let text = String::from_utf8_lossy(secret).to_ascii_lowercase();
    let is_variable = text.starts_with(['$', '{', '%', '[', '#']) || text.contains("${") || text.contains("{{");
    let mut distinct: Vec<u8> = secret.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let is_monotonous = secret.len() >= 16 && distinct.len() < 6;
    is_variable || is_monotonous || WORDS.iter().any(|word| text.contains(word)) || WHOLE.contains(&text.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_shape_compiles() {
        let shapes = SHAPES_COMPILED.as_ref().unwrap();
        assert!(shapes.each.iter().all(|(_, shape, _)| Regex::new(shape).is_ok()));
        let mut kinds: Vec<_> = SHAPES.iter().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        assert!(kinds.is_sorted() && kinds.len() == SHAPES.len());
    }

    /// Texts of each shape, made from it, are passed on by the quick search.
    #[test]
    fn every_secret_has_a_hint() {
        use proptest::strategy::{Strategy, ValueTree};
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let hints = &SHAPES_COMPILED.as_ref().unwrap().hints;
        for (kind, shape) in SHAPES {
            // The generator knows no word boundaries and no ends.
            let shape = shape.replace(r"\b", "").replace("|$)", ")");
            let texts = proptest::string::bytes_regex(&format!("(?s-u){shape}")).unwrap();
            for _ in 0..50 {
                let text = texts.new_tree(&mut runner).unwrap().current();
                assert!(hints.is_match(&text), "{kind}: {}", String::from_utf8_lossy(&text));
            }
        }
    }
}
