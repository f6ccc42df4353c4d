//! The table of virtual files: the name of each file, the path of the kernel's own file, and whether
//! rendering needs its text. The hooks contain none of these names; the renderers contain none of these
//! paths.
#![forbid(unsafe_code)]

use crate::text::{Out, cut, decimal, leading_decimal};
use core::ffi::CStr;

/// The file systems of the kernel's own files, linux/magic.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// `PROC_SUPER_MAGIC`.
    Proc = 0x9fa0,
    /// `SYSFS_MAGIC`.
    Sys = 0x6265_6572,
}

macro_rules! virtual_files {
    ($($(#[$doc:meta])* $file:ident $path:literal $name:literal $system:ident $host:literal;)*) => {
        /// A file of the machine that has a container version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum MachineFile { $($(#[$doc])* $file),* }

        impl MachineFile {
            /// All of these files.
            pub const ALL: &[MachineFile] = &[$(MachineFile::$file),*];

            /// The path of the kernel's own file.
            pub const fn path(self) -> &'static CStr {
                match self { $(MachineFile::$file => $path),* }
            }

            /// The name of its memory file. The library recognises a descriptor by this name, in this
            /// process and in any other process that receives the descriptor: `/proc/self/fd/N` shows
            /// it.
            pub const fn memory_name(self) -> &'static CStr {
                match self { $(MachineFile::$file => $name),* }
            }

            /// The file system of the kernel's own file.
            pub const fn file_system(self) -> FileSystem {
                match self { $(MachineFile::$file => FileSystem::$system),* }
            }

            /// True if rendering needs the kernel's own text.
            pub const fn needs_host(self) -> bool {
                match self { $(MachineFile::$file => $host),* }
            }
        }
    };
}

virtual_files! {
    /// Memory and swap.
    Meminfo c"/proc/meminfo" c"proclens:meminfo" Proc true;
    /// One stanza per CPU.
    Cpuinfo c"/proc/cpuinfo" c"proclens:cpuinfo" Proc true;
    /// CPU time, boot time, running tasks.
    Stat c"/proc/stat" c"proclens:stat" Proc true;
    /// Load averages and task counts.
    Loadavg c"/proc/loadavg" c"proclens:loadavg" Proc true;
    /// Age and idle time.
    Uptime c"/proc/uptime" c"proclens:uptime" Proc false;
    /// CPUs that are online.
    CpuOnline c"/sys/devices/system/cpu/online" c"proclens:cpu-online" Sys false;
    /// CPUs that are plugged in.
    CpuPresent c"/sys/devices/system/cpu/present" c"proclens:cpu-present" Sys false;
    /// Possible CPUs that are not online.
    CpuOffline c"/sys/devices/system/cpu/offline" c"proclens:cpu-offline" Sys false;
    /// Memory and block I/O events.
    Vmstat c"/proc/vmstat" c"proclens:vmstat" Proc true;
    /// Block I/O by device.
    Diskstats c"/proc/diskstats" c"proclens:diskstats" Proc true;
    /// Swap areas.
    Swaps c"/proc/swaps" c"proclens:swaps" Proc true;
    /// Time lost waiting for CPUs.
    CpuPressure c"/proc/pressure/cpu" c"proclens:cpu-pressure" Proc false;
    /// Time lost waiting for memory.
    MemoryPressure c"/proc/pressure/memory" c"proclens:memory-pressure" Proc false;
    /// Time lost waiting for disks.
    IoPressure c"/proc/pressure/io" c"proclens:io-pressure" Proc false;
}

impl MachineFile {
    /// The cgroup's file of the same pressure; `None` for other files.
    pub const fn pressure(self) -> Option<&'static [u8]> {
        match self {
            MachineFile::CpuPressure => Some(b"cpu.pressure"),
            MachineFile::MemoryPressure => Some(b"memory.pressure"),
            MachineFile::IoPressure => Some(b"io.pressure"),
            _ => None,
        }
    }

    /// True if the kernel prints the file in one piece at any size (`single_open`). One read is then
    /// enough. A second read to look for the end would make the kernel print the file again.
    pub const fn in_one_piece(self) -> bool {
        matches!(
            self,
            MachineFile::Meminfo | MachineFile::Stat | MachineFile::Loadavg
        )
    }

    /// The last component of the path; [`last_component`] at compile time.
    pub const fn last(self) -> &'static [u8] {
        let path = self.path().to_bytes();
        let mut head = path;
        while let [rest @ .., byte] = head {
            if *byte == b'/' {
                break;
            }
            head = rest;
        }
        match path.split_at_checked(head.len()) {
            Some((_, last)) => last,
            None => path,
        }
    }
}

