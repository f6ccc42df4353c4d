//! `proclens check`: tests whether the library is found, loaded and active. If not, prints why and what to
//! do.

use crate::commands::install::{LIBRARY, PRELOAD, paths_in_preload, quoted};
use crate::inspect::elf::{self, Elf, File, Libc};
use crate::inspect::processes;
use crate::inspect::sources::Sources;
use crate::inspect::target::Target;
use crate::inspect::view::View;
use crate::output::failure::{Failure, Result};
use crate::output::style::{BAD, DIM, GOOD, WARNING};
use proclens::cgroup::kernel::Kernel;
use proclens::cgroup::locate::Controller;
use proclens::error::ErrorKind;
use proclens::runtime::config::EVERYONES_PRELOAD;
use serde::Serialize;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The result of the check.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    /// The library works in the program that was checked, or in this container's programs.
    active: bool,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    what: String,
    /// What to do.
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Good,
    /// Useful information; nothing needs to be done.
    Note,
    Problem,
}

/// The findings so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, what: impl Into<String>) {
        self.add(Level::Good, what.into(), None);
    }

    fn note(&mut self, what: impl Into<String>, remedy: &str) {
        self.add(Level::Note, what.into(), Some(remedy.to_owned()));
    }

    fn problem(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Problem, what.into(), Some(remedy.into()));
    }

    fn add(&mut self, level: Level, what: String, remedy: Option<String>) {
        self.0.push(Finding {
            level,
            what,
            remedy,
        });
    }
}

pub fn run(pid: Option<u32>, command: &[OsString], json: bool, out: &mut dyn Write) -> Result<u8> {
    Ok(match look(pid, command, json, out) {
        Ok(works) => u8::from(!works),
        Err(failure) => {
            if !failure.is_silent() {
                anstream::eprintln!("proclens: {failure}");
            }
            2
        }
    })
}

/// Prints the findings. Returns true if the library is active and there is no problem.
fn look(pid: Option<u32>, command: &[OsString], json: bool, out: &mut dyn Write) -> Result<bool> {
    let mut findings = Findings::default();
    let target = pid.map(Target::process).transpose()?;
    let program = command.first().map(|name| {
        found_in_path(name).ok_or_else(|| {
            let name = name.to_string_lossy();
            let searched = if name.contains('/') { "" } else { " in PATH" };
            Failure::new(&name, format_args!("no such program{searched}"))
        })
    });
    let program = program.transpose()?;
    let view = View::new(target.unwrap_or(Target::Own));
    container(&view, &mut findings);
    let sources = view.sources();
    let loaded = match (pid, program) {
        (Some(pid), _) => running(pid, &mut findings)?,
        (_, Some(path)) => {
            named_by_preloads(&mut findings);
            program_file(&path, &mut findings, 0)?
                .is_some_and(|runs| !left_out(&runs, &sources, &mut findings))
        }
        _ => here(&sources, &mut findings)?,
    };
    if loaded && pid.is_none() {
        killing_filter(&mut findings);
    }
    settings(&sources, &mut findings);
    beside_lxcfs(pid, &mut findings);
    let active = loaded && sources.settings().on;
    let sound = findings
        .0
        .iter()
        .all(|finding| finding.level != Level::Problem);
    print(
        &Report {
            schema: 1,
            active,
            findings: findings.0,
        },
        json,
        out,
    )?;
    out.flush()?;
    Ok(active && sound)
}

fn print(report: &Report, json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, report).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    for finding in &report.findings {
        let (style, mark) = match finding.level {
            Level::Good => (GOOD, "ok"),
            Level::Note => (WARNING, "note"),
            Level::Problem => (BAD, "problem"),
        };
        writeln!(out, "{style}{mark:<8}{style:#}{}", finding.what)?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "        {DIM}{remedy}{DIM:#}")?;
        }
    }
    let verdict = if report.active {
        "the library is active"
    } else {
        "the library is not active"
    };
    writeln!(out, "{verdict}")?;
    Ok(())
}

