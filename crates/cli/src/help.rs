//! `completions` and `man`: made from the same description of the command line as `--help`.

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Output;
use clap::CommandFactory;
use std::io::Write;

/// A completion script for a shell.
pub fn completions(out: Output, shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "flyball", &mut script);
    out.raw(&script);
    Ok(())
}

/// The manual: the overview, then a section for each command.
pub fn man(out: Output) -> Result<(), Failure> {
    let mut page = Vec::new();
    write_man(&mut page).map_err(Failure::internal)?;
    // Each section comes with the same preamble for apostrophes; one does.
    let preamble = [".ie \\n(.g .ds Aq \\(aq", ".el .ds Aq '"];
    let mut text = format!("{}\n{}\n", preamble[0], preamble[1]);
    for line in String::from_utf8_lossy(&page).lines().filter(|l| !preamble.contains(l)) {
        text.push_str(line);
        text.push('\n');
    }
    out.raw(text.as_bytes());
    Ok(())
}

fn write_man(page: &mut Vec<u8>) -> std::io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        let man = clap_mangen::Man::new(sub.clone());
        writeln!(page, ".SH \"FLYBALL {}\"", sub.get_name().to_uppercase())?;
        let mut section = Vec::new();
        man.render_description_section(&mut section)?;
        man.render_synopsis_section(&mut section)?;
        man.render_options_section(&mut section)?;
        // Sections of a section are subsections.
        let text = String::from_utf8_lossy(&section).replace(".SH ", ".SS ");
        page.write_all(text.as_bytes())?;
    }
    man.render_extra_section(page)?;
    man.render_version_section(page)
}
