//! Checks the sources. The library calls no function that it hooks. Hooks name no virtual file. Renderers use only
//! bytes and numbers. Imports point downward, and no files import each other, in the tool too. Only `sys/arch` knows
//! the processor. Each file of the library without `unsafe` forbids it. clippy checks that each `unsafe` block
//! has a SAFETY comment; for the processors on which clippy does not run, a rule here does.

use proc_macro2::{TokenStream, TokenTree};
use proclens::preload::NAMES;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A word, a literal or a mark of Rust's syntax, with its line.
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is(&self, text: &str) -> bool {
        self.text == text
    }

    fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
            && !self.text.contains('"')
    }

    /// The text of a string literal.
    fn string(&self) -> Option<&str> {
        let start = self.text.find('"')?;
        self.text.get(start + 1..self.text.rfind('"')?)
    }
}

/// A source file up to its own tests, without comments.
struct Source {
    /// The path below `src`, or for a file of the tool below `src/bin/proclens`.
    name: String,
    tokens: Vec<Token>,
}

impl Source {
    fn new(name: &str, text: &str) -> Source {
        let stream = text
            .parse()
            .unwrap_or_else(|e| panic!("src/{name} is no Rust: {e}"));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let tests = tokens.windows(7).position(|w| text_of(w) == "#[cfg(test)]");
        tokens.truncate(tests.unwrap_or(tokens.len()));
        Source {
            name: name.to_owned(),
            tokens,
        }
    }

    /// The places of a word. A lifetime of that name does not count.
    fn uses(&self, word: &str) -> impl Iterator<Item = usize> {
        (0..self.tokens.len())
            .filter(move |i| self.tokens[*i].is(word) && !self.text(i.wrapping_sub(1)).eq("'"))
    }

    /// The text of a token; empty beyond the end.
    fn text(&self, i: usize) -> &str {
        self.tokens.get(i).map_or("", |token| &token.text)
    }

    /// True if the tokens from `i` on are `marks`.
    fn has(&self, i: usize, marks: &[&str]) -> bool {
        marks
            .iter()
            .enumerate()
            .all(|(n, mark)| self.text(i + n) == *mark)
    }

    /// The place behind the group of braces that opens at `open`.
    fn end_of_group(&self, open: usize) -> usize {
        let mut depth = 0;
        for (i, token) in self.tokens.iter().enumerate().skip(open) {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return i;
            }
        }
        self.tokens.len()
    }

    /// The paths that `use` and expressions name from `root` on (`crate`, `super`), each with its line:
    /// `use crate::a::{b, c::d}` has `a::b` and `a::c::d`.
    fn paths(&self, root: &str) -> Vec<(usize, Vec<&str>)> {
        let mut found = Vec::new();
        for i in self.uses(root) {
            if self.has(i + 1, &[":", ":"]) {
                self.paths_at(i + 3, &mut Vec::new(), &mut found);
            } else if root == "use" {
                self.paths_at(i + 1, &mut Vec::new(), &mut found);
            }
        }
        found
    }

    /// Adds the paths that begin at `i`, behind `before`. Returns the place behind them.
    fn paths_at<'s>(
        &'s self,
        mut i: usize,
        before: &mut Vec<&'s str>,
        found: &mut Vec<(usize, Vec<&'s str>)>,
    ) -> usize {
        if self.has(i, &["{"]) {
            let end = self.end_of_group(i);
            i += 1;
            while i < end {
                i = self.paths_at(i, before, found).max(i + 1);
            }
            return end + 1;
        }
        if !self.tokens.get(i).is_some_and(Token::is_word) {
            return i;
        }
        before.push(self.text(i));
        let is_word = |i: usize| self.tokens.get(i).is_some_and(Token::is_word);
        let goes_on = self.has(i + 1, &[":", ":"]) && (self.has(i + 3, &["{"]) || is_word(i + 3));
        let next = if goes_on {
            self.paths_at(i + 3, before, found)
        } else {
            found.push((self.tokens[i].line, before.clone()));
            i + 1
        };
        before.pop();
        next
    }
}

