//! A call of an MCP server's tool: the same actions that the same effect is by any other way.
//!
//! What well-known servers' tools do is a table in data, `mcp/tools.json`: steps for each tool, whose fields are JSON pointers
//! into the call's arguments. A charter may say more of its own servers ([`McpTool`]). A tool of which nobody has said what it
//! does is `tool.call` with its server, name and input.
//!
//! Every path is made absolute. Where `..` comes after a name that may be a link, it is read both ways: by its letters, and with the
//! `..` left in, for the caller, who resolves links.

mod sql;
mod table;
#[cfg(test)]
mod tests;

use crate::address;
use crate::reading::{absolute, places};
use crate::{Content, ContentWanted, Exec, GitContext, ToolCallError, command_actions, content_actions, reads_content};
use flyball_kernel::{Action, AttrType, Resource, ResourceKind, Surface, Value, Verb};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use table::Step;

pub use table::is_known_server;
pub(crate) use table::{Text, is_known_tool};

/// A call that a client is about to make.
#[derive(Clone, Copy)]
pub struct McpCall<'a> {
    /// The server, by the name that the user gave it.
    pub server: &'a str,
    /// What it is known as in the table; often the same.
    pub kind: &'a str,
    /// The tool.
    pub tool: &'a str,
    /// Its arguments; null when there are none.
    pub input: &'a Json,
    /// Where the server works, absolute.
    pub cwd: &'a str,
    /// The user's home, absolute; empty when there is none.
    pub home: &'a str,
    /// Further folders that a relative path may begin in: the server's roots.
    pub roots: &'a [String],
    /// The repository around a folder.
    pub git: &'a dyn Fn(&str) -> Option<GitContext>,
    /// What a file holds now, by its absolute path; `None` where it is not there or can't be read.
    pub file: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// What the charter says of its own servers' tools.
    pub own: &'a McpOwn,
}

/// What a charter says that a tool does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpTool {
    /// The server's name.
    pub server: String,
    /// The tool's.
    pub tool: String,
    /// The verb.
    pub verb: String,
    /// Each field of the resource or attribute of the verb: a JSON pointer into the arguments, or a text with `{/pointer}` in it.
    pub fields: BTreeMap<String, String>,
}

/// What a charter says of servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpOwn {
    /// What their tools do.
    pub tools: Vec<McpTool>,
    /// By server: the labels of all that it gives back.
    pub labels: BTreeMap<String, Vec<String>>,
    /// By server: bytes of an answer that may reach the agent, at most.
    pub answer_bytes_max: BTreeMap<String, u64>,
}

impl McpOwn {
    /// Labels what a call of that server is.
    ///
    /// # Errors
    /// [`ToolCallError`] never, as the vocabulary has it.
    pub fn label(&self, server: &str, actions: &mut [Action]) -> Result<(), ToolCallError> {
        if let Some(labels) = self.labels.get(server).filter(|labels| !labels.is_empty()) {
            for action in actions {
                action.set("labels", Value::Strs(labels.clone()))?;
            }
        }
        Ok(())
    }
}

/// Characters of a tool's input that the action carries.
pub const INPUT_CHARS_MAX: usize = 4096;
/// Folders that a relative path may begin in, at most.
const ROOTS_MAX: usize = 16;
/// Actions that a call can imply, at most: more is a call that can't be read.
const ACTIONS_MAX: usize = 4096;

/// What the call implies; never empty. All on surface `mcp`.
///
/// # Errors
/// [`ToolCallError`] when it can't be told, which a gateway refuses.
pub fn mcp_call_actions(call: &McpCall<'_>) -> Result<Vec<Action>, ToolCallError> {
    let own = call.own.tools.iter().find(|own| own.server == call.server && own.tool == call.tool);
    let mut actions = Vec::new();
    match (own, table::steps(call.kind, call.tool)) {
        (Some(own), _) => actions.push(call.action(&own.verb, &own.fields)?),
        (None, Some(steps)) => {
            for step in steps {
                call.step(step, &mut actions)?;
            }
        }
        (None, None) => {}
    }
    if actions.is_empty() {
        actions.push(mcp_other_action(call.server, call.tool, call.input)?);
    }
    if actions.len() > ACTIONS_MAX {
        return Err(call.lacks("arguments", "less than 4,096 things at once"));
    }
    for action in &mut actions {
        action.surface = Surface::Mcp;
    }
    call.own.label(call.server, &mut actions)?;
    Ok(actions)
}

