//! Texts and values as they are compared: letter case and spacing of ASCII don't count, words and addresses are whole.

/// A text in the form in which it is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Each run of white space is one space.
    plain: String,
    /// The same in lower case, byte for byte in the same places.
    folded: String,
}

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let text = ["http://", "https://"].iter().find_map(|scheme| text.trim().strip_prefix(scheme)).unwrap_or(text);
        let mut plain = String::with_capacity(text.len());
        for word in text.split_whitespace() {
            if !plain.is_empty() {
                plain.push(' ');
            }
            plain.push_str(word);
        }
        // The address of a site and of its root are one.
        if let Some(site) = plain.strip_suffix('/').filter(|site| !site.contains(' ')) {
            plain.truncate(site.len());
        }
        let folded = plain.to_ascii_lowercase();
        Self { plain, folded }
    }

    pub(super) fn folded(&self) -> &str {
        &self.folded
    }

    pub(super) fn len(&self) -> usize {
        self.folded.len()
    }

    /// Whether it has the value in it as a whole: not within a longer word or address.
    pub(super) fn holds(&self, value: &Text) -> bool {
        self.places(value).next().is_some()
    }

    /// The same, right after one of these words.
    pub(super) fn holds_after(&self, value: &Text, before: &[&str]) -> bool {
        self.places(value).any(|at| {
            let start = self.folded.get(..at).unwrap_or_default();
            let mut words = start.split(|c: char| !c.is_alphanumeric()).rev().filter(|word| !word.is_empty()).take(2);
            words.any(|word| before.iter().any(|b| word.eq_ignore_ascii_case(b)))
        })
    }

    fn places<'t>(&'t self, value: &'t Text) -> impl Iterator<Item = usize> + 't {
        let found = if value.folded.is_empty() { None } else { Some(self.folded.match_indices(value.folded.as_str())) };
        found.into_iter().flatten().map(|(at, _)| at).filter(|at| self.is_whole(*at, at + value.folded.len()))
    }

    fn is_whole(&self, start: usize, end: usize) -> bool {
        let before = self.plain.get(..start).unwrap_or_default();
        let after = self.plain.get(end..).unwrap_or_default();
        let inside = self.plain.get(start..end).unwrap_or_default();
        // Where the value itself begins or ends in a sign, nothing runs on.
        let opens = inside.starts_with(|c: char| c.is_alphanumeric());
        let closes = inside.ends_with(|c: char| c.is_alphanumeric());
        !(opens && runs_on(&mut before.chars().rev(), false) || closes && runs_on(&mut after.chars(), true))
    }
}

/// Whether a word or address goes on: a letter or digit, or a sign of addresses with one behind it. A full stop before a capital
/// ends a sentence.
fn runs_on(next: &mut dyn Iterator<Item = char>, is_forward: bool) -> bool {
    match (next.next(), next.next()) {
        (Some(c), _) if c.is_alphanumeric() => true,
        (Some('.'), Some(c)) if is_forward => c.is_alphanumeric() && !c.is_uppercase(),
        (Some('.' | '-' | '_' | '@' | '+' | '/' | '%' | ','), Some(c)) => c.is_alphanumeric(),
        _ => false,
    }
}

/// Nothing that could be looked for.
pub(super) fn is_blank(value: &str) -> bool {
    matches!(value, "true" | "false") || !value.chars().any(char::is_alphanumeric)
}

/// The words of a text in lower case.
pub(super) fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let is_apart = |c: char| !c.is_alphanumeric() && c != '\'';
    text.split(is_apart).map(|w| w.trim_matches('\'')).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// Whether the phrase stands in these words; `delet*` is any that begins so.
pub(super) fn speaks(words: &[String], phrase: &str) -> bool {
    let wanted: Vec<&str> = phrase.split(' ').collect();
    words.windows(wanted.len().max(1)).any(|some| {
        some.iter().zip(&wanted).all(|(word, wanted)| match wanted.strip_suffix('*') {
            Some(stem) => word.starts_with(stem),
            None => word == wanted,
        })
    })
}

/// A number in one form however it is written: `1,050.00`, `1050`, `£1050.0` are `1050`. Not what has another sign in it.
pub(super) fn number(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches(['$', '£', '€', '+']).trim_end_matches(['$', '£', '€']);
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let are_groups = groups.all(|group| group.len() == 3 && is_digits(group));
    if first.is_empty() || !is_digits(first) || !are_groups || !is_digits(part) || digits.len() > 40 {
        return None;
    }
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    let whole = whole.trim_start_matches('0');
    let part = part.trim_end_matches('0');
    let dot = if part.is_empty() { "" } else { "." };
    Some(format!("{sign}{}{dot}{part}", if whole.is_empty() { "0" } else { whole }))
}

/// The numbers that stand in a text by themselves.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = String> + '_ {
    let trimmed = |word: &'_ str| -> String {
        word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '$' | '£' | '€')).to_owned()
    };
    text.split_whitespace().filter_map(move |word| number(&trimmed(word)))
}
