//! The Cedar schema that rules are checked against, generated from the vocabulary and the charter's facts.

use crate::civil::PARTS;
use crate::vocabulary::{AttrType, COMMON_ATTRS, FieldSpec, ResourceKind, Verb, verbs};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

type Map = serde_json::Map<String, serde_json::Value>;

/// Version of the schema's shape. It is part of every charter's digest.
pub(crate) const SCHEMA_VERSION: u32 = 3;

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

/// The same schema in Cedar's JSON form: Cedar builds a lexer for each name that it meets in the text.
pub(crate) fn schema_json(facts: &BTreeMap<String, FactType>) -> serde_json::Value {
    let record = |attributes: Map| json!({"type": "Record", "attributes": attributes});
    let within = |group: &str| json!([{"type": "Action", "id": group}]);
    let fields = |fields: &mut dyn Iterator<Item = FieldSpec>, required: bool| -> Map {
        let ty = |ty| match ty {
            AttrType::Bool => json!({"type": "Boolean", "required": required}),
            AttrType::Long => json!({"type": "Long", "required": required}),
            AttrType::Str => json!({"type": "String", "required": required}),
            AttrType::Strs => json!({"type": "Set", "element": {"type": "String"}, "required": required}),
        };
        fields.map(|field| (field.name.to_owned(), ty(field.ty))).collect()
    };
    let name = FieldSpec { name: "name", ty: AttrType::Str };
    let mut entities = Map::new();
    entities.insert("Agent".to_owned(), json!({"shape": record(fields(&mut [name].into_iter(), true))}));
    for kind in ResourceKind::ALL {
        let mut all = kind.fields().iter().chain(kind.derived_fields()).copied();
        entities.insert(kind.name().to_owned(), json!({"shape": record(fields(&mut all, true))}));
    }
    let fact = |ty: &FactType| json!({"type": if *ty == FactType::Bool { "Boolean" } else { "Long" }});
    let facts = facts.iter().map(|(name, ty)| (name.clone(), fact(ty))).collect();
    let time = PARTS.iter().map(|part| ((*part).to_owned(), json!({"type": "Long"}))).collect();
    let mut actions = Map::new();
    actions.insert("any".to_owned(), json!({}));
    for verb in verbs() {
        actions.entry(verb.group()).or_insert_with(|| json!({"memberOf": within("any")}));
        let context = json!({"type": "Record", "attributes": {
            "fact": {"type": "Facts"}, "time": {"type": "Time"}, "autonomy": {"type": "Long"}, "consequence": {"type": "String"},
            "reversibility": {"type": "String"}, "surface": {"type": "String"},
            "detected": {"type": "Set", "element": {"type": "String"}}, "opaque": {"type": "Boolean"},
            "attrs": record(fields(&mut rule_attrs(verb), false)),
        }});
        let applies =
            json!({"principalTypes": ["Agent"], "resourceTypes": [verb.spec().resource.name()], "context": context});
        actions.insert(verb.name().to_owned(), json!({"memberOf": within(verb.group()), "appliesTo": applies}));
    }
    let types = json!({"Facts": record(facts), "Time": record(time)});
    json!({"": {"entityTypes": entities, "commonTypes": types, "actions": actions}})
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use cedar_policy::SchemaFragment;

    #[test]
    fn both_forms_are_one_schema() {
        let facts = [("green".to_owned(), FactType::Bool), ("fixes".to_owned(), FactType::Long)].into();
        let (text, _) = SchemaFragment::from_cedarschema_str(&schema_text(&facts)).unwrap();
        let json = SchemaFragment::from_json_value(schema_json(&facts)).unwrap();
        // The text leaves names to be resolved that the JSON form gives in full.
        let plain =
            |s: &SchemaFragment| s.to_cedarschema().unwrap().replace("__cedar::", "").replace("Action::\"", "\"");
        let (text, json) = (plain(&text), plain(&json));
        let differs = text.lines().zip(json.lines()).find(|(a, b)| a != b);
        assert_eq!((differs, text.len()), (None, json.len()));
        assert!(text.contains("fixes: Long") && text.contains("in [\"any\"]"));
    }
}
