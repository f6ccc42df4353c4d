//! Reads from a program file what matters before it runs.

use super::regular;
use crate::output::failure::{Failure, Result};
use object::elf::{DT_SONAME, DT_STRSZ, DT_STRTAB, FileHeader32, FileHeader64, PT_LOAD};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};
use std::path::{Path, PathBuf};

/// A program or a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    Elf(Elf),
    /// `#!`: the interpreter and its optional argument.
    Script {
        interpreter: PathBuf,
        argument: Option<String>,
    },
    /// A format that this tool does not know.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// 32 or 64.
    pub bits: u8,
    /// `e_machine`.
    pub machine: u16,
    /// The dynamic linker; `None` for a static program.
    pub interpreter: Option<PathBuf>,
    /// The name that a library has regardless of its file name (`DT_SONAME`).
    pub soname: Option<String>,
    /// True if it contains Go code. The Go runtime makes system calls itself, even in a dynamic program.
    pub go: bool,
}

/// The implementation of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    Glibc,
    Musl,
}

impl Elf {
    /// The C library, recognised by the dynamic linker's name.
    pub fn libc(&self) -> Option<Libc> {
        let name = self.interpreter.as_ref()?.file_name()?.to_str()?;
        Some(if name.starts_with("ld-musl") {
            Libc::Musl
        } else {
            Libc::Glibc
        })
    }
}

/// Reads only the parts that matter. A program can have hundreds of megabytes.
pub fn read(path: &Path) -> Result<File> {
    let file = regular::open(path).map_err(|error| Failure::of_file(path, &error))?;
    Ok(parse(&ReadCache::new(file)))
}

/// The longest first line of a script that is read. The kernel reads 256 bytes.
const LONGEST_LINE: u64 = 4096;

pub fn parse<'d>(data: impl ReadRef<'d>) -> File {
    let length = data.len().unwrap_or(0).min(LONGEST_LINE);
    let start = data.read_bytes_at(0, length).unwrap_or_default();
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).trim().to_owned();
        let (interpreter, argument) = match line.split_once([' ', '\t']) {
            Some((interpreter, argument)) => (interpreter, Some(argument.trim().to_owned())),
            None => (line.as_str(), None),
        };
        return File::Script {
            interpreter: PathBuf::from(interpreter),
            argument,
        };
    }
    let elf = match FileKind::parse(data) {
        Ok(FileKind::Elf32) => header::<FileHeader32<Endianness>, _>(data, 32),
        Ok(FileKind::Elf64) => header::<FileHeader64<Endianness>, _>(data, 64),
        _ => None,
    };
    elf.map_or(File::Other, File::Elf)
}

fn header<'d, H, R>(data: R, bits: u8) -> Option<Elf>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'d>,
{
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let interpreter = segments
        .iter()
        .find_map(|segment| segment.interpreter(endian, data).ok()?)
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()));
    // The linker of Go writes both sections. The note survives in a file without section headers.
    let has_section = || {
        let names: [&[u8]; 2] = [b".go.buildinfo", b".note.go.buildid"];
        let sections = header.sections(endian, data).ok();
        sections.is_some_and(|sections| {
            let has = |name: &&[u8]| sections.section_by_name(endian, name).is_some();
            names.iter().any(has)
        })
    };
    let has_note = || {
        segments.iter().any(|segment| {
            let notes = segment.notes(endian, data).ok().flatten();
            notes.is_some_and(|mut notes| {
                std::iter::from_fn(|| notes.next().ok().flatten()).any(|note| note.name() == b"Go")
            })
        })
    };
    let dynamic = segments
        .iter()
        .find_map(|segment| segment.dynamic(endian, data).ok()?)
        .unwrap_or_default();
    let value = |tag| {
        let entry = dynamic.iter().find(|entry| entry.tag(endian) == tag)?;
        Some(entry.val(endian))
    };
    let soname = || {
        let (table, length) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
        let names = segments
            .iter()
            .filter(|segment| segment.p_type(endian) == PT_LOAD)
            .find_map(|segment| segment.data_range(endian, data, table, length).ok()?)?;
        let name = names.get(usize::try_from(value(DT_SONAME)?).ok()?..)?;
        let name = name.split(|b| *b == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    Some(Elf {
        bits,
        machine: header.e_machine(endian).0,
        interpreter,
        soname: soname(),
        go: has_note() || has_section(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_garbage() {
        assert_eq!(
            parse(&b"#! /usr/bin/env python3\nprint()"[..]),
            File::Script {
                interpreter: PathBuf::from("/usr/bin/env"),
                argument: Some("python3".to_owned())
            }
        );
        assert_eq!(
            parse(&b"#!/bin/sh"[..]),
            File::Script {
                interpreter: PathBuf::from("/bin/sh"),
                argument: None
            }
        );
        assert_eq!(parse(&b""[..]), File::Other);
        assert_eq!(parse(&b"\x7fELF"[..]), File::Other);
        assert_eq!(parse(&b"\x7fELF\x02\x01\x01garbage"[..]), File::Other);
    }

    #[test]
    fn a_program_of_this_machine() {
        let File::Elf(sh) = read(Path::new("/bin/sh")).unwrap() else {
            panic!("/bin/sh is no ELF file");
        };
        assert_eq!(sh.bits, 64);
        let interpreter = sh.interpreter.clone().unwrap();
        assert!(interpreter.is_absolute() && sh.soname.is_none());
        let File::Elf(linker) = read(&interpreter).unwrap() else {
            panic!("{} is no ELF file", interpreter.display());
        };
        assert!(linker.soname.unwrap().starts_with("ld-"));
        assert!(sh.libc().is_some());
    }
}
