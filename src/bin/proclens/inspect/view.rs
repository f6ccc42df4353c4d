//! The kernel as a target sees it. It maps the paths that the library reads to the files of another
//! process, and records everything that was read, for `explain`.

use crate::inspect::kernel_file::{self, KernelFile};
use crate::inspect::processes;
use crate::inspect::sources::Sources;
use crate::inspect::target::Target;
use crate::output::failure::{Failure, Result};
use proclens::cgroup::container::{self, Container};
use proclens::cgroup::kernel::Kernel;
use proclens::cgroup::locate::{CgroupDir, ContainerCgroups, Controller};
use proclens::cgroup::{Version, locate};
use proclens::cpu_time::{Accounting, Sample};
use proclens::error::{self, ErrorKind};
use proclens::load::average::{self, Reading};
use proclens::load::tasks::{self, Cost};
use proclens::mem::{Arena, work_in_block};
use proclens::procfs::content;
use proclens::procfs::files::{DeviceStat, MachineFile, NodeFile};
use proclens::runtime::live::Live;
use proclens::settings::Settings;
use proclens::shared_state::record::{Identity, Sampled};
use proclens::shared_state::{self, Store};
use proclens::sys::{self, Errno};
use proclens::values::{Load, Tasks};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock};

/// A file that was read for a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub path: String,
    pub text: String,
}

/// The content that a program reads, and why it is the kernel's own, if it is.
pub type Text = (Vec<u8>, Option<error::Failure>);

/// The kernel's path of `file` of the node `number`.
pub fn node_path(file: NodeFile, number: u64) -> String {
    let text = String::from_utf8_lossy;
    format!("{}{number}/{}", text(NodeFile::NODES), text(file.last()))
}

/// See the top of this file.
pub struct View {
    target: Target,
    /// Prefix for the container's own paths: empty, or `/proc/PID/root`.
    root: String,
    reads: RefCell<Vec<Read>>,
    /// CPU-time accounting of a container that is inspected from outside.
    accounting: RefCell<Box<Accounting>>,
    /// The container's cgroups, if [`View::locate`] found them.
    located: RefCell<Option<Located>>,
    /// What was read within [`View::at_one_moment`].
    moment: RefCell<Option<Moment>>,
}

/// What was read at one moment.
#[derive(Default)]
struct Moment {
    texts: HashMap<CString, Vec<u8>>,
    tasks: Option<Tasks>,
}

/// A copy of [`ContainerCgroups`] that no memory block is needed for.
struct Located {
    dirs: [Option<LocatedDir>; Controller::ALL.len()],
    pid_namespace: Option<u64>,
    sources: Arc<Sources>,
}

/// A copy of [`CgroupDir`].
struct LocatedDir {
    version: Version,
    root: bool,
    directory: Vec<u8>,
    mount_point_length: usize,
}

impl Located {
    fn new(cgroups: &ContainerCgroups, sources: Arc<Sources>) -> Located {
        let copy = |dir: CgroupDir| LocatedDir {
            version: dir.version,
            root: dir.root,
            directory: dir.directory.to_vec(),
            mount_point_length: dir.mount_point_length,
        };
        Located {
            dirs: cgroups.dirs.map(|dir| dir.map(copy)),
            pid_namespace: cgroups.pid_namespace,
            sources,
        }
    }

    fn in_arena<'m>(
        &self,
        arena: &mut Arena<'m>,
    ) -> std::result::Result<ContainerCgroups<'m>, Errno> {
        let mut cgroups = ContainerCgroups {
            dirs: [None; Controller::ALL.len()],
            pid_namespace: self.pid_namespace,
        };
        for (dir, into) in self.dirs.iter().zip(&mut cgroups.dirs) {
            let Some(dir) = dir else { continue };
            *into = Some(CgroupDir {
                version: dir.version,
                root: dir.root,
                directory: copy(&dir.directory, arena)?,
                mount_point_length: dir.mount_point_length,
            });
        }
        Ok(cgroups)
    }
}

impl View {
    pub fn new(target: Target) -> View {
        let root = match &target {
            Target::Process { pid, .. } => format!("/proc/{pid}/root"),
            _ => String::new(),
        };
        View {
            target,
            root,
            reads: RefCell::default(),
            accounting: RefCell::new(Box::new(Accounting::new())),
            located: RefCell::default(),
            moment: RefCell::default(),
        }
    }

