//! The text of a first charter.

use super::Repository;
use std::collections::{BTreeMap, BTreeSet};

/// Where agent programs reach their models.
const MODEL_HOSTS: &[&str] = &[
    "api.anthropic.com",
    "api.openai.com",
    "chatgpt.com",
    "generativelanguage.googleapis.com",
    "cloudcode-pa.googleapis.com",
];

/// Variables that say where a model is.
pub(super) const MODEL_ADDRESSES: &[&str] = &["ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"];

/// Files that hold what lets others act as the user. `.npmrc` is not among them: npm itself cannot do without it.
const CREDENTIALS: &[&str] = &[
    "*/.ssh/id_*",
    "*/.aws/*",
    "*/.config/gcloud/*",
    "*/.azure/*",
    "*/.kube/*",
    "*/.gnupg/*",
    "*/.netrc",
    "*/.pgpass",
    "*/.git-credentials",
    "*/.docker/config.json",
    "*/.pypirc",
    "*/.cargo/credentials*",
    "/etc/shadow",
];

/// Top folders that tools make again, so that deleting one is ordinary work.
const MADE_AGAIN: &[&str] = &[
    "target",
    "node_modules",
    "dist",
    "build",
    "out",
    "coverage",
    "vendor",
    "venv",
    ".venv",
    ".next",
    ".turbo",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".tox",
    ".gradle",
    ".cache",
    "__pycache__",
    "tmp",
    "bin",
    "obj",
];

/// What agent programs read of the environment: where their model is and by which key.
const MODEL_VARIABLES: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_MODEL",
    "CLAUDE_CODE_*",
    "DISABLE_*",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "GEMINI_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
];

/// Files that the host or its services run later: whoever writes them acts outside of the session.
const RUN_LATER: &[(&str, &[&str])] = &[
    (
        "ci",
        &[
            ".github/workflows/*",
            ".github/actions/*",
            ".gitlab-ci.yml",
            ".gitlab/ci/*",
            ".circleci/*",
            ".buildkite/*",
            "Jenkinsfile",
            "azure-pipelines.yml",
            ".travis.yml",
            "bitbucket-pipelines.yml",
            ".drone.yml",
            ".woodpecker/*",
        ],
    ),
    (
        "tools",
        &[
            ".claude/settings*",
            ".claude/hooks/*",
            ".mcp.json",
            ".codex/*",
            ".gemini/*",
            ".cursor/*",
            ".vscode/*",
            ".idea/*",
            ".husky/*",
            ".pre-commit-config.yaml",
            ".envrc",
            ".devcontainer/*",
        ],
    ),
];

/// Start-up files of the user's programs, below home.
const START_UP: &[&str] = &[
    "*/.bashrc",
    "*/.bash_profile",
    "*/.bash_login",
    "*/.profile",
    "*/.zshrc",
    "*/.zshenv",
    "*/.zprofile",
    "*/.gitconfig",
    "*/.config/git/*",
    "*/.config/fish/*",
    "*/.config/systemd/*",
    "*/.config/autostart/*",
    "*/.ssh/*",
    "*/.cargo/config*",
];

pub(super) fn charter_toml(it: &Repository) -> String {
    let made_with = it.ecosystems.iter().map(|e| e.name()).collect::<Vec<_>>().join(", ");
    let made_with = if made_with.is_empty() { "nothing that was recognised".to_owned() } else { made_with };
    let mut out = format!(
        "# What an agent may do in this repository (made with {made_with}). `flyball check` compiles this folder, `flyball test`
# rules on actions without running them. The rules are in rules.cedar.

[charter]
name = {name}
default = \"deny\"

# Who answers for the rules, and is asked. `user:NAME` is a local account.
[owners]
maintainer = [{owner}]

[escalation.maintainer]
ask = \"maintainer\"
within = \"15m\"
then = \"deny\"

# What the agent's program gets of your environment, beside locale, terminal and PATH.
[env]
pass = [
{variables}]

# Your home is not touched: what the agent writes there is its own, thrown away at the end of the session. With \"agent\" the
# same agent's next session finds it again, and then one session of an agent can run at a time.
[home]
keep = \"session\"
",
        name = quote(&it.name),
        owner = quote(&it.owner),
        variables = MODEL_VARIABLES.iter().map(|v| format!("    {},\n", quote(v))).collect::<String>(),
    );
    if it.registries.is_empty() && !it.ecosystems.is_empty() {
        out.push_str(
            "
# Your package tools' configuration names no registry, so fetching packages is asked about: add its host to
# `network-elsewhere-is-asked-about` in rules.cedar to let it pass.
",
        );
    }
    out.push_str(&sandbox(it));
    out.push_str(
        "
# Files of the work that were deleted in the last minute; what is hidden or scratch does not count.
[facts]
deleted = 'count[1m] did fs.delete(zone: \"workspace\", kind: \"file\", rel like \"{[!.]*,[!.]*/[!.]*,[!.]*/[!.]*/[!.]*,[!.]*/[!.]*/[!.]*/[!.]*,[!.]*/[!.]*/[!.]*/[!.]*/[!.]*,[!.]*/[!.]*/[!.]*/[!.]*/[!.]*/**}\")'
# This package was agreed to before, for a command or in a manifest.
package_agreed = 'once did dependency.add(ecosystem: $ecosystem, name: $name, surface: \"exec\") or once did dependency.add(ecosystem: $ecosystem, name: $name, reader like \"*-manifest/*\")'
",
    );
    out.push_str(&examples(it));
    out
}

