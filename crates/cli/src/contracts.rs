//! What became of a session's contracts, in words.

use crate::output::visible;
use flyball_runtime::ContractResult;

/// A line for each contract, and one for each thing in it that is not so.
pub fn lines(results: &[ContractResult]) -> Vec<String> {
    let mut out = Vec::new();
    for result in results {
        let said = if result.holds { "holds" } else { "does not hold" };
        out.push(format!("contract {} {said}", visible(&result.contract)));
        for check in result.checks.iter().filter(|check| !check.holds) {
            let of = check.of.as_ref().map(|of| format!(" {}", visible(of))).unwrap_or_default();
            let because = check.because.as_deref().unwrap_or_default();
            let entries: Vec<String> = check.witnesses.iter().map(ToString::to_string).collect();
            let entries = if entries.is_empty() { String::new() } else { format!(" (entries {})", entries.join(", ")) };
            out.push(format!("  {}{of}: {}{entries}", visible(&check.check), visible(because)));
        }
    }
    out
}
