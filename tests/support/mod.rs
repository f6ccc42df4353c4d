//! Containers for the tests that need the built library: real cgroups (crate `cgroups-rs`, v1 and
//! v2) and namespaces (util-linux), with unmodified programs in them, with and without the
//! library. Dropping a container removes everything, also in a panic.
#![allow(dead_code, unused_imports)] // not every test needs all of it

mod random;

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use cgroups_rs::cpu::CpuController;
use cgroups_rs::cpuset::CpuSetController;
use cgroups_rs::memory::MemController;
use cgroups_rs::{Cgroup, hierarchies};
use proclens::text::Out;
pub use random::Random;

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Time limit for a program of a test, long enough for a VM on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(400);

/// The library under test. Fails the test if there is none.
pub fn library() -> PathBuf {
    let path = std::env::var_os("PROCLENS_LIBRARY")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("../release/libproclens.so")
        });
    match path.canonicalize() {
        Ok(path) if path.is_file() => plain(&path),
        _ => panic!(
            "no library at {}: run scripts/build first (or set PROCLENS_LIBRARY)",
            path.display()
        ),
    }
}

/// Runs this test program in the VM (`scripts/lab/vm` with the options `machine`), only the tests with `names`,
/// or all. Returns the exit status and the output.
pub fn this_program_in_the_vm(machine: &[&str], names: &[&str]) -> (ExitStatus, String) {
    let log = scratch().join(format!("vm-{}", std::process::id()));
    let output = fs::File::create(&log).expect("a log");
    let status = Command::new("scripts/lab/vm")
        .args(machine)
        .args(["--", "env"])
        .arg(format!("PROCLENS_LIBRARY={}", library().display()))
        .arg(std::env::current_exe().expect("this program"))
        .args(["--test-threads=1", "--show-output"])
        .args(names)
        .stderr(output.try_clone().expect("the log"))
        .stdout(output)
        .status()
        .expect("scripts/lab/vm");
    let output = fs::read_to_string(&log).expect("the log");
    let _ = fs::remove_file(&log);
    (status, output)
}

/// A directory for the files that the tests build and write. In `LD_PRELOAD` and shell scripts, spaces and
/// colons are separators, so a clone whose path has some uses a directory below the temporary one.
pub fn scratch() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if !separates(target) {
        return target.to_owned();
    }
    let name = format!("proclens-tests-{}", short_name(target));
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).expect("a directory in the temporary one");
    directory
}

/// A name that stands for `path`, without spaces and colons.
fn short_name(path: &Path) -> String {
    let mut hash = std::hash::DefaultHasher::new();
    path.hash(&mut hash);
    format!("{:x}", hash.finish())
}

fn separates(path: &Path) -> bool {
    path.to_string_lossy()
        .contains(|c: char| c.is_whitespace() || c == ':')
}

/// `path`, or a copy of the file whose path has no spaces and colons. Copies of files that stand beside each other stand
/// beside each other too.
pub fn plain(path: &Path) -> PathBuf {
    if !separates(path) {
        return path.to_owned();
    }
    let directory = scratch().join(short_name(path.parent().expect("a directory")));
    fs::create_dir_all(&directory).expect("a directory for the copy");
    let copy = directory.join(path.file_name().expect("a file"));
    static COPYING: Mutex<()> = Mutex::new(());
    let _one = COPYING.lock().unwrap_or_else(|e| e.into_inner());
    let age = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    if age(&copy) < age(path) {
        let unfinished = copy.with_extension(std::process::id().to_string());
        fs::copy(path, &unfinished).expect("a copy");
        fs::rename(&unfinished, &copy).expect("a renamed copy");
    }
    copy
}

/// `directory`, or a link to it whose path has no spaces and colons.
fn plain_directory(directory: PathBuf) -> PathBuf {
    if !separates(&directory) {
        return directory;
    }
    let link = scratch().join(short_name(&directory));
    // Another test can have made the same link.
    let _ = std::os::unix::fs::symlink(directory, &link);
    link
}

