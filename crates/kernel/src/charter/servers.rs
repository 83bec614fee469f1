//! `[[mcp.tool]]`: what a tool of a server of one's own does, so that it meets the rules of that.

use super::report::{At, Report, clip, nearest};
use super::table::Keys;
use crate::vocabulary::{Verb, verbs};
use std::collections::{BTreeMap, BTreeSet};

/// Rows, and bytes of one field's text.
const ROWS_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 1024;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTool {
    /// The server's name, as the gateway has it.
    pub server: String,
    /// The tool's.
    pub tool: String,
    /// What a call of it is.
    pub verb: Verb,
    /// Fields of the resource and attributes of the verb: a JSON pointer into the call's arguments, or a text with `{/pointer}`s.
    pub fields: BTreeMap<String, String>,
}

pub(crate) fn section(report: &mut Report, root: &mut Keys) -> Vec<ServerTool> {
    let Some(mut outer) = root.table(report, "mcp") else { return Vec::new() };
    let rows = outer.tables(report, "tool");
    outer.finish(report);
    let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
    for (n, mut keys) in rows.into_iter().enumerate() {
        let place = keys.place.clone();
        if n == ROWS_MAX {
            report.error(
                "FB0103",
                &place,
                format!("more than {ROWS_MAX} tools"),
                "leave out those that no rule is about",
            );
            break;
        }
        let server = keys.required_str(report, "server");
        let tool = keys.required_str(report, "tool");
        let is = keys.required_str(report, "is");
        let with = keys.table(report, "with");
        keys.finish(report);
        let verb = is.as_ref().and_then(|is| verb(report, is));
        let fields = match (verb, with) {
            (Some(verb), with) => fields(report, verb, &place, with),
            _ => BTreeMap::new(),
        };
        let (Some(server), Some(tool), Some(verb)) = (server, tool, verb) else { continue };
        if !seen.insert((server.value.clone(), tool.value.clone())) {
            let message = format!("`{}` of `{}` stands twice", clip(&tool.value), clip(&server.value));
            report.error("FB0103", &place, message, "one row for each tool");
        }
        out.push(ServerTool { server: server.value, tool: tool.value, verb, fields });
    }
    out
}

fn verb(report: &mut Report, is: &At<String>) -> Option<Verb> {
    let found = Verb::named(&is.value);
    if found.is_none() {
        let hint = nearest(&is.value, verbs().map(|verb| verb.name()));
        report.error("FB0103", &is.place, format!("no verb is named `{}`", clip(&is.value)), hint);
    }
    found
}

fn fields(report: &mut Report, verb: Verb, row: &super::report::Place, with: Option<Keys>) -> BTreeMap<String, String> {
    let spec = verb.spec();
    let known: Vec<&str> = spec.resource.fields().iter().chain(spec.attrs).map(|field| field.name).collect();
    let mut out = BTreeMap::new();
    for (name, value) in with.iter().flat_map(|with| with.entries()) {
        let text = value.get_ref().as_str().filter(|text| !text.is_empty() && text.len() <= TEXT_BYTES_MAX);
        if !known.contains(&name.value.as_str()) {
            let message = format!("`{}` has no `{}`", verb.name(), clip(&name.value));
            report.error("FB0103", &name.place, message, nearest(&name.value, known.iter().copied()));
        } else if let Some(text) = text {
            out.insert(name.value, text.to_owned());
        } else {
            let hint = "a JSON pointer into the call's arguments, `/path`, or a text with some in it, `item/{/id}`";
            report.error("FB0103", &name.place, format!("`{}` is to be a text", clip(&name.value)), hint);
        }
    }
    // INVARIANT: a rule that names what it is about finds that named.
    for field in spec.resource.fields().iter().filter(|field| !out.contains_key(field.name)) {
        let message = format!("nothing says which `{}` a call is about", field.name);
        report.error("FB0104", row, message, format!("add `{} = \"/…\"` to `with`", field.name));
    }
    out
}