    /// Finds the container's cgroups and the sources of its settings now. All computations use them until the
    /// next call, so the target's mounts and its environment are read once.
    pub fn locate(&self) -> std::result::Result<(), error::Failure> {
        *self.located.borrow_mut() = None;
        let sources = self.sources();
        let find = |view: &View, mut arena: Arena| {
            let cgroups = view.cgroups(&mut arena);
            cgroups
                .map(|cgroups| Located::new(&cgroups, Arc::clone(&sources)))
                .map_err(|errno| (ErrorKind::Unreadable, errno))
        };
        let located = self.at_one_moment(|| self.compute(find))?;
        *self.located.borrow_mut() = Some(located);
        Ok(())
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Runs `work`, within which each file is read once. So all its values are of the same moment, and it
    /// costs less.
    pub fn at_one_moment<T>(&self, work: impl FnOnce() -> T) -> T {
        *self.moment.borrow_mut() = Some(Moment::default());
        let result = work();
        *self.moment.borrow_mut() = None;
        result
    }

    /// Within [`View::at_one_moment`], begins a new moment.
    pub fn forget_moment(&self) {
        if let Some(moment) = &mut *self.moment.borrow_mut() {
            *moment = Moment::default();
        }
    }

    /// The sources of this target's settings.
    pub fn sources(&self) -> Arc<Sources> {
        if let Some(located) = &*self.located.borrow() {
            return Arc::clone(&located.sources);
        }
        Arc::new(match (&self.target, self.target.representative()) {
            (Target::Own, _) => Sources::own(),
            (_, Some(pid)) => Sources::of_process(pid),
            (_, None) => Sources::none(),
        })
    }

    /// Runs `work` with a memory block of its own, and clears the recorded reads first.
    pub fn compute<T>(
        &self,
        mut work: impl FnMut(&View, Arena) -> std::result::Result<T, error::Failure>,
    ) -> std::result::Result<T, error::Failure> {
        self.reads.borrow_mut().clear();
        work_in_block(
            |errno| (ErrorKind::NoMemory, errno),
            |(_, errno)| *errno == Errno::BUFFER_TOO_SMALL,
            |arena| work(self, arena),
        )
    }

    /// The files that the last [`View::compute`] read.
    pub fn reads(&self) -> Vec<Read> {
        self.reads.borrow().clone()
    }

    /// The text that a program of the target reads in `file`, and why it is the kernel's own, if it is.
    pub fn text(&self, file: MachineFile, settings: &Settings) -> Result<Text> {
        self.text_of(
            file.path(),
            file.needs_host(),
            settings,
            |view, host, arena| {
                content::file(view, file, host, settings, arena).map(<[u8]>::to_vec)
            },
        )
    }

    /// As [`View::text`] for a file of the NUMA node `number`.
    pub fn node_text(&self, file: NodeFile, number: u64, settings: &Settings) -> Result<Text> {
        let path = CString::new(node_path(file, number)).unwrap_or_default();
        self.text_of(&path, true, settings, |view, host, arena| {
            content::node_file(view, file, number, host, settings, arena).map(<[u8]>::to_vec)
        })
    }

    /// As [`View::text`] for the counters of a block device.
    pub fn device_text(&self, file: DeviceStat, settings: &Settings) -> Result<Text> {
        let mut buffer = [0; 64];
        let path = file.path(&mut buffer).unwrap_or_default();
        self.text_of(path, true, settings, |view, host, arena| {
            content::device_stat(view, file, host, arena).map(<[u8]>::to_vec)
        })
    }

    fn text_of(
        &self,
        path: &CStr,
        needs_host: bool,
        settings: &Settings,
        render: impl Fn(&View, &[u8], Arena) -> std::result::Result<Vec<u8>, error::Failure>,
    ) -> Result<Text> {
        let host = |arena: &mut Arena| {
            self.read_long(path, arena)
                .map(<[u8]>::to_vec)
                .map_err(|e| (ErrorKind::Unreadable, e))
        };
        let of_kernel = || {
            let text = self.compute(|_, mut arena| host(&mut arena));
            self.target.is_there()?;
            text.map_err(|failure| Failure::no_value(&path.to_string_lossy(), failure))
        };
        if !settings.on {
            return Ok((of_kernel()?, None));
        }
        let of_container = self.compute(|view, mut arena| {
            let host = match needs_host {
                true => host(&mut arena)?,
                false => Vec::new(),
            };
            render(view, &host, arena)
        });
        match of_container {
            Ok(text) => Ok((text, None)),
            Err(failure) => Ok((of_kernel()?, Some(failure))),
        }
    }

    /// The last sample of the container's sampler, if it has or had one. `age_us` is the container's age.
    pub fn sampled(
        &self,
        cgroups: &ContainerCgroups,
        age_us: u64,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Option<Sampled> {
        self.in_state(cgroups, settings, arena, |store| {
            store.sampled(age_us).sampled
        })
    }

    /// Returns whether the container has a state file.
    pub fn has_state(
        &self,
        cgroups: &ContainerCgroups,
        settings: &Settings,
        arena: &mut Arena,
    ) -> bool {
        self.in_state(cgroups, settings, arena, |store| {
            store.exists().then_some(())
        })
        .is_some()
    }

    /// Looks into the container's shared state in each directory where it can be.
    fn in_state<T>(
        &self,
        cgroups: &ContainerCgroups,
        settings: &Settings,
        arena: &mut Arena,
        look: impl Fn(&Store) -> Option<T>,
    ) -> Option<T> {
        let identity = match self.target {
            Target::Own => {
                shared_state::identify(self, cgroups, settings.cpus.is_some(), arena).ok()?
            }
            _ => self.identity(cgroups)?,
        };
        let usual = shared_state::DIRECTORIES.iter().copied();
        let given = settings.state;
        given
            .into_iter()
            .chain(usual.filter(|_| given.is_none()))
            .find_map(|directory| {
                let directory = [self.shared_root().as_bytes(), directory].concat();
                look(&Store {
                    signals_are_blocked: false,
                    directory: Some(&directory),
                    identity,
                })
            })
    }

    /// The container's sampler process, as a process ID in this PID namespace.
    pub fn sampler(&self, cgroups: &ContainerCgroups) -> Option<u32> {
        if container::is_in_initial_pid_namespace(self) {
            let dir = cgroups.dir(Controller::Cpuacct).ok()?;
            let directory = OsStr::from_bytes(dir.directory);
            let inside = processes::of_cgroup(directory.as_ref());
            return inside.into_iter().find(|pid| processes::is_sampler(*pid));
        }
        let representative = self.target.representative();
        let namespace = processes::pid_namespace(representative.unwrap_or_else(std::process::id));
        processes::all()
            .find(|pid| processes::is_sampler(*pid) && processes::pid_namespace(*pid) == namespace)
    }

    /// The root directory below which the container keeps its state.
    fn shared_root(&self) -> String {
        match self.target.representative() {
            Some(pid) => format!("/proc/{pid}/root"),
            None => String::new(),
        }
    }

    /// The container's identity, the same that [`shared_state::identify`] computes inside the container.
    fn identity(&self, cgroups: &ContainerCgroups) -> Option<Identity> {
        let dir = cgroups.dir_of_identity(false)?;
        let directory = fs::metadata(String::from_utf8_lossy(dir.directory).as_ref()).ok()?;
        let pid = self.target.representative()?;
        // It is the same as long as this program runs.
        static BOOT: OnceLock<Option<Vec<u8>>> = OnceLock::new();
        let boot = BOOT.get_or_init(|| fs::read("/proc/sys/kernel/random/boot_id").ok());
        Some(Identity {
            cgroup: [directory.dev(), directory.ino()],
            pid_namespace: fs::metadata(format!("/proc/{pid}/ns/pid")).ok()?.ino(),
            start_ticks: self.start_ticks().unwrap_or(0),
            boot: Identity::boot_of(boot.as_ref()?)?,
        })
    }

    /// The tasks of a container that is inspected from outside.
    fn count_tasks(
        &self,
        cgroups: &ContainerCgroups,
        arena: &mut Arena,
    ) -> std::result::Result<Tasks, Errno> {
        let dir = cgroups.dir_of_processes();
        if dir.is_some_and(|dir| !is_cgroup(dir.directory)) {
            return Err(Errno::MALFORMED);
        }
        if self.has_own_proc() {
            return tasks::count(self, self.root.as_bytes(), cgroups, Cost::Whole, arena);
        }
        let dir = dir.ok_or(Errno::NOT_FOUND)?;
        tasks::count_whole_cgroup(&sys::open(c"/proc")?, dir.directory, arena)
    }

    /// True if the target's `/proc` shows the target's PID namespace. A process of a new PID namespace can still
    /// see the host's `/proc`, with all tasks of the host.
    fn has_own_proc(&self) -> bool {
        let Target::Process { pid, first, .. } = self.target else {
            return false;
        };
        let proc = CString::new(format!("{}/proc", self.root)).unwrap_or_default();
        if !kernel_file::is_procfs(&proc) {
            return false;
        }
        let shown = fs::read_link(format!("/proc/{pid}/root/proc/1/ns/pid")).ok();
        first.is_none() || shown == processes::pid_namespace(pid)
    }

    /// The path of the file that the target calls `path`.
    fn real(&self, path: &CStr) -> std::result::Result<CString, Errno> {
        let text = path.to_bytes();
        let turned = match &self.target {
            Target::Own => text.to_vec(),
            Target::Process { pid, first, .. } => {
                if let Some(rest) = text.strip_prefix(b"/proc/self/") {
                    [format!("/proc/{pid}/").as_bytes(), rest].concat()
                } else if let Some(rest) = text.strip_prefix(b"/proc/1/") {
                    [format!("/proc/{}/", first.unwrap_or(1)).as_bytes(), rest].concat()
                } else if text.starts_with(self.root.as_bytes()) {
                    text.to_vec()
                } else {
                    [self.root.as_bytes(), text].concat()
                }
            }
            Target::Cgroup { oldest, .. } => match text.strip_prefix(b"/proc/1/") {
                Some(rest) => {
                    let oldest = oldest.ok_or(Errno::NOT_FOUND)?;
                    [format!("/proc/{oldest}/").as_bytes(), rest].concat()
                }
                None => text.to_vec(),
            },
        };
        CString::new(turned).map_err(|_| Errno::NOT_FOUND)
    }

    /// What `path` contained at this moment, if that is known.
    fn known<'m>(
        &self,
        path: &CStr,
        arena: &mut Arena<'m>,
    ) -> Option<std::result::Result<&'m [u8], Errno>> {
        let moment = self.moment.borrow();
        let text = moment.as_ref()?.texts.get(path)?;
        Some(copy(text, arena))
    }

