//! The sampler in real containers: one process, nobody's child, and averages that go on whatever
//! happens to it. Each case is in `tests/sampler/inside`; needs root, cgroups and the shared object
//! (`PROCLENS_LIBRARY`, or what `scripts/build` made).

mod support;

use std::path::Path;
use std::process::Command;

fn inside(case: &str) {
    needs_containers!();
    let repo = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Command::new(repo.join("scripts/lab/container"))
        .args(["--memory", "max", "--"])
        .arg(repo.join("tests/sampler/inside"))
        .arg(case)
        .env("library", support::library())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn it_holds_nothing_of_its_starter() {
    inside("nobodys");
}

#[test]
fn its_starter_sees_no_child_and_no_signal() {
    inside("unseen");
}

#[test]
fn nobody_waits_for_it() {
    inside("pipes");
}

#[test]
fn there_is_one_for_many_who_ask_at_once() {
    inside("one");
}

#[test]
fn users_do_not_believe_each_other_but_all_believe_root() {
    inside("users");
}

#[test]
fn it_may_die_and_averages_go_on() {
    inside("reborn");
}

#[test]
fn its_state_may_be_taken_away() {
    inside("taken");
}

#[test]
fn without_it_averages_are_bridged() {
    inside("without");
}

#[test]
fn two_minutes_of_load_are_the_kernels_arithmetic() {
    inside("kernels");
}

#[test]
fn killed_every_20_seconds_it_stays_close() {
    inside("killed");
}

#[test]
fn cpu_time_accounts_go_on_from_process_to_process() {
    inside("accounts");
}
