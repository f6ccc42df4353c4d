//! The shared object as it is built: its dependencies, its exported symbols, its size, and when its code runs.
//! ARCHITECTURE.md, "Constraints", promises all of this: if a preloaded object needs something that an image
//! lacks, every program of that image fails.

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use proclens::preload::NAMES;
use support::{library, program, skipped};

/// The output of `tool` (binutils) for the library.
fn output_of(tool: &str, options: &[&str]) -> Option<String> {
    let library = library();
    if program(tool).is_none() {
        skipped(&format!("no {tool} (binutils) here"));
        return None;
    }
    let output = Command::new(tool)
        .args(options)
        .arg(&library)
        .env("LC_ALL", "C")
        .output()
        .expect(tool);
    assert!(output.status.success(), "{tool}: {output:?}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// One dynamic symbol.
#[derive(Debug)]
struct Symbol {
    name: String,
    kind: String,
    binding: String,
    defined: bool,
}

fn symbols() -> Option<Vec<Symbol>> {
    let text = output_of("readelf", &["--dyn-syms", "-W"])?;
    let symbols: Vec<_> = text
        .lines()
        .filter_map(|line| {
            // Num: Value Size Type Bind Vis Ndx Name
            let columns: Vec<_> = line.split_whitespace().collect();
            columns[..]
                .first()?
                .strip_suffix(':')?
                .parse::<u32>()
                .ok()?;
            let name = columns.get(7)?;
            Some(Symbol {
                name: name.to_string(),
                kind: columns[3].into(),
                binding: columns[4].into(),
                defined: columns[6] != "UND",
            })
        })
        .collect();
    assert!(symbols.len() > NAMES.len() / 2, "{text}");
    Some(symbols)
}

fn names<'n>(of: impl IntoIterator<Item = &'n str>) -> BTreeSet<&'n str> {
    of.into_iter().collect()
}

#[test]
fn exports_are_the_hooks() {
    let Some(symbols) = symbols() else { return };
    let exported = names(
        symbols
            .iter()
            .filter(|s| s.defined)
            .map(|s| s.name.as_str()),
    );
    let hooks = names(NAMES.iter().map(|(name, _)| *name));
    assert_eq!(exported.difference(&hooks).count(), 0, "{exported:?}");
    assert_eq!(hooks.difference(&exported).count(), 0, "{hooks:?}");
    for symbol in symbols.iter().filter(|s| s.defined) {
        assert_eq!(symbol.kind, "FUNC", "{symbol:?}");
    }
}

#[test]
fn the_library_needs_no_symbol_of_other_objects() {
    let Some(symbols) = symbols() else { return };
    let needed = names(
        symbols
            .iter()
            .filter(|s| !s.defined)
            .map(|s| s.name.as_str()),
    );
    // glibc has the first one, musl the second one.
    assert_eq!(needed, names(["_r_debug", "_dl_debug_addr"]));
    for symbol in symbols.iter().filter(|s| !s.defined) {
        assert_eq!(symbol.binding, "WEAK", "{symbol:?}");
    }
}

/// The tags of the dynamic section, `(NEEDED)` and the like.
fn tags() -> Option<Vec<String>> {
    let text = output_of("readelf", &["-d", "-W"])?;
    let tags: Vec<_> = text
        .lines()
        .filter_map(|line| Some(line.split_once('(')?.1.split_once(')')?.0.to_string()))
        .collect();
    assert!(tags.iter().any(|tag| tag == "SYMTAB"), "{text}");
    Some(tags)
}

