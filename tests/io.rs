//! The output of `vmstat`, `iostat`, `sar`, `swapon`, `free`, `numactl` and `lstopo` about disks, swap, pressure
//! and nodes in a real container, while the machine around it does much more. Runs on cgroup v1, v2 and hybrids,
//! as the machine has it. `in_the_vm` runs the tests on v2 with swap and pressure (`scripts/lab/vm`).

mod support;

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use support::{Container, MIB, Plan, field, program, skipped};

/// The amount that the container writes and reads, MiB.
const WRITTEN: u64 = 200;
const READ: u64 = 100;

/// Shell functions: `begin` starts `vmstat` and waits for its first rows, `end` waits for the rows of what happened
/// meanwhile. The first row has the values since the start of the container, and each row what happened since the row
/// before. On a slow machine a row is late.
const ROWS: &str = "F=/dev/shm/rows
    rows() { until [ $(wc -l <$F) -ge $1 ]; do sleep 0.2; done; }
    begin() { : >$F; vmstat -n 1 >>$F & v=$!; rows 3; }
    end() { rows $(($(wc -l <$F) + 2)); kill $v; }";

fn host(file: &str, name: &str) -> f64 {
    field(&fs::read_to_string(file).expect(file), name)
}

/// True if all of `names` are installed.
fn installed(names: &[&str]) -> bool {
    let missing = names.iter().find(|name| program(name).is_none());
    if let Some(name) = missing {
        skipped(&format!("no {name} here"));
    }
    missing.is_none()
}

fn number(text: &str) -> f64 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no number"))
}

#[track_caller]
fn near(what: &str, value: f64, expected: f64, slack: f64) {
    assert!(
        (value - expected).abs() <= slack,
        "{what} is {value}, not {expected} (within {slack})"
    );
}

/// Space on a disk whose I/O cgroups count: a file beside the build or, if that is on no disk, a disk in
/// memory.
struct Disk {
    /// The file or device that the tests write and read.
    path: PathBuf,
    /// Its name and number, such as `vda` and `254:0`.
    name: String,
    number: String,
    memory: Option<String>,
}

impl Disk {
    const SIZE: u64 = 512 * MIB;

    fn new() -> Option<Disk> {
        Disk::of_build().or_else(Disk::in_memory).or_else(|| {
            skipped("the build lies on no disk, and there is no zram");
            None
        })
    }

    fn of_build() -> Option<Disk> {
        // Tests run at the same time.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = support::scratch();
        let device = fs::metadata(&directory).expect("target").st_dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let node = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
        let whole = if node.join("partition").exists() {
            node.parent()?
        } else {
            &node
        };
        let disk = Disk {
            path: directory.join(format!("io-{}-{number}", std::process::id())),
            name: whole.file_name()?.to_str()?.into(),
            number: fs::read_to_string(whole.join("dev")).ok()?.trim().into(),
            memory: None,
        };
        // Allocate every block before the measurement.
        run(&format!(
            "dd if=/dev/zero of={} bs=1M count={} oflag=direct status=none",
            disk.path.display(),
            Disk::SIZE / MIB
        ));
        Some(disk)
    }

    fn in_memory() -> Option<Disk> {
        let number = fs::read_to_string("/sys/class/zram-control/hot_add").ok()?;
        let name = format!("zram{}", number.trim());
        let device = Path::new("/sys/block").join(&name);
        fs::write(device.join("disksize"), Disk::SIZE.to_string()).ok()?;
        Some(Disk {
            path: Path::new("/dev").join(&name),
            number: fs::read_to_string(device.join("dev")).ok()?.trim().into(),
            name,
            memory: Some(number),
        })
    }

    /// Sets a throttling rule that throttles nothing: from Linux 6.10 on, v1 counts the I/O of a disk only after
    /// its first rule.
    fn counted_for(&self, container: &Container) {
        if container.v2() {
            return;
        }
        let rules = container.directory("blkio");
        let rules = rules.join("blkio.throttle.write_bps_device");
        fs::write(rules, format!("{} {}", self.number, 1u64 << 50)).expect("a rule");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        match &self.memory {
            Some(number) => drop(fs::write("/sys/class/zram-control/hot_remove", number)),
            None => drop(fs::remove_file(&self.path)),
        }
    }
}

