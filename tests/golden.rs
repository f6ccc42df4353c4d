//! Compares every virtual file with recorded cases. `tests/golden/CASE/kernel` holds the kernel's files inside a
//! real container (`tests/golden/record`). `tests/golden/CASE/expected` holds the content that a program must
//! read there (`tests/golden/expect`). `tests/golden/README.md` describes both files.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::num::NonZero;
use std::path::Path;

use proclens::cgroup::container::Container;
use proclens::cgroup::kernel::Kernel;
use proclens::cgroup::locate::ContainerCgroups;
use proclens::cpu_time::{Accounting, Sample};
use proclens::error::Failure;
use proclens::mem::Arena;
use proclens::procfs::content;
use proclens::procfs::files::{DeviceStat, MachineFile, NodeFile};
use proclens::settings::Settings;
use proclens::sys::Errno;
use proclens::values::{Load, Quota, Tasks};

/// Renders a file; the first argument is the kernel's own text.
type Answer<'a> = dyn FnMut(&[u8], Arena<'_>) -> Option<Vec<u8>> + 'a;

/// The files of one archive: path (without the leading slash) to text.
type Files = BTreeMap<String, String>;

/// Reads `tests/golden/CASE/NAME`. A line `== PATH` starts the file PATH.
fn archive(case: &str, name: &str) -> Files {
    let file = golden().join(case).join(name);
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut files = Files::new();
    let mut current = None;
    for line in text.split_inclusive('\n') {
        if let Some(path) = line.strip_prefix("== ") {
            current = Some(files.entry(path.trim_end().to_owned()).or_default());
        } else {
            let file = current.as_mut().expect("the first line starts a file");
            file.push_str(line);
        }
    }
    files
}

fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

/// A kernel whose files are those of the archive of one case.
struct Recorded {
    case: String,
    files: Files,
    boot_us: u64,
    tasks: Tasks,
    load: Load,
}

impl Recorded {
    fn open(case: &str) -> Self {
        let files = archive(case, "kernel");
        let numbers = |name: &str| -> Vec<u64> {
            let line = files["system-calls"]
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect(name);
            line.split_whitespace()
                .map(|n| n.parse().expect("a number"))
                .collect()
        };
        let [running, blocked, total] = numbers("tasks")[..] else {
            panic!("three kinds of tasks")
        };
        Recorded {
            case: case.to_owned(),
            boot_us: numbers("boot_us")[0],
            tasks: Tasks {
                running,
                blocked,
                total,
            },
            load: Load(numbers("load").try_into().expect("three averages")),
            files,
        }
    }

    /// The kernel's own text of a file.
    fn host(&self, path: &CStr) -> &[u8] {
        self.files[key(path)].as_bytes()
    }
}

/// A path as in the archives: without a leading slash and without double slashes.
fn key(path: &CStr) -> &str {
    let path = path.to_str().expect("text");
    path.trim_start_matches('/')
}

impl Kernel for Recorded {
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        let text = self.files.get(key(path)).ok_or(Errno(libc::ENOENT))?;
        let piece = arena.alloc(text.len())?;
        piece.copy_from_slice(text.as_bytes());
        Ok(piece)
    }

    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        self.read(path, arena)
    }

    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        self.read(path, arena).map(<[u8]>::trim_ascii_end)
    }

    fn exists(&self, path: &CStr) -> bool {
        self.files.contains_key(key(path))
    }

    fn boot_us(&self) -> Result<u64, Errno> {
        Ok(self.boot_us)
    }

    fn page_size(&self) -> NonZero<u64> {
        NonZero::new(4096).expect("not 0")
    }
}

impl Container for Recorded {
    fn tasks(
        &self,
        _: &ContainerCgroups,
        _: Option<&Sample>,
        _: &Settings,
        _: &mut Arena,
    ) -> Result<Tasks, Errno> {
        Ok(self.tasks)
    }

    fn account<'m, R>(
        &self,
        _: &ContainerCgroups,
        _: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Accounting, &mut Arena<'m>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut accounting = Box::new(Accounting::new());
        accounting.first(sample);
        with(&accounting, arena)
    }

    fn load(&self, _: &ContainerCgroups, _: &Sample, _: &Settings, _: &mut Arena) -> Load {
        self.load
    }
}

fn cases() -> Vec<String> {
    let entries = fs::read_dir(golden()).expect("tests/golden");
    let mut cases: Vec<_> = entries
        .map(|e| e.expect("an entry"))
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().into_string().expect("text"))
        .collect();
    cases.sort();
    assert!(cases.len() > 10, "tests/golden is not whole");
    cases
}

