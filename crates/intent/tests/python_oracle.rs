//! Python's own parser as oracle: what `ast` says of the standard library's sources, the reader must say.
//!
//! One file in [`ONE_IN`] by default, all with `FLYBALL_ORACLE=all`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use flyball_intent::{Content, ContentWanted, content_actions};
use flyball_kernel::Value;
use std::collections::BTreeSet;
use std::process::Command;

const ONE_IN: usize = 25;

/// Prints a line of JSON for each file: its path, and the names imported with all their prefixes.
const ORACLE: &str = r#"
import ast, json, os, sys, sysconfig, warnings
warnings.simplefilter("ignore")
sys.setrecursionlimit(100000)
files = sorted(os.path.join(d, f) for d, _, fs in os.walk(sysconfig.get_paths()["stdlib"]) for f in fs
               if f.endswith(".py") and "site-packages" not in d and "dist-packages" not in d)
def names(tree):
    out = set()
    def add(name):
        lead = len(name) - len(name.lstrip("."))
        parts = name[lead:].split(".")
        for n in range(1, len(parts) + 1):
            out.add(name[:lead] + ".".join(parts[:n]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names: add(a.name)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            add(module) if node.module else out.add(module)
            if module == "__future__": continue
            for a in node.names:
                if a.name != "*": add(module + ("" if module.endswith(".") else ".") + a.name)
        elif isinstance(node, ast.Call) and node.args:
            f = node.func
            called = f.id if isinstance(f, ast.Name) else f.attr if isinstance(f, ast.Attribute) else ""
            a = node.args[0]
            if called in ("__import__", "import_module") and isinstance(a, ast.Constant) and isinstance(a.value, str): add(a.value)
    return sorted(out)
for path in files[::int(sys.argv[1])]:
    data = open(path, "rb").read()
    try: data.decode("utf-8"); tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError): continue
    print(json.dumps([path, names(tree)]))
"#;

#[test]
fn imports_are_those_that_python_sees() {
    let one_in = if std::env::var("FLYBALL_ORACLE").is_ok_and(|it| it == "all") { 1 } else { ONE_IN };
    let Ok(output) = Command::new("python3").args(["-c", ORACLE, &one_in.to_string()]).output() else {
        eprintln!("skipped: no python3 here to compare with");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut files, mut imports, mut opaque, mut wrong) = (0, 0, 0, Vec::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (path, expect): (String, BTreeSet<String>) = serde_json::from_str(line).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let actions =
            content_actions(&Content { path: &path, old: None, new: Some(&bytes), wanted: ContentWanted::ALL });
        let write = actions.iter().find(|action| action.verb.name() == "fs.write");
        let is_opaque = write.is_some_and(|action| action.attr("opaque") == Some(&Value::Bool(true)));
        let is: BTreeSet<String> = match write.and_then(|action| action.attr("imports")) {
            Some(Value::Strs(names)) => names.iter().cloned().collect(),
            _ => BTreeSet::new(),
        };
        files += 1;
        imports += expect.len();
        opaque += usize::from(is_opaque);
        // What is missed must have been said to be incomplete; nothing may be made up.
        let missed: Vec<_> = expect.difference(&is).collect();
        let invented: Vec<_> = is.difference(&expect).collect();
        if !missed.is_empty() && !is_opaque || !invented.is_empty() {
            wrong.push(format!("{path}: missed {missed:?}, invented {invented:?}"));
        }
    }
    eprintln!("{files} files, {imports} names, {opaque} opaque, {} wrong", wrong.len());
    assert!(files > 10, "the oracle found {files} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Its grammar knows Python's: being opaque is the exception.
    assert!(opaque * 20 <= files, "{opaque} of {files} opaque");
}
