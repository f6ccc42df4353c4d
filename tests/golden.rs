//! Whole answers against recorded kernels: each directory of `tests/golden` is what the kernel
//! said in a real container (`tests/golden/record`), and in `expected/` what a program must read
//! there (`tests/golden/expect`).

use std::ffi::{CStr, OsStr};
use std::fs;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use proclens::answer;
use proclens::files::{DeviceStat, NodeFile, VirtualFile};
use proclens::gather::{Kernel, Place};
use proclens::ledger::{Ledger, Sample};
use proclens::log::Failure;
use proclens::settings::Settings;
use proclens::snapshot::{Load, Quota, Tasks};
use proclens::sys::Errno;
use proclens::sys::memory::Arena;

/// What a program reads where the kernel's own text is the first argument.
type Answer<'a> = dyn FnMut(&[u8], Arena<'_>) -> Option<Vec<u8>> + 'a;

/// A kernel that says what is in a directory.
struct Recorded {
    directory: PathBuf,
    boot_us: u64,
    tasks: Tasks,
    load: Load,
}

impl Recorded {
    fn open(directory: &Path) -> Self {
        let case = fs::read_to_string(directory.join("case")).expect("a case");
        let numbers = |name: &str| -> Vec<u64> {
            let line = case
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
            directory: directory.to_owned(),
            boot_us: numbers("boot_us")[0],
            tasks: Tasks {
                running,
                blocked,
                total,
            },
            load: Load(numbers("load").try_into().expect("three averages")),
        }
    }

    fn at(&self, path: &CStr) -> PathBuf {
        let relative = path.to_bytes().iter().position(|&b| b != b'/').unwrap_or(0);
        self.directory
            .join(OsStr::from_bytes(&path.to_bytes()[relative..]))
    }
}

impl Kernel for Recorded {
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        let text = fs::read(self.at(path)).map_err(|e| Errno(e.raw_os_error().unwrap_or(0)))?;
        let piece = arena.piece(text.len())?;
        piece.copy_from_slice(&text);
        Ok(piece)
    }

    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        self.read(path, arena)
    }

    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        self.read(path, arena).map(<[u8]>::trim_ascii_end)
    }

    fn exists(&self, path: &CStr) -> bool {
        self.at(path).exists()
    }

    fn boot_us(&self) -> Result<u64, Errno> {
        Ok(self.boot_us)
    }

    fn tasks(&self, _: &Place, _: &mut Arena) -> Result<Tasks, Errno> {
        Ok(self.tasks)
    }

    fn account<'m, R>(
        &self,
        _: &Place,
        _: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Ledger, &mut Arena<'m>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut ledger = Box::new(Ledger::new());
        ledger.first(sample);
        with(&ledger, arena)
    }

    fn page_size(&self) -> NonZero<u64> {
        NonZero::new(4096).expect("not 0")
    }

    fn load(&self, _: &Place, _: &Sample, _: &Tasks, _: &Settings, _: &mut Arena) -> Load {
        self.load
    }
}

fn cases() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(golden).expect("tests/golden");
    let mut cases: Vec<_> = entries
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("expected").exists())
        .collect();
    cases.sort();
    assert!(cases.len() > 10, "tests/golden is not whole");
    cases
}

