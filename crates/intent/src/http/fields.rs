//! What a charter has read of a request beside method, host and path: named headers, and named fields of a JSON body.
//!
//! INVARIANT: what readers could take in two ways is not read, but an error, which denies: another charset, a field twice (also in
//! another case, as Go's reader takes it), a number beyond what a double holds, whatever is not JSON to the letter.

use super::{HttpRequest, implied, json};
use crate::mcp::{Text, typed};
use flyball_kernel::{Action, RequestEffect, RequestReading, Resource};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Values of one request, at most, and bytes of one of them: a longer one has none that a rule could name.
const VALUES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 1024;
/// Digits of a number that every reader keeps, and the largest power of ten beside them.
const DIGITS_MAX: usize = 15;
const POWER_MAX: i32 = 40;
/// Headers that let others act as the user: rules see that they are there.
const SECRET_HEADERS: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"];
const HIDDEN: &str = "(not recorded)";

/// What is to be read of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedFields {
    headers: BTreeSet<String>,
    json: BTreeSet<String>,
    does: Vec<RequestEffect>,
}

impl WantedFields {
    /// By all rows that are about it, in each way that servers read its path; `None` where none is.
    #[must_use]
    pub fn of(request: &HttpRequest<'_>, rows: &[RequestReading]) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        let paths = super::readings(request.path());
        let is_about = |row: &&RequestReading| paths.iter().any(|path| row.is_about(request.host, path));
        let mut out = None;
        for row in rows.iter().filter(is_about) {
            let out: &mut Self = out.get_or_insert_default();
            out.headers.extend(row.headers().iter().cloned());
            out.json.extend(row.json().iter().cloned());
            out.does.extend(row.does().cloned());
        }
        out
    }

    /// Whether the body is needed.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        !self.json.is_empty()
    }

    /// What a request that changes something does, as the charter says, by its body; of which [`WantedFields::json`] must have told.
    ///
    /// # Errors
    /// Why it can't be told.
    pub fn actions(&self, body: &[u8]) -> Result<Vec<Action>, String> {
        let body = if self.does.is_empty() { None } else { json::read(body) };
        self.does.iter().map(|does| action(does, body.as_ref())).collect()
    }

    /// `NAME=VALUE` of each named header that is there, and of each part of it between commas.
    ///
    /// # Errors
    /// Why they can't be told.
    pub fn headers<'h>(&self, headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Result<Vec<String>, String> {
        let (mut out, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (name, value) in headers {
            let name = name.to_ascii_lowercase().replace('_', "-");
            if name == "connection" {
                self.none_is_taken_out(value)?;
            }
            if !self.headers.contains(&name) {
                continue;
            }
            if !seen.insert(name.clone()) {
                return Err(format!("its header `{name}`, which rules read, stands twice"));
            }
            if SECRET_HEADERS.contains(&name.as_str()) {
                out.insert(format!("{name}={HIDDEN}"));
                continue;
            }
            let Ok(value) = std::str::from_utf8(value) else {
                return Err(format!("its header `{name}`, which rules read, is not UTF-8"));
            };
            for part in value.split(',').chain([value]) {
                add(&mut out, &name, part.trim())?;
            }
        }
        Ok(out.into_iter().collect())
    }

    /// Proxies behind take headers out that `Connection` names: rules would read what the server never sees.
    fn none_is_taken_out(&self, connection: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(connection).to_ascii_lowercase().replace('_', "-");
        match text.split(',').map(str::trim).find(|name| *name != "connection" && self.headers.contains(*name)) {
            Some(name) => Err(format!("its header `connection` names `{name}`, which rules read")),
            None => Ok(()),
        }
    }

    /// `POINTER=VALUE` of each named field that is there, pointers as the charter writes them: of a list each item's, of an object
    /// `(object)`. An empty body has none.
    ///
    /// # Errors
    /// Why it can't be told.
    pub fn json(&self, content_type: Option<&[u8]>, body: &[u8]) -> Result<Vec<String>, String> {
        if body.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(charset) = content_type.and_then(other_charset) {
            return Err(format!("its body, of which rules read fields, is in `{charset}`; send it in UTF-8"));
        }
        if json::read(body).is_none() {
            return Err("its body, of which rules read fields, is no JSON that has one reading".to_owned());
        }
        // INVARIANT: it is JSON, nested no deeper than its reader goes.
        let text = std::str::from_utf8(body).map_err(|_| "its body is not UTF-8".to_owned())?;
        let wanted = self.json.iter().map(|pointer| (pointer.as_str(), steps(pointer))).collect();
        let mut walk = Walk { rest: text, path: Vec::new(), wanted, spelled: BTreeMap::new(), out: BTreeSet::new() };
        walk.value()?;
        Ok(walk.out.into_iter().collect())
    }
}