fn run(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status();
    assert!(status.expect("sh").success(), "{command}");
}

/// The sectors that the machine read and wrote on a disk.
fn sectors(disk: &Disk) -> [u64; 2] {
    let text = fs::read_to_string("/proc/diskstats").expect("diskstats");
    let line = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|line| line[2] == disk.name);
    let line = line.expect("the disk");
    [5, 9].map(|i| line[i].parse().expect("a number"))
}

/// The machine uses the upper half of the space on the disk until `enough` is true.
fn busy(disk: &Disk, enough: impl Fn() -> bool) {
    let half = Disk::SIZE / MIB / 2;
    let path = disk.path.display();
    while !enough() {
        run(&format!(
            "dd if=/dev/zero of={path} bs=1M seek={half} count={half} oflag=direct conv=notrunc status=none;
             dd if={path} of=/dev/null bs=1M skip={half} count={half} iflag=direct status=none"
        ));
    }
}

/// The bytes that the cgroup read and wrote on a disk, by its own counters.
fn counted(container: &Container, disk: &Disk) -> [u64; 2] {
    let (text, names) = if container.v2() {
        let text = container.file("memory", "io.stat").replace('=', " ");
        (text, ["rbytes", "wbytes"])
    } else {
        let text = container.file("blkio", "blkio.throttle.io_service_bytes_recursive");
        (text, ["Read", "Write"])
    };
    names.map(|name| {
        let words = text
            .lines()
            .filter(|line| line.starts_with(&format!("{} ", disk.number)))
            .flat_map(str::split_whitespace)
            .collect::<Vec<_>>();
        let at = words.iter().position(|word| *word == name);
        at.map_or(0, |at| words[at + 1].parse().expect("a number"))
    })
}

/// The columns of the last line that starts with `name`.
fn row<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .rfind(|line| line.first() == Some(&name))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// The number in the column called `column`, of the row called `name`, in the last table that has both.
fn cell(text: &str, name: &str, column: &str) -> f64 {
    let mut header = Vec::new();
    let mut found = None;
    for line in text.lines() {
        let line: Vec<_> = line.split_whitespace().collect();
        if line.is_empty() {
            header.clear();
        } else if let Some(at) = line.iter().position(|word| *word == column) {
            header = vec![at];
        } else if line.contains(&name)
            && let Some(value) = header.first().and_then(|at| line.get(*at))
        {
            found = Some(number(value));
        }
    }
    found.unwrap_or_else(|| panic!("no {column} of {name} in {text}"))
}

