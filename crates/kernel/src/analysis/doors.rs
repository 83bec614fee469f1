//! What is enforced in a session, by its kind and by what it lacks; what a charter requires of that.

use super::coverage::{Reach, SURFACES, brought};
use super::formula::{Atom, Formulas, Slot};
use super::solve::{Found, Steps, solve};
use super::verdicts::{Judgement, verdicts};
use super::witness::{SharedFacts, action, text};
use crate::action::Surface;
use crate::charter::{Charter, Rule, RuleEffect, example_session};
use crate::learning::is_inward;
use crate::vocabulary::{Verb, verbs};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How a session comes to an agent's actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// `flyball run`: in a sandbox.
    Run,
    /// A harness's hooks alone.
    Hooks,
    /// `flyball gateway`: in front of tool servers.
    Gateway,
}

impl SessionKind {
    /// All of them, in the order of tables.
    pub const ALL: [SessionKind; 3] = [SessionKind::Run, SessionKind::Hooks, SessionKind::Gateway];

    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SessionKind::Run => "run",
            SessionKind::Hooks => "hooks",
            SessionKind::Gateway => "gateway",
        }
    }

    /// What it is, in words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            SessionKind::Run => "a session of `flyball run`",
            SessionKind::Hooks => "a session of hooks",
            SessionKind::Gateway => "a session of `flyball gateway`",
        }
    }
}

/// What becomes of a verb's actions, or of those through one surface. What is not even observed has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mediation {
    /// Ruled on where something tells of them; who tells nothing is not stopped.
    Observed,
    /// Each is ruled on before it takes effect, and nothing that the session lets pass goes round that.
    Enforced,
}

impl Mediation {
    /// Its name in output.
    #[must_use]
    pub fn name(mediation: Option<Self>) -> &'static str {
        match mediation {
            Some(Mediation::Enforced) => "enforced",
            Some(Mediation::Observed) => "observed only",
            None => "not mediated",
        }
    }
}

/// What stands between an agent and the world in one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// How it comes to actions.
    pub kind: SessionKind,
    /// Layers of the sandbox that are missing, by the names that `--accept-weaker` takes.
    pub weaker: Vec<String>,
    /// Whether what the rules refuse inside the session is let through, to learn from it.
    pub is_learning: bool,
    /// Whether a harness's hooks tell of its tool calls as well.
    pub has_hooks: bool,
}

impl Doors {
    /// Those of a session that lacks nothing.
    #[must_use]
    pub fn of(kind: SessionKind) -> Self {
        Self { kind, weaker: Vec::new(), is_learning: false, has_hooks: kind == SessionKind::Hooks }
    }

    fn lacks(&self, layer: &str) -> bool {
        self.weaker.iter().any(|weak| weak == layer)
    }

    /// Whether requests inside connections are ruled on.
    fn opens_http(&self, charter: &Charter) -> bool {
        charter.http().opens && charter.mentions_network() && !self.lacks("namespaces")
    }

    /// Whether that surface is there.
    #[must_use]
    pub fn has(&self, surface: Surface, charter: &Charter) -> bool {
        let is_run = self.kind == SessionKind::Run;
        match surface {
            Surface::Exec | Surface::Fs => is_run && !self.lacks("mediation"),
            Surface::Net => is_run,
            Surface::Http => is_run && self.opens_http(charter),
            Surface::Hook => self.has_hooks,
            Surface::Mcp => self.kind == SessionKind::Gateway,
            _ => false,
        }
    }

    /// What becomes of a verb's actions through one surface.
    #[must_use]
    pub fn through(&self, verb: Verb, surface: Surface, charter: &Charter) -> Option<Mediation> {
        let rows = brought(verb, charter).filter(|(of, _)| *of == surface);
        let reach = rows.map(|(_, reach)| reach).max().filter(|_| self.has(surface, charter))?;
        if verb.name() == "fs.read" && surface == Surface::Fs && !charter.sandbox().mediate_reads {
            // Reads of what is labelled are decided one by one; others by what is visible.
            return charter.labels_files().then_some(Mediation::Observed);
        }
        let is_let = self.is_learning && is_inward(verb);
        Some(if reach == Reach::Each && !is_let { Mediation::Enforced } else { Mediation::Observed })
    }

