//! The state of the container at one moment: the values between the files of the cgroup and the
//! renderers. Plain numbers and borrowed text; nothing here reads, computes or prints.
//!
//! Units are in the names or in the comments of the fields: bytes, microseconds, tasks.
#![forbid(unsafe_code)]

/// A set of CPU numbers in the kernel's list format, `0-3,8`. It is stored as text, so that a set of
/// 8,192 CPUs needs no memory of its own. [`crate::cgroup::parse_cpus`] parses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuList<'m>(pub &'m [u8]);

/// A CFS bandwidth limit: `quota_us` of CPU time in each `period_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Microseconds of CPU time per period, 1 or more.
    pub quota_us: u64,
    /// Length of the period in microseconds, 1 or more.
    pub period_us: u64,
}

/// How a quota of 1.5 CPUs becomes a number of CPUs (`PROCLENS_CPU_ROUND`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// 1.5 is 2: as lxcfs and the JVM do.
    #[default]
    Up,
    /// 1.5 is 2, 1.4 is 1: as GNU nproc does.
    Nearest,
    /// 1.5 is 1: as Go's and libuv's readers do.
    Down,
}

/// The CPUs of the container (NUMBERS section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus<'m> {
    /// The number that every file and call reports, at least 1.
    pub count: u32,
    /// The CPUs that the cpuset allows; the host's online CPUs if there is no cpuset.
    pub list: CpuList<'m>,
    /// The tightest bandwidth limit over the hierarchy.
    pub quota: Option<Quota>,
    /// The affinity mask of the thread for which the CPUs are shown, in the kernel's layout; empty if the
    /// mask does not matter.
    pub own: &'m [u8],
}

/// The memory of the container in bytes (NUMBERS section 4). `u64::MAX` is "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The tightest memory limit over the hierarchy.
    pub limit: u64,
    /// The memory that is charged to the container, including page cache.
    pub usage: u64,
    /// The swap limit and the swap in use.
    pub swap: Swap,
    /// Counters of `memory.stat`.
    pub stat: MemoryStat,
    /// What the limits of ancestors leave.
    pub room: Room,
}

/// What the limits of the visible ancestors leave to the container, because others below these use memory too. Bytes;
/// `u64::MAX` is "no limit".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The memory that is not in use.
    pub free: u64,
    /// The same, with what the kernel would take back from page cache and slabs.
    pub available: u64,
    /// The swap that is not in use.
    pub swap: u64,
}

impl Default for Room {
    fn default() -> Self {
        Room {
            free: u64::MAX,
            available: u64::MAX,
            swap: u64::MAX,
        }
    }
}

impl MemoryStat {
    /// What the kernel takes back first when memory is short, bytes: page cache and slabs.
    pub fn reclaimable(&self) -> u64 {
        self.active_file
            .saturating_add(self.inactive_file)
            .saturating_add(self.slab_reclaimable)
    }
}

/// Swap of the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swap {
    /// The kernel does not account swap to this cgroup: the values of the host apply.
    #[default]
    Unaccounted,
    /// Swap is counted.
    Counted {
        /// The most memory that may be swapped out, in bytes; `u64::MAX` is "no limit".
        limit: u64,
        /// The memory that is swapped out now, in bytes.
        used: u64,
    },
}

/// One table row per counter: its name in v2's `memory.stat` (the field), its name in v1's, and the
/// lines of `/proc/meminfo` and `/proc/vmstat` (without `nr_`) with the same value. b"" means that
/// there is no such name or line. The renderers compute the lines that combine several counters.
macro_rules! memory_stat {
    ($($field:ident $v1:literal $meminfo:literal $vmstat:literal;)*) => {
        /// `memory.stat` in bytes, with the names of cgroup v2. Counters that the kernel does not
        /// report are 0.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs)] // the names are the kernel's own, Documentation/admin-guide/cgroup-v2.rst
        pub struct MemoryStat {
            $(pub $field: u64,)*
        }

        impl MemoryStat {
            const COUNT: usize = [$(stringify!($field)),*].len();
            const V2: [Name; Self::COUNT] = [$(Name::of(stringify!($field).as_bytes())),*];
            const V1: [Name; Self::COUNT] = [$(Name::of($v1)),*];
            const MEMINFO: [Name; Self::COUNT] = [$(Name::of($meminfo)),*];
            const VMSTAT: [Name; Self::COUNT] = [$(Name::of($vmstat)),*];

            fn counters(&mut self) -> [&mut u64; Self::COUNT] {
                [$(&mut self.$field),*]
            }

            fn bytes(&self) -> [u64; Self::COUNT] {
                [$(self.$field),*]
            }
        }
    };
}

