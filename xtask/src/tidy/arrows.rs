//! Which crate may depend on which (the drawing in ARCHITECTURE.md), and dependencies that nobody may add.

use serde_json::Value;

use super::Breach;

const RULE: &str = "arrows";

/// A crate of ours, and those of ours that its own code may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("flyball-kernel", &[]),
    ("flyball-intent", &["flyball-kernel"]),
    ("flyball-ledger", &["flyball-kernel"]),
    ("flyball-sandbox", &["flyball-kernel"]),
    ("flyball-gateway", &["flyball-kernel", "flyball-intent"]),
    ("flyball-runtime", &["flyball-kernel", "flyball-intent", "flyball-ledger", "flyball-sandbox", "flyball-gateway"]),
    ("flyball-console", &["flyball-runtime", "flyball-ledger", "flyball-kernel"]),
    (
        "flyball",
        &[
            "flyball-kernel",
            "flyball-intent",
            "flyball-ledger",
            "flyball-sandbox",
            "flyball-gateway",
            "flyball-runtime",
            "flyball-console",
        ],
    ),
    ("flyball-testkit", &["flyball-kernel"]),
    ("xtask", &["flyball-testkit"]),
];

/// Dependencies that no crate, or no crate but those named, may list, and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("openssl", &[], "rustls is our TLS"),
    ("openssl-sys", &[], "rustls is our TLS"),
    ("native-tls", &[], "rustls is our TLS"),
    ("anyhow", &["flyball", "xtask"], "below `cli` each error has its own type and code"),
    // The kernel reads the spans of Cedar's diagnostics through miette's trait; it renders nothing.
    ("miette", &["flyball", "flyball-kernel"], "only `cli` renders"),
    ("clap", &["flyball"], "only `cli` reads arguments"),
    ("lazy_static", &[], "std's `LazyLock` does it"),
];

/// Crates that stay pure: none of these, because they bring a clock, threads, randomness or sockets.
const PURE: &[&str] = &["flyball-kernel", "flyball-intent"];
const IMPURE: &[&str] =
    &["tokio", "rand", "getrandom", "rayon", "reqwest", "hyper", "libc", "rustix", "nix", "rusqlite"];

pub(super) fn check(metadata: &Value) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let ours: Vec<&str> = members(metadata).iter().filter_map(|package| package["name"].as_str()).collect();
    for package in members(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        let allowed = ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
        if allowed.is_none() {
            breaches.push(breach(
                name,
                "is no crate of the drawing: draw it in ARCHITECTURE.md and in `xtask/src/tidy/arrows.rs`",
            ));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if ours.contains(&to) {
                breaches.extend(check_arrow(name, to, is_dev, allowed.unwrap_or_default()));
            } else {
                breaches.extend(check_outsider(name, to, is_dev));
            }
        }
    }
    breaches.extend(check_graph(metadata));
    breaches
}

fn check_arrow(from: &str, to: &str, is_dev: bool, allowed: &[&str]) -> Option<Breach> {
    let is_drawn = allowed.contains(&to) || (is_dev && to == "flyball-testkit");
    (!is_drawn).then(|| {
        breach(from, &format!("depends on `{to}`, an arrow that is not drawn: turn it round, or pass the value in"))
    })
}

fn check_outsider(from: &str, to: &str, is_dev: bool) -> Option<Breach> {
    if let Some((_, but, why)) = BANNED.iter().find(|(banned, ..)| *banned == to)
        && !but.contains(&from)
    {
        return Some(breach(from, &format!("depends on `{to}`, which is banned here: {why}")));
    }
    let is_impure = PURE.contains(&from) && !is_dev && IMPURE.contains(&to);
    is_impure.then(|| breach(from, &format!("is pure, and `{to}` is not: give the value in with the input")))
}

/// What must not come in by way of another's dependency either.
fn check_graph(metadata: &Value) -> Vec<Breach> {
    let everywhere = BANNED.iter().filter(|(name, but, _)| but.is_empty() && name.ends_with("-sys"));
    everywhere
        .filter(|(name, ..)| packages(metadata).any(|package| package["name"].as_str() == Some(name)))
        .map(|(name, _, why)| breach("Cargo.lock", &format!("`{name}` comes in by way of a dependency: {why}")))
        .collect()
}

pub(super) fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn members(metadata: &Value) -> Vec<&Value> {
    let ids: Vec<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    packages(metadata).filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(&id))).collect()
}

fn breach(place: &str, what: &str) -> Breach {
    Breach { place: place.to_owned(), rule: RULE, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::json;

    /// A crate's name, and its dependencies with their kinds.
    type Member<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    /// Checks a workspace of these crates.
    fn told(crates: &[Member]) -> Vec<String> {
        let packages: Vec<Value> = crates
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<Value> =
                    dependencies.iter().map(|(to, kind)| json!({"name": to, "kind": kind})).collect();
                json!({"id": name, "name": name, "dependencies": dependencies})
            })
            .collect();
        let ids: Vec<&str> = crates.iter().map(|(name, _)| *name).filter(|name| name.starts_with("flyball")).collect();
        check(&json!({"packages": packages, "workspace_members": ids})).iter().map(Breach::to_string).collect()
    }

    #[test]
    fn a_drawn_arrow_passes() {
        let crates = [
            ("flyball-kernel", &[("flyball-testkit", Some("dev"))][..]),
            ("flyball-testkit", &[]),
            ("flyball-ledger", &[("flyball-kernel", None)]),
        ];
        assert_eq!(told(&crates), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_told() {
        let told = told(&[("flyball-ledger", &[]), ("flyball-kernel", &[("flyball-ledger", None)])]);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("flyball-kernel: [arrows] depends on `flyball-ledger`"), "{told:?}");
    }

    #[test]
    fn a_dev_arrow_is_held_to_the_drawing_too() {
        let crates = [("flyball-sandbox", &[][..]), ("flyball-intent", &[("flyball-sandbox", Some("dev"))])];
        assert_eq!(told(&crates).len(), 1);
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        let crates = [("flyball-testkit", &[][..]), ("flyball-runtime", &[("flyball-testkit", None)])];
        assert_eq!(told(&crates).len(), 1);
    }

    #[test]
    fn a_crate_outside_the_drawing_is_told() {
        assert_eq!(told(&[("flyball-utils", &[])]).len(), 1);
    }

    #[test]
    fn bans_hold_but_for_those_named() {
        assert_eq!(told(&[("flyball-kernel", &[("anyhow", None)])]).len(), 1);
        assert_eq!(told(&[("flyball", &[("anyhow", None)])]).len(), 0);
        assert_eq!(told(&[("flyball-ledger", &[]), ("openssl-sys", &[])]).len(), 1, "by way of another");
    }

    #[test]
    fn pure_crates_take_nothing_impure_but_in_tests() {
        assert_eq!(told(&[("flyball-intent", &[("tokio", None)])]).len(), 1);
        assert_eq!(told(&[("flyball-intent", &[("tokio", Some("dev"))])]).len(), 0);
    }
}