    /// Records the text of the file `path`, which was read at `place`.
    fn note(&self, path: &CStr, place: &CStr, text: &[u8]) {
        if let Some(moment) = &mut *self.moment.borrow_mut() {
            moment.texts.insert(path.to_owned(), text.to_vec());
            return;
        }
        self.reads.borrow_mut().push(Read {
            path: place.to_string_lossy().into_owned(),
            text: String::from_utf8_lossy(text).trim_end().to_owned(),
        });
    }

    /// Reads the file that the target calls `path` with `read`.
    ///
    /// In the root of another process only the kernel's own files are read. If something else is mounted over a file of
    /// procfs or sysfs (a FIFO, lxcfs), this process's own file has the same text.
    fn read_with<'m>(
        &self,
        path: &CStr,
        arena: &mut Arena<'m>,
        read: impl FnOnce(&CStr, &mut Arena<'m>) -> std::result::Result<&'m [u8], Errno>,
    ) -> std::result::Result<&'m [u8], Errno> {
        let real = self.real(path)?;
        if let Some(known) = self.known(&real, arena) {
            return known;
        }
        let inside = real.to_bytes().strip_prefix(self.root.as_bytes());
        let inside = inside.filter(|_| !self.root.is_empty());
        let Some(inside) = inside.map(|inside| CString::new(inside).unwrap_or_default()) else {
            let text = read(&real, arena)?;
            self.note(&real, &real, text);
            return Ok(text);
        };
        let is_of_machine = is_of_machine(inside.to_bytes());
        let found = if is_of_machine {
            KernelFile::same_as(&inside, &real)
        } else {
            KernelFile::of_cgroup(&real)
        };
        let (text, place) = match found {
            Ok(file) => (read(&file.path(), arena)?, &real),
            Err(Errno::MALFORMED) if is_of_machine => (read(&inside, arena)?, &inside),
            Err(errno) => return Err(errno),
        };
        self.note(&real, place, text);
        Ok(text)
    }

    /// The content of `path` that no file has. A cgroup target has no process, so its membership is made up
    /// here.
    fn made_up(&self, path: &CStr) -> Option<&[u8]> {
        match &self.target {
            Target::Cgroup { membership, .. } if path == c"/proc/self/cgroup" => Some(membership),
            // As in the host's PID namespace: the cgroup itself is the target.
            Target::Cgroup { .. } if path == c"/proc/self/ns/pid" => Some(b"pid:[4026531836]"),
            _ => None,
        }
    }
}

