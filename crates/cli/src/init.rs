//! `init`: writes a first charter into a repository.

use crate::charter_dir::FOLDER;
use crate::failure::Failure;
use crate::library::CHARTERS;
use crate::output::{Cell, Output, Style, table};
use crate::place::short;
use flyball_runtime::init::{charter_for, look};
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// `flyball init [DIR]`.
pub fn init(out: Output, dir: Option<&Path>, from: Option<&str>) -> Result<(), Failure> {
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
    if let Some(name) = from {
        return copy(out, &folder, name);
    }
    let repository = look(dir);
    let sources = charter_for(&repository);
    write(&folder, sources.iter().map(|(name, text)| (name.as_str(), text.as_str())))?;
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

/// A charter of the library, as it is.
fn copy(out: Output, folder: &Path, name: &str) -> Result<(), Failure> {
    let Some(charter) = CHARTERS.iter().find(|c| c.name == name) else {
        let names: Vec<&str> = CHARTERS.iter().map(|c| c.name).collect();
        let said: String = name.chars().take(80).collect();
        return Err(Failure::user("FB0534", format!("the library has no charter `{said}`"))
            .hint(format!("it has {}; `flyball init --list` says what each is for", names.join(", "))));
    };
    write(folder, charter.files.iter().copied())?;
    if out.is_json {
        let files: Vec<&str> = charter.files.iter().map(|(name, _)| *name).collect();
        out.json(&json!({ "dir": folder.display().to_string(), "files": files, "from": name }));
        return Ok(());
    }
    for (name, _) in charter.files {
        out.line(&short(&folder.join(name)));
    }
    out.note("next: put your people into [owners], read its README.md for what else is yours to set,");
    out.note(&format!("then {}", out.paint_err(Style::Bold, "flyball check")));
    Ok(())
}

/// `flyball init --list`.
pub fn list(out: Output) {
    if out.is_json {
        for charter in CHARTERS {
            out.json(&json!({ "name": charter.name, "for": charter.is_for }));
        }
        return;
    }
    let rows: Vec<Vec<Cell>> =
        CHARTERS.iter().map(|c| vec![Cell::new(c.name).styled(Style::Bold), Cell::new(c.is_for)]).collect();
    table(out, &["CHARTER", "FOR"], &rows);
}

/// Writes files that are not there yet.
fn write<'f>(folder: &Path, files: impl Iterator<Item = (&'f str, &'f str)>) -> Result<(), Failure> {
    let fail =
        |path: &Path, e: std::io::Error| Failure::user("FB0512", format!("can't write `{}`: {e}", path.display()));
    std::fs::create_dir_all(folder).map_err(|e| fail(folder, e))?;
    for (name, text) in files {
        let path = folder.join(name);
        // `create_new`: what somebody wrote meanwhile is theirs.
        let written = std::fs::File::create_new(&path).and_then(|mut f| f.write_all(text.as_bytes()));
        written.map_err(|e| fail(&path, e))?;
    }
    Ok(())
}