/// The container writes 200 MB and reads 100 MB with O_DIRECT, while the machine does ten times as much on the
/// same disk.
#[test]
fn io_is_the_containers_alone() {
    needs_containers!();
    if !installed(&["vmstat", "iostat", "dd"]) {
        return;
    }
    let Some(disk) = Disk::new() else { return };
    let container = Plan::usual().setup("mount -t tmpfs none /dev/shm").start();
    disk.counted_for(&container);
    let (path, name) = (disk.path.display(), &disk.name);
    // Read the programs into memory before the measurement.
    container.with_shell(&format!(
        "dd if={path} of=/dev/null bs=1M count=1 iflag=direct status=none; vmstat -d; iostat -dk {name}; sleep 0"
    ));
    let script = format!(
        "{ROWS}; iostat -dk {name}; vmstat -d; cat /sys/block/{name}/stat
         begin
         dd if=/dev/zero of={path} bs=1M count={WRITTEN} oflag=direct conv=notrunc status=none
         dd if={path} of=/dev/null bs=1M count={READ} iflag=direct status=none
         end
         echo ====; iostat -dk {name}; vmstat -d; cat /sys/block/{name}/stat
         echo ====; cat /dev/shm/rows"
    );
    // Less I/O in the slow VM.
    let times = if disk.memory.is_some() { 3 } else { 10 };
    let much = times * WRITTEN * MIB / 512;
    let (before, started) = (counted(&container, &disk), sectors(&disk));
    let done = AtomicBool::new(false);
    let text = thread::scope(|scope| {
        scope.spawn(|| {
            busy(&disk, || {
                done.load(Ordering::Relaxed) && sectors(&disk)[1] >= started[1] + much
            });
        });
        let output = container
            .program(&["sh", "-c", &script])
            .preloaded()
            .output();
        done.store(true, Ordering::Relaxed);
        output.text()
    });
    let after = counted(&container, &disk);
    let parts: Vec<_> = text.split("====\n").collect();
    let kib = |mib: u64| (mib * 1024) as f64;
    let (read, written) = (kib(READ), kib(WRITTEN));
    // The cgroup's counters show that the test itself worked.
    near(
        "the cgroup's reads",
        (after[0] - before[0]) as f64 / 1024.0,
        read,
        read * 0.02,
    );
    near(
        "the cgroup's writes",
        (after[1] - before[1]) as f64 / 1024.0,
        written,
        written * 0.02,
    );

    let rows = parts[2].lines().skip(3);
    let (mut bi, mut bo) = (0.0, 0.0);
    for line in rows {
        let columns: Vec<_> = line.split_whitespace().collect();
        bi += number(columns[8]);
        bo += number(columns[9]);
    }
    near("vmstat's bi", bi, read, read * 0.02);
    near("vmstat's bo", bo, written, written * 0.02);
    let grown = |of: &dyn Fn(&str) -> f64| of(parts[1]) - of(parts[0]);
    let iostat = |column: &'static str| move |part: &str| cell(part, name, column);
    near(
        "iostat's kB_read",
        grown(&iostat("kB_read")),
        read,
        read * 0.02,
    );
    near(
        "iostat's kB_wrtn",
        grown(&iostat("kB_wrtn")),
        written,
        written * 0.02,
    );
    // loop0 reads merged sectors ms, writes merged sectors ms
    let vmstat_d = |at: usize| {
        move |part: &str| {
            let part = part.split("disk-").nth(1).expect("vmstat -d");
            number(row(part, name)[at]) / 2.0
        }
    };
    near("vmstat -d, read", grown(&vmstat_d(3)), read, read * 0.02);
    near(
        "vmstat -d, written",
        grown(&vmstat_d(7)),
        written,
        written * 0.02,
    );
    let own = |part: &str| {
        let line = part.lines().next_back().expect("stat");
        number(line.split_whitespace().nth(6).expect("sectors written")) / 2.0
    };
    near("the disk's own stat", grown(&own), written, written * 0.02);
    let machine = sectors(&disk)[1] - started[1];
    assert!(machine >= much, "{machine}");
}

/// A container that uses no disk, while the machine uses one.
#[test]
fn the_machines_io_is_not_seen() {
    needs_containers!();
    if !installed(&["sar", "iostat", "vmstat"]) {
        return;
    }
    let Some(disk) = Disk::new() else { return };
    let container = Plan::usual().start();
    disk.counted_for(&container);
    let script = format!(
        "sar -B -W -d 1 3; echo ====; iostat -xk {} 1 3; echo ====; vmstat -n 1 4",
        disk.name
    );
    // Read the programs into memory before the measurement.
    container.with_shell("sar -B -W -d 1 1; iostat; vmstat");
    let done = AtomicBool::new(false);
    let start = sectors(&disk);
    let (text, without) = thread::scope(|scope| {
        scope.spawn(|| busy(&disk, || done.load(Ordering::Relaxed)));
        let text = container.with_shell(&script);
        let without = container.without(&format!("iostat -dk {}", disk.name));
        done.store(true, Ordering::Relaxed);
        (text, without)
    });
    let moved = (sectors(&disk)[1] - start[1]) as f64 / 2.0;
    assert!(moved > 50_000.0, "the machine wrote only {moved} kB");
    assert!(
        cell(&without, &disk.name, "kB_wrtn") > 50_000.0,
        "{without}"
    );
    // A page of a program that was read again is no leak.
    let little = 1024.0;
    let parts: Vec<_> = text.split("====\n").collect();
    for column in ["pgpgin/s", "pgpgout/s", "pswpin/s", "pswpout/s"] {
        assert!(
            cell(parts[0], "Average:", column) < little,
            "{column} {text}"
        );
    }
    let disks = parts[0].split("Average:").next().expect("sar");
    for line in disks.lines().filter(|line| line.contains(&disk.name)) {
        let columns: Vec<_> = line.split_whitespace().rev().collect();
        // %util await aqu-sz areq-sz dkB/s wkB/s rkB/s tps
        for value in &columns[4..7] {
            assert!(number(value) < little, "{text}");
        }
    }
    for column in ["rkB/s", "wkB/s"] {
        assert!(
            cell(parts[1], &disk.name, column) < little,
            "{column} {text}"
        );
    }
    for line in parts[2].lines().skip(2) {
        let columns: Vec<_> = line.split_whitespace().collect();
        assert!(
            number(columns[8]) < little && number(columns[9]) < little,
            "{text}"
        );
    }
}