memory_stat! {
    anon b"total_rss" b"AnonPages" b"anon_pages";
    file b"total_cache" b"Cached" b"";
    kernel_stack b"" b"KernelStack" b"kernel_stack";
    pagetables b"" b"PageTables" b"page_table_pages";
    sec_pagetables b"" b"SecPageTables" b"sec_page_table_pages";
    percpu b"" b"Percpu" b"";
    shmem b"total_shmem" b"Shmem" b"shmem";
    zswap b"" b"Zswap" b"";
    zswapped b"" b"Zswapped" b"";
    file_mapped b"total_mapped_file" b"Mapped" b"mapped";
    file_dirty b"total_dirty" b"Dirty" b"dirty";
    file_writeback b"total_writeback" b"Writeback" b"writeback";
    swapcached b"total_swapcached" b"SwapCached" b"swapcached";
    anon_thp b"total_rss_huge" b"AnonHugePages" b"anon_transparent_hugepages";
    file_thp b"" b"FileHugePages" b"file_hugepages";
    shmem_thp b"" b"ShmemHugePages" b"shmem_hugepages";
    inactive_anon b"total_inactive_anon" b"Inactive(anon)" b"inactive_anon";
    active_anon b"total_active_anon" b"Active(anon)" b"active_anon";
    inactive_file b"total_inactive_file" b"Inactive(file)" b"inactive_file";
    active_file b"total_active_file" b"Active(file)" b"active_file";
    unevictable b"total_unevictable" b"Unevictable" b"unevictable";
    slab_reclaimable b"" b"SReclaimable" b"slab_reclaimable";
    slab_unreclaimable b"" b"SUnreclaim" b"slab_unreclaimable";
    slab b"" b"Slab" b"";
}

/// A name in a table: its length and its bytes. It has no pointer, so that the dynamic linker has
/// nothing to relocate.
struct Name(u8, [u8; 27]);

impl Name {
    const fn of(text: &[u8]) -> Name {
        let mut name = Name(text.len() as u8, [0; 27]);
        let mut rest = text;
        let mut i = 0;
        while let [byte, more @ ..] = rest {
            name.1[i] = *byte;
            rest = more;
            i += 1;
        }
        name
    }

    /// The index of `key` in `table`.
    fn find(table: &[Name], key: &[u8]) -> Option<usize> {
        let same =
            |name: &Name| usize::from(name.0) == key.len() && name.1.get(..key.len()) == Some(key);
        table.iter().position(same).filter(|_| !key.is_empty())
    }
}

impl MemoryStat {
    /// Collects the counters from `pairs`, the lines of `memory.stat` of v1 or v2. `None` if no line is
    /// a known counter.
    pub fn of<'m>(pairs: impl Iterator<Item = (&'m [u8], u64)>, v2: bool) -> Option<MemoryStat> {
        let mut stat = MemoryStat::default();
        let mut counters = stat.counters();
        let names = if v2 {
            const { &Self::V2 }
        } else {
            const { &Self::V1 }
        };
        let mut found = false;
        for (key, bytes) in pairs {
            let counter = Name::find(names, key).and_then(|index| counters.get_mut(index));
            if let Some(counter) = counter {
                **counter = bytes;
                found = true;
            }
        }
        found.then_some(stat)
    }

    /// The value in bytes of the line `name` of `/proc/meminfo`.
    pub fn meminfo_line(&self, name: &[u8]) -> Option<u64> {
        let index = Name::find(const { &Self::MEMINFO }, name)?;
        self.bytes().get(index).copied()
    }

    /// The value in bytes of the line `nr_` + `name` of `/proc/vmstat`.
    pub fn vmstat_line(&self, name: &[u8]) -> Option<u64> {
        let index = Name::find(const { &Self::VMSTAT }, name)?;
        self.bytes().get(index).copied()
    }
}

