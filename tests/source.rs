//! Checks the library's source: the library calls no function that it hooks; hooks name no virtual file; renderers
//! use only bytes and numbers; imports point downward; every `unsafe` has a SAFETY comment, and every other file
//! forbids it.

use proclens::preload::NAMES;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file as code, with comments and literals apart.
struct Source {
    name: String,
    /// Line by line, with comments and the insides of literals blanked.
    code: Vec<String>,
    /// The comments, line by line.
    comments: Vec<String>,
    /// Each string literal with its line.
    literals: Vec<(usize, String)>,
}

impl Source {
    fn new(name: &str, text: &str) -> Source {
        let (mut code, mut comments) = (vec![String::new()], vec![String::new()]);
        let mut literals = Vec::new();
        let bytes: Vec<char> = text.chars().collect();
        let mut i = 0;
        let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
        while i < bytes.len() {
            if at(i) == '/' && at(i + 1) == '/' {
                while i < bytes.len() && at(i) != '\n' {
                    comments.last_mut().unwrap().push(at(i));
                    i += 1;
                }
            } else if at(i) == '"' {
                // The marks of a raw string are before the quote.
                let line = code.last().unwrap();
                let hashes = line.len() - line.trim_end_matches('#').len();
                let raw = line.trim_end_matches('#').ends_with('r');
                let mut literal = String::new();
                let number = code.len();
                code.last_mut().unwrap().push('"');
                i += 1;
                while i < bytes.len() {
                    let ends = at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#');
                    if ends && (!raw || hashes > 0 || at(i) == '"') {
                        break;
                    }
                    if !raw && at(i) == '\\' {
                        literal.push(at(i));
                        i += 1;
                    }
                    if at(i) == '\n' {
                        code.push(String::new());
                        comments.push(String::new());
                    }
                    literal.push(at(i));
                    i += 1;
                }
                code.last_mut().unwrap().push('"');
                literals.push((number, literal));
                i += 1;
            } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
                // A character, not a lifetime.
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while i < bytes.len() && at(i) != '\'' {
                    i += 1;
                }
                code.last_mut().unwrap().push_str("' '");
                i += 1;
            } else if at(i) == '\n' {
                code.push(String::new());
                comments.push(String::new());
                i += 1;
            } else {
                code.last_mut().unwrap().push(at(i));
                i += 1;
            }
        }
        Source {
            name: name.to_owned(),
            code,
            comments,
            literals,
        }
    }

    /// The lines of code up to the file's own tests.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().enumerate();
        lines
            .take_while(|(_, line)| !line.contains("#[cfg(test)]"))
            .map(|(i, line)| (i + 1, line.as_str()))
    }

    fn end(&self) -> usize {
        self.lines().count()
    }

    fn uses(&self, word: &str) -> impl Iterator<Item = (usize, &str)> {
        self.lines()
            .filter(move |(_, line)| words(line).any(|w| w == word))
    }
}

/// Identifiers.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
}

