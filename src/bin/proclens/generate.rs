//! Man pages and completions, from the definition of the command line.

use crate::cli::Cli;
use crate::failure::{Failure, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use proclens::config::FILE;
use proclens::settings::NAMES;
use std::fs;
use std::path::Path;

/// Writes `man/*.1`, and `completions/` as bash, fish and zsh look for them.
pub fn run(directory: &Path) -> Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for made in [&man, &completions] {
        fs::create_dir_all(made).map_err(|error| Failure::of_file(made, &error))?;
    }
    let environment = format!(
        "Settings, above {}:\n{}",
        FILE.to_string_lossy(),
        settings()
    );
    let help = Cli::command()
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let command = Cli::command().after_help(format!("{help}\n\n{environment}"));
    clap_mangen::generate_to(command, &man).map_err(|error| Failure::of_file(&man, &error))?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::command(), "proclens", &completions)
            .map_err(|error| Failure::of_file(&completions, &error))?;
    }
    Ok(())
}

fn settings() -> String {
    let line = |name: &proclens::settings::Name| {
        let variable = crate::settings::variable(name.name);
        format!("  {variable} ({}): {}\n", name.values, name.meaning)
    };
    NAMES.iter().map(line).collect()
}
