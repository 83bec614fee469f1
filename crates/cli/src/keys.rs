//! `key`: the ledger's signing key.

use crate::args::Key;
use crate::failure::Failure;
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_ledger::{Keychain, Ledger, format_ns};
use serde_json::json;

/// `flyball key show|rotate`.
pub fn key(out: Output, place: &Place, what: Key) -> Result<(), Failure> {
    let ledger = place.ledger()?;
    match what {
        Key::Show => print(out, ledger.keys()),
        Key::Rotate => {
            let keys = Ledger::rotate_key(ledger.dir(), flyball_runtime::wall_ns())?;
            print(out, &keys);
            out.note("who verifies bundles of this ledger may go on with the old key: it signed the new one");
        }
    }
    Ok(())
}

fn print(out: Output, keys: &Keychain) {
    let current = keys.current();
    if out.is_json {
        let rotations: Vec<_> = keys
            .rotations()
            .iter()
            .map(|r| json!({"at": format_ns(r.at_ns), "size": r.size, "key": r.to.to_vkey()}))
            .collect();
        out.json(&json!({
            "ledger": keys.origin(), "key": current.to_vkey(), "fingerprint": Keychain::fingerprint(current),
            "first": keys.first().to_vkey(), "rotations": rotations,
        }));
        return;
    }
    out.line(&visible(&current.to_vkey()));
    let field = |name: &str, value: &str| {
        out.line(&format!("  {} {}", out.paint(Style::Dim, &format!("{name:<11}")), visible(value)));
    };
    field("ledger", keys.origin());
    field("fingerprint", &Keychain::fingerprint(current));
    for (n, r) in (1..).zip(keys.rotations()) {
        let key = r.to.to_vkey();
        let key = crate::verify::key_name(&key);
        field("changed", &format!("{} at {} entries, to {key} (change {n})", format_ns(r.at_ns), r.size));
    }
}
