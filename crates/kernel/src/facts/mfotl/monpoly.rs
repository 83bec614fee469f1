//! The cases of MonPoly's own tests, read: formula, log, and what MonPoly says of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Constant {
    Int(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Term {
    Var(String),
    Const(Constant),
}

/// A formula of the part that looks back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Formula {
    True,
    False,
    Pred(String, Vec<Term>),
    /// With `=`, `<` or `<=`; whether it is negated.
    Cmp(&'static str, Term, Term),
    Not(Box<Formula>),
    And(Box<Formula>, Box<Formula>),
    Or(Box<Formula>, Box<Formula>),
    Exists(Vec<String>, Box<Formula>),
    Once(Interval, Box<Formula>),
    Prev(Interval, Box<Formula>),
    Since(Box<Formula>, Interval, Box<Formula>),
    /// `result <- op of; by formula`.
    Aggregate {
        result: String,
        op: String,
        of: String,
        by: Vec<String>,
        inner: Box<Formula>,
    },
}

/// Both ends included.
pub(crate) type Interval = (u64, Option<u64>);

pub(crate) type Tuple = Vec<Constant>;

/// One run of MonPoly.
pub(crate) struct Case {
    pub name: String,
    pub formula: String,
    pub signature: String,
    pub log: String,
    pub is_refused: bool,
    pub has_log: bool,
    /// The order of the free variables, where it is printed.
    pub columns: Option<Vec<String>>,
    /// What satisfies the formula at each time point; a closed one by the empty tuple.
    pub verdicts: BTreeMap<usize, BTreeSet<Tuple>>,
}

/// One time point of a log: its stamp, and what holds.
pub(crate) type TimePoint = (u64, Vec<(String, Tuple)>);

/// All runs of one folder.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let name = folder.file_name().unwrap().to_string_lossy().trim_end_matches(".t").to_owned();
    let text = std::fs::read_to_string(folder.join("run.t")).unwrap();
    let mut formulas: BTreeMap<String, String> = BTreeMap::new();
    let mut out: Vec<Case> = Vec::new();
    let mut is_output = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("  $ ") {
            is_output = false;
            if let Some((formula, file)) = command.strip_prefix("echo '").and_then(|rest| rest.rsplit_once("' > ")) {
                formulas.insert(file.trim().to_owned(), formula.to_owned());
            } else if command.starts_with("monpoly") {
                let words: Vec<&str> = command.split_whitespace().collect();
                let after = |word: &str| words.iter().position(|w| *w == word).and_then(|n| words.get(n + 1)).copied();
                let Some(file) = after("-formula") else { continue };
                let formula = formulas.get(file).cloned().or_else(|| std::fs::read_to_string(folder.join(file)).ok());
                let log = after("-log").filter(|_| !words.contains(&"-check") && !words.contains(&"-load"));
                is_output = true;
                out.push(Case {
                    name: format!("{name} {}", out.len() + 1),
                    formula: formula.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "),
                    signature: after("-sig")
                        .and_then(|s| std::fs::read_to_string(folder.join(s)).ok())
                        .unwrap_or_default(),
                    log: log.and_then(|log| std::fs::read_to_string(folder.join(log)).ok()).unwrap_or_default(),
                    has_log: log.is_some(),
                    is_refused: false,
                    columns: None,
                    verdicts: BTreeMap::new(),
                });
            }
        } else if let Some(case) = out.last_mut().filter(|_| is_output) {
            output(case, line.trim());
        }
    }
    out
}

fn output(case: &mut Case, line: &str) {
    if line.contains("Fatal error") || line.contains("NOT monitorable") || line.contains("not monitorable") {
        case.is_refused = true;
    } else if let Some(columns) = line.strip_prefix("The sequence of free variables is: (") {
        let columns = columns.trim_end_matches(')').split(',').map(str::trim);
        case.columns = Some(columns.filter(|c| !c.is_empty()).map(str::to_owned).collect());
    } else if let Some((_, rest)) = line.strip_prefix('@').and_then(|rest| rest.split_once("(time point ")) {
        let Some((point, said)) = rest.split_once("):") else { return };
        let point = point.parse().unwrap();
        let said = said.trim();
        let rows = match said {
            "true" => BTreeSet::from([Vec::new()]),
            "false" => BTreeSet::new(),
            rows => tuples(rows),
        };
        case.verdicts.insert(point, rows);
    }
}

/// The innermost parentheses that hold something.
fn tuples(text: &str) -> BTreeSet<Tuple> {
    let mut out = BTreeSet::new();
    let mut at = None;
    let mut is_quoted = false;
    for (n, c) in text.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            '(' if !is_quoted => at = Some(n + 1),
            ')' if !is_quoted => {
                if let Some(from) = at.take().filter(|from| *from < n) {
                    out.insert(values(&text[from..n]));
                }
            }
            _ => {}
        }
    }
    out
}

