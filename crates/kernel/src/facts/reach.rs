//! How far back a fact looks: what is older can't be of any matter to it, now or later.

use super::check::Compiled;
use super::monitor::Node;
use super::{Facts, Monitor};

impl Facts {
    /// How old an event of another session may be and still matter to a fact across sessions; `None` where no window says so.
    pub fn reach_ns(&self) -> Option<u64> {
        self.monitors.iter().filter(|m| m.is_fleet).try_fold(0, |most: u64, m| Some(most.max(of(m)?)))
    }
}

fn of(monitor: &Monitor) -> Option<u64> {
    // One that any event moves is about the last event, however old that is.
    monitor.events()?;
    match &monitor.compiled {
        Compiled::Formula(node) => of_node(node),
        Compiled::Number(counter) => counter.window.max_ns,
    }
}

/// Seen from the event, or the moment, at which it is asked.
fn of_node(node: &Node) -> Option<u64> {
    let below = || node.below().into_iter().try_fold(0, |most: u64, node| Some(most.max(of_node(node)?)));
    match node {
        Node::Once { store, .. } => store.window().max_ns?.checked_add(below()?),
        Node::Since(since) => since.store.window().max_ns?.checked_add(below()?),
        Node::Compare(counter, ..) => counter.window.max_ns,
        Node::Prev(_) => None,
        _ => below(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use crate::Charter;

    fn reach(facts: &str) -> Option<u64> {
        let text = format!("[charter]\nname = \"x\"\n[facts]\n{facts}\n");
        let files = [("charter.toml".to_owned(), text)].into_iter().collect();
        Charter::compile(&files).unwrap_or_else(|found| panic!("{found:?}")).0.reach_ns()
    }

    #[test]
    fn windows_add_up_and_one_without_reaches_for_ever() {
        const MINUTE: u64 = 60_000_000_000;
        let fleet = |text: &str| format!("a = {{ is = '{text}', per = \"fleet\" }}");
        for (text, wanted) in [
            ("once[10m] did fs.write()", Some(10 * MINUTE)),
            ("count[5m] did fs.write()", Some(5 * MINUTE)),
            ("once[10m] (did fs.write() and once[5m] did fs.read())", Some(15 * MINUTE)),
            ("once[1m, 10m] did fs.write() or once[20m] did fs.read()", Some(20 * MINUTE)),
            ("once did fs.write()", None),
            ("once[5m, *) did fs.write()", None),
            ("once[1m] (once did fs.write())", None),
            ("count did fs.write()", None),
            ("did fs.write()", None),
            ("prev[1m] did fs.write()", None),
        ] {
            assert_eq!(reach(&fleet(text)), wanted, "{text}");
        }
        let two = format!("{}\nb = 'once did fs.write()'", fleet("once[1m] did fs.write()"));
        assert_eq!(reach(&two), Some(MINUTE), "what is of this session alone has its history here");
    }
}
