//! MonPoly's own cases against our parser, checker and monitors: `shared/cases/mfotl` beside the repository.
//!
//! A time point of MonPoly's is many events of ours: one that begins it, one for each tuple, and one that ends it, all with
//! its stamp. What holds at a time point is asked at the event that ends it, and looks back to the one that began it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod monpoly;

use super::check::{Checker, Compiled};
use super::monitor::Query;
use super::syntax::{self, Phase};
use super::{Occurrence, Seen};
use crate::action::{Action, Resource, Surface, Value};
use crate::session::Session;
use monpoly::{Case, Constant, Formula, Interval, Term, TimePoint, Tuple};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The verb whose attributes carry a predicate's arguments: whole numbers, then texts.
const VERB: &str = "fs.chmod";
const NUMBERS: [&str; 3] = ["mode", "uid", "gid"];
const TEXTS: [&str; 3] = ["xattr", "reader", "implied_by"];

/// The event that ends a time point.
const END: &str = "did fs.chmod(path: '/end')";

type Signature = BTreeMap<String, Vec<String>>;

/// What became of a case.
enum Outcome {
    Equal(usize),
    RefusedByBoth,
    LeftOut(String),
}

#[test]
fn mfotl_cases_have_equal_verdicts() {
    let told = std::env::var_os("FLYBALL_SHARED").map(std::path::PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared"));
    let cases = told.into_iter().chain(above).map(|shared| shared.join("cases/mfotl")).find(|folder| folder.is_dir());
    let Some(cases) = cases else {
        eprintln!("skipped: no `shared/cases/mfotl` above the crate and none in $FLYBALL_SHARED");
        return;
    };
    let mut folders: Vec<_> = std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    let mut told = Vec::new();
    let (mut equal, mut points, mut refused, mut left_out) = (0, 0, 0, 0);
    for case in folders.iter().flat_map(|folder| monpoly::cases(folder)) {
        let outcome = compare(&case);
        match &outcome {
            Outcome::Equal(at) => {
                equal += 1;
                points += at;
            }
            Outcome::RefusedByBoth => refused += 1,
            Outcome::LeftOut(_) => left_out += 1,
        }
        told.push((case, outcome));
    }
    eprintln!("{equal} cases equal at {points} time points, {refused} refused by both, {left_out} left out");
    if let Some(page) = std::env::var_os("FLYBALL_MFOTL_PAGE") {
        std::fs::write(page, page_of(&told, points)).unwrap();
    }
    // Otherwise it could pass by comparing nothing.
    assert!(equal >= 160 && points >= 400, "{equal} cases, {points} time points");
}

fn compare(case: &Case) -> Outcome {
    let left_out = |why: &str| Outcome::LeftOut(why.to_owned());
    if !case.has_log {
        return left_out("no verdicts: it checks types or monitorability only, or goes on from a saved state");
    }
    let formula = match monpoly::formula(&case.formula) {
        Ok(formula) => formula,
        Err(_) if case.is_refused => return left_out("MonPoly refuses it, and so there is no verdict"),
        Err(why) => return Outcome::LeftOut(why),
    };
    let log = monpoly::log(&case.log);
    let signature = monpoly::signature(&case.signature);
    if let Formula::Aggregate { .. } = &formula {
        return match aggregates(&formula, &signature, &log) {
            Ok(got) => verdict(case, &got),
            Err(why) => Outcome::LeftOut(why),
        };
    }
    let text = match text_of(&formula, &signature) {
        Ok(text) => text,
        Err(_) if case.is_refused => return left_out("MonPoly refuses it, and so there is no verdict"),
        Err(why) => return Outcome::LeftOut(why),
    };
    let columns = case.columns.clone().unwrap_or_else(|| monpoly::free(&formula));
    match (evaluate(&text, &columns, &signature, &log), case.is_refused) {
        (Err(_), true) => Outcome::RefusedByBoth,
        (Ok(_), true) => left_out("MonPoly refuses it; Flyball can evaluate it"),
        (Err(why), false) => Outcome::LeftOut(why),
        (Ok(got), false) => verdict(case, &got),
    }
}

/// What MonPoly does not print of a time point is empty; what it has no verdict on at all looks ahead.
fn verdict(case: &Case, got: &[BTreeSet<Tuple>]) -> Outcome {
    let is_whole = case.columns.is_some();
    let mut compared = 0;
    for (point, got) in got.iter().enumerate() {
        match case.verdicts.get(&point) {
            Some(want) => assert_eq!(got, want, "{}: `{}` at time point {point}", case.name, case.formula),
            None if is_whole => continue,
            None => assert!(got.is_empty(), "{}: `{}` at time point {point}: {got:?}", case.name, case.formula),
        }
        compared += 1;
    }
    Outcome::Equal(compared)
}

/// What satisfies the fact at the end of each time point.
fn evaluate(
    text: &str,
    columns: &[String],
    signature: &Signature,
    log: &[TimePoint],
) -> Result<Vec<BTreeSet<Tuple>>, String> {
    let facts = BTreeMap::new();
    let tree = syntax::fact(text).map_err(|fault| format!("our parser: {}", fault.message))?;
    let mut checker = Checker::new(text, &facts);
    let (compiled, _) = checker.compile("f", &tree).map_err(|fault| format!("our checker: {}", fault.message))?;
    let variables = checker.variables();
    let Compiled::Formula(mut node) = compiled else { panic!("a number: {text}") };
    let mut out = Vec::new();
    replay(signature, log, |event, is_end| {
        node.commit(event);
        if is_end {
            let relation = node.at(Query { now_ns: event.at_ns, ..Query::default() });
            let names: Vec<&String> = relation.columns.iter().map(|c| &variables[c]).collect();
            let at: Vec<usize> = columns
                .iter()
                .map(|c| {
                    names.iter().position(|n| *n == c).unwrap_or_else(|| panic!("{text}: no column {c} in {names:?}"))
                })
                .collect();
            out.push(relation.rows.keys().map(|row| at.iter().map(|n| constant(&row[*n])).collect()).collect());
        }
    })?;
    Ok(out)
}

/// Numbers over the tuples of one time point, for each group that there is.
fn aggregates(formula: &Formula, signature: &Signature, log: &[TimePoint]) -> Result<Vec<BTreeSet<Tuple>>, String> {
    let Formula::Aggregate { result: _, op, of, by, inner } = formula else { panic!("{formula:?}") };
    let word = match op.as_str() {
        "CNT" => "count",
        "SUM" => "sum",
        "MIN" => "min",
        "MAX" => "max",
        other => return Err(format!("`{other}`: no aggregate of facts")),
    };
    let Formula::Pred(name, terms) = &**inner else {
        return Err("an aggregate of a formula: facts count the events that match an atom".to_owned());
    };
    let stamps: BTreeSet<u64> = log.iter().map(|(at, _)| *at).collect();
    if stamps.len() < log.len() {
        return Err(
            "an aggregate at equal stamps: it is of one time point, and `[0]` of all with that stamp".to_owned()
        );
    }
    let place = |var: &String| terms.iter().position(|t| *t == Term::Var(var.clone()));
    let distinct: BTreeSet<&Term> = terms.iter().filter(|t| matches!(t, Term::Var(_))).collect();
    if distinct.len() < terms.len() {
        return Err("an aggregate over a predicate with a constant or the same variable twice".to_owned());
    }
    let slots = slots(name, signature)?;
    let of = match word {
        "count" => String::new(),
        _ => format!(" of {}", slots[place(of).ok_or("an aggregate of a variable that is not there")?]),
    };
    let mut out = Vec::new();
    for (point, (_, facts)) in log.iter().enumerate() {
        let tuples = facts.iter().filter(|(n, _)| n == name).map(|(_, tuple)| tuple);
        let key = |tuple: &Tuple| by.iter().map(|var| tuple[place(var).unwrap()].clone()).collect::<Tuple>();
        let groups: BTreeSet<Tuple> = if by.is_empty() { [Vec::new()].into() } else { tuples.map(key).collect() };
        let mut rows = BTreeSet::new();
        for group in groups {
            let mut matches = vec![format!("path: '/p/{name}'")];
            for (var, value) in by.iter().zip(&group) {
                matches.push(format!("{}: {}", slots[place(var).unwrap()], literal(value)));
            }
            let text = format!("{word}[0]{of} did {VERB}({})", matches.join(", "));
            let tree = syntax::fact(&text).map_err(|fault| fault.message)?;
            let none = BTreeMap::new();
            let (compiled, _) = Checker::new(&text, &none).compile("f", &tree).map_err(|fault| fault.message)?;
            let Compiled::Number(mut counter) = compiled else { panic!("{text}") };
            let mut ends = 0;
            let mut number = 0;
            replay(signature, log, |event, is_end| {
                counter.commit(event);
                if is_end && ends == point {
                    number = counter.number(Query { now_ns: event.at_ns, ..Query::default() });
                }
                ends += usize::from(is_end);
            })?;
            let number = Constant::Int(i64::try_from(number).unwrap());
            rows.insert([number].into_iter().chain(group).collect());
        }
        out.push(rows);
    }
    Ok(out)
}

/// Shows the events of a log one after the other, and says which end a time point.
fn replay(signature: &Signature, log: &[TimePoint], mut see: impl FnMut(&Occurrence, bool)) -> Result<(), String> {
    let session = Session { workspace: "/w".to_owned(), home: "/h".to_owned(), agent: "a".to_owned() };
    let mut seq = 0;
    let mut show = |path: &str, attrs: Vec<(&str, Value)>, at_ns: u64| {
        let action = Action::new(VERB, Resource::file(path), Surface::Fs).unwrap();
        let action = attrs.into_iter().fold(action, |action, (name, value)| action.with(name, value).unwrap());
        let values = session.values(&action);
        seq += 1;
        let values = Seen::Live(&values);
        see(&Occurrence { phase: Phase::Did, verb: action.verb, values, seq, at_ns }, path == "/end");
    };
    for (at_ns, facts) in log {
        show("/begin", Vec::new(), *at_ns);
        for (name, tuple) in facts {
            let slots = slots(name, signature)?;
            if slots.len() != tuple.len() {
                return Err(format!("the log has `{name}` with another number of values"));
            }
            let value = |(slot, constant): (&&'static str, &Constant)| match (NUMBERS.contains(slot), constant) {
                (true, Constant::Int(n)) => Ok((*slot, Value::Long(*n))),
                (false, Constant::Text(text)) => Ok((*slot, Value::Str(text.clone()))),
                (false, Constant::Int(n)) => Ok((*slot, Value::Str(n.to_string()))),
                (true, Constant::Text(text)) => Err(format!("`{text}` is no whole number")),
            };
            let attrs = slots.iter().zip(tuple).map(value).collect::<Result<Vec<_>, String>>()?;
            show(&format!("/p/{name}"), attrs, *at_ns);
        }
        show("/end", Vec::new(), *at_ns);
    }
    Ok(())
}

/// The attributes that carry a predicate's arguments.
fn slots(name: &str, signature: &Signature) -> Result<Vec<&'static str>, String> {
    let types = signature.get(name).ok_or_else(|| format!("no predicate `{name}` in the signature"))?;
    let (mut numbers, mut texts) = (NUMBERS.iter(), TEXTS.iter());
    let slot = |ty: &String| match ty.as_str() {
        "int" => numbers.next().copied().ok_or_else(|| "more than three numbers".to_owned()),
        "string" => texts.next().copied().ok_or_else(|| "more than three texts".to_owned()),
        other => Err(format!("the type `{other}`: facts have whole numbers and texts")),
    };
    types.iter().map(slot).collect()
}