/// Prints why a test cannot run here; scripts/test counts these lines.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// True if containers can be made here. Checks for the library first: without it no test passes.
pub fn containers() -> bool {
    library();
    // SAFETY: touches no memory.
    if unsafe { libc::geteuid() } != 0 {
        skipped("making a container needs root");
        return false;
    }
    let memory = hierarchies::auto()
        .subsystems()
        .iter()
        .any(|s| s.controller_name() == "memory");
    if !memory {
        skipped("no memory controller here");
    }
    memory
}

/// Returns from the test if containers cannot be made here.
#[macro_export]
macro_rules! needs_containers {
    () => {
        if !support::containers() {
            return;
        }
    };
}

/// The path of the program `name`, if it is in one of the usual directories.
pub fn program(name: &str) -> Option<PathBuf> {
    SEARCH
        .split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
}

const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Limits of one cgroup.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub memory: Option<u64>,
    /// Swap without memory, as on v2.
    pub swap: Option<u64>,
    /// Quota and period in microseconds.
    pub quota: Option<(i64, u64)>,
    pub cpuset: Option<String>,
}

impl Limits {
    fn apply(&self, group: &Cgroup) {
        if let Some(memory) = self.memory {
            set_memory(group, memory);
        }
        if let Some(swap) = self.swap {
            let controller: &MemController = group.controller_of().expect("memory");
            let limit = if group.v2() {
                swap
            } else {
                self.memory.unwrap_or(0) + swap
            };
            // Without swap accounting there is no such limit.
            let _ = controller.set_memswap_limit(limit as i64);
        }
        if let Some((quota, period)) = self.quota {
            set_quota(group, quota, period);
        }
        if let Some(list) = &self.cpuset {
            let controller: &CpuSetController = group.controller_of().expect("cpuset");
            controller.set_cpus(list).expect("cpuset.cpus");
        }
    }
}

fn set_memory(group: &Cgroup, bytes: u64) {
    let controller: &MemController = group.controller_of().expect("memory");
    controller.set_limit(bytes as i64).expect("memory limit");
}

fn set_quota(group: &Cgroup, quota: i64, period: u64) {
    let controller: &CpuController = group.controller_of().expect("cpu");
    controller
        .set_cfs_quota_and_period(Some(quota), Some(period))
        .expect("CPU quota");
}

/// The description of a container.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    limits: Limits,
    parent: Option<Limits>,
    split_cpu: bool,
    init_scope: bool,
    cgroup_namespace: bool,
    setup: String,
}

impl Plan {
    /// A container without limits.
    pub fn new() -> Plan {
        Plan::default()
    }

    /// A container of 512 MiB and 1.5 CPUs, as in the demo.
    pub fn usual() -> Plan {
        Plan::new().memory(512 * MIB).quota(150_000, 100_000)
    }

    pub fn memory(mut self, bytes: u64) -> Plan {
        self.limits.memory = Some(bytes);
        self
    }

    pub fn swap(mut self, bytes: u64) -> Plan {
        self.limits.swap = Some(bytes);
        self
    }

    pub fn quota(mut self, quota: i64, period: u64) -> Plan {
        self.limits.quota = Some((quota, period));
        self
    }

    pub fn cpuset(mut self, list: &str) -> Plan {
        self.limits.cpuset = Some(list.into());
        self
    }

    /// Adds a parent of the container's cgroup, with limits of its own.
    pub fn parent(mut self, limits: Limits) -> Plan {
        self.parent = Some(limits);
        self
    }

    /// v1: the cpu controller's cgroup has another path than that of all other controllers.
    pub fn split_cpu(mut self) -> Plan {
        self.split_cpu = true;
        self
    }

    /// Moves PID 1 to `init.scope` below the container's cgroup, as systemd moves itself.
    pub fn init_scope(mut self) -> Plan {
        self.init_scope = true;
        self
    }

