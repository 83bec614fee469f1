//! What a server is called that nobody has named, from the command that starts it.

use flyball_intent::is_known_server;

/// Programs that start servers and say nothing of which.
const STARTERS: &[&str] = &[
    "npx", "node", "bunx", "bun", "deno", "uvx", "uv", "pipx", "python", "python3", "docker", "env", "run", "exec",
    "tool", "sh", "bash",
];

/// What many servers' files are called: which one it is, the folder around it says.
const GENERIC: &[&str] = &[
    "index", "main", "server", "cli", "app", "start", "stdio", "dist", "build", "lib", "src", "bin", "out", "__main__",
];

/// A name from a command's words: that of a well-known server among them, else of the program that is no mere starter.
///
/// A folder that a server is given may be called as a well-known server is: of paths only the first, the program's, is looked at.
#[must_use]
pub fn server_name(argv: &[String]) -> String {
    let words: Vec<&str> = argv.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let is_path = |word: &str| word.starts_with(['/', '.', '~']);
    let program = words.iter().copied().find(|word| !STARTERS.contains(&plain(word).as_str()));
    let known = words.iter().filter(|word| !is_path(word) || Some(**word) == program).map(|word| telling(word));
    let known = known.into_iter().find(|name| is_known_server(name));
    let other = program.map(telling).filter(|name| !name.is_empty());
    known
        .or(other)
        .or_else(|| words.first().map(|word| plain(word)))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "server".to_owned())
}

/// The last part of a path that says which server it is.
fn telling(word: &str) -> String {
    let parts = word.rsplit('/').map(plain).filter(|part| !part.is_empty());
    parts.into_iter().find(|part| !GENERIC.contains(&part.as_str())).unwrap_or_else(|| plain(word))
}

/// `@scope/name@1.2`, `/path/to/name.js`, `name==1.2` -> `name`.
fn plain(word: &str) -> String {
    let last = word.rsplit('/').next().unwrap_or(word);
    let end = last.get(1..).and_then(|rest| rest.find(['@', '=', ':'])).map_or(last.len(), |at| at + 1);
    let name = last.get(..end).unwrap_or(last);
    let name = [".js", ".mjs", ".cjs", ".py", ".ts"].iter().find_map(|ext| name.strip_suffix(ext)).unwrap_or(name);
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_say_which_server() {
        for (command, name) in [
            ("npx -y @modelcontextprotocol/server-filesystem@2026.1 /w", "server-filesystem"),
            ("python3 -m mcp_server_git --repository /w", "mcp_server_git"),
            ("uvx mcp-server-fetch==1.0", "mcp-server-fetch"),
            ("node /opt/tools/shop.js", "shop"),
            ("/usr/local/bin/github-mcp-server stdio", "github-mcp-server"),
            ("node /x/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js /w", "server-filesystem"),
            ("node /opt/shop/dist/index.js /home/me/git", "shop"),
            ("docker run -i --rm -v /w:/w mcp/filesystem /w", "filesystem"),
            ("node", "node"),
            ("", "server"),
        ] {
            let argv: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!(server_name(&argv), name, "{command}");
        }
    }
}
