//! `proclens env`: variables for programs that no preload reaches, because they are static or ask
//! the kernel themselves.

use crate::failure::Result;
use crate::machine::Machine;
use crate::view::View;
use clap::ValueEnum;
use proclens::files::VirtualFile;
use std::io::Write;

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

pub fn run(view: &View, format: Format, all: bool, out: &mut dyn Write) -> Result<()> {
    let sources = view.sources();
    let settings = sources.settings();
    let machine = Machine::of(view, &settings)?;
    // A machine without a limit needs no word about memory.
    let limited = view.text(VirtualFile::Meminfo, &settings)?.1.is_none()
        && machine.memory.total < host_total(view);
    let memory = limited.then_some(machine.memory.total);
    let variables: Vec<_> = variables(machine.cpus, memory)
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

fn host_total(view: &View) -> u64 {
    let off = proclens::settings::Settings {
        on: false,
        ..proclens::settings::Settings::DEFAULT
    };
    Machine::of(view, &off).map_or(u64::MAX, |machine| machine.memory.total)
}

/// Names and values; no value needs quotes in any shell.
fn variables(cpus: u32, memory: Option<u64>) -> Vec<(&'static str, String)> {
    /// Names that take a number of threads: the Go runtime, OpenMP and the libraries of numbers,
    /// Python from 3.13, Rust's rayon and tokio, Julia, .NET.
    const THREADS: [&str; 11] = [
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
        "DOTNET_PROCESSOR_COUNT",
    ];
    let mut all: Vec<_> = THREADS
        .iter()
        .map(|name| (*name, cpus.to_string()))
        .collect();
    if let Some(bytes) = memory {
        // A tenth is left for what these runtimes do not count as their heap.
        let heap = bytes - bytes / 10;
        all.push(("GOMEMLIMIT", heap.to_string()));
        // .NET reads hexadecimal.
        all.push(("DOTNET_GCHeapHardLimit", format!("{heap:X}")));
    }
    // .NET reads this one as hexadecimal, too.
    if let Some(dotnet) = all
        .iter_mut()
        .find(|(name, _)| *name == "DOTNET_PROCESSOR_COUNT")
    {
        dotnet.1 = format!("{cpus:X}");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let all = variables(12, Some(1000));
        let value = |wanted: &str| {
            let found = all.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("GOMAXPROCS"), Some("12"));
        assert_eq!(value("GOMEMLIMIT"), Some("900"));
        assert_eq!(value("DOTNET_PROCESSOR_COUNT"), Some("C"));
        assert_eq!(value("DOTNET_GCHeapHardLimit"), Some("384"));
        assert!(
            variables(1, None)
                .iter()
                .all(|(name, _)| *name != "GOMEMLIMIT")
        );
    }
}