/// The part after the last slash, or the whole path if it has no slash.
pub fn last_component(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path)
        .and_then(|slash| path.get(slash.wrapping_add(1)..))
        .unwrap_or(path)
}

/// The first, cheap check of a path that a program opens: could it be a virtual file? The last letter
/// rules out two thirds of the paths that a process opens. The length and first letter of the last
/// component rule out almost all others. True proves nothing yet: the kernel reports which file the
/// descriptor is.
#[inline]
pub fn could_be(path: &[u8]) -> bool {
    path.last().is_some_and(|b| LAST_LETTERS & letter(*b) != 0) && {
        let last = last_component(path);
        let first = last.first().map_or(0, |b| letter(*b));
        FIRST_LETTERS & first != 0 && LENGTHS & length(last.len()) != 0 && is_named(last)
    }
}

#[cold]
#[inline(never)]
fn is_named(last: &[u8]) -> bool {
    KEYS.contains(&key(last)) && (named(last).next().is_some() || NodeFile::is_named(last))
}

/// Length, first letter and last letter of a name. They are compared before the name itself.
const fn key(name: &[u8]) -> u32 {
    match name {
        [first, .., last] => ((name.len() as u32) << 16) | ((*first as u32) << 8) | *last as u32,
        _ => 0,
    }
}

const KEYS: [u32; MachineFile::ALL.len() + NodeFile::ALL.len()] = {
    let mut keys = [0; MachineFile::ALL.len() + NodeFile::ALL.len()];
    let mut i = 0;
    while i < keys.len() {
        keys[i] = key(if i < NodeFile::ALL.len() {
            NodeFile::ALL[i].last()
        } else {
            MachineFile::ALL[i - NodeFile::ALL.len()].last()
        });
        i += 1;
    }
    keys
};

/// The machine's files whose last component is `last`.
pub fn named(last: &[u8]) -> impl Iterator<Item = MachineFile> {
    MachineFile::ALL
        .iter()
        .copied()
        .filter(move |file| file.last() == last)
}

const fn letter(b: u8) -> u32 {
    1 << (b & 31)
}

const fn length(n: usize) -> u32 {
    if n < 32 { 1 << n } else { 0 }
}

/// The first letters, last letters and lengths of the names of virtual files, as bitmaps.
const FIRST_LETTERS: u32 = all(0);
const LAST_LETTERS: u32 = all(1);
const LENGTHS: u32 = all(2);

const fn all(which: usize) -> u32 {
    let mut all = 0;
    let mut i = 0;
    while i < KEYS.len() {
        let key = KEYS[i];
        all |= [
            letter((key >> 8) as u8),
            letter(key as u8),
            length((key >> 16) as usize),
        ][which];
        i += 1;
    }
    all
}

/// A file of one task. It is not a file of the machine, but it contains a start time, which counts from
/// the machine's boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStat {
    /// `/proc/PID/stat`.
    Process,
    /// `/proc/PID/task/TID/stat`.
    Thread,
}

impl TaskStat {
    /// As [`MachineFile::memory_name`].
    pub const fn memory_name(self) -> &'static CStr {
        match self {
            TaskStat::Process => c"proclens:process-stat",
            TaskStat::Thread => c"proclens:thread-stat",
        }
    }

    /// The task file that `path` names, if the path is absolute. `ps` and `top` read thousands of files
    /// by such paths.
    pub fn of_path(path: &[u8]) -> Option<TaskStat> {
        let number = |path| leading_decimal(path).map(|(_, rest)| rest);
        let rest = number(path.strip_prefix(b"/proc/")?)?;
        match rest.strip_prefix(b"/task/") {
            None => (rest == b"/stat").then_some(TaskStat::Process),
            Some(rest) => (number(rest)? == b"/stat").then_some(TaskStat::Thread),
        }
    }

    /// The last component of both paths.
    pub const LAST: &'static [u8] = b"stat";
}

