//! What a program file says of itself before it runs.

use crate::failure::{Failure, Result};
use object::elf::{DT_SONAME, DT_STRSZ, DT_STRTAB, FileHeader32, FileHeader64, PT_LOAD};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use std::fs;
use std::path::{Path, PathBuf};

/// A program or a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    Elf(Elf),
    /// `#!`: the program that runs it, and its one argument.
    Script {
        interpreter: PathBuf,
        argument: Option<String>,
    },
    /// Nothing that is known here.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// 32 or 64.
    pub bits: u8,
    /// `e_machine`.
    pub machine: u16,
    /// The dynamic linker; a program without one is static.
    pub interpreter: Option<PathBuf>,
    /// What a library calls itself, whatever its file is called (`DT_SONAME`).
    pub soname: Option<String>,
}

/// Who provides the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    Glibc,
    Musl,
}

impl Elf {
    /// Told by the dynamic linker's name.
    pub fn libc(&self) -> Option<Libc> {
        let name = self.interpreter.as_ref()?.file_name()?.to_str()?;
        Some(if name.starts_with("ld-musl") {
            Libc::Musl
        } else {
            Libc::Glibc
        })
    }
}

pub fn read(path: &Path) -> Result<File> {
    let data = fs::read(path).map_err(|error| Failure::of_file(path, &error))?;
    Ok(parse(&data))
}

fn parse(data: &[u8]) -> File {
    if let Some(line) = data.strip_prefix(b"#!") {
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
        Ok(FileKind::Elf32) => header::<FileHeader32<Endianness>>(data, 32),
        Ok(FileKind::Elf64) => header::<FileHeader64<Endianness>>(data, 64),
        _ => None,
    };
    elf.map_or(File::Other, File::Elf)
}

fn header<H: FileHeader<Endian = Endianness>>(data: &[u8], bits: u8) -> Option<Elf> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let interpreter = segments
        .iter()
        .find_map(|segment| segment.interpreter(endian, data).ok()?)
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()));
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_garbage() {
        assert_eq!(
            parse(b"#! /usr/bin/env python3\nprint()"),
            File::Script {
                interpreter: PathBuf::from("/usr/bin/env"),
                argument: Some("python3".to_owned())
            }
        );
        assert_eq!(
            parse(b"#!/bin/sh"),
            File::Script {
                interpreter: PathBuf::from("/bin/sh"),
                argument: None
            }
        );
        assert_eq!(parse(b""), File::Other);
        assert_eq!(parse(b"\x7fELF"), File::Other);
        assert_eq!(parse(b"\x7fELF\x02\x01\x01garbage"), File::Other);
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
