//! Their lowered Cedar policies to rules of ours.

use crate::formula::scope_key;
use crate::slots::{Slots, is_plain, plain, uid};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// What a rule's translation needs to know.
pub struct Context<'c> {
    pub slots: &'c Slots,
    /// The Cedar condition of each temporal leaf, by the leaf's id.
    pub leaves: &'c BTreeMap<String, String>,
    /// For each action that is judged somewhere, what it is in, itself included.
    pub within: &'c BTreeMap<String, BTreeSet<String>>,
}

/// One rule, in Cedar's text, without annotations.
pub fn rule(policy: &Json, context: &Context) -> Result<String, String> {
    let effect = policy["effect"].as_str().ok_or("no effect")?;
    let mut tests = vec![actions(&policy["action"], context)?];
    for (who, key) in [("principal", "callerPrincipal"), ("resource", "callerResource")] {
        tests.extend(who_test(&policy[who], key, context)?);
    }
    for condition in policy["conditions"].as_array().into_iter().flatten() {
        let body = expression(&condition["body"], context)?;
        match condition["kind"].as_str() {
            Some("when") => tests.push(body),
            Some("unless") => tests.push(format!("!{body}")),
            _ => return Err("a clause that is neither `when` nor `unless`".to_owned()),
        }
    }
    let body = tests.join(" && ");
    // Attributes that may be missing are asked for first, as strict validation wants it.
    let slots: BTreeSet<&str> = context.slots.all().map(|(_, slot)| slot).collect();
    let read = slots.into_iter().filter(|slot| body.contains(&format!("context.attrs.{slot}")));
    let has: String = read.map(|slot| format!("context.attrs has {slot} && ")).collect();
    Ok(format!("{effect} (principal, action == Action::\"{}\", resource) when {{ {has}{body} }};", context.slots.verb))
}

/// The names of the judged actions that the scope lets through.
fn actions(scope: &Json, context: &Context) -> Result<String, String> {
    let one = |entity: &Json| Some(format!("{}::\"{}\"", entity["type"].as_str()?, entity["id"].as_str()?));
    let wanted: Option<Vec<String>> = match scope["op"].as_str() {
        Some("All") => None,
        Some("==") => Some(vec![one(&scope["entity"]).ok_or("an odd action")?]),
        Some("in") => {
            let single = one(&scope["entity"]).into_iter();
            let many = scope["entities"].as_array().into_iter().flatten().filter_map(one);
            Some(single.chain(many).collect())
        }
        _ => return Err("a template".to_owned()),
    };
    let is_exact = scope["op"] == "==";
    let names = context.within.iter().filter(|(action, within)| match &wanted {
        None => true,
        Some(wanted) if is_exact => wanted.contains(action),
        Some(wanted) => wanted.iter().any(|w| within.contains(w)),
    });
    let field = Slots::in_cedar(context.slots.name);
    let names: Vec<String> =
        names.map(|(action, _)| format!("{field} == \"{}\"", context.slots.named(action, ""))).collect();
    // What it speaks of never happens in this case; what it says must still be read.
    Ok(if names.is_empty() { format!("{field} == \"/none\"") } else { format!("({})", names.join(" || ")) })
}

fn who_test(scope: &Json, key: &str, context: &Context) -> Result<Option<String>, String> {
    let is_type = |scope: &Json| -> Result<String, String> {
        let ty = scope["entity_type"].as_str().ok_or("an odd type")?;
        Ok(format!("{} like \"{ty}::*\"", Slots::in_cedar(context.slots.slot(key)?)))
    };
    match scope["op"].as_str() {
        Some("All") => Ok(None),
        Some("==") => {
            let (ty, id) = (scope["entity"]["type"].as_str(), scope["entity"]["id"].as_str());
            let (ty, id) = ty.zip(id).ok_or("a template")?;
            Ok(Some(format!("{} == \"{}\"", Slots::in_cedar(context.slots.slot(key)?), uid(ty, id))))
        }
        Some("is") if scope.get("in").is_none() => Ok(Some(is_type(scope)?)),
        _ => Err("asks what an entity is in; ours are in nothing".to_owned()),
    }
}

