//! `proclens check`: is the library found, loaded and active, and if not, why and what then.

use crate::elf::{self, Elf, File, Libc};
use crate::failure::{Failure, Result};
use crate::install::{LIBRARY, PRELOAD, paths_in_preload, quoted};
use crate::processes;
use crate::settings::Sources;
use crate::style::{BAD, DIM, GOOD, WARNING};
use crate::subject::Subject;
use crate::view::View;
use proclens::config::EVERYONES_PRELOAD;
use proclens::gather::{Controller, Kernel};
use proclens::log::Trouble;
use serde::Serialize;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    /// The library works in the program that was asked about, or in this container's programs.
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
    /// Worth knowing; nothing to be done.
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

pub fn run(
    pid: Option<u32>,
    command: &[OsString],
    json: bool,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    Ok(match look(pid, command, json, out) {
        Ok(works) => ExitCode::from(u8::from(!works)),
        Err(failure) => {
            if !failure.is_silent() {
                anstream::eprintln!("proclens: {failure}");
            }
            ExitCode::from(2)
        }
    })
}

/// Prints what was found; true if the library is active and nothing wants attention.
fn look(pid: Option<u32>, command: &[OsString], json: bool, out: &mut dyn Write) -> Result<bool> {
    let mut findings = Findings::default();
    let subject = pid.map(Subject::process).transpose()?;
    let program = command.first().map(|name| {
        found_in_path(name).ok_or_else(|| {
            let name = name.to_string_lossy();
            let place = if name.contains('/') { "" } else { " in PATH" };
            Failure::new(&name, format_args!("no such program{place}"))
        })
    });
    let program = program.transpose()?;
    let view = View::new(subject.unwrap_or(Subject::Own));
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
    settings(&sources, &mut findings);
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

/// Is there anything to be seen?
fn container(view: &View, findings: &mut Findings) {
    let own = view.ask(|view, mut arena| {
        let place = view
            .place(&mut arena)
            .map_err(|e| (Trouble::Unreadable, e))?;
        let limited = [Controller::Memory, Controller::Cpu, Controller::Cpuset];
        Ok(limited
            .iter()
            .any(|controller| place.home(*controller).is_ok()))
    });
    match own {
        Ok(true) => findings.good("a cgroup of its own: there are numbers to show"),
        Ok(false) => findings.note(
            "no cgroup of its own: programs see the host's numbers, with the library as without",
            "run it in a container, or hand in limits with PROCLENS_CPUS and PROCLENS_MEMORY",
        ),
        Err((trouble, _)) => findings.problem(
            String::from_utf8_lossy(trouble.text()),
            "mount /proc and /sys/fs/cgroup in the container",
        ),
    }
}

/// Without a program: what the next program that starts here would get.
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
    // One that PROCLENS_SKIP leaves out says nothing about the others.
    let meant = programs.iter().find(|path| !skips(path, sources));
    match meant.or(programs.first()) {
        Some(path) => Ok(program_file(path, findings, 0)?
            .is_some_and(|runs| !left_out(&runs, sources, findings))),
        None => {
            findings.note(
                "there is no shell here to try it with",
                "`proclens check -- PROGRAM` looks at the program that runs here",
            );
            Ok(true)
        }
    }
}

/// What LD_PRELOAD and /etc/ld.so.preload name; true if the library is among it.
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
        let absent = "`proclens install` puts it there, `proclens uninstall` takes the line away";
        named_library(PRELOAD, path, absent, findings);
        for_everybody(path, findings);
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

/// A file that somebody wants loaded; if it is not there, `absent` is what to do.
fn named_library(by: &str, path: &str, absent: &str, findings: &mut Findings) {
    // Without a slash it is looked for in the linker's own directories: whether it is there shows
    // when a program is tried.
    if !path.contains('/') {
        return;
    }
    let found = expanded(path)
        .into_iter()
        .find_map(|path| elf::read(Path::new(&path)).ok().map(|file| (path, file)));
    match found {
        None => findings.problem(
            format!("{by} names {path}, which is not there or cannot be read: every program says so when it starts"),
            absent,
        ),
        Some((path, File::Elf(library))) if library.soname.as_deref() == Some(LIBRARY) => {
            let readable = fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o004 != 0);
            if library.bits != 64 || library.machine != own_machine() {
                findings.problem(
                    format!("{by} names {path}, which is for another machine ({}-bit, number {})", library.bits, library.machine),
                    "take the library of the release for this machine",
                );
            } else if !readable {
                findings.problem(
                    format!("{by} names {path}, which not everybody may read"),
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
            format!("{by} names {path}, which depends on where a program starts"),
            "give an absolute path",
        );
    }
}

/// The preload file is read, and the library opened, with the rights of whoever starts a program.
fn for_everybody(path: &str, findings: &mut Findings) {
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
            "`proclens install` puts it where everybody may read it",
        );
    }
}

/// Programs that see another root see the same `/etc/ld.so.preload` only in a chroot, but the same
/// `LD_PRELOAD` everywhere: whoever has such a file must have the library.
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

/// The path with what `$LIB` may stand for.
fn expanded(path: &str) -> Vec<String> {
    match path.contains("$LIB") || path.contains("${LIB}") {
        true => crate::install::LIBS
            .iter()
            .map(|lib| path.replace("${LIB}", lib).replace("$LIB", lib))
            .collect(),
        false => vec![path.to_owned()],
    }
}

