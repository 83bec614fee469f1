//! Package managers: what is added, removed and changed. Ecosystems are called as in package URLs: npm, pypi, cargo, golang.

use crate::options::{Line, Table};
use crate::reading::{Command, Reading, Word};
use flyball_kernel::Value;

mod pypi;

pub(crate) use pypi::{pypi_name, pypi_spec};

const READER: &str = "packages/1";

pub(super) fn read(to: &mut Reading<'_>, by: &Command) {
    match by.program.as_str() {
        "npm" | "pnpm" | "yarn" | "bun" => node(to, by),
        "pip" => pip(to, by, &by.args),
        "pipx" => pipx(to, by),
        "uv" => uv(to, by),
        "poetry" => poetry(to, by),
        "cargo" => cargo(to, by),
        "go" => go(to, by),
        _ => {}
    }
}

/// One package as it was named.
pub(crate) struct Named {
    ecosystem: &'static str,
    /// Empty where it is not by name that it is fetched.
    pub name: String,
    pub version: String,
    /// Where it comes from when not from the registry.
    pub source: String,
}

fn emit(to: &mut Reading<'_>, by: &Command, verb: &'static str, one: &Named, dev: bool, is_sure: bool) {
    let fields = [
        ("ecosystem", one.ecosystem.into()),
        ("name", one.name.as_str().into()),
        ("version", one.version.as_str().into()),
    ];
    let mut attrs: Vec<(&'static str, Value)> = Vec::new();
    if verb == "dependency.add" {
        attrs.push(("dev", dev.into()));
        if !one.source.is_empty() {
            attrs.push(("source", one.source.as_str().into()));
        }
    }
    to.imply(by, READER, verb, &fields, &attrs, is_sure && !one.name.is_empty());
}

fn unknown(ecosystem: &'static str, source: &str) -> Named {
    Named { ecosystem, name: String::new(), version: String::new(), source: source.to_owned() }
}

/// Each word as a package.
fn all(
    to: &mut Reading<'_>,
    by: &Command,
    verb: &'static str,
    words: &[Word],
    parse: fn(&str) -> Named,
    dev: bool,
    is_sure: bool,
) {
    for word in words {
        match word.known() {
            Some(text) => emit(to, by, verb, &parse(text), dev, is_sure),
            None => emit(to, by, verb, &unknown(parse("").ecosystem, ""), dev, false),
        }
    }
}

/// The subcommand and what follows it, the program's own options before it skipped.
fn split<'a>(to: &mut Reading<'_>, args: &'a [Word], takes_value: &[&str]) -> Option<(&'a str, &'a [Word])> {
    let mut rest = args;
    loop {
        let (word, after) = rest.split_first()?;
        rest = after;
        match word.known() {
            None => {
                to.is_opaque = true;
                return None;
            }
            Some(text) if takes_value.contains(&text) => rest = rest.get(1..).unwrap_or_default(),
            Some(text) if text.starts_with(['-', '+']) => {}
            Some(text) => return Some((text, rest)),
        }
    }
}

const NODE: Table = Table::of(&[
    "D save-dev dev development d",
    "g global",
    "E save-exact exact",
    "O save-optional optional",
    "P save-prod production",
    "B save-bundle",
    "no-save",
    "S save",
    "legacy-peer-deps",
    "force f",
    "ignore-scripts",
    "no-audit",
    "no-fund",
    "silent s",
    "w workspace=",
    "workspaces",
    "prefix=",
    "registry=",
    "tag=",
    "omit=",
    "include=",
    "save-peer peer",
    "C dir cwd=",
    "filter F=",
    "workspace-root",
    "loglevel=",
    "prefer-offline",
    "offline",
    "dry-run",
    "yes y",
    "package-lock-only",
    "no-package-lock",
    "frozen-lockfile",
    "immutable",
    "userconfig=",
    "cache=",
    "audit=",
    "fund=",
    "W",
    "mode=",
    "verbose",
    "quiet q",
    "no-progress",
    "progress=",
    "L latest",
    "i interactive",
    "r recursive",
    "T tilde",
    "caret",
    "trust",
    "no-lockfile",
]);

