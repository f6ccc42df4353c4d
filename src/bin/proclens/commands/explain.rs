//! `proclens explain`: why each number has its value.

use crate::inspect::explainer;
use crate::inspect::report::{Number, Report};
use crate::inspect::view::View;
use crate::output::failure::Result;
use crate::output::style::{DIM, STRONG, WARNING, plain};
use crate::output::units::{duration, short, size};
use std::io::Write;

pub fn run(view: &View, json: bool, out: &mut dyn Write) -> Result<()> {
    let report = explainer::report(view)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    head(&report, out)?;
    let Report {
        cpus,
        memory,
        swap,
        cpu_time,
        load,
        uptime,
        ..
    } = &report;
    let count = match cpus.value {
        1 => "1 CPU".to_owned(),
        n => format!("{n} CPUs"),
    };
    number(&format!("{count}: {}", report.cpu_numbers), cpus, out)?;
    let m = memory.value;
    number(
        &format!(
            "Memory {}: {} used, {} available",
            size(m.total),
            size(m.used()),
            size(m.available)
        ),
        memory,
        out,
    )?;
    let used = swap.value.total.saturating_sub(swap.value.free);
    number(
        &format!("Swap {}: {} used", size(swap.value.total), size(used)),
        swap,
        out,
    )?;
    let t = cpu_time.value;
    number(
        &format!(
            "CPU time {} s busy, {} s steal ({} s quota, {} s neighbours), {} s idle",
            short(t.busy()),
            short(t.steal),
            short(t.quota()),
            short(t.neighbours),
            short(t.idle)
        ),
        cpu_time,
        out,
    )?;
    let l = &load.value;
    let [one, five, fifteen] = l.averages;
    number(
        &format!(
            "Load {one:.2} {five:.2} {fifteen:.2}, {} of {} threads running",
            l.running, l.total
        ),
        load,
        out,
    )?;
    number(
        &format!("Uptime {}", duration(uptime.value as u64)),
        uptime,
        out,
    )?;
    settings(&report, out)?;
    if let Some(problem) = view.sources().problem() {
        writeln!(out, "  {WARNING}{}{WARNING:#}", plain(&problem))?;
    }
    Ok(())
}

fn head(report: &Report, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "{STRONG}{}{STRONG:#}",
        plain(&sentence(&report.target))
    )?;
    let own: Vec<_> = report.cgroups.iter().filter(|c| !c.host).collect();
    if own.is_empty() {
        writeln!(out, "  no cgroup of its own: these are the host's numbers")?;
    }
    for cgroup in own {
        writeln!(
            out,
            "  {:<8} {DIM}v{}{DIM:#} {}",
            cgroup.controller,
            cgroup.version,
            plain(&cgroup.directory)
        )?;
    }
    writeln!(out, "  PID namespace: {}", report.pid_namespace)?;
    Ok(())
}

fn number<T>(title: &str, number: &Number<T>, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\n{STRONG}{title}{STRONG:#}")?;
    for sentence in &number.because {
        writeln!(out, "  {}", plain(sentence))?;
    }
    for source in &number.files {
        let (path, excerpt) = (plain(&source.path), plain(&source.excerpt));
        writeln!(out, "  {DIM}{path}: {excerpt}{DIM:#}")?;
    }
    Ok(())
}

fn settings(report: &Report, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\n{STRONG}Settings{STRONG:#}")?;
    if report.settings.is_empty() {
        writeln!(out, "  none: the defaults hold")?;
    }
    for setting in &report.settings {
        write!(
            out,
            "  {}={} ({})",
            plain(&setting.name),
            plain(&setting.value),
            plain(&setting.source)
        )?;
        match &setting.reason {
            Some(reason) => writeln!(out, " {WARNING}ignored{WARNING:#}: {reason}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