/// A file of one NUMA node, below `/sys/devices/system/node/nodeN/`. It repeats values that `/proc`
/// shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFile {
    /// `meminfo`.
    Meminfo,
    /// `cpumap`.
    Cpumap,
    /// `cpulist`.
    Cpulist,
}

impl NodeFile {
    /// All of these files.
    pub const ALL: [NodeFile; 3] = [NodeFile::Meminfo, NodeFile::Cpumap, NodeFile::Cpulist];
    /// The path of the node directories, up to the number.
    pub const NODES: &'static [u8] = b"/sys/devices/system/node/node";

    /// The last component of the path.
    pub const fn last(self) -> &'static [u8] {
        match self {
            NodeFile::Meminfo => b"meminfo",
            NodeFile::Cpumap => b"cpumap",
            NodeFile::Cpulist => b"cpulist",
        }
    }

    /// True if one of these files has this last component.
    pub fn is_named(last: &[u8]) -> bool {
        Self::ALL.iter().any(|file| file.last() == last)
    }

    /// As [`MachineFile::memory_name`]; the node's number follows.
    pub const fn memory_name(self) -> &'static CStr {
        match self {
            NodeFile::Meminfo => c"proclens:node-meminfo:",
            NodeFile::Cpumap => c"proclens:node-cpumap:",
            NodeFile::Cpulist => c"proclens:node-cpulist:",
        }
    }

    /// Finds the node file and the node number for `path`, as the kernel reports it.
    pub fn of_path(path: &[u8]) -> Option<(NodeFile, u64)> {
        let (node, rest) = leading_decimal(path.strip_prefix(Self::NODES)?)?;
        let name = rest.strip_prefix(b"/")?;
        Self::ALL
            .into_iter()
            .find(|file| file.last() == name)
            .map(|file| (file, node))
    }
}

/// The `stat` of a block device in sysfs: its line of `/proc/diskstats` without the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceStat {
    /// Major and minor number of the device.
    pub device: (u64, u64),
}

impl DeviceStat {
    /// As [`MachineFile::memory_name`]; the device's numbers follow.
    pub const MEMORY_NAME: &'static CStr = c"proclens:device-stat:";
    /// The last component of the path.
    pub const LAST: &'static [u8] = b"stat";

    /// The path of the file. It does not depend on the name of the device.
    pub fn path(self, buffer: &mut [u8; 64]) -> Option<&CStr> {
        self.below(b"/stat\0", buffer)
    }

    /// The path of a link whose target ends with the name of the device.
    pub fn link(self, buffer: &mut [u8; 64]) -> Option<&CStr> {
        self.below(b"\0", buffer)
    }

    fn below<'r>(self, end: &[u8], buffer: &'r mut [u8; 64]) -> Option<&'r CStr> {
        let mut path = Out::new(buffer);
        path.bytes(b"/sys/dev/block/");
        self.number(&mut path);
        path.bytes(end);
        CStr::from_bytes_until_nul(path.finish()?).ok()
    }

    /// Parses `major:minor`, the content of the `dev` file in the same directory.
    pub fn of_number(number: &[u8]) -> Option<DeviceStat> {
        let (major, minor) = cut(number, b':')?;
        let device = (decimal(major)?, decimal(minor)?);
        Some(DeviceStat { device })
    }

    fn number(self, out: &mut Out<'_>) {
        let (major, minor) = self.device;
        out.decimal(major);
        out.byte(b':');
        out.decimal(minor);
    }
}

/// The virtual file behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualFile {
    /// A file of the machine.
    Machine(MachineFile),
    /// A file of a task.
    Task(TaskStat),
    /// A file of the node of this number.
    Node(NodeFile, u64),
    /// The counters of a block device.
    Device(DeviceStat),
}

impl VirtualFile {
    /// The name of its memory file.
    pub fn memory_name(self, buffer: &mut [u8; 48]) -> Option<&CStr> {
        let mut name = Out::new(buffer);
        name.bytes(self.kind().to_bytes());
        match self {
            VirtualFile::Node(_, node) => name.decimal(node),
            VirtualFile::Device(file) => file.number(&mut name),
            VirtualFile::Machine(_) | VirtualFile::Task(_) => {}
        }
        name.byte(0);
        CStr::from_bytes_until_nul(name.finish()?).ok()
    }