/// Checks whether this is a container, with a cgroup of its own.
fn container(view: &View, findings: &mut Findings) {
    let own = view.compute(|view, mut arena| {
        let cgroups = view
            .cgroups(&mut arena)
            .map_err(|e| (ErrorKind::Unreadable, e))?;
        let limited = [Controller::Memory, Controller::Cpu, Controller::Cpuset];
        Ok(limited
            .iter()
            .any(|controller| cgroups.dir(*controller).is_ok()))
    });
    match own {
        Ok(true) => findings.good("a cgroup of its own: there are numbers to show"),
        Ok(false) => findings.note(
            "no cgroup of its own: programs see the host's numbers, with the library as without",
            "run it in a container, or set limits with PROCLENS_CPUS and PROCLENS_MEMORY",
        ),
        Err((kind, _)) => findings.problem(
            String::from_utf8_lossy(kind.text()),
            "mount /proc and /sys/fs/cgroup in the container",
        ),
    }
}

/// Without a program: checks what the next program that starts here would get.
fn here(sources: &Sources, findings: &mut Findings) -> Result<bool> {
    let named = named_by_preloads(findings);
    if !named {
        findings.problem(
            "nothing loads the library: neither LD_PRELOAD nor /etc/ld.so.preload names it",
            "`proclens install`, or set LD_PRELOAD to the path of libproclens.so",
        );
        return Ok(false);
    }
    let programs: Vec<_> = ["sh", "true", "cat"]
        .iter()
        .filter_map(found_in_path)
        .collect();
    // A program that PROCLENS_SKIP names shows nothing about the others.
    let meant = programs.iter().find(|path| !skips(path, sources));
    match meant.or(programs.first()) {
        Some(path) => Ok(program_file(path, findings, 0)?
            .is_some_and(|runs| !left_out(&runs, sources, findings))),
        None => {
            findings.note(
                "there is no shell here to test it with",
                "`proclens check -- PROGRAM` tests a program that runs here",
            );
            Ok(true)
        }
    }
}

/// Checks the libraries in LD_PRELOAD and /etc/ld.so.preload. Returns true if this library is among them.
fn named_by_preloads(findings: &mut Findings) -> bool {
    let mut named = false;
    let variable = preload_variable();
    for path in variable
        .split([' ', ':'])
        .filter(|path| path.contains(LIBRARY))
    {
        named = true;
        let absent = "set LD_PRELOAD to the path of libproclens.so, or unset it";
        named_library("LD_PRELOAD", path, absent, findings);
    }
    for path in paths_in_preload(&preload_text()).filter(|path| path.contains(LIBRARY)) {
        named = true;
        let absent = "`proclens install` puts it there, `proclens uninstall` removes the line";
        named_library(PRELOAD, path, absent, findings);
        for_all_users(path, findings);
        in_other_roots(path, findings);
    }
    named
}

fn preload_variable() -> String {
    let variable = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    variable.to_string_lossy().into_owned()
}

fn preload_text() -> String {
    String::from_utf8_lossy(&fs::read(PRELOAD).unwrap_or_default()).into_owned()
}

/// Checks a library that a preload names. `absent` is the remedy if the file does not exist.
fn named_library(by: &str, path: &str, absent: &str, findings: &mut Findings) {
    // Without a slash, the linker searches its own directories. Running a program shows whether it finds
    // the file.
    if !path.contains('/') {
        return;
    }
    let found = expanded(path)
        .into_iter()
        .find_map(|path| elf::read(Path::new(&path)).ok().map(|file| (path, file)));
    match found {
        None => findings.problem(
            format!("{by} names {path}, which does not exist or cannot be read: every program reports that when it starts"),
            absent,
        ),
        Some((path, File::Elf(library))) if library.soname.as_deref() == Some(LIBRARY) => {
            let readable = fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o004 != 0);
            if library.bits != 64 || library.machine != proclens::sys::arch::ELF_MACHINE {
                findings.problem(
                    format!("{by} names {path}, which is for another machine ({}-bit, number {})", library.bits, library.machine),
                    "use the library of the release for this machine",
                );
            } else if !readable {
                findings.problem(
                    format!("{by} names {path}, which some users may not read"),
                    format!("chmod 644 {}", quoted(&path)),
                );
            } else {
                findings.good(format!("{by} names {path}: a library for this machine"));
            }
        }
        Some((path, _)) => findings.problem(
            format!("{by} names {path}, which is not the library of proclens"),
            "copy libproclens.so of a release there",
        ),
    }
    if !path.starts_with('/') {
        findings.problem(
            format!("{by} names {path}, which depends on the directory where a program starts"),
            "give an absolute path",
        );
    }
}

