//! YAML, by saphyr-parser's events. Lock files are written by programs: what those never write (aliases, tags, merge keys,
//! keys that are no scalars) is unread rather than understood a little.

use super::{Leaf, Path, Place, Unread};
use saphyr_parser::{Event, Parser};

/// Events of a document, at most.
const EVENTS_MAX: usize = 2_000_000;

/// Hands each leaf to `see`, in the order of the text; several documents as if they were one. Every scalar is a string.
pub(crate) fn leaves(text: &str, see: &mut dyn FnMut(Path<'_>, Leaf<'_>)) -> Result<(), Unread> {
    let mut place = Place::default();
    let mut open: Vec<Open> = Vec::new();
    for (count, event) in Parser::new_from_str(text).enumerate() {
        let (event, _) = event.map_err(|_| Unread)?;
        if count >= EVENTS_MAX {
            return Err(Unread);
        }
        match event {
            Event::Scalar(text, _, 0, None) => {
                if let Some(Open { is_key: key @ true, is_empty, .. }) = open.last_mut() {
                    if text == "<<" {
                        return Err(Unread);
                    }
                    (*key, *is_empty) = (false, false);
                    place.push_key(&text)?;
                    continue;
                }
                begin(&mut place, &mut open)?;
                place.see(Leaf::Str(&text), see);
                end(&mut place, &mut open);
            }
            Event::MappingStart(0, None) => {
                begin(&mut place, &mut open)?;
                open.push(Open { base: place.steps.len(), item: None, is_key: true, is_empty: true });
            }
            Event::SequenceStart(0, None) => {
                begin(&mut place, &mut open)?;
                open.push(Open { base: place.steps.len(), item: Some(0), is_key: false, is_empty: true });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if open.pop().ok_or(Unread)?.is_empty {
                    place.see(Leaf::Empty, see);
                }
                end(&mut place, &mut open);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
            _ => return Err(Unread),
        }
    }
    Ok(())
}

/// A mapping or sequence that is open.
struct Open {
    /// Steps of its place.
    base: usize,
    /// Index of the next item; `None` in a mapping.
    item: Option<usize>,
    /// A key comes next.
    is_key: bool,
    is_empty: bool,
}

/// A value starts.
fn begin(place: &mut Place, open: &mut [Open]) -> Result<(), Unread> {
    let Some(open) = open.last_mut() else { return Ok(()) };
    if open.is_key {
        return Err(Unread);
    }
    open.is_empty = false;
    if let Some(index) = open.item {
        open.item = Some(index + 1);
        place.push_item(index)?;
    }
    Ok(())
}

/// A value is over: in a mapping a key comes next.
fn end(place: &mut Place, open: &mut [Open]) {
    place.truncate(open.last().map_or(0, |open| open.base));
    if let Some(open) = open.last_mut() {
        open.is_key = open.item.is_none();
    }
}
