//! `explain`: a page for each code, from every crate's table and our own.

use crate::failure::Failure;
use crate::output::{Cell, Output, Style, table};
use serde_json::json;

/// Code, title, page.
type Page = (&'static str, &'static str, &'static str);

/// The command line's own codes, FB0500 to FB0599.
pub static CODES: &[Page] = &[
    ("FB0500", "defect in flyball", "\
Flyball met a state that it takes to be impossible. Nothing was allowed because of it: what can't be decided is denied.
Please report the command that you gave and the message."),
    ("FB0501", "no charter found", "\
No charter was named, and neither the current folder nor one above it has a `.flyball`. Nothing runs without a charter.
`flyball init` writes one that fits the repository; `--charter DIR` names another."),
    ("FB0502", "charter is there already", "\
`flyball init` never overwrites. Edit the charter that is there, or move it away first."),
    ("FB0503", "charter can't be read", "\
A charter is a folder with `charter.toml` and any number of `*.cedar` beside it, each UTF-8 and at most 1 MiB. The message
names the file and what the operating system said."),
    ("FB0504", "input line can't be read", "\
`flyball test` reads JSON lines: an action as in `log --json`, or an object with one of `result`, `observe`, `answer`,
`tick`. The message names file and line. See `flyball test --help`."),
    ("FB0505", "diff of what", "\
`flyball diff S SEQ SEQ` shows what changed in a session's workspace between two entries, `flyball diff S S` how those of two
sessions differ. `flyball diff DIR DIR` shows what
the second charter lets pass that the first does not, and the reverse. Nothing else was understood."),
    ("FB0506", "not a matter of this entry", "\
The entry exists, but the question doesn't fit it: a file's content can be asked for only where one was recorded, say."),
    ("FB0507", "charter does not hold", "\
The charter compiles, and what it says of itself is not so: an example is ruled otherwise than it expects, or a fact asks for
an event that can't be. `flyball check` shows each with its place. A run under it would start all the same."),
    ("FB0511", "no such code", "Codes look like FB0123. `flyball explain` alone lists all of them."),
    ("FB0512", "file or folder can't be used", "\
The operating system refused; the message names the file and the cause. Nothing was changed unless the message says so."),
    ("FB0513", "changed action can't be read", "\
`answer ID modify --with JSON` takes a whole action, in the form that `flyball asks --json` shows under `attempt`."),
    ("FB0514", "no place for the ledger", "\
Neither `--ledger`, `$FLYBALL_HOME`, `$XDG_DATA_HOME` nor `$HOME` says where the ledger is. Set one of them."),
    ("FB0515", "workspace is missing", "\
The folder that the program is to work in isn't there, or isn't a folder. Name one with `--workspace`."),
    ("FB0516", "detached run did not start", "\
The background supervisor ended before its session had opened. What it said is shown with the message."),
    ("FB0517", "charter does not compile", "\
Every finding was told with its own code, file, line and remedy. A charter with errors governs nothing, so nothing ran."),
    ("FB0518", "no answer on the terminal", "\
The terminal went away while a question stood on it. Nothing was applied: `flyball apply` does it later."),
    ("FB0519", "no contracts", "\
`--apply contract` applies only when all of the charter's contracts hold at the end. This charter has none, so nothing ran: add a
`[[contract]]`, or say `ask`, `always` or `never`."),
    ("FB0520", "session still runs", "\
A workspace is applied or discarded at the end of its session. Wait for it, or end it with `flyball kill`."),
    ("FB0521", "workspace is gone", "\
The session's changed workspace was applied or discarded before. Its record, with every content, is still in the ledger:
`flyball at` shows it."),
    ("FB0522", "changes that the record can't explain", "\
Before apply the whole changed workspace is compared with the record. Something is in it that no recorded action made, so
nothing was applied and an alert was raised. Look at the paths; roll back to a step, or discard."),
    ("FB0523", "not done", "\
Applying, discarding or rolling back was stopped by what the message says. An apply is all or nothing: the real workspace
is as it was."),
    ("FB0524", "rollback differs from the record", "\
After the rollback the workspace's digest is not the one that was recorded at that step. Don't apply it; `flyball verify`
says whether the record holds."),
    ("FB0525", "run can't be planned", "\
Something that the run needs is missing or wrong: the command, your home folder, or a pattern in the charter."),
    ("FB0526", "run ended in an error", "\
The supervisor could not go on: what could not be recorded or confined was not allowed. Nothing ran ungoverned."),
    ("FB0527", "session is not running", "\
People can act only on a session whose supervisor lives. `flyball ps` shows how each stands. Where the message says that it ended
meanwhile, it ended while the request was on its way; `flyball log` says whether it was still done. `flyball kill` has then what it wanted,
and says so."),
    ("FB0528", "supervisor can't be reached", "\
The session's control socket is only for the account that started it. If that is you, the supervisor may be ending."),
    ("FB0529", "supervisor refused", "\
The session's supervisor heard the request and did not do it. The message says why: the answerer is not among those who are
asked, the deadline has passed, or the session is in a state in which the act makes no sense."),
    ("FB0530", "session changed the charter", "\
The workspace that would be applied has another charter than the one that the session ran under. An agent does not write
its own rules, so nothing was applied. Roll back to a step before the change, or discard."),
    ("FB0531", "cut off half-way", "\
An apply or a rollback could go neither on nor back: a full disk, a failing one, or something of somebody else's in the
way. Its journal stands and knows the rest. Mend what the message names, then give the command again: it first undoes or
completes what was cut off. So does any later `flyball run`. A live session stays paused meanwhile; end it with
`flyball kill`, and the next start makes its workspace what the record says: as before the rollback, or as of its step."),
    ("FB0532", "refused content stands in the workspace", "\
A file of the session holds what a rule refused, or what people were asked about and have not allowed. Such content is put
back while the session runs; it stands there again when the session was rolled back to a step at which it was there, or
when its supervisor died before an answer. Nothing was applied. Roll back to a step before or after that, or discard."),
    ("FB0533", "a learning session is not applied unseen", "\
Under `run --learn` files and programs are let through whatever the charter says, so that it can be learned what a charter for
them has to allow. Whether the result is fit for the real workspace nobody has ruled: look at it with `flyball diff`, and say
with `flyball apply S --reason WHY` that you did. `--apply always` and `--apply contract` would skip that."),
    ("FB0534", "no such name or number", "\
Something was named that is not in the list: a charter of the library (`flyball init --list`), or the number of a suggestion
(`flyball suggest S` numbers them)."),
    ("FB0535", "no signature for the answer", "\
`answer --key FILE` signs with an `ssh-ed25519` key: one in FILE without a passphrase, or one that the agent behind
`$SSH_AUTH_SOCK` holds. `answer --statement` prints what is signed, for `ssh-keygen -Y sign -n flyball-answer -f KEY FILE`,
and `--signature FILE.sig` brings what that made."),
    ("FB0536", "a signed answer or act does not hold", "\
Answers and acts of contacts `key:…` carry the statement that the key signed. `flyball verify` found one whose signature is missing,
does not stand under its statement, or is for another question, action, answer, reason or time than the entry says; of an act, for
another session, charter, level or label, or to follow another act than it did (a signature that was used twice). The
record may be whole all the same: then whoever wrote it made the answer up."),
    ("FB0549", "a question that names other actions than its answers are bound to", "\
A question's entry holds the digest of each action that people are asked about, and one over the set, to which answers are bound.
`flyball verify` recomputed that one, and it differs; or an answer was taken for another set than its question names. The record may be whole all the same: then whoever wrote it had people agree to what they never saw."),
    ("FB0537", "hook could not ask", "\
The hook's process could not put its event to the session's supervisor, so what the event announces is denied: harnesses go on
when a hook fails in any other way. The message says what stood in the way: an event that is none, a ledger that can't be
used, a charter that does not compile."),
    ("FB0538", "a harness's settings can't be changed", "\
`hook install` adds entries under `hooks` in the harness's settings (`.claude/settings.json`, `.codex/hooks.json`,
`.gemini/settings.json`, `.cursor/hooks.json`) and changes no other byte. It leaves alone what is no JSON (comments are none),
links, files of other users, and what is over a MiB. Mend the file, or add the entries by hand."),
    ("FB0539", "HTTP can't be opened", "\
The charter has requests inside connections ruled on (`[http] open`, or some permitted `http.request`), for which the session makes a certificate authority of its
own and verifies servers by what this machine trusts. One of the two could not be had: the message says which. Nothing ran."),
    ("FB0540", "no terminal to watch on", "\
`flyball watch` draws on a terminal that can move its cursor: both its input and output must be one, and TERM must say which.
`flyball ps`, `flyball asks` and `flyball log S --follow` tell the same in lines."),
    ("FB0541", "watch has no JSON", "\
A screen is for people. For programs `flyball log S --follow --json` prints a session's entries as they come, and
`flyball ps --json` and `flyball asks --json` the sessions and questions as they stand."),
    ("FB0542", "two searches disagree", "\
`diff --prove` asked a solver and flyball's own search the same question, and one of them found an action where the other says that
there is none. One of the two is wrong: believe neither about these charters, and report both."),
    ("FB0543", "the gateway could not be begun", "\
`flyball gateway` opens a session before it starts the server, and starts none when that fails: the ledger can't be used, the
charter does not compile, or there is no such command. The message says which; try the server's command by itself, and
`flyball check`."),
    ("FB0570", "session has not ended", "\
An attestation is of a whole session. This one still runs, or its supervisor died and no later command has closed it: any run
does that. Wait for its end, or end it with `flyball kill`."),
    ("FB0571", "no attestation", "\
The file is no in-toto Statement v1 about a Flyball session in a DSSE envelope, or it was cut off. Nothing in it was believed."),
    ("FB0572", "artifact is no file", "\
`attest --artifact PATH` names files of the workspace as they stood at the session's end: of changed ones the recorded bytes,
of others those of the real workspace. A folder, a link, or what is not there has no digest to name."),
    ("FB0573", "key can't be read", "\
A public key is `NAME+ID+KEY`, as in `keys/ledger.pub` of the ledger's folder; its id is computed from its name and bytes, so that a
slip of the pen shows."),
    ("FB0574", "attestation does not hold", "\
The signature is of none of the keys that were to be trusted, or what the attestation says is not what the ledger's entries make of
it; the message names the field. Don't rely on it."),
    ("FB0575", "export can't be written", "\
The message says which file and why. What was written by then is not whole: don't use it. Name another file with `-o`; `-` is
standard output."),
    ("FB0546", "coverage below what the charter requires", "\
The charter says how far verbs must be mediated (`[require] coverage = [\"git.push\"]`, or `@coverage(\"enforced\")` on a rule),
and the session that was to start would mediate less, so it did not start. The message names each verb, the rules that it is for,
the surface that is missing and what brings it: a sandbox where there were hooks or a gateway only, a permitted `http.request`,
`[sandbox] mediate_reads = true`, ports at which nothing but HTTP goes, a layer that this machine lacks. `flyball check` shows
for each rule what is enforced, observed only and not mediated in each kind of session. A hook that can't start its session denies
(exit code 2, since harnesses go on at any other)."),
];

/// Every page there is, by code.
pub fn pages() -> Vec<Page> {
    let triples = [
        flyball_kernel::CODES,
        flyball_ledger::CODES,
        flyball_runtime::read::CODES,
        flyball_runtime::replay::CODES,
        flyball_runtime::rerun::CODES,
        CODES,
    ];
    let mut all: Vec<Page> = triples.into_iter().flatten().copied().collect();
    // The sandbox's pages begin with their title.
    for (code, page) in flyball_sandbox::LAUNCH_CODES.iter().chain(flyball_sandbox::MEDIATE_CODES) {
        let (title, rest) = page.split_once("\n\n").unwrap_or((page, ""));
        all.push((code, title.trim_end_matches('.'), rest));
    }
    // And those of workspaces with a sentence that says it.
    for (code, page) in flyball_sandbox::workspace::PAGES {
        let title = page.split_once(". ").map_or(*page, |(first, _)| first);
        all.push((code, title.trim_end_matches('.'), page));
    }
    all.sort_unstable();
    all
}

/// Explains a code, or lists all.
pub fn explain(out: Output, code: Option<&str>) -> Result<(), Failure> {
    let Some(code) = code else {
        if out.is_json {
            for (code, title, page) in pages() {
                out.json(&json!({"code": code, "title": title, "page": page}));
            }
        } else {
            let rows: Vec<Vec<Cell>> =
                pages().iter().map(|(code, title, _)| vec![Cell::new(*code), Cell::new(*title)]).collect();
            table(out, &["CODE", "WHAT"], &rows);
        }
        return Ok(());
    };
    let wanted = code.trim().to_ascii_uppercase();
    let Some((code, title, page)) = pages().into_iter().find(|(code, ..)| *code == wanted) else {
        return Err(Failure::user("FB0511", format!("no code `{}`", code.chars().take(40).collect::<String>()))
            .hint("`flyball explain` alone lists all codes"));
    };
    if out.is_json {
        out.json(&json!({"code": code, "title": title, "page": page}));
    } else {
        out.line(&format!("{} {}", out.paint(Style::Bold, code), title));
        out.line("");
        out.line(&wrap(page, out.columns().min(100)));
    }
    Ok(())
}

/// The text with lines no longer than `columns`, paragraphs kept.
fn wrap(text: &str, columns: usize) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let mut lines = vec![String::new()];
        for word in paragraph.split_whitespace() {
            let room = lines.last().map_or(0, |l| l.chars().count()) + word.chars().count() < columns;
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) if room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.join("\n")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Given only in a test of the sandbox's own.
    const OF_TESTS: &str = "FB0299";

    /// How often each code stands in the crates' sources as a text of its own, tests aside.
    fn in_sources() -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut folders: Vec<_> = crates.read_dir().unwrap().map(|e| e.unwrap().path().join("src")).collect();
        while let Some(folder) = folders.pop() {
            let Ok(entries) = folder.read_dir() else { continue };
            for path in entries.map(|e| e.unwrap().path()) {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() && name != "tests" {
                    folders.push(path);
                } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                    for (at, _) in text.match_indices("\"FB") {
                        let code = text.get(at + 1..at + 7).unwrap_or_default();
                        let is_code = code.len() == 6 && code[2..].bytes().all(|b| b.is_ascii_digit());
                        if is_code && text[at + 7..].starts_with('"') {
                            *found.entry(code.to_owned()).or_default() += 1;
                        }
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_code_has_one_page_and_every_page_a_code_that_is_given() {
        let mut pages_of: BTreeMap<&str, usize> = BTreeMap::new();
        pages().iter().for_each(|(code, ..)| *pages_of.entry(code).or_default() += 1);
        let twice: Vec<_> = pages_of.iter().filter(|(_, n)| **n > 1).collect();
        assert!(twice.is_empty(), "two pages of one code: {twice:?}");
        let mut found = in_sources();
        assert_eq!(found.remove(OF_TESTS), Some(1));
        let unexplained: Vec<_> = found.keys().filter(|code| !pages_of.contains_key(code.as_str())).collect();
        assert!(unexplained.is_empty(), "codes without a page: {unexplained:?}");
        // Once is the page itself.
        let never: Vec<_> = pages_of.keys().filter(|code| found.get(**code).is_none_or(|n| *n < 2)).collect();
        assert!(never.is_empty(), "pages of codes that nothing gives: {never:?}");
    }
}