impl MemoryStat {
    /// The sum of the counters. It stands for the charged memory if the kernel does not report that.
    pub fn charged(&self) -> u64 {
        [
            self.anon,
            self.file,
            self.kernel_stack,
            self.pagetables,
            self.sec_pagetables,
            self.percpu,
            self.slab,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// CPU time and throttled time of the container since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime<'m> {
    /// User time without nice, microseconds.
    pub user_us: u64,
    /// User time at a positive nice value, microseconds; 0 if the kernel does not report it.
    pub nice_us: u64,
    /// System time, microseconds.
    pub system_us: u64,
    /// The CPU time on each CPU of the host, if the kernel counts it.
    pub per_cpu: Option<PerCpu<'m>>,
    /// Throttled time, summed over the CPUs of the host, microseconds.
    pub throttled_us: u64,
    /// Periods in which the quota ran out.
    pub nr_throttled: u64,
    /// The cgroup that sets the quota, as a number: 1 is the container's own cgroup, 2 its parent. 0 if
    /// there is no quota, [`CpuTime::NOT_READ`] if it was not read; the two counters are then 0.
    pub throttled_at: u64,
    /// How long its tasks waited for a CPU; `None` if that was not read.
    pub pressure: Option<CpuPressure>,
}

/// Time in which the container's tasks waited for a CPU (`cpu.pressure`, `kernel/sched/psi.c`),
/// microseconds. The kernel measures it on each CPU and averages over the CPUs on which the container
/// had tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuPressure {
    /// At least one task waited; 0 if the kernel does not count it.
    pub some_us: u64,
    /// A task waited while no task of the container ran on that CPU: others had the CPU, or the quota
    /// had run out. `None` if the kernel does not count it (v1, Linux before 5.13).
    pub full_us: Option<u64>,
}

impl CpuTime<'_> {
    /// See [`CpuTime::throttled_at`].
    pub const NOT_READ: u64 = u64::MAX;

    /// All CPU time, microseconds.
    pub fn busy_us(&self) -> u64 {
        self.user_us
            .saturating_add(self.nice_us)
            .saturating_add(self.system_us)
    }
}

/// v1's counters of each CPU of the host as the kernel prints them, both sorted by CPU number.
/// `PerCpu::rows` parses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerCpu<'m> {
    /// `cpuacct.usage_all`: a heading, then lines of `cpu user system`, nanoseconds that the timer
    /// interrupt has sampled.
    pub sampled: &'m [u8],
    /// `cpuacct.usage_percpu`: one number for each CPU, nanoseconds that the scheduler has measured.
    pub measured: &'m [u8],
}

/// The container's clock (NUMBERS section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Microseconds since the container's PID 1 started.
    pub age_us: u64,
    /// When PID 1 started, in USER_HZ ticks of the host's boot clock (field 22 of its stat).
    pub start_ticks: u64,
}

impl Age {
    /// Microseconds since the host booted.
    pub fn up_us(&self) -> u64 {
        const TICK_US: u64 = 10_000;
        let start_us = self.start_ticks.saturating_mul(TICK_US);
        self.age_us.saturating_add(start_us)
    }
}

/// The container's tasks (threads).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// In state R.
    pub running: u64,
    /// In state D.
    pub blocked: u64,
    /// All tasks, at least as many as the reader sees in `/proc`.
    pub total: u64,
}

/// Fraction bits of the fixed point (`include/linux/sched/loadavg.h`).
pub const FSHIFT: u32 = 11;
/// A load of 1.00.
pub const FIXED_1: u64 = 1 << FSHIFT;

/// The three load averages in the kernel's fixed point (FSHIFT 11: 2048 is 1.00), over 1, 5
/// and 15 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load(pub [u64; 3]);

/// The container's block I/O per device. It is stored as the kernel's text, because a cgroup may have
/// used thousands of devices. [`crate::cgroup::parse_io`] parses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockIo<'m> {
    /// v2's `io.stat`.
    V2(&'m [u8]),
    /// v1's `blkio.throttle.*`.
    V1 {
        /// `io_service_bytes`.
        bytes: &'m [u8],
        /// `io_serviced`; empty if the caller did not request it.
        operations: &'m [u8],
        /// The counters seen before.
        seen: &'m [SeenDevice],
    },
}

/// The last counters of a device. v1's counters are a sum over the existing cgroups, so they fall when
/// a cgroup is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SeenDevice {
    /// Major and minor number.
    pub device: (u64, u64),
    /// The last values of the counters, in the order of [`DeviceIo`].
    pub last: [u64; 6],
    /// By how much the counters have fallen in total.
    pub fallen: [u64; 6],
}

/// The I/O on a block device: bytes and operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the description
pub struct DeviceIo {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub discarded_bytes: u64,
    pub reads: u64,
    pub writes: u64,
    pub discards: u64,
}

/// `memory.stat` as the kernel prints it, for the events that few callers need.
/// [`crate::cgroup::counters`] parses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryText<'m> {
    /// The text of v2.
    V2(&'m [u8]),
    /// The text of v1. The counters of the cgroup and of all cgroups below it start with `total_`.
    V1(&'m [u8]),
}

/// Pages that the container's tasks swapped in and out since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapTraffic {
    /// Pages read from swap.
    pub pages_in: u64,
    /// Pages written to swap.
    pub pages_out: u64,
}

/// CPU time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// In user mode, nice time not included.
    pub user_us: u64,
    /// In user mode at a positive nice value; 0 if the kernel does not report it.
    pub nice_us: u64,
    /// In the kernel.
    pub system_us: u64,
}
