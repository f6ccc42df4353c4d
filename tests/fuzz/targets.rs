//! The fuzz targets: functions that take any bytes. A panic, an overflow or an endless loop is a fault,
//! and so is a result that contradicts itself. `scripts/test fuzz` runs them under libFuzzer;
//! `tests/fuzz_corpus.rs` runs them over the committed corpora in every `cargo test`.

use std::ffi::CStr;
use std::num::NonZero;

use proclens::cgroup::container::Container;
use proclens::cgroup::kernel::Kernel;
use proclens::cgroup::locate::ContainerCgroups;
use proclens::cpu_time::{Accounting, Sample};
use proclens::error::Failure;
use proclens::mem::Arena;
use proclens::procfs::content;
use proclens::procfs::cpu_directory;
use proclens::procfs::files::{DeviceStat, MachineFile, NodeFile};
use proclens::settings::Settings;
use proclens::shared_state::record::{self, Identity};
use proclens::sys::Errno;
use proclens::values::{Load, Tasks};

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 4] = [
    ("kernel", kernel),
    ("settings", settings),
    ("state", state),
    ("elf", elf),
];

/// A kernel whose files are those of a text archive as in tests/golden, with any text in any file.
struct Archive<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Archive<'a> {
    fn new(mut text: &'a [u8]) -> Self {
        let mut files = Vec::new();
        while let Some(rest) = text.strip_prefix(b"== ") {
            let end = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            let (path, content) = rest.split_at(end);
            let content = content.strip_prefix(b"\n").unwrap_or(content);
            let next = content.windows(4).position(|w| w == b"\n== ");
            let (content, rest) = content.split_at(next.map_or(content.len(), |at| at + 1));
            files.push((path, content));
            text = rest;
        }
        Archive(files)
    }

    fn file(&self, path: &[u8]) -> Option<&'a [u8]> {
        let slashes = path.iter().take_while(|&&b| b == b'/').count();
        let path = &path[slashes..];
        let mut files = self.0.iter();
        files.find(|(name, _)| *name == path).map(|(_, text)| *text)
    }
}

impl Kernel for Archive<'_> {
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        let text = self.file(path.to_bytes()).ok_or(Errno(libc::ENOENT))?;
        let buffer = arena.alloc(text.len())?;
        buffer.copy_from_slice(text);
        Ok(buffer)
    }

    fn read_long<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        self.read(path, arena)
    }

    fn read_link<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> Result<&'m [u8], Errno> {
        self.read(path, arena).map(<[u8]>::trim_ascii_end)
    }

    fn exists(&self, path: &CStr) -> bool {
        self.file(path.to_bytes()).is_some()
    }

    fn boot_us(&self) -> Result<u64, Errno> {
        Ok(837_870_000)
    }

    fn page_size(&self) -> NonZero<u64> {
        NonZero::new(4096).expect("not 0")
    }
}

impl Container for Archive<'_> {
    fn tasks(
        &self,
        _: &ContainerCgroups,
        _: Option<&Sample>,
        _: &Settings,
        _: &mut Arena,
    ) -> Result<Tasks, Errno> {
        Ok(Tasks {
            running: 1,
            blocked: 0,
            total: 2,
        })
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
        Load([614, 307, 103])
    }
}

/// Kernel text: every virtual file and every call, with any text in the kernel's files.
fn kernel(data: &[u8]) {
    let kernel = Archive::new(data);
    let settings = Settings::DEFAULT;
    let mut memory = vec![0; 1 << 20];
    for &file in MachineFile::ALL {
        let host = kernel.file(file.path().to_bytes()).unwrap_or_default();
        let arena = Arena::new(&mut memory);
        let _ = content::file(&kernel, file, host, &settings, arena);
    }
    for file in NodeFile::ALL {
        let name = file.last();
        let path = [b"sys/devices/system/node/node0/", name].concat();
        let host = kernel.file(&path).unwrap_or_default();
        let arena = Arena::new(&mut memory);
        let _ = content::node_file(&kernel, file, 0, host, &settings, arena);
    }
    let arena = Arena::new(&mut memory);
    let device = DeviceStat { device: (254, 0) };
    let _ = content::device_stat(&kernel, device, b"0 0 0 0 0 0 0 0 0 0 0\n", arena);
    let _ = content::memory(&kernel, &settings, &mut Arena::new(&mut memory));
    let task = kernel.file(b"proc/1/stat").unwrap_or_default();
    let _ = content::task_stat(&kernel, &settings, Arena::new(&mut memory), |_| Ok(task));
    if let Ok(count) = content::cpu_count(&kernel, &settings, &mut Arena::new(&mut memory)) {
        assert!(count > 0);
    }
}

/// Settings: the first line is the environment, with NUL between its strings; the rest is the file.
fn settings(data: &[u8]) {
    let end = data.iter().position(|&b| b == b'\n').unwrap_or(data.len());
    let (environment, file) = data.split_at(end);
    let strings = || environment.split(|&b| b == 0);
    let mut ignored = 0;
    let settings = Settings::of(file, strings(), |_| ignored += 1);
    let again = Settings::of(file, strings(), |_| ());
    assert_eq!(settings, again);
    assert!(settings.memory != Some(0) || ignored == 0 || !file.is_empty() || end > 0);
    for path in strings() {
        settings.skips(path);
        let _ = cpu_directory::number(path);
        let _ = cpu_directory::components(path).count();
    }
}

/// The shared state: a file with any content.
fn state(data: &[u8]) {
    let identity = Identity::default();
    let _ = record::is_claimed(data, &identity, 1 << 40);
    let _ = record::is_own(data, &identity);
    let _ = record::sampled(data, &identity, 1 << 40);
    let (first, second) = data.split_at(data.len() / 2);
    record::is_cut_off([first, second]);
    let mut accounting = Box::new(Accounting::new());
    if let Some(stored) = record::newest_accounting([first, second], &identity) {
        accounting.read(stored.bytes);
    }
    accounting.read(data);
    let _ = accounting.total();
    let _ = Identity::boot_of(data);
}

/// The parts of a program file that the tool reads.
fn elf(data: &[u8]) {
    crate::elf::parse(data);
}