    /// Adds a cgroup namespace that shows no ancestors, as Docker does.
    pub fn cgroup_namespace(mut self) -> Plan {
        self.cgroup_namespace = true;
        self
    }

    /// Adds shell commands that run first in the container's mount namespace. `$MEMORY`,
    /// `$CPU`, `$CPUSET`, `$CPUACCT` are the cgroup's directories.
    pub fn setup(mut self, commands: &str) -> Plan {
        self.setup = commands.into();
        self
    }

    /// The number of CPUs that follows from the quota on this machine.
    pub fn cpus(&self) -> u64 {
        let here = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let quota = |limits: &Limits| limits.quota.map(|(q, p)| (q as u64).div_ceil(p).max(1));
        let parent = self.parent.as_ref().and_then(quota);
        here.min(quota(&self.limits).unwrap_or(here))
            .min(parent.unwrap_or(here))
    }

    /// Makes the container.
    pub fn start(self) -> Container {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("proclens-test-{}-{number}", std::process::id());
        let mut container = Container {
            groups: Vec::new(),
            directories: HashMap::new(),
            v2: hierarchies::auto().v2(),
            init: None,
            pid1: 0,
            cpus: self.cpus(),
            cgroup_namespace: self.cgroup_namespace,
            name,
        };
        container.make_groups(&self);
        container.make_namespaces(&self);
        container
    }
}

/// Removes what a killed run left behind. Does so once in a process.
fn sweep() {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(|e| e.into_inner());
    if std::mem::replace(&mut *done, true) {
        return;
    }
    for subsystem in hierarchies::auto().subsystems() {
        for entry in fs::read_dir(subsystem.to_controller().path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().into_string().unwrap_or_default();
            let owner = name
                .strip_prefix("proclens-test-")
                .and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                remove_tree(&entry.path());
            }
        }
    }
}