fn copy<'m>(text: &[u8], arena: &mut Arena<'m>) -> std::result::Result<&'m [u8], Errno> {
    let copy = arena.alloc(text.len())?;
    copy.copy_from_slice(text);
    Ok(copy)
}

/// True for the files of procfs and sysfs that have the same text for each process of the machine.
fn is_of_machine(path: &[u8]) -> bool {
    path.starts_with(b"/proc/") || path.starts_with(b"/sys/") && !path.starts_with(b"/sys/fs/")
}

fn is_cgroup(directory: &[u8]) -> bool {
    CString::new(directory).is_ok_and(|directory| kernel_file::is_cgroup(&directory))
}

impl Kernel for View {
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> std::result::Result<&'m [u8], Errno> {
        if let Some(text) = self.made_up(path) {
            return copy(text, arena);
        }
        self.read_with(path, arena, |path, arena| Live::default().read(path, arena))
    }

    fn read_long<'m>(
        &self,
        path: &CStr,
        arena: &mut Arena<'m>,
    ) -> std::result::Result<&'m [u8], Errno> {
        self.read_with(path, arena, |path, arena| {
            Live::default().read_long(path, arena)
        })
    }

    fn read_link<'m>(
        &self,
        path: &CStr,
        arena: &mut Arena<'m>,
    ) -> std::result::Result<&'m [u8], Errno> {
        match self.made_up(path) {
            Some(text) => copy(text, arena),
            None => Live::default().read_link(&self.real(path)?, arena),
        }
    }

    fn exists(&self, path: &CStr) -> bool {
        self.real(path).is_ok_and(|real| sys::exists(&real))
    }

    fn boot_us(&self) -> std::result::Result<u64, Errno> {
        Live::default().boot_us()
    }
}

