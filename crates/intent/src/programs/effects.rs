//! Well-known programs that make folders, links and special files, change modes, owners and times, and unpack archives.
//!
//! Read only where nothing asks again beneath: the sandbox sees each of these when it comes.

use crate::options::{Line, Table};
use crate::reading::{Command, Reading, Word};

const READER: &str = "files/1";

/// Reads such a program; whether it was one.
pub(super) fn read(to: &mut Reading<'_>, by: &Command) -> bool {
    if !to.commands {
        return false;
    }
    let Some(table) = table(&by.program) else { return false };
    let line = table.read(&by.args);
    let words = line.all();
    // An archiver's options are not read, and a mode may look like one.
    to.is_opaque |= line.is_uncertain && !table.options.is_empty() && by.program != "chmod";
    match by.program.as_str() {
        "mkdir" => words.iter().for_each(|word| make(to, by, word, "directory")),
        "mkfifo" => words.iter().for_each(|word| make(to, by, word, "other")),
        "mknod" => words.iter().take(1).for_each(|word| make(to, by, word, "other")),
        "chmod" | "chown" | "chgrp" | "setfattr" | "setfacl" | "chattr" => metadata(to, by, &line, &words),
        "ln" | "link" => links(to, by, &line, &words),
        // An archive says itself what it writes where.
        _ => unpacks(to, by),
    }
    true
}

fn table(program: &str) -> Option<Table> {
    let options: &'static [&'static str] = match program {
        "mkdir" | "mkfifo" | "mknod" => &["p parents", "m mode=", "v verbose", "Z context?"],
        // A mode such as `-w` reads as an option: see `metadata`.
        "chmod" => &["R recursive", "v verbose", "c changes", "f silent quiet", "reference=", "preserve-root"],
        "chown" | "chgrp" => &[
            "R recursive",
            "v verbose",
            "c changes",
            "f silent quiet",
            "h no-dereference",
            "dereference",
            "reference=",
            "from=",
            "H",
            "L",
            "P",
            "preserve-root",
        ],
        "setfattr" => &["n name=", "v value=", "x remove=", "h no-dereference", "restore="],
        "setfacl" => &["m modify=", "x remove=", "b remove-all", "k remove-default", "R recursive", "d default", "n"],
        "chattr" => &["R", "V", "f"],
        "ln" | "link" => &[
            "s symbolic",
            "f force",
            "n no-dereference",
            "i interactive",
            "r relative",
            "v verbose",
            "b",
            "backup?",
            "L logical",
            "P physical",
            "S suffix=",
            "t target-directory=",
            "T no-target-directory",
        ],
        "tar" | "bsdtar" | "cpio" | "unzip" | "7z" | "ar" | "patch" | "gunzip" | "bunzip2" | "unxz" => &[],
        _ => return None,
    };
    Some(Table { abbreviates: true, ..Table::of(options) })
}

fn make(to: &mut Reading<'_>, by: &Command, word: &Word, kind: &'static str) {
    to.on_path(by, READER, "fs.write", word, &[("create", true.into()), ("kind", kind.into())]);
}

fn metadata(to: &mut Reading<'_>, by: &Command, line: &Line, words: &[Word]) {
    let is_set_by_option = line.has("reference") || matches!(by.program.as_str(), "setfattr" | "setfacl");
    // `chmod -w f`: the mode was taken for an option, and what is left are files.
    let is_mode_option = by.program == "chmod"
        && line.is_uncertain
        && by.args.iter().any(|a| a.written().starts_with('-') && a.written().contains(['r', 'w', 'x']));
    let (set, files) = match is_set_by_option || is_mode_option {
        true => (None, words),
        false => words.split_first().map_or((None, words), |(set, files)| (Some(set), files)),
    };
    let set = set.and_then(Word::known).unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().ok();
    let mut attrs = Vec::new();
    // What is done to all below, or to a name that has a number elsewhere, is not known in full.
    let mut is_known = !line.has("recursive") && !line.has("R");
    match by.program.as_str() {
        "chmod" => match i64::from_str_radix(set, 8) {
            Ok(mode) => attrs.push(("mode", mode.into())),
            Err(_) => is_known &= !is_mode_option && !line.has("reference"),
        },
        "chown" | "chgrp" => {
            let (user, group) = match (by.program.as_str(), set.split_once([':', '.'])) {
                ("chgrp", _) => ("", set),
                (_, Some((user, group))) => (user, group),
                (_, None) => (set, ""),
            };
            for (name, text) in [("uid", user), ("gid", group)] {
                match number(text) {
                    Some(id) => attrs.push((name, id.into())),
                    None => is_known &= text.is_empty(),
                }
            }
        }
        "setfattr" => {
            if let Some(name) = line.value("name").or(line.value("remove")).and_then(Word::known) {
                attrs.push(("xattr", name.into()));
            }
        }
        "setfacl" => attrs.push(("xattr", "system.posix_acl_access".into())),
        _ => {}
    }
    for file in files {
        for path in to.places_or_none(by, file) {
            let is_known = is_known && !path.is_empty();
            to.imply(by, READER, "fs.chmod", &[("path", path.into())], &attrs, is_known);
        }
    }
}

fn links(to: &mut Reading<'_>, by: &Command, line: &Line, words: &[Word]) {
    let here = Word::Known(".".to_owned());
    let (targets, place, is_folder) = match (line.value("target-directory"), words) {
        (Some(folder), all) => (all, folder, true),
        (None, [target]) => (std::slice::from_ref(target), &here, true),
        (None, [target, name]) => (std::slice::from_ref(target), name, false),
        (None, [targets @ .., folder]) => (targets, folder, true),
        (None, []) => return,
    };
    let is_symbolic = line.has("symbolic");
    for target in targets {
        let name = match (
            is_folder,
            by.path(place),
            target.known().and_then(|t| t.trim_end_matches('/').rsplit('/').next()),
        ) {
            (false, place, _) => place,
            (true, Some(folder), Some(name)) => Some(format!("{}/{name}", folder.trim_end_matches('/'))),
            _ => None,
        };
        let path = name.clone().unwrap_or_default();
        // A symbolic link keeps the words that it is given; a hard one is another name of the file itself.
        let to_what = if is_symbolic { target.known().map(str::to_owned) } else { by.path(target) };
        let is_known = name.is_some() && to_what.is_some();
        let mut attrs = vec![("target", to_what.clone().unwrap_or_default().into())];
        if is_symbolic {
            attrs.push(("symbolic", true.into()));
        }
        to.imply(by, READER, "fs.link", &[("path", path.as_str().into())], &attrs, is_known);
        if !is_symbolic {
            to.on_path(by, READER, "fs.write", target, &[]);
        }
        let mut made = vec![("create", true.into())];
        if is_symbolic {
            made.push(("kind", "symlink".into()));
        }
        to.imply(by, READER, "fs.write", &[("path", path.into())], &made, name.is_some());
    }
}

fn unpacks(to: &mut Reading<'_>, by: &Command) {
    let says = |text: &str| by.args.iter().any(|a| a.written() == text);
    let bundle = by.args.first().map(Word::written).unwrap_or_default();
    let only_lists = match by.program.as_str() {
        "tar" | "bsdtar" => bundle.contains('t') && !bundle.contains("--") || says("--list"),
        "unzip" => says("-l") || says("-Z") || says("-t"),
        "ar" => bundle.contains('t'),
        "patch" => says("--dry-run"),
        _ => false,
    };
    to.is_opaque |= !only_lists;
}
