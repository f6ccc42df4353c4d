//! `proclens watch`: a page that follows the container. If the output is not a terminal, one line for each
//! reading.

use crate::inspect::numbers::{Numbers, Time};
use crate::inspect::sources::Sources;
use crate::inspect::view::View;
use crate::output::failure::{Failure, Result, reason};
use crate::output::style::{BAD, DIM, GOOD, STRONG, WARNING};
use crate::output::units::{duration, size};
use anstyle::Style;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, terminal};
use proclens::cgroup::Version;
use proclens::cgroup::container::Container;
use proclens::cgroup::kernel::Kernel;
use proclens::cgroup::locate::Controller;
use proclens::error::ErrorKind;
use proclens::sys::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The values at one moment.
struct Reading {
    numbers: Numbers,
    /// The CPU time since the previous reading; zero at the first one.
    passed: Time,
    pressure: [Option<f64>; 3],
}

/// The resources that have pressure values.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

pub fn run(view: &View, interval: f64, count: Option<u64>, out: &mut dyn Write) -> Result<()> {
    let interval = Duration::from_secs_f64(interval);
    let sources = view.sources();
    let mut watch = Watch {
        view,
        sources: &sources,
        last: Numbers::of(view, &sources.settings())?.time,
    };
    let count = count.unwrap_or(u64::MAX);
    if io::stdout().is_terminal() && io::stdin().is_terminal() {
        let screen = Screen::enter()?;
        let done = page(&mut watch, interval, count, out);
        drop(screen);
        done
    } else {
        lines(&mut watch, interval, count, out)
    }
}

struct Watch<'v> {
    view: &'v View,
    sources: &'v Sources,
    last: Time,
}

impl Watch<'_> {
    fn read(&mut self) -> Result<Reading> {
        let numbers = Numbers::of(self.view, &self.sources.settings())?;
        let passed = numbers.time.since(&self.last);
        self.last = numbers.time;
        Ok(Reading {
            passed,
            pressure: RESOURCES.map(|resource| self.pressure(resource)),
            numbers,
        })
    }

    /// The percentage of the last ten seconds in which some task waited for `resource`; `None` if the
    /// kernel does not report it.
    fn pressure(&self, resource: &str) -> Option<f64> {
        let text = self.view.compute(|view, mut arena| {
            let unreadable = |errno| (ErrorKind::Unreadable, errno);
            let cgroups = view.cgroups(&mut arena).map_err(unreadable)?;
            let dir = [Controller::Cpu, Controller::Memory]
                .into_iter()
                .find_map(|controller| cgroups.dir(controller).ok());
            let path = match dir {
                Some(dir) if dir.version == Version::V2 => {
                    format!(
                        "{}/{resource}.pressure",
                        String::from_utf8_lossy(dir.directory)
                    )
                }
                // cgroup v1 has no pressure values, and the host's are not the container's.
                Some(_) => return Err((ErrorKind::Unreadable, Errno::NOT_FOUND)),
                None => format!("/proc/pressure/{resource}"),
            };
            let path = CString::new(path).map_err(|_| unreadable(Errno::NOT_FOUND))?;
            let text = view.read(&path, &mut arena);
            text.map(<[u8]>::to_vec).map_err(unreadable)
        });
        some_avg10(&String::from_utf8(text.ok()?).ok()?)
    }
}

/// `some avg10=1.50 avg60=…`.
fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ')
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()
}