    /// Whether anything here brings actions to that rule.
    #[must_use]
    pub fn brings_any(&self, rule: &Rule, charter: &Charter) -> bool {
        let mut its = verbs().filter(|v| rule.verbs.contains(&v.name()));
        its.any(|verb| !self.by_surface(verb, charter).is_empty())
    }

    fn by_surface(&self, verb: Verb, charter: &Charter) -> BTreeMap<Surface, Mediation> {
        SURFACES.iter().copied().filter_map(|s| Some((s, self.through(verb, s, charter)?))).collect()
    }
}

/// What becomes of a rule's actions in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleMediation {
    /// The rule.
    pub rule: String,
    /// By surface, the best that it does for one of the rule's verbs.
    pub surfaces: BTreeMap<&'static str, Mediation>,
    /// Its verbs of which each action is ruled on.
    pub enforced: Vec<&'static str>,
    /// Those that are ruled on as far as something tells of them.
    pub observed: Vec<&'static str>,
    /// Those that nothing in the session brings to the rules.
    pub not_mediated: Vec<&'static str>,
}

impl RuleMediation {
    /// The state of all its verbs, where it is one.
    #[must_use]
    pub fn state(&self) -> Option<Option<Mediation>> {
        match (self.enforced.is_empty(), self.observed.is_empty(), self.not_mediated.is_empty()) {
            (false, true, true) => Some(Some(Mediation::Enforced)),
            (true, false, true) => Some(Some(Mediation::Observed)),
            (true, true, _) => Some(None),
            _ => None,
        }
    }
}

/// Rules and surfaces of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionCoverage {
    /// The kind of session.
    pub kind: SessionKind,
    /// The surfaces that it has.
    pub surfaces: Vec<&'static str>,
    /// By rule.
    pub rules: Vec<RuleMediation>,
    /// Why verbs that a surface brings one by one are only observed.
    pub gaps: Vec<String>,
}

/// What becomes of each rule's actions in such a session.
#[must_use]
pub fn session_coverage(charter: &Charter, doors: &Doors) -> SessionCoverage {
    let gap = doors.opens_http(charter).then(|| round_http(charter)).flatten();
    let has_gap = gap.is_some();
    let of_rule = |rule: &Rule| {
        let mut row = RuleMediation {
            rule: rule.id.clone(),
            surfaces: BTreeMap::new(),
            enforced: Vec::new(),
            observed: Vec::new(),
            not_mediated: Vec::new(),
        };
        for verb in verbs().filter(|v| rule.verbs.contains(&v.name())) {
            let by = doors.by_surface(verb, charter);
            match overall(&by, has_gap) {
                Some(Mediation::Enforced) => row.enforced.push(verb.name()),
                Some(Mediation::Observed) => row.observed.push(verb.name()),
                None => row.not_mediated.push(verb.name()),
            }
            for (surface, state) in by {
                let there = row.surfaces.entry(surface.name()).or_insert(state);
                *there = (*there).max(state);
            }
        }
        row
    };
    SessionCoverage {
        kind: doors.kind,
        surfaces: super::SURFACES.iter().filter(|s| doors.has(**s, charter)).map(|s| s.name()).collect(),
        rules: charter.rules().iter().map(of_rule).collect(),
        // Where no request is read at all, that is what is said.
        gaps: gap.filter(|_| doors.has(Surface::Http, charter)).into_iter().collect(),
    }
}

/// What becomes of a verb by all its surfaces. One that enforces is enough, unless there are ways round it.
fn overall(by: &BTreeMap<Surface, Mediation>, has_http_gap: bool) -> Option<Mediation> {
    let best = by.iter().map(|(surface, state)| match state {
        Mediation::Enforced if *surface == Surface::Http && has_http_gap => Mediation::Observed,
        state => *state,
    });
    best.max()
}

