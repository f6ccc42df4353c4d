//! Runs a program that does nothing, until it ends or its time is up.

use std::io::{self, Read};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Time limit for a program that does nothing, long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs `command` without input until it ends, `interrupted` returns true or the time is up.
pub fn output(command: &mut Command, interrupted: impl Fn() -> bool) -> io::Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = Instant::now();
    let late = || io::Error::other(format!("does not end within {} s", LIMIT.as_secs()));
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().map(read_beside);
    let stderr = child.stderr.take().map(read_beside);
    let status = loop {
        let end = if interrupted() {
            io::Error::other("interrupted")
        } else if let Some(status) = child.try_wait()? {
            break status;
        } else if started.elapsed() > LIMIT {
            late()
        } else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        child.kill()?;
        child.wait()?;
        return Err(end);
    };
    // A process that the program left behind may keep its output open.
    let all = |pipe: Option<Receiver<Vec<u8>>>| {
        let left = LIMIT.saturating_sub(started.elapsed());
        pipe.map_or(Ok(Vec::new()), |pipe| pipe.recv_timeout(left))
            .map_err(|_| late())
    };
    Ok(Output {
        status,
        stdout: all(stdout)?,
        stderr: all(stderr)?,
    })
}

/// Reads all of `pipe` in a thread of its own, so that a program with much output does not block.
fn read_beside(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if pipe.read_to_end(&mut bytes).is_ok() {
            // The receiver may be gone if the program took too long.
            let _ = sender.send(bytes);
        }
    });
    receiver
}
