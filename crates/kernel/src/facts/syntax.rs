//! The text of facts and of example actions, to a tree with places. Grammar: CHARTER.md, "Facts".

use super::words::{Token, tokens};
use crate::action::Value;
use crate::charter::table::duration_ns;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What went wrong at which bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub code: &'static str,
    pub span: Range<usize>,
    pub message: String,
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// When in an action's life something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Asked for, whatever was ruled.
    Attempt,
    /// Allowed and dispatched.
    Did,
    /// Its outcome is known.
    Result,
}

/// How long ago: `min_ns..=max_ns`, `None` without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub min_ns: u64,
    pub max_ns: Option<u64>,
}

impl Window {
    pub const ALWAYS: Window = Window { min_ns: 0, max_ns: None };

    pub fn holds(&self, age_ns: u64) -> bool {
        age_ns >= self.min_ns && self.max_ns.is_none_or(|max| age_ns <= max)
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Cmp {
    pub fn holds<T: Ord>(self, left: T, right: T) -> bool {
        match self {
            Cmp::Eq => left == right,
            Cmp::Ne => left != right,
            Cmp::Lt => left < right,
            Cmp::Le => left <= right,
            Cmp::Gt => left > right,
            Cmp::Ge => left >= right,
        }
    }

    /// What holds when this doesn't.
    pub fn negated(self) -> Self {
        match self {
            Cmp::Eq => Cmp::Ne,
            Cmp::Ne => Cmp::Eq,
            Cmp::Lt => Cmp::Ge,
            Cmp::Le => Cmp::Gt,
            Cmp::Gt => Cmp::Le,
            Cmp::Ge => Cmp::Lt,
        }
    }
}

/// What an attribute is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Literal(Value),
    /// `$name` (kept with its `$`) or a variable that joins atoms.
    Var(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MatchOp {
    Compare(Cmp),
    Like,
    Has,
}

/// `attr op operand` within an atom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MatchAst {
    pub attr: String,
    pub op: MatchOp,
    pub operand: Operand,
    pub span: Range<usize>,
}

/// `phase VERB(matches)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AtomAst {
    pub phase: Phase,
    pub verb: String,
    pub verb_span: Range<usize>,
    pub matches: Vec<MatchAst>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
}

/// `count[w] of attr ATOM by attrs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberAst {
    pub aggregate: Aggregate,
    pub window: Window,
    pub of: Option<(String, Range<usize>)>,
    pub atom: AtomAst,
    pub by: Vec<(String, Range<usize>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    Atom(AtomAst),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Once(Window, Box<Tree>),
    Prev(Window, Box<Tree>),
    Historically(Window, Box<Tree>),
    Since(Box<Tree>, Window, Box<Tree>),
    Exists(Vec<String>, Box<Tree>),
    /// Another fact, by name.
    Name(String),
    Number(NumberAst),
    Compare(Box<Tree>, Cmp, i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub expr: Expr,
    pub span: Range<usize>,
}

impl Tree {
    /// The formulas right below; those that are only named are not.
    pub fn below(&self) -> Vec<&Tree> {
        match &self.expr {
            Expr::Atom(_) | Expr::Number(_) | Expr::Name(_) => Vec::new(),
            Expr::Not(inner)
            | Expr::Once(_, inner)
            | Expr::Prev(_, inner)
            | Expr::Historically(_, inner)
            | Expr::Exists(_, inner)
            | Expr::Compare(inner, ..) => vec![inner],
            Expr::And(sides) | Expr::Or(sides) => sides.iter().collect(),
            Expr::Since(left, _, right) => vec![left, right],
        }
    }
}

/// Deepest nesting of one fact: what people write stays far below.
const DEPTH_MAX: usize = 64;

/// Words that can't be names of facts or variables.
pub(crate) const KEYWORDS: &[&str] = &[
    "attempt",
    "did",
    "result",
    "not",
    "no",
    "and",
    "or",
    "once",
    "since",
    "prev",
    "historically",
    "exists",
    "count",
    "sum",
    "min",
    "max",
    "of",
    "by",
    "has",
    "like",
    "true",
    "false",
    "let",
];

/// Parses a fact.
pub(crate) fn fact(text: &str) -> Result<Tree, Fault> {
    let mut parser = Parser::new(text)?;
    let tree = parser.or(0)?;
    parser.end()?;
    Ok(tree)
}

/// An action as examples write it: `deploy.apply(name: 'api')`, with or without its phase before it.
pub(crate) struct Call {
    pub phase: Phase,
    pub verb: String,
    pub verb_span: Range<usize>,
    pub args: Vec<(String, Value, Range<usize>)>,
}

/// Parses an action of an example; without a phase it is an attempt.
pub(crate) fn call(text: &str) -> Result<Call, Fault> {
    let mut parser = Parser::new(text)?;
    let phase = parser.phase().unwrap_or(Phase::Attempt);
    let atom = parser.atom(phase)?;
    parser.end()?;
    let mut args = Vec::new();
    for found in atom.matches {
        match (found.op, found.operand) {
            (MatchOp::Compare(Cmp::Eq), Operand::Literal(value)) => args.push((found.attr, value, found.span)),
            _ => {
                let fault = Fault::new("FB0140", found.span, "an example gives values: `name: \"value\"`");
                return Err(fault.hint("no variables, patterns or comparisons here"));
            }
        }
    }
    Ok(Call { phase, verb: atom.verb, verb_span: atom.verb_span, args })
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, Fault> {
        Ok(Self { text, tokens: tokens(text)?, at: 0 })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn span(&self) -> Range<usize> {
        self.tokens.get(self.at).map_or(self.text.len()..self.text.len(), |(_, span)| span.clone())
    }

    /// The end of the token before.
    fn behind(&self) -> usize {
        self.at.checked_sub(1).and_then(|n| self.tokens.get(n)).map_or(0, |(_, span)| span.end)
    }

    fn word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.at += usize::from(is_it);
        is_it
    }

    fn punct(&mut self, punct: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Punct(p)) if *p == punct);
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, punct: &str) -> Result<(), Fault> {
        if self.punct(punct) { Ok(()) } else { Err(self.unexpected(&format!("`{punct}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let span = self.span();
        let got = match self.text.get(span.clone()) {
            Some("") | None => "the end".to_owned(),
            Some(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
        };
        Fault::new("FB0120", span, format!("expected {wanted}, found {got}"))
    }

    fn end(&self) -> Result<(), Fault> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("`and`, `or`, `since` or the end")) }
    }

    fn name(&mut self, what: &str) -> Result<(String, Range<usize>), Fault> {
        let span = self.span();
        match self.peek() {
            Some(Token::Word(word)) if !KEYWORDS.contains(&word.as_str()) || what == "an attribute" => {
                let word = word.clone();
                self.at += 1;
                Ok((word, span))
            }
            _ => Err(self.unexpected(what)),
        }
    }

    fn tree(&self, start: usize, expr: Expr) -> Tree {
        Tree { expr, span: start..self.behind() }
    }

    fn or(&mut self, depth: usize) -> Result<Tree, Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::new("FB0160", self.span(), format!("nested deeper than {DEPTH_MAX}")));
        }
        let start = self.span().start;
        let mut sides = vec![self.and(depth)?];
        while self.word("or") {
            sides.push(self.and(depth)?);
        }
        Ok(match sides.len() {
            1 => sides.remove(0),
            _ => self.tree(start, Expr::Or(sides)),
        })
    }

    fn and(&mut self, depth: usize) -> Result<Tree, Fault> {
        let start = self.span().start;
        let mut sides = vec![self.since(depth)?];
        while self.word("and") {
            sides.push(self.since(depth)?);
        }
        Ok(match sides.len() {
            1 => sides.remove(0),
            _ => self.tree(start, Expr::And(sides)),
        })
    }

    fn since(&mut self, depth: usize) -> Result<Tree, Fault> {
        let start = self.span().start;
        let mut left = self.unary(depth)?;
        let mut nested = depth;
        while self.word("since") {
            nested += 1;
            if nested > DEPTH_MAX {
                return Err(Fault::new("FB0160", self.span(), format!("nested deeper than {DEPTH_MAX}")));
            }
            let window = self.window()?;
            let right = self.unary(depth)?;
            left = self.tree(start, Expr::Since(Box::new(left), window, Box::new(right)));
        }
        Ok(left)
    }

    fn unary(&mut self, depth: usize) -> Result<Tree, Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::new("FB0160", self.span(), format!("nested deeper than {DEPTH_MAX}")));
        }
        let start = self.span().start;
        if self.word("not") || self.word("no") {
            let inner = Box::new(self.unary(depth + 1)?);
            return Ok(self.tree(start, Expr::Not(inner)));
        }
        for (word, make) in [
            ("once", Expr::Once as fn(Window, Box<Tree>) -> Expr),
            ("prev", Expr::Prev),
            ("historically", Expr::Historically),
        ] {
            if self.word(word) {
                let window = self.window()?;
                let inner = Box::new(self.unary(depth + 1)?);
                return Ok(self.tree(start, make(window, inner)));
            }
        }
        if self.word("exists") {
            let mut vars = vec![self.name("a variable")?.0];
            while self.punct(",") {
                vars.push(self.name("a variable")?.0);
            }
            self.expect(".")?;
            let inner = Box::new(self.or(depth + 1)?);
            return Ok(self.tree(start, Expr::Exists(vars, inner)));
        }
        self.primary(depth)
    }

    fn primary(&mut self, depth: usize) -> Result<Tree, Fault> {
        let start = self.span().start;
        if self.punct("(") {
            let mut inner = self.or(depth + 1)?;
            self.expect(")")?;
            inner.span = start..self.behind();
            return Ok(inner);
        }
        if let Some(phase) = self.phase() {
            let atom = self.atom(phase)?;
            return Ok(self.tree(start, Expr::Atom(atom)));
        }
        let value = match self.number()? {
            Some(number) => self.tree(start, Expr::Number(number)),
            None => {
                let hint = "such as `did fs.write(…)`, `once …`, `count[10m] attempt …` or another fact's name";
                let (name, _) = self.name("a fact").map_err(|fault| fault.hint(hint))?;
                self.tree(start, Expr::Name(name))
            }
        };
        let Some(cmp) = self.cmp() else { return Ok(value) };
        let limit = self.integer()?;
        Ok(self.tree(start, Expr::Compare(Box::new(value), cmp, limit)))
    }

    fn phase(&mut self) -> Option<Phase> {
        [("attempt", Phase::Attempt), ("did", Phase::Did), ("result", Phase::Result)]
            .into_iter()
            .find_map(|(word, phase)| self.word(word).then_some(phase))
    }

    fn number(&mut self) -> Result<Option<NumberAst>, Fault> {
        let aggregates =
            [("count", Aggregate::Count), ("sum", Aggregate::Sum), ("min", Aggregate::Min), ("max", Aggregate::Max)];
        let Some(aggregate) = aggregates.into_iter().find_map(|(word, a)| self.word(word).then_some(a)) else {
            return Ok(None);
        };
        let window = self.window()?;
        let of = if self.word("of") { Some(self.name("an attribute")?) } else { None };
        let phase = self.phase().ok_or_else(|| self.unexpected("`attempt`, `did` or `result`"))?;
        let atom = self.atom(phase)?;
        let mut by = Vec::new();
        if self.word("by") {
            by.push(self.name("an attribute")?);
            while self.punct(",") {
                by.push(self.name("an attribute")?);
            }
        }
        Ok(Some(NumberAst { aggregate, window, of, atom, by }))
    }

    fn atom(&mut self, phase: Phase) -> Result<AtomAst, Fault> {
        let (verb, verb_span) = self.name("a verb such as `fs.write`")?;
        let mut matches = Vec::new();
        if self.punct("(") && !self.punct(")") {
            loop {
                matches.push(self.one_match()?);
                if self.punct(")") {
                    break;
                }
                if !self.punct(",") {
                    return Err(self.unexpected("`,` or `)`"));
                }
            }
        }
        Ok(AtomAst { phase, verb, verb_span, matches })
    }

    fn one_match(&mut self) -> Result<MatchAst, Fault> {
        let (attr, span) = self.name("an attribute")?;
        let op = if self.punct(":") {
            MatchOp::Compare(Cmp::Eq)
        } else if self.word("like") {
            MatchOp::Like
        } else if self.word("has") {
            MatchOp::Has
        } else if let Some(cmp) = self.cmp() {
            MatchOp::Compare(cmp)
        } else {
            return Err(self.unexpected("`:`, `==`, `!=`, `like` or `has`"));
        };
        let operand = self.operand()?;
        Ok(MatchAst { attr, op, operand, span: span.start..self.behind() })
    }

    fn operand(&mut self) -> Result<Operand, Fault> {
        let span = self.span();
        let operand = match self.peek().cloned() {
            Some(Token::Text(text)) => Operand::Literal(Value::Str(text)),
            Some(Token::Number(_)) => return Ok(Operand::Literal(Value::Long(self.integer()?))),
            Some(Token::Dollar(name)) => Operand::Var(name),
            Some(Token::Word(word)) if word == "true" || word == "false" => {
                Operand::Literal(Value::Bool(word == "true"))
            }
            Some(Token::Word(word)) if !KEYWORDS.contains(&word.as_str()) && !word.contains(['.', '-', '*']) => {
                Operand::Var(word)
            }
            Some(Token::Word(_)) => {
                let said = self.text.get(span.clone()).unwrap_or_default();
                let fault = Fault::new("FB0120", span, format!("`{said}` is neither a value nor a variable"));
                return Err(fault.hint("strings stand in quotes"));
            }
            Some(Token::Punct("[")) => return self.list(),
            _ => return Err(self.unexpected("a value, `$attribute` or a variable")),
        };
        self.at += 1;
        Ok(operand)
    }

    fn list(&mut self) -> Result<Operand, Fault> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.punct("]") {
            match self.peek().cloned() {
                Some(Token::Text(text)) => items.push(text),
                _ => return Err(self.unexpected("a string or `]`")),
            }
            self.at += 1;
            if !self.punct(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(Operand::Literal(Value::Strs(items)))
    }

    fn cmp(&mut self) -> Option<Cmp> {
        [("==", Cmp::Eq), ("!=", Cmp::Ne), ("<=", Cmp::Le), (">=", Cmp::Ge), ("<", Cmp::Lt), (">", Cmp::Gt)]
            .into_iter()
            .find_map(|(punct, cmp)| self.punct(punct).then_some(cmp))
    }

    fn integer(&mut self) -> Result<i64, Fault> {
        let span = self.span();
        let Some(Token::Number(digits)) = self.peek() else { return Err(self.unexpected("a whole number")) };
        let value = digits.replace('_', "").parse::<i64>();
        self.at += 1;
        value.map_err(|_| Fault::new("FB0120", span, "this is no whole number within 64 bits"))
    }

    /// `[d]`, `[d,d]`, `[d,*)` or nothing.
    fn window(&mut self) -> Result<Window, Fault> {
        let start = self.span().start;
        if !self.punct("[") {
            return Ok(Window::ALWAYS);
        }
        let first = self.duration()?;
        if self.punct("]") {
            return Ok(Window { min_ns: 0, max_ns: Some(first) });
        }
        self.expect(",")?;
        if self.punct("*") {
            if !self.punct(")") {
                self.expect("]")?;
            }
            return Ok(Window { min_ns: first, max_ns: None });
        }
        let second = self.duration()?;
        self.expect("]")?;
        if second < first {
            let fault = Fault::new("FB0120", start..self.behind(), "the window ends before it begins");
            return Err(fault.hint("write the shorter time first: `[1m, 10m]`"));
        }
        Ok(Window { min_ns: first, max_ns: Some(second) })
    }

    fn duration(&mut self) -> Result<u64, Fault> {
        let span = self.span();
        let Some(Token::Number(text)) = self.peek() else { return Err(self.unexpected("a duration such as `10m`")) };
        let value = duration_ns(text);
        self.at += 1;
        value.ok_or_else(|| {
            Fault::new("FB0120", span, "this is no duration")
                .hint("a whole number and a unit: `500ms`, `10s`, `5m`, `24h`")
        })
    }
}
