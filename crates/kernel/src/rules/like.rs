//! Cedar's `like`: `*` stands for any text, everything else for itself.

use memchr::memmem::Finder;

/// A pattern, split at its wildcards.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// What stands before the first wildcard; all of it when there is none.
    head: Box<str>,
    /// What stands between wildcards, in order, and after the last one; nothing without a wildcard.
    rest: Option<(Vec<Finder<'static>>, Box<str>)>,
}

impl Pattern {
    /// The literal parts between which the wildcards stand; at least one.
    pub fn new(parts: Vec<String>) -> Self {
        let mut parts = parts.into_iter();
        let head = parts.next().unwrap_or_default().into_boxed_str();
        let mut later: Vec<String> = parts.collect();
        let rest = later.pop().map(|tail| {
            let between = later.iter().filter(|part| !part.is_empty());
            (between.map(|part| Finder::new(part).into_owned()).collect(), tail.into_boxed_str())
        });
        Self { head, rest }
    }

    pub fn matches(&self, text: &str) -> bool {
        let Some((between, tail)) = &self.rest else { return *self.head == *text };
        let Some(rest) = text.strip_prefix(&*self.head) else { return false };
        let Some(mut rest) = rest.strip_suffix(&**tail).map(str::as_bytes) else { return false };
        // Each part at its first place leaves the most for those that follow.
        for part in between {
            let Some(at) = part.find(rest) else { return false };
            let Some(after) = rest.get(at + part.needle().len()..) else { return false };
            rest = after;
        }
        true
    }

    /// The literal parts between which its wildcards stand.
    pub fn parts(&self) -> Vec<Box<str>> {
        let mut parts = vec![self.head.clone()];
        if let Some((between, tail)) = &self.rest {
            // INVARIANT: needles were made of texts.
            parts.extend(between.iter().filter_map(|part| Some(std::str::from_utf8(part.needle()).ok()?.into())));
            parts.push(tail.clone());
        }
        parts
    }

    /// The text that it matches, when there is only one.
    pub fn literal(&self) -> Option<&str> {
        self.rest.is_none().then_some(&*self.head)
    }

    /// What every text that it matches ends with, when a wildcard stands before it.
    pub fn tail(&self) -> &str {
        self.rest.as_ref().map_or("", |(_, tail)| tail)
    }

    /// What stands between two slashes of every text that it matches, where some part says so.
    pub fn component(&self) -> Option<&str> {
        let (between, _) = self.rest.as_ref()?;
        let parts = between.iter().filter_map(|part| std::str::from_utf8(part.needle()).ok());
        parts.filter_map(|part| part.split_once('/')?.1.split_once('/')).map(|(component, _)| component).next()
    }

    /// What every text that it matches starts with.
    pub fn head(&self) -> &str {
        &self.head
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn naive(pattern: &[Option<char>], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((Some(c), more)) => text.split_first().is_some_and(|(t, rest)| t == c && naive(more, rest)),
            Some((None, more)) => (0..=text.len()).any(|n| naive(more, text.split_at(n).1)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn says_what_the_definition_says(pattern in "[ab*é]{0,7}", text in "[abé]{0,9}") {
            let parts = pattern.split('*').map(str::to_owned).collect();
            let elements: Vec<Option<char>> = pattern.chars().map(|c| (c != '*').then_some(c)).collect();
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(Pattern::new(parts).matches(&text), naive(&elements, &chars));
        }
    }
}