fn node(to: &mut Reading<'_>, by: &Command) {
    // The whole line: npm takes its options anywhere.
    let line = NODE.read(&by.args);
    let words = line.all();
    let Some((sub, mut words)) = words.split_first().map(|(s, w)| (s.clone(), w.to_vec())) else { return };
    let Some(mut sub) = sub.known().map(str::to_owned) else {
        to.is_opaque = true;
        return;
    };
    // `yarn workspace NAME add X`, `yarn global add X`, `pnpm --filter …` is an option.
    let skip = match (by.program.as_str(), sub.as_str()) {
        ("yarn", "workspace") => 1,
        ("yarn", "global") | ("bun", "pm") => 0,
        _ => usize::MAX,
    };
    if skip != usize::MAX {
        words.drain(..skip.min(words.len()));
        if words.is_empty() {
            return;
        }
        sub = words.remove(0).known().unwrap_or_default().to_owned();
    }
    if line.has("dry-run") {
        return;
    }
    let verb = match sub.as_str() {
        "add" => "dependency.add",
        // yarn's `install` takes no names.
        "install" | "i" | "in" | "ins" | "inst" | "insta" | "instal" | "isnt" | "isnta" | "isntal" | "isntall"
            if by.program != "yarn" =>
        {
            "dependency.add"
        }
        "install-test" | "it" => "dependency.add",
        "uninstall" | "un" | "unlink" | "remove" | "rm" | "r" => "dependency.remove",
        "update" | "up" | "upgrade" | "udpate" => "dependency.change",
        _ => return,
    };
    let dev = line.has("d");
    all(to, by, verb, &words, npm_spec, dev, !line.is_uncertain);
    if verb == "dependency.change" && words.is_empty() {
        emit(to, by, verb, &unknown("npm", ""), false, false);
    }
}

/// `x`, `x@1`, `@scope/x@^2`, `alias@npm:real@1`; anything else is fetched from elsewhere.
fn npm_spec(text: &str) -> Named {
    let text_after_scope = text.strip_prefix('@').unwrap_or(text);
    let scope = text.len() - text_after_scope.len();
    let at = text_after_scope.find('@').map(|at| at + scope);
    let (name, version) = match at {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, ""),
    };
    if let Some(real) = version.strip_prefix("npm:") {
        return npm_spec(real);
    }
    let is_name = |s: &str| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)) && !s.starts_with('.')
    };
    let is_plain = match name.strip_prefix('@').and_then(|n| n.split_once('/')) {
        Some((scope, name)) => is_name(scope) && is_name(name),
        None => is_name(name) && !name.ends_with(".tgz") && !name.ends_with(".tar.gz"),
    };
    if !is_plain || version.contains([':', '/']) {
        return unknown("npm", text);
    }
    Named { ecosystem: "npm", name: name.to_owned(), version: version.to_owned(), source: String::new() }
}

const PIP: Table = Table {
    abbreviates: true,
    ..Table::of(&[
        "r requirement=",
        "c constraint=",
        "t target=",
        "e editable=",
        "i index-url=",
        "extra-index-url=",
        "f find-links=",
        "prefix=",
        "root=",
        "python-version=",
        "platform=",
        "implementation=",
        "abi=",
        "no-binary=",
        "only-binary=",
        "progress-bar=",
        "src=",
        "trusted-host=",
        "proxy=",
        "timeout=",
        "retries=",
        "cache-dir=",
        "log=",
        "C config-settings=",
        "upgrade-strategy=",
        "report=",
        "global-option=",
        "p python=",
        "U upgrade",
        "user",
        "no-deps",
        "pre",
        "q quiet",
        "v verbose",
        "no-cache-dir",
        "no-input",
        "y yes",
        "force-reinstall",
        "I ignore-installed",
        "dry-run",
        "break-system-packages",
        "no-build-isolation",
        "use-pep517",
        "no-index",
        "require-hashes",
        "disable-pip-version-check",
        "no-warn-script-location",
        "system",
        "root-user-action=",
        "exclude-newer=",
        "all-extras",
        "extra=",
        "no-compile",
        "compile",
        "isolated",
        "prefer-binary",
        "group=",
        "no-color",
        "refresh",
        "reinstall",
        "strict",
    ])
};

