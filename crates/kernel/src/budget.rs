//! Budgets: reserved at the attempt, settled at the outcome, given back when nothing was done.

mod shared;

use crate::action::{Action, Value};
use crate::charter::report::{Report, clip, nearest};
use crate::charter::settings::verbs_of;
use crate::charter::table::{Keys, integer};
use crate::decide::{Finding, own};
use crate::registers::BudgetUse;
use crate::ruling::{Effect, Reason};
use crate::session::Values;
use crate::vocabulary::{AttrType, Verb};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub use shared::{SharedFound, SharedWant};

/// `[budget.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) verbs: Vec<Verb>,
    /// The attribute that is summed; `None` counts actions.
    pub(crate) attr: Option<&'static str>,
    pub(crate) limit: i64,
    pub(crate) per: Per,
    /// Uses of the limit at which it is warned, ascending.
    pub(crate) warn_at: Vec<i64>,
}

/// Whose use is counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Per {
    #[default]
    Session,
    Agent,
    /// All sessions of whoever runs them.
    Owner,
    /// All sessions of the ledger.
    Fleet,
    /// All sessions of the ledger, each day (UTC) anew.
    Day,
}

/// A budget, and within it the agent or the shared register that is counted apart; else nothing.
type Key = (String, String);

/// What budgets have used, and what is reserved of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// By budget, and by agent or shared register where the budget is; reservations included.
    #[serde(with = "crate::pairs")]
    used: BTreeMap<Key, i64>,
    /// By attempt: which budget's key, and how much.
    #[serde(with = "crate::pairs")]
    reserved: BTreeMap<u64, Vec<(Key, i64)>>,
    warned: BTreeSet<(String, String, i64)>,
    /// What the next attempt may take of shared registers, by budget.
    pub(crate) granted: BTreeMap<String, (String, i64)>,
    /// What this input changes of shared registers: empty before the next.
    #[serde(with = "crate::pairs")]
    pub(crate) dues: BTreeMap<Key, i64>,
}

pub(crate) fn section(report: &mut Report, root: &mut Keys) -> BTreeMap<String, Budget> {
    let mut out = BTreeMap::new();
    for (name, mut keys) in root.named_tables(report, "budget") {
        let sum = keys.str(report, "sum");
        let count = keys.str(report, "count");
        let (verbs, attr) = match (sum, count) {
            (Some(sum), None) => match summed(report, &sum.value, &sum) {
                Some((verbs, attr)) => (verbs, Some(attr)),
                None => (Vec::new(), None),
            },
            (None, Some(count)) => (verbs_of(report, &count), None),
            _ => {
                let message = format!("{} is to have one of `sum` and `count`", keys.name);
                report.error(
                    "FB0150",
                    &keys.place,
                    message,
                    "such as `sum = \"model.call.tokens\"` or `count = \"fs.delete\"`",
                );
                (Vec::new(), None)
            }
        };
        let limit = match keys.int(report, "limit") {
            Some(limit) if limit.value >= 0 => limit.value,
            Some(limit) => {
                report.error("FB0150", &limit.place, "a limit is not below 0", ());
                0
            }
            None => {
                report.error("FB0104", &keys.place, format!("{} lacks `limit`", keys.name), "add `limit = 100`");
                0
            }
        };
        let per = keys.choice(report, "per", &["session", "agent", "owner", "fleet", "day"]);
        let warn_at = warnings(report, &mut keys, limit);
        keys.finish(report);
        let per = match per.as_ref().map(|p| p.value.as_str()) {
            Some("agent") => Per::Agent,
            Some("owner") => Per::Owner,
            Some("fleet") => Per::Fleet,
            Some("day") => Per::Day,
            _ => Per::Session,
        };
        out.insert(name.value, Budget { verbs, attr, limit, per, warn_at });
    }
    out
}

/// The verbs and the attribute of `model.call.tokens`.
fn summed(
    report: &mut Report,
    text: &str,
    at: &crate::charter::report::At<String>,
) -> Option<(Vec<Verb>, &'static str)> {
    let (verb, attr) = text.rsplit_once('.').unwrap_or((text, ""));
    let verb_at = crate::charter::report::At { value: verb.to_owned(), place: at.place.clone() };
    let verbs = verbs_of(report, &verb_at);
    let first = verbs.first()?;
    let fields: Vec<_> =
        crate::facts::fields_of(*first, crate::facts::Phase::Result).filter(|f| f.ty == AttrType::Long).collect();
    let found = fields.iter().find(|f| f.name == attr);
    if found.is_none() {
        let message = format!("`{}` has no number `{}`", clip(verb), clip(attr));
        report.error("FB0121", &at.place, message, nearest(attr, fields.iter().map(|f| f.name)));
    }
    found.map(|f| (verbs, f.name))
}