fn remove_tree(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// A running container.
pub struct Container {
    name: String,
    /// The cgroups, the innermost first.
    groups: Vec<Cgroup>,
    /// Controller (by v1's name) to directory.
    directories: HashMap<String, PathBuf>,
    v2: bool,
    /// `unshare`, whose child is the container's PID 1.
    init: Option<Child>,
    /// The process ID of that child, outside of the container.
    pid1: i32,
    /// [`Plan::cpus`].
    pub cpus: u64,
    cgroup_namespace: bool,
}

impl Container {
    fn make_groups(&mut self, plan: &Plan) {
        let mut path = self.name.clone();
        let mut parent = None;
        if let Some(limits) = &plan.parent {
            let group = Cgroup::new(hierarchies::auto(), &path).expect("the outer cgroup");
            limits.apply(&group);
            path.push_str("/inner");
            parent = Some(group);
        }
        if plan.split_cpu && !self.v2 {
            let others = hierarchies::auto()
                .subsystems()
                .iter()
                .map(|s| s.controller_name())
                .filter(|name| name != "cpu")
                .collect();
            let cpu = format!("{path}-cpu");
            for (path, controllers) in [(path, others), (cpu, vec!["cpu".to_string()])] {
                let group = Cgroup::new_with_specified_controllers(
                    hierarchies::auto(),
                    path,
                    Some(controllers),
                )
                .expect("a cgroup of some controllers");
                self.groups.push(group);
            }
            let cpu = Limits {
                quota: plan.limits.quota,
                ..Limits::default()
            };
            cpu.apply(&self.groups[1]);
            let rest = Limits {
                quota: None,
                ..plan.limits.clone()
            };
            rest.apply(&self.groups[0]);
        } else {
            let group = Cgroup::new(hierarchies::auto(), path).expect("a cgroup");
            plan.limits.apply(&group);
            self.groups.push(group);
        }
        for group in &self.groups {
            for subsystem in group.subsystems() {
                let directory = subsystem.to_controller().path().to_path_buf();
                self.directories
                    .insert(subsystem.controller_name(), directory);
            }
        }
        if self.v2 {
            let any = self.directories.get("memory").expect("memory").clone();
            self.directories.insert("cpuacct".into(), any);
        }
        self.groups.extend(parent);
    }

    fn make_namespaces(&mut self, plan: &Plan) {
        let mut script = String::from(
            "set -e; read pid rest </proc/self/stat; mount -t proc proc /proc
             export MEMORY=$1 CPU=$2 CPUSET=$3 CPUACCT=$4\n",
        );
        if plan.cgroup_namespace {
            script.push_str(if self.v2 {
                "umount /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
            } else {
                // As runc does: the controller's mount shows only the container's own directory.
                "for d in $MEMORY $CPU $CPUSET $CPUACCT; do mount --bind $d ${d%/proclens-test-*}; done\n"
            });
        }
        script.push_str(&plan.setup);
        script.push_str("\necho $pid; exec sleep infinity");
        let mut unshare = Command::new("unshare");
        unshare.args(["--fork", "--pid", "--mount", "--propagation", "private"]);
        unshare.arg("--kill-child");
        if plan.cgroup_namespace {
            unshare.arg("--cgroup");
        }
        unshare.args(["sh", "-c", &script, "sh"]);
        for controller in ["memory", "cpu", "cpuset", "cpuacct"] {
            unshare.arg(self.directory(controller));
        }
        unshare.env("PATH", SEARCH);
        unshare.stdin(Stdio::null()).stdout(Stdio::piped());
        self.join(&mut unshare);
        let mut child = unshare.spawn().expect("unshare of util-linux");
        let stdout = child.stdout.take().expect("a pipe");
        self.init = Some(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        self.pid1 = line
            .trim()
            .parse()
            .expect("the container's PID 1 did not start");
        if plan.init_scope {
            for directory in self.all_directories() {
                let scope = directory.join("init.scope");
                fs::create_dir_all(&scope).expect("init.scope");
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if let Ok(list) = fs::read_to_string(directory.join(file)) {
                        let _ = fs::write(scope.join(file), list.trim());
                    }
                }
                fs::write(scope.join("cgroup.procs"), self.pid1.to_string())
                    .expect("PID 1 to init.scope");
            }
        }
    }

    pub fn all_directories(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = self.directories.values().cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// Lets `command` start its program in the container's cgroups.
    fn join(&self, command: &mut Command) {
        let lists: Vec<File> = self
            .all_directories()
            .iter()
            .map(|dir| {
                File::options()
                    .write(true)
                    .open(dir.join("cgroup.procs"))
                    .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
            })
            .collect();
        // SAFETY: between fork and exec only writes to descriptors that are open already.
        unsafe {
            command.pre_exec(move || lists.iter().try_for_each(|mut list| list.write_all(b"0")))
        };
    }

    /// True if the controllers are on the v2 tree.
    pub fn v2(&self) -> bool {
        self.v2
    }

    /// The directory of the container's cgroup for a controller.
    pub fn directory(&self, controller: &str) -> &Path {
        self.directories
            .get(controller)
            .map(PathBuf::as_path)
            .unwrap_or_else(|| panic!("no controller {controller} here"))
    }

    /// Reads a file of the container's cgroup from outside.
    pub fn file(&self, controller: &str, file: &str) -> String {
        let path = self.directory(controller).join(file);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The bytes that are charged to the container now.
    pub fn usage(&self) -> u64 {
        let file = if self.v2 {
            "memory.current"
        } else {
            "memory.usage_in_bytes"
        };
        self.file("memory", file).trim().parse().expect("a number")
    }

    /// The bytes that the container has in swap; `None` without swap accounting.
    pub fn memory_swap(&self) -> Option<u64> {
        let directory = self.directory("memory");
        if self.v2 {
            let text = fs::read_to_string(directory.join("memory.swap.current")).ok()?;
            return text.trim().parse().ok();
        }
        let text = fs::read_to_string(directory.join("memory.stat")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("total_swap "));
        line?.parse().ok()
    }

    /// A counter of `memory.stat`.
    pub fn memory_stat(&self, v1: &str, v2: &str) -> u64 {
        let name = if self.v2 { v2 } else { v1 };
        let text = self.file("memory", "memory.stat");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("memory.stat has no {name}"))
            .parse()
            .expect("a number")
    }

    /// The CPU time that the container used, microseconds.
    pub fn cpu_us(&self) -> u64 {
        if self.v2 {
            let text = self.file("cpuacct", "cpu.stat");
            let usage = text.lines().find_map(|l| l.strip_prefix("usage_usec "));
            usage.expect("usage_usec").parse().expect("a number")
        } else {
            let usage = self.file("cpuacct", "cpuacct.usage");
            usage.trim().parse::<u64>().expect("a number") / 1000
        }
    }

    /// True if a program of this name runs in the container.
    pub fn runs(&self, name: &str) -> bool {
        let processes = self.file("memory", "cgroup.procs");
        processes.lines().any(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        })
    }

    pub fn set_memory(&self, bytes: u64) {
        set_memory(&self.groups[0], bytes);
    }

    pub fn set_quota(&self, quota: i64, period: u64) {
        let cpu = self
            .groups
            .iter()
            .find(|group| group.controller_of::<CpuController>().is_some());
        set_quota(cpu.expect("cpu"), quota, period);
    }

    /// A program to run in the container, without the library.
    pub fn program<S: AsRef<str>>(&self, words: &[S]) -> Program<'_> {
        Program {
            container: self,
            charged: self,
            words: words.iter().map(|w| w.as_ref().to_string()).collect(),
            environment: Vec::new(),
            preload: None,
        }
    }

    /// The output of a program with the library. The program must succeed.
    pub fn with(&self, words: &str) -> String {
        let words: Vec<_> = words.split_whitespace().collect();
        self.program(&words).preloaded().output().text()
    }

    /// The same without the library.
    pub fn without(&self, words: &str) -> String {
        let words: Vec<_> = words.split_whitespace().collect();
        self.program(&words).output().text()
    }

    /// The output of a shell script; the shell has the library too.
    pub fn with_shell(&self, script: &str) -> String {
        self.program(&["sh", "-c", script])
            .preloaded()
            .output()
            .text()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut init) = self.init.take() {
            if self.pid1 > 0 {
                // SAFETY: ends a process of this test, and with it its PID namespace.
                unsafe { libc::kill(self.pid1, libc::SIGKILL) };
            }
            let _ = init.kill();
            let _ = init.wait();
        }
        let end = Instant::now() + Duration::from_secs(10);
        let mut left = self.all_directories();
        while !left.is_empty() && Instant::now() < end {
            left.retain(|directory| {
                remove_tree(directory);
                directory.exists()
            });
            if !left.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        for directory in left {
            eprintln!("left behind: {}", directory.display());
        }
        for group in &self.groups {
            let _ = group.delete();
        }
    }
}

