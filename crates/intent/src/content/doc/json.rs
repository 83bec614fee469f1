//! JSON, by serde_json's own reader as a stream; its nesting is bounded by it and by us.

use super::{Leaf, Path, Place, Unread};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Hands each leaf to `see`, in the order of the text. That a key is said twice goes unnoticed: both are seen.
pub(crate) fn leaves(text: &str, see: &mut dyn FnMut(Path<'_>, Leaf<'_>)) -> Result<(), Unread> {
    let mut place = Place::default();
    let mut from = serde_json::Deserializer::from_str(text);
    Walk { place: &mut place, see }.deserialize(&mut from).map_err(|_| Unread)?;
    from.end().map_err(|_| Unread)
}

struct Walk<'a> {
    place: &'a mut Place,
    see: &'a mut dyn FnMut(Path<'_>, Leaf<'_>),
}

impl<'a> Walk<'a> {
    fn see<E>(self, leaf: Leaf<'_>) -> Result<(), E> {
        self.place.see(leaf, self.see);
        Ok(())
    }

    /// What stands one step further in.
    fn inner<E: Error>(&mut self, step: Result<(), Unread>) -> Result<Walk<'_>, E> {
        step.map_err(|_| E::custom("too deep"))?;
        Ok(Walk { place: self.place, see: self.see })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.see(Leaf::Str(text))
    }

    fn visit_bool<E: Error>(self, is: bool) -> Result<(), E> {
        self.see(Leaf::Other(if is { "true" } else { "false" }))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.see(Leaf::Other(&number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.see(Leaf::Other(&number.to_string()))
    }

    // tidy: allow float: serde's signature; the number is dropped unlooked at
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        // No manifest means anything by a fraction.
        self.see(Leaf::Other(""))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.see(Leaf::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let base = self.place.steps.len();
        let mut index = 0;
        loop {
            let step = self.place.push_item(index);
            let is_more = items.next_element_seed(self.inner(step)?)?.is_some();
            self.place.truncate(base);
            if !is_more {
                break;
            }
            index += 1;
        }
        if index == 0 { self.see(Leaf::Empty) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let base = self.place.steps.len();
        let mut is_empty = true;
        while let Some(key) = entries.next_key::<String>()? {
            is_empty = false;
            let step = self.place.push_key(&key);
            entries.next_value_seed(self.inner(step)?)?;
            self.place.truncate(base);
        }
        if is_empty { self.see(Leaf::Empty) } else { Ok(()) }
    }
}
