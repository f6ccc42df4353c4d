//! Runs every fuzz target over its committed corpus (tests/fuzz/corpus, and tests/golden for the
//! kernel's text) and over damaged copies. So every fault that the fuzzer found once is tested again.
//! `scripts/test fuzz` looks for more.

#[allow(dead_code, unused_imports)]
#[path = "../src/bin/proclens/inspect/elf.rs"]
mod elf;
#[allow(dead_code)]
#[path = "../src/bin/proclens/output/mod.rs"]
mod output;
#[allow(dead_code)]
#[path = "../src/bin/proclens/inspect/regular.rs"]
mod regular;
mod support;
#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use support::Random;

/// How many damaged copies of each seed are run.
const DAMAGED: usize = 20;

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a corpus") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn run(name: &str, seeds: &[PathBuf]) {
    let (_, target) = targets::TARGETS
        .into_iter()
        .find(|(target, _)| *target == name)
        .expect("a target");
    assert!(!seeds.is_empty(), "{name} has no corpus");
    let mut random = Random::new();
    for seed in seeds {
        let data = fs::read(seed).expect("a seed");
        target(&data);
        for _ in 0..DAMAGED {
            target(&random.damage(&data));
        }
    }
}

fn corpus(name: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    files_below(&tests.join("fuzz/corpus").join(name), &mut files);
    files.sort();
    files
}

#[test]
fn fuzz_corpus_of_settings() {
    run("settings", &corpus("settings"));
}

#[test]
fn fuzz_corpus_of_state_records() {
    run("state", &corpus("state"));
}

#[test]
fn fuzz_corpus_of_elf_files() {
    let mut seeds = corpus("elf");
    seeds.push(env!("CARGO_BIN_EXE_proclens").into());
    run("elf", &seeds);
}

#[test]
fn fuzz_corpus_of_kernel_text() {
    let mut seeds = Vec::new();
    files_below(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
        &mut seeds,
    );
    seeds.retain(|path| path.ends_with("kernel"));
    seeds.extend(corpus("kernel"));
    run("kernel", &seeds);
}
