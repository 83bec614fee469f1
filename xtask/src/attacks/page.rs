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
    let (mut table, mut open) = (String::new(), Vec::new());
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for one in ended {
        let row = rows.iter().filter(|row| row.fits(&one.name)).max_by_key(|row| row.key.len());
        let (verdict, reason) = match row {
            _ if lacks_arguments(&one.said) => ("no attack", "it takes arguments".to_owned()),
            Some(row) if row.codes.contains(&one.code) => (row.verdict, row.reason.to_owned()),
            _ => ("open", format!("not as expected: it ended with {}: {}", code(one.code), one.said.replace('|', "/"))),
        };
        if verdict == "open" {
            open.push(one.name.clone());
        }
        *counts.entry(verdict).or_default() += 1;
        let _ = writeln!(table, "| `{}` | {verdict} | {} | {reason} |", one.name, code(one.code));
    }
    let counts: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    let counts = counts.join(", ");
    let page = format!(
        "{ABOVE}\n{} attacks of syd {SYD_VERSION}: {counts}.\n\n| attack | verdict | exit code | why |\n|---|---|---|---|\n{table}",
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
