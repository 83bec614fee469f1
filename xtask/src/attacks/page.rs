//! What each attack's end means, and the page that says so.

use super::{Ended, SYD_VERSION};
use crate::Failure;
use std::fmt::Write as _;

/// NAME (or a prefix and `*`), the exit codes that are expected (`-`: it took the session with it), the verdict, the
/// reason; separated by tabs. The longest name that fits counts.
const VERDICTS: &str = include_str!("verdicts.tsv");
/// What the page says above the table.
const ABOVE: &str = include_str!("page.md");

pub(crate) struct Report {
    pub(crate) page: String,
    pub(crate) counts: String,
    pub(crate) open: Vec<String>,
}

struct Row<'a> {
    key: &'a str,
    codes: Vec<Option<i32>>,
    verdict: &'a str,
    reason: &'a str,
}

impl Row<'_> {
    fn fits(&self, name: &str) -> bool {
        self.key.strip_suffix('*').map_or(self.key == name, |prefix| name.starts_with(prefix))
    }
}

/// Judges how the attacks ended.
pub(crate) fn report(ended: &[Ended]) -> Result<Report, Failure> {
    let rows = rows()?;
    let (mut lines, mut open) = (std::collections::BTreeMap::<_, Vec<&str>>::new(), Vec::new());
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for one in ended {
        let row = rows.iter().filter(|row| row.fits(&one.name)).max_by_key(|row| row.key.len());
        let (verdict, reason) = match row {
            _ if lacks_arguments(&one.said) => ("no attack", "it takes arguments".to_owned()),
            Some(row) if row.codes.contains(&one.code) => (row.verdict, row.reason.to_owned()),
            _ => ("open", format!("not as expected: it ended with {}: {}", code(one.code), one.said.replace('|', "/"))),
        };
        if verdict == "open" {
            open.push(format!("{} as {}", one.name, one.user));
        }
        *counts.entry(verdict).or_default() += 1;
        lines.entry((&one.name, verdict, code(one.code), reason)).or_default().push(one.user);
    }
    // Mostly it is one line for both.
    let mut table = String::new();
    for ((name, verdict, code, reason), users) in &lines {
        let _ = writeln!(table, "| `{name}` | {} | {verdict} | {code} | {reason} |", users.join(", "));
    }
    let counts: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    let counts = counts.join(", ");
    let names: std::collections::BTreeSet<&str> = ended.iter().map(|one| one.name.as_str()).collect();
    let page = format!(
        "{ABOVE}\n{} attacks of syd {SYD_VERSION}, {} trials: {counts}.\n\n| attack | as | verdict | exit code | why |\n|---|---|---|---|---|\n{table}",
        names.len(),
        ended.len()
    );
    Ok(Report { page, counts, open })
}

/// It said how it is to be called.
fn lacks_arguments(said: &str) -> bool {
    let marks = ["usage:", "expected a ", "expected an ", "expected exactly", "as argument", "as the first argument"];
    let said = said.to_lowercase();
    marks.iter().any(|mark| said.contains(mark))
}

fn code(code: Option<i32>) -> String {
    code.map_or_else(|| "none".to_owned(), |code| code.to_string())
}

fn rows() -> Result<Vec<Row<'static>>, Failure> {
    let row = |line: &'static str| {
        let mut fields = line.split('\t');
        let (key, codes, verdict, reason) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let codes = codes.split(',').map(|code| if code == "-" { Some(None) } else { code.parse().ok().map(Some) });
        Some(Row { key, codes: codes.collect::<Option<_>>()?, verdict, reason })
    };
    let lines = VERDICTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| row(line).ok_or_else(|| format!("verdicts.tsv: can't be read: {line}").into())).collect()
}
