//! The page of each code that a charter's findings carry.

/// Code, title and page of every finding; `flyball explain CODE` prints the page.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "FB0101",
        "charter.toml is no TOML",
        "The file could not be read as TOML, so nothing else in it was looked at.\n\nMend the place that is named; quotes and brackets that are not closed are told of where the next thing begins.",
    ),
    (
        "FB0102",
        "an unknown key or annotation",
        "A key that nothing reads is refused, since a control that is spelt wrong would be a control that is not there.\n\nExample: `[sandbox] hidden = […]` where `hide` was meant. Use the name in the hint.",
    ),
    (
        "FB0103",
        "a value of the wrong kind",
        "The key is known and its value can't be used: another type, a number out of bounds, a path that leaves its place.\n\nExamples: durations are `\"10s\"`, `\"5m\"`, `\"24h\"`; sizes `\"2GiB\"`; host paths start with `/` or `~/`; workspace paths are relative and without `..`.",
    ),
    (
        "FB0104",
        "something is missing",
        "A section lacks a key that has no default.\n\nAdd the key that the hint shows.",
    ),
    (
        "FB0105",
        "an unknown name",
        "Something is named that the charter does not define: an owner, an escalation path, an autonomy level, a rule.\n\nUse the name in the hint, or define it.",
    ),
    (
        "FB0107",
        "a file is missing or foreign",
        "A charter is a folder with `charter.toml` and any number of `*.cedar` beside it, and nothing else.\n\n`flyball init` writes one.",
    ),
    (
        "FB0110",
        "a rule is no Cedar",
        "The file could not be read as Cedar, so none of its rules stand.\n\nCedar's own message says what was expected. The language is described at https://docs.cedarpolicy.com.",
    ),
    (
        "FB0111",
        "a rule does not fit the schema",
        "Rules are checked strictly against the vocabulary and the charter's facts. An attribute that an action may lack must be asked for first: `context.attrs has force && context.attrs.force`.\n\n`flyball schema` prints all that rules can name.",
    ),
    (
        "FB0112",
        "a rule never applies",
        "The rule's scope or condition can't hold for any action, so it would stop or permit nothing. A dead `forbid` is a control that is not there.\n\nExample: `resource is Package` for `fs.write`, which is done to a File. Remove the rule or mend it.",
    ),
    (
        "FB0113",
        "a rule without its annotations",
        "Every rule has `@id(\"…\")`, `@owner(\"…\")` and `@reason(\"…\")`: a refusal names them. `@escalate(\"PATH\")` may stand on a `forbid`, and turns its refusal into a question.",
    ),
    (
        "FB0114",
        "one name for two things",
        "Rulings name rules, budgets and envelopes by their names, so each name is one thing.\n\nRename one of them.",
    ),
    (
        "FB0115",
        "templates",
        "Cedar templates (`?principal`, `?resource`) are filled in by programs; a charter has nobody who would.\n\nWrite the rule out.",
    ),
    (
        "FB0116",
        "a doubtful text in a rule",
        "Cedar found characters that look like others or change the direction of reading: a rule may not mean what it looks like.\n\nRetype the text.",
    ),
    (
        "FB0117",
        "a permit reads what a file's content says",
        "A write is ruled on when the file is opened, by every rule, and again once its content is there: that second time only rules that read `content`, `imports`, `secrets` or `ci` have a say, and nothing has to be permitted again. A permit can't refuse then. Say what must not be written with a `forbid`.",
    ),
    (
        "FB0120",
        "a fact can't be read",
        "The text is not in the language of facts.\n\nExamples: `once did fs.read(label: \"secret\")`, `no did fs.write(path like \"src/**\") since result process.exec(program: \"cargo\", exit: 0)`, `count[10m] attempt remediation.start(condition: $condition) >= 3`.",
    ),
    (
        "FB0121",
        "a name that the vocabulary lacks",
        "There is no such verb, attribute or fact. An attribute of an outcome (`exit`, `ok`, `rows`) is known to `result` only.\n\n`flyball schema` prints verbs and attributes.",
    ),
    (
        "FB0122",
        "types do not fit",
        "A value, variable or number stands where another type is wanted.\n\nExample: `path has \"x\"` asks a string for an item, and `path like \"*x*\"` was meant.",
    ),
    (
        "FB0123",
        "a fact is not safe-range",
        "A variable is only compared or negated, and nothing says which values it can have: the fact would range over everything there is.\n\nBind it in a `did`, `attempt` or `result` beside the negation (`once did fs.read(path: p) and not once did fs.write(path: p)`), use the same variables on both sides of `or`, and bind after `since` what stands before it.",
    ),
    (
        "FB0124",
        "a fact without a bound",
        "The fact would have to keep all that ever happened.\n\nGive its window an end: `[1m, 24h]`.",
    ),
    (
        "FB0125",
        "a fact names itself",
        "Facts may name each other, but not in a circle.\n\nSay one of them without the other.",
    ),
    (
        "FB0127",
        "nothing reads a fact",
        "A fact that no rule, other fact or autonomy level reads changes nothing.\n\nUse it, or remove it.",
    ),
    (
        "FB0130",
        "an escalation that never ends",
        "Each path of escalations must end in `deny`: a question that goes round holds its action for ever.\n\nGive one tier `then = \"deny\"`.",
    ),
    (
        "FB0131",
        "a tier that nobody is in",
        "A question to it could not be answered.\n\nName an owner who has contacts in [owners].",
    ),
    (
        "FB0132",
        "a quorum that can't be met",
        "It asks for more people than the tier has, or for none.\n\nLower it or name more people.",
    ),
    (
        "FB0133",
        "an agent as approver",
        "Agents don't answer for rules and don't approve actions.\n\nName a person: `user:NAME`, `NAME@corp`.",
    ),
    (
        "FB0134",
        "a key that signs nothing",
        "A contact `key:ssh-ed25519 AAAA…` is a person who signs answers with that SSH key: the whole public key as it stands in `id_ed25519.pub`. What follows it is a comment and does not count, so that one key is one person. Other kinds of keys are not taken.\n\n`ssh-keygen -t ed25519` makes a key; `flyball answer --key FILE` signs with it.",
    ),
    (
        "FB0135",
        "one person who may count as two",
        "A quorum counts persons. Somebody who answers from their account (`user:NAME`) and signs with their key (`key:…`) would count twice, and nothing but the charter can say that they are one.\n\nGather the contacts of each person in one place, and name the persons as owners:\n\n[people]\nalice = [\"user:alice\", \"key:ssh-ed25519 AAAA…\"]\nbob = [\"key:ssh-ed25519 AAAA…\"]\n[owners]\nsre = [\"alice\", \"bob\"]",
    ),
    (
        "FB0136",
        "a contact of two persons",
        "Who answers with it could be either, and might count for both.\n\nLeave it with the person whose it is; an account that several share is nobody's proof.",
    ),
    (
        "FB0140",
        "an example can't be read",
        "An example gives actions with values: `attempt = \"fs.write(path: 'src/a.rs')\"`; what was before it stands in `given`, as `did …`, `result …`, `attempt …` or `wait 10m`; `expect` is `allow`, `deny RULE`, `hold RULE` or `modify`.",
    ),
    (
        "FB0141",
        "no examples",
        "Nothing shows that the charter means what its authors think.\n\nAdd an [[example]] for what must never pass and one for what must.",
    ),
    (
        "FB0150",
        "a budget or envelope that bounds nothing",
        "A budget has one of `sum` and `count`, and a limit of at least 0; an envelope has at least one of `min`, `max`, `step` and `rate`, and `min` is not above `max`.",
    ),
    (
        "FB0151",
        "autonomy levels do not fit",
        "`levels` names some of observe, propose, bounded, extended, in that order; `start` is one of them; level `propose` needs somebody to ask.",
    ),
    (
        "FB0152",
        "an obligation that can't be kept or caused",
        "An obligation says what must follow when something happened, and what is done where it does not in time. `when` and `must` are one event each, `within` is a time above 0, and `otherwise` is one of `escalate:PATH`, `pause`, `rollback`, `quarantine` and `kill`.\n\nExample: `when = 'did incident.open(id: i)'`, `must = 'did incident.escalate(id: i)'`, `within = \"5m\"`, `owner = \"sre\"`, `otherwise = \"escalate:sre\"`.",
    ),
    (
        "FB0153",
        "the table of governance is not loosened",
        "Consequence and reversibility of an action pick how deeply it is governed: what is recorded, whether that is on the disk first, whether the workspace is captured first, who approves. `[[governance]]` adds to the built-in table and takes nothing from it.\n\nExample: `consequence = \"critical\"`, `reversibility = \"irreversible\"`, `ask = \"sre\"`: such actions, and graver ones, are approved first. `flyball schema` shows the table as it stands.",
    ),
    (
        "FB0154",
        "a data label that is on nothing or that nobody owns",
        "A label says which data it is on (`paths`, `tables`, `hosts`) and who owns it: only a contact of the owner may end its taint with `flyball declassify`.\n\nExample: `name = \"secret\"`, `paths = [\"secrets/**\", \"~/.aws/**\"]`, `owner = \"security\"`. A rule reads it as `context.attrs has labels && context.attrs.labels.contains(\"secret\")`, a fact as `once did fs.read(label: \"secret\")`. Reads of labelled paths are decided one by one: under `default = \"deny\"` they need a permit.",
    ),
    (
        "FB0160",
        "too large",
        "The charter is larger than what people write by hand: a file, a fact's nesting, the number of rules or facts.\n\nSplit it or say it in fewer words.",
    ),
    (
        "FB0170",
        "a snapshot of another version",
        "A snapshot of the kernel's state is read only by the version that wrote it: another one may keep something else, and would rule otherwise without anybody noticing.\n\nNothing is lost: the state is what the session's record makes of it, and the record is read by every version. Remove the snapshot; the state is rebuilt.",
    ),
    (
        "FB0171",
        "a snapshot of another charter",
        "What a kernel remembers belongs to the charter that it ruled by; under another one it would be believed wrongly.\n\nRestore it under the charter whose digest it names; to go on under another charter, adopt that one afterwards, which rebuilds what is new from the session's history.",
    ),
    (
        "FB0172",
        "a snapshot that can't be read",
        "The bytes are no snapshot, were cut short or changed.\n\nRemove it; the state is rebuilt from the session's record.",
    ),
    (
        "FB0180",
        "a rule that matches nothing",
        "No action has values that meet the rule's conditions together, so it stops or permits nothing: a control that is not there.\n\nExamples: a path that is to be outside the workspace and below `src/`; a number that is to be above 5 and below 3. Mend the condition, or remove the rule.",
    ),
    (
        "FB0181",
        "a rule that stands twice",
        "Another rule has the same effect on the same actions. Which of the two owners and reasons a refusal names is then no one's decision.\n\nRemove one of them.",
    ),
    (
        "FB0182",
        "a shadowed rule",
        "Wherever this rule matches, others with the same effect match as well: without it nothing would be ruled otherwise. It was proved for all actions; one that it matches is shown.\n\nRemove it, or narrow the others if it was meant to be the only one there. A narrower reason beside a broader rule needs the broader one to leave that part out.",
    ),
    (
        "FB0183",
        "rules in conflict",
        "Whatever the rule would permit, or ask people about, is refused by others, or permitted by none: a `forbid` wins against every `permit`, a refusal against a question, and what no rule permits is refused unasked. It was proved for all actions; one that shows it is given.\n\nLet the other rules leave out what this one is for (`unless { … }`), permit what is to be asked about, or remove the rule.",
    ),
    (
        "FB0184",
        "not mediated in this version",
        "The rule, fact, budget, envelope or obligation is about verbs that no surface of this version brings to the rules: it will do what it says once that surface is built, and until then it does nothing. `flyball check` shows which surface brings what. It is an error, since it would be a control that is not there.\n\nRemove it; or, if the charter is for later, name the verbs: `[charter] not_covered = [\"control.*\"]`. Then `check` tells of it each time and passes.",
    ),
    (
        "FB0185",
        "an event that can't be",
        "An atom of a fact or an obligation asks an event for values that no event has together, so nothing ever changes it.\n\nExample: `did fs.write(path: \"a\", path: \"b\")`. Mend the values that are named.",
    ),
    (
        "FB0186",
        "an example that does not hold",
        "Run against the charter, the example was ruled otherwise than it expects: the charter does not mean what its author thinks, or the example is wrong. What was given is shown with its numbers, and each fact that matters with the numbers behind it.\n\nMend the rule or fact where it went another way, or the example.",
    ),
    (
        "FB0187",
        "the analysis stopped short",
        "Analysis takes a bounded number of steps, whatever the charter. Here they were used up before every rule had been looked at, so that idle rules may be untold. Nothing else depends on it: rules are evaluated in full at every step.\n\nSplit very large conditions, or lists of literals into fewer patterns.",
    ),
    (
        "FB0188",
        "two owners or two paths for the same",
        "Two rules with the same effect speak of the same action, and other people answer for each. Where both ask, by other paths, the action waits until all of them have agreed, and one who does not answer in time refuses it. Where one rule refuses, permits or asks only what another owner's rule does as well, neither owner can loosen it alone, and each may think that the other has it. It was found by search, and the real rules were asked about what is shown.\n\nHave one rule leave out what the other is for (`unless { … }`), or give both to one owner. Leave it where both are meant to agree.",
    ),
    (
        "FB0189",
        "coverage that nothing gives",
        "`[require] coverage` or a rule's `@coverage` asks for more than any session of this version does, so that none would ever start under this charter. `flyball check` shows what each kind of session enforces.\n\nTake the verb out of what is required, or ask for `observed` only.",
    ),
    (
        "FB0199",
        "an error of Flyball's own",
        "The schema that Flyball generated is not valid. This is a mistake in Flyball.\n\nPlease report it with the charter.",
    ),
];
