//! The kernel as a subject sees it: the paths that the core asks for, turned to where another
//! process's files are; and a note of all that was read, for `explain`.

use crate::failure::{Failure, Result};
use crate::processes;
use crate::settings::Sources;
use crate::subject::Subject;
use proclens::files::{DeviceStat, NodeFile, VirtualFile};
use proclens::gather::{self, Controller, Kernel, Place};
use proclens::ledger::{Ledger, Sample};
use proclens::live::Live;
use proclens::load::{self, Reading};
use proclens::log;
use proclens::sampler;
use proclens::settings::Settings;
use proclens::snapshot::{Load, Tasks};
use proclens::state::record::{Identity, Sampled};
use proclens::state::{self, Store};
use proclens::sys::memory::{Arena, work_in_block};
use proclens::sys::{self, Errno};
use proclens::tasks;
use proclens::{answer, log::Trouble};
use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// A file that was read for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub path: String,
    pub text: String,
}

/// What a program reads, and why it is the kernel's own where it is.
pub type Text = (Vec<u8>, Option<log::Failure>);

/// Where the kernel has `file` of the node `number`.
pub fn node_path(file: NodeFile, number: u64) -> String {
    let text = String::from_utf8_lossy;
    format!("{}{number}/{}", text(NodeFile::NODES), text(file.last()))
}

/// See the top of this file.
pub struct View {
    subject: Subject,
    /// In front of the container's own paths: empty, or `/proc/PID/root`.
    root: String,
    reads: RefCell<Vec<Read>>,
    /// Accounts of a container that is looked at from outside.
    ledger: RefCell<Box<Ledger>>,
}

impl View {
    pub fn new(subject: Subject) -> View {
        let root = match &subject {
            Subject::Process { pid, .. } => format!("/proc/{pid}/root"),
            _ => String::new(),
        };
        View {
            subject,
            root,
            reads: RefCell::default(),
            ledger: RefCell::new(Box::new(Ledger::new())),
        }
    }

    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What the settings of this subject are read from.
    pub fn sources(&self) -> Sources {
        match (&self.subject, self.subject.representative()) {
            (Subject::Own, _) => Sources::own(),
            (_, Some(pid)) => Sources::of_process(pid),
            (_, None) => Sources::none(),
        }
    }

    /// Asks the core, in memory of the question's own.
    pub fn ask<T>(
        &self,
        mut question: impl FnMut(&View, Arena) -> std::result::Result<T, log::Failure>,
    ) -> std::result::Result<T, log::Failure> {
        self.reads.borrow_mut().clear();
        work_in_block(
            |errno| (Trouble::NoMemory, errno),
            |(_, errno)| *errno == Errno::NO_ROOM,
            |arena| question(self, arena),
        )
    }

    /// What was read for the last question.
    pub fn reads(&self) -> Vec<Read> {
        self.reads.borrow().clone()
    }

    /// The text that a program of the subject reads in `file`, and why it is the kernel's own
    /// where it is.
    pub fn text(&self, file: VirtualFile, settings: &Settings) -> Result<Text> {
        self.text_of(
            file.path(),
            file.needs_host(),
            settings,
            |view, host, arena| answer::file(view, file, host, settings, arena).map(<[u8]>::to_vec),
        )
    }

    /// The same of a file of the NUMA node `number`.
    pub fn node_text(&self, file: NodeFile, number: u64, settings: &Settings) -> Result<Text> {
        let path = CString::new(node_path(file, number)).unwrap_or_default();
        self.text_of(&path, true, settings, |view, host, arena| {
            answer::node_file(view, file, number, host, settings, arena).map(<[u8]>::to_vec)
        })
    }

    /// The same of the counters of a block device.
    pub fn device_text(&self, file: DeviceStat, settings: &Settings) -> Result<Text> {
        let mut room = [0; 64];
        let path = file.path(&mut room).unwrap_or_default();
        self.text_of(path, true, settings, |view, host, arena| {
            answer::device_stat(view, file, host, arena).map(<[u8]>::to_vec)
        })
    }