/// The keys of fields that an expression and a scope read, for the choice of attributes.
pub fn keys(json: &Json, leaves: &BTreeSet<String>, out: &mut BTreeSet<String>) {
    if let Some(path) = path_of(json) {
        if let Some((root, rest)) = path.split_first() {
            match *root {
                "context" if !rest.last().is_some_and(|f| leaves.contains(*f)) => {
                    out.insert(rest.join("."));
                }
                "principal" => drop(out.insert("callerPrincipal".to_owned())),
                "resource" => drop(out.insert("callerResource".to_owned())),
                _ => {}
            }
        }
        return;
    }
    match json {
        Json::Object(map) => map.values().for_each(|inner| keys(inner, leaves, out)),
        Json::Array(items) => items.iter().for_each(|inner| keys(inner, leaves, out)),
        _ => {}
    }
}

/// `root.a.b` as its names.
fn path_of(json: &Json) -> Option<Vec<&str>> {
    if let Some(var) = json.get("Var") {
        return Some(vec![var.as_str()?]);
    }
    let access = json.get(".")?;
    let mut path = path_of(access.get("left")?)?;
    path.push(access.get("attr")?.as_str()?);
    Some(path)
}

fn expression(json: &Json, context: &Context) -> Result<String, String> {
    if let Some(path) = path_of(json) {
        return read(&path, context);
    }
    let (op, inner) = json.as_object().and_then(|o| o.iter().next()).ok_or("an odd expression")?;
    let side = |name: &str| expression(&inner[name], context);
    Ok(match op.as_str() {
        "Value" => literal(inner)?,
        "&&" | "||" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "+" | "-" | "*" => {
            format!("({} {op} {})", side("left")?, side("right")?)
        }
        "!" => format!("!({})", side("arg")?),
        "neg" => format!("(-({}))", side("arg")?),
        "if-then-else" => format!("(if {} then {} else {})", side("if")?, side("then")?, side("else")?),
        "like" => {
            let mut text = String::new();
            for element in inner["pattern"].as_array().into_iter().flatten() {
                match element.get("Literal").and_then(Json::as_str) {
                    Some(part) if is_plain(part) => text.push_str(part),
                    Some(_) => return Err("a pattern with odd characters".to_owned()),
                    None => text.push('*'),
                }
            }
            format!("({} like \"{text}\")", side("left")?)
        }
        "contains" if inner["left"].get("Set").is_some() => {
            let items = inner["left"]["Set"].as_array().into_iter().flatten();
            let items = items.map(|i| expression(i, context)).collect::<Result<Vec<_>, _>>()?;
            format!("[{}].contains({})", items.join(", "), side("right")?)
        }
        "is" if inner.get("in").is_none()
            && matches!(path_of(&inner["left"]).as_deref(), Some(["principal" | "resource"])) =>
        {
            format!("({} like \"{}::*\")", side("left")?, inner["entity_type"].as_str().unwrap_or_default())
        }
        "has" => return Err("asks whether a field is there".to_owned()),
        "decimal" | "lessThan" | "lessThanOrEqual" | "greaterThan" | "greaterThanOrEqual" => {
            return Err("orders decimals; ours are whole numbers".to_owned());
        }
        _ => return Err("sets, records, tags or functions of Cedar's that no attribute of ours has".to_owned()),
    })
}

fn literal(json: &Json) -> Result<String, String> {
    let entity = json.get("__entity");
    Ok(match json {
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => format!("({n})"),
        Json::String(text) => format!("\"{}\"", plain(text)),
        _ => {
            let pair = entity.and_then(|e| e["type"].as_str().zip(e["id"].as_str()));
            let (ty, id) = pair.ok_or("sets, records, tags or functions of Cedar's that no attribute of ours has")?;
            format!("\"{}\"", uid(ty, id))
        }
    })
}

fn read(path: &[&str], context: &Context) -> Result<String, String> {
    match path {
        ["context", .., leaf] if context.leaves.contains_key(*leaf) => Ok(context.leaves[*leaf].clone()),
        ["context", rest @ ..] => {
            let owned: Vec<String> = rest.iter().map(|s| (*s).to_owned()).collect();
            Ok(Slots::in_cedar(context.slots.slot(&owned.join("."))?))
        }
        ["principal" | "resource", ..] => {
            let owned: Vec<String> = path.iter().map(|s| (*s).to_owned()).collect();
            Ok(Slots::in_cedar(context.slots.slot(scope_key(&owned)?)?))
        }
        _ => Err("compares the action itself".to_owned()),
    }
}