fn pip(to: &mut Reading<'_>, by: &Command, args: &[Word]) {
    let line = PIP.read(args);
    let words = line.all();
    let Some((sub, words)) = words.split_first() else { return };
    match sub.known() {
        Some("install") => {}
        Some("uninstall") => {
            all(to, by, "dependency.remove", words, pypi_spec, false, !line.is_uncertain);
            for file in line.values("requirement") {
                emit(to, by, "dependency.remove", &unknown("pypi", file.written()), false, false);
            }
            return;
        }
        None => {
            to.is_opaque = true;
            return;
        }
        _ => return,
    }
    if line.has("dry-run") {
        return;
    }
    for file in line.values("requirement") {
        // Which packages stand in the file is not known here.
        emit(to, by, "dependency.add", &unknown("pypi", file.written()), false, false);
    }
    for place in line.values("editable") {
        if !place.known().is_some_and(is_local) {
            emit(to, by, "dependency.add", &unknown("pypi", place.written()), false, false);
        }
    }
    // The project itself is no dependency.
    let words: Vec<Word> = words.iter().filter(|w| !w.known().is_some_and(is_local)).cloned().collect();
    all(to, by, "dependency.add", &words, pypi_spec, false, !line.is_uncertain);
}

/// A folder here: `.`, `./x`, `../x`, `.[dev]`, `/abs`.
fn is_local(text: &str) -> bool {
    let bare = text.split('[').next().unwrap_or_default();
    (bare == "." || bare == ".." || bare.starts_with("./") || bare.starts_with("../") || bare.starts_with('/'))
        && !bare.ends_with(".whl")
        && !bare.ends_with(".tar.gz")
        && !bare.ends_with(".zip")
}

fn pipx(to: &mut Reading<'_>, by: &Command) {
    let Some((sub, rest)) = split(to, &by.args, &[]) else { return };
    let table = Table::of(&[
        "python=",
        "pip-args=",
        "suffix=",
        "spec=",
        "i index-url=",
        "f force",
        "include-deps",
        "e editable",
        "v verbose",
        "q quiet",
    ]);
    let line = table.read(rest);
    match sub {
        "install" => all(to, by, "dependency.add", &line.all(), pypi_spec, false, !line.is_uncertain),
        "uninstall" => all(to, by, "dependency.remove", &line.all(), pypi_spec, false, !line.is_uncertain),
        "inject" => {
            all(to, by, "dependency.add", line.all().get(1..).unwrap_or_default(), pypi_spec, false, !line.is_uncertain)
        }
        _ => {}
    }
}

const UV: Table = Table::of(&[
    "dev",
    "group=",
    "optional=",
    "extra=",
    "r requirements=",
    "c constraints=",
    "index=",
    "default-index=",
    "i index-url=",
    "p python=",
    "package=",
    "editable",
    "q quiet",
    "v verbose",
    "no-sync",
    "frozen",
    "locked",
    "active",
    "directory=",
    "project=",
    "tag=",
    "branch=",
    "rev=",
    "raw",
    "raw-sources",
    "bounds=",
    "script=",
    "with=",
    "from=",
    "no-cache",
    "n",
    "offline",
    "U upgrade",
    "P upgrade-package=",
    "with-editable=",
    "with-requirements=",
    "f find-links=",
    "prerelease=",
    "m module",
    "isolated",
    "no-project",
    "all-extras",
    "all-groups",
    "env-file=",
]);

