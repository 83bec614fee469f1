//! Programs that deploy: kubectl, helm, terraform, docker.

use crate::options::{Line, Table};
use crate::reading::{Command, Reading, Word, absolute};
use flyball_kernel::Value;

const READER: &str = "deploy/1";

pub(super) fn read(to: &mut Reading<'_>, by: &Command) {
    match by.program.as_str() {
        "kubectl" | "oc" => kubectl(to, by),
        "helm" => helm(to, by),
        "terraform" | "tofu" => terraform(to, by),
        "docker-compose" => {
            let line = COMPOSE.read(&by.args);
            compose(to, by, &line, &line.all());
        }
        _ => docker(to, by),
    }
}

/// What is deployed to.
#[derive(Clone, Default)]
struct Target {
    cluster: String,
    namespace: String,
    kind: String,
    name: String,
}

fn emit(
    to: &mut Reading<'_>,
    by: &Command,
    verb: &'static str,
    at: &Target,
    attrs: &[(&'static str, Value)],
    is_sure: bool,
) {
    let fields = [
        ("cluster", at.cluster.as_str().into()),
        ("namespace", at.namespace.as_str().into()),
        ("kind", at.kind.as_str().into()),
        ("name", at.name.as_str().into()),
    ];
    let mut attrs = attrs.to_vec();
    attrs.push(("tool", by.program.as_str().into()));
    to.imply(by, READER, verb, &fields, &attrs, is_sure);
}

const KUBECTL: Table = Table::of(&[
    "context=",
    "cluster=",
    "n namespace=",
    "kubeconfig=",
    "user=",
    "token=",
    "s server=",
    "as=",
    "request-timeout=",
    "v=",
    "f filename=",
    "k kustomize=",
    "R recursive",
    "l selector=",
    "all",
    "A all-namespaces",
    "replicas=",
    "current-replicas=",
    "dry-run?",
    "server-side",
    "prune",
    "force",
    "grace-period=",
    "wait?",
    "timeout=",
    "o output=",
    "p patch=",
    "type=",
    "c container=",
    "i stdin",
    "t tty",
    "image=",
    "field-manager=",
    "validate?",
    "overwrite",
    "cascade?",
    "now",
    "ignore-not-found",
    "field-selector=",
    "record",
    "env=",
    "port=",
    "rm",
    "restart=",
    "command",
    "q quiet",
    "from-literal=",
    "from-file=",
    "force-conflicts",
    "local",
    "to-revision=",
    "subresource=",
    "ignore-daemonsets",
    "delete-emptydir-data",
    "attach",
]);

fn kubectl(to: &mut Reading<'_>, by: &Command) {
    let line = KUBECTL.read(&by.args);
    let Some((sub, words)) = line.words.split_first() else { return };
    let Some(sub) = sub.known() else {
        to.is_opaque = true;
        return;
    };
    if line.value("dry-run").is_some_and(|v| v.known() != Some("none")) {
        return;
    }
    let text = |name: &str| line.value(name).and_then(Word::known).unwrap_or_default().to_owned();
    let place = Target {
        cluster: if line.has("context") { text("context") } else { text("cluster") },
        namespace: text("namespace"),
        ..Target::default()
    };
    let is_sure = !line.is_uncertain;
    let verb = match sub {
        "apply" | "create" | "replace" | "patch" | "edit" | "label" | "annotate" | "taint" | "cordon" | "uncordon"
        | "run" | "expose" | "autoscale" => "deploy.apply",
        "set" | "rollout" => "deploy.apply",
        "delete" | "drain" => "deploy.delete",
        "scale" => "deploy.scale",
        "exec" | "attach" | "debug" => "deploy.exec",
        _ => return,
    };
    let mut words = words.to_vec();
    match (sub, words.first().and_then(Word::known)) {
        ("rollout", Some("restart" | "undo" | "pause" | "resume")) | ("set", Some(_)) => {
            words.remove(0);
        }
        ("rollout", _) => return,
        ("create" | "patch" | "delete", Some("secret"))
            if words.get(1).is_some_and(|w| matches!(w.known(), Some("generic" | "tls" | "docker-registry"))) =>
        {
            words.remove(1);
        }
        ("drain" | "cordon" | "uncordon", _) => words.insert(0, Word::Known("node".into())),
        ("run" | "exec" | "attach", Some(name)) if !name.contains('/') => words.insert(0, Word::Known("pod".into())),
        _ => {}
    }
    let mut attrs: Vec<(&'static str, Value)> = Vec::new();
    match verb {
        "deploy.scale" => {
            if let Ok(n) = text("replicas").parse::<i64>() {
                attrs.push(("replicas", n.into()));
            } else {
                to.is_opaque = true;
            }
        }
        "deploy.exec" => {
            let argv: Vec<String> = line.after.iter().flatten().map(|w| w.written().to_owned()).collect();
            attrs.push(("argv", argv.into()));
            words.truncate(2);
        }
        _ => {}
    }
    // What is in a file or matches a label is not known here.
    let mut from: Vec<&Word> = line.values("filename").chain(line.values("kustomize")).collect();
    from.dedup();
    for file in &from {
        let mut attrs = attrs.clone();
        if verb == "deploy.apply" {
            attrs.push(("source", by.path(file).unwrap_or_else(|| file.written().to_owned()).into()));
        }
        emit(to, by, verb, &place, &attrs, false);
    }
    if !from.is_empty() {
        return;
    }
    let is_all = line.has("all") || line.has("selector") || line.has("all-namespaces") || line.has("field-selector");
    for (kind, name) in resources(&words, matches!(sub, "label" | "annotate" | "taint" | "set")) {
        let at = Target { kind: kind.unwrap_or_default(), name: name.unwrap_or_default(), ..place.clone() };
        let sure = is_sure && !is_all && !at.kind.is_empty() && !at.name.is_empty();
        emit(to, by, verb, &at, &attrs, sure);
    }
}

/// `KIND NAME…` and `KIND/NAME…`; with `only_slash`, further words are settings.
fn resources(words: &[Word], settings_follow: bool) -> Vec<(Option<String>, Option<String>)> {
    let Some(first) = words.first() else { return vec![(None, None)] };
    let known = |w: &Word| w.known().map(str::to_owned);
    if first.known().is_some_and(|w| w.contains('/')) {
        return words
            .iter()
            .filter(|w| w.known().is_none_or(|t| t.contains('/') && !t.contains('=')))
            .map(|w| match w.known().and_then(|t| t.split_once('/')) {
                Some((kind, name)) => (Some(kind.to_owned()), Some(name.to_owned())),
                None => (None, None),
            })
            .collect();
    }
    let names = words.get(1..).unwrap_or_default();
    if names.is_empty() {
        return vec![(known(first), None)];
    }
    let take = if settings_follow { 1 } else { names.len() };
    names.iter().take(take).map(|name| (known(first), known(name))).collect()
}

const HELM: Table = Table::of(&[
    "n namespace=",
    "kube-context=",
    "kubeconfig=",
    "f values=",
    "set=",
    "set-string=",
    "set-file=",
    "set-json=",
    "version=",
    "i install",
    "atomic",
    "wait",
    "timeout=",
    "create-namespace",
    "dry-run?",
    "debug",
    "repo=",
    "reset-values",
    "reuse-values",
    "force",
    "g generate-name",
    "description=",
    "history-max=",
    "keep-history",
    "no-hooks",
    "cleanup-on-fail",
    "o output=",
    "username=",
    "password=",
    "burst-limit=",
    "qps=",
    "wait-for-jobs",
    "skip-crds",
    "dependency-update",
    "take-ownership",
    "rollback-on-failure",
    "devel",
    "verify",
]);

fn helm(to: &mut Reading<'_>, by: &Command) {
    let line = HELM.read(&by.args);
    let words = line.all();
    let Some((sub, words)) = words.split_first() else { return };
    let (verb, is_apply) = match sub.known() {
        Some("install" | "upgrade") => ("deploy.apply", true),
        Some("rollback") => ("deploy.apply", false),
        Some("uninstall" | "delete" | "del" | "un") => ("deploy.delete", false),
        None => {
            to.is_opaque = true;
            return;
        }
        _ => return,
    };
    if line.has("dry-run") && line.value("dry-run").is_none_or(|v| v.known() != Some("none")) {
        return;
    }
    let text = |name: &str| line.value(name).and_then(Word::known).unwrap_or_default().to_owned();
    let named = if line.has("generate-name") { None } else { words.first() };
    let chart = if line.has("generate-name") { words.first() } else { words.get(1) };
    let names: Vec<Option<&Word>> =
        if verb == "deploy.delete" { words.iter().map(Some).collect() } else { vec![named] };
    for name in names {
        let name = name.and_then(Word::known).unwrap_or_default().to_owned();
        let at = Target { cluster: text("kube-context"), namespace: text("namespace"), kind: "release".into(), name };
        let mut attrs: Vec<(&'static str, Value)> = Vec::new();
        if let Some(chart) = chart.filter(|_| is_apply) {
            attrs.push(("source", chart.written().into()));
        }
        let sure = !line.is_uncertain && !at.name.is_empty();
        emit(to, by, verb, &at, &attrs, sure);
    }
}

const TERRAFORM: Table = Table {
    single_dash: true,
    ..Table::of(&[
        "chdir=",
        "auto-approve",
        "var=",
        "var-file=",
        "target=",
        "replace=",
        "destroy",
        "input=",
        "lock=",
        "lock-timeout=",
        "no-color",
        "parallelism=",
        "refresh=",
        "refresh-only",
        "state=",
        "state-out=",
        "backup=",
        "compact-warnings",
        "json",
        "help",
        "version",
    ])
};

fn terraform(to: &mut Reading<'_>, by: &Command) {
    let line = TERRAFORM.read(&by.args);
    let Some((sub, words)) = line.words.split_first() else { return };
    let verb = match (sub.known(), words.first().and_then(Word::known)) {
        (Some("apply"), _) if line.has("destroy") => "deploy.delete",
        (Some("apply" | "import" | "taint" | "untaint"), _) => "deploy.apply",
        (Some("destroy"), _) => "deploy.delete",
        (Some("state"), Some("rm")) => "deploy.delete",
        (Some("state"), Some("mv" | "push" | "replace-provider")) => "deploy.apply",
        (Some("workspace"), Some("delete")) => "deploy.delete",
        (None, _) => {
            to.is_opaque = true;
            return;
        }
        _ => return,
    };
    // The folder is what names the infrastructure that it describes.
    let folder = match line.value("chdir") {
        Some(dir) => dir.known().and_then(|d| absolute(by.cwd.as_deref(), d)),
        None => by.cwd.clone(),
    };
    let targets: Vec<&Word> = line.values("target").collect();
    let source = folder.clone().unwrap_or_default();
    for name in targets.iter().map(|w| w.known().map(str::to_owned)).chain(targets.is_empty().then_some(folder.clone()))
    {
        let at = Target { kind: "terraform".into(), name: name.clone().unwrap_or_default(), ..Target::default() };
        let attrs: &[(&'static str, Value)] =
            if verb == "deploy.apply" { &[("source", source.as_str().into())] } else { &[] };
        emit(to, by, verb, &at, attrs, name.is_some() && folder.is_some() && !line.is_uncertain);
    }
}

const COMPOSE: Table = Table::of(&[
    "f file=",
    "p project-name=",
    "profile=",
    "env-file=",
    "project-directory=",
    "d detach",
    "build",
    "force-recreate",
    "no-deps",
    "scale=",
    "remove-orphans",
    "v volumes",
    "rmi=",
    "t timeout=",
    "wait",
    "pull=",
    "V renew-anon-volumes",
    "abort-on-container-exit",
    "no-build",
    "no-recreate",
    "quiet-pull",
    "context=",
]);

const DOCKER: Table = Table {
    stops: true,
    ..Table::of(&[
        "c context=",
        "H host=",
        "config=",
        "D debug",
        "l log-level=",
        "tls",
        "tlscacert=",
        "tlscert=",
        "tlskey=",
        "tlsverify",
        "v version",
    ])
};

fn docker(to: &mut Reading<'_>, by: &Command) {
    let global = DOCKER.read(&by.args);
    let all = global.all();
    let cluster = global.value("context").or(global.value("host")).and_then(Word::known).unwrap_or_default().to_owned();
    let mut words = all.as_slice();
    if let Some((Some("container" | "image"), rest)) = words.split_first().map(|(w, r)| (w.known(), r)) {
        words = rest;
    }
    let Some((sub, rest)) = words.split_first() else { return };
    let flags = Table::of(&[
        "a all-tags",
        "f force",
        "v volumes",
        "q quiet",
        "l link",
        "disable-content-trust",
        "platform=",
        "t time=",
    ])
    .read(rest);
    let at = |kind: &str, name: &Word| Target {
        cluster: cluster.clone(),
        kind: kind.into(),
        name: name.known().unwrap_or_default().into(),
        ..Target::default()
    };
    match sub.known() {
        Some("push") => {
            for image in flags.all() {
                emit(to, by, "deploy.apply", &at("image", &image), &[], !flags.is_uncertain && image.known().is_some());
            }
        }
        Some("rm" | "rmi" | "kill" | "stop") => {
            let kind = if sub.known() == Some("rmi") { "image" } else { "container" };
            for name in flags.all() {
                emit(to, by, "deploy.delete", &at(kind, &name), &[], !flags.is_uncertain && name.known().is_some());
            }
        }
        Some("run" | "create") => {
            // Options of `run` are many, and what is mounted matters more than the image's name: told, not read.
            let image = rest.iter().find(|w| w.known().is_some_and(|t| !t.starts_with('-')));
            let is_plain = rest.first().and_then(Word::known).is_some_and(|t| !t.starts_with('-'));
            let target = image
                .filter(|_| is_plain)
                .map_or(Target { kind: "container".into(), ..Target::default() }, |i| at("container", i));
            emit(to, by, "deploy.apply", &target, &[], is_plain);
        }
        Some("exec") => {
            let line = Table {
                stops: true,
                ..Table::of(&[
                    "d detach",
                    "detach-keys=",
                    "e env=",
                    "env-file=",
                    "i interactive",
                    "privileged",
                    "t tty",
                    "u user=",
                    "w workdir=",
                ])
            }
            .read(rest);
            let words = line.all();
            let Some((name, argv)) = words.split_first() else { return };
            let argv: Vec<String> = argv.iter().map(|w| w.written().to_owned()).collect();
            emit(
                to,
                by,
                "deploy.exec",
                &at("container", name),
                &[("argv", argv.into())],
                !line.is_uncertain && name.known().is_some(),
            );
        }
        Some("compose") => {
            let line = COMPOSE.read(rest);
            compose(to, by, &line, &line.all());
        }
        Some("stack" | "service" | "swarm" | "volume" | "network" | "system") => docker_managed(to, by, sub, rest, &at),
        None => to.is_opaque = true,
        _ => {}
    }
}

fn docker_managed(to: &mut Reading<'_>, by: &Command, kind: &Word, rest: &[Word], at: &dyn Fn(&str, &Word) -> Target) {
    let Some(verb) = rest.first().and_then(Word::known) else { return };
    let verb = match verb {
        "deploy" | "up" | "create" | "update" | "scale" | "rollback" => "deploy.apply",
        "rm" | "down" | "remove" | "prune" => "deploy.delete",
        _ => return,
    };
    let name = rest.iter().skip(1).find(|w| !w.written().starts_with('-'));
    let target = name.map_or(at(kind.written(), &Word::Known(String::new())), |n| at(kind.written(), n));
    // Which word is the name and which an option's value is not read.
    emit(to, by, verb, &target, &[], rest.len() == 2 && !target.name.is_empty());
}

fn compose(to: &mut Reading<'_>, by: &Command, line: &Line, words: &[Word]) {
    let Some((sub, services)) = words.split_first() else { return };
    let verb = match sub.known() {
        Some("up" | "start" | "restart" | "run" | "create" | "push") => "deploy.apply",
        Some("down" | "rm" | "stop" | "kill") => "deploy.delete",
        Some("exec") => "deploy.exec",
        None => {
            to.is_opaque = true;
            return;
        }
        _ => return,
    };
    let project = line.value("project-name").and_then(Word::known).map(str::to_owned);
    let file = line.value("file").map(|f| by.path(f).unwrap_or_else(|| f.written().to_owned()));
    let name = match (services, verb) {
        ([one], "deploy.apply" | "deploy.delete") => one.known().unwrap_or_default().to_owned(),
        _ => project.unwrap_or_default(),
    };
    let at = Target { kind: "compose".into(), name, ..Target::default() };
    let attrs: Vec<(&'static str, Value)> = match (verb, file) {
        ("deploy.apply", Some(file)) => vec![("source", file.into())],
        ("deploy.exec", _) => {
            vec![("argv", services.iter().map(|w| w.written().to_owned()).collect::<Vec<_>>().into())]
        }
        _ => Vec::new(),
    };
    // Without names it is the folder's whole project.
    emit(to, by, verb, &at, &attrs, !line.is_uncertain && !at.name.is_empty());
}