/// The file that runs, a script's interpreter, if the dynamic linker loads the library into it.
fn program_file(path: &Path, findings: &mut Findings, depth: u32) -> Result<Option<PathBuf>> {
    let name = path.display();
    let file = match elf::read(path) {
        Ok(file) => file,
        // A script's: the script does not start.
        Err(failure) if matches!(path.try_exists(), Ok(false)) => {
            findings.problem(failure.to_string(), "install it, or mend the script");
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
                                "{name} is a script for {}, which is no program in PATH",
                                word.unwrap_or(argument)
                            ),
                            "install it, or mend the script",
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
                format!("{name} is no program of this machine"),
                "name the program that runs it",
            );
            Ok(None)
        }
    }
}

/// The program in the one argument that the kernel gives to a script's `env`: all of it is the name,
/// unless it begins with an option (`-S`: what follows is split into words) or sets a variable.
fn run_by_env(argument: &str) -> Option<&str> {
    if !argument.starts_with('-') && !argument.contains('=') {
        return Some(argument);
    }
    // Options that have a value: in the same word, or else in the next.
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

fn dynamic_program(path: &Path, elf: &Elf, findings: &mut Findings) -> bool {
    let name = path.display();
    let Some(interpreter) = &elf.interpreter else {
        findings.problem(
            format!("{name} is static: no library can be loaded into it"),
            "`eval \"$(proclens env)\"` sets what such programs read instead",
        );
        return false;
    };
    if elf.bits != 64 || elf.machine != own_machine() {
        findings.problem(
            format!(
                "{name} is a {}-bit program for machine number {}, the library is a 64-bit one for {}",
                elf.bits,
                elf.machine,
                own_machine()
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
    let listed = Command::new(interpreter)
        .arg("--list")
        .arg(path)
        .stdin(Stdio::null())
        .output();
    let (text, complaint) = match listed {
        Ok(output) => (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ),
        Err(error) => (String::new(), crate::failure::reason(&error)),
    };
    match text.lines().find(|line| line.contains(LIBRARY)) {
        Some(line) => {
            let which = line.split_whitespace().next().unwrap_or(LIBRARY);
            findings.good(format!(
                "{} loads {which} into {name}",
                interpreter.display()
            ));
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

/// Does PROCLENS_SKIP name this program? The library looks at the path without links.
fn skips(program: &Path, sources: &Sources) -> bool {
    let real = without_links(program);
    sources.settings().skips(real.as_os_str().as_bytes())
}

fn left_out(program: &Path, sources: &Sources, findings: &mut Findings) -> bool {
    let skipped = skips(program, sources);
    if skipped {
        findings.problem(
            format!(
                "PROCLENS_SKIP leaves {} out",
                without_links(program).display()
            ),
            "take it out of PROCLENS_SKIP",
        );
    }
    skipped
}

fn without_links(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Is it loaded in a process that runs?
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
            format!("PROCLENS_SKIP leaves {name} out"),
            "take it out of PROCLENS_SKIP and start it again",
        );
        return Ok(false);
    }
    if let Some(path) = loaded(&maps) {
        findings.good(format!("{name} has loaded {path}"));
        return Ok(true);
    }
    let file = elf::read(Path::new(&format!("/proc/{pid}/exe")));
    match file {
        Ok(File::Elf(elf)) if elf.interpreter.is_none() => findings.problem(
            format!("{name} is static: no library can be loaded into it"),
            "`proclens env` prints the variables that such programs read instead",
        ),
        _ => findings.problem(
            format!("{name} has not loaded the library"),
            "start it again after `proclens install` or with LD_PRELOAD; a wiped environment loses LD_PRELOAD",
        ),
    }
    Ok(false)
}

/// The library in the text of `/proc/PID/maps`: whoever only reads the file has nothing of it that
/// can be executed. The path, whatever is in it, is the sixth field.
fn loaded(maps: &[u8]) -> Option<String> {
    maps.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.splitn(6, |b| *b == b' ');
        let rights = fields.nth(1)?;
        let path = String::from_utf8_lossy(fields.nth(3)?.trim_ascii_start());
        (rights.contains(&b'x') && path.contains(LIBRARY)).then(|| path.into_owned())
    })
}

fn settings(sources: &Sources, findings: &mut Findings) {
    if let Some(trouble) = sources.trouble() {
        findings.problem(
            trouble,
            "make it a file of `key = value` lines that everybody may read",
        );
    }
    for given in sources.given().into_iter().filter(|given| !given.used) {
        let what = format!(
            "{}={} ({}) is ignored",
            given.name, given.value, given.source
        );
        let reason = given.reason.unwrap_or_default();
        if reason.ends_with("says otherwise") {
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

/// Why the dynamic linker would distrust the environment (`AT_SECURE`).
fn secure(path: &Path) -> Option<&'static str> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o6000 != 0 {
        return Some("runs with another user's rights when others start it");
    }
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: two C strings, and no room to be written to.
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

/// `e_machine` of this program.
fn own_machine() -> u16 {
    if cfg!(target_arch = "aarch64") {
        object::elf::EM_AARCH64.0
    } else {
        object::elf::EM_X86_64.0
    }
}

/// As the shell finds programs.
fn found_in_path(name: impl AsRef<OsStr>) -> Option<PathBuf> {
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
    fn what_env_runs() {
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
    fn what_is_loaded() {
        let data = b"7f00-7f10 r--p 00000000 fe:01 42        /a b\xff/libproclens.so\n";
        let code = b"7f10-7f20 r-xp 00010000 fe:01 42        /a b\xff/libproclens.so\n";
        assert_eq!(loaded(data), None);
        let all = [b"7000-7010 rwxp 00000000 00:00 0\n", &data[..], &code[..]].concat();
        assert_eq!(loaded(&all).unwrap(), "/a b\u{fffd}/libproclens.so");
    }
}
