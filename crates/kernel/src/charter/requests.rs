//! `[[http.read]]`: which headers, and which fields of a JSON body, rules are to see of which requests; and what such a request does,
//! where it is known.

use super::report::{At, Place, Report, clip};
use super::servers;
use super::settings::glob_matcher;
use super::table::Keys;
use crate::vocabulary::{ResourceKind, Verb};
use globset::GlobMatcher;
use std::collections::BTreeMap;

/// Most rows, most names in one of them, and longest name in bytes.
const ROWS_MAX: usize = 64;
const NAMES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 256;

/// A row.
#[derive(Clone, Debug)]
pub struct RequestReading {
    /// `host` or `*.domain`.
    host: String,
    path: Option<(String, GlobMatcher)>,
    headers: Vec<String>,
    json: Vec<String>,
    does: Option<RequestEffect>,
}

/// What a request does beside being one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEffect {
    /// As which verb.
    pub verb: Verb,
    /// Fields of the resource and attributes of the verb: a JSON pointer into the body, or a text with `{/pointer}`s.
    pub fields: BTreeMap<String, String>,
}

impl RequestReading {
    /// Whether it is about requests to that host, in lower case, and that path.
    #[must_use]
    pub fn is_about(&self, host: &str, path: &str) -> bool {
        let is_host = match self.host.strip_prefix('*') {
            Some(end) => host.ends_with(end),
            None => host == self.host,
        };
        is_host && self.path.as_ref().is_none_or(|(_, pattern)| pattern.is_match(path))
    }

    /// Names of headers, in lower case.
    #[must_use]
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Fields of the body: JSON pointers (RFC 6901), in which `*` is any key or item.
    #[must_use]
    pub fn json(&self) -> &[String] {
        &self.json
    }

    /// What a request that changes something does.
    #[must_use]
    pub fn does(&self) -> Option<&RequestEffect> {
        self.does.as_ref()
    }
}

impl PartialEq for RequestReading {
    fn eq(&self, other: &Self) -> bool {
        let path = |of: &Self| of.path.as_ref().map(|(text, _)| text.clone());
        self.host == other.host
            && path(self) == path(other)
            && self.headers == other.headers
            && self.json == other.json
            && self.does == other.does
    }
}

impl Eq for RequestReading {}

/// Whether that is a host, as `host` or `*.domain`; tells where it is none.
pub(super) fn is_host(report: &mut Report, said: &At<String>) -> bool {
    let name = said.value.strip_prefix("*.").unwrap_or(&said.value);
    let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:".contains(&b));
    let is_host = !name.is_empty() && !name.starts_with('.') && is_name;
    if !is_host {
        let hint = "a name in lower case such as `bank.example`, or `*.bank.example` for all below it";
        report.error("FB0103", &said.place, format!("`{}` is no host", clip(&said.value)), hint);
    }
    is_host
}

pub(super) fn rows(report: &mut Report, section: &mut Keys) -> Vec<RequestReading> {
    let mut out = Vec::new();
    for (n, mut keys) in section.tables(report, "read").into_iter().enumerate() {
        let place = keys.place.clone();
        if n == ROWS_MAX {
            report.error("FB0103", &place, format!("more than {ROWS_MAX} rows of `[[http.read]]`"), "join some");
            break;
        }
        let host = keys.required_str(report, "host");
        let path = keys.str(report, "path");
        let headers =
            names(report, &mut keys, "headers", is_header, "a header's name in lower case, such as `x-tenant`");
        let json =
            names(report, &mut keys, "json", is_pointer, "a JSON pointer such as `/user/role` or `/items/*/price`");
        let is = keys.str(report, "is");
        let with = keys.table(report, "with");
        keys.finish(report);
        if let (None, Some(with)) = (&is, &with) {
            report.error("FB0104", &with.place, "nothing says what the request does", "add `is = \"…\"`");
        }
        let does = is.as_ref().and_then(|is| effect(report, is, &place, with));
        let json = joined(report, &place, json, does.as_ref());
        let path = path.and_then(|path| match glob_matcher(&path.value, true) {
            Ok(matcher) => Some((path.value, matcher)),
            Err(why) => {
                report.error("FB0103", &path.place, format!("`{}` is no pattern: {why}", clip(&path.value)), ());
                None
            }
        });
        if headers.is_empty() && json.is_empty() && is.is_none() {
            report.error(
                "FB0104",
                &place,
                "it names nothing to read",
                "add `headers = […]`, `json = […]` or `is = \"…\"`",
            );
        }
        let Some(host) = host.filter(|host| is_host(report, host)) else { continue };
        out.push(RequestReading { host: host.value, path, headers, json, does });
    }
    out
}

