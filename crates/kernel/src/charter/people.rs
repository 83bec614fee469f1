//! Who is one person: `[people]` gathers the contacts of each, so that whoever has several counts once.

use super::contact::{Wrong, contact};
use super::report::{Place, Report, clip};
use super::table::Keys;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::DeValue;

/// `[people]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct People {
    contacts: BTreeMap<String, Vec<String>>,
    /// Names by contact.
    names: BTreeMap<String, String>,
}

impl People {
    /// All contacts of a person of that name.
    pub fn contacts(&self, name: &str) -> Option<&[String]> {
        self.contacts.get(name).map(Vec::as_slice)
    }

    /// The person of a contact, where the charter says who that is.
    pub fn name(&self, contact: &str) -> Option<&str> {
        self.names.get(contact).map(String::as_str)
    }

    /// All contacts of whoever has this one.
    pub fn of<'p>(&'p self, contact: &'p str) -> impl Iterator<Item = &'p str> {
        let also = self.name(contact).and_then(|name| self.contacts(name)).unwrap_or_default();
        std::iter::once(contact).chain(also.iter().map(String::as_str))
    }
}

pub(crate) fn section(report: &mut Report, root: &mut Keys) -> People {
    let mut people = People::default();
    let Some(section) = root.table(report, "people") else { return people };
    for (name, value) in section.entries() {
        let mut contacts: Vec<String> = Vec::new();
        for (place, said) in items(&section, value) {
            let Some(contact) = read(report, &place, &name.value, said) else { continue };
            if let Some(other) = people.names.get(&contact) {
                let message =
                    format!("`{}` is a contact of `{}` and of `{}`", clip(&contact), clip(other), clip(&name.value));
                report.error("FB0136", &place, message, "a contact is one person's: each counts once");
                continue;
            }
            people.names.insert(contact.clone(), name.value.clone());
            contacts.push(contact);
        }
        people.contacts.insert(name.value, contacts);
    }
    people
}

/// The texts of a list, or the one text.
pub(super) fn items<'t>(section: &Keys<'t>, value: &'t Spanned<DeValue<'t>>) -> Vec<(Place, &'t str)> {
    let items: Vec<_> = match value.get_ref().as_array() {
        Some(list) => list.iter().collect(),
        None => vec![value],
    };
    let one = |item: &'t Spanned<DeValue<'t>>| {
        (Place::new(&section.place.file, item.span()), item.get_ref().as_str().unwrap_or_default())
    };
    items.into_iter().map(one).collect()
}

/// A contact as it is compared; tells what is wrong with one that is none.
pub(super) fn read(report: &mut Report, place: &Place, whose: &str, said: &str) -> Option<String> {
    match contact(said) {
        Ok(contact) => return Some(contact),
        Err(Wrong::Nobody) => {
            let message = format!("a contact of `{}` is to be a string that names somebody", clip(whose));
            report.error("FB0103", place, message, "such as `user:alice` or `alice@corp`");
        }
        Err(Wrong::Agent) => report.error(
            "FB0133",
            place,
            format!("`{}` is an agent: agents don't answer for rules or approve actions", clip(said)),
            "name a person",
        ),
        Err(Wrong::Key(why)) => {
            let hint = "`key:` and what an `id_ed25519.pub` holds; `ssh-keygen -t ed25519` makes one";
            report.error("FB0134", place, format!("`{}` is no key of a person: {why}", clip(said)), hint);
        }
    }
    None
}

/// Whether an account and a key among these might be the same person's, for all that the charter says.
pub(super) fn may_be_one(people: &People, who: &[String]) -> bool {
    let has = |kind: &str| who.iter().any(|contact| contact.starts_with(kind));
    has("user:") && has("key:") && who.iter().any(|contact| people.name(contact).is_none())
}
