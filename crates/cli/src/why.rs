//! `why`: the chain from an attempt to what became of it.

use crate::failure::Failure;
use crate::output::{Output, Style, visible, visible_lines};
use crate::place::Place;
use flyball_runtime::read::{self, Said, Why, WhyReason};

/// `flyball why S SEQ`.
pub fn why(out: Output, place: &Place, wanted: &str, seq: u64) -> Result<(), Failure> {
    let (ledger, id) = place.session(wanted)?;
    let why = read::why(&ledger, &id, seq)?;
    if out.is_json {
        out.json(&why);
    } else {
        print(out, &why);
    }
    Ok(())
}

fn print(out: Output, why: &Why) {
    let title = |text: &str| out.line(&out.paint(Style::Bold, text));
    title(if why.action.is_some() { "attempted" } else { &why.about.kind });
    say(out, &why.about);
    if !why.together.is_empty() {
        title("in one call with");
        why.together.iter().for_each(|s| say(out, s));
    }
    if !why.chain.is_empty() {
        title("under");
        for (depth, cause) in why.chain.iter().enumerate() {
            let indent = "  ".repeat(depth.min(12));
            out.line(&format!("  {}{indent}{}", number(out, cause.seq), visible(&cause.said)));
        }
    }
    // Of a call with several meanings, those that decided it are told; what was let through is told when it is asked about.
    let decisive = why.rulings.iter().map(|r| r.verdict).max();
    for ruling in why.rulings.iter().filter(|r| Some(r.verdict) == decisive || r.of == why.about.seq) {
        let verdict =
            serde_json::to_value(ruling.verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let painted = out.paint(Style::of_verdict(&verdict), &verdict);
        let of = if ruling.of == why.about.seq { String::new() } else { format!(" of {}", visible(&ruling.said)) };
        out.line(&format!(
            "{} {painted}{of} {}",
            out.paint(Style::Bold, "ruled"),
            out.paint(Style::Dim, &format!("(entry {})", ruling.seq))
        ));
        ruling.reasons.iter().for_each(|r| reason(out, r));
    }
    if !why.people.is_empty() {
        title("people");
        why.people.iter().for_each(|s| say(out, s));
    }
    title("became");
    out.line(&format!("  {}", visible(&why.became.said)));
}

fn reason(out: Output, reason: &WhyReason) {
    let owner = if reason.owner.is_empty() { String::new() } else { format!(" (owner {})", visible(&reason.owner)) };
    out.line(&format!("  {}{owner}: {}", out.paint(Style::Cyan, &visible(&reason.rule)), visible(&reason.reason)));
    if let Some(source) = &reason.source {
        out.line(&format!("    {}", out.paint(Style::Dim, &format!("{}:{}", source.file, source.line))));
        for (at, line) in source.text.lines().enumerate() {
            let number = source.line + at;
            out.line(&format!("    {} {}", out.paint(Style::Dim, &format!("{number:>4} |")), visible_lines(line)));
        }
    }
    if !reason.witnesses.is_empty() {
        out.line("    because of");
        for witness in &reason.witnesses {
            out.line(&format!("      {}{} {}", number(out, witness.seq), witness.kind, visible(&witness.said)));
        }
    }
    if let Some(needs) = &reason.needs {
        out.line(&format!("    passes with  {}", visible(needs)));
    }
}

fn say(out: Output, said: &Said) {
    out.line(&format!("  {}{}", number(out, said.seq), visible(&said.said)));
}

fn number(out: Output, seq: u64) -> String {
    out.paint(Style::Dim, &format!("{seq:>5}  "))
}
