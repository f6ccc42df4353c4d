//! One time base: uptime, boot time and the start times of tasks move together. So `ps`, `top`, `pgrep` and psutil
//! print the same about a process as without the library, to a second. The container is always younger than its
//! host, and the host kernel's values are the true ones.

mod support;

use std::fs;
use std::time::Instant;
use support::{Container, Plan, skipped};

/// A container on a host that has been up for longer than any rounding.
fn young() -> Option<Container> {
    if !support::containers() {
        return None;
    }
    let uptime = fs::read_to_string("/proc/uptime").expect("a /proc");
    let host: f64 = uptime.split('.').next().unwrap().parse().unwrap();
    if host < 120.0 {
        skipped("the host itself is younger than two minutes");
        return None;
    }
    let container = Plan::usual().start();
    // Tasks of different ages, and one that has used the CPU.
    let started = container
        .program(&[
            "sh",
            "-c",
            "sleep 1001 >/dev/null 2>&1 & sleep 2; sleep 1002 >/dev/null 2>&1 &
             timeout 1 sh -c 'while :; do :; done'; sleep 1003 >/dev/null 2>&1 & true",
        ])
        .output();
    assert_eq!(started.status, Some(0), "{started:?}");
    Some(container)
}

/// `HH:MM:SS`, `MM:SS` or `D-HH:MM:SS` in seconds.
fn elapsed(text: &str) -> i64 {
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let clock = clock.split(':').map(|p| p.parse::<i64>().unwrap());
    days.parse::<i64>().unwrap() * 86400 + clock.fold(0, |sum, part| sum * 60 + part)
}

fn near(what: &str, got: f64, truth: f64, slack: f64) {
    assert!(
        (got - truth).abs() <= slack,
        "{what}: {got} with the library, {truth} without (give or take {slack})"
    );
}

/// The output of ps for the sleeping tasks, without and with the library. The two programs start right after each
/// other.
fn both(container: &Container, columns: &str) -> (Vec<String>, Vec<String>) {
    let command = format!("ps -e -o args=XXXXXXXXXXXX -o {columns}");
    let rows = |text: String| -> Vec<String> {
        let rows = text.lines().filter(|l| l.contains("sleep 100"));
        let mut rows: Vec<String> = rows.map(str::to_owned).collect();
        rows.sort();
        rows
    };
    let without = rows(container.without(&command));
    let with = rows(container.with(&command));
    assert_eq!(without.len(), 3, "{without:?}");
    assert_eq!(with.len(), 3, "{with:?}");
    (without, with)
}

#[test]
fn ps_shows_the_true_ages() {
    let Some(container) = young() else { return };
    let (without, with) = both(&container, "etimes=,pcpu=,cputimes=");
    for (a, b) in without.iter().zip(&with) {
        let number = |row: &str, i: usize| -> f64 {
            row.split_whitespace().nth(i + 2).unwrap().parse().unwrap()
        };
        near("etimes", number(b, 0), number(a, 0), 1.0);
        near("pcpu", number(b, 1), number(a, 1), 1.0);
        near("cputimes", number(b, 2), number(a, 2), 0.0);
    }
    let (without, with) = both(&container, "etime=");
    for (a, b) in without.iter().zip(&with) {
        let age = |row: &str| elapsed(row.split_whitespace().nth(2).unwrap()) as f64;
        near("etime", age(b), age(a), 1.0);
    }
}

#[test]
fn ps_shows_the_true_start() {
    let Some(container) = young() else { return };
    let epoch = |row: &str| -> f64 {
        let start = row.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        let seconds = container
            .program(&["date", "-d", &start, "+%s"])
            .output()
            .text();
        seconds.trim().parse().unwrap()
    };
    let (without, with) = both(&container, "lstart=");
    for (a, b) in without.iter().zip(&with) {
        near("lstart", epoch(b), epoch(a), 1.0);
    }
    // Hours and minutes are the same, unless a minute ended in between.
    let (without, with) = both(&container, "stime=");
    for (a, b) in without.iter().zip(&with) {
        let minutes = |row: &str| elapsed(row.split_whitespace().nth(2).unwrap()) as f64;
        near("stime", minutes(b), minutes(a), 1.0);
    }
}

#[test]
fn pgrep_distinguishes_ages() {
    let Some(container) = young() else { return };
    // At least the first task is older than two seconds, however slow the machine is.
    for arguments in ["-O 2 -f", "-c -O 600 -f", "-r S -f", "-o -f", "-n -f"] {
        let words: Vec<&str> = ["pgrep"]
            .into_iter()
            .chain(arguments.split(' '))
            .chain(["sleep 100[1-3]"])
            .collect();
        let without = container.program(&words).output();
        let with = container.program(&words).preloaded().output();
        assert_eq!(with.status, without.status, "{words:?}: {with:?}");
        assert_eq!(with.stdout, without.stdout, "{words:?}");
        assert_eq!(with.stderr, "", "{words:?}");
    }
}