/// The text that a program reads in each file of the machine and of its first node, by path: the
/// container's, or the kernel's own.
fn shown(kernel: &Recorded) -> Vec<(String, String)> {
    let settings = Settings::DEFAULT;
    let mut memory = vec![0; 8 << 20];
    let mut texts = Vec::new();
    let mut show = |path: String, answer: &mut Answer<'_>| {
        let Some(host) = kernel.files.get(&path).map(String::as_bytes) else {
            return;
        };
        let text = answer(host, Arena::new(&mut memory)).unwrap_or_else(|| host.to_vec());
        texts.push((path, String::from_utf8(text).expect("text")));
    };
    for &file in MachineFile::ALL {
        let path = file
            .path()
            .to_str()
            .unwrap()
            .trim_start_matches('/')
            .to_owned();
        show(path, &mut |host, arena| {
            content::file(kernel, file, host, &settings, arena)
                .ok()
                .map(<[u8]>::to_vec)
        });
    }
    for file in NodeFile::ALL {
        let name = str::from_utf8(file.last()).unwrap();
        show(
            format!("sys/devices/system/node/node0/{name}"),
            &mut |host, arena| {
                content::node_file(kernel, file, 0, host, &settings, arena)
                    .ok()
                    .map(<[u8]>::to_vec)
            },
        );
    }
    for (device, host) in disks(kernel) {
        let text = content::device_stat(
            kernel,
            DeviceStat { device },
            host.as_bytes(),
            Arena::new(&mut memory),
        )
        .map_or(host.clone().into_bytes(), <[u8]>::to_vec);
        let (major, minor) = device;
        texts.push((
            format!("sys/dev/block/{major}:{minor}/stat"),
            String::from_utf8(text).expect("text"),
        ));
    }
    texts
}

/// The disks' files in sysfs, by device. They are not recorded: they have the numbers of `/proc/diskstats` in
/// columns of eight (`block/genhd.c`, `part_stat_show`).
fn disks(kernel: &Recorded) -> Vec<((u64, u64), String)> {
    let text = kernel
        .files
        .get("proc/diskstats")
        .map_or("", String::as_str);
    let disk = |line: &str| {
        let mut fields = line.split_whitespace();
        let device = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let name = fields.next()?;
        let counts: Vec<_> = fields.map(|count| format!("{count:>8}")).collect();
        let idle = ["loop", "ram"].iter().any(|kind| name.starts_with(kind));
        (!idle).then(|| (device, counts.join(" ") + "\n"))
    };
    text.lines().filter_map(disk).collect()
}

