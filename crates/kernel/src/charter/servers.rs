//! `[[mcp.tool]]`: what a tool of a server of one's own does, so that it meets the rules of that. `[mcp.server.NAME]`: what holds for
//! all that a server gives back.

use super::report::{At, Report, clip, nearest};
use super::table::{Keys, size_bytes};
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

/// What holds for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// Labels of all that it gives back: whoever has called it has read that.
    pub labels: BTreeSet<String>,
    /// Bytes of an answer to the agent, at most.
    pub result_bytes_max: Option<u64>,
}

/// `[mcp]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// `[[mcp.tool]]`.
    pub tools: Vec<ServerTool>,
    /// `[mcp.server.NAME]`.
    pub settings: BTreeMap<String, ServerSettings>,
}

impl Servers {
    /// Tells of labels that nobody could ever take away, for there are none of those names.
    pub(crate) fn check_labels(report: &mut Report, named: &[At<String>], known: &BTreeSet<String>) {
        for label in named.iter().filter(|label| !known.contains(&label.value)) {
            let hint = nearest(&label.value, known.iter().map(String::as_str));
            report.error("FB0105", &label.place, format!("no label `{}`", clip(&label.value)), hint);
        }
    }
}

/// Reads it; gives each label that a server's row names too.
pub(crate) fn section(report: &mut Report, root: &mut Keys) -> (Servers, Vec<At<String>>) {
    let Some(mut outer) = root.table(report, "mcp") else { return Default::default() };
    let rows = outer.tables(report, "tool");
    let (mut settings, mut named) = (BTreeMap::new(), Vec::new());
    for (name, mut keys) in outer.named_tables(report, "server") {
        if settings.len() == ROWS_MAX {
            report.error("FB0103", &name.place, format!("more than {ROWS_MAX} servers"), "leave out some");
            break;
        }
        let labels = keys.strs(report, "labels");
        let most = keys.str(report, "result_max");
        keys.finish(report);
        let result_bytes_max = most.as_ref().and_then(|text| size_bytes(&text.value).filter(|bytes| *bytes > 0));
        if let (Some(text), None) = (&most, result_bytes_max) {
            report.error("FB0103", &text.place, format!("`{}` is no size", clip(&text.value)), "such as `256KiB`");
        }
        let of = ServerSettings { labels: labels.iter().map(|label| label.value.clone()).collect(), result_bytes_max };
        named.extend(labels);
        settings.insert(name.value, of);
    }
    outer.finish(report);
    (Servers { tools: tool_rows(report, rows), settings }, named)
}

fn tool_rows(report: &mut Report, rows: Vec<Keys<'_>>) -> Vec<ServerTool> {
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

pub(super) fn verb(report: &mut Report, is: &At<String>) -> Option<Verb> {
    let found = Verb::named(&is.value);
    if found.is_none() {
        let hint = nearest(&is.value, verbs().map(|verb| verb.name()));
        report.error("FB0103", &is.place, format!("no verb is named `{}`", clip(&is.value)), hint);
    }
    found
}

/// What `with` says of each field of the verb's resource, and of its attributes.
pub(super) fn fields(
    report: &mut Report,
    verb: Verb,
    row: &super::report::Place,
    with: Option<Keys>,
) -> BTreeMap<String, String> {
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
            let hint =
                "a JSON pointer into the arguments or the body, `/path`, or a text with some in it, `item/{/id}`";
            report.error("FB0103", &name.place, format!("`{}` is to be a text", clip(&name.value)), hint);
        }
    }
    // INVARIANT: a rule that names what it is about finds that named.
    for field in spec.resource.fields().iter().filter(|field| !out.contains_key(field.name)) {
        let message = format!("nothing says which `{}` it is about", field.name);
        report.error("FB0104", row, message, format!("add `{} = \"/…\"` to `with`", field.name));
    }
    out
}