fn constant(value: &Value) -> Constant {
    match value {
        Value::Long(n) => Constant::Int(*n),
        Value::Str(text) => Constant::Text(text.clone()),
        other => panic!("{other:?}"),
    }
}

fn literal(constant: &Constant) -> String {
    match constant {
        Constant::Int(n) => n.to_string(),
        Constant::Text(text) => format!("'{text}'"),
    }
}

fn window((min, max): Interval) -> String {
    match (min, max) {
        (0, None) => String::new(),
        (min, None) => format!("[{min}ns, *)"),
        (min, Some(max)) => format!("[{min}ns, {max}ns]"),
    }
}

/// The fact that holds at the end of a time point for what satisfies the formula there.
fn text_of(formula: &Formula, signature: &Signature) -> Result<String, String> {
    let inner = |f: &Formula| text_of(f, signature);
    Ok(match formula {
        Formula::True => format!("({END})"),
        Formula::False => format!("({END} and not {END})"),
        Formula::Pred(..) | Formula::Cmp(..) | Formula::And(..) => conjunction(formula, signature)?,
        Formula::Or(a, b) => format!("(({}) or ({}))", inner(a)?, inner(b)?),
        Formula::Not(f) => match &**f {
            Formula::Cmp(..) => conjunction(formula, signature)?,
            f => format!("(not ({}))", inner(f)?),
        },
        Formula::Exists(vars, f) => format!("(exists {} . ({}))", vars.join(", "), inner(f)?),
        Formula::Once(i, f) => format!("(once{} ({END} and ({})))", window(*i), inner(f)?),
        Formula::Prev(i, f) => format!("(prev (not {END} since{} ({END} and ({}))))", window(*i), inner(f)?),
        Formula::Since(a, i, b) => {
            let broken = match &**a {
                Formula::Not(a) => inner(a)?,
                Formula::True => return Ok(format!("(once{} ({END} and ({})))", window(*i), inner(b)?)),
                a => format!("not ({})", inner(a)?),
            };
            format!("((not ({END} and ({broken}))) since{} ({END} and ({})))", window(*i), inner(b)?)
        }
        Formula::Aggregate { .. } => {
            return Err("the value of an aggregate within a formula: facts compare it with a literal".to_owned());
        }
    })
}

