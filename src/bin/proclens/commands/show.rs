//! `proclens show`: prints what a program of the target reads, rendered by the library's code.

use crate::inspect::explainer;
use crate::inspect::numbers::Numbers;
use crate::inspect::view::{View, node_path};
use crate::output::failure::{Failure, Result};
use crate::output::style::{DIM, STRONG, plain};
use crate::output::units::{duration, hundredths, short, size};
use proclens::error;
use proclens::procfs::content;
use proclens::procfs::files::{DeviceStat, MachineFile, NodeFile};
use proclens::settings::Settings;
use proclens::text::trim;
use std::fs;
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::Path;

/// Values that are not files.
const CALLS: [&str; 3] = ["sysinfo", "cpus", "load"];

/// An item that can be shown by name.
enum Item {
    File(MachineFile),
    Node(NodeFile, u64),
    Device(DeviceStat),
    Sysinfo,
    Cpus,
    Load,
}

impl Item {
    fn named(name: &str) -> Result<Item> {
        match name {
            "sysinfo" => return Ok(Item::Sysinfo),
            "cpus" => return Ok(Item::Cpus),
            "load" => return Ok(Item::Load),
            _ => {}
        }
        let path = format!(
            "/sys/devices/system/node/{}",
            name.trim_start_matches("/sys/devices/system/node/")
        );
        if let Some((file, node)) = NodeFile::of_path(path.as_bytes()) {
            return Ok(Item::Node(file, node));
        }
        if let Some(device) = name.strip_suffix("/stat").filter(|d| d.contains("/block/")) {
            let number = fs::read(Path::new(device).join("dev")).unwrap_or_default();
            return DeviceStat::of_number(trim(&number))
                .map(Item::Device)
                .ok_or_else(|| Failure::new(device, "no block device"));
        }
        MachineFile::ALL
            .iter()
            .find(|file| short_name(**file) == name || file.path().to_bytes() == name.as_bytes())
            .map(|file| Item::File(*file))
            .ok_or_else(|| {
                Failure::new(
                    format_args!("{name}: not a virtual file"),
                    format_args!("choose one of {}, /sys/block/DISK/stat", names().join(", ")),
                )
            })
    }
}

/// All names that `show` accepts.
pub fn names() -> Vec<String> {
    let files = MachineFile::ALL.iter().map(|file| short_name(*file));
    let of_nodes = NodeFile::ALL.iter().map(|file| {
        let path = node_path(*file, 0);
        path.trim_start_matches("/sys/devices/system/node/")
            .to_owned()
    });
    files
        .chain(of_nodes)
        .chain(CALLS.map(str::to_owned))
        .collect()
}

/// The short name of a file: `meminfo`, `cpu-online`.
fn short_name(file: MachineFile) -> String {
    let name = file.memory_name().to_string_lossy();
    name.trim_start_matches("proclens:").to_owned()
}

pub fn run(view: &View, name: Option<&str>, json: bool, out: &mut dyn Write) -> Result<()> {
    let Some(name) = name else {
        return overview(view, json, out);
    };
    let item = Item::named(name)?;
    let sources = view.sources();
    let settings = &sources.settings();
    // Render everything before printing anything.
    let mut text = Vec::new();
    let passed_through = match item {
        Item::File(file) => {
            let passed_through;
            (text, passed_through) = view.text(file, settings)?;
            passed_through
        }
        Item::Node(file, node) => {
            let passed_through;
            (text, passed_through) = view.node_text(file, node, settings)?;
            passed_through
        }
        Item::Device(file) => {
            let passed_through;
            (text, passed_through) = view.device_text(file, settings)?;
            passed_through
        }
        Item::Sysinfo => sysinfo(view, settings, &mut text)?,
        Item::Cpus => {
            writeln!(text, "{}", Numbers::of(view, settings)?.cpus)?;
            None
        }
        Item::Load => {
            let [one, five, fifteen] = Numbers::of(view, settings)?.load.averages;
            writeln!(text, "{one:.2} {five:.2} {fifteen:.2}")?;
            None
        }
    };
    out.write_all(&text)?;
    out.flush()?;
    // If a setting leaves the file to the host, do not warn about it.
    let by_name = matches!(item, Item::File(MachineFile::Uptime)) && !settings.container_time;
    if let Some((kind, _)) = passed_through.filter(|_| !by_name) {
        let why = String::from_utf8_lossy(kind.text()).into_owned();
        anstream::eprintln!(
            "proclens: {name}: the host's own content, as a program reads it: {why}"
        );
    }
    Ok(())
}