/// A program to run in a container.
pub struct Program<'c> {
    container: &'c Container,
    /// The container whose cgroups it is in.
    charged: &'c Container,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    preload: Option<String>,
}

impl<'c> Program<'c> {
    /// Preloads the library.
    pub fn preloaded(self) -> Self {
        let library = library();
        self.preload(library.to_str().expect("a plain path"))
    }

    /// Sets `LD_PRELOAD`.
    pub fn preload(mut self, libraries: &str) -> Self {
        self.preload = Some(libraries.into());
        self
    }

    /// Puts the program into the cgroups of another container, as in a pod.
    pub fn charged_to(mut self, other: &'c Container) -> Self {
        self.charged = other;
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-p", "-t", &self.container.pid1.to_string()]);
        if self.container.cgroup_namespace {
            command.arg("-C");
        }
        // Through env, so that nsenter itself runs without the library.
        command.args(["--", "env"]);
        if let Some(preload) = &self.preload {
            command.arg(format!("LD_PRELOAD={preload}"));
        }
        for (name, value) in &self.environment {
            command.arg(format!("{name}={value}"));
        }
        command.args(&self.words);
        command.env_clear().env("PATH", SEARCH).env("LC_ALL", "C");
        command.env("TERM", "dumb").env("HOME", "/root");
        self.charged.join(&mut command);
        command
    }