/// The library's files: all but the tool's.
fn library() -> Vec<Source> {
    fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != "bin" {
                    walk(&path, into);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    assert!(paths.len() > 20, "found only {} files", paths.len());
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            Source::new(name, &fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// Calls of functions that are hooked, other than by the address behind the hook.
fn calls_of_hooked(source: &Source) -> Vec<String> {
    let hooked = |word: &str| NAMES.iter().any(|(name, _)| *name == word);
    let is_type = |word: &str| ["stat", "stat64", "sysinfo", "statx"].contains(&word);
    let mut found = Vec::new();
    let mut foreign = false;
    for (number, line) in source.lines() {
        let mut say = |what: &str| found.push(format!("src/{}:{number}: {what}", source.name));
        // libc::open(…), or libc::open as a value; libc::stat and others are types as well.
        for (i, _) in line.match_indices("libc::") {
            let rest = &line[i + "libc::".len()..];
            let word = words(rest).next().unwrap_or("");
            let after = rest[word.len().min(rest.len())..].trim_start();
            if rest.starts_with(word)
                && hooked(word)
                && (!is_type(word) || after.starts_with('(') && !line.contains("fn "))
            {
                say(&format!("calls {word}"));
            }
            let imports = |word: &str| hooked(word) && !is_type(word);
            if rest.starts_with('{') && words(rest).any(imports) {
                say("imports a hooked function");
            }
        }
        if line.contains("extern \"\"") && line.trim_end().ends_with('{') && !line.contains(" fn ")
        {
            foreign = true;
        } else if line.trim() == "}" {
            foreign = false;
        }
        if foreign && line.trim_start().contains("fn ") {
            let name = line.split("fn ").nth(1).and_then(|l| words(l).next());
            if name.is_some_and(hooked) {
                say("declares a hooked function");
            }
        }
        if words(line).any(|w| w == "std") && line.contains("std::") {
            say("uses std, whose files are libc's");
        }
    }
    found
}

/// File names in a file that must contain none.
fn file_names(source: &Source) -> Vec<String> {
    let end = source.end();
    // `cpu`, `memory` and `io` are pressure's files, and ordinary words.
    let names: Vec<&str> = proclens::procfs::files::MachineFile::ALL
        .iter()
        .filter(|file| !file.path().to_bytes().starts_with(b"/proc/pressure/"))
        .map(|file| std::str::from_utf8(file.last()).unwrap())
        .collect();
    let is_name = |text: &str| text.len() > 1 && text.contains('/') || names.contains(&text);
    let literals = source.literals.iter();
    literals
        .filter(|(line, text)| *line <= end && is_name(text))
        .map(|(line, text)| format!("src/{}:{line}: names {text:?}", source.name))
        .collect()
}

/// Uses of hooks, the kernel, the clock or the environment in code that must be pure.
fn impure(source: &Source) -> Vec<String> {
    let forbidden = [
        "preload",
        "sys",
        "runtime",
        "virtual_file",
        "libc",
        "std",
        "shared_state",
        "sampler",
        "static",
    ];
    let mut found = Vec::new();
    for word in forbidden {
        for (line, _) in source.uses(word) {
            found.push(format!("src/{}:{line}: uses {word}", source.name));
        }
    }
    // A `'static` lifetime is no state.
    found.retain(|f| {
        !f.ends_with("uses static") || {
            let line: usize = f.split(':').nth(1).unwrap().parse().unwrap();
            !source.code[line - 1].contains("'static")
        }
    });
    found
}

/// `unsafe` blocks and impls without a `SAFETY:` comment right above their statement.
fn unexplained(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.lines() {
        let opens = ["unsafe {", "unsafe impl", "unsafe{"]
            .iter()
            .any(|o| line.contains(o));
        if !opens {
            continue;
        }
        // Go up through the statement that contains the block, to the comment above it.
        let mut explained = source.comments[number - 1].contains("SAFETY:");
        let mut above = number - 1;
        for _ in 0..16 {
            if explained || above == 0 {
                break;
            }
            let code = source.code[above - 1].trim();
            let comment = &source.comments[above - 1];
            explained = comment.contains("SAFETY:");
            let ends_a_statement = code.ends_with(';') || code == "}" || code.is_empty();
            if ends_a_statement && comment.is_empty() {
                break;
            }
            above -= 1;
        }
        if !explained {
            found.push(format!("src/{}:{number}: no SAFETY line", source.name));
        }
    }
    found
}

/// Files without anything unsafe that do not forbid it.
fn unforbidden(source: &Source) -> Vec<String> {
    // The attribute in a module's root would hold for the files below it, some of which need `unsafe`.
    let root = source.name == "lib.rs" || source.name.ends_with("mod.rs");
    let needs = source.uses("unsafe").next().is_some();
    let forbids = source
        .lines()
        .any(|(_, line)| line.contains("#![forbid(unsafe_code)]"));
    match (needs, forbids) {
        (false, false) if !root => vec![format!(
            "src/{}: has nothing unsafe and does not forbid it",
            source.name
        )],
        _ => Vec::new(),
    }
}

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_library_calls_no_function_that_it_hooks() {
    none(library().iter().flat_map(calls_of_hooked).collect());
}

#[test]
fn hooks_name_no_file() {
    let library = library();
    let hooks = library
        .iter()
        .filter(|s| s.name.starts_with("preload/") && s.name != "preload/sampler_entry.rs");
    none(hooks.flat_map(file_names).collect());
}

#[test]
fn renderers_know_only_bytes_and_numbers() {
    let library = library();
    let renderers = library
        .iter()
        .filter(|s| s.name.starts_with("procfs/render/"));
    none(renderers.clone().flat_map(impure).collect());
    none(renderers.flat_map(file_names).collect());
}

/// Files that turn bytes and numbers into bytes and numbers.
fn is_pure(name: &str) -> bool {
    let files = [
        "text.rs",
        "values.rs",
        "settings.rs",
        "load/average.rs",
        "shared_state/record.rs",
        "cgroup/parse_cpus.rs",
        "cgroup/counters.rs",
        "cgroup/parse_io.rs",
        "cgroup/membership.rs",
        "cgroup/mounts.rs",
    ];
    let folders = ["cpu_time/", "procfs/render/"];
    folders.iter().any(|folder| name.starts_with(folder)) || files.contains(&name)
}

#[test]
fn pure_files_do_no_io() {
    let library = library();
    let pure: Vec<_> = library.iter().filter(|s| is_pure(&s.name)).collect();
    assert!(pure.len() > 20, "the list of pure files is out of date");
    let mut found: Vec<_> = pure.iter().flat_map(|s| impure(s)).collect();
    // Two settings and a field share their names with modules.
    found.retain(|f| {
        let named = f.ends_with("uses shared_state") || f.ends_with("uses sampler");
        let files = ["src/settings.rs:", "src/shared_state/record.rs:"];
        !(named && files.iter().any(|file| f.starts_with(file)))
    });
    none(found);
    for source in pure.iter().filter(|s| !s.name.ends_with("mod.rs")) {
        assert!(
            source.lines().any(|(_, l)| l == "#![forbid(unsafe_code)]"),
            "src/{} may hold unsafe code",
            source.name
        );
    }
}

/// The layers of `src/`, from the bottom up. A file may use its own layer's folder and the layers
/// before it.
const LAYERS: [&[&str]; 14] = [
    &["text"],
    &["values"],
    &["settings"],
    &["sys"],
    &["mem"],
    &["error"],
    &["cpu_time"],
    &["cgroup"],
    &["procfs"],
    &["load"],
    &["shared_state"],
    &["sampler"],
    &["runtime"],
    &["virtual_file"],
];

/// The layer of a module; the entry points stand above all layers.
fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or(LAYERS.len())
}

/// Imports of a layer above the file's own, or of another entry point.
fn upward_imports(source: &Source) -> Vec<String> {
    let own = source.name.split('/').next().unwrap();
    let own = own.strip_suffix(".rs").unwrap_or(own);
    let mut found = Vec::new();
    if own == "lib" {
        return found;
    }
    for (number, line) in source.lines() {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let modules: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list
                    .split(',')
                    .filter_map(|item| words(item).next())
                    .collect(),
                None => words(rest).next().into_iter().collect(),
            };
            for module in modules {
                if module != own && layer(module) >= layer(own) {
                    found.push(format!("src/{}:{number}: uses {module}", source.name));
                }
            }
        }
    }
    found
}