/// INVARIANT: a field whose type is another is an error: what a server makes of it nobody can say. One of the resource's that is not
/// there makes it opaque.
fn action(does: &RequestEffect, body: Option<&Json>) -> Result<Action, String> {
    let spec = does.verb.spec();
    let fail = |e: flyball_kernel::ActionError| e.to_string();
    let (mut resource, mut attrs, mut is_known) = (Resource::new(spec.resource), Vec::new(), true);
    for (name, template) in &does.fields {
        let of_resource = spec.resource.fields().iter().find(|field| field.name == name);
        let Some(field) = of_resource.or_else(|| spec.attrs.iter().find(|field| field.name == name)) else { continue };
        let Some(found) = Text::new(template).value_by(|pointer| at(body?, pointer)) else {
            is_known &= of_resource.is_none();
            continue;
        };
        let value = typed(field.ty, &found).ok_or_else(|| {
            format!("its body's `{template}`, the `{name}` of a `{}`, has another type", does.verb.name())
        })?;
        match of_resource {
            Some(_) => resource = resource.with(field.name, value).map_err(fail)?,
            None => attrs.push((field.name, value)),
        }
    }
    let mut action = implied(does.verb.name(), resource, "charter", is_known).map_err(fail)?;
    attrs.into_iter().try_for_each(|(name, value)| action.set(name, value)).map_err(fail)?;
    Ok(action)
}