/// v1 forgets the counters of a removed cgroup. A process that keeps reading sees no counter step back.
#[test]
fn a_removed_cgroup_takes_nothing_back() {
    needs_containers!();
    let Some(disk) = Disk::new() else { return };
    let container = Plan::usual().start();
    if container.v2() {
        return;
    }
    disk.counted_for(&container);
    let below = container.directory("blkio").join("below");
    fs::create_dir(&below).expect("a cgroup below");
    let (path, name) = (disk.path.display(), &disk.name);
    run(&format!(
        "echo $$ >{}/cgroup.procs
         exec dd if=/dev/zero of={path} bs=1M count=4 oflag=direct conv=notrunc status=none",
        below.display()
    ));
    let script = format!(
        "while read -r now; do
            while read -r name kib; do [ $name != pgpgout ] || out=$kib; done </proc/vmstat
            while read -r a b name c d e f g h sectors i; do
                [ $name != {name} ] || all=$sectors; done </proc/diskstats
            read -r a b c d e f own g </sys/block/{name}/stat
            echo $out $((all / 2)) $((own / 2))
        done"
    );
    let mut reader = container
        .program(&["sh", "-c", &script])
        .preloaded()
        .start();
    let mut shown = || {
        reader.send("now");
        let line = reader.line().expect("an answer");
        line.split_whitespace().map(number).collect::<Vec<_>>()
    };
    assert_eq!(shown(), [4096.0; 3]);
    fs::remove_dir(&below).expect("nobody is there");
    while counted(&container, &disk)[1] > 0 {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(shown(), [4096.0; 3]);
    let more =
        format!("dd if=/dev/zero of={path} bs=1M count=2 oflag=direct conv=notrunc status=none");
    container.with_shell(&more);
    assert_eq!(shown(), [6144.0; 3]);
}

/// All files have the same counters of a disk.
#[test]
fn all_files_agree_about_a_disk() {
    needs_containers!();
    let Some(disk) = Disk::new() else { return };
    let container = Plan::usual().start();
    disk.counted_for(&container);
    let (path, name, dev) = (disk.path.display(), &disk.name, &disk.number);
    let text = container.with_shell(&format!(
        "dd if=/dev/zero of={path} bs=1M count=3 oflag=direct conv=notrunc status=none
         cat /sys/block/{name}/stat; cat /sys/dev/block/{dev}/stat; cd /sys/block/{name}; cat stat
         read line <stat; echo $line; grep ' {name} ' /proc/diskstats
         exec 3<stat; dd if=/dev/zero of={path} bs=1M count=2 oflag=direct conv=notrunc status=none; cat <&3"
    ));
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    // A page of a program that was read again adds a read, which the later files show.
    let columns = |at: usize| &lines[at][if at == 4 { 3 } else { 0 }..];
    for at in 1..5 {
        assert_eq!(columns(at)[4..], columns(0)[4..], "{text}");
        for column in [0, 2] {
            assert!(
                number(columns(at)[column]) >= number(columns(at - 1)[column]),
                "{text}"
            );
        }
    }
    assert_eq!(lines[0][6], (3 * MIB / 512).to_string(), "{text}");
    // A descriptor keeps the text of its moment.
    assert_eq!(lines[5][4..], lines[0][4..], "{text}");
    // A partition has the values of its line in diskstats. A `stat` of no block device is the kernel's.
    let words = ["cat", "/sys/class/net/lo/statistics/rx_bytes"];
    let kernels = container.program(&words).output().text();
    assert_eq!(
        container.program(&words).preloaded().output().text(),
        kernels
    );
}

/// The first line is the average since the container started, also in a container that is a second old.
#[test]
fn the_first_line_of_vmstat_is_sane() {
    needs_containers!();
    let container = Plan::usual().start();
    let text = container.with_shell("sleep 1; vmstat -n; vmstat -n 1 3");
    let rows: Vec<Vec<f64>> = text
        .lines()
        .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| line.split_whitespace().map(number).collect())
        .collect();
    assert_eq!(rows.len(), 4, "{text}");
    // Interrupts and switches are the machine's: at most its rate, not its sum since boot.
    let text_of_host = fs::read_to_string("/proc/stat").expect("stat");
    let total = |name| field(&text_of_host, name);
    let up = number(
        fs::read_to_string("/proc/uptime")
            .expect("uptime")
            .split(' ')
            .next()
            .expect("up"),
    );
    let swapped_by_machine = host("/proc/meminfo", "SwapTotal") - host("/proc/meminfo", "SwapFree");
    for first in &rows[..2] {
        let [swpd, si, so, bi, bo, interrupts, switches] =
            [2, 6, 7, 8, 9, 10, 11].map(|i| first[i]);
        // The container's swap is no larger than the machine's.
        assert!(swpd <= swapped_by_machine, "{text}");
        assert_eq!([si, so], [0.0; 2], "{text}");
        assert!(bi < 20_000.0 && bo < 20_000.0, "{text}");
        let most = |name| 3.0 * total(name) / up + 1000.0;
        assert!(interrupts > 0.0 && interrupts < most("intr"), "{text}");
        assert!(switches > 0.0 && switches < most("ctxt"), "{text}");
        let cpu: f64 = first[12..17].iter().sum();
        near("us to st", cpu, 100.0, 4.0);
    }
    // Between two processes no counter steps back, and the difference is the machine's.
    let counts = |text: &str| [field(text, "intr"), field(text, "ctxt")];
    let machine = || counts(&fs::read_to_string("/proc/stat").expect("stat"));
    let (low, high) = (machine(), counts(&container.with("cat /proc/stat")));
    let first = high;
    let before = machine();
    thread::sleep(std::time::Duration::from_secs(1));
    let after = machine();
    let second = counts(&container.with("cat /proc/stat"));
    let end = machine();
    for i in 0..2 {
        let grown = second[i] - first[i];
        assert!(
            grown >= after[i] - before[i] && grown <= end[i] - low[i],
            "{grown} of {low:?} {before:?} {after:?} {end:?}"
        );
        assert!(second[i] < end[i], "{second:?} {end:?}");
    }
}