    /// Runs the program to its end.
    pub fn output(self) -> Output {
        let mut command = self.command();
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("nsenter of util-linux");
        let pid1 = self.container.pid1;
        let (ended, end) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if end.recv_timeout(TIME_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{}", states(pid1));
                // SAFETY: ends the container, and with it every process that has the pipes open.
                unsafe { libc::kill(pid1, libc::SIGKILL) };
                return true;
            }
            false
        });
        let output = child.wait_with_output().expect("its output");
        let _ = ended.send(());
        let late = watch.join().expect("the watch");
        assert!(!late, "{:?} did not end", self.words);
        Output {
            words: self.words,
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts the program for a dialogue over its standard input and output.
    pub fn start(self) -> Dialogue {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsenter of util-linux");
        let pid1 = self.container.pid1;
        let (ended, end) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if end.recv_timeout(TIME_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{}", states(pid1));
                // SAFETY: as in `output`.
                unsafe { libc::kill(pid1, libc::SIGKILL) };
            }
        });
        Dialogue {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            words: self.words,
            _ended: ended,
        }
    }
}

/// What each process in the mount namespace of `pid1` waits for, and its signals: the reason why a program did not end.
fn states(pid1: i32) -> String {
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let own = namespace(Path::new(&format!("/proc/{pid1}")));
    let mut text = String::new();
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let process = process.path();
        if own.is_none() || namespace(&process) != own {
            continue;
        }
        let file = |name| fs::read_to_string(process.join(name)).unwrap_or_default();
        let command = file("cmdline").replace('\0', " ");
        text += &format!(
            "{}: {command}: {}\n",
            process.display(),
            file("syscall").trim()
        );
        for line in file("status").lines() {
            let names = ["State", "PPid", "SigPnd", "ShdPnd", "SigBlk", "SigCgt"];
            if names.iter().any(|name| line.starts_with(name)) {
                text += &format!("    {line}\n");
            }
        }
    }
    text
}

/// A running program with pipes to its standard input and output.
pub struct Dialogue {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    words: Vec<String>,
    /// Ends the watching thread when it is dropped.
    _ended: mpsc::Sender<()>,
}

impl Dialogue {
    /// The next line of its output; `None` if it has ended.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line).expect("text") {
            0 => None,
            _ => Some(line.trim_end().to_string()),
        }
    }

    pub fn send(&mut self, text: &str) {
        if let Some(stdin) = &mut self.stdin {
            // If the program has ended, its exit status shows why.
            let _ = writeln!(stdin, "{text}");
        }
    }

    /// Waits for the end of the program.
    pub fn end(mut self) -> Output {
        drop(self.stdin.take());
        let mut stdout = String::new();
        while let Some(line) = self.line() {
            stdout.push_str(&line);
            stdout.push('\n');
        }
        let output = self.child.wait_with_output().expect("its end");
        Output {
            words: self.words,
            status: output.status.code(),
            stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Output {
    pub words: Vec<String>,
    /// `None` if a signal ended the program.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output of a program that must succeed and print no error.
    pub fn text(self) -> String {
        assert_eq!(self.status, Some(0), "{:?}: {self:?}", self.words);
        assert_eq!(self.stderr, "", "{:?} complains", self.words);
        self.stdout
    }
}

/// The number after `name` in a table of `name: number` or `name number` lines.
pub fn field(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(name)?;
        rest.trim_start_matches(':').split_whitespace().next()
    });
    value
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap_or_else(|_| panic!("{name} is no number in {text}"))
}

