//! `proclens metrics` and `proclens install --to`, run as users run them.

mod support;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{library, scratch};

const TOOL: &str = env!("CARGO_BIN_EXE_proclens");
const REPO: &str = env!("CARGO_MANIFEST_DIR");

fn tool(arguments: &[&str]) -> Output {
    Command::new(TOOL).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The series of a text in one of the two formats, with their values. Panics if the text breaks a rule of
/// the format. `scripts/test monitoring` uses parsers of other projects.
fn series(text: &str, openmetrics: bool) -> HashMap<String, f64> {
    let mut family = String::new();
    let mut kind = String::new();
    let mut found = HashMap::new();
    let mut ended = false;
    for line in text.lines() {
        assert!(!ended, "text after # EOF");
        if line == "# EOF" {
            ended = true;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            (family, kind) = (name.to_owned(), of.to_owned());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name == family && name.ends_with(unit), "{line}");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = match kind.as_str() {
                "counter" if openmetrics => "_total",
                "info" if openmetrics => "_info",
                "gauge" | "counter" => "",
                other => panic!("type {other}"),
            };
            assert_eq!(name, format!("{family}{suffix}"), "{line}");
            let value: f64 = value.parse().expect(line);
            assert!(value >= 0.0, "{line}");
            let again = found.insert(series.to_owned(), value);
            assert_eq!(again, None, "{line}");
        }
    }
    assert_eq!(ended, openmetrics, "# EOF");
    found
}

fn samples(text: &str) -> HashMap<String, f64> {
    series(text, true)
}

/// A server of the metrics on a free port.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(more: &[&str]) -> Server {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let child = Command::new(TOOL)
            .args(["metrics", "--listen", &address])
            .args(more)
            .spawn()
            .unwrap();
        let server = Server { child, address };
        server.connect();
        server
    }

    fn connect(&self) -> TcpStream {
        let connected = (0..200).find_map(|_| {
            TcpStream::connect(&self.address)
                .inspect_err(|_| std::thread::sleep(Duration::from_millis(50)))
                .ok()
        });
        connected.expect("the server")
    }

    fn send(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect(answer).1
}

#[test]
fn metrics_of_a_container_are_its_numbers() {
    if !support::containers() {
        return;
    }
    let output = Command::new(format!("{REPO}/scripts/lab/container"))
        .args(["--memory", "512M", "--cpus", "1", "--", TOOL, "metrics"])
        .output()
        .unwrap();
    let found = samples(&text(&output));
    assert_eq!(found["proclens_cpus"], 1.0);
    assert_eq!(found["proclens_memory_total_bytes"], f64::from(512 << 20));
    assert_eq!(
        found["container_spec_memory_limit_bytes"],
        f64::from(512 << 20)
    );
    assert!(found["proclens_uptime_seconds"] < 60.0);
    for name in ["container_cpu_usage_seconds_total", "proclens_load1"] {
        assert!(found.contains_key(name), "{name}");
    }
}

#[test]
fn metrics_in_a_file_and_over_http() {
    let path = scratch().join("metrics.prom");
    let name = path.to_str().unwrap();
    text(&tool(&["metrics", "--textfile", name]));
    series(&fs::read_to_string(&path).unwrap(), false);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = tool(&["metrics", "--listen", &address]);
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        message.contains(&address) && message.contains("in use") && message.lines().count() == 1,
        "{message}"
    );

    let mut server = Server::start(&[]);
    let page = server.get("/metrics?x=1", "");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(
        page.contains("Content-Type: application/openmetrics-text; version=1.0.0"),
        "{page}"
    );
    samples(body(&page));
    // The form for proxies, which every server must accept.
    let page = server.get("http://x/metrics", "");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    let older = server.get("/metrics", "Accept: text/plain;version=0.0.4\r\n");
    assert!(
        older.contains("Content-Type: text/plain; version=0.0.4"),
        "{older}"
    );
    series(body(&older), false);
    let both = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    samples(body(&server.get("/metrics", both)));
    for (request, status) in [
        ("GET /etc/passwd HTTP/1.1\r\n\r\n", "404 "),
        ("GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", "404 "),
        ("GET / HTTP/1.0\r\n\r\n", "404 "),
        (
            "POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "405 ",
        ),
        ("\x16\x03\x01\x02\0\x01\r\n\r\n", "400 "),
        (
            &format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20)),
            "431 ",
        ),
        (
            &format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100)),
            "431 ",
        ),
    ] {
        let answer = server.send(request.as_bytes());
        let start: String = request.chars().take(40).collect();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{start}: {answer}"
        );
    }
    let head = server.send(b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && body(&head).is_empty(),
        "{head}"
    );

    // A supervisor expects this exit status, also if the server is PID 1.
    let signal = format!("kill -TERM {}", server.child.id());
    Command::new("sh").args(["-c", &signal]).status().unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