#[test]
fn imports_point_downward() {
    none(library().iter().flat_map(upward_imports).collect());
}

#[test]
fn every_unsafe_block_has_a_safety_comment() {
    none(library().iter().flat_map(unexplained).collect());
}

#[test]
fn files_without_unsafe_forbid_unsafe() {
    let library = library();
    none(library.iter().flat_map(unforbidden).collect());
}

/// Each rule finds an example of what it forbids.
#[test]
fn the_rules_can_fail() {
    let bad = |text: &str| Source::new("bad.rs", text);
    let count = |found: Vec<String>| found.len();

    assert_eq!(count(calls_of_hooked(&bad("let f = libc::open(p, 0);"))), 1);
    assert_eq!(count(calls_of_hooked(&bad("let f = libc::lseek;"))), 1);
    assert_eq!(count(calls_of_hooked(&bad("libc::sysinfo(&mut i);"))), 1);
    assert_eq!(count(calls_of_hooked(&bad("use libc::{read, fopen};"))), 1);
    assert_eq!(count(calls_of_hooked(&bad("let f = std::fs::read(p);"))), 1);
    let declared = "unsafe extern \"C\" {\n    fn open(p: *const u8) -> i32;\n}";
    assert_eq!(count(calls_of_hooked(&bad(declared))), 1);
    let fine = "let s: libc::stat = x; // libc::open(p)\nf(\"libc::open(\"); libc::SYS_open;";
    assert_eq!(count(calls_of_hooked(&bad(fine))), 0);

    assert_eq!(count(file_names(&bad("open(c\"/proc/stat\")"))), 1);
    assert_eq!(count(file_names(&bad("is(b\"meminfo\")"))), 1);
    assert_eq!(count(file_names(&bad("is(r#\"a/b\"#)"))), 1);
    assert_eq!(
        count(file_names(&bad("// \"/proc/stat\"\nsay(\"CPUs\")"))),
        0
    );

    let layered = |name: &str, text: &str| count(upward_imports(&Source::new(name, text)));
    assert_eq!(layered("cgroup/cpu.rs", "use crate::procfs::files;"), 1);
    assert_eq!(
        layered("cgroup/cpu.rs", "use crate::{cpu_time, runtime};"),
        1
    );
    assert_eq!(layered("cgroup/cpu.rs", "use crate::{cgroup, text};"), 0);
    assert_eq!(layered("preload/open.rs", "use crate::run::x;"), 1);

    assert_eq!(count(impure(&bad("use crate::sys::open;"))), 1);
    assert_eq!(count(impure(&bad("static STATE: u8 = 0;"))), 1);
    assert_eq!(count(impure(&bad("fn a() -> &'static [u8] {}"))), 0);

    assert_eq!(
        count(unexplained(&bad("fn a() {\n    unsafe { b() };\n}"))),
        1
    );
    let second = "// SAFETY: a.\nunsafe { a() };\nunsafe { b() };";
    assert_eq!(count(unexplained(&bad(second))), 1);
    let fine = "// SAFETY: a.\nlet x =\n    unsafe { a() };";
    assert_eq!(count(unexplained(&bad(fine))), 0);

    assert_eq!(count(unforbidden(&bad("fn a() {}"))), 1);
    assert_eq!(count(unforbidden(&bad("unsafe fn a() {}"))), 0);
}
