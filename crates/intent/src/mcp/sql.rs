//! What a statement of SQL does, by its first words and the tables after them.
//!
//! A statement is read only where it is plain: identifiers of ASCII letters, tables by name, no call of a function that is not known
//! to compute only. All else is opaque, and of the verb that asks the most. So nothing here has to know all of a dialect, and what two
//! dialects read in different ways need not be decided.

mod words;

use flyball_kernel::{Action, ActionError, Resource, ResourceKind, Surface};
use words::Token;

/// Characters of a statement that an action carries.
const STATEMENT_CHARS_MAX: usize = 1024;
/// Brackets within brackets, at most.
const DEPTH_MAX: usize = 64;

/// Words that stand before a bracket without being a function's name.
const BEFORE_BRACKETS: &[&str] = &[
    "in",
    "exists",
    "values",
    "any",
    "some",
    "all",
    "and",
    "or",
    "not",
    "on",
    "as",
    "over",
    "using",
    "when",
    "then",
    "case",
    "else",
    "where",
    "select",
    "distinct",
    "filter",
    "by",
    "union",
    "intersect",
    "except",
    "explain",
    "having",
    "materialized",
    "conflict",
    "is",
    "like",
    "between",
    "set",
    "returning",
    "limit",
    "offset",
];
/// Functions that compute something of what they are given.
const HARMLESS: &[&str] = &[
    "count", "sum", "min", "max", "avg", "coalesce", "nullif", "lower", "upper", "length", "abs", "round", "now",
    "date", "cast",
];
/// Words that end the list of tables after `from`.
const AFTER_SOURCES: &[&str] = &[
    "where",
    "group",
    "order",
    "having",
    "limit",
    "offset",
    "union",
    "intersect",
    "except",
    "window",
    "fetch",
    "for",
    "set",
    "returning",
    "values",
    "select",
];
/// Words that no table's name is without quotes, so that one in its place is not understood.
const NO_NAMES: &[&str] = &[
    "select", "from", "where", "join", "inner", "left", "right", "full", "cross", "natural", "outer", "lateral",
    "only", "table", "into", "values", "set", "using", "on", "as", "with", "union", "unnest", "rows", "not", "if",
    "exists", "or", "and", "case", "default", "null",
];

pub(super) fn actions(text: &str, folds: bool) -> Result<Vec<Action>, ActionError> {
    let Some(statements) = words::statements(text, folds) else { return Ok(vec![opaque(text)?]) };
    let mut out = Vec::new();
    for tokens in statements.iter().filter(|tokens| !tokens.is_empty()) {
        let mut found = Found::default();
        match (Reader { tokens, text }).read(&mut found) {
            Some(()) => out.extend(found.actions(text)?),
            None => out.push(opaque(text)?),
        }
    }
    if out.is_empty() { Ok(vec![opaque(text)?]) } else { Ok(out) }
}

/// What a statement does.
#[derive(Default)]
struct Found {
    /// Verb, table, and whether only some of its rows.
    does: Vec<(&'static str, Vec<String>, Option<bool>)>,
    /// It calls what may do anything that it was written for.
    is_call: bool,
    /// It is about the transaction only.
    is_nothing: bool,
    copies_to: Option<bool>,
}

impl Found {
    fn actions(self, text: &str) -> Result<Vec<Action>, ActionError> {
        let mut out = Vec::new();
        for (verb, name, filtered) in &self.does {
            let action = Action::new(verb, table(name)?, Surface::Mcp)?;
            out.push(match (*verb, filtered, self.copies_to) {
                ("data.ddl", ..) => action.with("statement", clip(text))?,
                ("data.copy", _, Some(true)) => action.with("to", "file")?,
                ("data.copy", ..) => action.with("from", "file")?,
                (_, Some(filtered), _) => action.with("filtered", *filtered)?,
                _ => action,
            });
        }
        if self.is_call {
            out.push(Action::new("data.select", table(&[])?, Surface::Mcp)?.with("opaque", true)?);
        } else if out.is_empty() && !self.is_nothing {
            out.push(Action::new("data.select", table(&[])?, Surface::Mcp)?);
        }
        Ok(out)
    }
}

struct Reader<'a> {
    tokens: &'a [Token],
    text: &'a str,
}