/// What stands at a pointer, keys in any case: [`Walk`] has seen that none is there twice.
fn at<'j>(body: &'j Json, pointer: &str) -> Option<&'j Json> {
    steps(pointer).iter().try_fold(body, |at, step| match at {
        Json::Object(members) => members.iter().find(|(key, _)| folded(key) == *step).map(|(_, value)| value),
        Json::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn add(out: &mut BTreeSet<String>, name: &str, value: &str) -> Result<(), String> {
    let is_long = value.len() > VALUE_BYTES_MAX;
    out.insert(format!("{name}={}", if is_long { "(too long)" } else { value }));
    if out.len() > VALUES_MAX {
        return Err(format!("it has more than {VALUES_MAX} values of what rules read"));
    }
    Ok(())
}

/// The charset that a `Content-Type` names, where it is another than UTF-8 or ASCII.
fn other_charset(content_type: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    // `charset*`, as RFC 2231 has it, some readers take too: it is another one whatever it says.
    let named = text.split(';').skip(1).filter_map(|part| part.trim().strip_prefix("charset"));
    let named = named.map(str::trim).filter(|rest| rest.starts_with(['=', '*']));
    let named = named.map(|rest| rest.strip_prefix('=').unwrap_or(rest));
    let mut named = named.map(|charset| charset.trim().trim_matches(['"', '\'']).to_owned());
    named.find(|charset| !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii"))
}

fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| folded(&step.replace("~1", "/").replace("~0", "~"))).collect()
}

/// As readers compare that don't heed the case: by capitals, in which `ſ` is an S, then by small letters, where the Kelvin sign is a k.
fn folded(key: &str) -> String {
    key.to_uppercase().to_lowercase()
}

/// Over a text that is known to be JSON. Numbers are taken as they are written.
struct Walk<'t> {
    rest: &'t str,
    /// Keys as they are folded; an item of a list is a step too.
    path: Vec<Step>,
    wanted: Vec<(&'t str, Vec<String>)>,
    /// How keys on the way to what is wanted are spelled.
    spelled: BTreeMap<Vec<String>, String>,
    out: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Step {
    folded: String,
    is_item: bool,
}

const ENDED: &str = "its body, of which rules read fields, ends too soon";

impl<'t> Walk<'t> {
    fn value(&mut self) -> Result<(), String> {
        match self.peek() {
            Some('{') => self.object(),
            Some('[') => self.list(),
            Some('"') => {
                let raw = self.string()?;
                if self.is_wanted() {
                    let text: String = serde_json::from_str(raw).map_err(|_| ENDED.to_owned())?;
                    self.see(&text)?;
                }
                Ok(())
            }
            Some(_) => {
                let end = self.rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(self.rest.len());
                let (raw, rest) = self.rest.split_at(end);
                self.rest = rest;
                if !self.is_wanted() {
                    return Ok(());
                }
                if matches!(raw, "true" | "false" | "null") {
                    return self.see(raw);
                }
                let plain = number(raw);
                self.see(
                    &plain
                        .ok_or_else(|| format!("a number that rules read, `{raw}`, is not the same to all readers"))?,
                )
            }
            None => Err(ENDED.to_owned()),
        }
    }

    fn object(&mut self) -> Result<(), String> {
        self.take();
        if self.is_wanted() {
            self.see("(object)")?;
        }
        while !self.ends('}')? {
            let raw = self.string()?;
            let key: String = serde_json::from_str(raw).map_err(|_| ENDED.to_owned())?;
            self.path.push(Step { folded: folded(&key), is_item: false });
            self.is_spelled_once(&key)?;
            self.skip();
            // The colon.
            self.take();
            self.value()?;
            self.path.pop();
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(), String> {
        self.take();
        let mut index = 0_usize;
        while !self.ends(']')? {
            self.path.push(Step { folded: index.to_string(), is_item: true });
            self.value()?;
            self.path.pop();
            index += 1;
        }
        if index == 0 && self.is_wanted() {
            self.see("(empty)")?;
        }
        Ok(())
    }

    /// Whether that sign ends it here; else takes a comma.
    fn ends(&mut self, sign: char) -> Result<bool, String> {
        match self.peek() {
            Some(next) if next == sign => {
                self.take();
                Ok(true)
            }
            Some(',') => {
                self.take();
                self.skip();
                Ok(false)
            }
            Some(_) => Ok(false),
            None => Err(ENDED.to_owned()),
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<&'t str, String> {
        self.skip();
        let mut is_escaped = false;
        for (at, byte) in self.rest.bytes().enumerate().skip(1) {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    let (raw, rest) = self.rest.split_at_checked(at + 1).ok_or(ENDED)?;
                    self.rest = rest;
                    return Ok(raw);
                }
                _ => {}
            }
        }
        Err(ENDED.to_owned())
    }

    fn peek(&mut self) -> Option<char> {
        self.skip();
        self.rest.chars().next()
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
    }

    fn take(&mut self) {
        let mut rest = self.rest.chars();
        rest.next();
        self.rest = rest.as_str();
    }

    fn is_wanted(&self) -> bool {
        self.wanted.iter().any(|(_, steps)| matches(&self.path, steps))
    }

    fn see(&mut self, value: &str) -> Result<(), String> {
        for (pointer, steps) in &self.wanted {
            if matches(&self.path, steps) {
                add(&mut self.out, pointer, value)?;
            }
        }
        Ok(())
    }

    /// A key on the way to what is wanted, or one that some readers take for it.
    fn is_spelled_once(&mut self, key: &str) -> Result<(), String> {
        let is_on_the_way = |steps: &Vec<String>| {
            self.path.len() <= steps.len() && self.path.iter().zip(steps).all(|(step, wanted)| step.is(wanted))
        };
        if !self.wanted.iter().any(|(_, steps)| is_on_the_way(steps)) {
            return Ok(());
        }
        let path: Vec<String> = self.path.iter().map(|step| step.folded.clone()).collect();
        match self.spelled.insert(path, key.to_owned()) {
            Some(other) if other != key => {
                Err(format!("its body has both `{other}` and `{key}`, which some readers take for one"))
            }
            _ => Ok(()),
        }
    }
}

impl Step {
    fn is(&self, wanted: &str) -> bool {
        wanted == "*" || wanted == self.folded
    }
}

/// Whether that place is the wanted one, or an item of it.
fn matches(path: &[Step], wanted: &[String]) -> bool {
    path.len() >= wanted.len()
        && path.iter().zip(wanted).all(|(step, wanted)| step.is(wanted))
        && path.iter().skip(wanted.len()).all(|step| step.is_item)
}

/// A number in its one spelling, `1e3` as `1000` and `0.50` as `0.5`; `None` where it has more digits than a double keeps.
fn number(raw: &str) -> Option<String> {
    let (sign, digits) = raw.strip_prefix('-').map_or(("", raw), |rest| ("-", rest));
    let (digits, power) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let power: i32 = power.strip_prefix('+').unwrap_or(power).parse().ok()?;
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    // `all` times ten to the power of `power`.
    let mut power = power.checked_sub(i32::try_from(part.len()).ok()?)?;
    let all = format!("{whole}{part}");
    let mut all = all.trim_start_matches('0');
    while let Some(shorter) = all.strip_suffix('0') {
        all = shorter;
        power = power.checked_add(1)?;
    }
    if all.is_empty() {
        return Some("0".to_owned());
    }
    if all.len() > DIGITS_MAX || power.abs() > POWER_MAX || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let zeros = |count: usize| "0".repeat(count);
    let Ok(down) = usize::try_from(-power) else {
        return Some(format!("{sign}{all}{}", zeros(power.unsigned_abs() as usize)));
    };
    let (whole, part) = match all.len().checked_sub(down) {
        Some(at) if at > 0 => (all.get(..at)?.to_owned(), all.get(at..)?.to_owned()),
        _ => ("0".to_owned(), format!("{}{all}", zeros(down - all.len()))),
    };
    Some(if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
}

#[cfg(test)]
mod tests;