#[test]
fn top_shows_the_true_cpu_time() {
    let Some(container) = young() else { return };
    let row = |text: String| -> Vec<String> {
        let row = text.lines().find(|l| l.trim_end().ends_with("sleep"));
        let row = row.unwrap_or_else(|| panic!("no sleep in {text}"));
        row.split_whitespace().map(str::to_owned).collect()
    };
    let without = row(container.without("top -b -n 1 -w 120"));
    let with = row(container.with("top -b -n 1 -w 120"));
    // %CPU of the first screen is over the task's whole life; TIME+ is its CPU time.
    assert_eq!(with[10], without[10], "{with:?} {without:?}");
    near(
        "%CPU",
        with[8].parse().unwrap(),
        without[8].parse().unwrap(),
        1.0,
    );
}

#[test]
fn psutil_shows_the_true_start() {
    let Some(container) = young() else { return };
    let script = "import psutil\nfor p in psutil.process_iter():\n    \
        if p.cmdline()[1:] in (['1001'], ['1002'], ['1003']): print(p.pid, p.create_time())\n";
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        container
            .program(&[python, "-c", "import psutil"])
            .output()
            .status
            == Some(0)
    });
    let python = python.expect("python3 with psutil");
    let words = [python, "-c", script];
    let without = container.program(&words).output().text();
    let with = container.program(&words).preloaded().output().text();
    assert_eq!(with.lines().count(), 3, "{with}");
    for (a, b) in without.lines().zip(with.lines()) {
        let part =
            |line: &str, i: usize| -> f64 { line.split(' ').nth(i).unwrap().parse().unwrap() };
        assert_eq!(part(a, 0), part(b, 0));
        near("create_time", part(b, 1), part(a, 1), 1.0);
    }
}

#[test]
fn time_can_be_left_to_the_host() {
    let Some(container) = young() else { return };
    let words = [
        "sh",
        "-c",
        "cut -d' ' -f22 /proc/1/stat; cut -d. -f1 /proc/uptime",
    ];
    let lines = |text: String| -> Vec<f64> { text.lines().map(|l| l.parse().unwrap()).collect() };
    let without = lines(container.program(&words).output().text());
    let host = container
        .program(&words)
        .preloaded()
        .env("PROCLENS_TIME", "host");
    let host = lines(host.output().text());
    let with = lines(container.program(&words).preloaded().output().text());
    assert_eq!(host[0], without[0], "the start of PID 1");
    near("uptime", host[1], without[1], 2.0);
    assert_eq!(with[0], 0.0, "PID 1 starts when the container does");
    assert!(with[1] < 60.0, "up for {} s", with[1]);
}

/// `ps -e` among 1,000 tasks costs at most 1.5 times as much. Five runs on one machine gave 1.30 to 1.33.
#[test]
fn a_thousand_tasks_are_listed_for_little_more() {
    let Some(container) = young() else { return };
    let tasks = container
        .program(&[
            "sh",
            "-c",
            "for i in $(seq 1000); do sleep 999 >/dev/null 2>&1 & done; true",
        ])
        .output();
    assert_eq!(tasks.status, Some(0), "{tasks:?}");
    // Five lists in a run, so that entering the container matters little.
    let script = "i=0; while [ $i -lt 5 ]; do ps -e >/dev/null; i=$((i + 1)); done";
    let time = |preloaded: bool| {
        let program = container.program(&["sh", "-c", script]);
        let program = if preloaded {
            program.preloaded()
        } else {
            program
        };
        let begin = Instant::now();
        program.output().text();
        begin.elapsed()
    };
    // Both run in turns, and each is compared with its neighbour. The quieter quarter of the pairs counts.
    let mut ratios: Vec<f64> = (0..20)
        .map(|_| {
            let without = time(false).as_secs_f64();
            time(true).as_secs_f64() / without
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 4];
    println!("ps -e among 1,000 tasks: {ratio:.2} times, of {ratios:.2?}");
    assert!(ratio <= 1.5, "{ratios:.2?}");
}

/// An image has the library in a file of its own, and the platform adds another one: only one of the two copies
/// works, or every start time would be moved twice.
#[test]
fn two_copies_of_the_library_are_one() {
    let Some(container) = young() else { return };
    let library = support::library();
    let copy = support::scratch().join(format!("copy-{}.so", std::process::id()));
    fs::copy(&library, &copy).expect("a copy of the library");
    let (library, copy) = (library.display().to_string(), copy.display().to_string());
    let said = |preload: &str| {
        let script = "for p in /proc/[0-9]*; do read -r line <$p/stat || continue
            case $line in *' (sleep) '*) set -- $line; echo ${22};; esac; done";
        let output = container
            .program(&["sh", "-c", script])
            .preload(preload)
            .output();
        assert_eq!(output.status, Some(0), "{output:?}");
        output.stdout
    };
    let one = said(&library);
    assert!(one.lines().any(|line| line.len() > 2), "{one}");
    for both in [format!("{library}:{copy}"), format!("{copy}:{library}")] {
        assert_eq!(said(&both), one, "{both}");
    }
    let _ = fs::remove_file(&copy);
}