fn values(text: &str) -> Tuple {
    let value = |text: &str| match text.trim().parse() {
        Ok(n) => Constant::Int(n),
        Err(_) => Constant::Text(text.trim().trim_matches('"').to_owned()),
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(value).collect()
}

/// The time points of a log.
pub(crate) fn log(text: &str) -> Vec<TimePoint> {
    let text: String =
        text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let mut out = Vec::new();
    for part in text.split('@').skip(1) {
        let part = part.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (stamp, mut rest) = part.split_at(end);
        let mut facts = Vec::new();
        loop {
            rest = rest.trim_start();
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let (name, mut after) = rest.split_at(end);
            if name.is_empty() {
                break;
            }
            let mut is_bare = true;
            loop {
                after = after.trim_start();
                let Some(inner) = after.strip_prefix('(') else { break };
                let (tuple, further) = inner.split_once(')').unwrap();
                facts.push((name.to_owned(), values(tuple)));
                (is_bare, after) = (false, further);
            }
            if is_bare {
                facts.push((name.to_owned(), Vec::new()));
            }
            rest = after;
        }
        out.push((stamp.parse().unwrap(), facts));
    }
    out
}

/// Reads a formula; what it has that facts can't say is the error.
pub(crate) fn formula(text: &str) -> Result<Formula, String> {
    let mut reader = Reader { tokens: tokens(text)?, at: 0, lets: Vec::new() };
    let formula = reader.formula()?;
    if reader.at < reader.tokens.len() {
        return Err(format!("`{}`", reader.tokens[reader.at]));
    }
    Ok(formula)
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut out: Vec<String> = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        let from = at;
        at += 1;
        if c.is_whitespace() {
            continue;
        }
        if c == '"' {
            while at < chars.len() && chars[at] != '"' {
                at += 1;
            }
            at += 1;
        } else if c.is_alphanumeric() || c == '_' {
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            if at < chars.len() && chars[at] == '.' && c.is_ascii_digit() {
                return Err("numbers with a fraction".to_owned());
            }
        } else if (c == '<' && at < chars.len() && matches!(chars[at], '=' | '-' | '|'))
            || (c == '>' && at < chars.len() && chars[at] == '=')
        {
            at += 1;
        }
        out.push(chars[from..at.min(chars.len())].iter().collect());
    }
    Ok(out)
}

struct Reader {
    tokens: Vec<String>,
    at: usize,
    /// Definitions by `LET`: name, parameters, formula.
    lets: Vec<(String, Vec<String>, Formula)>,
}

impl Reader {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn ahead(&self, n: usize) -> &str {
        self.tokens.get(self.at + n).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned().unwrap_or_default()
    }

    fn is(&mut self, word: &str) -> bool {
        let is = self.peek() == word;
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.is(word) { Ok(()) } else { Err(format!("`{}` where `{word}` was expected", self.peek())) }
    }

    fn formula(&mut self) -> Result<Formula, String> {
        if self.is("LET") {
            let name = self.next();
            self.expect("(")?;
            let mut params = Vec::new();
            while !self.is(")") {
                params.push(self.next());
                self.is(",");
            }
            self.expect("=")?;
            let definition = self.formula()?;
            self.expect("IN")?;
            self.lets.push((name, params, definition));
            let inner = self.formula();
            self.lets.pop();
            return inner;
        }
        if self.ahead(1) == "<-" {
            let result = self.next();
            self.next();
            let op = self.next();
            let of = self.next();
            let mut by = Vec::new();
            if self.is(";") {
                by.push(self.next());
                while self.is(",") {
                    by.push(self.next());
                }
            }
            let inner = Box::new(self.formula()?);
            return Ok(Formula::Aggregate { result, op, of, by, inner });
        }
        let left = self.implies()?;
        match self.peek() {
            "SINCE" => {
                self.next();
                let interval = self.interval()?;
                Ok(Formula::Since(Box::new(left), interval, Box::new(self.formula()?)))
            }
            "UNTIL" => Err("`UNTIL`: looks ahead".to_owned()),
            "TRIGGER" | "RELEASE" => Err("`TRIGGER`".to_owned()),
            _ => Ok(left),
        }
    }

    fn implies(&mut self) -> Result<Formula, String> {
        let left = self.or()?;
        match self.peek() {
            "IMPLIES" => {
                self.next();
                let right = self.implies()?;
                Ok(Formula::Or(Box::new(Formula::Not(Box::new(left))), Box::new(right)))
            }
            "EQUIV" => Err("`EQUIV`".to_owned()),
            _ => Ok(left),
        }
    }