/// What reading a resource is: of a file, an address, or something that only the server knows.
///
/// # Errors
/// [`ToolCallError`] when it can't be told.
pub fn mcp_read_actions(call: &McpCall<'_>, uri: &str) -> Result<Vec<Action>, ToolCallError> {
    // Servers' readers of addresses take off what stands around one, and what is a line's end within it.
    let uri = uri.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let scheme = uri.split(':').next().unwrap_or_default();
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    if uri.chars().any(char::is_control) {
        return Err(call.lacks("uri", "an address on one line"));
    }
    let mut actions = if is("file") {
        let path = file_of_uri(uri).filter(|path| !path.contains('\0') && !uri.contains(['?', '#', '\\']));
        let path = path.ok_or_else(|| call.lacks("uri", "a plain `file:///PATH` address"))?;
        places(None, &path).iter().map(|path| file("fs.read", path)).collect::<Result<Vec<_>, _>>()?
    } else if is("http") || is("https") {
        if !address::is_plain(uri) {
            return Err(call.lacks("uri", address::WANTED));
        }
        call.command(&["curl".to_owned(), uri.to_owned()]).into_iter().skip(1).collect()
    } else {
        Vec::new()
    };
    if actions.is_empty() {
        actions.push(mcp_other_action(call.server, "resources/read", &serde_json::json!({ "uri": uri }))?);
    }
    actions.iter_mut().for_each(|action| action.surface = Surface::Mcp);
    call.own.label(call.server, &mut actions)?;
    Ok(actions)
}

/// `tool.call` with what it is given.
///
/// # Errors
/// [`ToolCallError`] never, as the vocabulary has it.
pub fn mcp_other_action(server: &str, tool: &str, input: &Json) -> Result<Action, ToolCallError> {
    let resource = Resource::new(ResourceKind::Tool).with("server", server)?.with("name", tool)?;
    let input = serde_json::to_string(input).unwrap_or_default();
    let input: String = input.chars().take(INPUT_CHARS_MAX).collect();
    Ok(Action::new("tool.call", resource, Surface::Mcp)?.with("input", input)?)
}