    fn text_of(
        &self,
        path: &CStr,
        needs_host: bool,
        settings: &Settings,
        answer: impl Fn(&View, &[u8], Arena) -> std::result::Result<Vec<u8>, log::Failure>,
    ) -> Result<Text> {
        let host = |arena: &mut Arena| {
            self.read_long(path, arena)
                .map(<[u8]>::to_vec)
                .map_err(|e| (Trouble::Unreadable, e))
        };
        let of_kernel = || {
            let text = self.ask(|_, mut arena| host(&mut arena));
            self.subject.is_there()?;
            text.map_err(|failure| Failure::of_question(&path.to_string_lossy(), failure))
        };
        if !settings.on {
            return Ok((of_kernel()?, None));
        }
        let of_container = self.ask(|view, mut arena| {
            let host = match needs_host {
                true => host(&mut arena)?,
                false => Vec::new(),
            };
            answer(view, &host, arena)
        });
        match of_container {
            Ok(text) => Ok((text, None)),
            Err(failure) => Ok((of_kernel()?, Some(failure))),
        }
    }

    /// What the container's sampler left last, if there is or was one; `age_us` is the container's
    /// age.
    pub fn sampled(
        &self,
        place: &Place,
        age_us: u64,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Option<Sampled> {
        let identity = match self.subject {
            Subject::Own => state::identify(self, place, settings.cpus.is_some(), arena).ok()?,
            _ => self.identity(place)?,
        };
        let usual = state::DIRECTORIES.iter().copied();
        let given = settings.state;
        given
            .into_iter()
            .chain(usual.filter(|_| given.is_none()))
            .find_map(|directory| {
                let directory = [self.shared_root().as_bytes(), directory].concat();
                let store = Store {
                    directory: Some(&directory),
                    identity,
                };
                store.sampled(age_us).sampled
            })
    }

    /// The process of the container's sampler, as it is numbered here.
    pub fn sampler(&self, place: &Place) -> Option<u32> {
        if gather::is_in_initial_pid_namespace(self) {
            let home = place.home(Controller::Cpuacct).ok()?;
            let directory = OsStr::from_bytes(home.directory);
            let inside = processes::of_cgroup(directory.as_ref());
            return inside.into_iter().find(|pid| processes::is_sampler(*pid));
        }
        let representative = self.subject.representative();
        let namespace = processes::pid_namespace(representative.unwrap_or_else(std::process::id));
        processes::all()
            .find(|pid| processes::is_sampler(*pid) && processes::pid_namespace(*pid) == namespace)
    }

    /// The root directory below which the container keeps its state.
    fn shared_root(&self) -> String {
        match self.subject.representative() {
            Some(pid) => format!("/proc/{pid}/root"),
            None => String::new(),
        }
    }

    /// As [`state::identify`] says inside.
    fn identity(&self, place: &Place) -> Option<Identity> {
        let home = [
            Controller::Cpuacct,
            Controller::Cpu,
            Controller::Memory,
            Controller::Pids,
        ]
        .into_iter()
        .find_map(|controller| place.home(controller).ok())?;
        let directory = fs::metadata(String::from_utf8_lossy(home.directory).as_ref()).ok()?;
        let pid = self.subject.representative()?;
        let boot = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Identity {
            cgroup: [directory.dev(), directory.ino()],
            pid_namespace: fs::metadata(format!("/proc/{pid}/ns/pid")).ok()?.ino(),
            start_ticks: self.start_ticks().unwrap_or(0),
            boot: Identity::boot_of(&boot)?,
        })
    }