/// The tokens with those of their groups, without the text of comments.
fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let mut push = |text: &str, span: proc_macro2::Span| {
            tokens.push(Token {
                line: span.start().line,
                text: text.to_owned(),
            });
        };
        match tree {
            TokenTree::Group(group) => {
                let is_comment = group.stream().to_string().starts_with("doc =");
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                push(open, group.span_open());
                if !is_comment {
                    flatten(group.stream(), tokens);
                }
                tokens.push(Token {
                    line: group.span_close().start().line,
                    text: close.to_owned(),
                });
            }
            TokenTree::Punct(mark) => push(&mark.to_string(), mark.span()),
            other => push(&other.to_string(), other.span()),
        }
    }
}

fn text_of(tokens: &[Token]) -> String {
    tokens.iter().map(|token| token.text.as_str()).collect()
}

/// The library's files: all but the tool's.
fn library() -> Vec<Source> {
    let mut files = sources("src");
    files.retain(|source| !source.name.starts_with("bin/"));
    files
}

/// The tool's files.
fn tool() -> Vec<Source> {
    sources("src/bin/proclens")
}

/// The files below a folder. Their names are relative to the folder.
fn sources(folder: &str) -> Vec<Source> {
    fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
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
    let is_type = |word: &str| ["stat", "stat64", "sysinfo", "statx"].contains(&word);
    let hooked = |word: &str| NAMES.iter().any(|(name, _)| *name == word);
    let mut found = Vec::new();
    let mut say = |i: usize, what: &str| {
        let line = source.tokens[i].line;
        found.push(format!("src/{}:{line}: {what}", source.name));
    };
    for i in source.uses("libc") {
        // libc::open(…), or libc::open as a value; libc::stat and others are types as well.
        let word = source.text(i + 3);
        if !source.has(i + 1, &[":", ":"]) {
            continue;
        }
        if word == "{" {
            let list = &source.tokens[i..source.end_of_group(i + 3)];
            if list.iter().any(|t| hooked(&t.text) && !is_type(&t.text)) {
                say(i, "imports a hooked function");
            }
        } else if hooked(word) && (!is_type(word) || source.has(i + 4, &["("])) {
            say(i, &format!("calls {word}"));
        }
    }
    for i in source.uses("extern") {
        // `extern {` or `extern "C" {`, of any ABI.
        let open = i + 1 + usize::from(source.text(i + 1).starts_with('"'));
        if source.has(open, &["{"]) {
            let declared = open..source.end_of_group(open);
            for at in declared.filter(|at| source.has(*at, &["fn"])) {
                if hooked(source.text(at + 1)) {
                    say(at, "declares a hooked function");
                }
            }
        }
    }
    for i in source
        .uses("std")
        .filter(|i| source.has(i + 1, &[":", ":"]))
    {
        say(i, "uses std, whose files are libc's");
    }
    found
}

/// File names in a file that must contain none.
fn file_names(source: &Source) -> Vec<String> {
    // `cpu`, `memory` and `io` are pressure's files, and ordinary words.
    let names: Vec<&str> = proclens::procfs::files::MachineFile::ALL
        .iter()
        .filter(|file| !file.path().to_bytes().starts_with(b"/proc/pressure/"))
        .map(|file| std::str::from_utf8(file.last()).unwrap())
        .collect();
    let is_name = |text: &str| text.len() > 1 && text.contains('/') || names.contains(&text);
    let tokens = source.tokens.iter();
    tokens
        .filter(|token| token.string().is_some_and(is_name))
        .map(|token| format!("src/{}:{}: names {}", source.name, token.line, token.text))
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
    let places = |word| source.uses(word).map(move |i| (i, word));
    forbidden
        .into_iter()
        .flat_map(places)
        .map(|(i, word)| format!("src/{}:{}: uses {word}", source.name, source.tokens[i].line))
        .collect()
}

/// True if the file forbids unsafe code.
fn forbids_unsafe(source: &Source) -> bool {
    let attribute = ["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"];
    source.uses("#").any(|i| source.has(i, &attribute))
}