/// What a program reads in the files of the machine and of its first node, by path: the
/// container's text, or the kernel's own.
fn shown(kernel: &Recorded) -> Vec<(String, String)> {
    let settings = Settings::DEFAULT;
    let mut memory = vec![0; 8 << 20];
    let mut texts = Vec::new();
    let mut show = |path: String, answer: &mut Answer<'_>| {
        let Ok(host) = fs::read(kernel.directory.join(&path)) else {
            return;
        };
        let text = answer(&host, Arena::new(&mut memory)).unwrap_or(host);
        texts.push((path, String::from_utf8(text).expect("text")));
    };
    for &file in VirtualFile::ALL {
        let path = file
            .path()
            .to_str()
            .unwrap()
            .trim_start_matches('/')
            .to_owned();
        show(path, &mut |host, arena| {
            answer::file(kernel, file, host, &settings, arena)
                .ok()
                .map(<[u8]>::to_vec)
        });
    }
    for file in NodeFile::ALL {
        let name = str::from_utf8(file.last()).unwrap();
        show(
            format!("sys/devices/system/node/node0/{name}"),
            &mut |host, arena| {
                answer::node_file(kernel, file, 0, host, &settings, arena)
                    .ok()
                    .map(<[u8]>::to_vec)
            },
        );
    }
    for (device, host) in disks(kernel) {
        let text = answer::device_stat(
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

/// The disks' own files in sysfs, by device: the numbers of `/proc/diskstats` in columns of eight
/// (`block/genhd.c`, `part_stat_show`), so that they need not be recorded.
fn disks(kernel: &Recorded) -> Vec<((u64, u64), String)> {
    let text = fs::read_to_string(kernel.directory.join("proc/diskstats")).unwrap_or_default();
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
        for (path, shown) in shown(&kernel) {
            let Ok(expected) = fs::read_to_string(case.join("expected").join(&path)) else {
                wrong.push(format!("{}: nothing is expected of {path}", case.display()));
                continue;
            };
            if shown != expected {
                let lines = shown.lines().zip(expected.lines()).find(|(a, b)| a != b);
                let (a, b) = lines.unwrap_or(("another length", ""));
                wrong.push(format!(
                    "{}: {path}\n  shown:    {a:.120}\n  expected: {b:.120}",
                    case.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Calls say what the files say.
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
        if let Ok(figures) = answer::memory(&kernel, &settings, &mut Arena::new(&mut memory)) {
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
            assert_eq!(of_call, of_file, "{}", case.display());
        }
        if let Ok(count) = answer::cpu_count(&kernel, &settings, &mut Arena::new(&mut memory)) {
            let cpuinfo = text("proc/cpuinfo");
            let stanzas = cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count();
            assert_eq!(stanzas, count as usize, "{}", case.display());
        }
    }
}

/// A case to be changed.
fn copy_of(case: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("copy-of-{case}"));
    let _ = fs::remove_dir_all(&copy);
    let done = std::process::Command::new("cp")
        .arg("-r")
        .args([&golden.join(case), &copy])
        .status();
    assert!(done.expect("cp").success());
    copy
}

/// What is done on a device that lies on others is counted there, from its first byte on: nothing is
/// taken back when a second device is touched.
#[test]
fn a_lone_loop_device_counts_for_nothing() {
    let copy = copy_of("docker-v2");
    let disks = "   7       0 loop0 0 0 0 0 0\n 254       0 vda 0 0 0 0 0\n";
    fs::write(copy.join("proc/diskstats"), disks).expect("diskstats");
    let kernel = Recorded::open(&copy);
    let mut memory = vec![0; 8 << 20];
    let mut pgpgin = |text: &str| {
        fs::write(copy.join("sys/fs/cgroup/io.stat"), text).expect("io.stat");
        let file = VirtualFile::Vmstat;
        let host = fs::read(kernel.at(file.path())).expect("the host's");
        let arena = Arena::new(&mut memory);
        let text =
            answer::file(&kernel, file, &host, &Settings::DEFAULT, arena).expect("an answer");
        let text = String::from_utf8(text.to_vec()).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("pgpgin "));
        line.expect("a line").parse::<u64>().expect("a number")
    };
    let [on_loop, on_disk] = [
        "7:0 rbytes=1048576 wbytes=0 rios=1 wios=0\n",
        "254:0 rbytes=4096 wbytes=0\n",
    ];
    assert_eq!(pgpgin(on_loop), 0);
    assert_eq!(pgpgin(&[on_loop, on_disk].concat()), 4);
    assert_eq!(pgpgin(on_disk), 4);
    // As sysfs names them.
    for (device, name) in [("7:0", "loop0"), ("254:0", "vda")] {
        let link = copy.join("sys/dev/block").join(device);
        let _ = fs::remove_dir_all(&link);
        fs::create_dir_all(link.parent().expect("a directory")).expect("made");
        fs::write(link, format!("../../devices/x/block/{name}\n")).expect("a link");
    }
    assert_eq!(pgpgin(on_loop), 0);
    assert_eq!(pgpgin(on_disk), 4);
    let _ = fs::remove_dir_all(&copy);
}

/// A time namespace can move PID 1's start to before the boot, and the kernel then prints 2^64 ns less.
#[test]
fn a_start_before_the_boot_is_none() {
    let copy = copy_of("docker-v2");
    let stat = fs::read_to_string(copy.join("proc/1/stat")).expect("its stat");
    let mut fields: Vec<&str> = stat.split(' ').collect();
    // The name of this PID 1 has no spaces.
    fields[21] = "1844674307395";
    fs::write(copy.join("proc/1/stat"), fields.join(" ")).expect("another");
    let kernel = Recorded::open(&copy);
    let mut memory = vec![0; 8 << 20];
    let settings = Settings::DEFAULT;
    assert!(answer::start_ticks(&kernel, &settings, &mut Arena::new(&mut memory)).is_err());
    for file in [VirtualFile::Uptime, VirtualFile::Stat] {
        let host = fs::read(kernel.at(file.path())).expect("the host's");
        assert!(answer::file(&kernel, file, &host, &settings, Arena::new(&mut memory)).is_err());
    }
    let _ = fs::remove_dir_all(&copy);
}

/// A limit that is handed in makes a container of the host: the counters are the host's own, and all
/// files say the same, also where no cgroup can be seen.
#[test]
fn a_limit_handed_in_makes_a_container_of_the_host() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let copy = copy_of("host-v2");
    fs::write(copy.join("proc/self/mountinfo"), "").expect("no mounts");
    let settings = Settings {
        memory: Some(64 << 20),
        cpus: Some(Quota {
            quota_us: 100_000,
            period_us: 100_000,
        }),
        ..Settings::DEFAULT
    };
    let mut memory = vec![0; 8 << 20];
    for case in [golden.join("host-v1"), golden.join("host-v2"), copy.clone()] {
        let kernel = Recorded::open(&case);
        let mut shown = |file: VirtualFile| {
            let host = fs::read(kernel.at(file.path())).expect("the host's");
            let arena = Arena::new(&mut memory);
            let text = answer::file(&kernel, file, &host, &settings, arena)
                .unwrap_or_else(|e| panic!("{}: {file:?}: {e:?}", case.display()));
            let text = String::from_utf8(text.to_vec()).expect("text");
            (text, String::from_utf8(host).expect("text"))
        };
        let (stat, host) = shown(VirtualFile::Stat);
        let rows = stat.lines().filter(|line| line.starts_with("cpu"));
        let busy = |text: &str| -> u64 {
            let row = text.lines().next().expect("a row").split_whitespace();
            let row: Vec<u64> = row.skip(1).map(|n| n.parse().expect("ticks")).collect();
            row[..3].iter().sum()
        };
        assert_eq!(rows.count(), 2, "{stat}");
        assert!(busy(&stat) >= busy(&host) / 2, "{stat}{host}");
        let (load, host) = shown(VirtualFile::Loadavg);
        let averages = |text: &str| text.rsplitn(3, ' ').last().map(str::to_owned);
        assert_eq!(averages(&load), averages(&host));
        shown(VirtualFile::Uptime);
        if case != copy {
            let (meminfo, _) = shown(VirtualFile::Meminfo);
            assert!(
                meminfo.starts_with("MemTotal:          65536 kB\n"),
                "{meminfo}"
            );
            let active = meminfo.lines().find(|line| line.starts_with("Active:"));
            assert!(!active.expect("a line").contains(" 0 kB"), "{meminfo}");
        }
    }
    let _ = fs::remove_dir_all(&copy);
}