/// The path in a `file:` URI of this machine.
#[must_use]
pub fn file_of_uri(uri: &str) -> Option<String> {
    let rest = uri.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("file:")).and_then(|_| uri.get(5..))?;
    // `file:/PATH` is the same as `file:///PATH`.
    let path = rest.strip_prefix("//").map_or(rest, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::new();
    let mut left = path.bytes();
    while let Some(byte) = left.next() {
        let digit = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
        match byte {
            b'%' => bytes.push(u8::try_from(digit(left.next())? * 16 + digit(left.next())?).ok()?),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

impl McpCall<'_> {
    fn step(&self, step: &Step, to: &mut Vec<Action>) -> Result<(), ToolCallError> {
        match step {
            Step::Read { path } => {
                for path in self.paths(path)? {
                    to.push(file("fs.read", &path)?);
                }
            }
            Step::Write { path, content } => {
                let content = self.text(content)?;
                for path in self.paths(path)? {
                    self.written(&path, Some(content.clone().into_bytes()), to)?;
                }
            }
            Step::Edit { path, edits } => {
                let edits = self.at(edits).and_then(Json::as_array).cloned().unwrap_or_default();
                for path in self.paths(path)? {
                    let new = (self.file)(&path).and_then(|old| edited(old, &edits));
                    self.written(&path, new, to)?;
                }
            }
            Step::Mkdir { path } => {
                for path in self.paths(path)? {
                    to.push(file("fs.write", &path)?.with("kind", "directory")?.with("create", true)?);
                }
            }
            Step::Delete { path, recursive } => {
                for path in self.paths(path)? {
                    let action = file("fs.delete", &path)?;
                    to.push(if *recursive { action.with("recursive", true)? } else { action });
                }
            }
            Step::Move { path, to: target } => {
                let targets = self.paths(target)?;
                for path in self.paths(path)? {
                    for target in &targets {
                        to.push(file("fs.move", &path)?.with("to", target.as_str())?);
                        // A move onto a name is a change of it as well.
                        to.push(file("fs.write", target)?);
                    }
                }
            }
            Step::Command { argv } => to.extend(self.command(&self.words(argv)?)),
            Step::Implied { argv } => {
                let words = self.words(argv)?;
                // INVARIANT: nothing beneath sees where the server goes, so that what it is given has one meaning or is refused.
                if !words.iter().skip(1).all(|word| address::is_plain(word)) {
                    return Err(self.lacks("url", address::WANTED));
                }
                to.extend(self.command(&words).into_iter().skip(1));
            }
            Step::Sql { statement } => {
                // SQLite's names are the same in any case, quoted or not.
                let folds = self.kind.to_ascii_lowercase().contains("sqlite");
                to.extend(sql::actions(&self.text(statement)?, folds)?);
            }
            Step::Content { files, path, content } => self.contents(files.as_deref(), path, content, to)?,
            Step::Text { text } => {
                if let Some(text) = self.optional(text) {
                    self.read_content("message.txt", text.as_bytes(), to);
                }
            }
            Step::Action { verb, fields } => to.push(self.action(verb, fields)?),
        }
        Ok(())
    }

    fn command(&self, argv: &[String]) -> Vec<Action> {
        let program = argv.first().map(String::as_str).unwrap_or_default();
        // Where the command says `-C DIR`, the repository is that folder's.
        let folder = match argv {
            [git, c, folder, ..] if git == "git" && c == "-C" => absolute(Some(self.cwd), folder),
            _ => None,
        };
        let git = (self.git)(folder.as_deref().unwrap_or(self.cwd));
        command_actions(&Exec { program, argv, cwd: self.cwd, home: self.home, script: None, git: git.as_ref() })
    }

    fn written(&self, path: &str, new: Option<Vec<u8>>, to: &mut Vec<Action>) -> Result<(), ToolCallError> {
        let old = (self.file)(path);
        to.push(file("fs.write", path)?.with("create", old.is_none())?);
        match new {
            Some(new) => self.read_content(path, &new, to),
            None if reads_content(path, ContentWanted::ALL) => {
                to.push(file("fs.write", path)?.with("content", true)?.with("opaque", true)?);
            }
            None => {}
        }
        Ok(())
    }

    fn read_content(&self, path: &str, new: &[u8], to: &mut Vec<Action>) {
        let old = (self.file)(path);
        let content = Content { path, old: old.as_deref(), new: Some(new), wanted: ContentWanted::ALL };
        to.extend(content_actions(&content));
    }

    /// What files say that do not become files here: judged by their content as if they did.
    fn contents(
        &self,
        files: Option<&str>,
        path: &str,
        content: &str,
        to: &mut Vec<Action>,
    ) -> Result<(), ToolCallError> {
        let whole = [self.input.clone()];
        let files = match files {
            Some(files) => {
                self.at(files).and_then(Json::as_array).ok_or_else(|| self.lacks(files, "a list"))?.as_slice()
            }
            None => whole.as_slice(),
        };
        for one in files {
            let text = |at: &str| one.pointer(at).and_then(Json::as_str);
            let name = text(path).ok_or_else(|| self.lacks(path, "a string"))?;
            let new = text(content).ok_or_else(|| self.lacks(content, "a string"))?;
            let name = absolute(Some(self.cwd), name.trim_start_matches('/')).unwrap_or_default();
            self.read_content(&name, new.as_bytes(), to);
        }
        Ok(())
    }

    fn action(&self, verb: &str, fields: &BTreeMap<String, String>) -> Result<Action, ToolCallError> {
        let known = Verb::named(verb).ok_or_else(|| self.lacks(verb, "a verb of the vocabulary"))?;
        let mut resource = Resource::new(known.spec().resource);
        let mut attrs: Vec<(&str, Value)> = Vec::new();
        let mut is_opaque = false;
        for (name, template) in fields {
            let of_resource = known.spec().resource.fields().iter().find(|spec| spec.name == name);
            let spec = of_resource.or_else(|| known.spec().attrs.iter().find(|spec| spec.name == name));
            let spec = spec.ok_or_else(|| self.lacks(name, "a field or attribute of the verb"))?;
            let text = Text::new(template);
            let Some(found) = text.value(self.input) else {
                if text.is_optional() {
                    continue;
                }
                is_opaque |= of_resource.is_some();
                continue;
            };
            let mut value = typed(spec.ty, &found).ok_or_else(|| self.lacks(template, "of the field's type"))?;
            let is_path = known.spec().resource == ResourceKind::File && matches!(spec.name, "path" | "to");
            if let (true, Value::Str(path)) = (is_path, &value) {
                let paths = self.places(path);
                // Which of several it is, nobody can say; nor where `..` leads, past what may be a link.
                is_opaque |= paths.len() != 1;
                value = paths.into_iter().next().unwrap_or_default().into();
            }
            if of_resource.is_some() {
                resource = resource.with(spec.name, value)?;
            } else {
                attrs.push((spec.name, value));
            }
        }
        if verb == "git.push" {
            let name = resource.str("name");
            let short = name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
            // Without a branch it is the default one, whose name is not in the call.
            let is_said = attrs.iter().any(|(name, _)| *name == "default_branch");
            if short.is_empty() && !is_opaque && !is_said {
                attrs.push(("default_branch", true.into()));
            }
            resource = resource.with("name", short)?;
        }
        let mut action = Action::new(verb, resource, Surface::Mcp)?;
        for (name, value) in attrs {
            action.set(name, value)?;
        }
        if is_opaque {
            action.set("opaque", true.into())?;
        }
        Ok(action)
    }

    fn words(&self, argv: &[String]) -> Result<Vec<String>, ToolCallError> {
        let mut out = Vec::new();
        for word in argv {
            let text = Text::new(word);
            match text.value(self.input) {
                Some(Json::Array(list)) => {
                    for one in &list {
                        out.push(one.as_str().ok_or_else(|| self.lacks(word, "a list of strings"))?.to_owned());
                    }
                }
                Some(Json::String(one)) => out.push(one),
                Some(Json::Number(n)) => out.push(n.to_string()),
                None | Some(Json::Null) if text.is_optional() => {}
                _ => return Err(self.lacks(word, "a string")),
            }
        }
        Ok(out)
    }

    fn at(&self, pointer: &str) -> Option<&Json> {
        self.input.pointer(pointer)
    }

    fn text(&self, pointer: &str) -> Result<String, ToolCallError> {
        self.optional(pointer).ok_or_else(|| self.lacks(pointer, "a string"))
    }

    fn optional(&self, pointer: &str) -> Option<String> {
        self.at(pointer.trim_end_matches('?')).and_then(Json::as_str).map(str::to_owned)
    }

    /// All that the paths there may mean, absolute.
    fn paths(&self, pointer: &str) -> Result<Vec<String>, ToolCallError> {
        let given: Vec<&str> = match self.at(pointer) {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        let expected = self.at(pointer).and_then(Json::as_array).map_or(1, Vec::len);
        let found: Vec<String> = given.iter().flat_map(|path| self.places(path)).collect();
        if given.len() != expected || found.is_empty() || given.iter().any(|path| path.contains('\0')) {
            return Err(self.lacks(pointer, "a path"));
        }
        Ok(found)
    }

    /// Where a path may lead: a relative one begins in the server's folder or in one of its roots.
    fn places(&self, path: &str) -> Vec<String> {
        let in_home = path.strip_prefix("~/").or_else(|| (path == "~").then_some("."));
        if let Some(rest) = in_home {
            return places(Some(self.home), rest);
        }
        if path.starts_with('/') {
            return places(None, path);
        }
        let bases = std::iter::once(self.cwd).chain(self.roots.iter().map(String::as_str)).take(ROOTS_MAX);
        let mut out: Vec<String> = bases.flat_map(|base| places(Some(base), path)).collect();
        out.dedup();
        out
    }

    fn lacks(&self, field: &str, want: &'static str) -> ToolCallError {
        ToolCallError::Field {
            tool: self.tool.chars().take(80).collect(),
            field: field.trim_start_matches('/').to_owned(),
            want,
        }
    }
}

fn file(verb: &str, path: &str) -> Result<Action, ToolCallError> {
    Ok(Action::new(verb, Resource::file(path), Surface::Mcp)?)
}

/// A file with its edits made; `None` where one does not fit by its letters, so that only the server knows what it does.
fn edited(old: Vec<u8>, edits: &[Json]) -> Option<Vec<u8>> {
    let mut text = String::from_utf8(old).ok()?.replace("\r\n", "\n");
    for edit in edits {
        let part = |name: &str| edit.get(name).and_then(Json::as_str);
        let (was, is) = (part("oldText").filter(|was| !was.is_empty())?, part("newText")?);
        if !text.contains(was) || text.len() > crate::CONTENT_BYTES_MAX {
            return None;
        }
        text = text.replacen(was, is, 1);
    }
    Some(text.into_bytes())
}

pub(crate) fn typed(ty: AttrType, value: &Json) -> Option<Value> {
    match (ty, value) {
        (AttrType::Bool, Json::Bool(b)) => Some(Value::Bool(*b)),
        (AttrType::Long, Json::Number(n)) => n.as_i64().map(Value::Long),
        (AttrType::Str, Json::String(s)) => Some(s.as_str().into()),
        (AttrType::Str, Json::Number(n)) => Some(n.to_string().into()),
        (AttrType::Strs, Json::String(s)) => Some(Value::Strs(vec![s.clone()])),
        (AttrType::Strs, Json::Array(list)) => {
            list.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().map(Value::Strs)
        }
        _ => None,
    }
}
