//! Another charter during a run: whether it may be taken up, and by whom.
//!
//! INVARIANT: what could not be shown to let nothing more pass is widening, and needs who answers for what it would loosen.

use flyball_kernel::analysis::{Comparison, Narrower, compare, is_plainly_narrower, requirements};
use flyball_kernel::{Charter, Limits, Session, Sources};
use std::collections::BTreeSet;

/// Differences that one message names.
const NAMED_MAX: usize = 5;

/// A charter that may be taken up.
pub(crate) struct Change {
    pub charter: Charter,
    /// What it lets pass that the one before did not, in words; empty for a narrower one.
    pub widens: Vec<String>,
}

/// Compiles the charter that is to follow `was`, and says whether `by` may put it in force.
pub(crate) fn examine(
    was: &Charter,
    session: &Session,
    files: &Sources,
    may_widen: bool,
    by: &str,
) -> Result<Change, String> {
    let charter = match Charter::compile(files) {
        Ok((charter, _)) => charter,
        Err(found) => {
            let told =
                found.0.iter().take(NAMED_MAX).map(|d| format!("{} {}:{}: {}", d.code, d.file, d.line, d.message));
            return Err(format!("the charter has errors: {}", told.collect::<Vec<_>>().join("; ")));
        }
    };
    if charter.digest() == was.digest() {
        return Err("this charter is in force already".to_owned());
    }
    let fixed = fixed_at_the_start(was, &charter);
    if !fixed.is_empty() {
        let (sections, instead): (Vec<&str>, Vec<&str>) = fixed.into_iter().unzip();
        return Err(format!(
            "{} can't change while the program runs, since the sandbox was built by it: leave it as it is. {}",
            sections.join(", "),
            instead.join(" ")
        ));
    }
    if is_plainly_narrower(was, &charter) {
        return Ok(Change { charter, widens: Vec::new() });
    }
    let found = compare(was, &charter, session);
    if found.is_narrower == Narrower::Proved {
        return Ok(Change { charter, widens: Vec::new() });
    }
    let widens = widened(&found);
    let some = widens.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    if !may_widen {
        return Err(format!(
            "it is not shown to be narrower than the charter in force: {some}. `flyball diff` of the two charters shows all; \
             `--widen` adopts it if you answer for what it loosens"
        ));
    }
    let lacking = lacking(was, &found, by);
    if !lacking.is_empty() {
        return Err(format!(
            "it would let more pass ({some}), and `{by}` is no contact of {}, who answers for that in the charter in force",
            lacking.into_iter().map(|owner| format!("`{owner}`")).collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(Change { charter, widens })
}

/// Sections that the sandbox was built by, each with what does it now instead.
fn fixed_at_the_start(was: &Charter, is: &Charter) -> Vec<(&'static str, &'static str)> {
    let differs = [
        (
            was.sandbox() != is.sandbox(),
            "[sandbox]",
            "What it would hide or protect, rules that forbid `fs.read` (where `mediate_reads` was on from the start), `fs.write`, \
             `fs.delete` and `fs.move` of it stop from the next action on; a rule that forbids `net.connect` closes the network.",
        ),
        (
            was.env_pass() != is.env_pass(),
            "[env]",
            "What the program was given can't be taken back: `flyball kill` it and start another session.",
        ),
        (
            was.http() != is.http(),
            "[http]",
            "The next session has the new setting; a rule that forbids `net.connect` closes what is open to no rule now.",
        ),
        (
            requirements(was) != requirements(is),
            "what is required of coverage ([require], @coverage)",
            "What this session mediates was settled at its start; the next one starts by the new requirement.",
        ),
        (
            was.models() != is.models() || was.credentials() != is.credentials(),
            "[[model]], [[price]] or [credentials]",
            "The next session has the new setting; a rule that forbids `model.call` or `http.request` holds from the next one on.",
        ),
        (was.home_keep() != is.home_keep(), "[home]", "The next session has the new setting."),
    ];
    differs.into_iter().filter(|(differs, ..)| *differs).map(|(_, section, instead)| (section, instead)).collect()
}

/// The stricter of two charters' limits, one by one: what holds while the one gives way to the other.
pub(crate) fn stricter(a: &Limits, b: &Limits) -> Limits {
    let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    Limits {
        pids_max: least(a.pids_max, b.pids_max),
        memory_bytes_max: least(a.memory_bytes_max, b.memory_bytes_max),
        cpu_percent_max: least(a.cpu_percent_max, b.cpu_percent_max),
    }
}

fn widened(found: &Comparison) -> Vec<String> {
    let actions = found.widened.iter().map(|e| {
        let by = |rules: &[String]| if rules.is_empty() { String::new() } else { format!(" ({})", rules.join(", ")) };
        format!(
            "{} {}: {:?}{} before, {:?}{} then",
            e.action.verb,
            e.action.resource.id(),
            e.before,
            by(&e.before_by),
            e.after,
            by(&e.after_by)
        )
        .to_lowercase()
    });
    let unknown = found.unknown.iter().map(|why| format!("not all could be shown: {why}"));
    actions.chain(found.widened_settings.iter().cloned()).chain(unknown).collect()
}

/// The owners who answer for what would be loosened and whom `by` does not speak for. What no rule stopped, and what is no
/// rule, all of the charter's owners of rules answer for.
fn lacking(was: &Charter, found: &Comparison, by: &str) -> BTreeSet<String> {
    let rules = was.rules();
    let is_of_all = !found.widened_settings.is_empty()
        || !found.unknown.is_empty()
        || found.widened.iter().any(|e| !e.before_by.iter().any(|id| rules.iter().any(|r| r.id == *id)));
    let stopped_by: BTreeSet<&String> = found.widened.iter().flat_map(|e| &e.before_by).collect();
    let owners = rules.iter().filter(|r| is_of_all || stopped_by.contains(&r.id)).map(|r| r.owner.clone());
    let speaks_for = |owner: &String| was.owners().get(owner).is_some_and(|o| o.contacts.iter().any(|c| c == by));
    owners.filter(|owner| !speaks_for(owner)).collect()
}
