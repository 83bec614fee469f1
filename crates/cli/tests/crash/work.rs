//! What the agent does: a script of file work, each step acknowledged on its standard output once it was seen done.

use crate::dice::Dice;
use std::fmt::Write;

/// One step: shell text, and the path that it writes, if it writes one.
#[derive(Clone)]
pub struct Step {
    pub text: String,
    pub writes: Option<String>,
    /// Every path that a step cut off half-way may have left in between.
    pub touches: Vec<String>,
}

/// A script of that many steps.
pub fn steps(dice: &mut Dice, count: usize) -> Vec<Step> {
    (0..count).map(|n| step(dice, n)).collect()
}

fn step(dice: &mut Dice, n: usize) -> Step {
    let dir = dice.pick(&["", "src/", "src/deep/", "docs/", "new/", "new/er/"]);
    let file = format!("{dir}f{}", dice.below(6));
    let other = format!("{}g{}", dice.pick(&["", "src/", "new/"]), dice.below(4));
    let make = if dir.is_empty() { String::new() } else { format!("mkdir -p {dir} && ") };
    let write = |text: String, path: &str, touches: Vec<String>| Step { text, writes: Some(path.to_owned()), touches };
    let plain = |text: String, touches: Vec<String>| Step { text, writes: None, touches };
    let dirs = vec![dir.trim_end_matches('/').to_owned(), "new".into(), "src/deep".into()];
    let all = |more: Vec<String>| [dirs.clone(), more].concat();
    match dice.below(14) {
        0..=3 => write(format!("{make}printf 'step {n}' > {file}"), &file, all(vec![file.clone()])),
        4 => write(format!("{make}printf '+{n}' >> {file}"), &file, all(vec![file.clone()])),
        5 | 6 => {
            // Of high consequence by the charter: on record, durably, before it takes effect.
            let file = format!("grave/h{}", dice.below(3));
            write(format!("printf 'grave {n}' > {file}"), &file, vec![file.clone()])
        }
        7 => {
            let big =
                format!("{make}i=0 && while [ $i -lt 400 ]; do echo 'line {n} of many'; i=$((i+1)); done > {file}");
            write(big, &file, all(vec![file.clone()]))
        }
        8 => plain(format!("rm -f {file}"), vec![file]),
        9 => plain(
            format!("{make}mkdir -p {file}.d new src && printf 'd {n}' > {file}.d/x && mv -f {file}.d/x {other}"),
            all(vec![format!("{file}.d"), format!("{file}.d/x"), other, "src".into()]),
        ),
        10 => plain(
            format!("{make}printf 'm {n}' > {file}.new && mkdir -p new src && mv -f {file}.new {other}"),
            all(vec![format!("{file}.new"), other, "new".into(), "src".into()]),
        ),
        11 => plain(format!("{make}ln -sfn f{} {file}.link", dice.below(6)), all(vec![format!("{file}.link")])),
        12 => {
            let mode = dice.pick(&["600", "644", "755"]);
            plain(format!("{make}printf 'c' >> {file} && chmod {mode} {file}"), all(vec![file]))
        }
        _ => plain("env true".to_owned(), Vec::new()),
    }
}

/// The script of these steps; `token` is a word by which its processes are known.
pub fn script(steps: &[Step], token: &str) -> String {
    let mut out = format!("# {token}\numask 022\n");
    for (n, step) in steps.iter().enumerate() {
        // Between the supervisor's death and its own the program sees its calls fail: that is no acknowledgement.
        let _ = writeln!(out, "{{ {}; }} && echo ack {n} || exit 9", step.text);
    }
    out
}

/// The acknowledged steps: all up to the last whose line came whole.
pub fn acknowledged(output: &str) -> usize {
    let whole = output.rfind('\n').map_or("", |end| &output[..end]);
    whole.lines().filter(|line| line.starts_with("ack ")).count()
}
