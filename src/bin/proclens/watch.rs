//! `proclens watch`: a page that changes with the container, or a line for each reading where the
//! output is no terminal.

use crate::failure::{Failure, Result, reason};
use crate::machine::{Machine, Time};
use crate::settings::Sources;
use crate::style::{BAD, DIM, GOOD, STRONG, WARNING};
use crate::units::{duration, size};
use crate::view::View;
use anstyle::Style;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, terminal};
use proclens::gather::{Controller, Kernel};
use proclens::log::Trouble;
use proclens::sys::Errno;
use std::ffi::CString;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is shown at one moment.
struct Reading {
    machine: Machine,
    /// Since the reading before.
    passed: Time,
    pressure: [Option<f64>; 3],
}

/// What there is pressure of.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

pub fn run(view: &View, interval: f64, count: Option<u64>, out: &mut dyn Write) -> Result<()> {
    let interval = Duration::from_secs_f64(interval);
    let sources = view.sources();
    let mut watch = Watch {
        view,
        sources: &sources,
        last: Machine::of(view, &sources.settings())?.time,
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
        let machine = Machine::of(self.view, &self.sources.settings())?;
        let passed = machine.time.since(&self.last);
        self.last = machine.time;
        Ok(Reading {
            passed,
            pressure: RESOURCES.map(|resource| self.pressure(resource)),
            machine,
        })
    }

    /// Percent of the last ten seconds in which some task waited for `resource`; `None` where the
    /// kernel does not tell.
    fn pressure(&self, resource: &str) -> Option<f64> {
        let text = self.view.ask(|view, mut arena| {
            let unreadable = |errno| (Trouble::Unreadable, errno);
            let place = view.place(&mut arena).map_err(unreadable)?;
            let home = [Controller::Cpu, Controller::Memory]
                .into_iter()
                .find_map(|controller| place.home(controller).ok());
            let path = match home {
                Some(home) if home.unified => {
                    format!(
                        "{}/{resource}.pressure",
                        String::from_utf8_lossy(home.directory)
                    )
                }
                // v1 counts none, and the host's is not the container's.
                Some(_) => return Err((Trouble::Unreadable, Errno::MISSING)),
                None => format!("/proc/pressure/{resource}"),
            };
            let path = CString::new(path).map_err(|_| unreadable(Errno::MISSING))?;
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
                "{:>5} {:>5} {:>5} {:>5} {:>10} {:>10} {:>10} {:>14} {:>18}",
                "cpu%",
                "user",
                "sys",
                "steal",
                "mem used",
                "mem total",
                "swap used",
                "load",
                "waits cpu mem io %"
            )?;
        }
        let Reading {
            machine,
            passed,
            pressure,
        } = watch.read()?;
        let share = |part: f64| part * 100.0 / passed.all().max(f64::MIN_POSITIVE);
        let [one, five, fifteen] = machine.load.averages;
        let pressure = pressure.map(|p| p.map_or("-".to_owned(), |p| format!("{p:.1}")));
        writeln!(
            out,
            "{:>5.1} {:>5.1} {:>5.1} {:>5.1} {:>10} {:>10} {:>10} {:>14} {:>18}",
            share(passed.busy()),
            share(passed.user + passed.nice),
            share(passed.system),
            share(passed.steal),
            size(machine.memory.used()),
            size(machine.memory.total),
            size(machine.memory.swap_used()),
            format!("{one:.2} {five:.2} {fifteen:.2}"),
            pressure.join(" ")
        )?;
        out.flush()?;
    }
    Ok(())
}

/// The terminal while the page is on it; as it was when this is dropped.
struct Screen;

impl Screen {
    fn enter() -> Result<Screen> {
        let screen = Screen;
        terminal::enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide))
            .map_err(|error| {
                Failure::new(
                    format_args!("the terminal: {}", reason(&error)),
                    "`proclens watch | cat` prints plain lines",
                )
            })?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

fn page(watch: &mut Watch, interval: Duration, count: u64, out: &mut dyn Write) -> Result<()> {
    // Something to look at before the first interval is over.
    let mut reading = watch.read()?;
    for _ in 0..count {
        let (width, height) = terminal::size().unwrap_or((80, 24));
        let text = draw(&reading, usize::from(width));
        // One write, over what is there: nothing flickers.
        let lines: Vec<_> = text
            .iter()
            .take(usize::from(height))
            .map(String::as_str)
            .collect();
        write!(out, "\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))?;
        out.flush()?;
        if wait(interval)? {
            return Ok(());
        }
        reading = watch.read()?;
    }
    Ok(())
}

/// Waits for the end of the interval; true if the user has seen enough.
fn wait(interval: Duration) -> Result<bool> {
    let end = Instant::now() + interval;
    while event::poll(end.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    return Ok(true);
                }
                _ => {}
            },
            // A terminal of another size is drawn anew at once.
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

fn draw(reading: &Reading, width: usize) -> Vec<String> {
    let Reading {
        machine,
        passed,
        pressure,
    } = reading;
    let all = passed.all().max(f64::MIN_POSITIVE);
    let bar_width = width.saturating_sub(44).clamp(10, 60);
    let [one, five, fifteen] = machine.load.averages;
    let memory = machine.memory;
    let part = |some: u64, whole: u64| some as f64 / whole.max(1) as f64;
    let busy = passed.busy() / all;
    let mut text = vec![
        format!(
            "{STRONG}proclens{STRONG:#}  up {}  {DIM}q ends{DIM:#}",
            duration(machine.uptime as u64)
        ),
        String::new(),
        format!(
            "{STRONG}CPU   {STRONG:#} {} {:5.1} % of {}",
            bar(
                &[
                    (passed.user / all, GOOD),
                    (passed.nice / all, DIM),
                    (passed.system / all, WARNING),
                    (passed.steal / all, BAD)
                ],
                bar_width
            ),
            busy * 100.0,
            machine.cpus
        ),
        format!(
            "       {GOOD}user {:.1}{GOOD:#}  {WARNING}system {:.1}{WARNING:#}  {BAD}steal {:.1}{BAD:#}",
            (passed.user + passed.nice) / all * 100.0,
            passed.system / all * 100.0,
            passed.steal / all * 100.0
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
            machine.load.running, machine.load.total
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

/// A bar of `width` places with coloured parts; the rest is empty.
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