/// Files without anything unsafe that do not forbid it.
fn unforbidden(source: &Source) -> Vec<String> {
    // The attribute in a module's root would hold for the files below it, some of which need `unsafe`.
    let root = source.name == "lib.rs" || source.name.ends_with("mod.rs");
    let needs = source.uses("unsafe").next().is_some();
    match (needs, forbids_unsafe(source)) {
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

/// Code for one processor outside the files that are for one processor.
fn knows_processor(source: &Source) -> Vec<String> {
    let uses = source.uses("target_arch");
    uses.filter(|_| !source.name.starts_with("sys/arch/"))
        .map(|i| {
            format!(
                "src/{}:{}: uses target_arch",
                source.name, source.tokens[i].line
            )
        })
        .collect()
}

#[test]
fn only_the_processors_own_files_know_the_processor() {
    none(library().iter().flat_map(knows_processor).collect());
}

/// Lines with an `unsafe` block and no `SAFETY:` in the comment above their statement. clippy checks this too, but
/// only in the files for the processor that it runs on.
fn unexplained(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let blocks =
        (0..lines.len()).filter(|i| lines[*i].contains("unsafe {") && !lines[*i].starts_with("//"));
    blocks
        .filter(|i| {
            let before = lines[..*i].iter().rev();
            let statement = before.take_while(|line| !line.ends_with([';', '}']));
            !statement.into_iter().any(|line| line.contains("SAFETY:"))
        })
        .map(|i| format!("src/{name}:{}: no SAFETY line", i + 1))
        .collect()
}

#[test]
fn unsafe_blocks_for_other_processors_have_a_safety_comment() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sys/arch");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        none(unexplained(
            &format!("sys/arch/{name}"),
            &fs::read_to_string(&path).unwrap(),
        ));
    }
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
            forbids_unsafe(source),
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

/// The layers of `src/bin/proclens`, from the bottom up.
const TOOL_LAYERS: [&[&str]; 4] = [&["output"], &["inspect"], &["commands"], &["cli"]];

/// Imports of a layer above the file's own, or of another entry point: the entry points stand above all layers.
fn upward_imports(source: &Source, layers: &[&[&str]]) -> Vec<String> {
    let layer = |module: &str| {
        let found = layers.iter().position(|layer| layer.contains(&module));
        found.unwrap_or(layers.len())
    };
    let own = source.name.split('/').next().unwrap();
    let own = own.strip_suffix(".rs").unwrap_or(own);
    if ["lib", "main"].contains(&own) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, path) in source.paths("crate") {
        let module = path[0];
        if module != own && layer(module) >= layer(own) {
            found.push(format!("src/{}:{line}: uses {module}", source.name));
        }
    }
    found
}

#[test]
fn imports_point_downward() {
    let upward = |files: Vec<Source>, layers: &[&[&str]]| {
        none(
            files
                .iter()
                .flat_map(|s| upward_imports(s, layers))
                .collect(),
        );
    };
    upward(library(), &LAYERS);
    upward(tool(), &TOOL_LAYERS);
}

/// The module of a file, as a path: `cgroup/cpu.rs` is `cgroup::cpu`.
fn module_of(name: &str) -> Vec<&str> {
    let name = name.strip_suffix(".rs").unwrap_or(name);
    let mut path: Vec<&str> = name.split('/').collect();
    if ["mod", "lib", "main"].contains(path.last().unwrap()) {
        path.pop();
    }
    path
}

/// The numbers of the files that each file imports.
fn imports(files: &[Source]) -> Vec<Vec<usize>> {
    let numbers: BTreeMap<Vec<&str>, usize> = files
        .iter()
        .enumerate()
        .map(|(i, source)| (module_of(&source.name), i))
        .collect();
    files
        .iter()
        .enumerate()
        .map(|(own, source)| {
            let module = module_of(&source.name);
            let above = &module[..module.len().saturating_sub(1)];
            let mut roots = vec![("crate", vec![]), ("super", above.to_vec())];
            // A module names its own children without a root, in `use` and in expressions.
            let children = source.uses("mod").map(|i| source.text(i + 1));
            roots.extend(children.map(|child| (child, [&module[..], &[child]].concat())));
            roots.push(("use", module.clone()));
            let paths = roots.iter().flat_map(|(root, start)| {
                let paths = source.paths(root).into_iter();
                paths.map(|(_, path)| [start.clone(), path].concat())
            });
            // The longest part of a path that is a file.
            let file = |path: Vec<&str>| {
                let mut parts = (1..=path.len()).rev();
                parts.find_map(|length| numbers.get(&path[..length]).copied())
            };
            paths.filter_map(file).filter(|i| *i != own).collect()
        })
        .collect()
}