/// Checks that all users can use the preload. The dynamic linker reads the preload file and opens the
/// library with the rights of the user who starts the program.
fn for_all_users(path: &str, findings: &mut Findings) {
    let mode = |path: &Path| fs::metadata(path).map_or(0, |m| m.permissions().mode());
    if mode(Path::new(PRELOAD)) & 0o004 == 0 {
        findings.problem(
            format!(
                "{PRELOAD} is not readable for other users: the library is not active for them"
            ),
            format!("chmod 644 {PRELOAD}"),
        );
    }
    let found = expanded(path)
        .into_iter()
        .find_map(|path| Path::new(&path).canonicalize().ok());
    let closed = found.and_then(|library| {
        let directories = library.ancestors().skip(1);
        directories
            .filter(|directory| mode(directory) & 0o001 == 0)
            .last()
            .map(Path::to_owned)
    });
    if let Some(directory) = closed {
        let directory = directory.display();
        findings.problem(
            format!("{PRELOAD} names {path}, but other users may not enter {directory}: the library is not active for them"),
            "`proclens install` puts the library where all users may read it",
        );
    }
}

/// Checks that the library exists in other root directories. Programs with another root read the same
/// `/etc/ld.so.preload` only in a chroot, but the same `LD_PRELOAD` everywhere. A root with such a file
/// must have the library.
fn in_other_roots(path: &str, findings: &mut Findings) {
    let own = processes::root(std::process::id());
    let mut seen = Vec::new();
    for pid in processes::all() {
        let Some(root) =
            processes::root(pid).filter(|root| Some(*root) != own && !seen.contains(root))
        else {
            continue;
        };
        seen.push(root);
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let text = processes::file_inside(pid, EVERYONES_PRELOAD, 64 << 10).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if paths_in_preload(&text).any(|line| line == path) {
            let there = expanded(path)
                .iter()
                .any(|path| root.join(path.trim_start_matches('/')).exists());
            if !there {
                findings.problem(
                    format!("process {pid} has a root directory of its own whose {PRELOAD} names {path}, which that root does not have"),
                    format!("proclens install --root /proc/{pid}/root"),
                );
            }
        }
    }
}

/// The path with each possible value of `$LIB`.
fn expanded(path: &str) -> Vec<String> {
    match path.contains("$LIB") || path.contains("${LIB}") {
        true => crate::commands::install::LIBS
            .iter()
            .map(|lib| path.replace("${LIB}", lib).replace("$LIB", lib))
            .collect(),
        false => vec![path.to_owned()],
    }
}

