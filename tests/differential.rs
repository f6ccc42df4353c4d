//! 12,000 generated calls of the hooked functions, with good and bad arguments (tests/regressions/calls.c), with
//! and without the library, in a limited container. The tests compare results, errno and the state of the
//! descriptors afterwards.

mod support;

use std::path::Path;
use support::{Container, Plan};

const CALLS: &str = "12000";

/// The lines that the program prints about its calls, in a new directory of the test `name`.
fn calls(
    container: &Container,
    name: &str,
    program: &Path,
    seed: u32,
    preload: Option<&str>,
) -> String {
    // The container has the machine's own /tmp, so each test uses another directory.
    let directory = support::scratch().join(format!("calls-{name}"));
    let script = format!(
        "rm -rf {d} && mkdir {d} && cd {d} && env -i {} {} {seed} {CALLS} 2>/dev/null",
        preload.map_or(String::new(), |p| format!("LD_PRELOAD={p}")),
        program.display(),
        d = directory.display(),
    );
    let output = container.program(&["sh", "-c", &script]).output();
    assert_eq!(
        output.status,
        Some(0),
        "it stopped after:\n{}",
        last(&output.stdout)
    );
    output.stdout
}

fn last(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// The first lines that differ, with the line before each.
fn differences(without: &str, with: &str) -> Vec<String> {
    let (a, b): (Vec<_>, Vec<_>) = (without.lines().collect(), with.lines().collect());
    let mut found = Vec::new();
    for i in 0..a.len().max(b.len()) {
        let (x, y) = (a.get(i).unwrap_or(&"(end)"), b.get(i).unwrap_or(&"(end)"));
        if x != y {
            let before = i.checked_sub(1).map_or("", |i| a[i]);
            found.push(format!("        {before}\nwithout {x}\nwith    {y}"));
        }
    }
    found
}

fn compare(compiler: &str) {
    let Some(program) = support::c_program("calls.c", compiler, &[]) else {
        return;
    };
    if !support::containers() {
        return;
    }
    let library = support::library();
    let library = library.to_str().expect("a plain path");
    let container = Plan::usual().start();
    let seed = std::env::var("PROCLENS_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    for seed in seed.map_or(vec![1, 7], |seed| vec![seed]) {
        let without = calls(&container, compiler, &program, seed, None);
        assert!(
            without.ends_with(&format!("made {CALLS} calls\n")),
            "not all calls were made:\n{}",
            last(&without)
        );
        // The comparison itself: two runs without the library are the same, or a difference would mean nothing.
        let again = calls(&container, compiler, &program, seed, None);
        let moving = differences(&without, &again);
        assert!(
            moving.is_empty(),
            "differs without the library:\n{}",
            moving[0]
        );
        let with = calls(&container, compiler, &program, seed, Some(library));
        let found = differences(&without, &with);
        assert!(
            found.is_empty(),
            "seed {seed}, {compiler}: {} lines differ, the first:\n{}",
            found.len(),
            found[..found.len().min(8)].join("\n\n")
        );
    }
}

#[test]
fn glibc_calls_give_the_same_results() {
    compare("gcc");
}

#[test]
fn musl_calls_give_the_same_results() {
    compare("musl-gcc");
}

/// The comparison finds a library that sometimes loses errno, in one function.
#[test]
fn a_small_difference_is_found() {
    let Some(program) = support::c_program("calls.c", "gcc", &[]) else {
        return;
    };
    let Some(wrong) = support::c_program("loses_errno.c", "gcc", &["-shared", "-fPIC"]) else {
        return;
    };
    if !support::containers() {
        return;
    }
    let container = Plan::usual().start();
    let without = calls(&container, "wrong", &program, 1, None);
    let with = calls(&container, "wrong", &program, 1, wrong.to_str());
    let found = differences(&without, &with);
    assert!(!found.is_empty(), "nobody saw it");
    assert!(
        found
            .iter()
            .all(|f| f.contains("read/4") || f.contains("read/8")),
        "more differs than was broken:\n{}",
        found[0]
    );
}

/// Random sequences over descriptors that are shared, duplicated, inherited and passed to the next program
/// (tests/regressions/descriptor_model.c): a virtual descriptor behaves as the kernel's.
#[test]
fn descriptor_sequences_give_the_same_results() {
    needs_containers!();
    let Some(program) = support::c_program("descriptor_model.c", "gcc", &[]) else {
        return;
    };
    let Some(wrong) = support::c_program("loses_offset.c", "gcc", &["-shared", "-fPIC"]) else {
        return;
    };
    let library = support::library();
    let container = Plan::usual().start();
    let run = |seed: u32, preload: Option<&Path>| {
        let directory = support::scratch().join("descriptor-model");
        let script = format!(
            "rm -rf {d} && mkdir {d} && cd {d} && env -i {} {} {seed} 2000",
            preload.map_or(String::new(), |p| format!("LD_PRELOAD={}", p.display())),
            program.display(),
            d = directory.display(),
        );
        container.program(&["sh", "-c", &script]).output().text()
    };
    // The comparison itself finds a library that sometimes loses an offset.
    assert!(!differences(&run(1, None), &run(1, Some(&wrong))).is_empty());
    for seed in 1..=12 {
        let without = run(seed, None);
        assert!(
            without.ends_with("made all steps\n"),
            "{seed}: {}",
            last(&without)
        );
        let found = differences(&without, &run(seed, Some(&library)));
        assert!(found.is_empty(), "seed {seed}: {}", found[0]);
    }
}