/// Groups of files of which each imports, over others of the group, each other.
fn cycles(files: &[Source]) -> Vec<String> {
    let imports = imports(files);
    let reached = |from: usize| {
        let mut seen = vec![false; files.len()];
        let mut left = imports[from].clone();
        while let Some(i) = left.pop() {
            if !std::mem::replace(&mut seen[i], true) {
                left.extend(&imports[i]);
            }
        }
        seen
    };
    let reached: Vec<_> = (0..files.len()).map(reached).collect();
    let mut found: Vec<String> = (0..files.len())
        .map(|i| {
            let is_in_cycle = |j: &usize| reached[i][*j] && reached[*j][i];
            let group = (0..files.len()).filter(is_in_cycle);
            group
                .map(|j| files[j].name.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .filter(|group| !group.is_empty())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn no_files_import_each_other() {
    none(cycles(&library()));
    none(cycles(&tool()));
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
    for abi in ["\"C\"", "\"system\"", ""] {
        let declared = format!("unsafe extern {abi} {{ fn open(p: *const u8) -> i32; }}");
        assert_eq!(count(calls_of_hooked(&bad(&declared))), 1, "{abi}");
    }
    let fine = "let s: libc::stat = x; // libc::open(p)\nf(\"libc::open(\"); libc::SYS_open;";
    assert_eq!(count(calls_of_hooked(&bad(fine))), 0);

    assert_eq!(count(file_names(&bad("open(c\"/proc/stat\")"))), 1);
    assert_eq!(count(file_names(&bad("is(b\"meminfo\")"))), 1);
    assert_eq!(count(file_names(&bad("is(r#\"a/b\"#)"))), 1);
    assert_eq!(
        count(file_names(&bad("// \"/proc/stat\"\nsay(\"CPUs\")"))),
        0
    );

    let layered = |name: &str, text: &str| count(upward_imports(&Source::new(name, text), &LAYERS));
    assert_eq!(layered("cgroup/cpu.rs", "use crate::procfs::files;"), 1);
    assert_eq!(
        layered("cgroup/cpu.rs", "use crate::{cpu_time, runtime};"),
        1
    );
    assert_eq!(layered("cgroup/cpu.rs", "use crate::{cgroup, text};"), 0);
    assert_eq!(layered("preload/open.rs", "use crate::run::x;"), 1);
    let many = "use crate::{\n    cpu_time,\n    runtime::{cache, live},\n};";
    assert_eq!(layered("cgroup/cpu.rs", many), 2);

    let circle = |texts: [(&str, &str); 3]| {
        count(cycles(&texts.map(|(name, text)| Source::new(name, text))))
    };
    let root = ("a/mod.rs", "mod b;\npub use b::{B, c};");
    let other = ("d.rs", "use crate::a::b::B;");
    assert_eq!(circle([root, ("a/b.rs", "use super::A;"), other]), 1);
    assert_eq!(circle([root, ("a/b.rs", "use crate::d::D;"), other]), 1);
    assert_eq!(circle([root, ("a/b.rs", "use crate::e::E;"), other]), 0);
    let root = ("a/mod.rs", "mod b; fn f() { b::f() }");
    assert_eq!(circle([root, ("a/b.rs", "use super::A;"), other]), 1);

    assert_eq!(count(impure(&bad("use crate::sys::open;"))), 1);
    assert_eq!(count(impure(&bad("static STATE: u8 = 0;"))), 1);
    assert_eq!(count(impure(&bad("fn a() -> &'static [u8] {}"))), 0);

    let second = "// SAFETY: a.\nunsafe { a() };\nlet b = unsafe { b() };";
    assert_eq!(count(unexplained("bad.rs", second)), 1);
    assert_eq!(
        count(unexplained(
            "fine.rs",
            "// SAFETY: a.\nlet x =\n    unsafe { a() };"
        )),
        0
    );

    assert_eq!(
        count(knows_processor(&bad(
            "#[cfg(target_arch = \"arm\")] fn a() {}"
        ))),
        1
    );

    assert_eq!(count(unforbidden(&bad("fn a() {}"))), 1);
    assert_eq!(count(unforbidden(&bad("unsafe fn a() {}"))), 0);
}