/// Programs that combine several files agree with the cgroup.
#[test]
fn screens_agree_with_the_cgroup() {
    needs_containers!();
    if !installed(&["vmstat", "free", "swapon"]) {
        return;
    }
    let fill = "mount -t tmpfs none /dev/shm; head -c 33554432 /dev/zero >/dev/shm/fill";
    let container = Plan::usual().swap(0).setup(fill).start();
    let slack = 8.0 * 1024.0;
    let kib = |v1: &[&str], v2: &[&str]| -> f64 {
        let sum = |names: &[&str]| -> u64 {
            names
                .iter()
                .map(|name| container.memory_stat(name, name))
                .sum()
        };
        (if container.v2() { sum(v2) } else { sum(v1) }) as f64 / 1024.0
    };
    let lru = |which: &str| {
        let names = ["anon", "file"].map(|kind| format!("{which}_{kind}"));
        let old = names.clone().map(|name| format!("total_{name}"));
        let all = |names: &[String; 2]| kib(&[&old[0], &old[1]], &[&names[0], &names[1]]);
        all(&names)
    };
    let text = container.with("vmstat -a -n");
    let columns = text.lines().next_back().expect("a row").split_whitespace();
    let columns: Vec<_> = columns.map(number).collect();
    near("inact", columns[4], lru("inactive"), slack);
    near("active", columns[5], lru("active"), slack);
    let text = container.with("vmstat -s");
    let of = |what: &str| {
        let line = text.lines().find(|line| line.trim_end().ends_with(what));
        let line = line.unwrap_or_else(|| panic!("no {what} in {text}"));
        number(line.split_whitespace().next().expect("a number"))
    };
    assert_eq!(of("total memory"), 524_288.0);
    near("active memory", of(" active memory"), lru("active"), slack);
    near(
        "inactive memory",
        of("inactive memory"),
        lru("inactive"),
        slack,
    );
    for swap in [
        "total swap",
        "used swap",
        "free swap",
        "swapped in",
        "swapped out",
    ] {
        assert_eq!(of(swap), 0.0, "{swap}");
    }
    assert!(of("paged out") < host("/proc/vmstat", "pgpgout"), "{text}");
    assert!(
        of("CPU context switches") < host("/proc/stat", "ctxt"),
        "{text}"
    );
    // Without swap, every file shows none.
    assert_eq!(container.with("swapon -s"), "");
    let free = container.with("free -h -w");
    assert_eq!(row(&free, "Mem:")[1], "512Mi", "{free}");
    assert_eq!(row(&free, "Swap:"), ["Swap:", "0B", "0B", "0B"], "{free}");
    let cache = number(row(&container.with("free -k -w"), "Mem:")[6]);
    let file = kib(&["total_cache"], &["file"]);
    let slab = if container.v2() {
        kib(&[], &["slab_reclaimable"])
    } else {
        0.0
    };
    near("cache", cache, file + slab, slack);
    assert_eq!(row(&container.with("free -k -w"), "Mem:")[5], "0");
}