impl Container for View {
    /// The container's cgroups, as directories that this process can open: with the target's root as
    /// prefix.
    fn cgroups<'m>(
        &self,
        arena: &mut Arena<'m>,
    ) -> std::result::Result<ContainerCgroups<'m>, Errno> {
        if let Some(located) = &*self.located.borrow() {
            return located.in_arena(arena);
        }
        let mut cgroups = locate::locate(self, arena)?;
        for dir in cgroups.dirs.iter_mut().flatten() {
            dir.directory = copy(&[self.root.as_bytes(), dir.directory].concat(), arena)?;
            dir.mount_point_length += self.root.len();
        }
        Ok(cgroups)
    }

    fn tasks(
        &self,
        cgroups: &ContainerCgroups,
        sample: Option<&Sample>,
        settings: &Settings,
        arena: &mut Arena,
    ) -> std::result::Result<Tasks, Errno> {
        if let Target::Own = self.target {
            return Live::default().tasks(cgroups, sample, settings, arena);
        }
        if let Some(Moment {
            tasks: Some(known), ..
        }) = &*self.moment.borrow()
        {
            return Ok(*known);
        }
        let tasks = self.count_tasks(cgroups, arena)?;
        if let Some(moment) = &mut *self.moment.borrow_mut() {
            moment.tasks = Some(tasks);
        }
        Ok(tasks)
    }

    fn account<'m, R>(
        &self,
        cgroups: &ContainerCgroups,
        settings: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Accounting, &mut Arena<'m>) -> std::result::Result<R, error::Failure>,
    ) -> std::result::Result<R, error::Failure> {
        if let Target::Own = self.target {
            return Live::default().account(cgroups, settings, sample, arena, with);
        }
        let mut accounting = self.accounting.borrow_mut();
        accounting.advance(sample);
        with(&accounting, arena)
    }

    fn load(
        &self,
        cgroups: &ContainerCgroups,
        sample: &Sample,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Load {
        if let Target::Own = self.target {
            return Live::default().load(cgroups, sample, settings, arena);
        }
        match self.sampled(cgroups, sample.age_us, settings, arena) {
            Some(found) => found.averages.extrapolate(&Reading::of(sample)).load,
            None => average::from_start(sample),
        }
    }
}