#[test]
fn every_file_is_what_it_must_be() {
    let mut wrong = Vec::new();
    for case in cases() {
        let kernel = Recorded::open(&case);
        let expected = archive(&case, "expected");
        for (path, shown) in shown(&kernel) {
            let Some(expected) = expected.get(&path) else {
                wrong.push(format!("{case}: no expected text for {path}"));
                continue;
            };
            if shown != *expected {
                let lines = shown.lines().zip(expected.lines()).find(|(a, b)| a != b);
                let (a, b) = lines.unwrap_or(("another length", ""));
                wrong.push(format!(
                    "{case}: {path}\n  shown:    {a:.120}\n  expected: {b:.120}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Calls return the numbers of the files.
#[test]
fn calls_agree_with_the_files() {
    for case in cases() {
        let kernel = Recorded::open(&case);
        let (mut memory, settings) = (vec![0; 8 << 20], Settings::DEFAULT);
        let texts = shown(&kernel);
        let text = |path: &str| -> &str { &texts.iter().find(|(p, _)| p == path).expect(path).1 };
        let meminfo = text("proc/meminfo");
        let kib = |name: &str| -> u64 {
            let line = meminfo
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect(name);
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        if let Ok(figures) = content::memory(&kernel, &settings, &mut Arena::new(&mut memory)) {
            let of_file = [
                kib("MemTotal:"),
                kib("MemFree:"),
                kib("SwapTotal:"),
                kib("SwapFree:"),
                kib("Shmem:"),
            ];
            let of_call = [
                figures.total,
                figures.free,
                figures.swap_total,
                figures.swap_free,
                figures.shared,
            ];
            assert_eq!(of_call, of_file, "{case}");
        }
        if let Ok(count) = content::cpu_count(&kernel, &settings, &mut Arena::new(&mut memory)) {
            let cpuinfo = text("proc/cpuinfo");
            let stanzas = cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count();
            assert_eq!(stanzas, count as usize, "{case}");
        }
    }
}

/// The I/O of a stacked device counts on the disk below it from the first byte on. No counter steps back when
/// the container uses a second device.
#[test]
fn the_io_of_a_loop_device_counts_on_its_disk() {
    let disks = "   7       0 loop0 0 0 0 0 0\n 254       0 vda 0 0 0 0 0\n";
    let mut kernel = Recorded::open("docker-v2");
    kernel.files.insert("proc/diskstats".into(), disks.into());
    let pgpgin = |kernel: &mut Recorded, text: &str| {
        let mut memory = vec![0; 8 << 20];
        kernel
            .files
            .insert("sys/fs/cgroup/io.stat".into(), text.into());
        let file = MachineFile::Vmstat;
        let host = kernel.host(file.path());
        let arena = Arena::new(&mut memory);
        let text = content::file(kernel, file, host, &Settings::DEFAULT, arena).expect("an answer");
        let text = String::from_utf8(text.to_vec()).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("pgpgin "));
        line.expect("a line").parse::<u64>().expect("a number")
    };
    let [on_loop, on_disk] = [
        "7:0 rbytes=1048576 wbytes=0 rios=1 wios=0\n",
        "254:0 rbytes=4096 wbytes=0\n",
    ];
    assert_eq!(pgpgin(&mut kernel, on_loop), 0);
    assert_eq!(pgpgin(&mut kernel, &[on_loop, on_disk].concat()), 4);
    assert_eq!(pgpgin(&mut kernel, on_disk), 4);
    // The names in sysfs.
    for (device, name) in [("7:0", "loop0"), ("254:0", "vda")] {
        let link = format!("../../devices/x/block/{name}\n");
        kernel.files.insert(format!("sys/dev/block/{device}"), link);
    }
    assert_eq!(pgpgin(&mut kernel, on_loop), 0);
    assert_eq!(pgpgin(&mut kernel, on_disk), 4);
}

/// A time namespace can move PID 1's start to before the boot, and the kernel then prints 2^64 ns less.
#[test]
fn a_start_before_the_boot_is_ignored() {
    let mut kernel = Recorded::open("docker-v2");
    let stat = kernel.files["proc/1/stat"].clone();
    let mut fields: Vec<&str> = stat.split(' ').collect();
    // The name of this PID 1 has no spaces.
    fields[21] = "1844674307395";
    kernel.files.insert("proc/1/stat".into(), fields.join(" "));
    let mut memory = vec![0; 8 << 20];
    let settings = Settings::DEFAULT;
    let task = kernel.host(c"/proc/1/stat");
    assert!(content::task_stat(&kernel, &settings, Arena::new(&mut memory), |_| Ok(task)).is_err());
    for file in [MachineFile::Uptime, MachineFile::Stat] {
        let host = kernel.host(file.path());
        assert!(content::file(&kernel, file, host, &settings, Arena::new(&mut memory)).is_err());
    }
}

/// A limit that the user sets makes a container of the host: the counters are the host's own, and all files
/// agree, also where no cgroup is visible.
#[test]
fn a_limit_of_the_user_makes_a_container_of_the_host() {
    let without_cgroups = {
        let mut kernel = Recorded::open("host-v2");
        kernel.case.push_str(" without mounts");
        kernel
            .files
            .insert("proc/self/mountinfo".into(), String::new());
        kernel
    };
    let settings = Settings {
        memory: Some(64 << 20),
        cpus: Some(Quota {
            quota_us: 100_000,
            period_us: 100_000,
        }),
        ..Settings::DEFAULT
    };
    let mut memory = vec![0; 8 << 20];
    for kernel in [
        Recorded::open("host-v1"),
        Recorded::open("host-v2"),
        without_cgroups,
    ] {
        let mut shown = |file: MachineFile| {
            let host = kernel.host(file.path());
            let arena = Arena::new(&mut memory);
            let text = content::file(&kernel, file, host, &settings, arena)
                .unwrap_or_else(|e| panic!("{}: {file:?}: {e:?}", kernel.case));
            let text = String::from_utf8(text.to_vec()).expect("text");
            (text, String::from_utf8(host.to_vec()).expect("text"))
        };
        let (stat, host) = shown(MachineFile::Stat);
        let rows = stat.lines().filter(|line| line.starts_with("cpu"));
        let busy = |text: &str| -> u64 {
            let row = text.lines().next().expect("a row").split_whitespace();
            let row: Vec<u64> = row.skip(1).map(|n| n.parse().expect("ticks")).collect();
            row[..3].iter().sum()
        };
        assert_eq!(rows.count(), 2, "{stat}");
        assert!(busy(&stat) >= busy(&host) / 2, "{stat}{host}");
        let (load, host) = shown(MachineFile::Loadavg);
        let averages = |text: &str| text.rsplitn(3, ' ').last().map(str::to_owned);
        assert_eq!(averages(&load), averages(&host));
        shown(MachineFile::Uptime);
        if !kernel.files["proc/self/mountinfo"].is_empty() {
            let (meminfo, _) = shown(MachineFile::Meminfo);
            assert!(
                meminfo.starts_with("MemTotal:          65536 kB\n"),
                "{meminfo}"
            );
            let active = meminfo.lines().find(|line| line.starts_with("Active:"));
            assert!(!active.expect("a line").contains(" 0 kB"), "{meminfo}");
        }
    }
}