/// The file that runs (a script's interpreter), if the dynamic linker loads the library into it.
fn program_file(path: &Path, findings: &mut Findings, depth: u32) -> Result<Option<PathBuf>> {
    let name = path.display();
    let file = match elf::read(path) {
        Ok(file) => file,
        // The interpreter of a script is missing, so the script does not start.
        Err(failure) if matches!(path.try_exists(), Ok(false)) => {
            findings.problem(failure.to_string(), "install it, or correct the script");
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    match file {
        File::Script {
            interpreter,
            argument,
        } if depth < 4 => {
            let env = interpreter.file_name() == Some(OsStr::new("env"));
            let runs = match argument.as_deref().filter(|_| env) {
                Some(argument) => {
                    let word = run_by_env(argument);
                    let Some(path) = word.and_then(found_in_path) else {
                        findings.problem(
                            format!(
                                "{name} is a script for {}, which is not a program in PATH",
                                word.unwrap_or(argument)
                            ),
                            "install it, or correct the script",
                        );
                        return Ok(None);
                    };
                    path
                }
                None => interpreter,
            };
            findings.good(format!("{name} is a script for {}", runs.display()));
            program_file(&runs, findings, depth + 1)
        }
        File::Elf(elf) => Ok(dynamic_program(path, &elf, findings).then(|| path.to_owned())),
        _ => {
            findings.problem(
                format!("{name} is not a program of this machine"),
                "name the program that runs it",
            );
            Ok(None)
        }
    }
}

/// The program in the single argument that the kernel passes to a script's `env`. All of it is the name,
/// unless it begins with an option (`-S` splits what follows into words) or sets a variable.
pub fn run_by_env(argument: &str) -> Option<&str> {
    if !argument.starts_with('-') && !argument.contains('=') {
        return Some(argument);
    }
    // Options with a value: in the same word, or else in the next one.
    const VALUED: [char; 3] = ['u', 'C', 'a'];
    fn letters(word: &str) -> Option<&str> {
        word.strip_prefix('-').filter(|rest| !rest.starts_with('-'))
    }
    let mut words = argument.split_whitespace();
    loop {
        let word = words.next()?;
        let split = letters(word)
            .and_then(|letters| letters.split_once('S'))
            .filter(|(before, _)| !before.contains(VALUED));
        let word = match split {
            Some((_, rest)) => rest,
            None => word.strip_prefix("--split-string=").unwrap_or(word),
        };
        let valued = letters(word)
            .and_then(|letters| Some(letters.find(VALUED)? + 1 == letters.len()))
            .unwrap_or(matches!(word, "--unset" | "--chdir" | "--argv0"));
        if valued {
            words.next();
        } else if !word.is_empty() && !word.starts_with('-') && !word.contains('=') {
            return Some(word);
        }
    }
}

const GO: &str =
    "contains Go code, which calls the kernel without libc: the library cannot reach it";

/// The remedy for a program that the library cannot be loaded into.
const UNREACHED: &str = "start it with `proclens run -- PROGRAM`; an agent that can read another /proc can use that of `proclens export DIR`; a program that needs only its limits can use `eval \"$(proclens env)\"`";

fn dynamic_program(path: &Path, elf: &Elf, findings: &mut Findings) -> bool {
    let name = path.display();
    if elf.go {
        findings.problem(format!("{name} {GO}"), UNREACHED);
        return false;
    }
    let Some(interpreter) = &elf.interpreter else {
        findings.problem(
            format!("{name} is static: no library can be loaded into it"),
            UNREACHED,
        );
        return false;
    };
    if elf.bits != 64 || elf.machine != proclens::sys::arch::ELF_MACHINE {
        findings.problem(
            format!(
                "{name} is a {}-bit program for machine number {}, the library is a 64-bit one for {}",
                elf.bits,
                elf.machine,
                proclens::sys::arch::ELF_MACHINE
            ),
            "use a program of this machine's word size",
        );
        return false;
    }
    let libc = elf.libc();
    if libc == Some(Libc::Musl) && !preload_variable().contains(LIBRARY) {
        findings.problem(
            format!("{name} uses musl, which reads LD_PRELOAD but no {PRELOAD}"),
            "set LD_PRELOAD to the path of libproclens.so in the image (ENV LD_PRELOAD=…)",
        );
        return false;
    }
    if let Some(why) = secure(path) {
        let in_file = paths_in_preload(&preload_text()).any(|path| path.contains(LIBRARY));
        if in_file {
            findings.note(
                format!("{name} {why}: LD_PRELOAD does not reach it, {PRELOAD} does"),
                "nothing to be done",
            );
        } else {
            findings.problem(
                format!("{name} {why}: LD_PRELOAD does not reach it"),
                "`proclens install` writes /etc/ld.so.preload, which does",
            );
            return false;
        }
    }
    // The linker finds `$ORIGIN` in the path that it is given. The kernel gives it the file behind all links
    // (`/usr/bin/java`).
    let listed = Command::new(interpreter)
        .arg("--list")
        .arg(path.canonicalize().as_deref().unwrap_or(path))
        .stdin(Stdio::null())
        .output();
    let (text, complaint) = match listed {
        Ok(output) => (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ),
        Err(error) => (String::new(), crate::output::failure::reason(&error)),
    };
    match text.lines().find(|line| line.contains(LIBRARY)) {
        Some(line) => {
            let which = line.split_whitespace().next().unwrap_or(LIBRARY);
            findings.good(format!(
                "{} loads {which} into {name}",
                interpreter.display()
            ));
            if watches_cpus(path, &text) {
                findings.note(
                    format!(
                        "{name} watches CPUs through the kernel: for it, online and present list every CPU that the \
                         container may use"
                    ),
                    "if it opens its rings by sysconf(_SC_NPROCESSORS_ONLN) or its affinity mask, run it with PROCLENS=off",
                );
            }
            true
        }
        None => {
            let said = complaint
                .lines()
                .next()
                .map(|line| format!(" ({line})"))
                .unwrap_or_default();
            findings.problem(
                format!(
                    "{} does not load the library into {name}{said}",
                    interpreter.display()
                ),
                "`proclens install`, or set LD_PRELOAD to the path of libproclens.so",
            );
            false
        }
    }
}

/// True if the program calls `bpf` or `perf_event_open`. `libraries` is the output of `ld.so --list`. True
/// for programs that contain libbpf, or read the kernel's event sources as perf does.
fn watches_cpus(path: &Path, libraries: &str) -> bool {
    let contains = |data: &[u8], text: &[u8]| memchr::memmem::find(data, text).is_some();
    libraries.contains("libbpf.so")
        || libraries.contains("libbcc")
        || std::fs::read(path).is_ok_and(|data| {
            contains(&data, b"libbpf: ") || contains(&data, b"event_source/devices")
        })
}

/// True if PROCLENS_SKIP names this program. The library compares the path with symbolic links resolved.
fn skips(program: &Path, sources: &Sources) -> bool {
    let real = without_links(program);
    sources.settings().skips(real.as_os_str().as_bytes())
}

fn left_out(program: &Path, sources: &Sources, findings: &mut Findings) -> bool {
    let skipped = skips(program, sources);
    if skipped {
        findings.problem(
            format!(
                "PROCLENS_SKIP excludes {}",
                without_links(program).display()
            ),
            "remove it from PROCLENS_SKIP",
        );
    }
    skipped
}

fn without_links(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// True if the library is loaded in a running process.
fn running(pid: u32, findings: &mut Findings) -> Result<bool> {
    let path = PathBuf::from(format!("/proc/{pid}/maps"));
    let maps = fs::read(&path);
    if processes::has_ended(pid) {
        return Err(Failure::of_ended(pid));
    }
    let maps = maps.map_err(|error| Failure::of_file(&path, &error))?;
    if processes::is_kernel_thread(pid) {
        findings.problem(
            format!(
                "process {pid} ({}) is a kernel thread, which reads no files through libc",
                processes::name(pid)
            ),
            "name a process that runs a program",
        );
        return Ok(false);
    }
    let sources = Sources::of_process(pid);
    let executable = processes::executable(pid).unwrap_or_default();
    let name = format!("process {pid} ({})", executable.to_string_lossy());
    if sources.settings().skips(executable.as_bytes()) {
        findings.problem(
            format!("PROCLENS_SKIP excludes {name}"),
            "remove it from PROCLENS_SKIP and start it again",
        );
        return Ok(false);
    }
    let file = elf::read(Path::new(&format!("/proc/{pid}/exe")));
    if matches!(&file, Ok(File::Elf(elf)) if elf.go) {
        findings.problem(format!("{name} {GO}"), UNREACHED);
        return Ok(false);
    }
    if let Some(path) = loaded(&maps) {
        findings.good(format!("{name} has loaded {path}"));
        return Ok(true);
    }
    match file {
        Ok(File::Elf(elf)) if elf.interpreter.is_none() => findings.problem(
            format!("{name} is static: no library can be loaded into it"),
            UNREACHED,
        ),
        _ => findings.problem(
            format!("{name} has not loaded the library"),
            "start it again after `proclens install` or with LD_PRELOAD; a wiped environment loses LD_PRELOAD",
        ),
    }
    Ok(false)
}

/// The path of the library in the text of `/proc/PID/maps`, from an executable mapping: a process that only
/// reads the file has none. The path, which may contain any character, is the sixth field.
fn loaded(maps: &[u8]) -> Option<String> {
    maps.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.splitn(6, |b| *b == b' ');
        let rights = fields.nth(1)?;
        let path = String::from_utf8_lossy(fields.nth(3)?.trim_ascii_start());
        (rights.contains(&b'x') && path.contains(LIBRARY)).then(|| path.into_owned())
    })
}

/// Checks whether the starter of this process installed a system call filter that kills a program in which
/// the library answers. Nothing shows such a filter to the library, so a program reads the files.
fn killing_filter(findings: &mut Findings) {
    let Some(cat) = found_in_path("cat") else {
        return;
    };
    let is_killed = |switch: Option<&str>| {
        let mut command = Command::new(&cat);
        command
            .args(["/proc/meminfo", "/proc/stat", "/proc/loadavg"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(switch) = switch {
            command.env("PROCLENS", switch);
        }
        let status = command.status();
        status.is_ok_and(|status| status.signal() == Some(libc::SIGSYS))
    };
    if is_killed(None) && !is_killed(Some("off")) {
        findings.problem(
            "a system call filter kills programs that read their container's files with the library",
            "change the filter so that it allows memfd_create, fchmod, dup3 and the other calls of the library, or fails calls instead of killing; until then set PROCLENS=off",
        );
    }
}

fn settings(sources: &Sources, findings: &mut Findings) {
    if let Some(problem) = sources.problem() {
        findings.problem(
            problem,
            "make it a file of `key = value` lines that all users may read",
        );
    }
    for given in sources.given().into_iter().filter(|given| !given.used) {
        let what = format!(
            "{}={} ({}) is ignored",
            given.name, given.value, given.source
        );
        let reason = given.reason.unwrap_or_default();
        if given.overridden {
            findings.note(what, &reason);
        } else {
            findings.problem(what, reason);
        }
    }
    if !sources.settings().on {
        findings.problem(
            "PROCLENS=off: the library passes everything through",
            "unset PROCLENS",
        );
    }
}

/// Checks for lxcfs. It serves the same files from another daemon's view, so half of the numbers would be
/// its own.
fn beside_lxcfs(pid: Option<u32>, findings: &mut Findings) {
    let process = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let table = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    let mounts: Vec<_> = lxcfs_mounts(&table).collect();
    if !mounts.is_empty() {
        findings.problem(
            format!(
                "lxcfs is mounted at {}: numbers of lxcfs and of proclens contradict each other",
                mounts.join(", ")
            ),
            "start the container without the lxcfs mounts, or set PROCLENS=off",
        );
    }
}

/// The mount points of lxcfs below /proc and /sys in the text of `mountinfo`.
fn lxcfs_mounts(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let shown = point.starts_with("/proc") || point.starts_with("/sys/devices");
        (filesystem.starts_with("fuse.lxcfs ") && shown).then_some(point)
    })
}

/// Why the dynamic linker would not trust the environment (`AT_SECURE`).
fn secure(path: &Path) -> Option<&'static str> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o6000 != 0 {
        return Some("runs with another user's rights when others start it");
    }
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: two C strings, and a null buffer of size 0, so nothing is written.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        )
    };
    (length > 0).then_some("has capabilities of its own")
}

