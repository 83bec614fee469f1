//! git: what is pushed where, and what branches, tags and commits come and go.

use crate::options::{Line, Table};
use crate::reading::{Command, Reading, Word, is_command_setting};
use flyball_kernel::Value;

const READER: &str = "git/1";

const GLOBAL: Table = Table {
    stops: true,
    ..Table::of(&[
        "C=",
        "c=",
        "config-env=",
        "exec-path?",
        "git-dir=",
        "work-tree=",
        "namespace=",
        "p paginate",
        "P no-pager",
        "no-replace-objects",
        "bare",
        "literal-pathspecs",
        "no-optional-locks",
        "v version",
        "h help",
        "attr-source=",
        "glob-pathspecs",
        "noglob-pathspecs",
        "icase-pathspecs",
        "no-advice",
        "no-lazy-fetch",
        "super-prefix=",
        "html-path",
        "man-path",
        "info-path",
    ])
};

const fn git(options: &'static [&'static str]) -> Table {
    Table { abbreviates: true, ..Table::of(options) }
}

const PUSH: Table = git(&[
    "v verbose",
    "q quiet",
    "repo=",
    "all",
    "branches",
    "mirror",
    "d delete",
    "tags",
    "n dry-run",
    "porcelain",
    "f force",
    "force-with-lease?",
    "force-if-includes",
    "recurse-submodules=",
    "thin",
    "receive-pack=",
    "exec=",
    "u set-upstream",
    "progress",
    "prune",
    "no-verify",
    "verify",
    "follow-tags",
    "signed?",
    "atomic",
    "o push-option=",
    "4 ipv4",
    "6 ipv6",
]);

const COMMIT: Table = git(&[
    "q quiet",
    "v verbose",
    "F file=",
    "author=",
    "date=",
    "m message=",
    "c reedit-message=",
    "C reuse-message=",
    "fixup=",
    "squash=",
    "reset-author",
    "trailer=",
    "s signoff",
    "t template=",
    "e edit",
    "cleanup=",
    "status",
    "S gpg-sign?",
    "a all",
    "i include",
    "interactive",
    "p patch",
    "o only",
    "n no-verify",
    "verify",
    "dry-run",
    "short",
    "branch",
    "ahead-behind",
    "porcelain",
    "long",
    "z null",
    "amend",
    "no-post-rewrite",
    "u untracked-files?",
    "pathspec-from-file=",
    "pathspec-file-nul",
    "allow-empty",
    "allow-empty-message",
]);

const BRANCH: Table = git(&[
    "v verbose",
    "q quiet",
    "t track?",
    "u set-upstream-to=",
    "unset-upstream",
    "color?",
    "r remotes",
    "contains?",
    "no-contains?",
    "abbrev?",
    "a all",
    "d delete",
    "D",
    "m move",
    "M",
    "c copy",
    "C",
    "l list",
    "show-current",
    "create-reflog",
    "edit-description",
    "f force",
    "merged?",
    "no-merged?",
    "column?",
    "sort=",
    "points-at=",
    "i ignore-case",
    "format=",
]);

const TAG: Table = git(&[
    "l list",
    "n?",
    "d delete",
    "v verify",
    "a annotate",
    "m message=",
    "F file=",
    "e edit",
    "s sign",
    "cleanup=",
    "u local-user=",
    "f force",
    "create-reflog",
    "column?",
    "contains?",
    "no-contains?",
    "merged?",
    "no-merged?",
    "sort=",
    "points-at=",
    "format=",
    "color?",
    "i ignore-case",
    "trailer=",
]);

const CHECKOUT: Table = git(&[
    "b=",
    "B=",
    "c create=",
    "C force-create=",
    "orphan=",
    "q quiet",
    "f force",
    "t track?",
    "d detach",
    "m merge",
    "p patch",
    "ours",
    "theirs",
    "guess",
    "l",
    "progress",
    "conflict=",
    "discard-changes",
    "ignore-other-worktrees",
    "recurse-submodules?",
    "overlay",
    "pathspec-from-file=",
    "pathspec-file-nul",
    "overwrite-ignore",
]);