/// The fields of `struct sysinfo`.
fn sysinfo(
    view: &View,
    settings: &Settings,
    out: &mut dyn Write,
) -> Result<Option<error::Failure>> {
    let mut info = MaybeUninit::<libc::sysinfo>::zeroed();
    // SAFETY: the kernel fills one `struct sysinfo`; all zeros is a valid value too.
    let mut info = unsafe {
        libc::sysinfo(info.as_mut_ptr());
        info.assume_init()
    };
    let mut passed_through = None;
    if settings.on {
        let replaced =
            view.compute(|view, mut arena| content::sysinfo(view, settings, &mut arena, &mut info));
        passed_through = replaced.err();
    }
    let [one, five, fifteen] = info.loads.map(|load| hundredths((load * 100) >> 16));
    writeln!(out, "uptime    {}", info.uptime)?;
    writeln!(out, "loads     {one} {five} {fifteen}")?;
    writeln!(out, "totalram  {}", info.totalram)?;
    writeln!(out, "freeram   {}", info.freeram)?;
    writeln!(out, "sharedram {}", info.sharedram)?;
    writeln!(out, "bufferram {}", info.bufferram)?;
    writeln!(out, "totalswap {}", info.totalswap)?;
    writeln!(out, "freeswap  {}", info.freeswap)?;
    writeln!(out, "procs     {}", info.procs)?;
    writeln!(out, "mem_unit  {}", info.mem_unit)?;
    Ok(passed_through)
}

fn overview(view: &View, json: bool, out: &mut dyn Write) -> Result<()> {
    let report = explainer::report(view)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let mut line = |name: &str, value: String, why: &[String]| {
        let why = why.first().map(String::as_str).unwrap_or_default();
        writeln!(out, "{STRONG}{name:<9}{STRONG:#}{value}  {DIM}{why}{DIM:#}")
    };
    let m = report.memory.value;
    let t = report.cpu_time.value;
    let l = &report.load.value;
    let swap_used = report
        .swap
        .value
        .total
        .saturating_sub(report.swap.value.free);
    let [one, five, fifteen] = l.averages;
    let cgroups = report.cgroups.iter().find(|c| !c.host);
    let cgroups = cgroups.map_or("no cgroup of its own".to_owned(), |c| plain(&c.directory));
    line("cgroup", cgroups, &[])?;
    line(
        "CPUs",
        format!("{} ({})", report.cpus.value, report.cpu_numbers),
        &report.cpus.because,
    )?;
    line(
        "memory",
        format!(
            "{}, {} used, {} available",
            size(m.total),
            size(m.used()),
            size(m.available)
        ),
        &report.memory.because,
    )?;
    line(
        "swap",
        format!(
            "{}, {} used",
            size(report.swap.value.total),
            size(swap_used)
        ),
        &report.swap.because,
    )?;
    line(
        "CPU time",
        format!(
            "{} s busy, {} s steal, {} s idle",
            short(t.busy()),
            short(t.steal),
            short(t.idle)
        ),
        &[],
    )?;
    line(
        "load",
        format!(
            "{one:.2} {five:.2} {fifteen:.2}, {} of {} threads running",
            l.running, l.total
        ),
        &report.load.because,
    )?;
    line(
        "uptime",
        duration(report.uptime.value as u64),
        &report.uptime.because,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_lead_to_the_same_file() {
        for name in names() {
            assert!(Item::named(&name).is_ok(), "{name}");
        }
        assert!(matches!(
            Item::named("/proc/meminfo"),
            Ok(Item::File(MachineFile::Meminfo))
        ));
        let unknown = Item::named("memory").err().unwrap().to_string();
        assert!(
            unknown.contains("meminfo") && unknown.contains("sysinfo"),
            "{unknown}"
        );
    }
}
