//! `proclens watch --all`: a page with one line for each container of the host. If the output is not a
//! terminal, one table for each reading.

use super::show_all::{ContainerRow, Sort};
use super::watch::Screen;
use crate::inspect::containers::{Containers, Id};
use crate::inspect::numbers::Time;
use crate::inspect::usage::{Cpu, Usage};
use crate::output::failure::Result;
use crate::output::style::{DIM, STRONG, plain};
use crate::output::units::{duration, size};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

pub fn run(sort: Sort, interval: f64, count: Option<u64>, out: &mut dyn Write) -> Result<()> {
    let interval = Duration::from_secs_f64(interval);
    let count = count.unwrap_or(u64::MAX);
    let mut watch = Watch {
        containers: Containers::new("proclens watch --all")?,
        last: BTreeMap::new(),
    };
    if io::stdout().is_terminal() && io::stdin().is_terminal() {
        let screen = Screen::enter()?;
        let done = page(&mut watch, sort, interval, count, out);
        drop(screen);
        return done;
    }
    watch.read();
    for number in 0..count {
        std::thread::sleep(interval);
        let mut lines = watch.read();
        sort_lines(&mut lines, sort);
        let longest = lines.iter().map(|line| line.row.name.chars().count()).max();
        let width = longest.unwrap_or(0).max(NARROWEST_NAME) + REST;
        if number > 0 {
            writeln!(out)?;
        }
        for text in std::iter::once(head(width)).chain(lines.iter().map(|line| line.text(width))) {
            writeln!(out, "{text}")?;
        }
        out.flush()?;
    }
    Ok(())
}

struct Watch {
    containers: Containers,
    /// The CPU time at the previous reading.
    last: BTreeMap<Id, (Cpu, Time)>,
}

/// A container at one moment.
struct Line {
    row: ContainerRow,
    /// CPU and steal time since the previous reading, as percentages of one CPU; `None` at the first one.
    cpu: Option<[f64; 2]>,
}

impl Watch {
    fn read(&mut self) -> Vec<Line> {
        self.containers.find();
        let mut lines = Vec::new();
        let mut last = BTreeMap::new();
        for (id, view) in self.containers.all() {
            // A container that ends during the read is left out.
            let Ok(usage) = Usage::read(view) else {
                continue;
            };
            let Some(cpu) = usage.cpu else { continue };
            let time = usage.numbers.time;
            let rates = self.last.get(id).map(|(earlier, before)| {
                let passed = cpu.at.duration_since(earlier.at).as_secs_f64().max(1e-6);
                let stolen = time.since(before).steal.max(0.0);
                [cpu.percent_since(earlier), stolen * 100.0 / passed]
            });
            last.insert(id.clone(), (cpu, time));
            let percent = rates.map_or(0.0, |[busy, _]| busy);
            lines.push(Line {
                row: ContainerRow::new(id, self.containers.names(id), &usage, percent),
                cpu: rates,
            });
        }
        self.last = last;
        lines
    }
}

fn sort_lines(lines: &mut [Line], sort: Sort) {
    lines.sort_by(|a, b| sort.compare(&a.row, &b.row));
}

/// The columns behind the name, each with a blank before it.
const REST: usize = 66;
const NARROWEST_NAME: usize = 80 - REST;

fn head(width: usize) -> String {
    columns(
        width,
        "CONTAINER",
        [
            "CPUS", "CPU %", "STEAL%", "MEM", "LIMIT", "MEM %", "LOAD", "TASKS", "UPTIME",
        ]
        .map(str::to_owned),
    )
}

fn columns(width: usize, name: &str, cells: [String; 9]) -> String {
    const WIDTHS: [usize; 9] = [4, 6, 6, 8, 8, 5, 6, 6, 8];
    let width = width.saturating_sub(REST);
    let name: String = name.chars().take(width).collect();
    let mut text = format!("{name:<width$}");
    for (cell, width) in cells.iter().zip(WIDTHS) {
        text.push_str(&format!(" {cell:>width$}"));
    }
    text
}

impl Line {
    fn text(&self, width: usize) -> String {
        let row = &self.row;
        let percent = |which: usize| match self.cpu {
            Some(values) if values[which] < 9999.95 => format!("{:.1}", values[which]),
            Some(values) => format!("{:.0}", values[which]),
            None => "-".to_owned(),
        };
        let load = match row.load[0] {
            load if load < 999.995 => format!("{load:.2}"),
            load => format!("{load:.0}"),
        };
        columns(
            width,
            &plain(&row.name),
            [
                row.cpus.to_string(),
                percent(0),
                percent(1),
                size(row.memory_used),
                size(row.memory_limit),
                format!("{:.1}", row.memory_percent().min(999.9)),
                load,
                row.tasks.to_string(),
                age(row.uptime_seconds),
            ],
        )
    }
}

/// `04:05:06`, and from a day on `3d04h`.
fn age(seconds: u64) -> String {
    match seconds / 86_400 {
        0 => duration(seconds),
        days => format!("{days}d{:02}h", seconds / 3600 % 24),
    }
}

/// What the user sees of the list.
struct Page {
    sort: Sort,
    /// The first line that is shown.
    first: usize,
    /// How many lines were shown.
    shown: usize,
}