    const fn kind(self) -> &'static CStr {
        match self {
            VirtualFile::Machine(file) => file.memory_name(),
            VirtualFile::Task(file) => file.memory_name(),
            VirtualFile::Node(file, _) => file.memory_name(),
            VirtualFile::Device(_) => DeviceStat::MEMORY_NAME,
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static [u8] {
        let name = self.kind().to_bytes();
        let name = name.strip_prefix(b"proclens:").unwrap_or(name);
        name.strip_suffix(b":").unwrap_or(name)
    }

    /// The virtual file whose memory file is called `name`.
    pub fn from_memory_name(name: &[u8]) -> Option<VirtualFile> {
        let machine = MachineFile::ALL.iter().copied().map(VirtualFile::Machine);
        let task = [TaskStat::Process, TaskStat::Thread].map(VirtualFile::Task);
        machine
            .chain(task)
            .find(|file| file.kind().to_bytes() == name)
            .or_else(|| {
                NodeFile::ALL.into_iter().find_map(|file| {
                    let node = decimal(name.strip_prefix(file.memory_name().to_bytes())?)?;
                    Some(VirtualFile::Node(file, node))
                })
            })
            .or_else(|| {
                let number = name.strip_prefix(DeviceStat::MEMORY_NAME.to_bytes())?;
                DeviceStat::of_number(number).map(VirtualFile::Device)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Vec<MachineFile> {
        let path = path.as_bytes();
        let found: Vec<_> = named(last_component(path)).collect();
        assert!(could_be(path) || found.is_empty());
        found
    }

    #[test]
    fn every_spelling_of_the_last_component_is_looked_at() {
        for path in [
            "/proc/meminfo",
            "meminfo",
            "../meminfo",
            "//proc/./meminfo",
            "/x/meminfo",
        ] {
            assert_eq!(found(path), [MachineFile::Meminfo], "{path}");
        }
        assert_eq!(found("/proc/1/root/proc/stat"), [MachineFile::Stat]);
        assert_eq!(found("/proc/self/root/proc/stat"), [MachineFile::Stat]);
    }

    #[test]
    fn could_be_accepts_every_virtual_file() {
        for file in MachineFile::ALL {
            let path = file.path().to_bytes();
            assert!(could_be(path) && could_be(last_component(path)), "{file:?}");
        }
        for file in NodeFile::ALL {
            assert!(could_be(file.last()), "{file:?}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        for path in [
            "",
            "/",
            "/etc/passwd",
            "/proc/meminfo2",
            "xmeminfo",
            "o",
            "t",
        ] {
            assert_eq!(found(path), [], "{path}");
        }
    }

    fn leads_back(file: VirtualFile) {
        let mut buffer = [0; 48];
        let name = file.memory_name(&mut buffer).unwrap().to_bytes();
        assert_eq!(VirtualFile::from_memory_name(name), Some(file));
        assert!(name.starts_with(b"proclens:"));
    }

    #[test]
    fn names_lead_back() {
        leads_back(VirtualFile::Task(TaskStat::Process));
        leads_back(VirtualFile::Task(TaskStat::Thread));
        for file in NodeFile::ALL {
            leads_back(VirtualFile::Node(file, 12));
        }
        let device = (u64::from(u32::MAX), u64::from(u32::MAX));
        leads_back(VirtualFile::Device(DeviceStat { device }));
        for file in MachineFile::ALL {
            leads_back(VirtualFile::Machine(*file));
        }
    }

    #[test]
    fn files_of_tasks() {
        let of = |path: &str| TaskStat::of_path(path.as_bytes());
        assert_eq!(of("/proc/1/stat"), Some(TaskStat::Process));
        assert_eq!(of("/proc/12/task/3/stat"), Some(TaskStat::Thread));
        for path in [
            "/proc/stat",
            "/proc/1/statm",
            "/proc/1/root/proc/stat",
            "/proc/x/stat",
            "stat",
            "/proc/1/task/stat",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
