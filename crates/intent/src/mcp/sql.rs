//! What a statement of SQL does, by its first words and the tables after them. What is not plain is opaque, and of the verb
//! that asks the most.

use flyball_kernel::{Action, ActionError, Resource, ResourceKind, Surface};

/// Characters of a statement that an action carries.
const STATEMENT_CHARS_MAX: usize = 1024;
/// Bytes that are read; more is opaque.
const BYTES_MAX: usize = 64 * 1024;

/// Words that change something wherever they stand in a statement: in `WITH`, a function's body, or after `EXPLAIN ANALYZE`.
const CHANGES: &[(&str, &str)] = &[("insert", "data.insert"), ("update", "data.update"), ("delete", "data.delete")];

pub(super) fn actions(text: &str) -> Result<Vec<Action>, ActionError> {
    let Some(statements) = words(text) else { return Ok(vec![opaque(text)?]) };
    let mut out = Vec::new();
    for words in statements.iter().filter(|words| !words.is_empty()) {
        read(words, text, &mut out)?;
    }
    if out.is_empty() { Ok(vec![opaque(text)?]) } else { Ok(out) }
}

fn read(words: &[String], text: &str, out: &mut Vec<Action>) -> Result<(), ActionError> {
    let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
    let is_update_lock = |at: usize| at > 0 && word(at - 1) == "for";
    let changes: Vec<(usize, &str)> = words
        .iter()
        .enumerate()
        .filter(|(at, _)| !is_update_lock(*at))
        .filter_map(|(at, word)| CHANGES.iter().find(|(name, _)| name == word).map(|(_, verb)| (at, *verb)))
        .collect();
    match word(0) {
        "select" | "with" | "values" | "table" | "show" | "explain" | "insert" | "update" | "delete" => {}
        "begin" | "start" | "commit" | "end" | "rollback" | "savepoint" | "release" => return Ok(()),
        "create" | "alter" | "drop" | "truncate" | "grant" | "revoke" | "comment" | "reindex" => {
            out.push(ddl(words, text)?);
            return Ok(());
        }
        "copy" => {
            let to = words.iter().position(|w| w == "to").map(|at| word(at + 1));
            let action = Action::new("data.copy", table(word(1))?, Surface::Mcp)?;
            out.push(if to.is_some() { action.with("to", "file")? } else { action.with("from", "file")? });
            return Ok(());
        }
        _ => {
            out.push(opaque(text)?);
            return Ok(());
        }
    }
    for (at, verb) in &changes {
        let name = if matches!(word(at + 1), "into" | "from" | "only") { word(at + 2) } else { word(at + 1) };
        let action = Action::new(verb, table(name)?, Surface::Mcp)?;
        out.push(match *verb {
            "data.insert" => action,
            _ => action.with("filtered", words.iter().skip(*at).any(|w| w == "where"))?,
        });
    }
    // `SELECT … INTO t` makes a table.
    if let (true, Some(at)) = (changes.is_empty(), words.iter().position(|w| w == "into")) {
        out.push(Action::new("data.ddl", table(word(at + 1))?, Surface::Mcp)?.with("statement", clip(text))?);
    }
    let mut is_read = false;
    for (at, word_here) in words.iter().enumerate() {
        let is_source = matches!(word_here.as_str(), "from" | "join") && !(at > 0 && word(at - 1) == "delete");
        if is_source && word(at + 1) != "(" && !word(at + 1).is_empty() {
            out.push(Action::new("data.select", table(word(at + 1))?, Surface::Mcp)?);
            is_read = true;
        }
    }
    if changes.is_empty() && !is_read {
        // Of no table: a function, which may do anything that it was written for.
        let is_call = words.iter().any(|w| w == "(");
        let action = Action::new("data.select", table("")?, Surface::Mcp)?;
        out.push(if is_call { action.with("opaque", true)? } else { action });
    }
    Ok(())
}