fn page(
    watch: &mut Watch,
    sort: Sort,
    interval: Duration,
    count: u64,
    out: &mut dyn Write,
) -> Result<()> {
    let mut page = Page {
        sort,
        first: 0,
        shown: 0,
    };
    // Show a page before the first interval is over.
    let mut lines = watch.read();
    for _ in 0..count {
        let end = Instant::now() + interval;
        loop {
            sort_lines(&mut lines, page.sort);
            let (width, height) = terminal::size().unwrap_or((80, 24));
            let text = page.draw(&lines, usize::from(width), usize::from(height));
            // Write the page at once over the old one, so that nothing flickers.
            write!(out, "\x1b[H{}\x1b[K\x1b[J", text.join("\x1b[K\r\n"))?;
            out.flush()?;
            if !event::poll(end.saturating_duration_since(Instant::now()))? {
                break;
            }
            if !page.handle(&event::read()?) {
                return Ok(());
            }
        }
        lines = watch.read();
    }
    Ok(())
}

impl Page {
    /// At most `height` lines of at most `width` characters, or of 80 if that is more.
    fn draw(&mut self, lines: &[Line], width: usize, height: usize) -> Vec<String> {
        let width = width.max(NARROWEST_NAME + REST);
        self.shown = height.saturating_sub(2).max(1);
        self.first = self.first.min(lines.len().saturating_sub(self.shown));
        let end = lines.len().min(self.first + self.shown);
        let place = match lines.len() {
            0 => "no containers".to_owned(),
            all => format!("{}-{end} of {all} containers", self.first + 1),
        };
        let sort = format!("{:?}", self.sort).to_lowercase();
        let mut text = vec![
            format!(
                "{STRONG}proclens{STRONG:#}  {place} by {sort}  {DIM}n c m l t u sort  arrows scroll  q ends{DIM:#}"
            ),
            format!("{STRONG}{}{STRONG:#}", head(width)),
        ];
        text.extend(lines[self.first..end].iter().map(|line| line.text(width)));
        text
    }

    /// False if the user ends the program.
    fn handle(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return true };
        if key.kind != KeyEventKind::Press {
            return true;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first += 1,
            KeyCode::PageUp => self.first = self.first.saturating_sub(self.shown),
            KeyCode::PageDown | KeyCode::Char(' ') => self.first += self.shown,
            KeyCode::Home => self.first = 0,
            KeyCode::End => self.first = usize::MAX - self.shown,
            KeyCode::Char('n') => self.sort = Sort::Name,
            KeyCode::Char('c') => self.sort = Sort::Cpu,
            KeyCode::Char('m') => self.sort = Sort::Memory,
            KeyCode::Char('l') => self.sort = Sort::Load,
            KeyCode::Char('t') => self.sort = Sort::Tasks,
            KeyCode::Char('u') => self.sort = Sort::Uptime,
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;

    fn line(name: &str, busy: f64) -> Line {
        Line {
            row: ContainerRow {
                container: name.to_owned(),
                name: name.to_owned(),
                image: String::new(),
                cgroup: format!("/{name}"),
                pid: 1,
                cpus: 1024,
                cpu_percent: busy,
                cpu_usage_seconds: 0.0,
                cpu_seconds: Time::default(),
                memory_used: (1 << 30) - (1 << 20),
                memory_available: 0,
                memory_limit: 1023 << 30,
                swap_used: 0,
                swap_limit: 0,
                load: [12345.678; 3],
                tasks: 123_456,
                uptime_seconds: 1234 * 86_400,
                command: String::new(),
            },
            cpu: Some([busy, 102_400.0]),
        }
    }

    fn plain_text(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn the_page_fits_80_columns_and_scrolls() {
        let mut lines: Vec<_> = (0..300)
            .map(|i| line(&format!("container-{i:03}-with-a-long\nname"), f64::from(i)))
            .collect();
        let mut page = Page {
            sort: Sort::Cpu,
            first: 0,
            shown: 0,
        };
        sort_lines(&mut lines, page.sort);
        let text = page.draw(&lines, 80, 24);
        assert_eq!(text.len(), 24);
        for line in &text {
            let line = plain_text(line);
            assert!(line.chars().count() <= 80 && !line.contains('\n'), "{line}");
        }
        assert!(plain_text(&text[0]).contains("1-22 of 300 containers by cpu"));
        assert!(text[2].starts_with("container-299-"), "{}", text[2]);
        for (key, first) in [
            (KeyCode::Down, 1),
            (KeyCode::Up, 0),
            (KeyCode::Up, 0),
            (KeyCode::PageDown, 22),
            (KeyCode::End, 278),
            (KeyCode::Down, 278),
            (KeyCode::PageUp, 256),
            (KeyCode::Home, 0),
        ] {
            assert!(page.handle(&Event::Key(KeyEvent::from(key))));
            page.draw(&lines, 80, 24);
            assert_eq!(page.first, first, "{key:?}");
        }
        assert!(!page.handle(&Event::Key(KeyEvent::from(KeyCode::Char('q')))));
        assert_eq!(page.draw(&[], 80, 24).len(), 2);
        assert_eq!(page.draw(&lines, 10, 1).len(), 3);
    }
}