fn effect(report: &mut Report, is: &At<String>, place: &Place, with: Option<Keys>) -> Option<RequestEffect> {
    let verb = servers::verb(report, is)?;
    // What these are about has a form of its own, which a field of a body does not bring with it.
    if matches!(
        verb.spec().resource,
        ResourceKind::File
            | ResourceKind::Command
            | ResourceKind::Endpoint
            | ResourceKind::Request
            | ResourceKind::Ref
            | ResourceKind::Model
    ) {
        let message = format!("`{}` can't be said of a request", verb.name());
        report.error("FB0103", &is.place, message, "such as `control.actuate`, `deploy.scale` or `data.update`");
        return None;
    }
    let fields = servers::fields(report, verb, place, with);
    for pointer in fields.values().flat_map(|text| pointers(text)).filter(|pointer| !is_one_place(pointer)) {
        let hint = "a JSON pointer to one place, such as `/value`";
        report.error("FB0103", place, format!("`{}` is no pointer here", clip(pointer)), hint);
    }
    Some(RequestEffect { verb, fields })
}

/// What rules see, and what is looked at to tell what the request does.
fn joined(report: &mut Report, place: &Place, mut json: Vec<String>, does: Option<&RequestEffect>) -> Vec<String> {
    for pointer in does.iter().flat_map(|does| does.fields.values()).flat_map(|text| pointers(text)) {
        if !json.iter().any(|known| known == pointer) {
            json.push(pointer.to_owned());
        }
    }
    if json.len() > 2 * NAMES_MAX {
        report.error("FB0103", place, format!("more than {NAMES_MAX} names"), "leave out some");
    }
    json
}

/// A whole text that is one, or those in its braces.
fn pointers(text: &str) -> Vec<&str> {
    if text.starts_with('/') {
        return vec![text];
    }
    // One that is not closed is none.
    text.split('{').skip(1).map(|part| part.split_once('}').map_or("{", |(pointer, _)| pointer)).collect()
}

fn is_one_place(pointer: &str) -> bool {
    is_pointer(pointer) && !pointer.contains(['|', '?', '{', '}']) && pointer.split('/').all(|step| step != "*")
}

fn names(
    report: &mut Report,
    keys: &mut Keys,
    key: &'static str,
    is_one: fn(&str) -> bool,
    hint: &'static str,
) -> Vec<String> {
    let mut out = Vec::new();
    for said in keys.strs(report, key) {
        if out.len() == NAMES_MAX {
            report.error("FB0103", &said.place, format!("more than {NAMES_MAX} names"), "leave out some");
            break;
        }
        if said.value.len() > NAME_BYTES_MAX || !is_one(&said.value) {
            report.error("FB0103", &said.place, format!("`{}` is no name here", clip(&said.value)), hint);
        } else if !out.contains(&said.value) {
            out.push(said.value);
        }
    }
    out
}

/// Without `_`: some servers take it for `-`, and so both are read under the name with `-`.
fn is_header(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_pointer(name: &str) -> bool {
    let escapes = name.match_indices('~').all(|(at, _)| matches!(name.as_bytes().get(at + 1), Some(b'0' | b'1')));
    name.starts_with('/') && name.len() > 1 && escapes
}