#[test]
fn dynamic_section() {
    let Some(tags) = tags() else { return };
    // INIT: checks standard input, which a shell without the library may have opened. On aarch64
    // musl calls only INIT_ARRAY.
    let known = names([
        "SONAME",
        "GNU_HASH",
        "SYMTAB",
        "SYMENT",
        "STRTAB",
        "STRSZ",
        "RELA",
        "RELASZ",
        "RELAENT",
        "RELACOUNT",
        "JMPREL",
        "PLTREL",
        "PLTRELSZ",
        "PLTGOT",
        if cfg!(target_arch = "x86_64") {
            "INIT"
        } else {
            "INIT_ARRAY"
        },
        if cfg!(target_arch = "x86_64") {
            "INIT"
        } else {
            "INIT_ARRAYSZ"
        },
        "NULL",
        "FLAGS_1",
        "FLAGS",
        "SYMBOLIC",
        "BIND_NOW",
    ]);
    let present = names(tags.iter().map(String::as_str));
    let unknown: Vec<_> = present.difference(&known).collect();
    // NEEDED, VERNEED and VERSYM, TEXTREL, FINI or RPATH would be in this list.
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn segments_and_sections() {
    let Some(text) = output_of("readelf", &["-l", "-S", "-W"]) else {
        return;
    };
    assert!(!text.contains(" TLS "), "thread-local storage: {text}");
    assert!(
        !text.contains(".tdata") && !text.contains(".tbss"),
        "{text}"
    );
    assert!(!text.contains("INTERP"), "{text}");
    let loads: Vec<_> = text
        .lines()
        .filter(|l| l.trim_start().starts_with("LOAD "))
        .collect();
    assert_eq!(loads.len(), 2, "each segment costs at every exec: {text}");
    // LOAD offset address physical file-size memory-size: the writable part is one page.
    let number = |field: usize| {
        let text = loads[1].split_whitespace().nth(field).expect("a field");
        u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number")
    };
    let (start, length) = (number(2), number(5));
    assert!(start % 4096 + length <= 4096, "{text}");
    // An executable stack here would make the program's stack executable.
    let stack = text
        .lines()
        .find(|l| l.trim_start().starts_with("GNU_STACK"))
        .unwrap_or_else(|| panic!("no GNU_STACK: {text}"));
    assert!(stack.contains(" RW ") && !stack.contains(" RWE"), "{stack}");
    for load in loads {
        assert!(!load.contains("RWE"), "written and executed: {load}");
    }
}

#[test]
fn no_panic_path() {
    let bytes = std::fs::read(library()).expect("the library");
    for name in [&b"proclens_has_a_panic_path"[..], b"panicked at"] {
        assert!(
            !bytes.windows(name.len()).any(|w| w == name),
            "{}",
            String::from_utf8_lossy(name)
        );
    }
}

#[test]
fn size() {
    let bytes = std::fs::metadata(library()).expect("the library").len();
    assert!(bytes <= 240 << 10, "{bytes} bytes");
    assert!(bytes > 10 << 10, "{bytes} bytes: with nothing in it?");
}

#[test]
fn few_relocations() {
    let Some(text) = output_of("readelf", &["-r", "-W"]) else {
        return;
    };
    let symbolic: Vec<_> = text
        .lines()
        .filter(|l| l.contains("R_X86_64_") || l.contains("R_AARCH64_"))
        .filter(|l| !l.contains("_RELATIVE"))
        .collect();
    // The dynamic linker searches the whole program for each of these, at every exec.
    assert!(symbolic.len() <= 2, "{symbolic:#?}");
}

/// README's table of hooks, between its markers, is the table of the source.
#[test]
fn readme_has_every_hook() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).expect("README.md");
    let table = readme
        .split_once("<!-- hooks -->")
        .and_then(|(_, rest)| rest.split_once("<!-- /hooks -->"))
        .expect("README.md has no <!-- hooks --> table")
        .0;
    let documented = names(table.split('`').skip(1).step_by(2));
    let hooks = names(NAMES.iter().map(|(name, _)| *name));
    let missing: Vec<_> = hooks.difference(&documented).collect();
    assert!(
        missing.is_empty(),
        "hooks that README does not name: {missing:?}"
    );
    let more: Vec<_> = documented.difference(&hooks).collect();
    assert!(
        more.is_empty(),
        "README names functions that are not hooked: {more:?}"
    );
}

#[test]
fn loads_everywhere() {
    let library = library();
    for program in ["/bin/true", "/usr/bin/env"] {
        let output = Command::new(program)
            .env_clear()
            .env("LD_PRELOAD", &library)
            .env("LD_BIND_NOW", "1")
            .output()
            .expect(program);
        assert!(output.status.success(), "{program}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program}");
    }
    for compiler in ["gcc", "musl-gcc"] {
        let Some(reader) = support::c_program("reader.c", compiler, &[]) else {
            continue;
        };
        let output = Command::new(&reader)
            .args(["1", "/proc/uptime"])
            .env("LD_PRELOAD", &library)
            .env("LD_BIND_NOW", "1")
            .output()
            .expect("the reader");
        assert!(output.status.success(), "{compiler}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{compiler}");
    }
}