    /// Where the file is that the subject calls `path`.
    fn real(&self, path: &CStr) -> std::result::Result<CString, Errno> {
        let text = path.to_bytes();
        let turned = match &self.subject {
            Subject::Own => text.to_vec(),
            Subject::Process { pid, first, .. } => {
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
            Subject::Cgroup { oldest, .. } => match text.strip_prefix(b"/proc/1/") {
                Some(rest) => {
                    let oldest = oldest.ok_or(Errno::MISSING)?;
                    [format!("/proc/{oldest}/").as_bytes(), rest].concat()
                }
                None => text.to_vec(),
            },
        };
        CString::new(turned).map_err(|_| Errno::MISSING)
    }

    fn note(&self, path: &CStr, text: &[u8]) {
        self.reads.borrow_mut().push(Read {
            path: path.to_string_lossy().into_owned(),
            text: String::from_utf8_lossy(text).trim_end().to_owned(),
        });
    }

    /// The answer to `path` that no file gives: a cgroup is looked at without a process in it.
    fn made_up(&self, path: &CStr) -> Option<&[u8]> {
        match &self.subject {
            Subject::Cgroup { membership, .. } if path == c"/proc/self/cgroup" => Some(membership),
            // As in the host's PID namespace: the cgroup stands for itself.
            Subject::Cgroup { .. } if path == c"/proc/self/ns/pid" => Some(b"pid:[4026531836]"),
            _ => None,
        }
    }
}

fn copy<'m>(text: &[u8], arena: &mut Arena<'m>) -> std::result::Result<&'m [u8], Errno> {
    let piece = arena.piece(text.len())?;
    piece.copy_from_slice(text);
    Ok(piece)
}

impl Kernel for View {
    fn read<'m>(&self, path: &CStr, arena: &mut Arena<'m>) -> std::result::Result<&'m [u8], Errno> {
        if let Some(text) = self.made_up(path) {
            return copy(text, arena);
        }
        let real = self.real(path)?;
        let text = Live.read(&real, arena)?;
        self.note(&real, text);
        Ok(text)
    }

    fn read_long<'m>(
        &self,
        path: &CStr,
        arena: &mut Arena<'m>,
    ) -> std::result::Result<&'m [u8], Errno> {
        let real = self.real(path)?;
        let text = Live.read_long(&real, arena)?;
        self.note(&real, text);
        Ok(text)
    }

    fn read_link<'m>(
        &self,
        path: &CStr,
        arena: &mut Arena<'m>,
    ) -> std::result::Result<&'m [u8], Errno> {
        match self.made_up(path) {
            Some(text) => copy(text, arena),
            None => Live.read_link(&self.real(path)?, arena),
        }
    }

    fn exists(&self, path: &CStr) -> bool {
        self.real(path).is_ok_and(|real| sys::exists(&real))
    }

    fn boot_us(&self) -> std::result::Result<u64, Errno> {
        Live.boot_us()
    }

    /// The directories of the place are those of this process: the root is in front of them.
    fn place<'m>(&self, arena: &mut Arena<'m>) -> std::result::Result<Place<'m>, Errno> {
        let mut place = gather::locate(self, arena)?;
        for home in place.homes.iter_mut().flatten() {
            home.directory = copy(&[self.root.as_bytes(), home.directory].concat(), arena)?;
            home.top += self.root.len();
        }
        Ok(place)
    }

    fn tasks(&self, place: &Place, arena: &mut Arena) -> std::result::Result<Tasks, Errno> {
        let Subject::Cgroup { .. } = self.subject else {
            return tasks::count(self, self.root.as_bytes(), place, arena);
        };
        let home = [Controller::Pids, Controller::Memory, Controller::Cpu]
            .into_iter()
            .find_map(|controller| place.home(controller).ok())
            .ok_or(Errno::MISSING)?;
        tasks::count_in_cgroup(&sys::open(c"/proc")?, home.directory, arena)
    }

    fn account<'m, R>(
        &self,
        place: &Place,
        settings: &Settings,
        sample: &Sample,
        arena: &mut Arena<'m>,
        with: impl FnOnce(&Ledger, &mut Arena<'m>) -> std::result::Result<R, log::Failure>,
    ) -> std::result::Result<R, log::Failure> {
        if let Subject::Own = self.subject {
            return Live.account(place, settings, sample, arena, with);
        }
        let mut ledger = self.ledger.borrow_mut();
        ledger.advance(sample);
        with(&ledger, arena)
    }

    fn load(
        &self,
        place: &Place,
        sample: &Sample,
        tasks: &Tasks,
        settings: &Settings,
        arena: &mut Arena,
    ) -> Load {
        if let Subject::Own = self.subject {
            return Live.load(place, sample, tasks, settings, arena);
        }
        match self.sampled(place, sample.age_us, settings, arena) {
            Some(found) => {
                found
                    .averages
                    .bridge(&Reading::of(
                        sample,
                        sampler::pressure_us(self, place, arena),
                    ))
                    .load
            }
            None => load::from_start(sample),
        }
    }
}