fn sandbox(it: &Repository) -> String {
    let scratch: BTreeSet<&str> = it.ecosystems.iter().flat_map(|e| e.scratch()).copied().collect();
    let mut out = String::new();
    if !scratch.is_empty() {
        let list = scratch.iter().map(|s| format!("    {},\n", quote(s))).collect::<String>();
        out.push_str(&format!(
            "
# Scratch places hold what can be made again: written freely, not recorded file by file, not applied.
[sandbox]
scratch = [
{list}]
"
        ));
    }
    if !it.secrets.is_empty() {
        if scratch.is_empty() {
            out.push_str("\n[sandbox]\n");
        }
        let list = it.secrets.iter().map(|p| format!("    {},\n", quote(&p.to_string_lossy()))).collect::<String>();
        out.push_str(&format!(
            "# Absent for the agent, beside the credentials below home that always are.\nhide = [\n{list}]\n"
        ));
    }
    out
}

fn examples(it: &Repository) -> String {
    let mut out = String::from(
        "
# Run by `flyball check`.
",
    );
    let mut example = |given: &str, attempt: &str, expect: &str| {
        let given = if given.is_empty() { String::new() } else { format!("given = [{given}]\n") };
        out.push_str(&format!("[[example]]\n{given}attempt = {}\nexpect = {}\n\n", quote(attempt), quote(expect)));
    };
    example("", "fs.write(path: 'src/main.rs')", "allow");
    example("", "process.exec(program: 'ls')", "allow");
    example("", "fs.write(path: '/etc/passwd')", "deny outside-the-workspace");
    example("", "fs.write(path: '.github/workflows/ci.yml')", "hold ci-is-asked-about");
    example("", "fs.read(path: '~/.ssh/id_ed25519')", "deny credentials-are-not-read");
    example("", "fs.read(path: 'src/main.rs')", "allow");
    example("", "fs.delete(path: 'src', recursive: true)", "hold whole-folders-are-asked-about");
    example("", "fs.delete(path: 'target', recursive: true)", "allow");
    example("", "dependency.add(name: 'left-pad')", "hold packages-are-asked-about");
    let left_pad = "dependency.add(ecosystem: 'npm', name: 'left-pad'";
    let manifest = format!("{left_pad}, surface: 'fs', reader: 'npm-manifest/1')");
    example("", &manifest, "hold packages-are-asked-about");
    example(&quote(&format!("did {left_pad}, surface: 'exec')")), &manifest, "allow");
    example("", &format!("{left_pad}, surface: 'fs', reader: 'npm-lock/1')"), "allow");
    let elsewhere = format!("{left_pad}, surface: 'fs', reader: 'npm-lock/1', source: 'git+https://paste.example/x')");
    example("", &elsewhere, "hold packages-are-asked-about");
    let secret = "fs.write(path: 'src/main.rs', content: true, secrets: ['aws-access-key'])";
    example("", secret, "deny secrets-are-not-written");
    example("", "fs.write(path: 'src/main.rs', content: true)", "allow");
    example("", "net.connect(host: 'api.anthropic.com', port: 443)", "allow");
    example("", "net.connect(host: 'paste.example', port: 443)", "hold network-elsewhere-is-asked-about");
    example("", "tool.inject(server: 'tickets', name: 'search', was: '')", "allow");
    example("", "tool.inject(server: 'tickets', name: 'search', was: 'absent')", "hold changed-tools-are-asked-about");
    example("", "agent.spawn(name: 'reviewer', surface: 'hook')", "allow");
    let unrestricted = "agent.spawn(name: 'codex', rights: ['unrestricted'], surface: 'hook')";
    example("", unrestricted, "hold agents-that-ask-nobody-are-asked-about");
    if it.is_git {
        let push = format!("git.push(remote: 'origin', name: '{}')", it.default_branch);
        example("", &push, "hold default-branch-is-asked-about");
        example("", "git.push(remote: 'origin', name: 'topic')", "allow");
        example("", "git.push(remote: 'origin', name: 'topic', force: true)", "deny no-force-push");
        example("", "fs.write(path: '.git/hooks/pre-commit')", "hold git-hooks-are-asked-about");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

pub(super) fn rules_cedar(it: &Repository) -> String {
    let mut out = String::from(PERMITS);
    out.push_str(&network(it));
    out.push_str(FORBIDS);
    out.push_str(&harms(it));
    for (group, paths) in RUN_LATER {
        let (id, reason) = match *group {
            "ci" => ("ci-is-asked-about", "CI runs these with rights that the agent does not have."),
            _ => ("tool-settings-are-asked-about", "Your editor, shell or agent runs these outside of the session."),
        };
        out.push_str(&rule(
            id,
            reason,
            CHANGES,
            &format!("resource.zone == \"workspace\" &&\n    ({})", any_like("rel", paths)),
        ));
    }
    out.push_str(&rule(
        "start-up-files-are-asked-about",
        "Programs of yours read these when they start.",
        CHANGES,
        &format!("resource.zone == \"home\" &&\n    ({})", any_like("path", START_UP)),
    ));
    if it.is_git {
        out.push_str(&git(it));
    }
    out
}

/// Verbs that change a file.
const CHANGES: &str = "action in [Action::\"fs.write\", Action::\"fs.delete\", Action::\"fs.move\", Action::\"fs.link\", Action::\"fs.chmod\"]";

const PERMITS: &str = r#"// Ordinary work. What no rule permits is denied (charter.toml, default).

@id("work-with-files") @owner("maintainer")
@reason("Workspace, home and temporary folders are the session's own: the real ones change only by `flyball apply`.")
permit (principal, action in [Action::"fs", Action::"state"], resource);

@id("run-programs") @owner("maintainer")
@reason("What a program does is decided when it does it.")
permit (principal, action in Action::"process", resource);

@id("start-agents") @owner("maintainer")
@reason("What another agent does meets the same rules.")
permit (principal, action in Action::"agent", resource);

@id("work-with-git") @owner("maintainer")
@reason("Commits, branches, tags and pushes of topic branches are ordinary work.")
permit (principal, action in [Action::"git", Action::"pr.open", Action::"pr.comment"], resource);

@id("remove-packages") @owner("maintainer")
@reason("Fewer packages are no harm.")
permit (principal, action == Action::"dependency.remove", resource);

@id("serve-inside") @owner("maintainer")
@reason("Nobody outside can reach what listens in the session's own network.")
permit (principal, action == Action::"net.listen", resource);

// What people allow when they are asked (the rules with @escalate below) has to be permitted first.

@id("packages-when-asked") @owner("maintainer")
@reason("Adding a package is fine once somebody has looked at it.")
permit (principal, action in [Action::"dependency.add", Action::"dependency.change"], resource);

@id("deploy-when-asked") @owner("maintainer")
@reason("Deploys and merges are fine once somebody has looked at them.")
permit (principal, action in [Action::"deploy", Action::"pr.merge"], resource);

@id("network") @owner("maintainer")
@reason("Models, registries and remotes are ordinary work; other hosts once somebody has looked at them.")
permit (principal, action == Action::"net.connect", resource);

@id("requests-follow-connections") @owner("maintainer")
@reason("Whether a host may be reached is decided where the connection is.")
permit (principal, action in [Action::"http.request", Action::"model.call"], resource);

@id("tools-of-servers") @owner("maintainer")
@reason("You configured these servers; what a tool does that is known by name meets the rules of what it does.")
permit (principal, action in Action::"tool", resource);

// The well-known harms.

"#;

const FORBIDS: &str = r#"@id("outside-the-workspace") @owner("maintainer")
@reason("Agents change only this repository, and their own home and temporary files.")
forbid (principal, action in [Action::"fs.write", Action::"fs.delete", Action::"fs.move", Action::"fs.link", Action::"fs.chmod"], resource)
when {
    resource.zone == "system" &&
    // A path that can't be read from a command yet is decided when it is written to.
    resource.path != "" &&
    !(["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx"].contains(resource.path) || resource.path like "/dev/pts/*")
};

@id("charter-is-not-the-agents") @owner("maintainer")
@reason("An agent does not write the rules that it works under.")
forbid (principal, action in [Action::"fs.write", Action::"fs.delete", Action::"fs.move", Action::"fs.link", Action::"fs.chmod"], resource)
when { resource.zone == "workspace" && (resource.rel == ".flyball" || resource.rel like ".flyball/*") };

@id("mass-deletion-is-asked-about") @owner("maintainer") @escalate("maintainer")
@reason("More than 1,000 files of the work were deleted within a minute.")
forbid (principal, action == Action::"fs.delete", resource)
when { resource.zone == "workspace" && !(resource.rel like ".*" || resource.rel like "*/.*") && context.fact.deleted > 1000 };

@id("sweeping-rm-is-asked-about") @owner("maintainer") @escalate("maintainer")
@reason("This would delete the whole tree, or what lies above it.")
forbid (principal, action == Action::"process.exec", resource)
when {
    resource.program == "rm" &&
    resource.argv.containsAny(["-r", "-R", "-rf", "-fr", "-Rf", "-fR", "--recursive"]) &&
    resource.argv.containsAny([".", "./", "..", "../", "/", "*", "~", ".git", ".git/"])
};

@id("packages-are-asked-about") @owner("maintainer") @escalate("maintainer")
@reason("A new package runs other people's code with the rights of this repository.")
forbid (principal, action in [Action::"dependency.add", Action::"dependency.change"], resource)
unless {
    // What nobody can read, and what comes from elsewhere than its registry, is asked about each time.
    !context.opaque && resource.name != "" && !(context.attrs has source) &&
    // Once: what was agreed to for a command may then stand in the manifest, and the other way round.
    (context.fact.package_agreed ||
     // A lock file says what the manifest asked for, and what that needs in turn.
     (context.attrs has reader && (context.attrs.reader like "*-lock/*" || context.attrs.reader like "go-sum/*")))
};

@id("secrets-are-not-written") @owner("maintainer")
@reason("What stands in a file ends up in history and with others. Pass secrets in the environment, or name where they are.")
forbid (principal, action == Action::"fs.write", resource)
when { context.attrs has secrets && !context.attrs.secrets.isEmpty() };

@id("changed-tools-are-asked-about") @owner("maintainer") @escalate("maintainer")
@reason("The model believes what a tool's text says; this text is new or another than when the tool was first seen.")
forbid (principal, action == Action::"tool.inject", resource)
when { context.attrs has was && context.attrs.was != "" };

@id("agents-that-ask-nobody-are-asked-about") @owner("maintainer") @escalate("maintainer")
@reason("Where only hooks hold an agent, one that is told to ask nobody may not be told of them either.")
forbid (principal, action == Action::"agent.spawn", resource)
when { context.surface == "hook" && context.attrs has rights && context.attrs.rights.contains("unrestricted") };

@id("deploys-are-asked-about") @owner("maintainer") @escalate("maintainer")
@reason("Deploys and merges act on what others use.")
forbid (principal, action in [Action::"deploy", Action::"pr.merge"], resource);

"#;

/// `@escalate`d refusal of some actions under a condition.
fn rule(id: &str, reason: &str, action: &str, when: &str) -> String {
    format!(
        "@id({}) @owner(\"maintainer\") @escalate(\"maintainer\")\n@reason({})\nforbid (principal, {action}, resource)\nwhen {{\n    {when}\n}};\n\n",
        quote(id),
        quote(reason)
    )
}

fn any_like(field: &str, patterns: &[&str]) -> String {
    let one = |p: &&str| format!("resource.{field} like {}", quote(p));
    patterns.iter().map(one).collect::<Vec<_>>().join(" ||\n     ")
}

fn network(it: &Repository) -> String {
    let mut by_port: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    let known = MODEL_HOSTS.iter().copied().chain(it.remotes.iter().map(String::as_str)).map(|host| (host, 443));
    let remotes = it.remotes.iter().map(|host| (host.as_str(), 22));
    let read = it.registries.iter().chain(&it.models).map(|(host, port)| (host.as_str(), *port));
    for (host, port) in known.chain(remotes).chain(read) {
        by_port.entry(port).or_default().insert(host);
    }
    let port = |(port, hosts): (&u16, &BTreeSet<&str>)| {
        let list = hosts.iter().map(|h| quote(h)).collect::<Vec<_>>().join(",\n      ");
        format!("    (resource.port == {port} &&\n     [{list}].contains(resource.host)) ||\n")
    };
    format!(
        r#"@id("network-elsewhere-is-asked-about") @owner("maintainer") @escalate("maintainer")
@reason("This repository has no business with that host; what is sent there can't be taken back.")
forbid (principal, action == Action::"net.connect", resource)
unless {{
    // Models; git remotes; the package registries that your own tools are configured for.
{}    // What listens in the session itself.
    ["localhost", "127.0.0.1", "::1", "unix"].contains(resource.host) ||
    // Where a command goes that can't be read yet is decided when it goes there.
    (context.opaque && resource.host == "")
}};

"#,
        by_port.iter().map(port).collect::<String>()
    )
}

/// Reading credentials, and deleting the tree or a large part of it.
fn harms(it: &Repository) -> String {
    let mut secrets = any_like("path", CREDENTIALS);
    for path in &it.secrets {
        secrets.push_str(&format!(" ||\n     resource.path == {}", quote(&path.to_string_lossy())));
    }
    let made_again = MADE_AGAIN.iter().map(|n| quote(n)).collect::<Vec<_>>().join(", ");
    format!(
        r#"@id("credentials-are-not-read") @owner("maintainer")
@reason("These let others act as you. The agent's work does not need them.")
forbid (principal, action in [Action::"fs.read", Action::"fs.move", Action::"fs.link"], resource)
when {{
    ({secrets}) &&
    !(resource.path like "*.pub")
}};

@id("whole-folders-are-asked-about") @owner("maintainer") @escalate("maintainer")
@reason("This deletes the whole tree, its history or one of its top folders, which no tool makes again.")
forbid (principal, action == Action::"fs.delete", resource)
when {{
    context.attrs has recursive && context.attrs.recursive &&
    resource.zone == "workspace" &&
    !(resource.rel like "*/*") &&
    ![{made_again}].contains(resource.rel)
}};

"#
    )
}

fn git(it: &Repository) -> String {
    let mut branches = BTreeSet::from(["main", "master"]);
    branches.insert(&it.default_branch);
    let names = branches.iter().map(|b| quote(b)).collect::<Vec<_>>().join(", ");
    let protected = [
        ".git",
        ".git/hooks",
        ".git/hooks/*",
        ".git/config",
        ".git/config.worktree",
        ".git/commondir",
        ".git/modules/*/hooks/*",
        ".git/modules/*/config",
    ];
    let mut out = rule(
        "git-hooks-are-asked-about",
        "Git runs these on your machine, outside of the session.",
        CHANGES,
        &format!("resource.zone == \"workspace\" &&\n    ({})", any_like("rel", &protected)),
    );
    out.push_str(&rule(
        "default-branch-is-asked-about",
        "Others build on this branch. Push a topic branch instead.",
        "action == Action::\"git.push\"",
        &format!(
            "// A push that does not say where to may go there too.\n    [{names}, \"\"].contains(resource.name) ||\n    (context.attrs has default_branch && context.attrs.default_branch)"
        ),
    ));
    out.push_str(&rule(
        "deleting-branches-is-asked-about",
        "This takes away what others may have built on.",
        "action == Action::\"git.push\"",
        "context.attrs has delete && context.attrs.delete",
    ));
    out.push_str(
        r#"@id("no-force-push") @owner("maintainer")
@reason("This rewrites what others may have built on. Push a new commit or another branch.")
forbid (principal, action == Action::"git.push", resource)
when { context.attrs has force && context.attrs.force };

"#,
    );
    out
}

/// A string as both TOML and Cedar write it.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Neither name nor path of ours has any; a crafted one must not end the string.
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
