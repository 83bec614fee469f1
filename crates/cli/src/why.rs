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
        lines(&|style, text| out.paint(style, text), &why).iter().for_each(|line| out.line(line));
    }
    Ok(())
}

/// How a piece of it is set off.
pub type Paint<'a> = &'a dyn Fn(Style, &str) -> String;

/// An explanation in lines, free of what could steer a terminal.
pub fn lines(paint: Paint<'_>, why: &Why) -> Vec<String> {
    let mut out = Vec::new();
    let title = |text: &str| paint(Style::Bold, text);
    out.push(title(if why.action.is_some() { "attempted" } else { &why.about.kind }));
    out.push(say(paint, &why.about));
    if !why.together.is_empty() {
        out.push(title("in one call with"));
        out.extend(why.together.iter().map(|s| say(paint, s)));
    }
    if !why.chain.is_empty() {
        out.push(title("under"));
        for (depth, cause) in why.chain.iter().enumerate() {
            let indent = "  ".repeat(depth.min(12));
            out.push(format!("  {}{indent}{}", number(paint, cause.seq), visible(&cause.said)));
        }
    }
    // Of a call with several meanings, those that decided it are told; what was let through is told when it is asked about.
    let decisive = why.rulings.iter().map(|r| r.verdict).max();
    for ruling in why.rulings.iter().filter(|r| Some(r.verdict) == decisive || r.of == why.about.seq) {
        let verdict =
            serde_json::to_value(ruling.verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let painted = paint(Style::of_verdict(&verdict), &verdict);
        let of = if ruling.of == why.about.seq { String::new() } else { format!(" of {}", visible(&ruling.said)) };
        let entry = paint(Style::Dim, &format!("(entry {})", ruling.seq));
        out.push(format!("{} {painted}{of} {entry}", title("ruled")));
        ruling.reasons.iter().for_each(|r| reason(paint, r, &mut out));
    }
    if !why.people.is_empty() {
        out.push(title("people"));
        out.extend(why.people.iter().map(|s| say(paint, s)));
    }
    out.push(title("became"));
    out.push(format!("  {}", visible(&why.became.said)));
    out
}

fn reason(paint: Paint<'_>, reason: &WhyReason, out: &mut Vec<String>) {
    let owner = if reason.owner.is_empty() { String::new() } else { format!(" (owner {})", visible(&reason.owner)) };
    out.push(format!("  {}{owner}: {}", paint(Style::Cyan, &visible(&reason.rule)), visible(&reason.reason)));
    if let Some(source) = &reason.source {
        out.push(format!("    {}", paint(Style::Dim, &visible(&format!("{}:{}", source.file, source.line)))));
        for (at, line) in source.text.lines().enumerate() {
            let number = source.line + at;
            out.push(format!("    {} {}", paint(Style::Dim, &format!("{number:>4} |")), visible_lines(line)));
        }
    }
    if !reason.witnesses.is_empty() {
        out.push("    because of".to_owned());
        for witness in &reason.witnesses {
            out.push(format!("      {}{} {}", number(paint, witness.seq), witness.kind, visible(&witness.said)));
        }
    }
    if let Some(needs) = &reason.needs {
        out.push(format!("    passes with  {}", visible(needs)));
    }
}

fn say(paint: Paint<'_>, said: &Said) -> String {
    format!("  {}{}", number(paint, said.seq), visible(&said.said))
}

fn number(paint: Paint<'_>, seq: u64) -> String {
    paint(Style::Dim, &format!("{seq:>5}  "))
}
