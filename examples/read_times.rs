//! How long a program waits for each file: open, read to the end and close, in nanoseconds.
//! `scripts/bench` runs it without the library, with it, and on lxcfs's files.
//!
//! `read_times warm FILE…` prints the median of many reads in this process, a line a file;
//! `read_times first FILE` the very first read of a process.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

const READS: usize = 2000;

fn read(path: &str, room: &mut [u8]) -> std::io::Result<Duration> {
    let start = Instant::now();
    let mut file = File::open(path)?;
    while file.read(room)? > 0 {}
    drop(file);
    Ok(start.elapsed())
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let mut room = vec![1; 1 << 20];
    for path in arguments {
        let mut times = Vec::with_capacity(READS);
        let wanted = if mode == "warm" { READS } else { 1 };
        for _ in 0..wanted {
            times.push(read(&path, &mut room)?);
        }
        times.sort_unstable();
        println!("{path} {}", times[times.len() / 2].as_nanos());
    }
    Ok(())
}