/// A container above its limit swaps: si and so, swaps, free and the cgroup agree.
#[test]
fn swapping_shows() {
    needs_containers!();
    if host("/proc/meminfo", "SwapTotal") < 200.0 * 1024.0 {
        return skipped("no swap here");
    }
    let container = Plan::new()
        .memory(64 * MIB)
        .swap(160 * MIB)
        .setup("mount -t tmpfs none /dev/shm")
        .start();
    if container.memory_swap().is_none() {
        return skipped("the kernel does not account swap");
    }
    // Write memory, then read it again: pages go out and in. The cgroup's file shows the rest in swap.
    let text = container.with_shell(&format!(
        "{ROWS}; begin
         head -c 100000000 /dev/zero >/dev/shm/big; cat /dev/shm/big >/dev/null
         end
         cat /dev/shm/rows; echo ====; cat /proc/meminfo; cat /proc/swaps; swapon --show=SIZE,USED --bytes --noheadings; free -k
         grep -E '^pswp' /proc/vmstat",
    ));
    let parts: Vec<_> = text.split("====\n").collect();
    let (mut si, mut so) = (0.0, 0.0);
    for line in parts[0].lines().skip(3) {
        let columns: Vec<_> = line.split_whitespace().collect();
        si += number(columns[6]);
        so += number(columns[7]);
    }
    // 100 MB of memory with a limit of 64 MiB: at least the difference went out, and as much came in again.
    assert!(so > 30_000.0 && so < 600_000.0, "so {so}: {text}");
    assert!(si > 10_000.0 && si < 600_000.0, "si {si}: {text}");
    let used = container.memory_swap().expect("swap") as f64 / 1024.0;
    let total = field(parts[1], "SwapTotal");
    let shown = total - field(parts[1], "SwapFree");
    assert_eq!(total, 160.0 * 1024.0);
    near("SwapTotal - SwapFree", shown, used, 4096.0);
    let swaps: Vec<_> = parts[1]
        .lines()
        .find(|line| line.starts_with("/dev/"))
        .expect("a swap area")
        .split_whitespace()
        .collect();
    assert_eq!(number(swaps[2]), total, "{text}");
    near("/proc/swaps", number(swaps[3]), shown, 2048.0);
    let free = row(parts[1], "Swap:");
    assert_eq!(number(free[1]), total, "{text}");
    near("free", number(free[2]), shown, 2048.0);
    assert!(field(parts[1], "pswpin") * 4.0 > 10_000.0, "{text}");
}

