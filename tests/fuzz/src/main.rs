//! libFuzzer's entry point. `PROCLENS_FUZZ_TARGET` names one of `targets::TARGETS`.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../../src/bin/proclens/inspect/elf.rs"]
mod elf;
#[allow(dead_code)]
#[path = "../../../src/bin/proclens/output/mod.rs"]
mod output;
#[allow(dead_code)]
#[path = "../../../src/bin/proclens/inspect/regular.rs"]
mod regular;
#[path = "../targets.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("PROCLENS_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("no fuzz target {name}")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
