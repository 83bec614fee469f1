//! What a server is called that nobody has named, from the command that starts it.

use flyball_intent::is_known_server;

/// Programs that start servers and say nothing of which.
const STARTERS: &[&str] = &[
    "npx", "node", "bunx", "bun", "deno", "uvx", "uv", "pipx", "python", "python3", "docker", "env", "run", "exec",
    "tool", "sh", "bash",
];

/// A name from a command's words: that of a well-known server among them, else of the program that is no mere starter.
#[must_use]
pub fn server_name(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().filter(|word| !word.starts_with('-')).map(|word| plain(word)).collect();
    let known = words.iter().find(|word| is_known_server(word));
    let other = words.iter().find(|word| !word.is_empty() && !STARTERS.contains(&word.as_str()));
    known.or(other).or(words.first()).cloned().unwrap_or_else(|| "server".to_owned())
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
            ("node", "node"),
            ("", "server"),
        ] {
            let argv: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!(server_name(&argv), name, "{command}");
        }
    }
}
