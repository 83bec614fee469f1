//! Two atoms with common variables, outside any fact: what begins an obligation, and what discharges it.

use super::check::Checker;
use super::pattern::Pattern;
use super::syntax::{self, AtomAst, Expr, Fault, Operand};
use std::collections::BTreeMap;

/// The two, resolved.
#[derive(Debug)]
pub(crate) struct Pair {
    pub trigger: Pattern,
    pub must: Pattern,
    /// Which of the trigger's values is to be equal to which of the other's.
    pub shared: Vec<(usize, usize)>,
    /// The trigger's variables, in the order of its values.
    pub variables: Vec<String>,
}

/// Reads both. A fault says whether it is in the second.
pub(crate) fn pair(when: &str, must: &str) -> Result<Pair, (bool, Fault)> {
    let first = atom(when).map_err(|fault| (false, fault))?;
    let second = atom(must).map_err(|fault| (true, fault))?;
    let none = BTreeMap::new();
    let mut checker = Checker::new(when, &none);
    let (trigger, pending) = checker.pattern(&first).map_err(|fault| (false, fault))?;
    checker.refuse_pending(&pending, None).map_err(|fault| (false, fault))?;
    let known = checker.variables();
    checker.text = must;
    let (must, pending) = checker.pattern(&second).map_err(|fault| (true, fault))?;
    checker.refuse_pending(&pending, None).map_err(|fault| (true, fault))?;
    let place = |pattern: &Pattern, var| pattern.binds.keys().position(|v| *v == var);
    let shared = trigger.binds.keys().filter_map(|var| Some((place(&trigger, *var)?, place(&must, *var)?))).collect();
    let variables = trigger.binds.keys().filter_map(|var| known.get(var).cloned()).collect();
    Ok(Pair { trigger, must, shared, variables })
}

fn atom(text: &str) -> Result<AtomAst, Fault> {
    let tree = syntax::fact(text)?;
    let Expr::Atom(atom) = tree.expr else {
        let fault = Fault::new("FB0152", tree.span, "an obligation begins and ends with one event");
        return Err(fault.hint("`did VERB(…)`, `attempt VERB(…)` or `result VERB(…)`"));
    };
    for found in &atom.matches {
        if let Operand::Var(name) = &found.operand
            && name.starts_with('$')
        {
            let fault = Fault::new("FB0152", found.span.clone(), format!("`{name}` is of an action that is judged"));
            return Err(fault.hint(format!("a variable: `{}`", name.trim_start_matches('$'))));
        }
    }
    Ok(atom)
}
