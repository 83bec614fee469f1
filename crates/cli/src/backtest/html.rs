//! The report as one page: nothing is loaded from elsewhere, nothing runs, and whatever a record holds is text.

use super::name;
use flyball_runtime::backtest::{Backtest, Count, Flip};
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}\
table{border-collapse:collapse;margin:1rem 0}th,td{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top;\
border-bottom:1px solid #ddd}td.n,th.n{text-align:right}code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}\
.deny{color:#b00020}.hold,.modify{color:#8a6100}.allow{color:#0a6b2d}.bounded{color:#666}small{color:#666}";

/// The whole page.
pub fn page(found: &Backtest) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    // Even where something slipped through as markup, the browser may load and run nothing.
    out.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
    );
    let _ = writeln!(out, "<title>Backtest of {}</title><style>{STYLE}</style></head><body>", text(&found.charter));
    let total = found.sums.total;
    let _ = write!(
        out,
        "<h1>Backtest of {}</h1><p><code>{}</code></p>\n<p>{} actions of {} sessions: {} the same, {} otherwise: {} would be \
         refused, {} asked about, {} would pass, {} refused in another way.</p>\n<p><small>{} of these are <em>bounded</em>: they \
         come after another difference in their session, from where on the history itself might have been another.</small></p>\n",
        text(&found.charter),
        text(&found.digest),
        found.actions,
        found.sessions.len(),
        found.same,
        total.all(),
        total.refused,
        total.asked,
        total.passed,
        total.other,
        total.bounded
    );
    sums(&mut out, "Rule", &found.sums.rules);
    sums(&mut out, "Owner", &found.sums.owners);
    sums(&mut out, "Agent", &found.sums.agents);
    out.push_str("<h2>Differences</h2>\n<table><tr><th>Session</th><th>Entry</th><th>Was</th><th>Would be</th><th>What</th></tr>\n");
    found.sessions.iter().flat_map(|s| &s.flips).for_each(|flip| row(&mut out, flip));
    out.push_str("</table>\n");
    let left = total.all() - found.sessions.iter().map(|s| s.flips.len() as u64).sum::<u64>().min(total.all());
    if left > 0 {
        let _ = writeln!(out, "<p>{left} more are in the sums only.</p>");
    }
    for tested in &found.sessions {
        if let Some(stopped) = &tested.stopped {
            let _ = writeln!(
                out,
                "<p>Session <code>{}</code> was judged up to entry {} only: {}</p>",
                text(&tested.session),
                stopped.seq,
                text(&stopped.why)
            );
        }
    }
    out.push_str("</body></html>\n");
    out
}

fn sums(out: &mut String, what: &str, counts: &BTreeMap<String, Count>) {
    if counts.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<table><tr><th>{what}</th><th class=n>Refused</th><th class=n>Asked</th><th class=n>Passed</th><th class=n>Other</th>\
         <th class=n>Of them bounded</th></tr>"
    );
    for (name, c) in counts {
        let name = if name.is_empty() { "(none)" } else { name };
        let _ = write!(out, "<tr><td>{}</td>", text(name));
        for n in [c.refused, c.asked, c.passed, c.other, c.bounded] {
            let _ = write!(out, "<td class=n>{n}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

fn row(out: &mut String, flip: &Flip) {
    let bounded = if flip.is_bounded { " <small class=bounded>bounded</small>" } else { "" };
    let (was, now) = (name(flip.was), name(flip.now));
    let _ = write!(
        out,
        "<tr><td><code>{}</code></td><td>{}</td><td class={was}>{was}</td><td class={now}>{now}{bounded}</td><td><code>{}</code>",
        text(&flip.session),
        flip.seq,
        text(&flip.action)
    );
    for reason in &flip.reasons {
        let owner = if reason.owner.is_empty() { String::new() } else { format!(" of {}", text(&reason.owner)) };
        let _ = write!(out, "<br><small><b>{}</b>{owner}: {}", text(&reason.rule), text(&reason.reason));
        if !reason.witnesses.is_empty() {
            let seqs: Vec<String> = reason.witnesses.iter().map(u64::to_string).collect();
            let _ = write!(out, " (entries {})", seqs.join(", "));
        }
        out.push_str("</small>");
    }
    out.push_str("</td></tr>\n");
}

/// Text, and nothing but text: also what a terminal or a browser would take for a command.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use flyball_kernel::Verdict;
    use flyball_runtime::backtest::{Tested, Why};

    #[test]
    fn nothing_of_a_record_is_markup() {
        let evil = "<script src=//x>alert(1)</script>\"'&\u{202e}\u{1b}";
        let flip = Flip {
            session: evil.into(),
            seq: 1,
            verb: evil.into(),
            action: evil.into(),
            agent: evil.into(),
            was: Verdict::Allow,
            now: Verdict::Deny,
            is_bounded: true,
            reasons: vec![Why {
                rule: evil.into(),
                owner: evil.into(),
                reason: evil.into(),
                witnesses: vec![1],
                needs: None,
                source: None,
            }],
        };
        let mut found = Backtest { charter: evil.into(), digest: evil.into(), ..Backtest::default() };
        found.sums.rules.insert(evil.into(), Count::default());
        found.sessions.push(Tested { flips: vec![flip], ..Tested::default() });
        let page = page(&found);
        assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\u{1b}'), "{page}");
        assert!(
            ["http://", "https://", "<link", "<img", "url("].iter().all(|foreign| !page.contains(foreign)),
            "{page}"
        );
        assert_eq!(page.matches("&lt;script").count(), 9, "{page}");
    }
}