/// Fractions of the limit, such as `[0.5, 0.9]`, as amounts. Read from their decimal digits: no floats.
fn warnings(report: &mut Report, keys: &mut Keys, limit: i64) -> Vec<i64> {
    let Some(value) = keys.raw("warn_at") else { return Vec::new() };
    let place = crate::charter::report::Place::new(&keys.place.file, value.span());
    let items: Vec<_> = match value.get_ref().as_array() {
        Some(list) => list.iter().map(toml::Spanned::get_ref).collect(),
        None => vec![value.get_ref()],
    };
    let mut out = Vec::new();
    for item in items {
        let per_mille = match (item.as_float(), integer(item)) {
            (Some(float), _) => float.as_str().strip_prefix("0.").and_then(per_mille),
            (None, Some(1)) => Some(1000),
            _ => None,
        };
        match per_mille {
            Some(part) => {
                let amount = i128::from(limit) * i128::from(part) / 1000;
                out.push(i64::try_from(amount).unwrap_or(limit));
            }
            None => report.error(
                "FB0150",
                &place,
                "`warn_at` wants fractions with at most 3 digits",
                "such as `[0.5, 0.9]`",
            ),
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

fn per_mille(digits: &str) -> Option<u32> {
    let is_short = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let value = is_short.then(|| digits.parse::<u32>().ok()).flatten()?;
    let scale = [100, 10, 1].get(digits.len() - 1).copied()?;
    Some(value * scale).filter(|v| *v > 0)
}

impl Budget {
    /// What an action takes from it, when it takes anything.
    fn amount(&self, action: &Action, values: &Values) -> Option<i64> {
        if !self.verbs.contains(&action.verb) || action.is_content() {
            return None;
        }
        match self.attr {
            None => Some(1),
            Some(attr) => match values.get(attr) {
                Some(Value::Long(n)) => Some(*n),
                _ => Some(0),
            },
        }
    }
}

impl Ledger {
    /// The budgets that an action does not fit into.
    pub fn findings(&self, budgets: &BTreeMap<String, Budget>, action: &Action, values: &Values) -> Vec<Finding> {
        let mut out = Vec::new();
        for (name, budget) in budgets {
            let Some(amount) = budget.amount(action, values) else { continue };
            let limit = budget.limit;
            let (used, fits) = if budget.per.is_shared() {
                // What it was found to hold together with what it granted: that is its own share of it.
                let granted = self.granted.get(name);
                let key = (name.clone(), granted.map(|(register, _)| register.clone()).unwrap_or_default());
                let used = self.used.get(&key).copied().unwrap_or_default();
                let own = granted.map_or(0, |(_, amount)| *amount);
                (used.saturating_sub(own), amount == 0 || (amount > 0 && own >= amount))
            } else {
                let used = self.used.get(&budget.key(name, values)).copied().unwrap_or_default();
                (used, amount >= 0 && used.checked_add(amount).is_some_and(|sum| sum <= limit))
            };
            if !fits {
                let needs = format!("at most {} of `{name}`, or a larger limit", limit.saturating_sub(used).max(0));
                let of = budget.per.text();
                let reason =
                    format!("the budget `{name}`{of} is {limit}: {used} of it is used, and this takes {amount}");
                out.push(Finding::deny(Reason { needs: Some(needs), ..own(name, reason, None) }));
            }
        }
        out
    }

    /// What these counted goes on under another charter's budgets where they count the same; the rest is as rebuilt.
    pub fn adopted(&self, was: &BTreeMap<String, Budget>, is: &BTreeMap<String, Budget>, rebuilt: Self) -> Self {
        let same = |name: &String| match (was.get(name), is.get(name)) {
            (Some(was), Some(is)) => (&was.verbs, was.attr, was.per) == (&is.verbs, is.attr, is.per),
            _ => false,
        };
        let Self { used, reserved, warned, granted, dues } = self.clone();
        let mut out = rebuilt;
        out.used.retain(|(name, _), _| !same(name));
        out.used.extend(used.into_iter().filter(|((name, _), _)| same(name)));
        out.reserved.values_mut().for_each(|all| all.retain(|((name, _), _)| !same(name)));
        for (of, all) in reserved {
            let kept = all.into_iter().filter(|((name, _), _)| same(name));
            out.reserved.entry(of).or_default().extend(kept);
        }
        out.reserved.retain(|_, all| !all.is_empty());
        out.warned.retain(|(name, ..)| !same(name));
        out.warned.extend(warned.into_iter().filter(|(name, ..)| same(name)));
        (out.granted, out.dues) = (granted, dues);
        out
    }

    /// Reserves what an action takes; gives the effects to tell.
    pub fn reserve(
        &mut self,
        budgets: &BTreeMap<String, Budget>,
        of: u64,
        action: &Action,
        values: &Values,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (name, budget) in budgets {
            let Some(amount) = budget.amount(action, values) else { continue };
            let granted = self.granted.remove(name).filter(|_| budget.per.is_shared());
            if budget.per.is_shared() && granted.is_none() {
                continue;
            }
            let (key, used) = match granted {
                // The register holds it already; what was granted beyond the amount goes back.
                Some((register, granted)) => {
                    let key = (name.clone(), register);
                    let used = self.change_shared(&key, amount.saturating_sub(granted));
                    (key, used)
                }
                None => {
                    let key = budget.key(name, values);
                    let used = self.add(&key, amount);
                    (key, used)
                }
            };
            self.reserved.entry(of).or_default().push((key.clone(), amount));
            effects.push(Effect::Reserve { budget: name.clone(), amount, used, limit: budget.limit });
            for at in budget.warn_at.iter().filter(|at| used >= **at) {
                if self.warned.insert((key.0.clone(), key.1.clone(), *at)) {
                    effects.push(Effect::Warn { budget: name.clone(), used, limit: budget.limit });
                }
            }
        }
        effects
    }

    /// Gives back all that an attempt reserved.
    pub fn release(&mut self, budgets: &BTreeMap<String, Budget>, of: u64) {
        for (key, amount) in self.reserved.remove(&of).unwrap_or_default() {
            self.change(budgets, &key, amount.saturating_neg());
        }
    }

    /// Puts what was really used in the place of what was reserved.
    pub fn settle(
        &mut self,
        budgets: &BTreeMap<String, Budget>,
        of: u64,
        is_ok: bool,
        outcome: &BTreeMap<String, Value>,
    ) {
        for (key, amount) in self.reserved.remove(&of).unwrap_or_default() {
            let stated = budgets.get(&key.0).and_then(|b| b.attr).and_then(|attr| outcome.get(attr));
            let real = match stated {
                // What it says it used counts, even where it failed; it can't have used less than nothing.
                Some(Value::Long(n)) => (*n).max(0),
                _ if is_ok => amount,
                _ => 0,
            };
            self.change(budgets, &key, real.saturating_sub(amount));
        }
    }

    /// What is used of each budget; of one that nobody used yet, nothing.
    pub fn uses(&self, budgets: &BTreeMap<String, Budget>) -> Vec<BudgetUse> {
        let mut reserved = BTreeMap::<&Key, i64>::new();
        for (key, amount) in self.reserved.values().flatten() {
            let sum = reserved.entry(key).or_default();
            *sum = sum.saturating_add(*amount);
        }
        let mut out = Vec::new();
        for (name, budget) in budgets {
            let of_none = (name.clone(), String::new());
            let mut keys: Vec<&Key> = self.used.keys().filter(|(budget, _)| budget == name).collect();
            if keys.is_empty() {
                keys.push(&of_none);
            }
            out.extend(keys.into_iter().map(|key| BudgetUse {
                budget: name.clone(),
                // Of a register's name, what it is about: its beginning says the charter and the budget.
                agent: if budget.per.is_shared() { scope_of(&key.1) } else { key.1.clone() },
                used: self.used.get(key).copied().unwrap_or_default(),
                reserved: reserved.get(key).copied().unwrap_or_default(),
                limit: budget.limit,
                warn_at: budget.warn_at.clone(),
            }));
        }
        out
    }

    fn add(&mut self, key: &Key, amount: i64) -> i64 {
        let used = self.used.entry(key.clone()).or_default();
        // A budget that is used up beyond counting stays used up.
        if *used != i64::MAX {
            *used = used.saturating_add(amount);
        }
        *used
    }
}

fn scope_of(register: &str) -> String {
    let mut parts = register.splitn(4, '/');
    parts.nth(3).unwrap_or(register).to_owned()
}

impl Budget {
    fn key(&self, name: &str, values: &Values) -> Key {
        let agent = match self.per {
            Per::Agent => values.get("agent").and_then(Value::as_str).unwrap_or_default(),
            _ => "",
        };
        (name.to_owned(), agent.to_owned())
    }
}
