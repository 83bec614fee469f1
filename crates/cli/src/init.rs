//! `init`: writes a first charter into a repository.

use crate::charter_dir::FOLDER;
use crate::failure::Failure;
use crate::output::{Output, Style};
use crate::place::short;
use flyball_runtime::init::{charter_for, look};
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// `flyball init [DIR]`.
pub fn init(out: Output, dir: Option<&Path>) -> Result<(), Failure> {
    let dir = dir.unwrap_or(Path::new("."));
    if !dir.is_dir() {
        return Err(
            Failure::user("FB0515", format!("`{}` is no folder", dir.display())).hint("name the repository's folder")
        );
    }
    let folder = dir.join(FOLDER);
    if folder.join("charter.toml").exists() {
        return Err(Failure::user("FB0502", format!("`{}` has a charter already", folder.display()))
            .hint("edit it and run `flyball check`; init never overwrites"));
    }
    let repository = look(dir);
    let sources = charter_for(&repository);
    let fail =
        |path: &Path, e: std::io::Error| Failure::user("FB0512", format!("can't write `{}`: {e}", path.display()));
    std::fs::create_dir_all(&folder).map_err(|e| fail(&folder, e))?;
    for (name, text) in &sources {
        let path = folder.join(name);
        // `create_new`: what somebody wrote meanwhile is theirs.
        let written = std::fs::File::create_new(&path).and_then(|mut f| f.write_all(text.as_bytes()));
        written.map_err(|e| fail(&path, e))?;
    }
    let made_with: Vec<String> = repository.ecosystems.iter().map(|e| format!("{e:?}").to_lowercase()).collect();
    if out.is_json {
        out.json(&json!({
            "dir": folder.display().to_string(), "files": sources.keys().collect::<Vec<_>>(), "ecosystems": made_with,
            "default_branch": repository.is_git.then_some(&repository.default_branch), "owner": repository.owner,
        }));
        return Ok(());
    }
    for name in sources.keys() {
        out.line(&short(&folder.join(name)));
    }
    let found = if made_with.is_empty() { "no language that it knows".to_owned() } else { made_with.join(", ") };
    out.note(&format!("found {found}; asks {} where it has to", repository.owner));
    out.note(&format!("next: {}", out.paint_err(Style::Bold, "flyball check")));
    Ok(())
}
