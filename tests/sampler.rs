//! The sampler in real containers whose PID 1 is tini: one process, a child of PID 1. The averages continue
//! whatever happens to it. Each case is in `tests/sampler/cases`. Needs root, cgroups and
//! the shared object (`PROCLENS_LIBRARY`, or the one that `scripts/build` makes).

mod support;

use std::path::Path;
use std::process::Command;

fn inside(case: &str) {
    needs_containers!();
    let repo = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Command::new(repo.join("scripts/lab/container"))
        .args(["--memory", "max", "--init", "yes", "--"])
        .arg(repo.join("tests/sampler/cases"))
        .arg(case)
        .env("library", support::library())
        .env("tool", env!("CARGO_BIN_EXE_proclens"))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    let printed = String::from_utf8_lossy(&out.stdout);
    if let Some(why) = printed
        .lines()
        .find_map(|line| line.strip_prefix("skipped: "))
    {
        support::skipped(why);
    }
}

#[test]
fn the_sampler_holds_nothing_of_its_starter() {
    inside("nobodys");
}

#[test]
fn mounts_and_cgroups_of_the_starter_can_be_removed() {
    inside("leaves");
}

#[test]
fn the_sampler_leaves_tasks_to_the_container() {
    inside("limits");
}

#[test]
fn an_ordinary_user_cannot_replace_the_sampler() {
    inside("hostile");
}

#[test]
fn a_subreaper_gets_one_child_that_ends_at_once() {
    inside("subreaper");
}

#[test]
fn a_sampler_waits_for_the_end_of_its_parent() {
    inside("late");
}

#[test]
fn a_sampler_waits_for_a_reader_that_stores_an_estimate() {
    inside("lock");
}

#[test]
fn the_starter_of_a_sampler_sees_no_child_and_no_signal() {
    inside("unseen");
}

#[test]
fn no_program_waits_for_the_sampler() {
    inside("pipes");
}

#[test]
fn many_readers_at_once_start_one_sampler() {
    inside("one");
}

#[test]
fn only_root_and_the_user_of_pid_1_start_it() {
    inside("users");
}

#[test]
fn averages_continue_after_the_sampler_dies() {
    inside("reborn");
}

#[test]
fn the_sampler_survives_the_removal_of_its_state() {
    inside("taken");
}

#[test]
fn without_a_sampler_averages_are_extrapolated() {
    inside("without");
}

#[test]
fn two_minutes_of_load_are_the_kernels_arithmetic() {
    inside("kernels");
}

#[test]
fn averages_stay_close_if_the_sampler_is_killed_every_20_seconds() {
    inside("killed");
}

#[test]
fn cpu_time_accounts_go_on_from_process_to_process() {
    inside("accounts");
}

#[test]
fn cpu_time_does_not_step_back_for_a_user_who_cannot_save_it() {
    inside("reader");
}