pub(super) fn read(to: &mut Reading<'_>, by: &Command) {
    let line = GLOBAL.read(&by.args);
    let Some((sub, args)) = line.words.split_first() else { return };
    // An option that is not known here may have taken the subcommand for its value.
    if line.is_uncertain || sub.known().is_none() {
        to.is_opaque = true;
        return;
    }
    let sub = sub.known().unwrap_or_default().to_owned();
    let config: Vec<&str> = line.values("c").chain(line.values("config-env")).map(Word::written).collect();
    if config.iter().any(|c| c.to_ascii_lowercase().starts_with("alias.")) {
        to.is_opaque = true;
    }
    to.is_opaque |= to.commands && config.iter().any(|c| is_command_setting(c));
    let mut place = by.clone();
    for dir in line.values("C") {
        place.cwd = to.folder(place.cwd.as_deref(), dir);
        place.is_home_repository = false;
    }
    let is_other = line.has("git-dir") || line.has("work-tree") || line.has("namespace") || line.has("config-env");
    // The command line itself may set where pushes go.
    let is_configured = config.iter().any(|c| {
        ["remote.", "push.", "url.", "branch.", "include"].iter().any(|p| c.to_ascii_lowercase().starts_with(p))
    });
    place.is_home_repository &= !is_other && !is_configured;
    let mut args = args.to_vec();
    if let Some(after) = line.after {
        args.push(Word::Known("--".into()));
        args.extend(after);
    }
    let git = Git { by: &place, args: &args };
    match sub.as_str() {
        "push" => git.push(to),
        "commit" => git.commit(to),
        "branch" => git.branch(to),
        "tag" => git.tag(to),
        "checkout" | "switch" => git.checkout(to),
        "worktree" => git.worktree(to),
        "clone" | "fetch" | "pull" | "ls-remote" => git.connect(to),
        "clean" => git.clean(to),
        "rm" => git.remove(to),
        "mv" => git.renames(to),
        "diff" | "diff-tree" | "diff-index" | "diff-files" | "log" | "show" | "whatchanged" | "archive" => {
            git.output(to)
        }
        "send-pack" | "subtree" | "lfs" | "svn" | "p4" | "submodule" | "filter-branch" | "bisect" => {
            git.others(to, &sub)
        }
        _ => {}
    }
}

struct Git<'a> {
    by: &'a Command,
    args: &'a [Word],
}

/// One ref that a push changes.
#[derive(Default)]
struct Pushed {
    /// Where it arrives; empty when not known.
    name: String,
    source: String,
    force: bool,
    delete: bool,
}

