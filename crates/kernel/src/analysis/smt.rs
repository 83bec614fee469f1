//! A formula as a question to a solver, in SMT-LIB 2.6 with strings, and a solver's values back as a model.
//!
//! The solver is a second opinion beside our own search: it runs elsewhere, and what it finds is put to the real rules like
//! everything else.

use super::formula::{Atom, Formulas, Id, Slot, Term};
use super::solve::Model;
use super::words::Test;
use crate::session::Session;
use crate::vocabulary::{ResourceKind, Verb};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A question, and how to read its answer.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub text: String,
    texts: BTreeMap<Slot, String>,
    longs: BTreeMap<Slot, String>,
    atoms: BTreeMap<Atom, String>,
}

/// Whether some action of that verb satisfies the formula.
pub(crate) fn encode(all: &Formulas, goal: Id, verb: Verb, session: &Session) -> Query {
    let (terms, atoms) = reachable(all, goal);
    let is_file = verb.spec().resource == ResourceKind::File;
    let mut query =
        Query { text: String::new(), texts: BTreeMap::new(), longs: BTreeMap::new(), atoms: BTreeMap::new() };
    let mut body = String::new();
    let mut of_atom: BTreeMap<usize, String> = BTreeMap::new();
    for place in atoms {
        let Some(atom) = all.atoms.get(place) else { continue };
        let said = match atom {
            Atom::Text(slot, test) => {
                let name = match slot {
                    Slot::Field("rel" | "name" | "zone") if is_file => {
                        query.texts.entry(Slot::Field("path")).or_insert_with(|| "path".to_owned());
                        part(*slot).to_owned()
                    }
                    Slot::Field("path") if is_file => {
                        query.texts.entry(*slot).or_insert_with(|| "path".to_owned()).clone()
                    }
                    _ => {
                        let next = format!("t{}", query.texts.len());
                        query.texts.entry(*slot).or_insert(next).clone()
                    }
                };
                tested(&name, test)
            }
            Atom::AtMost(slot, n) => {
                let next = format!("n{}", query.longs.len());
                let name = query.longs.entry(*slot).or_insert(next);
                format!("(<= {name} {})", number(*n))
            }
            other => {
                let next = format!("b{}", query.atoms.len());
                query.atoms.entry(other.clone()).or_insert(next).clone()
            }
        };
        of_atom.insert(place, said);
    }
    for id in terms {
        let joined = |word: &str, parts: &[Id]| {
            let parts: Vec<String> = parts.iter().map(|p| format!("f{p}")).collect();
            format!("({word} {})", parts.join(" "))
        };
        let said = match all.get(id) {
            Term::Known(b) => b.to_string(),
            Term::Atom(place) => of_atom.get(place).cloned().unwrap_or_default(),
            Term::Not(inner) => format!("(not f{inner})"),
            Term::And(parts) => joined("and", parts),
            Term::Or(parts) => joined("or", parts),
        };
        // Writing to a String can't fail.
        let _ = writeln!(body, "(define-fun f{id} () Bool {said})");
    }
    let mut head = "(set-option :produce-models true)\n(set-logic ALL)\n".to_owned();
    query.declare(&mut head, verb, is_file, session);
    query.text = format!("{head}{body}(assert f{goal})\n(check-sat)\n{}", query.asked());
    query
}

/// The formula's parts in their order, and its atoms.
fn reachable(all: &Formulas, goal: Id) -> (BTreeSet<Id>, BTreeSet<usize>) {
    let (mut terms, mut atoms, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![goal]);
    while let Some(id) = open.pop() {
        if !terms.insert(id) {
            continue;
        }
        match all.get(id) {
            Term::Known(_) => {}
            Term::Atom(place) => {
                atoms.insert(*place);
            }
            Term::Not(inner) => open.push(*inner),
            Term::And(parts) | Term::Or(parts) => open.extend(parts),
        }
    }
    (terms, atoms)
}

fn part(slot: Slot) -> &'static str {
    match slot {
        Slot::Field("rel") => "rel",
        Slot::Field("name") => "base",
        _ => "zone",
    }
}

fn tested(name: &str, test: &Test) -> String {
    match test {
        Test::Is(text) => format!("(= {name} {})", quoted(text)),
        Test::Like(parts) => {
            let any = "(re.* re.allchar)".to_owned();
            let mut items: Vec<String> = Vec::new();
            for (n, literal) in parts.iter().enumerate() {
                if n > 0 {
                    items.push(any.clone());
                }
                if !literal.is_empty() {
                    items.push(format!("(str.to_re {})", quoted(literal)));
                }
            }
            match items.as_slice() {
                [one] => format!("(str.in_re {name} {one})"),
                many => format!("(str.in_re {name} (re.++ {}))", many.join(" ")),
            }
        }
    }
}

fn number(n: i64) -> String {
    if n < 0 { format!("(- {})", n.unsigned_abs()) } else { n.to_string() }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\"\""),
            ' '..='~' if c != '\\' => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