/// Clients that send nothing, send slowly or do not read do not delay the responses to other clients.
#[test]
fn bad_clients_delay_no_other_client() {
    let server = Server::start(&[]);
    let mut idle: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for stream in idle.iter_mut().step_by(2) {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
    }
    let deaf: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = server.connect();
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
            stream
        })
        .collect();
    let begun = Instant::now();
    for _ in 0..5 {
        let page = server.get("/metrics", "");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        samples(body(&page));
    }
    // This client does not wait until a time limit of the server ends.
    let took = begun.elapsed();
    let threads = format!("/proc/{}/task", server.child.id());
    let threads = fs::read_dir(threads).unwrap().count();
    drop((idle, deaf));
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(threads <= 70, "{threads} threads");
}

/// `--textfile` follows a link to a file, refuses what is no file, and writes for every reader.
#[test]
fn a_text_file_replaces_only_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let script = "cd $1; mkdir sub; : >sub/real; ln -s sub/real link; ln -s sub/new dangling; ln -s loop loop
        mkfifo fifo; mknod device c 1 3; umask 077
        for name in fifo device sub loop link dangling plain; do \"$2\" metrics --textfile $name 2>&1; done
        stat -c '%n %F %a' fifo device link dangling | sed 's/ [0-9]*$//'; stat -c '%n %a' sub/real sub/new plain
        grep -c EOF sub/real; grep -l proclens_cpus sub/real sub/new plain; ls -A . sub | grep proclens-";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([directory.path().as_os_str(), OsStr::new(TOOL)])
        .output()
        .unwrap();
    let remedy =
        "not a regular file: name another path, or print to standard output without --textfile";
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!(
            "proclens: fifo: is a FIFO, {remedy}\nproclens: device: is a device, {remedy}\n\
             proclens: sub: is a directory, {remedy}\nproclens: loop: too many levels of symbolic links\n\
             fifo fifo\ndevice character special file\nlink symbolic link\ndangling symbolic link\n\
             sub/real 644\nsub/new 644\nplain 644\n0\nsub/real\nsub/new\nplain\n"
        )
    );
}

/// After a directory that cannot be written, a full disk or a signal, there is one line of error and no partial
/// file.
#[test]
fn a_text_file_is_whole_or_absent() {
    if !support::containers() {
        return;
    }
    let refused = |output: &Output, words: &str| {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains(words), "{message}");
    };
    refused(
        &tool(&["metrics", "--textfile", "/proc/nowhere/x.prom"]),
        "/proc/nowhere/x.prom",
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.prom");
    fs::create_dir(&path).unwrap();
    refused(
        &tool(&["metrics", "--textfile", path.to_str().unwrap()]),
        "x.prom",
    );
    let names = |directory: &Path| -> Vec<_> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names(directory.path()), ["x.prom"]);
    fs::remove_dir(&path).unwrap();

    let copy = directory.path().join("proclens");
    fs::copy(TOOL, &copy).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |arguments: &str| {
        Command::new("setpriv")
            .args(["--reuid", "65534", "--clear-groups", "--"])
            .arg(&copy)
            .args(arguments.split(' '))
            .output()
            .unwrap()
    };
    refused(
        &as_nobody(&format!("metrics --textfile {}", path.display())),
        "permission denied",
    );
    refused(&as_nobody("metrics --all"), "sudo proclens metrics --all");
    refused(&as_nobody("watch --all"), "sudo proclens watch --all");
    refused(&as_nobody("metrics --listen 127.0.0.1:80"), "127.0.0.1:80");
    assert_eq!(names(directory.path()), ["proclens"]);

    let script = "mount -t tmpfs -o size=8k none $1; head -c 6000 /dev/zero >$1/old; cp $1/old $1/fill 2>&-
        cat $1/fill >>$1/rest 2>&-; echo before >$1/x.prom 2>&-; \"$2\" metrics --textfile $1/x.prom; rc=$?; ls -A $1 >&2; exit $rc";
    let full = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args([directory.path().join("disk").as_os_str(), OsStr::new(TOOL)])
        .current_dir({
            fs::create_dir(directory.path().join("disk")).unwrap();
            directory.path()
        })
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!(full.status.code(), Some(1), "{message}");
    assert!(message.contains("no space left"), "{message}");
    assert!(!message.contains(".proclens-"), "{message}");

    // A signal arrives while the file is written.
    let mut traced = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "trace=fdatasync"])
        .args(["-e", "inject=fdatasync:delay_enter=3000000"])
        .args([TOOL, "metrics", "--textfile"])
        .arg(&path)
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while !names(directory.path())
        .iter()
        .any(|name| name.as_bytes().starts_with(b".proclens-"))
    {
        assert!(Instant::now() < end, "no file");
        std::thread::sleep(Duration::from_millis(20));
    }
    let children = format!("/proc/{0}/task/{0}/children", traced.id());
    let child = fs::read_to_string(children).unwrap();
    let signal = format!("kill -TERM {child}");
    Command::new("sh").args(["-c", &signal]).status().unwrap();
    traced.wait().unwrap();
    let mut left = names(directory.path());
    left.sort();
    assert_eq!(left, ["disk", "proclens", "x.prom"]);
    series(&fs::read_to_string(&path).unwrap(), false);
}

