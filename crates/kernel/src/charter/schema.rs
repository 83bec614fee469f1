//! The Cedar schema that rules are checked against, generated from the vocabulary and the charter's facts.

use crate::civil::PARTS;
use crate::vocabulary::{AttrType, COMMON_ATTRS, FieldSpec, ResourceKind, Verb, verbs};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Version of the schema's shape. It is part of every charter's digest.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// What a fact gives to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactType {
    /// True or false.
    Bool,
    /// A count, sum, minimum or maximum.
    Long,
}

/// The schema in Cedar's own syntax.
pub(crate) fn schema_text(facts: &BTreeMap<String, FactType>) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_schema(&mut out, facts);
    out
}

fn write_schema(out: &mut String, facts: &BTreeMap<String, FactType>) -> std::fmt::Result {
    writeln!(out, "// Who acts.\nentity Agent {{\n  name: String,\n}};\n\n// What is acted on.")?;
    for kind in ResourceKind::ALL {
        writeln!(out, "entity {} {{", kind.name())?;
        for field in kind.fields().iter().chain(kind.derived_fields()) {
            writeln!(out, "  {}: {},", field.name, type_name(field.ty))?;
        }
        writeln!(out, "}};")?;
    }
    writeln!(out, "\n// The charter's facts, as of just before the action.\ntype Facts = {{")?;
    for (name, ty) in facts {
        writeln!(out, "  {name}: {},", if *ty == FactType::Bool { "Bool" } else { "Long" })?;
    }
    writeln!(out, "}};\n\n// When the action is judged, in UTC; weekday 1 is Monday.\ntype Time = {{")?;
    for part in PARTS {
        writeln!(out, "  {part}: Long,")?;
    }
    writeln!(out, "}};\n\n// Verbs and their groups.\naction any;")?;
    for group in verbs().map(Verb::group).collect::<BTreeSet<_>>() {
        writeln!(out, "action \"{group}\" in [\"any\"];")?;
    }
    for verb in verbs() {
        let spec = verb.spec();
        writeln!(out, "action \"{}\" in [\"{}\"] appliesTo {{", verb.name(), verb.group())?;
        writeln!(out, "  principal: [Agent],\n  resource: [{}],\n  context: {{", spec.resource.name())?;
        writeln!(
            out,
            "    fact: Facts,\n    time: Time,\n    autonomy: Long,\n    consequence: String,\n    reversibility: String,"
        )?;
        writeln!(out, "    surface: String,\n    detected: Set<String>,\n    opaque: Bool,\n    attrs: {{")?;
        for attr in rule_attrs(verb) {
            writeln!(out, "      {}?: {},", attr.name, type_name(attr.ty))?;
        }
        writeln!(out, "    }},\n  }},\n}};")?;
    }
    Ok(())
}

/// The attributes that rules see in `context.attrs`; `opaque` stands in the context itself, where it can't be missing.
pub(crate) fn rule_attrs(verb: Verb) -> impl Iterator<Item = FieldSpec> {
    verb.spec().attrs.iter().chain(COMMON_ATTRS).copied().filter(|a| a.name != "opaque")
}

fn type_name(ty: AttrType) -> &'static str {
    match ty {
        AttrType::Bool => "Bool",
        AttrType::Long => "Long",
        AttrType::Str => "String",
        AttrType::Strs => "Set<String>",
    }
}
