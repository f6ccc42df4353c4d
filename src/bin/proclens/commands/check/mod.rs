//! `proclens check`: tests whether the library is found, loaded and active. If not, prints why and what to
//! do.

mod findings;
mod preloads;
mod process;
mod program;
mod surroundings;

use crate::inspect::sources::Sources;
use crate::inspect::target::Target;
use crate::inspect::view::View;
use crate::output::failure::{Failure, Result};
use findings::{Findings, Level, Report};
use preloads::named_by_preloads;
pub use program::{found_in_path, run_by_env};
use program::{left_out, program_file, skips};
use std::ffi::OsString;
use std::io::Write;
use surroundings::{beside_lxcfs, container, killing_filter, settings};

pub fn run(pid: Option<u32>, command: &[OsString], json: bool, out: &mut dyn Write) -> Result<u8> {
    Ok(match look(pid, command, json, out) {
        Ok(works) => u8::from(!works),
        Err(failure) => {
            if !failure.is_silent() {
                anstream::eprintln!("proclens: {failure}");
            }
            2
        }
    })
}

/// Prints the findings. Returns true if the library is active and there is no problem.
fn look(pid: Option<u32>, command: &[OsString], json: bool, out: &mut dyn Write) -> Result<bool> {
    let mut findings = Findings::default();
    let target = pid.map(Target::process).transpose()?;
    let program = command.first().map(|name| {
        found_in_path(name).ok_or_else(|| {
            let name = name.to_string_lossy();
            let searched = if name.contains('/') { "" } else { " in PATH" };
            Failure::new(&name, format_args!("no such program{searched}"))
        })
    });
    let program = program.transpose()?;
    let view = View::new(target.unwrap_or(Target::Own));
    container(&view, &mut findings);
    let sources = view.sources();
    let loaded = match (pid, program) {
        (Some(pid), _) => process::running(pid, &mut findings)?,
        (_, Some(path)) => {
            named_by_preloads(&mut findings);
            program_file(&path, &mut findings, 0)?
                .is_some_and(|runs| !left_out(&runs, &sources, &mut findings))
        }
        _ => here(&sources, &mut findings)?,
    };
    if loaded && pid.is_none() {
        killing_filter(&mut findings);
    }
    settings(&sources, &mut findings);
    beside_lxcfs(pid, &mut findings);
    let active = loaded && sources.settings().on;
    let sound = findings
        .0
        .iter()
        .all(|finding| finding.level != Level::Problem);
    findings::print(
        &Report {
            schema: 1,
            active,
            findings: findings.0,
        },
        json,
        out,
    )?;
    out.flush()?;
    Ok(active && sound)
}

/// Without a program: checks what the next program that starts here would get.
fn here(sources: &Sources, findings: &mut Findings) -> Result<bool> {
    let named = named_by_preloads(findings);
    if !named {
        findings.problem(
            "nothing loads the library: neither LD_PRELOAD nor /etc/ld.so.preload names it",
            "`proclens install`, or set LD_PRELOAD to the path of libproclens.so",
        );
        return Ok(false);
    }
    let programs: Vec<_> = ["sh", "true", "cat"]
        .iter()
        .filter_map(found_in_path)
        .collect();
    // A program that PROCLENS_SKIP names shows nothing about the others.
    let meant = programs.iter().find(|path| !skips(path, sources));
    match meant.or(programs.first()) {
        Some(path) => Ok(program_file(path, findings, 0)?
            .is_some_and(|runs| !left_out(&runs, sources, findings))),
        None => {
            findings.note(
                "there is no shell here to test it with",
                "`proclens check -- PROGRAM` tests a program that runs here",
            );
            Ok(true)
        }
    }
}