/// Ports at which nothing but HTTP goes on: what is neither that nor TLS is cut off.
const HTTP_PORTS: &[i64] = &[80, 443, 8000, 8008, 8080, 8443];
/// Work of one search for a way round.
const STEPS: u64 = 400_000;

/// Why what goes out over connections is not each read, though HTTP is opened: the text says which rule would mend it.
fn round_http(charter: &Charter) -> Option<String> {
    if let Some(host) = charter.http().pass.first() {
        return Some(format!("requests to `{host}` are not read (`[http] pass`)"));
    }
    let verb = Verb::named("net.connect")?;
    let facts = SharedFacts::of(&[charter]);
    let mut all = Formulas::new();
    let said = verdicts(&mut all, charter, 0, &facts, Judgement { verb, is_content: false });
    let port = || Slot::Field("port");
    let mut goal = vec![all.not(said.denied), all.not(said.held)];
    for read in HTTP_PORTS {
        let (below, upto) = (all.atom(Atom::AtMost(port(), read - 1)), all.atom(Atom::AtMost(port(), *read)));
        let above = all.not(upto);
        goal.push(all.or([below, above]));
    }
    goal.push(all.atom(Atom::AtMost(port(), 65_535)));
    let zero = all.atom(Atom::AtMost(port(), 0));
    goal.push(all.not(zero));
    let goal = all.and(goal);
    let session = example_session();
    let what = match solve(&all, goal, verb, &session, &mut Steps::of(STEPS)) {
        Found::Nothing => return None,
        Found::Model(model) => {
            action(verb, false, &model, &session).map(|a| format!(", such as `{}`", text(&a, &session)))
        }
        // Not shown to be closed is open.
        Found::CutOff => None,
    };
    Some(format!(
        "connections that may carry something else than HTTP are permitted{}: permit `net.connect` only where `resource.port` is one of {}",
        what.unwrap_or_default(),
        HTTP_PORTS.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    ))
}

/// A verb that a charter requires to be mediated further than a session does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lacking {
    /// The verb.
    pub verb: &'static str,
    /// The rules about it: the one that requires it, or all that refuse or ask.
    pub rules: Vec<String>,
    /// What is required.
    pub wants: Mediation,
    /// What it is there.
    pub is: Option<Mediation>,
    /// The surface that would do it, if this version has one.
    pub surface: Option<&'static str>,
    /// What to do.
    pub remedy: String,
}

impl std::fmt::Display for Lacking {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wants = Mediation::name(Some(self.wants));
        write!(out, "`{}` is {} and is to be {wants}", self.verb, Mediation::name(self.is))?;
        if !self.rules.is_empty() {
            let named: Vec<String> = self.rules.iter().take(4).map(|rule| format!("`{rule}`")).collect();
            let more = if self.rules.len() > 4 { ", …" } else { "" };
            write!(out, " (for {}{more})", named.join(", "))?;
        }
        match self.surface {
            Some(surface) => write!(out, ": surface `{surface}`: {}", self.remedy),
            None => write!(out, ": {}", self.remedy),
        }
    }
}

/// What the charter requires and such a session does not do.
#[must_use]
pub fn lacking(charter: &Charter, doors: &Doors) -> Vec<Lacking> {
    let mut gap: Option<Option<String>> = None;
    let mut out = Vec::new();
    for (verb, (wants, required_by)) in required(charter) {
        let by = doors.by_surface(verb, charter);
        // The search is made only where something depends on it.
        let is_by_http = by.get(&Surface::Http) == Some(&Mediation::Enforced);
        if is_by_http && wants == Mediation::Enforced && gap.is_none() {
            gap = Some(round_http(charter));
        }
        let way_round = gap.clone().flatten().filter(|_| is_by_http);
        let is = overall(&by, way_round.is_some());
        if is >= Some(wants) {
            continue;
        }
        let (surface, remedy) = remedy(charter, doors, verb, wants, way_round);
        let about = |r: &&Rule| r.effect == RuleEffect::Forbid && r.verbs.contains(&verb.name());
        let rules = match required_by.is_empty() {
            true => charter.rules().iter().filter(about).map(|r| r.id.clone()).collect(),
            false => required_by.into_iter().collect(),
        };
        out.push(Lacking { verb: verb.name(), rules, wants, is, surface, remedy });
    }
    out
}