    fn or(&mut self) -> Result<Formula, String> {
        let mut left = self.and()?;
        while self.is("OR") {
            left = Formula::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Formula, String> {
        let mut left = self.unary()?;
        while self.is("AND") {
            left = Formula::And(Box::new(left), Box::new(self.unary()?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Formula, String> {
        let word = self.peek().to_owned();
        match word.as_str() {
            "NOT" => {
                self.next();
                Ok(Formula::Not(Box::new(self.unary()?)))
            }
            "EXISTS" | "FORALL" => {
                self.next();
                let mut vars = vec![self.next()];
                while self.is(",") {
                    vars.push(self.next());
                }
                self.expect(".")?;
                let inner = self.implies()?;
                let not = |f: Formula| Formula::Not(Box::new(f));
                Ok(match word.as_str() {
                    "EXISTS" => Formula::Exists(vars, Box::new(inner)),
                    _ => not(Formula::Exists(vars, Box::new(not(inner)))),
                })
            }
            "ONCE" | "PREVIOUS" | "PAST_ALWAYS" | "HISTORICALLY" => {
                self.next();
                let interval = self.interval()?;
                let inner = Box::new(self.unary()?);
                Ok(match word.as_str() {
                    "ONCE" => Formula::Once(interval, inner),
                    "PREVIOUS" => Formula::Prev(interval, inner),
                    _ => Formula::Not(Box::new(Formula::Once(interval, Box::new(Formula::Not(inner))))),
                })
            }
            "NEXT" | "EVENTUALLY" | "ALWAYS" | "SOMETIMES" => Err(format!("`{word}`: looks ahead")),
            "<|" | "|" | "|>" | "<" => Err("patterns of dynamic logic".to_owned()),
            "TRUE" => {
                self.next();
                Ok(Formula::True)
            }
            "FALSE" => {
                self.next();
                Ok(Formula::False)
            }
            "(" if !self.is_term() => {
                self.next();
                let inner = self.formula()?;
                self.expect(")")?;
                Ok(inner)
            }
            _ => self.atom(),
        }
    }

    /// Whether the parenthesis is one of a term: `(a + b) = c`.
    fn is_term(&self) -> bool {
        let mut depth = 0;
        for (n, token) in self.tokens.iter().enumerate().skip(self.at) {
            match token.as_str() {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let after = self.tokens.get(n + 1).map_or("", String::as_str);
                return matches!(after, "=" | "<" | "<=" | ">" | ">=" | "+" | "-" | "*" | "/");
            }
        }
        false
    }

    fn atom(&mut self) -> Result<Formula, String> {
        if self.ahead(1) == "(" && self.peek().starts_with(|c: char| c.is_alphabetic()) {
            let name = self.next();
            self.next();
            let mut terms = Vec::new();
            while !self.is(")") {
                terms.push(self.term()?);
                if !self.is(",") && self.peek() != ")" {
                    return Err(format!("`{}` within a predicate: arithmetic", self.peek()));
                }
            }
            if matches!(self.peek(), "=" | "<" | "<=" | ">" | ">=") {
                return Err(format!("`{name}(…)`: a function"));
            }
            return self.unfolded(name, terms);
        }
        let left = self.term()?;
        let op = self.next();
        let right = match op.as_str() {
            "=" | "<" | "<=" | ">" | ">=" => self.term()?,
            "SUBSTRING" | "MATCHES" => return Err(format!("`{op}`")),
            "+" | "-" | "*" | "/" | "MOD" => return Err("arithmetic".to_owned()),
            other => return Err(format!("`{other}`")),
        };
        if matches!(self.peek(), "+" | "-" | "*" | "/" | "MOD" | "(") {
            return Err("arithmetic or a function".to_owned());
        }
        Ok(match op.as_str() {
            ">" => Formula::Cmp("<", right, left),
            ">=" => Formula::Cmp("<=", right, left),
            "<" => Formula::Cmp("<", left, right),
            "<=" => Formula::Cmp("<=", left, right),
            _ => Formula::Cmp("=", left, right),
        })
    }

    fn term(&mut self) -> Result<Term, String> {
        let word = self.next();
        if word == "-" {
            return match self.next().parse::<i64>() {
                Ok(n) => Ok(Term::Const(Constant::Int(-n))),
                Err(_) => Err("arithmetic".to_owned()),
            };
        }
        if word == "(" {
            return Err("arithmetic".to_owned());
        }
        if let Ok(n) = word.parse() {
            return Ok(Term::Const(Constant::Int(n)));
        }
        if word.starts_with('"') {
            return Ok(Term::Const(Constant::Text(word.trim_matches('"').to_owned())));
        }
        if word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return Ok(Term::Var(word));
        }
        Err(format!("`{word}`"))
    }

    /// A predicate, or what `LET` says it is.
    fn unfolded(&self, name: String, terms: Vec<Term>) -> Result<Formula, String> {
        let Some((_, params, definition)) = self.lets.iter().rev().find(|(known, ..)| *known == name) else {
            if matches!(name.as_str(), "tp" | "ts" | "tpts") {
                return Err(format!("`{name}`: time as a value"));
            }
            return Ok(Formula::Pred(name, terms));
        };
        let by: BTreeMap<&String, &Term> = params.iter().zip(&terms).collect();
        substituted(definition, &by)
    }

    fn interval(&mut self) -> Result<Interval, String> {
        let is_open = match self.peek() {
            "[" => false,
            "(" if self.ahead(2) == "," => true,
            _ => return Ok((0, None)),
        };
        self.next();
        let min = self.bound()?.ok_or("an interval without its begin")?;
        self.expect(",")?;
        let max = self.bound()?;
        let end = self.next();
        let min = min + u64::from(is_open);
        let max = match (end.as_str(), max) {
            (")", Some(max)) => Some(max.checked_sub(1).ok_or("an empty interval")?),
            (_, max) => max,
        };
        if max.is_some_and(|max| max < min) {
            return Err("an empty interval".to_owned());
        }
        Ok((min, max))
    }

    fn bound(&mut self) -> Result<Option<u64>, String> {
        let word = self.next();
        if word == "*" {
            return Ok(None);
        }
        let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
        let unit = match &word[digits.len()..] {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            other => return Err(format!("the unit `{other}`")),
        };
        digits.parse::<u64>().map(|n| Some(n * unit)).map_err(|_| format!("the bound `{word}`"))
    }
}

fn substituted(formula: &Formula, by: &BTreeMap<&String, &Term>) -> Result<Formula, String> {
    let term = |term: &Term| match term {
        Term::Var(name) => by.get(name).map_or_else(|| term.clone(), |t| (*t).clone()),
        Term::Const(_) => term.clone(),
    };
    let boxed = |f: &Formula| substituted(f, by).map(Box::new);
    Ok(match formula {
        Formula::True | Formula::False => formula.clone(),
        Formula::Pred(name, terms) => Formula::Pred(name.clone(), terms.iter().map(term).collect()),
        Formula::Cmp(op, a, b) => Formula::Cmp(op, term(a), term(b)),
        Formula::Not(f) => Formula::Not(boxed(f)?),
        Formula::And(a, b) => Formula::And(boxed(a)?, boxed(b)?),
        Formula::Or(a, b) => Formula::Or(boxed(a)?, boxed(b)?),
        Formula::Once(i, f) => Formula::Once(*i, boxed(f)?),
        Formula::Prev(i, f) => Formula::Prev(*i, boxed(f)?),
        Formula::Since(a, i, b) => Formula::Since(boxed(a)?, *i, boxed(b)?),
        Formula::Exists(..) | Formula::Aggregate { .. } => return Err("`LET` of a formula that binds".to_owned()),
    })
}

/// The free variables, in MonPoly's order.
pub(crate) fn free(formula: &Formula) -> Vec<String> {
    fn terms(terms: &[&Term], out: &mut Vec<String>) {
        for term in terms {
            if let Term::Var(name) = term
                && !out.contains(name)
            {
                out.push(name.clone());
            }
        }
    }
    let mut out = Vec::new();
    match formula {
        Formula::True | Formula::False => {}
        Formula::Pred(_, args) => terms(&args.iter().collect::<Vec<_>>(), &mut out),
        Formula::Cmp(_, a, b) => terms(&[a, b], &mut out),
        Formula::Not(f) | Formula::Once(_, f) | Formula::Prev(_, f) => out = free(f),
        Formula::And(a, b) | Formula::Or(a, b) | Formula::Since(b, _, a) => {
            out = free(a);
            let more: Vec<String> = free(b).into_iter().filter(|name| !out.contains(name)).collect();
            out.extend(more);
        }
        Formula::Exists(vars, f) => out = free(f).into_iter().filter(|name| !vars.contains(name)).collect(),
        Formula::Aggregate { result, by, .. } => {
            out.push(result.clone());
            out.extend(by.iter().cloned());
        }
    }
    out
}

/// The types of each predicate's arguments, as the signature writes them.
pub(crate) fn signature(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::new();
    for part in text.split(')') {
        let Some((name, args)) = part.split_once('(') else { continue };
        let of = |arg: &str| arg.rsplit(':').next().unwrap_or_default().trim().to_owned();
        let types = args.split(',').map(of).filter(|ty| !ty.is_empty()).collect();
        out.insert(name.trim().to_owned(), types);
    }
    out
}