impl Query {
    fn declare(&self, out: &mut String, verb: Verb, is_file: bool, session: &Session) {
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        for (slot, name) in &self.texts {
            line(format!("(declare-const {name} String)"));
            let few: &[&str] = match slot {
                Slot::Surface => &["exec", "fs", "net", "http", "mcp", "sql", "git", "k8s", "model", "hook", "sdk"],
                Slot::Consequence(_) => &["low", "medium", "high", "critical"],
                Slot::Reversibility(_) => &["pure", "idempotent", "compensatable", "irreversible"],
                _ => &[],
            };
            if !few.is_empty() {
                let all: Vec<String> = few.iter().map(|text| format!("(= {name} {})", quoted(text))).collect();
                line(format!("(assert (or {}))", all.join(" ")));
            }
        }
        if is_file && self.texts.contains_key(&Slot::Field("path")) {
            path(&mut line, session);
        }
        for (slot, name) in &self.longs {
            line(format!("(declare-const {name} Int)"));
            let (least, most) = super::solve::bounds_of(*slot);
            line(format!("(assert (and (<= {} {name}) (<= {name} {})))", number(least), number(most)));
        }
        for name in self.atoms.values() {
            line(format!("(declare-const {name} Bool)"));
        }
        for (atom, empty) in &self.atoms {
            let Atom::Empty(slot) = atom else { continue };
            for (other, has) in &self.atoms {
                if matches!(other, Atom::Has(of, _) if of == slot) {
                    line(format!("(assert (=> {empty} (not {has})))"));
                }
            }
        }
        debug_assert!(is_file == (verb.spec().resource == ResourceKind::File));
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.texts.values().chain(self.longs.values()).chain(self.atoms.values())
    }

    fn asked(&self) -> String {
        let names: Vec<&str> = self.names().map(String::as_str).collect();
        if names.is_empty() { String::new() } else { format!("(get-value ({}))\n", names.join(" ")) }
    }

    /// The model in a solver's answer; nothing where it can't be read.
    pub fn model(&self, answer: &str) -> Option<Model> {
        let values = values(answer.trim_start().strip_prefix("sat")?)?;
        let mut out = Model::default();
        for (slot, name) in &self.texts {
            out.texts.insert(*slot, unquoted(values.get(name.as_str())?)?);
        }
        for (slot, name) in &self.longs {
            let n: i64 = values.get(name.as_str())?.parse().ok()?;
            match slot {
                Slot::Time(part) => {
                    out.times.insert(part, (n, n));
                }
                slot => {
                    out.longs.insert(*slot, n);
                }
            }
        }
        for (atom, name) in &self.atoms {
            let value = *values.get(name.as_str())? == "true";
            match atom {
                Atom::Present(attr) => {
                    out.present.insert(attr, value);
                }
                Atom::Flag(slot) => {
                    out.flags.insert(*slot, value);
                }
                Atom::Has(slot, item) if value => out.sets.entry(*slot).or_default().push(item.to_string()),
                Atom::Empty(slot) if !value => {
                    let items = out.sets.entry(*slot).or_default();
                    if items.is_empty() {
                        items.push("x0".to_owned());
                    }
                }
                _ => {}
            }
        }
        Some(out)
    }
}

/// A file's path, canonical, and what is derived from it.
fn path(line: &mut impl FnMut(String), session: &Session) {
    line("(declare-const base String)\n(declare-const above String)".to_owned());
    line("(assert (= path (str.++ above \"/\" base)))\n(assert (not (str.contains base \"/\")))".to_owned());
    for part in ["//", "/./", "/../"] {
        line(format!("(assert (not (str.contains path \"{part}\")))"));
    }
    for end in ["/.", "/.."] {
        line(format!("(assert (not (str.suffixof \"{end}\" path)))"));
    }
    line("(assert (or (= path \"/\") (not (str.suffixof \"/\" path))))\n(assert (str.prefixof \"/\" path))".to_owned());
    let within = |folder: &str| {
        let slash = quoted(&format!("{folder}/"));
        format!("(or (= path {}) (str.prefixof {slash} path))", quoted(folder))
    };
    let workspace = &session.workspace;
    line(format!(
        "(define-fun rel () String (ite (= path {}) \".\" (ite (str.prefixof {} path) (str.substr path {} (str.len path)) \"\")))",
        quoted(workspace),
        quoted(&format!("{workspace}/")),
        workspace.chars().count() + 1
    ));
    line(format!(
        "(define-fun zone () String (ite {} \"workspace\" (ite {} \"home\" (ite (or {} {}) \"temp\" \"system\"))))",
        within(workspace),
        within(&session.home),
        within("/tmp"),
        within("/var/tmp")
    ));
}

/// `((name value) …)`: each value as it was written, a negative number as one.
fn values(answer: &str) -> Option<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = answer.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' | ')' => tokens.push(c.to_string()),
            '"' => {
                let mut text = String::from("\"");
                loop {
                    match (chars.next()?, chars.peek()) {
                        ('"', Some('"')) => {
                            chars.next();
                            text.push('"');
                        }
                        ('"', _) => break,
                        (c, _) => text.push(c),
                    }
                }
                tokens.push(text);
            }
            c if c.is_whitespace() => {}
            c => {
                let mut word = c.to_string();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, '(' | ')')) {
                    word.push(c);
                }
                tokens.push(word);
            }
        }
    }
    let mut rest = tokens.as_slice();
    while let Some((first, more)) = rest.split_first() {
        match (first.as_str(), more) {
            ("(", [name, open, minus, n, ..]) if open == "(" && minus == "-" => {
                out.insert(name.clone(), format!("-{n}"));
                rest = more.get(5..)?;
            }
            ("(", [name, value, close, ..]) if name != "(" && close == ")" => {
                out.insert(name.clone(), value.clone());
                rest = more.get(3..)?;
            }
            _ => rest = more,
        }
    }
    Some(out)
}

/// A solver's string: `\u{…}` and `\uXXXX` are characters.
fn unquoted(value: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = value.strip_prefix('"')?;
    while let Some(at) = rest.find("\\u") {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (digits, after) = match escape.get(2..)?.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => (escape.get(2..6)?, escape.get(6..)?),
        };
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}
