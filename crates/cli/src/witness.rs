//! `witness`: being one, and asking the ledger's.

use crate::args::Witness as Args;
use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_ledger::witness::Witness;
use flyball_ledger::{Cosigner, LedgerError, NoteVerifier, format_ns};
use flyball_runtime::witnessing;
use serde_json::json;

/// `flyball witness serve|add|ask`.
pub fn witness(out: Output, place: &Place, args: Args) -> Result<(), Failure> {
    match args {
        Args::Serve { listen, dir, name, trust } => {
            let dir = match dir {
                Some(dir) => dir,
                None => place.dir()?.join("witness"),
            };
            let witness = Witness::open(&dir, name.as_deref())?;
            for key in &trust {
                witness.trust(&NoteVerifier::parse(key)?)?;
            }
            let (key, ledgers) = (witness.cosigner().to_vkey(), witness.ledgers()?);
            let served = witnessing::serve(witness, listen, |address| {
                if out.is_json {
                    let ledgers: Vec<_> = ledgers.iter().map(NoteVerifier::to_vkey).collect();
                    out.json(&json!({"url": format!("http://{address}"), "key": key, "ledgers": ledgers}));
                } else {
                    out.line(&format!("http://{address} {key}"));
                    out.note(&format!(
                        "a witness for {} ledgers; `flyball witness add URL KEY` has a ledger ask it",
                        ledgers.len()
                    ));
                }
            });
            served.map_err(|e| {
                let hint = "choose another address with `--listen`";
                Failure::user("FB0512", format!("can't listen at {listen}: {e}")).hint(hint)
            })
        }
        Args::Add { url, key } => {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(Failure::user("FB0329", format!("`{url}` is not an `http://` or `https://` address"))
                    .hint("what is asked is public and the answer is signed: plain HTTP loses nothing"));
            }
            let cosigner = Cosigner::parse(&key)?;
            place.ledger()?.add_witness(&url, &cosigner)?;
            out.note(&format!("`{}` is asked from now on; `flyball witness ask` does it at once", cosigner.name()));
            Ok(())
        }
        Args::Ask => ask(out, place),
    }
}

fn ask(out: Output, place: &Place) -> Result<(), Failure> {
    let all = witnessing::ask_all(&place.ledger()?)?;
    if all.is_empty() {
        out.note("this ledger has no witness: `flyball witness add URL KEY` names one");
    }
    let mut worst = None;
    for (asked, told) in all {
        let (name, key) = (asked.cosigner.name().to_owned(), asked.cosigner.to_vkey());
        match told {
            Ok(cosigned) => {
                let at = cosigned.map(|(_, at)| format_ns(at.saturating_mul(1_000_000_000)));
                if out.is_json {
                    out.json(&json!({"witness": key, "ok": true, "size": cosigned.map(|(size, _)| size), "at": at}));
                } else {
                    let what = match (cosigned, at) {
                        (Some((size, _)), Some(at)) => format!("cosigned {size} entries at {at}"),
                        _ => "had cosigned all that there is".to_owned(),
                    };
                    out.line(&format!("{}: {what}", visible(&name)));
                }
            }
            Err(error) => {
                if out.is_json {
                    let (code, message) = (error.code(), error.to_string());
                    out.json(
                        &json!({"witness": key, "ok": false, "code": code, "message": message, "hint": error.hint()}),
                    );
                } else {
                    let code = out.paint(Style::Red, error.code());
                    out.line(&format!("{}: {code} {}", visible(&name), visible(&error.to_string())));
                }
                let is_other = matches!(error, LedgerError::OtherHistory { .. });
                worst = Some(if is_other || worst == Some(Kind::Unverified) { Kind::Unverified } else { Kind::User });
            }
        }
    }
    worst.map_or(Ok(()), |kind| Err(Failure::said(kind)))
}