/// A trigger at `/proc/pressure/memory` waits for the container's own pressure.
#[test]
fn pressure_triggers_are_the_containers() {
    needs_containers!();
    if fs::read_to_string("/proc/pressure/memory").is_err() {
        return skipped("the kernel counts no pressure here");
    }
    let container = Plan::new().memory(64 * MIB).swap(400 * MIB).start();
    let own = container.directory("memory").join("memory.pressure");
    if !own.exists() {
        return skipped("the container's cgroup has no pressure files");
    }
    let script = "
import os, select, subprocess, sys
fd = os.open('/proc/pressure/memory', os.O_RDWR | os.O_NONBLOCK)
print(os.readlink(f'/proc/self/fd/{fd}'))
os.write(fd, b'some 20000 1000000\\0')
print(os.pread(fd, 4, 0).decode())
poll = select.poll()
poll.register(fd, select.POLLPRI)
print(poll.poll(0))
child = subprocess.Popen(['sh', '-c', 'while :; do head -c 150000000 /dev/zero | tail -c 150000000 >/dev/null; done'])
events = poll.poll(120000)
child.kill()
print(events == [(fd, select.POLLPRI)], events)";
    let Some(python) = Path::new("/usr/bin/python3").canonicalize().ok() else {
        return skipped("no python3 here");
    };
    let words = [python.to_str().expect("a plain path"), "-c", script];
    let text = container.program(&words).preloaded().output().text();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].ends_with("memory.pressure"), "{text}");
    assert!(!lines[0].starts_with("/proc"), "{text}");
    assert_eq!(lines[1], "some", "{text}");
    assert_eq!(lines[2], "[]", "{text}");
    assert!(lines[3].starts_with("True"), "{text}");
    // If the cgroup's file cannot be written, the program keeps the kernel's own file, and it works.
    let sealed = Plan::usual()
        .setup("mount -o remount,bind,ro /sys/fs/cgroup")
        .start();
    let text = sealed.program(&[
        words[0],
        "-c",
        "import os; fd = os.open('/proc/pressure/memory', os.O_RDWR); print(os.readlink(f'/proc/self/fd/{fd}')); os.write(fd, b'some 20000 1000000\\0')",
    ]);
    let text = text.preloaded().output().text();
    assert_eq!(text.trim(), "/proc/pressure/memory");
}

/// A read of pressure returns the cgroup's.
#[test]
fn pressure_is_the_containers() {
    needs_containers!();
    let container = Plan::usual().start();
    let own = container.directory("memory").join("cpu.pressure");
    let Ok(before) = fs::read_to_string(&own) else {
        return skipped("the container's cgroup has no pressure files");
    };
    let text = container.with("cat /proc/pressure/cpu");
    let total = |text: &str| {
        let total = text.split("total=").nth(1).expect("total");
        number(total.split_whitespace().next().expect("a number"))
    };
    let after = total(&fs::read_to_string(&own).expect("pressure"));
    assert!(
        total(&text) >= total(&before) && total(&text) <= after,
        "{text}"
    );
    let machine = total(&fs::read_to_string("/proc/pressure/cpu").expect("pressure"));
    assert!(total(&text) < machine, "{text}");
}

/// Programs for NUMA show the same memory and CPUs as all others.
#[test]
fn nodes_are_no_contradiction() {
    needs_containers!();
    if !installed(&["numactl", "lstopo-no-graphics"]) {
        return;
    }
    let container = Plan::usual().start();
    let cpus = container.cpus as usize;
    let text = container.with("numactl -H");
    let sizes: f64 = text
        .lines()
        .filter(|line| line.contains(" size: "))
        .map(|line| number(line.split_whitespace().nth(3).expect("a size")))
        .sum();
    near("the nodes' memory", sizes, 512.0, 2.0);
    let listed: usize = text
        .lines()
        .filter(|line| line.contains(" cpus:"))
        .map(|line| line.split_whitespace().skip(3).count())
        .sum();
    assert_eq!(listed, cpus, "{text}");
    let text = container.with("lstopo-no-graphics --no-io --of console");
    assert_eq!(text.matches("PU L#").count(), cpus, "{text}");
    assert!(text.contains("512MB"), "{text}");
    assert!(!container.without("numactl -H").contains(" 512 MB"));
}

/// Runs the tests on cgroup v2, with I/O counters, swap and pressure, which this machine may lack.
#[test]
#[ignore = "boots the VM: scripts/test v2 runs it"]
fn in_the_vm() {
    let machine = ["--swap", "512M", "--cpus", "2", "--timeout", "1800"];
    let (status, printed) =
        support::this_program_in_the_vm(&machine, &["alone", "swapping", "pressure"]);
    for line in printed.lines().filter(|line| line.starts_with("skipped: ")) {
        println!("in the VM, {line}");
    }
    assert!(status.success(), "{printed}");
    assert!(printed.contains("5 passed; 0 failed"), "{printed}");
}

