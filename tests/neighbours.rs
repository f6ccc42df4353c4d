//! Real containers that compete for the same CPUs or the same memory (NUMBERS sections 3 and 4). On cgroup v2 the
//! time that neighbours used is steal, on v1 it is idle. `in_the_vm` runs the tests on v2 (`scripts/lab/vm`).

mod support;

use std::process::Command;
use support::{Container, Plan, field, library};

/// Starts busy threads in the container. They end with it.
fn burn(container: &Container, threads: u32) {
    let script = format!(
        "for i in $(seq {threads}); do (while :; do :; done) >/dev/null 2>&1 & done; sleep 1"
    );
    container.program(&["sh", "-c", &script]).output().text();
}

/// The values of `/proc/stat` over some seconds, percent.
#[derive(Debug)]
struct Shares {
    busy: f64,
    idle: f64,
    steal: f64,
    /// The parts of steal, from `proclens watch` over the same time.
    quota: f64,
    neighbours: f64,
}

fn shares(container: &Container) -> Shares {
    let tool = support::plain(env!("CARGO_BIN_EXE_proclens").as_ref());
    let script = format!(
        "head -n 1 /proc/stat; {} watch --interval 8 --count 1; head -n 1 /proc/stat",
        tool.display()
    );
    let text = container.with_shell(&script);
    let lines: Vec<_> = text.lines().collect();
    let ticks = |line: &str| -> Vec<f64> {
        line.split_whitespace()
            .skip(1)
            .map(|n| n.parse().unwrap())
            .collect()
    };
    let (before, after) = (ticks(lines[0]), ticks(lines[3]));
    let new: Vec<_> = before.iter().zip(&after).map(|(a, b)| b - a).collect();
    assert!(new.iter().all(|ticks| *ticks >= 0.0), "{text}");
    let share = |ticks: f64| ticks * 100.0 / new.iter().sum::<f64>();
    let column = |name: &str| {
        let at = lines[1].split_whitespace().position(|word| word == name);
        let word = lines[2].split_whitespace().nth(at.expect(name));
        word.unwrap().parse::<f64>().unwrap()
    };
    Shares {
        busy: share(new[0] + new[1] + new[2]),
        idle: share(new[3]),
        steal: share(new[7]),
        quota: column("quota"),
        neighbours: column("neighbours"),
    }
}

#[test]
fn two_equal_containers_have_half_of_the_cpus_each() {
    needs_containers!();
    let [one, other] = [(); 2].map(|()| Plan::new().start());
    burn(&one, 8);
    let alone = shares(&one);
    burn(&other, 8);
    let both = shares(&one);
    println!("alone {alone:?}\nboth {both:?}");
    if !one.v2() {
        assert!(alone.steal < 0.1 && both.steal < 0.1, "{alone:?} {both:?}");
        assert!(both.idle > 20.0, "{both:?}");
        return;
    }
    // All other programs of the machine are neighbours too.
    assert!(alone.steal < 20.0 && alone.busy > 70.0, "{alone:?}");
    assert!((35.0..65.0).contains(&both.busy), "{both:?}");
    assert!((30.0..65.0).contains(&both.steal), "{both:?}");
    assert!(both.quota < 1.0 && both.neighbours > 30.0, "{both:?}");
}

/// Throttled time does not show as the neighbours'.
#[test]
fn a_quota_is_no_neighbour() {
    needs_containers!();
    let container = Plan::usual().start();
    burn(&container, 4);
    let quota = shares(&container);
    println!("quota {quota:?}");
    assert!(quota.neighbours < 10.0, "{quota:?}");
    assert!(quota.steal + quota.idle > 10.0, "{quota:?}");
}

/// A parent has 256 MiB, and a neighbour below it uses 180 MiB: the container cannot use them.
#[test]
fn memory_that_a_neighbour_uses_is_not_free() {
    needs_containers!();
    let script = "
        files=$(mktemp -d); mount -t tmpfs none $files
        top=/sys/fs/cgroup/memory; [ -d $top ] || top=/sys/fs/cgroup; outer=$top/proclens-room-$$
        mkdir $outer; trap 'rmdir $outer/a $outer/b $outer; umount $files; rmdir $files' EXIT
        if [ -e $top/memory.limit_in_bytes ]; then
            echo 1 >$outer/memory.use_hierarchy; echo 256M >$outer/memory.limit_in_bytes
        else
            echo +memory >$top/cgroup.subtree_control; echo 256M >$outer/memory.max; echo +memory >$outer/cgroup.subtree_control
        fi
        mkdir $outer/a $outer/b
        in_group() { sh -c 'echo $$ >$0/cgroup.procs; exec \"$@\"' $outer/$1 sh -c \"$2\"; }
        in_group a 'LD_PRELOAD=$lib cat /proc/meminfo'; echo ====
        in_group b \"head -c 180M /dev/zero >$files/file\"
        in_group a 'LD_PRELOAD=$lib cat /proc/meminfo; $tool explain'; rm $files/file";
    let output = Command::new("sh")
        .args(["-c", script])
        .env("lib", library())
        .env(
            "tool",
            support::plain(env!("CARGO_BIN_EXE_proclens").as_ref()),
        )
        .output()
        .unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(complaints, "", "{seen}");
    let (alone, beside) = seen.split_once("====").unwrap();
    for (text, least, most) in [(alone, 230, 256), (beside, 60, 76)] {
        assert_eq!(field(text, "MemTotal"), 262_144.0, "{text}");
        for name in ["MemFree", "MemAvailable"] {
            let mib = field(text, name) / 1024.0;
            assert!(
                (f64::from(least)..f64::from(most)).contains(&mib),
                "{name}: {text}"
            );
        }
    }
    assert!(
        beside.contains("others use memory below the same limit"),
        "{beside}"
    );
}

#[test]
#[ignore = "boots the VM: scripts/test v2 runs it"]
fn in_the_vm() {
    let machine = ["--cpus", "2", "--timeout", "900"];
    let (status, printed) = support::this_program_in_the_vm(&machine, &[]);
    print!("{printed}");
    assert!(status.success(), "{printed}");
    assert!(printed.contains("3 passed; 0 failed"), "{printed}");
    assert!(!printed.contains("skipped: "), "{printed}");
}
