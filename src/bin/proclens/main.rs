//! `proclens`: what a program in this container sees, and why.
//!
//! [`cli`] says what can be asked, one file each answers it; whose numbers they are is a
//! [`subject`], looked at through a [`view`] with the code of the library.

mod advice;
mod check;
mod cli;
mod containers;
mod elf;
mod explain;
mod failure;
mod generate;
mod install;
mod json;
mod machine;
mod processes;
mod report;
mod settings;
mod show;
mod style;
mod subject;
mod units;
mod view;
mod watch;

use clap::Parser;
use cli::{Cli, Command, Whose};
use failure::{Failure, Result};
use proclens::log::Trouble;
use proclens::sys::Errno;
use settings::Sources;
use std::process::ExitCode;
use subject::Subject;
use view::View;

fn main() -> ExitCode {
    let out = &mut anstream::stdout().lock();
    match run(Cli::parse().command, out) {
        Ok(code) => code,
        Err(failure) => {
            if !failure.is_silent() {
                anstream::eprintln!("proclens: {failure}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, out: &mut dyn std::io::Write) -> Result<ExitCode> {
    match command {
        Command::Show {
            all: true, json, ..
        } => containers::run(json, out)?,
        Command::Show {
            file, whose, json, ..
        } => show::run(&view(&whose)?, file.as_deref(), json, out)?,
        Command::Explain { whose, json } => explain::run(&view(&whose)?, json, out)?,
        Command::Check { pid, json, command } => return check::run(pid, &command, json, out),
        Command::Env { format, all, whose } => advice::run(&view(&whose)?, format, all, out)?,
        Command::Install { root, lib } => install::install(&root, lib.as_deref(), out)?,
        Command::Uninstall { root } => install::uninstall(&root, out)?,
        Command::Watch {
            interval,
            count,
            whose,
        } => watch::run(&view(&whose)?, interval, count, out)?,
        Command::Sampler => sample()?,
        Command::Generate { directory } => generate::run(&directory)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Counts until there is nothing more to be counted.
fn sample() -> Result<()> {
    let sources = Sources::own();
    proclens::sampler::run_alone(sources.settings().state, true).map_err(|errno| {
        if errno == Errno(0) {
            return Failure::new(
                "the sampler",
                String::from_utf8_lossy(Trouble::NoContainer.text()),
            );
        }
        let error = std::io::Error::from_raw_os_error(errno.0);
        Failure::new(
            format_args!("the sampler: {}", failure::reason(&error)),
            "is this a container, and is there a directory for PROCLENS_STATE to write to?",
        )
    })
}

fn view(whose: &Whose) -> Result<View> {
    let subject = match (whose.pid, &whose.cgroup) {
        (Some(pid), _) => Subject::process(pid)?,
        (_, Some(path)) => Subject::cgroup(path)?,
        _ => Subject::Own,
    };
    Ok(View::new(subject))
}