/// What stands side by side: comparisons go into an atom that binds what they compare.
fn conjunction(formula: &Formula, signature: &Signature) -> Result<String, String> {
    let mut parts = Vec::new();
    flatten(formula, &mut parts);
    if let Some(at) = parts.iter().position(|part| matches!(part, Formula::Or(a, b) if compares(a) || compares(b))) {
        let Formula::Or(a, b) = parts.remove(at) else { panic!("no `OR`") };
        let with =
            |side: Formula| parts.iter().cloned().fold(side, |all, part| Formula::And(Box::new(part), Box::new(all)));
        return text_of(&Formula::Or(Box::new(with(*a)), Box::new(with(*b))), signature);
    }
    let mut atoms: Vec<(BTreeMap<String, &'static str>, Vec<String>)> = Vec::new();
    let mut texts = Vec::new();
    for part in &parts {
        match part {
            Formula::Pred(name, terms) => {
                let slots = slots(name, signature)?;
                if slots.len() != terms.len() {
                    return Err(format!("`{name}` with another number of arguments"));
                }
                let mut matches = vec![format!("path: '/p/{name}'")];
                let mut binds = BTreeMap::new();
                for (slot, term) in slots.into_iter().zip(terms) {
                    match term {
                        Term::Var(var) => {
                            binds.insert(var.clone(), slot);
                            matches.push(format!("{slot}: {var}"));
                        }
                        Term::Const(value) => matches.push(format!("{slot}: {}", literal(value))),
                    }
                }
                atoms.push((binds, matches));
            }
            Formula::Cmp(..) => {}
            Formula::Not(f) if matches!(**f, Formula::Cmp(..)) => {}
            other => texts.push(text_of(other, signature)?),
        }
    }
    for part in &parts {
        let (is_negated, part) = match part {
            Formula::Not(f) if matches!(**f, Formula::Cmp(..)) => (true, &**f),
            part => (false, part),
        };
        let Formula::Cmp(op, left, right) = part else { continue };
        match compared(op, left, right, is_negated, &mut atoms) {
            Some(Some(is_true)) => {
                texts.push(text_of(if is_true { &Formula::True } else { &Formula::False }, signature)?)
            }
            Some(None) => {}
            None => return Err("a comparison of what no predicate beside it binds".to_owned()),
        }
    }
    // Within the time point that ends here.
    texts.extend(atoms.iter().map(|(_, matches)| format!("prev (not {END} since did {VERB}({}))", matches.join(", "))));
    Ok(format!("({})", texts.iter().map(|text| format!("({text})")).collect::<Vec<_>>().join(" and ")))
}

/// Puts a comparison into an atom: nothing when none binds what it compares; whether it holds, of constants.
#[expect(clippy::option_option, reason = "the three ways are told apart by their callers at once")]
fn compared(
    op: &str,
    left: &Term,
    right: &Term,
    is_negated: bool,
    atoms: &mut [(BTreeMap<String, &'static str>, Vec<String>)],
) -> Option<Option<bool>> {
    if let (Term::Const(a), Term::Const(b)) = (left, right) {
        let holds = match op {
            "=" => a == b,
            "<" => a < b,
            _ => a <= b,
        };
        return Some(Some(holds != is_negated));
    }
    let said = |term: &Term| match term {
        Term::Var(var) => var.clone(),
        Term::Const(value) => literal(value),
    };
    // From the left, and seen from the right.
    let ops = match (op, is_negated) {
        ("=", false) => ("==", "=="),
        ("=", true) => ("!=", "!="),
        ("<", false) => ("<", ">"),
        ("<", true) => (">=", "<="),
        (_, false) => ("<=", ">="),
        (_, true) => (">", "<"),
    };
    for (term, op, other) in [(left, ops.0, right), (right, ops.1, left)] {
        let Term::Var(var) = term else { continue };
        let Some((slot, matches)) = atoms.iter_mut().find_map(|(binds, m)| Some((*binds.get(var)?, m))) else {
            continue;
        };
        matches.push(format!("{slot} {op} {}", said(other)));
        return Some(None);
    }
    None
}

fn flatten(formula: &Formula, out: &mut Vec<Formula>) {
    match formula {
        Formula::And(a, b) => {
            flatten(a, out);
            flatten(b, out);
        }
        Formula::Not(f) => match &**f {
            Formula::Not(f) => flatten(f, out),
            Formula::Or(a, b) if compares(a) || compares(b) => {
                flatten(&Formula::Not(a.clone()), out);
                flatten(&Formula::Not(b.clone()), out);
            }
            Formula::And(a, b) if compares(a) && compares(b) => {
                out.push(Formula::Or(Box::new(Formula::Not(a.clone())), Box::new(Formula::Not(b.clone()))));
            }
            _ => out.push(formula.clone()),
        },
        _ => out.push(formula.clone()),
    }
}

/// Whether it is made of comparisons alone.
fn compares(formula: &Formula) -> bool {
    match formula {
        Formula::Cmp(..) => true,
        Formula::Not(f) => compares(f),
        Formula::And(a, b) | Formula::Or(a, b) => compares(a) && compares(b),
        _ => false,
    }
}

fn page_of(told: &[(Case, Outcome)], points: usize) -> String {
    let count = |is: fn(&Outcome) -> bool| told.iter().filter(|(_, outcome)| is(outcome)).count();
    let mut page = format!(
        "# MonPoly's cases\n\n`cargo xtask oracle mfotl` holds facts against MonPoly's own tests (`shared/cases/mfotl`) and writes this page.\n\n\
         {} runs: {} with equal verdicts, at {points} time points; {} that both refuse; {} left out.\n\n\
         A time point of MonPoly's is a group of events here, with one that begins and one that ends it; a predicate's\n\
         arguments are attributes of `{VERB}`. What satisfies the formula is read off the monitor at the event that ends the\n\
         time point, and compared with what MonPoly printed.\n\n## Left out\n\n",
        told.len(),
        count(|o| matches!(o, Outcome::Equal(_))),
        count(|o| matches!(o, Outcome::RefusedByBoth)),
        count(|o| matches!(o, Outcome::LeftOut(_))),
    );
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (case, outcome) in told {
        if let Outcome::LeftOut(why) = outcome {
            reasons.entry(why).or_default().push(case.name.clone());
        }
    }
    for (why, cases) in reasons {
        page.push_str(&format!("- {why} ({}): {}\n", cases.len(), cases.join(", ")));
    }
    page
}
