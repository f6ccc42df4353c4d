//! Whether a running process has loaded the library.

use super::findings::Findings;
use super::program::{GO, UNREACHED};
use crate::commands::install::LIBRARY;
use crate::inspect::elf::{self, File};
use crate::inspect::processes;
use crate::inspect::sources::Sources;
use crate::output::failure::{Failure, Result};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// True if the library is loaded in a running process.
pub(super) fn running(pid: u32, findings: &mut Findings) -> Result<bool> {
    let path = PathBuf::from(format!("/proc/{pid}/maps"));
    let maps = fs::read(&path);
    if processes::has_ended(pid) {
        return Err(Failure::of_ended(pid));
    }
    let maps = maps.map_err(|error| Failure::of_file(&path, &error))?;
    if processes::is_kernel_thread(pid) {
        findings.problem(
            format!(
                "process {pid} ({}) is a kernel thread, which reads no files through libc",
                processes::name(pid)
            ),
            "name a process that runs a program",
        );
        return Ok(false);
    }
    let sources = Sources::of_process(pid);
    let executable = processes::executable(pid).unwrap_or_default();
    let name = format!("process {pid} ({})", executable.to_string_lossy());
    if sources.settings().skips(executable.as_bytes()) {
        findings.problem(
            format!("PROCLENS_SKIP excludes {name}"),
            "remove it from PROCLENS_SKIP and start it again",
        );
        return Ok(false);
    }
    let file = elf::read(Path::new(&format!("/proc/{pid}/exe")));
    if matches!(&file, Ok(File::Elf(elf)) if elf.go) {
        findings.problem(format!("{name} {GO}"), UNREACHED);
        return Ok(false);
    }
    if let Some(path) = loaded(&maps) {
        findings.good(format!("{name} has loaded {path}"));
        return Ok(true);
    }
    match file {
        Ok(File::Elf(elf)) if elf.interpreter.is_none() => findings.problem(
            format!("{name} is static: no library can be loaded into it"),
            UNREACHED,
        ),
        _ => findings.problem(
            format!("{name} has not loaded the library"),
            "start it again after `proclens install` or with LD_PRELOAD; a wiped environment loses LD_PRELOAD",
        ),
    }
    Ok(false)
}

/// The path of the library in the text of `/proc/PID/maps`, from an executable mapping: a process that only
/// reads the file has none. The path, which may contain any character, is the sixth field.
fn loaded(maps: &[u8]) -> Option<String> {
    maps.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.splitn(6, |b| *b == b' ');
        let rights = fields.nth(1)?;
        let path = String::from_utf8_lossy(fields.nth(3)?.trim_ascii_start());
        (rights.contains(&b'x') && path.contains(LIBRARY)).then(|| path.into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaded_library_is_found_in_maps() {
        let data = b"7f00-7f10 r--p 00000000 fe:01 42        /a b\xff/libproclens.so\n";
        let code = b"7f10-7f20 r-xp 00010000 fe:01 42        /a b\xff/libproclens.so\n";
        assert_eq!(loaded(data), None);
        let all = [b"7000-7010 rwxp 00000000 00:00 0\n", &data[..], &code[..]].concat();
        assert_eq!(loaded(&all).unwrap(), "/a b\u{fffd}/libproclens.so");
    }
}