// `None` everywhere: not understood.
impl Reader<'_> {
    fn read(&self, found: &mut Found) -> Option<()> {
        match self.word(0) {
            "select" | "with" | "values" | "table" | "insert" | "update" | "delete" | "replace" => self.rows(found),
            "explain" => {
                let others = ["create", "execute", "declare", "refresh", "copy", "call", "do", "prepare", "merge"];
                let is_other = (1..self.tokens.len()).any(|at| others.contains(&self.word(at)));
                if is_other { None } else { self.rows(found) }
            }
            "show" | "begin" | "start" | "commit" | "end" | "rollback" | "savepoint" | "release" => {
                found.is_nothing = self.word(0) != "show";
                self.tokens.iter().all(|token| matches!(token, Token::Word(_) | Token::Sign(','))).then_some(())
            }
            "drop" | "truncate" => self.each(found),
            "create" | "alter" | "comment" | "reindex" => self.made(found),
            "grant" | "revoke" if !self.tokens.contains(&Token::Sign(',')) => self.made(found),
            "copy" => {
                let (name, mut at) = self.name(1)?;
                if self.is(at, '(') {
                    at += self.tokens.iter().skip(at).position(|token| *token == Token::Sign(')'))? + 1;
                }
                // A program is run, not a file made.
                let is_program = (at..self.tokens.len()).any(|at| self.word(at) == "program");
                found.copies_to = Some(match self.word(at) {
                    "to" if !is_program => true,
                    "from" if !is_program => false,
                    _ => return None,
                });
                found.does.push(("data.copy", name, None));
                Some(())
            }
            _ => None,
        }
    }

    /// Statements that read and change rows: every table in them, wherever it stands.
    fn rows(&self, found: &mut Found) -> Option<()> {
        // For each bracket that is open, whether a list of tables stands in it.
        let mut lists = vec![false];
        let (mut at, mut is_source) = (0, false);
        while at < self.tokens.len() {
            if is_source {
                at = self.source(at, found, &mut lists, &mut is_source)?;
                continue;
            }
            match self.tokens.get(at)? {
                Token::Sign('(') => {
                    found.is_call |= self.is_call(at);
                    lists.push(false);
                    if lists.len() > DEPTH_MAX {
                        return None;
                    }
                }
                Token::Sign(')') => drop(lists.pop().filter(|_| !lists.is_empty())?),
                Token::Sign(',') => is_source = *lists.last()?,
                Token::Word(word) => match word.as_str() {
                    "from"
                        if self.word_before(at, 1) == "distinct"
                            && ["is", "not"].contains(&self.word_before(at, 2)) => {}
                    "from" | "join" => {
                        *lists.last_mut()? = true;
                        is_source = true;
                    }
                    "table" => is_source = true,
                    // Columns of a join; in a `DELETE` it would be tables.
                    "using" if self.is(at + 1, '(') && self.deletes() => return None,
                    "using" if self.is(at + 1, '(') => {}
                    "using" => {
                        *lists.last_mut()? = true;
                        is_source = true;
                    }
                    "insert" | "replace" | "update" | "delete" if !self.is(at + 1, '(') => {
                        at = self.change(at, found, &mut lists)?;
                        continue;
                    }
                    "into" => {
                        // `SELECT … INTO t` makes a table.
                        let skip = ["temporary", "temp", "unlogged", "table"];
                        let begin = (at + 1..).find(|at| !skip.contains(&self.word(*at)))?;
                        let (name, after) = self.name(begin)?;
                        found.does.push(("data.ddl", name, None));
                        at = after;
                        continue;
                    }
                    after if AFTER_SOURCES.contains(&after) => *lists.last_mut()? = false,
                    _ => {}
                },
                _ => {}
            }
            at += 1;
        }
        (lists.len() == 1 && !is_source).then_some(())
    }

    /// A table that is read, or what stands in its place.
    fn source(&self, at: usize, found: &mut Found, lists: &mut Vec<bool>, is_source: &mut bool) -> Option<usize> {
        if matches!(self.word(at), "only" | "lateral") {
            return Some(at + 1);
        }
        if self.is(at, '(') {
            let is_query = matches!(self.word(at + 1), "select" | "with" | "values" | "table");
            *is_source = !is_query;
            lists.push(!is_query);
            return (lists.len() <= DEPTH_MAX).then_some(at + 1);
        }
        let (name, after) = self.name(at)?;
        *is_source = false;
        found.is_call |= self.is(after, '(');
        found.does.push(("data.select", name, None));
        Some(after)
    }

    /// A change of rows; gives where its table's name has ended.
    fn change(&self, at: usize, found: &mut Found, lists: &mut [bool]) -> Option<usize> {
        let word = self.word(at);
        match (word, self.word_before(at, 1)) {
            // `FOR UPDATE`, `FOR NO KEY UPDATE`: a lock.
            ("update", "for" | "key") => return Some(at + 1),
            // `ON CONFLICT … DO UPDATE`: of the table that the row was for.
            ("update", "do") => {
                let (_, name, _) = found.does.iter().rev().find(|(verb, ..)| *verb == "data.insert")?.clone();
                found.does.push(("data.update", name, Some(self.is_filtered(at))));
                return Some(at + 1);
            }
            _ => {}
        }
        let mut begin = at + 1;
        let is_or = self.word(begin) == "or";
        if is_or {
            begin += 2;
        }
        let wanted = match word {
            "insert" | "replace" => "into",
            "delete" => "from",
            _ => "",
        };
        if !wanted.is_empty() {
            begin = (self.word(begin) == wanted).then_some(begin + 1)?;
        }
        begin += usize::from(self.word(begin) == "only");
        let bracket = self.is(begin, '(');
        let (name, mut after) = self.name(begin + usize::from(bracket))?;
        if bracket {
            after = self.is(after, ')').then_some(after + 1)?;
        }
        let filtered = Some(self.is_filtered(at));
        match word {
            "update" => found.does.push(("data.update", name, filtered)),
            "delete" => found.does.push(("data.delete", name, filtered)),
            _ => {
                // A row in the way of the new one goes.
                if word == "replace" || self.word(at + 2) == "replace" && is_or {
                    found.does.push(("data.delete", name.clone(), Some(true)));
                }
                found.does.push(("data.insert", name, None));
                // Its columns.
                if self.is(after, '(') {
                    after += self.tokens.iter().skip(after).position(|token| *token == Token::Sign(')'))? + 1;
                }
            }
        }
        // Several tables at once, as some dialects have it.
        *lists.last_mut()? = false;
        (!self.is(after, ',')).then_some(after)
    }

    /// Whether a condition follows before the bracket around it ends.
    fn is_filtered(&self, at: usize) -> bool {
        let mut depth = 0_usize;
        for token in self.tokens.iter().skip(at) {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') if depth == 0 => return false,
                Token::Sign(')') => depth -= 1,
                Token::Word(word) if depth == 0 && word == "where" => return true,
                _ => {}
            }
        }
        false
    }

    /// `DROP TABLE a, b`, `TRUNCATE a, b`.
    fn each(&self, found: &mut Found) -> Option<()> {
        let skip = [
            "table",
            "view",
            "materialized",
            "index",
            "schema",
            "database",
            "sequence",
            "type",
            "role",
            "concurrently",
            "if",
            "exists",
            "only",
        ];
        let mut at = 1;
        loop {
            at = (at..).find(|at| !skip.contains(&self.word(*at)))?;
            let (name, after) = self.name(at)?;
            found.does.push(("data.ddl", name, None));
            at = after + 1;
            if !self.is(after, ',') {
                // `cascade`, or `ON t` of what belongs to a table: that is changed as well.
                return match self.word(after) {
                    "on" => {
                        let (name, _) = self.name(at)?;
                        found.does.push(("data.ddl", name, None));
                        Some(())
                    }
                    _ => self.tokens.iter().skip(after).all(|token| matches!(token, Token::Word(_))).then_some(()),
                };
            }
        }
    }

    /// What is made or changed itself, and what it reads meanwhile.
    fn made(&self, found: &mut Found) -> Option<()> {
        let kinds = ["table", "view", "index", "schema", "database", "sequence", "function", "role", "type", "on"];
        let belongs = ["index", "trigger", "policy", "rule"];
        let skip = ["if", "not", "exists", "only", "concurrently"];
        let is_of_table = (1..4).any(|at| belongs.contains(&self.word(at)));
        let kind = (0..self.tokens.len()).find(|at| match is_of_table && self.word(0) == "create" {
            true => self.word(*at) == "on",
            false => kinds.contains(&self.word(*at)),
        });
        let begin = (kind.map_or(1, |at| at + 1)..).find(|at| !skip.contains(&self.word(*at)))?;
        let (name, after) = self.name(begin)?;
        found.does.push(("data.ddl", name, None));
        let rest = Reader { tokens: self.tokens.get(after..)?, text: self.text };
        let reads =
            (0..rest.tokens.len()).find(|at| matches!(rest.word(*at), "select" | "with" | "values" | "execute"));
        match reads {
            // `CREATE TABLE t AS SELECT …` reads.
            Some(at) => Reader { tokens: rest.tokens.get(at..)?, text: self.text }.rows(found),
            None => Some(()),
        }
    }

    /// A table's name, and where it has ended.
    fn name(&self, at: usize) -> Option<(Vec<String>, usize)> {
        let (mut parts, mut at) = (Vec::new(), at);
        loop {
            parts.push(match self.tokens.get(at)? {
                Token::Word(word) if !NO_NAMES.contains(&word.as_str()) => word.clone(),
                Token::Quoted(name) => name.clone(),
                _ => return None,
            });
            at += 1;
            if !self.is(at, '.') || parts.len() > 3 {
                return (parts.len() <= 3).then_some((parts, at));
            }
            at += 1;
        }
    }

    fn is_call(&self, bracket: usize) -> bool {
        let Some(before) = bracket.checked_sub(1).and_then(|at| self.tokens.get(at)) else { return false };
        match before {
            Token::Word(_) if self.sign_before(bracket, 2) == Some('.') => true,
            Token::Word(word) => !BEFORE_BRACKETS.contains(&word.as_str()) && !HARMLESS.contains(&word.as_str()),
            Token::Quoted(_) => true,
            _ => false,
        }
    }

    fn deletes(&self) -> bool {
        (0..self.tokens.len()).any(|at| self.word(at) == "delete")
    }

    fn word(&self, at: usize) -> &str {
        match self.tokens.get(at) {
            Some(Token::Word(word)) => word,
            _ => "",
        }
    }

    fn word_before(&self, at: usize, count: usize) -> &str {
        at.checked_sub(count).map(|at| self.word(at)).unwrap_or_default()
    }

    fn sign_before(&self, at: usize, count: usize) -> Option<char> {
        match self.tokens.get(at.checked_sub(count)?)? {
            Token::Sign(sign) => Some(*sign),
            _ => None,
        }
    }

    fn is(&self, at: usize, sign: char) -> bool {
        self.tokens.get(at) == Some(&Token::Sign(sign))
    }
}

fn opaque(text: &str) -> Result<Action, ActionError> {
    Action::new("data.ddl", table(&[])?, Surface::Mcp)?.with("statement", clip(text))?.with("opaque", true)
}

fn table(name: &[String]) -> Result<Resource, ActionError> {
    let (database, schema, name) = match name {
        [database, schema, name] => (database.as_str(), schema.as_str(), name.as_str()),
        [schema, name] => ("", schema.as_str(), name.as_str()),
        [name] => ("", "", name.as_str()),
        _ => ("", "", ""),
    };
    Resource::new(ResourceKind::Table).with("database", database)?.with("schema", schema)?.with("name", name)
}

fn clip(text: &str) -> String {
    text.chars().take(STATEMENT_CHARS_MAX).collect()
}
