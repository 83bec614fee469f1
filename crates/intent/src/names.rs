//! What a program is called: by its file, not by what it was told its name is.

/// Programs that are many in one file and go by the name they were started under.
const MULTICALL: &[&str] = &["busybox", "toybox", "coreutils", "rustup"];

/// The last component of a path.
pub(crate) fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The name that charters write for the program in file `path`, started with `zeroth` as its own name.
///
/// The file's name counts, since `argv[0]` is the caller's free choice: `exec -a cargo rm test` is no `cargo`. Only a
/// file that itself goes by `argv[0]` is called so.
pub(crate) fn program(path: &str, zeroth: Option<&str>) -> String {
    let name = base(path);
    if MULTICALL.contains(&name)
        && let Some(called) = zeroth.map(base).filter(|n| !n.is_empty())
    {
        return plain(called).to_owned();
    }
    of_package(path).unwrap_or_else(|| plain(name)).to_owned()
}

/// Programs that are a file of a common name in a package of their own.
fn of_package(path: &str) -> Option<&'static str> {
    let within = |package: &str| path.contains(&format!("/{package}/"));
    match base(path) {
        "cli.js" if within("@anthropic-ai/claude-code") => Some("claude"),
        "index.js" if within("@google/gemini-cli") => Some("gemini"),
        _ => None,
    }
}

/// One name for the many that a well-known program's file has.
fn plain(name: &str) -> &str {
    match name {
        "npm-cli.js" => "npm",
        "npx-cli.js" => "npx",
        "pnpm.cjs" | "pnpm.mjs" => "pnpm",
        "yarn.js" | "yarnpkg" => "yarn",
        "nodejs" => "node",
        "claude.exe" => "claude",
        "codex.js" => "codex",
        "gemini.js" => "gemini",
        _ if is_numbered(name, "python") => "python3",
        _ if is_numbered(name, "pip") => "pip",
        _ => name,
    }
}

/// `pip`, `pip3`, `pip3.11`, and the same of others that are called by their version. `python2` is its own.
fn is_numbered(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|rest| {
        rest.is_empty() || (rest.starts_with('3') && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_program() {
        for (path, zeroth, is) in [
            ("/usr/bin/cargo", "cargo", "cargo"),
            ("/usr/bin/rm", "cargo", "rm"),
            ("/home/me/.cargo/bin/rustup", "cargo", "cargo"),
            ("/bin/busybox", "/bin/sh", "sh"),
            ("/usr/bin/python3.11", "python", "python3"),
            ("/usr/bin/python2", "python", "python2"),
            ("/usr/lib/node_modules/npm/bin/npm-cli.js", "npm", "npm"),
            ("/usr/bin/pip3", "pip3", "pip"),
            ("/usr/bin/pipx", "pipx", "pipx"),
            ("/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js", "claude", "claude"),
            ("/usr/lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe", "rg", "claude"),
            ("/usr/lib/node_modules/@google/gemini-cli/dist/index.js", "gemini", "gemini"),
            ("/home/me/cli.js", "claude", "cli.js"),
            ("", "", ""),
        ] {
            assert_eq!(program(path, Some(zeroth)), is, "{path} as {zeroth}");
        }
    }
}