fn ddl(words: &[String], text: &str) -> Result<Action, ActionError> {
    let kinds = ["table", "view", "index", "schema", "database", "sequence", "function", "role", "type", "on"];
    let skip = ["if", "not", "exists", "only", "concurrently"];
    let at = words.iter().position(|w| kinds.contains(&w.as_str())).map_or(1, |at| at + 1);
    let name = words.iter().skip(at).find(|w| !skip.contains(&w.as_str())).map(String::as_str).unwrap_or_default();
    Action::new("data.ddl", table(name)?, Surface::Mcp)?.with("statement", clip(text))
}

fn opaque(text: &str) -> Result<Action, ActionError> {
    Action::new("data.ddl", table("")?, Surface::Mcp)?.with("statement", clip(text))?.with("opaque", true)
}

fn table(name: &str) -> Result<Resource, ActionError> {
    let parts: Vec<&str> = name.split('.').collect();
    let (database, schema, name) = match parts.as_slice() {
        [database, schema, name] => (*database, *schema, *name),
        [schema, name] => ("", *schema, *name),
        _ => ("", "", name),
    };
    Resource::new(ResourceKind::Table).with("database", database)?.with("schema", schema)?.with("name", name)
}

fn clip(text: &str) -> String {
    text.chars().take(STATEMENT_CHARS_MAX).collect()
}

/// Each statement's words: lower case where they are not quoted, names with their dots, brackets apart, without comments and the
/// text of strings. `None` where a quote, comment or bracket has no end, or the text is too long.
fn words(text: &str) -> Option<Vec<Vec<String>>> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let mut out = vec![Vec::new()];
    let mut word = String::new();
    let mut left = text.chars().peekable();
    fn end(word: &mut String, out: &mut [Vec<String>]) {
        if let (false, Some(last)) = (word.is_empty(), out.last_mut()) {
            last.push(std::mem::take(word));
        }
    }
    while let Some(c) = left.next() {
        match c {
            '-' if left.peek() == Some(&'-') => {
                end(&mut word, &mut out);
                while left.next_if(|c| *c != '\n').is_some() {}
            }
            '/' if left.peek() == Some(&'*') => {
                end(&mut word, &mut out);
                left.next();
                // PostgreSQL's comments nest.
                let mut depth = 1_usize;
                let mut last = ' ';
                while depth > 0 {
                    let c = left.next()?;
                    match (last, c) {
                        ('*', '/') => (depth, last) = (depth - 1, ' '),
                        ('/', '*') => (depth, last) = (depth + 1, ' '),
                        _ => last = c,
                    }
                }
            }
            '\'' => {
                // What a backslash in a string means depends on settings; a dollar quote's tag is read by nobody here.
                let is_escaping = word.eq_ignore_ascii_case("e");
                end(&mut word, &mut out);
                loop {
                    match left.next()? {
                        '\\' if is_escaping => {
                            left.next()?;
                        }
                        '\\' => return None,
                        '\'' if left.peek() == Some(&'\'') => {
                            left.next();
                        }
                        '\'' => break,
                        _ => {}
                    }
                }
                if let Some(last) = out.last_mut() {
                    last.push("'".to_owned());
                }
            }
            '$' => return None,
            '"' => loop {
                match left.next()? {
                    '"' if left.peek() == Some(&'"') => {
                        left.next();
                        word.push('"');
                    }
                    '"' => break,
                    c => word.push(c),
                }
            },
            ';' => {
                end(&mut word, &mut out);
                out.push(Vec::new());
            }
            '(' | ')' | ',' => {
                end(&mut word, &mut out);
                if let Some(last) = out.last_mut() {
                    last.push(c.to_string());
                }
            }
            c if c.is_whitespace() => end(&mut word, &mut out),
            c => word.extend(c.to_lowercase()),
        }
    }
    end(&mut word, &mut out);
    Some(out)
}