/// By verb, what is required of it and by which rules' own annotations.
fn required(charter: &Charter) -> BTreeMap<Verb, (Mediation, BTreeSet<String>)> {
    let mut out: BTreeMap<Verb, (Mediation, BTreeSet<String>)> = BTreeMap::new();
    for verb in charter.required_verbs() {
        out.insert(*verb, (Mediation::Enforced, BTreeSet::new()));
    }
    for rule in charter.rules() {
        let Some(wants) = rule.coverage else { continue };
        for verb in verbs().filter(|v| rule.verbs.contains(&v.name())) {
            let there = out.entry(verb).or_insert((wants, BTreeSet::new()));
            there.0 = there.0.max(wants);
            there.1.insert(rule.id.clone());
        }
    }
    out
}

/// What a charter requires, in words: what two charters are compared by.
#[must_use]
pub fn requirements(charter: &Charter) -> BTreeSet<String> {
    let all = required(charter).into_iter();
    // Enforced is observed as well: who goes from the one to the other only loses or gains the stronger.
    all.flat_map(|(verb, (wants, _))| {
        let states = [Mediation::Observed, Mediation::Enforced];
        states.into_iter().filter(move |s| *s <= wants).map(move |s| format!("{verb} {}", Mediation::name(Some(s))))
    })
    .collect()
}

/// Verbs that are required of sessions, and that no kind of session brings so far, whatever the charter's other settings are.
pub(super) fn never(charter: &Charter) -> Vec<(Verb, Mediation)> {
    let most = |verb: Verb| {
        brought(verb, charter)
            .map(|(_, reach)| if reach == Reach::Each { Mediation::Enforced } else { Mediation::Observed })
            .max()
    };
    required(charter).into_iter().filter(|(v, (wants, _))| most(*v) < Some(*wants)).map(|(v, (w, _))| (v, w)).collect()
}

/// The surface that would do what is required of the verb, and what has to be done for that.
fn remedy(
    charter: &Charter,
    doors: &Doors,
    verb: Verb,
    wants: Mediation,
    way_round: Option<String>,
) -> (Option<&'static str>, String) {
    let does = |reach: Reach| reach == Reach::Each || wants == Mediation::Observed;
    let surfaces: BTreeSet<Surface> =
        brought(verb, charter).filter(|(_, reach)| does(*reach)).map(|(surface, _)| surface).collect();
    let Some(surface) = surfaces.iter().find(|s| doors.has(**s, charter)).or(surfaces.first()).copied() else {
        return (
            None,
            "no surface of this version does that in any session; take it out of what is required".to_owned(),
        );
    };
    let is_run = doors.kind == SessionKind::Run;
    let text = match surface {
        Surface::Mcp => "put `flyball gateway mcp --` before the tool server's command".to_owned(),
        Surface::Hook => "install the harness's hooks (`flyball hook install`)".to_owned(),
        _ if !is_run => {
            format!(
                "{} has none, since nothing is beneath it: start the agent with `flyball run --`",
                doors.kind.meaning()
            )
        }
        Surface::Exec | Surface::Fs if doors.lacks("mediation") => {
            "the layer `mediation` is missing here; `flyball doctor` says why".to_owned()
        }
        _ if doors.is_learning && is_inward(verb) => {
            "a learning session lets through what the rules refuse: leave `--learn` out".to_owned()
        }
        Surface::Http => match way_round {
            Some(way) => way,
            None if doors.lacks("namespaces") => "without namespaces there is no network to open".to_owned(),
            None => "permit some `http.request` and `net.connect`, and leave `open = false` out of `[http]`".to_owned(),
        },
        Surface::Fs => "set `mediate_reads = true` under `[sandbox]`".to_owned(),
        _ => "`flyball doctor` says what is missing here".to_owned(),
    };
    (Some(surface.name()), text)
}
