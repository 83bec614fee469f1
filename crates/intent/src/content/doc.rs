//! Documents as the leaves of their tree, one after the other: what a reader of manifests needs of TOML, JSON and YAML
//! without ever holding the whole.

mod json;
mod toml;
mod yaml;

pub(crate) use json::leaves as json;
pub(crate) use toml::leaves as toml;
pub(crate) use yaml::leaves as yaml;

/// Tables and arrays inside one another, at most.
pub(crate) const DEPTH_MAX: usize = 64;

/// A place within a document. Items of an array are steps as well, see [`is_item`].
pub(crate) type Path<'a> = &'a [&'a str];

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf<'a> {
    Str(&'a str),
    /// A number, boolean, date or null, as it was written.
    Other(&'a str),
    /// A table or array with nothing in it.
    Empty,
}

/// The document is malformed, too deep or too large. What was seen before counts for nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unread;

/// Whether a step is that to an item of an array.
///
/// INVARIANT: no key has a NUL; a document with such a key is unread.
pub(crate) fn is_item(step: &str) -> bool {
    step.starts_with('\0')
}

/// Where the walk is.
#[derive(Default)]
struct Place {
    steps: Vec<String>,
}

impl Place {
    fn push_key(&mut self, key: &str) -> Result<(), Unread> {
        if key.contains('\0') {
            return Err(Unread);
        }
        self.push(key.to_owned())
    }

    fn push_item(&mut self, index: usize) -> Result<(), Unread> {
        self.push(format!("\0{index}"))
    }

    fn push(&mut self, step: String) -> Result<(), Unread> {
        if self.steps.len() >= DEPTH_MAX {
            return Err(Unread);
        }
        self.steps.push(step);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.steps.truncate(len);
    }

    fn see(&self, leaf: Leaf<'_>, to: &mut dyn FnMut(Path<'_>, Leaf<'_>)) {
        let mut steps = [""; DEPTH_MAX];
        for (at, step) in steps.iter_mut().zip(&self.steps) {
            *at = step;
        }
        to(steps.get(..self.steps.len()).unwrap_or_default(), leaf);
    }
}