/// Finds a program as the shell does.
pub fn found_in_path(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let name = name.as_ref();
    let executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(executable);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_env_is_found() {
        for (argument, program) in [
            ("head", Some("head")),
            ("head -n 1", Some("head -n 1")),
            ("-S head -n 1", Some("head")),
            ("-Shead -n 1", Some("head")),
            ("-vS head", Some("head")),
            ("--split-string=head -n 1", Some("head")),
            ("-u X head", Some("head")),
            ("-uX head", Some("head")),
            ("-S -i -u X --chdir /tmp A=b head c", Some("head")),
            ("A=b head", Some("head")),
            ("-S", None),
            ("-i", None),
        ] {
            assert_eq!(run_by_env(argument), program, "{argument}");
        }
    }

    #[test]
    fn lxcfs_is_found_by_its_file_system() {
        let table = "36 35 98:0 / /proc rw - proc proc rw\n\
            40 36 0:50 /proc/meminfo /proc/meminfo rw,nosuid - fuse.lxcfs lxcfs rw\n\
            41 36 0:50 /sys/devices/system/cpu /sys/devices/system/cpu rw - fuse.lxcfs lxcfs rw\n\
            42 36 0:50 / /var/lib/lxcfs rw - fuse.lxcfs lxcfs rw\n\
            43 36 0:51 / /proc/x rw - fuse.sshfs lxcfs rw\n";
        let found: Vec<_> = lxcfs_mounts(table).collect();
        assert_eq!(found, ["/proc/meminfo", "/sys/devices/system/cpu"]);
    }

    #[test]
    fn the_loaded_library_is_found_in_maps() {
        let data = b"7f00-7f10 r--p 00000000 fe:01 42        /a b\xff/libproclens.so\n";
        let code = b"7f10-7f20 r-xp 00010000 fe:01 42        /a b\xff/libproclens.so\n";
        assert_eq!(loaded(data), None);
        let all = [b"7000-7010 rwxp 00000000 00:00 0\n", &data[..], &code[..]].concat();
        assert_eq!(loaded(&all).unwrap(), "/a b\u{fffd}/libproclens.so");
    }
}
