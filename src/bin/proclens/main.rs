//! `proclens`: what a program in this container sees, and why.
//!
//! [`cli`] defines the command line. Each command has one file or folder. An [`inspect::target`] says which container
//! a command shows. An [`inspect::view`] reads that container with the library's code.
#![cfg_attr(not(test), no_main)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod cli;
mod commands;
mod inspect;
mod output;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command, Whose};
use commands::{
    check, env, explain, export, generate, inject, install, metrics, run, show, show_all, watch,
    watch_all,
};
use inspect::sources::Sources;
use inspect::target::Target;
use inspect::view::View;
use output::failure::{self, Failure, Result};
use proclens::error::ErrorKind;
use proclens::sys::Errno;
use std::ffi::OsString;

/// The entry point. Rust's own one costs `proclens run` time, and opens /dev/null in place of standard files
/// that the caller closed, which the command of `run` would get.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(count: libc::c_int, words: *const *const libc::c_char) -> libc::c_int {
    use std::os::unix::ffi::OsStringExt;
    let words = (0..usize::try_from(count).unwrap_or(0)).map(|i| {
        // SAFETY: the C runtime passes `count` C strings, which live as long as the process.
        let word = unsafe { std::ffi::CStr::from_ptr(*words.add(i)) };
        OsString::from_vec(word.to_bytes().to_vec())
    });
    let code = begin(words.collect());
    // This prints what the standard output's buffer still holds.
    std::process::exit(code.into())
}

/// Runs the command. Returns the exit status.
#[cfg_attr(test, allow(dead_code))]
fn begin(words: Vec<OsString>) -> u8 {
    run::ignore_broken_pipes();
    if let Some((notify, command)) = run::usual(&words) {
        return run::run(notify, command);
    }
    let command = Cli::parse_from(words).command;
    let done = match command.prints_data() {
        // `anstream` would remove control characters.
        true => dispatch(command, &mut std::io::stdout().lock()),
        false => dispatch(command, &mut anstream::stdout().lock()),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            if !failure.is_silent() {
                anstream::eprintln!("proclens: {failure}");
            }
            1
        }
    }
}

fn dispatch(command: Command, out: &mut dyn std::io::Write) -> Result<u8> {
    match command {
        Command::Show {
            all: true,
            json,
            order,
            ..
        } => show_all::run(json, order.sort, out)?,
        Command::Show {
            file, whose, json, ..
        } => show::run(&view(&whose)?, file.as_deref(), json, out)?,
        Command::Explain { whose, json } => explain::run(&view(&whose)?, json, out)?,
        Command::Check { pid, json, command } => return check::run(pid, &command, json, out),
        Command::Env {
            format,
            all,
            export,
            whose,
        } => env::run(&view(&whose)?, format, all, export.as_deref(), out)?,
        Command::Inject {
            image,
            preload,
            remove,
        } => inject::run(
            image.as_deref(),
            preload,
            remove,
            &mut std::io::stdin().lock(),
            out,
        )?,
        Command::Install {
            root: _,
            to: Some(directory),
            lib,
        } => install::install_to(&directory, lib.as_deref(), out)?,
        Command::Install {
            root,
            to: None,
            lib,
        } => install::install(&root, lib.as_deref(), out)?,
        Command::Uninstall { root } => install::uninstall(&root, out)?,
        Command::Watch {
            all: true,
            order,
            interval,
            count,
            ..
        } => watch_all::run(order.sort, interval, count, out)?,
        Command::Watch {
            interval,
            count,
            whose,
            ..
        } => watch::run(&view(&whose)?, interval, count, out)?,
        Command::Metrics {
            all,
            textfile,
            listen,
        } => {
            let output = match (&textfile, listen) {
                (Some(path), _) => metrics::Output::Textfile(path),
                (None, Some(address)) => metrics::Output::Listen(address),
                (None, None) => metrics::Output::Stdout,
            };
            metrics::run(all, output, out)?
        }
        Command::Run { notify, command } => return Ok(run::run(notify, &command)),
        Command::Export { directory, every } => export::run(&directory, every)?,
        Command::Sampler => sample()?,
        Command::Generate { directory } => generate::run(Cli::command(), &directory)?,
    }
    out.flush()?;
    Ok(0)
}

/// Counts the load until the container ends.
fn sample() -> Result<()> {
    let sources = Sources::own();
    proclens::sampler::run_alone(
        &proclens::runtime::live::Live::default(),
        sources.settings().state,
        proclens::sampler::Starter::User,
    )
    .map_err(|errno| {
        if errno == Errno(0) {
            return Failure::new(
                "the sampler",
                String::from_utf8_lossy(ErrorKind::NoContainer.text()),
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
    let target = match (whose.pid, &whose.cgroup) {
        (Some(pid), _) => Target::process(pid)?,
        (_, Some(path)) => Target::cgroup(path)?,
        _ => Target::Own,
    };
    Ok(View::new(target))
}
