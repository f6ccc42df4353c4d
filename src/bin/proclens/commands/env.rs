//! `proclens env`: environment variables for programs that no preload reaches, because they are static or
//! make system calls directly.

use crate::inspect::numbers::Numbers;
use crate::inspect::view::View;
use crate::output::failure::{Failure, Result};
use clap::ValueEnum;
use proclens::procfs::files::MachineFile;
use std::io::Write;
use std::path::Path;

/// Who reads the variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A POSIX shell, for eval
    Sh,
    /// fish, for source
    Fish,
    /// NAME=value lines, for docker --env-file and systemd
    Dotenv,
    /// One object
    Json,
}

pub fn run(
    view: &View,
    format: Format,
    all: bool,
    export: Option<&Path>,
    out: &mut dyn Write,
) -> Result<()> {
    let sources = view.sources();
    let settings = sources.settings();
    let numbers = Numbers::of(view, &settings)?;
    // On a machine without a memory limit, no memory variable is needed.
    let limited = view.text(MachineFile::Meminfo, &settings)?.1.is_none()
        && numbers.memory.total < host_total(view);
    let memory = limited.then_some(numbers.memory.total);
    let mut all_variables = variables(Some(numbers.cpus), memory);
    if let Some(export) = export {
        all_variables.extend(of_export(export)?);
    }
    let variables: Vec<_> = all_variables
        .into_iter()
        .filter(|(name, _)| all || std::env::var_os(name).is_none())
        .collect();
    match format {
        Format::Sh => {
            for (name, value) in variables {
                writeln!(out, "export {name}={value}")?;
            }
        }
        Format::Fish => {
            for (name, value) in variables {
                writeln!(out, "set -gx {name} {value}")?;
            }
        }
        Format::Dotenv => {
            for (name, value) in variables {
                writeln!(out, "{name}={value}")?;
            }
        }
        Format::Json => {
            let object: serde_json::Map<_, _> = variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            serde_json::to_writer_pretty(&mut *out, &object).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

/// The variables with which gopsutil finds the directory of `proclens export`: Telegraf and others use it.
fn of_export(directory: &Path) -> Result<[(&'static str, String); 2]> {
    let absolute = std::path::absolute(directory);
    let absolute = absolute.map_err(|error| Failure::of_file(directory, &error))?;
    let text = absolute.to_str().unwrap_or_default();
    // The values get no quotes.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    if text.is_empty() || !text.chars().all(is_plain) {
        return Err(Failure::new(
            directory.display(),
            "name a directory whose path has only letters, digits and /._-+,@%",
        ));
    }
    Ok([
        ("HOST_PROC", format!("{text}/proc")),
        ("HOST_SYS", format!("{text}/sys")),
    ])
}

fn host_total(view: &View) -> u64 {
    let off = proclens::settings::Settings {
        on: false,
        ..proclens::settings::Settings::DEFAULT
    };
    Numbers::of(view, &off).map_or(u64::MAX, |numbers| numbers.memory.total)
}

/// Names and values for a number of CPUs and for bytes of memory. No value needs quotes in any shell.
pub fn variables(cpus: Option<u32>, memory: Option<u64>) -> Vec<(&'static str, String)> {
    /// Variables for a number of threads: the Go runtime, OpenMP and numerical libraries, Python from 3.13,
    /// Rust's rayon and tokio, Julia.
    const THREADS: [&str; 10] = [
        "GOMAXPROCS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "PYTHON_CPU_COUNT",
        "RAYON_NUM_THREADS",
        "TOKIO_WORKER_THREADS",
        "JULIA_NUM_THREADS",
    ];
    let mut all = Vec::new();
    if let Some(cpus) = cpus {
        all.extend(THREADS.map(|name| (name, cpus.to_string())));
        // .NET reads hexadecimal.
        all.push(("DOTNET_PROCESSOR_COUNT", format!("{cpus:X}")));
    }
    if let Some(bytes) = memory {
        // Leave a tenth for memory that these runtimes do not count as their heap.
        let heap = bytes - bytes / 10;
        all.push(("GOMEMLIMIT", heap.to_string()));
        all.push(("DOTNET_GCHeapHardLimit", format!("{heap:X}")));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let all = variables(Some(12), Some(1000));
        let value = |wanted: &str| {
            let found = all.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("GOMAXPROCS"), Some("12"));
        assert_eq!(value("GOMEMLIMIT"), Some("900"));
        assert_eq!(value("DOTNET_PROCESSOR_COUNT"), Some("C"));
        assert_eq!(value("DOTNET_GCHeapHardLimit"), Some("384"));
        assert!(
            variables(Some(1), None)
                .iter()
                .all(|(name, _)| *name != "GOMEMLIMIT")
        );
    }
}
