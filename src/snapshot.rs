//! What was true of the container at one moment: the values between the cgroup's files and
//! the renderers. Plain numbers and borrowed text; nothing here reads, computes or prints.
//!
//! Units are in the names or said at the field: bytes, microseconds, tasks.
#![forbid(unsafe_code)]

/// A set of CPU numbers in the kernel's list format, `0-3,8`. Kept as text: a set of 8,192
/// CPUs needs no memory of its own. Parsed by [`crate::cgroup::cpus`].
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
    /// The number that every file and call agrees on, at least 1.
    pub count: u32,
    /// The CPUs that the cpuset allows; the host's online CPUs where there is none.
    pub list: CpuList<'m>,
    /// The tightest bandwidth limit over the hierarchy.
    pub quota: Option<Quota>,
}

/// The memory of the container in bytes (NUMBERS section 4). `u64::MAX` is "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The tightest memory limit over the hierarchy.
    pub limit: u64,
    /// What is charged to the container, page cache included.
    pub usage: u64,
    /// What the limits say of swap.
    pub swap: Swap,
    /// Counters of `memory.stat`.
    pub stat: MemoryStat,
}

/// Swap of the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swap {
    /// The kernel does not account swap to this cgroup: the host's figures hold.
    #[default]
    Unaccounted,
    /// Swap is counted.
    Counted {
        /// The most that may be swapped out, in bytes; `u64::MAX` is "no limit".
        limit: u64,
        /// What is swapped out now, in bytes.
        used: u64,
    },
}

/// `memory.stat` in bytes, in the names of cgroup v2. What the kernel does not report is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the kernel's own, Documentation/admin-guide/cgroup-v2.rst
pub struct MemoryStat {
    pub anon: u64,
    pub file: u64,
    pub kernel_stack: u64,
    pub pagetables: u64,
    pub sec_pagetables: u64,
    pub percpu: u64,
    pub shmem: u64,
    pub zswap: u64,
    pub zswapped: u64,
    pub file_mapped: u64,
    pub file_dirty: u64,
    pub file_writeback: u64,
    pub swapcached: u64,
    pub anon_thp: u64,
    pub file_thp: u64,
    pub shmem_thp: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
    pub slab_reclaimable: u64,
    pub slab_unreclaimable: u64,
    pub slab: u64,
}

impl MemoryStat {
    /// What all of it comes to, where nobody says what is charged.
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

/// CPU time of the container since its start, and what its quota withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime<'m> {
    /// User time without nice, microseconds.
    pub user_us: u64,
    /// User time at a positive nice value, microseconds; 0 where the kernel does not tell.
    pub nice_us: u64,
    /// System time, microseconds.
    pub system_us: u64,
    /// The same for each CPU of the host, where the kernel counts it.
    pub per_cpu: Option<PerCpu<'m>>,
    /// Time that the quota withheld, summed over the host's CPUs, microseconds.
    pub throttled_us: u64,
    /// Periods in which the quota ran out.
    pub nr_throttled: u64,
    /// The level whose quota that is: 1 is the container's own cgroup, 2 the one above; 0 where there
    /// is no quota, and nothing is counted.
    pub throttled_at: u64,
}

/// v1's counters of each CPU of the host as the kernel prints them, both in the order of the CPUs'
/// numbers; `PerCpu::rows` reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerCpu<'m> {
    /// `cpuacct.usage_all`: a heading, then lines of `cpu user system`, nanoseconds that the timer
    /// interrupt has sampled.
    pub sampled: &'m [u8],
    /// `cpuacct.usage_percpu`: a number for each CPU, nanoseconds that the scheduler has measured.
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
    /// All of them, never fewer than the reader sees in `/proc`.
    pub total: u64,
}

/// The three load averages in the kernel's fixed point (FSHIFT 11: 2048 is 1.00), over 1, 5
/// and 15 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load(pub [u64; 3]);

/// The container's block I/O per device, kept as the kernel's text: a cgroup may have touched
/// thousands of devices. Parsed by [`crate::cgroup::io`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockIo<'m> {
    /// v2's `io.stat`.
    V2(&'m [u8]),
    /// v1's `blkio.throttle.*`.
    V1 {
        /// `io_service_bytes`.
        bytes: &'m [u8],
        /// `io_serviced`; empty where it was not asked for.
        operations: &'m [u8],
        /// What was seen before.
        seen: &'m [SeenDevice],
    },
}

/// v1's counters of a device add up the cgroups that there are: what one of them did is gone with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SeenDevice {
    /// Major and minor number.
    pub device: (u64, u64),
    /// What they said last, in the order of [`DeviceIo`].
    pub last: [u64; 6],
    /// By how much they have fallen in all.
    pub fallen: [u64; 6],
}

/// What was done on a block device: bytes and operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub struct DeviceIo {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub discarded_bytes: u64,
    pub reads: u64,
    pub writes: u64,
    pub discards: u64,
}

/// `memory.stat` as the kernel prints it, for the events that few ask for. Parsed by
/// [`crate::cgroup::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryText<'m> {
    /// v2's.
    V2(&'m [u8]),
    /// v1's: the counters of the cgroup and all below it are those that start with `total_`.
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