fn uv(to: &mut Reading<'_>, by: &Command) {
    let Some((sub, rest)) =
        split(to, &by.args, &["--directory", "--project", "--cache-dir", "--config-file", "-p", "--python"])
    else {
        return;
    };
    match sub {
        "pip" => return pip(to, by, rest),
        "run" => return uv_run(to, by, rest),
        "tool" => {
            if let Some(("install", rest)) = split(to, rest, &[]) {
                let line = UV.read(rest);
                all(to, by, "dependency.add", &line.all(), pypi_spec, false, !line.is_uncertain);
            }
            return;
        }
        "add" | "remove" => {}
        _ => return,
    }
    let line = UV.read(rest);
    let dev = line.has("dev") || line.has("group");
    let verb = if sub == "add" { "dependency.add" } else { "dependency.remove" };
    for file in line.values("requirements") {
        emit(to, by, verb, &unknown("pypi", file.written()), dev, false);
    }
    let words: Vec<Word> = line.all().into_iter().filter(|w| !w.known().is_some_and(is_local)).collect();
    all(to, by, verb, &words, pypi_spec, dev, !line.is_uncertain);
}

fn uv_run(to: &mut Reading<'_>, by: &Command, rest: &[Word]) {
    let line = Table { stops: true, ..UV }.read(rest);
    for with in line.values("with") {
        all(to, by, "dependency.add", std::slice::from_ref(with), pypi_spec, false, !line.is_uncertain);
    }
    to.is_opaque |= line.is_uncertain;
    if let Some(command) = by.inner(&line.all()) {
        to.command(&command);
    }
}

fn poetry(to: &mut Reading<'_>, by: &Command) {
    let Some((sub, rest)) = split(to, &by.args, &["-C", "--directory", "-P", "--project"]) else { return };
    let table = Table::of(&[
        "G group=",
        "D dev",
        "e editable",
        "E extras=",
        "optional",
        "python=",
        "platform=",
        "source=",
        "allow-prereleases",
        "dry-run",
        "lock",
        "n no-interaction",
        "q quiet",
        "v",
        "markers=",
    ]);
    let line = table.read(rest);
    match sub {
        "add" => all(
            to,
            by,
            "dependency.add",
            &line.all(),
            pypi_spec,
            line.has("dev") || line.has("group"),
            !line.is_uncertain,
        ),
        "remove" => all(to, by, "dependency.remove", &line.all(), pypi_spec, false, !line.is_uncertain),
        "run" => {
            if let Some(command) = by.inner(rest) {
                to.command(&command);
            }
        }
        _ => {}
    }
}

const CARGO: Table = Table::of(&[
    "dev D",
    "build B",
    "optional",
    "no-optional",
    "no-default-features",
    "default-features",
    "rename=",
    "F features=",
    "p package=",
    "target=",
    "registry=",
    "git=",
    "path=",
    "branch=",
    "tag=",
    "rev=",
    "version vers=",
    "n dry-run",
    "q quiet",
    "v verbose",
    "offline",
    "frozen",
    "locked",
    "manifest-path=",
    "Z=",
    "config=",
    "color=",
    "f force",
    "root=",
    "j jobs=",
    "bin=",
    "bins",
    "example=",
    "examples",
    "debug",
    "profile=",
    "index=",
    "no-track",
    "all-features",
    "precise=",
    "aggressive recursive",
    "w workspace",
    "breaking",
    "target-dir=",
    "ignore-rust-version",
    "public",
    "no-public",
    "lockfile-path=",
    "base=",
    "dry-run",
]);

fn cargo(to: &mut Reading<'_>, by: &Command) {
    let Some((sub, rest)) = split(to, &by.args, &["--color", "--config", "-C", "-Z", "--manifest-path"]) else {
        return;
    };
    if !matches!(sub, "add" | "remove" | "rm" | "install" | "uninstall" | "update") {
        return;
    }
    let line = CARGO.read(rest);
    if line.has("n") || line.has("dry-run") {
        return;
    }
    let words = line.all();
    let sure = !line.is_uncertain;
    match sub {
        "add" | "install" => cargo_add(to, by, sub, &line, &words),
        "remove" | "rm" | "uninstall" => all(to, by, "dependency.remove", &words, cargo_spec, false, sure),
        _ => {
            let words: Vec<Word> = words.into_iter().chain(line.values("package").cloned()).collect();
            for word in &words {
                let mut one = cargo_spec(word.known().unwrap_or_default());
                if let Some(version) = line.value("precise").and_then(Word::known) {
                    version.clone_into(&mut one.version);
                }
                emit(to, by, "dependency.change", &one, false, sure && word.known().is_some());
            }
            if words.is_empty() {
                emit(to, by, "dependency.change", &unknown("cargo", ""), false, false);
            }
        }
    }
}