/// How many times longer a test of seconds may take: tests for arm64 usually run in an emulated machine.
pub const PATIENCE: u64 = if cfg!(target_arch = "aarch64") { 6 } else { 1 };

/// Builds `tests/regressions/NAME` with `compiler`, once for each version of its source and set of options.
pub fn c_program(name: &str, compiler: &str, options: &[&str]) -> Option<PathBuf> {
    compiler_there(compiler)?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let directory = scratch().join("regressions");
    fs::create_dir_all(&directory).expect("a directory for the built programs");
    let age = |path: PathBuf| {
        let changed = fs::metadata(&path)
            .and_then(|m| m.modified())
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        changed.duration_since(UNIX_EPOCH).expect("time").as_nanos()
    };
    let version = age(sources.join(name)).max(age(sources.join("regression.h")));
    let built = directory.join(format!(
        "{}-{}{}-{version:x}",
        name.replace('.', "-"),
        compiler.replace('/', "-"),
        options.concat().replace('/', "-")
    ));
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock().unwrap_or_else(|e| e.into_inner());
    if built.exists() {
        return Some(built);
    }
    let unfinished = built.with_extension(std::process::id().to_string());
    // On arm64 gcc's helpers for atomic operations call a function that only glibc has.
    let atomics = cfg!(target_arch = "aarch64").then_some("-mno-outline-atomics");
    let output = Command::new(compiler)
        .args(["-O1", "-Wall", "-Wextra", "-pthread"])
        .args(atomics)
        .args(options)
        .arg("-o")
        .arg(&unfinished)
        .arg(sources.join(name))
        .output()
        .expect("the compiler");
    assert!(
        output.status.success(),
        "{compiler} {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&unfinished, &built).expect("the built program");
    Some(built)
}

/// The memory limit of a container in which a C regression test runs, in KiB.
pub const MEM_KB: u64 = 512 << 10;

/// Runs a C regression test with the command `words` and sets the memory limits that it requests
/// (`tests/regressions/regression.h`).
pub fn converse(container: &Container, words: &[&str], preload: bool) -> Output {
    container.set_memory(MEM_KB * 1024);
    let mut program = container
        .program(words)
        .env("MEM_KB", &MEM_KB.to_string())
        .env("CPUS", &container.cpus.to_string());
    if preload {
        program = program.preloaded();
    }
    let mut talk = program.start();
    let mut stdout = String::new();
    while let Some(line) = talk.line() {
        match line.strip_prefix("memory ") {
            Some(kib) => {
                container.set_memory(kib.parse::<u64>().expect("KiB") * 1024);
                talk.send("");
            }
            None => stdout = stdout + &line + "\n",
        }
    }
    Output {
        stdout,
        ..talk.end()
    }
}

fn compiler_there(compiler: &str) -> Option<()> {
    if program(compiler).is_some() {
        return Some(());
    }
    skipped(&format!("no {compiler} here"));
    None
}

/// A file that scripts/test fetches without installing it (`tests/support/fetch`), or else the installed
/// one.
pub fn fetched(name: &str, installed: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let tools = target.canonicalize().ok()?.join("test-tools");
    // They are fetched for x86-64.
    let fetched = cfg!(target_arch = "x86_64").then(|| plain_directory(tools).join(name));
    fetched
        .into_iter()
        .chain([PathBuf::from(installed)])
        .find_map(|path| {
            let canonical = path.canonicalize().ok()?;
            Some(if separates(&canonical) {
                path
            } else {
                canonical
            })
        })
}

/// The text that `render` writes, in a buffer of sufficient size.
pub fn text(mut render: impl FnMut(&mut Out<'_>)) -> String {
    let mut buffer = vec![0; 8 << 10];
    loop {
        let mut out = Out::new(&mut buffer);
        render(&mut out);
        if let Some(text) = out.finish() {
            return String::from_utf8(text.to_vec()).expect("it is text");
        }
        buffer.resize(buffer.len() * 8, 0);
    }
}
