//! Man pages and completions, from the definition of the command line.

use crate::output::failure::{Failure, Result};
use clap::Command;
use clap::builder::Resettable;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use proclens::runtime::config::FILE;
use proclens::settings::NAMES;
use std::fs;
use std::path::Path;

/// Writes `man/*.1` of the command line `cli`, and `completions/` as bash, fish and zsh look for them.
pub fn run(mut cli: Command, directory: &Path) -> Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for made in [&man, &completions] {
        fs::create_dir_all(made).map_err(|error| Failure::of_file(made, &error))?;
    }
    let mut command = cli.clone().disable_help_subcommand(true);
    command.build();
    let commands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    for sub in commands {
        page(sub, &Roff::new(), &man)?;
    }
    page(&command, &settings(), &man)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut cli, "proclens", &completions)
            .map_err(|error| Failure::of_file(&completions, &error))?;
    }
    Ok(())
}

/// Writes one page. The text after the options has sections and tables of its own, which clap_mangen would
/// fill as one paragraph.
fn page(command: &Command, more: &Roff, directory: &Path) -> Result<()> {
    let help = command
        .get_after_long_help()
        .or(command.get_after_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let bare = command
        .clone()
        .after_help(Resettable::Reset)
        .after_long_help(Resettable::Reset);
    let man = Man::new(bare);
    let path = directory.join(man.get_filename());
    let mut text = Vec::new();
    man.render(&mut text)
        .map_err(|error| Failure::of_file(&path, &error))?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    let end = text.find(".SH VERSION").unwrap_or(text.len());
    text.insert_str(end, &(sections(&help).to_roff() + &more.to_roff()));
    fs::write(&path, text).map_err(|error| Failure::of_file(&path, &error))
}

/// The paragraphs of a help text: examples unchanged, fields of JSON as lists, all other text filled.
fn sections(help: &str) -> Roff {
    let mut page = Roff::new();
    let mut last = "";
    for paragraph in help.split("\n\n").filter(|text| !text.is_empty()) {
        let (section, text) = if let Some(text) = paragraph.strip_prefix("Examples:\n") {
            ("EXAMPLES", text)
        } else if let Some(text) = paragraph.strip_prefix("Exit status: ") {
            ("EXIT STATUS", text)
        } else if paragraph.starts_with("JSON") {
            ("JSON", paragraph)
        } else {
            ("NOTES", paragraph)
        };
        if section == last {
            page.control("PP", []);
        } else {
            page.control("SH", [section]);
        }
        last = section;
        if section == "EXAMPLES" {
            page.control("nf", []);
            for line in text.lines() {
                page.text([roman(line.trim_start())]);
            }
            page.control("fi", []);
        } else {
            prose(&mut page, text);
        }
    }
    page
}

fn prose(page: &mut Roff, text: &str) {
    let mut in_list = false;
    // The settings have a section of their own.
    for line in text.lines().filter(|line| !line.starts_with("Settings: ")) {
        match line.strip_prefix("  ") {
            Some(field) if !field.starts_with(' ') => {
                let (name, meaning) = field.split_once("  ").unwrap_or((field, ""));
                page.control("TP", ["17"]);
                page.text([bold(name)]);
                if !meaning.is_empty() {
                    page.text([roman(meaning.trim_start())]);
                }
                in_list = true;
            }
            Some(rest) => {
                page.text([roman(rest.trim_start())]);
            }
            None => {
                if std::mem::take(&mut in_list) {
                    page.control("PP", []);
                }
                page.text([roman(line)]);
            }
        }
    }
}

fn settings() -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["ENVIRONMENT"]);
    page.text([roman(format!("Above {}:", FILE.to_string_lossy()))]);
    for name in &NAMES {
        let variable = crate::inspect::sources::variable(name.name);
        page.control("TP", []);
        page.text([bold(variable), roman(format!(" ({})", name.values))]);
        page.text([roman(name.meaning)]);
    }
    page
}