fn lines(watch: &mut Watch, interval: Duration, count: u64, out: &mut dyn Write) -> Result<()> {
    for number in 0..count {
        std::thread::sleep(interval);
        if number % 20 == 0 {
            writeln!(
                out,
                "{:>5} {:>5} {:>5} {:>5} {:>10} {:>10} {:>10} {:>10} {:>14} {:>18}",
                "cpu%",
                "user",
                "sys",
                "quota",
                "neighbours",
                "mem used",
                "mem total",
                "swap used",
                "load",
                "waits cpu mem io %"
            )?;
        }
        let Reading {
            numbers,
            passed,
            pressure,
        } = watch.read()?;
        let share = |part: f64| part * 100.0 / passed.all().max(f64::MIN_POSITIVE);
        let [one, five, fifteen] = numbers.load.averages;
        let pressure = pressure.map(|p| p.map_or("-".to_owned(), |p| format!("{p:.1}")));
        writeln!(
            out,
            "{:>5.1} {:>5.1} {:>5.1} {:>5.1} {:>10.1} {:>10} {:>10} {:>10} {:>14} {:>18}",
            share(passed.busy()),
            share(passed.user + passed.nice),
            share(passed.system),
            share(passed.quota()),
            share(passed.neighbours),
            size(numbers.memory.used()),
            size(numbers.memory.total),
            size(numbers.memory.swap_used()),
            format!("{one:.2} {five:.2} {fifteen:.2}"),
            pressure.join(" ")
        )?;
        out.flush()?;
    }
    Ok(())
}

/// The terminal while it shows the page. It is restored when this is dropped, or when a signal ends the
/// program.
pub(super) struct Screen;

impl Screen {
    pub(super) fn enter() -> Result<Screen> {
        let screen = Screen;
        let enter = || {
            let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
            std::thread::spawn(move || {
                for signal in signals.forever() {
                    // The other thread owns standard output.
                    if let Ok(terminal) = File::options().write(true).open("/dev/tty") {
                        Screen::leave(terminal);
                    }
                    let _ = emulate_default_handler(signal);
                }
            });
            terminal::enable_raw_mode()?;
            execute!(
                io::stdout(),
                terminal::EnterAlternateScreen,
                terminal::DisableLineWrap,
                cursor::Hide
            )
        };
        enter().map_err(|error| {
            Failure::new(
                format_args!("the terminal: {}", reason(&error)),
                "`proclens watch | cat` prints plain lines",
            )
        })?;
        Ok(screen)
    }

    fn leave(mut terminal: impl Write) {
        let _ = execute!(
            terminal,
            cursor::Show,
            terminal::EnableLineWrap,
            terminal::LeaveAlternateScreen
        );
        let _ = terminal::disable_raw_mode();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Screen::leave(io::stdout());
    }
}

fn page(watch: &mut Watch, interval: Duration, count: u64, out: &mut dyn Write) -> Result<()> {
    // Show a page before the first interval is over.
    let mut reading = watch.read()?;
    reading.passed = Time::default();
    for _ in 0..count {
        let end = Instant::now() + interval;
        loop {
            show(&reading, out)?;
            match wait(end)? {
                Waited::Resized => {}
                Waited::Over => break,
                Waited::Enough => return Ok(()),
            }
        }
        reading = watch.read()?;
    }
    Ok(())
}

fn show(reading: &Reading, out: &mut dyn Write) -> Result<()> {
    let (width, height) = terminal::size().unwrap_or((80, 24));
    let text = draw(reading, usize::from(width));
    // Write the page at once over the old one, so that nothing flickers.
    let lines: Vec<_> = text
        .iter()
        .take(usize::from(height))
        .map(String::as_str)
        .collect();
    write!(out, "\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))?;
    out.flush()?;
    Ok(())
}

/// The reason why the wait for the next reading ended.
enum Waited {
    /// The interval is over.
    Over,
    /// The terminal has another size, so the page is redrawn.
    Resized,
    /// The user ends the program.
    Enough,
}

fn wait(end: Instant) -> Result<Waited> {
    while event::poll(end.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(Waited::Enough),
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    return Ok(Waited::Enough);
                }
                _ => {}
            },
            Event::Resize(..) => return Ok(Waited::Resized),
            _ => {}
        }
    }
    Ok(Waited::Over)
}

