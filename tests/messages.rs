//! `PROCLENS_LOG`: a message names the virtual file, the file that could not be read, the errno, what the program
//! got instead and the remedy, once for each virtual file. It goes to the program's own stderr or nowhere.

mod support;

use support::{Container, Output, Plan};

/// A file of the memory controller that cannot be read.
const UNREADABLE: &str = "mount --bind /proc/1/mem $MEMORY/memory.stat";
/// On v1: the memory controller's directory without any file.
const NO_FILES: &str = "mount -t tmpfs none $MEMORY";
/// A file with nothing in it.
const EMPTY_STAT: &str = "mount --bind /dev/null $MEMORY/memory.stat";

fn run(container: &Container, log: &str, words: &[&str]) -> Output {
    let program = container.program(words).preloaded();
    program.env("PROCLENS_LOG", log).output()
}

#[test]
fn a_message_names_the_file_the_reason_and_the_remedy() {
    needs_containers!();
    let setups = [
        (UNREADABLE, "cannot read "),
        (EMPTY_STAT, "unexpected content in "),
        (NO_FILES, "cannot read "),
    ];
    // On v2 a directory without files is no cgroup.
    let is_v1 = std::path::Path::new("/sys/fs/cgroup/memory").exists();
    for (setup, reason) in setups.into_iter().take(if is_v1 { 3 } else { 2 }) {
        let container = Plan::usual().setup(setup).start();
        let files = ["cat", "/proc/meminfo", "/proc/vmstat", "/proc/meminfo"];
        let output = run(&container, "warn", &files);
        assert_eq!(output.status, Some(0), "{output:?}");
        let lines: Vec<_> = output.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "once for each virtual file: {output:?}");
        for (line, name) in lines.iter().zip(["meminfo", "vmstat"]) {
            assert!(
                line.starts_with(&format!("proclens: {name}: {reason}")),
                "{line}"
            );
            let directory = container.directory("memory").display().to_string();
            assert!(line.contains(&directory), "{line}");
            assert!(line.contains("(errno "), "{line}");
            assert!(line.contains("the kernel's own file"), "{line}");
            assert!(
                line.contains("; ") && line.contains("proclens explain"),
                "{line}"
            );
        }
        assert_eq!(run(&container, "off", &files).stderr, "");
    }
}

/// A program that sees the host's time on purpose gets no message.
#[test]
fn no_message_about_the_hosts_time() {
    needs_containers!();
    let container = Plan::usual().start();
    let files = ["cat", "/proc/uptime", "/proc/self/stat"];
    let program = container.program(&files).preloaded();
    let program = program.env("PROCLENS_TIME", "host");
    assert_eq!(program.env("PROCLENS_LOG", "warn").output().stderr, "");
}

/// Descriptor 2 is a data file when the library would write a message.
#[test]
fn no_message_in_a_data_file() {
    needs_containers!();
    let container = Plan::usual().setup(UNREADABLE).start();
    for (script, shown) in [
        ("head -n 1 /proc/meminfo >/dev/null 2>/dev/shm/d", true),
        ("exec 2>/dev/shm/d; read -r a </proc/meminfo", false),
        (
            "exec 2>&-; exec 5>/dev/shm/d; exec 2>&5; read -r a </proc/meminfo",
            false,
        ),
    ] {
        let script = format!("rm -f /dev/shm/d; {script}; wc -c </dev/shm/d");
        let output = run(&container, "warn", &["bash", "-c", &script]);
        let length = output.stdout.trim().parse::<u64>();
        let length = length.unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(length > 0, shown, "{script}: {output:?}");
    }
    // A program that was started without stderr puts a file there.
    let script = "use POSIX; open(D, q(>/dev/shm/d)); POSIX::dup2(fileno(D), 2); open(M, q(/proc/meminfo)); print D 2";
    let script = format!("exec 2>&-; exec perl -e '{script}'");
    run(&container, "warn", &["bash", "-c", &script]);
    assert_eq!(container.without("cat /dev/shm/d"), "2");
}

/// Standard error is a pipe without a reader, a full pipe, or a file at its size limit.
#[test]
fn no_message_ends_or_stops_a_program() {
    needs_containers!();
    let container = Plan::usual().setup(UNREADABLE).start();
    let without_reader =
        "exec 3>&1; { sleep 0.3; head -n 1 /proc/meminfo 2>&1 >&3; echo $? >&3; } | true";
    let full = "$^F = 255; pipe(R, W); use Fcntl; fcntl(W, F_SETFL, O_NONBLOCK | O_WRONLY); \
        1 while syswrite(W, q(x) x 4096); fcntl(W, F_SETFL, O_WRONLY); open(STDERR, q(>&W)); \
        $SIG{ALRM} = q(DEFAULT); alarm 10; exec qw(head -n 1 /proc/meminfo)";
    let full = format!("perl -e '{full}'; echo $?");
    let limit = "dd if=/dev/zero of=/dev/shm/full bs=1024 count=8 2>/dev/null; \
        (ulimit -f 8; exec head -n 1 /proc/meminfo 2>>/dev/shm/full); echo $?";
    for script in [without_reader, &full, limit] {
        let output = run(&container, "warn", &["bash", "-c", script]);
        let lines: Vec<_> = output.stdout.lines().collect();
        assert!(
            lines.first().is_some_and(|l| l.starts_with("MemTotal")),
            "{script}: {output:?}"
        );
        assert_eq!(lines.last(), Some(&"0"), "{script}: {output:?}");
    }
}

/// With the settings of a whole image, a terminal and a pipe get messages, and a file gets none.
#[test]
fn messages_by_the_settings_file() {
    needs_containers!();
    let conf = "mount -t tmpfs none /mnt; cp -a /etc/passwd /mnt; cp -a /etc/ld.so.cache /mnt || true; mount --bind /mnt /etc; echo 'log = warn' >/etc/proclens.conf";
    let container = Plan::usual()
        .setup(&format!("{UNREADABLE}; {conf}"))
        .start();
    let words = [
        "bash",
        "-c",
        "head -n 1 /proc/meminfo; head -n 1 /proc/meminfo 2>/dev/shm/d; wc -c </dev/shm/d",
    ];
    let output = container.program(&words).preloaded().output();
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert_eq!(output.stdout.lines().last(), Some("0"), "{output:?}");
}