impl Git<'_> {
    fn push(&self, to: &mut Reading<'_>) {
        let line = PUSH.read(self.args);
        if line.has("dry-run") {
            return;
        }
        let mut words = line.all();
        let repo = line.value("repo").cloned();
        let remote = if words.is_empty() { repo } else { Some(words.remove(0)) };
        let remote = remote.or_else(|| self.default_remote(to).map(Word::Known));
        let force = line.has("force") || line.has("force-with-lease");
        // An option that is not known may have taken a ref for its value, or force.
        let is_sure = !line.is_uncertain && remote.as_ref().is_some_and(|r| r.known().is_some());
        let everything = line.has("all") || line.has("branches") || line.has("mirror");
        if everything {
            let all = Pushed {
                force: force || line.has("mirror"),
                delete: line.has("mirror") || line.has("prune"),
                ..Pushed::default()
            };
            self.pushed(to, remote.as_ref(), &all, false, Some(true));
            return;
        }
        if line.has("tags") {
            let tags = Pushed { force, ..Pushed::default() };
            self.pushed(to, remote.as_ref(), &tags, false, Some(false));
        }
        if words.is_empty() {
            if !line.has("tags") {
                self.push_default(to, remote.as_ref(), force, is_sure);
            }
            return;
        }
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(spec) = word.known() else {
                self.pushed(to, remote.as_ref(), &Pushed { force, ..Pushed::default() }, false, None);
                continue;
            };
            if spec == "tag" {
                // `git push origin tag v1`
                if let Some(tag) = words.next() {
                    let name = tag.known().map(|t| format!("refs/tags/{t}"));
                    let sure = is_sure && name.is_some();
                    let name = name.unwrap_or_default();
                    self.pushed(
                        to,
                        remote.as_ref(),
                        &Pushed { source: name.clone(), name, force, delete: false },
                        sure,
                        None,
                    );
                }
                continue;
            }
            let one = self.refspec(to, spec, force, line.has("delete"));
            let sure = is_sure && !one.name.is_empty();
            self.pushed(to, remote.as_ref(), &one, sure, None);
        }
    }

    fn refspec(&self, to: &Reading<'_>, spec: &str, force: bool, delete: bool) -> Pushed {
        let (plus, spec) = spec.strip_prefix('+').map_or((false, spec), |s| (true, s));
        let (source, target) = spec.split_once(':').unwrap_or((spec, spec));
        let force = force || plus;
        if source.contains('*') || target.contains('*') || spec == ":" {
            return Pushed { source: source.into(), force, delete, ..Pushed::default() };
        }
        let delete = delete || source.is_empty();
        let target = if target.is_empty() { source } else { target };
        let name = match target {
            "HEAD" | "@" => self.current(to).unwrap_or_default(),
            other => plain(other).to_owned(),
        };
        Pushed { name, source: if delete { String::new() } else { source.to_owned() }, force, delete }
    }

    /// `git push` without a ref: what the configuration says.
    fn push_default(&self, to: &mut Reading<'_>, remote: Option<&Word>, force: bool, is_sure: bool) {
        let context = self.context(to);
        let current = context.and_then(|g| g.current_branch.clone());
        let name = match context.and_then(|g| g.push_default.as_deref()).unwrap_or("simple") {
            "simple" | "current" => current.clone(),
            "upstream" | "tracking" => context.and_then(|g| g.upstream.as_ref().map(|(_, branch)| branch.clone())),
            "nothing" => return,
            // `matching`, and what a later git may add.
            _ => None,
        };
        let sure = is_sure && name.is_some();
        let one = Pushed { name: name.unwrap_or_default(), source: current.unwrap_or_default(), force, delete: false };
        self.pushed(to, remote, &one, sure, None);
    }

    fn pushed(&self, to: &mut Reading<'_>, remote: Option<&Word>, one: &Pushed, is_sure: bool, default: Option<bool>) {
        let context = self.context(to);
        let remote = remote.and_then(Word::known).unwrap_or_default();
        let url = match context.and_then(|g| g.remotes.iter().find(|(name, _)| name == remote)) {
            Some((_, url)) => url.clone(),
            // A URL or path in the remote's place.
            None if remote.contains([':', '/']) => remote.to_owned(),
            None => String::new(),
        };
        let known_default = context.and_then(|g| g.default_branch.clone());
        let mut attrs: Vec<(&'static str, Value)> = vec![("force", one.force.into()), ("delete", one.delete.into())];
        if !one.source.is_empty() {
            attrs.push(("source", one.source.as_str().into()));
        }
        if !url.is_empty() {
            attrs.push(("url", url.into()));
        }
        let default = default.or_else(|| known_default.filter(|_| !one.name.is_empty()).map(|d| d == one.name));
        if let Some(default) = default {
            attrs.push(("default_branch", default.into()));
        }
        let fields = [("remote", remote.into()), ("name", one.name.as_str().into())];
        // Which remote a name means, which URL a URL, and where a ref goes says the configuration: of one that nobody read, nothing.
        let is_sure = is_sure && context.is_some_and(|g| !g.is_partly_read);
        to.imply(self.by, READER, "git.push", &fields, &attrs, is_sure);
    }

    fn default_remote(&self, to: &Reading<'_>) -> Option<String> {
        let context = self.context(to)?;
        if let Some((remote, _)) = &context.upstream {
            return Some(remote.clone());
        }
        match context.remotes.as_slice() {
            [(only, _)] => Some(only.clone()),
            many => many.iter().find(|(name, _)| name == "origin").map(|(name, _)| name.clone()),
        }
    }

    fn context<'r>(&self, to: &Reading<'r>) -> Option<&'r crate::exec::GitContext> {
        to.git.filter(|_| self.by.is_home_repository)
    }

    fn current(&self, to: &Reading<'_>) -> Option<String> {
        self.context(to)?.current_branch.clone()
    }

    fn commit(&self, to: &mut Reading<'_>) {
        let line = COMMIT.read(self.args);
        if line.has("dry-run") {
            return;
        }
        let message: Option<Vec<&str>> = line.values("message").map(Word::known).collect();
        let mut attrs: Vec<(&'static str, Value)> =
            vec![("amend", line.has("amend").into()), ("no_verify", line.has("no-verify").into())];
        if let Some(message) = message.filter(|m| !m.is_empty()) {
            attrs.push(("message", message.join("\n\n").into()));
        }
        let name = self.current(to).unwrap_or_default();
        let is_sure = !line.is_uncertain && !name.is_empty();
        to.imply(self.by, READER, "git.commit", &[("remote", "".into()), ("name", name.into())], &attrs, is_sure);
    }

    fn named(
        &self,
        to: &mut Reading<'_>,
        verb: &'static str,
        name: Option<&Word>,
        delete: bool,
        force: bool,
        line: &Line,
    ) {
        let known = name.and_then(Word::known).map(plain);
        let is_sure = known.is_some() && !line.is_uncertain;
        let fields = [("remote", "".into()), ("name", known.unwrap_or_default().into())];
        to.imply(self.by, READER, verb, &fields, &[("delete", delete.into()), ("force", force.into())], is_sure);
    }

    fn branch(&self, to: &mut Reading<'_>) {
        let line = BRANCH.read(self.args);
        let words = line.all();
        let force = line.has("force") || line.has("D") || line.has("M") || line.has("C");
        if line.has("delete") || line.has("D") {
            for word in &words {
                self.named(to, "git.branch", Some(word), true, force, &line);
            }
        } else if line.has("move") || line.has("M") || line.has("copy") || line.has("C") {
            let moves = line.has("move") || line.has("M");
            if moves && let [old, _] = words.as_slice() {
                self.named(to, "git.branch", Some(old), true, force, &line);
            }
            self.named(to, "git.branch", words.last(), false, force, &line);
        } else if !["list", "set-upstream-to", "edit-description", "unset-upstream"].iter().any(|o| line.has(o))
            && let Some(name) = words.first()
        {
            self.named(to, "git.branch", Some(name), false, force, &line);
        }
    }

    fn tag(&self, to: &mut Reading<'_>) {
        let line = TAG.read(self.args);
        let words = line.all();
        if line.has("list") || line.has("verify") || line.has("n") {
            return;
        }
        if line.has("delete") {
            for word in &words {
                self.named(to, "git.tag", Some(word), true, line.has("force"), &line);
            }
        } else if let Some(name) = words.first() {
            self.named(to, "git.tag", Some(name), false, line.has("force"), &line);
        }
    }

    fn checkout(&self, to: &mut Reading<'_>) {
        let line = CHECKOUT.read(self.args);
        for (option, force) in [("b", false), ("B", true), ("create", false), ("force-create", true), ("orphan", false)]
        {
            if let Some(name) = line.value(option) {
                self.named(to, "git.branch", Some(name), false, force, &line);
            }
        }
    }

    fn worktree(&self, to: &mut Reading<'_>) {
        let line =
            git(&["b=", "B=", "f force", "d detach", "checkout", "lock", "reason=", "orphan", "q quiet", "track"])
                .read(self.args);
        for (option, force) in [("b", false), ("B", true)] {
            if let Some(name) = line.value(option) {
                self.named(to, "git.branch", Some(name), false, force, &line);
            }
        }
    }

    /// Where a repository is fetched from, where that stands in the command.
    fn connect(&self, to: &mut Reading<'_>) {
        for word in self.args {
            if let Some((host, port)) = word.known().and_then(endpoint) {
                let fields = [("host", host.into()), ("port", port.into())];
                to.imply(self.by, READER, "net.connect", &fields, &[], true);
                return;
            }
        }
    }

    fn clean(&self, to: &mut Reading<'_>) {
        let line =
            git(&["q quiet", "n dry-run", "f force", "i interactive", "d", "e exclude=", "x", "X"]).read(self.args);
        if !line.has("dry-run") {
            // Which files go depends on what git does not track.
            to.imply(
                self.by,
                READER,
                "fs.delete",
                &[("path", "".into())],
                &[("recursive", line.has("d").into())],
                false,
            );
        }
    }

    fn remove(&self, to: &mut Reading<'_>) {
        let line = git(&[
            "n dry-run",
            "q quiet",
            "cached",
            "f force",
            "r",
            "ignore-unmatch",
            "sparse",
            "pathspec-from-file=",
            "pathspec-file-nul",
        ])
        .read(self.args);
        if line.has("cached") || line.has("dry-run") || !line.has("r") {
            return;
        }
        for word in line.all() {
            to.on_path(self.by, READER, "fs.delete", &word, &[("recursive", true.into())]);
        }
    }

    /// Seen as it comes where there is anything beneath.
    fn renames(&self, to: &mut Reading<'_>) {
        let line = git(&["v verbose", "f force", "k", "n dry-run", "sparse"]).read(self.args);
        let words = line.all();
        let Some((target, from)) = words.split_last().filter(|_| to.commands && !line.has("dry-run")) else { return };
        for there in to.places_or_none(self.by, target) {
            for path in from.iter().flat_map(|word| to.places_or_none(self.by, word)).collect::<Vec<_>>() {
                let is_known = !path.is_empty() && !there.is_empty();
                let attrs = [("to", there.clone().into())];
                to.imply(self.by, READER, "fs.move", &[("path", path.into())], &attrs, is_known);
            }
        }
        to.on_path(self.by, READER, "fs.write", target, &[]);
    }

    /// What is shown or packed can be written to a file of any name.
    fn output(&self, to: &mut Reading<'_>) {
        let mut args = self.args.iter();
        while let Some(arg) = args.next() {
            let Some(text) = arg.known() else { continue };
            let file = match text.split_once('=') {
                // By any unambiguous beginning of it.
                Some((name, file)) if name.len() > 4 && "--output".starts_with(name) => {
                    Some(Word::Known(file.to_owned()))
                }
                None if text == "--" => return,
                None if text == "-o" || (text.len() > 4 && "--output".starts_with(text)) => args.next().cloned(),
                None => text.strip_prefix("-o").filter(|f| !f.is_empty()).map(|f| Word::Known(f.to_owned())),
                Some(_) => None,
            };
            if let Some(file) = file {
                to.on_path(self.by, READER, "fs.write", &file, &[("create", true.into())]);
            }
        }
    }

    /// Ways to push or to run commands that are not read.
    fn others(&self, to: &mut Reading<'_>, sub: &str) {
        let pushes = matches!(sub, "send-pack") || self.args.first().and_then(Word::known) == Some("push");
        if pushes {
            to.imply(self.by, READER, "git.push", &[], &[], false);
        }
        if matches!(
            (sub, self.args.first().and_then(Word::known)),
            ("submodule", Some("foreach")) | ("bisect", Some("run"))
        ) || sub == "filter-branch"
        {
            to.is_opaque = true;
        }
    }
}

/// A branch's plain name; tags keep `refs/tags/`, so that none passes for a branch.
fn plain(name: &str) -> &str {
    name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("heads/")).unwrap_or(name)
}

/// Host and port of a repository's URL: `https://host/x`, `ssh://user@host:22/x`, `user@host:path`.
fn endpoint(text: &str) -> Option<(String, i64)> {
    if text.contains("://") {
        return super::network::url(text).map(|u| (u.host, u.port));
    }
    let (user_host, path) = text.split_once(':')?;
    let is_scp = !user_host.contains('/') && !user_host.is_empty() && !path.is_empty() && user_host.contains('@');
    is_scp.then(|| (user_host.rsplit('@').next().unwrap_or_default().to_ascii_lowercase(), 22))
}