fn draw(reading: &Reading, width: usize) -> Vec<String> {
    let Reading {
        numbers,
        passed,
        pressure,
    } = reading;
    let any = passed.all() > 0.0;
    let all = passed.all().max(f64::MIN_POSITIVE);
    let percent = |some: f64, width: usize| match any {
        true => format!("{:width$.1}", some / all * 100.0),
        false => format!("{:>width$}", "-"),
    };
    let bar_width = width.saturating_sub(44).clamp(10, 60);
    let [one, five, fifteen] = numbers.load.averages;
    let memory = numbers.memory;
    let part = |some: u64, whole: u64| some as f64 / whole.max(1) as f64;
    let mut text = vec![
        format!(
            "{STRONG}proclens{STRONG:#}  up {}  {DIM}q ends{DIM:#}",
            duration(numbers.uptime as u64)
        ),
        String::new(),
        format!(
            "{STRONG}CPU   {STRONG:#} {} {} of {}",
            bar(
                &[
                    (passed.user / all, GOOD),
                    (passed.nice / all, DIM),
                    (passed.system / all, WARNING),
                    (passed.steal / all, BAD)
                ],
                bar_width
            ),
            percent(passed.busy(), 5) + if any { " %" } else { "" },
            numbers.cpus
        ),
        format!(
            "       {GOOD}user {}{GOOD:#}  {WARNING}system {}{WARNING:#}  {BAD}steal {} (quota {}, neighbours {}){BAD:#}",
            percent(passed.user + passed.nice, 0),
            percent(passed.system, 0),
            percent(passed.steal, 0),
            percent(passed.quota(), 0),
            percent(passed.neighbours, 0)
        ),
        format!(
            "{STRONG}Memory{STRONG:#} {} {} of {}",
            bar(&[(part(memory.used(), memory.total), GOOD)], bar_width),
            size(memory.used()),
            size(memory.total)
        ),
        format!(
            "{STRONG}Swap  {STRONG:#} {} {} of {}",
            bar(
                &[(part(memory.swap_used(), memory.swap_total), WARNING)],
                bar_width
            ),
            size(memory.swap_used()),
            size(memory.swap_total)
        ),
        format!(
            "{STRONG}Load  {STRONG:#} {one:.2} {five:.2} {fifteen:.2}  {} of {} threads running",
            numbers.load.running, numbers.load.total
        ),
    ];
    let pressure: Vec<_> = RESOURCES
        .iter()
        .zip(pressure)
        .filter_map(|(name, value)| Some(format!("{name} {:.1} %", (*value)?)))
        .collect();
    if !pressure.is_empty() {
        text.push(format!(
            "{STRONG}Waits {STRONG:#} {}  {DIM}of the last 10 s{DIM:#}",
            pressure.join("  ")
        ));
    }
    text
}

/// A bar with `width` characters and coloured parts. The rest is empty.
fn bar(parts: &[(f64, Style)], width: usize) -> String {
    let mut text = String::from("[");
    let (mut sum, mut used) = (0.0, 0);
    for (part, style) in parts {
        sum += part.clamp(0.0, 1.0);
        let end = ((sum * width as f64).round() as usize).min(width);
        text.push_str(&format!(
            "{style}{}{style:#}",
            "|".repeat(end.saturating_sub(used))
        ));
        used = used.max(end);
    }
    text.push_str(&" ".repeat(width.saturating_sub(used)));
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_their_width() {
        let plain = |parts: &[f64]| {
            let parts: Vec<_> = parts.iter().map(|part| (*part, Style::new())).collect();
            bar(&parts, 10)
        };
        assert_eq!(plain(&[0.0]), "[          ]");
        assert_eq!(plain(&[0.5]), "[|||||     ]");
        assert_eq!(plain(&[0.25, 0.25]), "[|||||     ]");
        assert_eq!(plain(&[0.9, 0.9]), "[||||||||||]");
        assert_eq!(plain(&[f64::NAN]), "[          ]");
    }

    #[test]
    fn pressure() {
        let text = "some avg10=1.50 avg60=0.1 avg300=0.0 total=5\nfull avg10=0.00";
        assert_eq!(some_avg10(text), Some(1.5));
        assert_eq!(some_avg10("full avg10=0.00"), None);
    }
}