/// Processes in a PID namespace and a cgroup of their own, with any name.
struct Guest {
    child: Child,
    groups: Vec<PathBuf>,
}

impl Guest {
    fn start(name: &[u8]) -> Guest {
        let top = Path::new("/sys/fs/cgroup");
        let v1 = ["memory", "pids", "cpu", "cpuacct"].map(|controller| top.join(controller));
        let mut tops: Vec<_> = v1.into_iter().filter(|top| top.is_dir()).collect();
        if tops.is_empty() {
            tops.push(top.to_owned());
        }
        let groups: Vec<_> = tops
            .iter()
            .map(|top| top.join(OsStr::from_bytes(name)))
            .collect();
        let mut script = String::new();
        for (group, number) in groups.iter().zip(1..) {
            fs::create_dir(group).unwrap();
            script.push_str(&format!("echo $$ >\"${number}/cgroup.procs\" || exit; "));
        }
        script
            .push_str("exec unshare --pid --fork --kill-child sh -c 'echo ready; exec sleep 1000'");
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .args(&groups)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        let printed = child.stdout.as_mut().unwrap().read_exact(&mut ready);
        let guest = Guest { child, groups };
        printed.unwrap();
        guest
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for group in &self.groups {
            let end = Instant::now() + Duration::from_secs(20);
            while fs::remove_dir(group).is_err() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn names_of_cgroups_are_escaped() {
    if !support::containers() {
        return;
    }
    let prefix = format!("proclens-test-{}-name ", std::process::id());
    let names: [(&[u8], &str); 4] = [
        (b"a \"b\"", r#"a \"b\""#),
        (br"c\d", r"c\\d"),
        (b"\xffe", r"\\xffe"),
        (b"\xfee", r"\\xfee"),
    ];
    // The kernel allows no newline in a name. The unit tests of the format use one.
    let top = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(Path::new);
    let top = top.into_iter().find(|top| top.is_dir()).unwrap();
    assert!(fs::create_dir(top.join("a\nb")).is_err());
    let guests: Vec<_> = names
        .iter()
        .map(|(name, _)| Guest::start(&[prefix.as_bytes(), name].concat()))
        .collect();
    let server = Server::start(&["--all"]);
    let all = text(&tool(&["metrics", "--all"]));
    let served = server.get("/metrics", "");
    let table = text(&tool(&["show", "--all"]));
    let json = text(&tool(&["show", "--all", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    drop(guests);
    for text in [all.as_str(), body(&served)] {
        let found = samples(text);
        for (_, label) in names {
            let series = format!(
                "proclens_cpus{{id=\"/{prefix}{label}\",name=\"{prefix}{label}\",image=\"\"}}"
            );
            assert!(found.contains_key(&series), "{series} in {text}");
        }
    }
    assert!(table.contains(&format!("{prefix}a \"b\"")), "{table}");
    let rows = json.as_array().unwrap();
    let ours = rows.iter().filter(|row| {
        let cgroup = row["cgroup"].as_str().unwrap();
        cgroup[1..].starts_with(&prefix)
    });
    assert_eq!(ours.count(), names.len(), "{json}");
}

/// A container that ends while it is read is not in the text, and nothing else happens.
#[test]
fn containers_that_end_are_left_out() {
    if !support::containers() {
        return;
    }
    let prefix = format!("proclens-test-{}-ends", std::process::id());
    let server = Server::start(&["--all"]);
    let ending = std::thread::spawn(move || {
        for number in 0..40 {
            drop(Guest::start(format!("{prefix}-{number}").as_bytes()));
        }
    });
    while !ending.is_finished() {
        samples(&text(&tool(&["metrics", "--all"])));
        samples(body(&server.get("/metrics", "")));
        let json = text(&tool(&["show", "--all", "--json", "--sort", "cpu"]));
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
    ending.join().unwrap();
}

/// `show --all` is fast with hundreds of containers because it reads few files for each, and no process of the
/// host, although this container sees those in its `/proc`.
#[test]
fn a_container_costs_few_reads() {
    if !support::containers() {
        return;
    }
    let name = format!("proclens-test-{}-cost", std::process::id());
    let guest = Guest::start(name.as_bytes());
    let trace = scratch().join("opened");
    let printed = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=openat,openat2", "-o"])
        .arg(&trace)
        .args([TOOL, "show", "--all", "--json"])
        .output()
        .unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text(&printed)).unwrap();
    let row = rows
        .iter()
        .find(|row| row["cgroup"] == format!("/{name}").as_str());
    let opened = fs::read_to_string(&trace).unwrap();
    let lines = |words: String| opened.lines().filter(|line| line.contains(&words)).count();
    let own = lines(format!("\"/proc/{}/", row.unwrap()["pid"]));
    assert!((20..=64).contains(&own), "{own} files: {opened}");
    let of_host = lines(format!(", \"{}/", std::process::id()));
    assert_eq!(of_host, 0, "{opened}");
    drop(guest);
}

#[test]
fn all_containers_are_sorted_and_watched() {
    if !support::containers() {
        return;
    }
    let prefix = format!("proclens-test-{}-sorted", std::process::id());
    let guests: Vec<_> = ["b", "a", "c"]
        .iter()
        .map(|name| Guest::start(format!("{prefix}-{name}").as_bytes()))
        .collect();
    let json = |sort: &str| {
        let printed = text(&tool(&["show", "--all", "--json", "--sort", sort]));
        serde_json::from_str::<Vec<serde_json::Value>>(&printed).unwrap()
    };
    for (sort, field) in [
        ("cpu", "/cpu_percent"),
        ("memory", "/memory_used"),
        ("load", "/load/0"),
        ("tasks", "/tasks"),
        ("uptime", "/uptime_seconds"),
    ] {
        let values: Vec<f64> = json(sort)
            .iter()
            .map(|row| row.pointer(field).unwrap().as_f64().unwrap())
            .collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "{sort}: {values:?}");
    }
    let names: Vec<String> = json("name")
        .iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.is_sorted() && names.len() >= 3, "{names:?}");
    assert_eq!(tool(&["show", "--sort", "cpu"]).status.code(), Some(2));

    let watched = text(&tool(&[
        "watch",
        "--all",
        "--interval",
        "0.2",
        "--count",
        "2",
    ]));
    for name in ["a", "b", "c"] {
        let name = format!("{prefix}-{name}");
        let lines = watched.lines().filter(|line| line.starts_with(&name));
        assert_eq!(lines.count(), 2, "{watched}");
    }

    let page = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "(sleep 2; printf m; sleep 1; printf q) | script -q -e -c 'stty rows 4 cols 80; {} watch --all --interval 0.3' /dev/null",
            support::plain(Path::new(TOOL)).display()
        ))
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.status.success(), "{printed}");
    for words in ["1-2 of ", "by memory", "\x1b[?1049h", "\x1b[?1049l"] {
        assert!(printed.contains(words), "{words:?} in {printed:?}");
    }
    drop(guests);
}

#[test]
fn install_copies_library_and_tool_into_a_directory() {
    let directory = scratch().join("install-to");
    let _ = fs::remove_dir_all(&directory);
    let library = library();
    for _ in 0..2 {
        text(&tool(&[
            "install",
            "--to",
            directory.to_str().unwrap(),
            "--lib",
            library.to_str().unwrap(),
        ]));
        let mut names: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["libproclens.so", "proclens"]);
    }
    // An init container's umask does not keep the library from the other containers.
    fs::remove_dir_all(&directory).unwrap();
    let script = "umask 077; exec \"$1\" install --to \"$2\" --lib \"$3\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh", TOOL])
        .args([&directory, &library])
        .output()
        .unwrap();
    text(&output);
    let mode = fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let copied = directory.join("libproclens.so");
    assert_eq!(fs::read(&copied).unwrap(), fs::read(library).unwrap());
    assert_eq!(
        fs::metadata(&copied).unwrap().permissions().mode() & 0o777,
        0o755
    );
}
