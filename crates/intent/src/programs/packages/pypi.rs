//! Python's packages: their names and requirements, wherever they are written.

use super::{Named, unknown};

/// A name as PEP 503 has it: lower-case, each run of `-`, `_` and `.` one `-`. `Django_REST` and `django-rest` are one package.
pub(crate) fn pypi_name(written: &str) -> String {
    let mut out = String::with_capacity(written.len());
    for c in written.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// `x`, `x[extra]==1.0`, `x>=1,<2`, `x @ URL`.
pub(crate) fn pypi_spec(text: &str) -> Named {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(extras) => extras.split_once(']').map_or("?", |(_, r)| r),
        None => rest,
    };
    let place = rest.trim_start().strip_prefix('@').map(str::trim).filter(|place| place.contains(['/', ':']));
    let is_archive = [".whl", ".tar.gz", ".zip"].iter().any(|e| name.ends_with(e));
    let is_name = !name.is_empty() && !is_archive && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if let Some(place) = place.filter(|_| is_name) {
        let source = place.split(" ;").next().unwrap_or_default().trim().to_owned();
        return Named { ecosystem: "pypi", name: pypi_name(name), version: String::new(), source };
    }
    let rest = rest.split(';').next().unwrap_or_default().trim();
    let rest = rest.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(rest).trim();
    let is_version = rest.is_empty()
        || rest.starts_with(['=', '<', '>', '!', '~'])
        || rest.starts_with('@') && !rest.contains(['/', ':']);
    if !is_name || !is_version {
        return unknown("pypi", text);
    }
    let exact = rest.trim_start_matches('=').trim_start_matches('@');
    let version = if rest.starts_with('=') && !rest.contains(',') || rest.starts_with('@') { exact } else { rest };
    Named { ecosystem: "pypi", name: pypi_name(name), version: version.trim().to_owned(), source: String::new() }
}