/// The lines of vmstat agree with those of meminfo under other names and in other units (NUMBERS section 7).
#[test]
fn vmstat_agrees_with_meminfo() {
    needs_containers!();
    const SAME: [(&str, &str, f64); 25] = [
        ("nr_free_pages", "MemFree:", 4.0),
        ("nr_mlock", "Mlocked:", 4.0),
        ("nr_anon_pages", "AnonPages:", 4.0),
        ("nr_mapped", "Mapped:", 4.0),
        ("nr_shmem", "Shmem:", 4.0),
        ("nr_dirty", "Dirty:", 4.0),
        ("nr_writeback", "Writeback:", 4.0),
        ("nr_inactive_anon", "Inactive(anon):", 4.0),
        ("nr_active_anon", "Active(anon):", 4.0),
        ("nr_inactive_file", "Inactive(file):", 4.0),
        ("nr_active_file", "Active(file):", 4.0),
        ("nr_unevictable", "Unevictable:", 4.0),
        ("nr_zone_inactive_anon", "Inactive(anon):", 4.0),
        ("nr_zone_active_anon", "Active(anon):", 4.0),
        ("nr_zone_inactive_file", "Inactive(file):", 4.0),
        ("nr_zone_active_file", "Active(file):", 4.0),
        ("nr_zone_unevictable", "Unevictable:", 4.0),
        ("nr_slab_reclaimable", "SReclaimable:", 4.0),
        ("nr_slab_unreclaimable", "SUnreclaim:", 4.0),
        ("nr_page_table_pages", "PageTables:", 4.0),
        ("nr_kernel_stack", "KernelStack:", 1.0),
        ("nr_anon_transparent_hugepages", "AnonHugePages:", 2048.0),
        ("nr_shmem_hugepages", "ShmemHugePages:", 2048.0),
        ("nr_file_hugepages", "FileHugePages:", 2048.0),
        ("nr_swapcached", "SwapCached:", 4.0),
    ];
    let container = Plan::usual().start();
    // Use mapped, locked, written and shared memory.
    let script = "import mmap, ctypes, time\n\
        a = mmap.mmap(-1, 40 << 20); a.write(b'x' * (40 << 20))\n\
        s = open('/dev/shm/s', 'wb'); s.write(b'x' * (20 << 20)); s.flush()\n\
        l = ctypes.create_string_buffer(8 << 20); ctypes.CDLL(None).mlock(l, 8 << 20)\n\
        time.sleep(0.5)\n\
        for name in 'meminfo', 'vmstat': print(open('/proc/' + name).read())";
    let text = container
        .program(&["python3", "-c", script])
        .preloaded()
        .output()
        .text();
    for (line, of_meminfo, unit) in SAME {
        // The two reads are at different moments.
        let (ours, theirs) = (field(&text, line) * unit, field(&text, of_meminfo));
        assert!(
            (ours - theirs).abs() < 2048.0,
            "{line} {ours} kB, {of_meminfo} {theirs} kB"
        );
    }
    let (file, cached) = (field(&text, "nr_file_pages") * 4.0, field(&text, "Cached:"));
    assert!(
        (file - cached - field(&text, "SwapCached:")).abs() < 2048.0,
        "{text}"
    );
}

/// v1 counts no pressure: the host's totals since its boot would contradict the container's uptime.
#[test]
fn pressure_fits_the_uptime() {
    needs_containers!();
    if fs::read_to_string("/proc/pressure/cpu").is_err() {
        return skipped("the kernel counts no pressure here");
    }
    let container = Plan::usual().start();
    for resource in ["cpu", "memory", "io"] {
        let text = container.with(&format!("cat /proc/uptime /proc/pressure/{resource}"));
        let uptime = number(text.split(' ').next().expect("uptime"));
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains("total="))
            .collect();
        assert!(!lines.is_empty(), "{text}");
        for line in lines {
            let total = number(line.split("total=").nth(1).expect("total"));
            assert!(total / 1e6 <= uptime, "{text}");
        }
    }
}