fn cargo_add(to: &mut Reading<'_>, by: &Command, sub: &str, line: &Line, words: &[Word]) {
    let local = line.value("path");
    // The workspace's own crates are no dependency from elsewhere.
    if sub == "install" && local.is_some() {
        return;
    }
    let source = line.value("git").or(local).map(|w| w.written().to_owned()).unwrap_or_default();
    let dev = line.has("D") || line.has("B");
    for word in words {
        let mut one = cargo_spec(word.known().unwrap_or_default());
        source.clone_into(&mut one.source);
        if let Some(version) = line.value("vers").and_then(Word::known) {
            version.clone_into(&mut one.version);
        }
        emit(to, by, "dependency.add", &one, dev, !line.is_uncertain && word.known().is_some());
    }
    if words.is_empty() && !source.is_empty() {
        emit(to, by, "dependency.add", &unknown("cargo", &source), dev, false);
    }
}

/// `x`, `x@1`.
fn cargo_spec(text: &str) -> Named {
    let (name, version) = text.split_once('@').unwrap_or((text, ""));
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !is_name {
        return unknown("cargo", text);
    }
    Named { ecosystem: "cargo", name: name.to_owned(), version: version.to_owned(), source: String::new() }
}

fn go(to: &mut Reading<'_>, by: &Command) {
    let Some((sub, rest)) = split(to, &by.args, &["-C"]) else { return };
    let table = Table {
        single_dash: true,
        ..Table::of(&[
            "u?",
            "t",
            "d",
            "v",
            "x",
            "n",
            "a",
            "insecure",
            "tool",
            "mod=",
            "modfile=",
            "tags=",
            "ldflags=",
            "gcflags=",
            "o=",
            "p=",
            "race",
            "trimpath",
            "require=",
            "droprequire=",
            "replace=",
            "dropreplace=",
            "go=",
            "json",
            "fmt",
            "print",
            "C=",
            "buildvcs=",
        ])
    };
    match sub {
        "get" | "install" => {}
        "mod" => return go_mod(to, by, rest, &table),
        _ => return,
    }
    let line = table.read(rest);
    let words = line.all();
    for word in &words {
        let Some(text) = word.known() else {
            emit(to, by, "dependency.add", &unknown("golang", ""), false, false);
            continue;
        };
        // Packages of the module itself.
        if text.starts_with('.') || matches!(text, "all" | "std" | "cmd") || (sub == "install" && !text.contains('@')) {
            if line.has("u") {
                emit(to, by, "dependency.change", &unknown("golang", text), false, false);
            }
            continue;
        }
        let one = go_spec(text);
        let verb = if one.version == "none" { "dependency.remove" } else { "dependency.add" };
        emit(to, by, verb, &one, false, !line.is_uncertain);
    }
    if words.is_empty() && line.has("u") {
        emit(to, by, "dependency.change", &unknown("golang", ""), false, false);
    }
}

fn go_mod(to: &mut Reading<'_>, by: &Command, rest: &[Word], table: &Table) {
    let line = table.read(rest);
    if line.words.first().and_then(Word::known) != Some("edit") {
        return;
    }
    for (option, verb) in [("require", "dependency.add"), ("droprequire", "dependency.remove")] {
        let words: Vec<Word> = line.values(option).cloned().collect();
        all(to, by, verb, &words, go_spec, false, !line.is_uncertain);
    }
    for replaced in line.values("replace") {
        emit(to, by, "dependency.add", &unknown("golang", replaced.written()), false, false);
    }
}

fn go_spec(text: &str) -> Named {
    let (name, version) = text.split_once('@').unwrap_or((text, ""));
    Named {
        ecosystem: "golang",
        name: name.trim_end_matches("/...").to_owned(),
        version: version.to_owned(),
        source: String::new(),
    }
}
