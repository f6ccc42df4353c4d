//! What users may set: one table of names, values and meanings, for the environment
//! (`PROCLENS_CPUS`), for `/etc/proclens.conf` (`cpus`), for the library and for the tool.
//! Text in, values out; who reads the environment and the file is `config.rs`.
#![forbid(unsafe_code)]

use crate::snapshot::{Quota, Rounding};
use crate::text::{cut, decimal, leading_decimal, lines, trim};

/// The values in force. Text is borrowed from where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings<'s> {
    /// `PROCLENS`: false passes everything through.
    pub on: bool,
    /// `PROCLENS_CPUS`: one more quota in the minimum.
    pub cpus: Option<Quota>,
    /// `PROCLENS_MEMORY`: one more limit in the minimum, in bytes.
    pub memory: Option<u64>,
    /// `PROCLENS_CPU_ROUND`.
    pub rounding: Rounding,
    /// `PROCLENS_TIME`: false leaves uptime, btime and start times the host's.
    pub container_time: bool,
    /// `PROCLENS_STATE`: the directory of the shared state; `None` is the first that can be
    /// written of the usual ones.
    pub state: Option<&'s [u8]>,
    /// `PROCLENS_SAMPLER`: false keeps the background sampler from being started.
    pub sampler: bool,
    /// `PROCLENS_IO_URING`: true lets `io_uring_setup` through.
    pub io_uring: bool,
    /// `PROCLENS_SKIP`: globs with `:` between, matched against the program's path.
    pub skip: Option<&'s [u8]>,
    /// `PROCLENS_LOG`.
    pub log: Log,
}

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Log {
    /// Nothing.
    #[default]
    Off,
    /// What could not be done and what was answered instead, once per process.
    Warn,
    /// Also what was answered.
    Debug,
}

impl Settings<'_> {
    /// What holds where nothing is set.
    pub const DEFAULT: Settings<'static> = Settings {
        on: true,
        cpus: None,
        memory: None,
        rounding: Rounding::Up,
        container_time: true,
        state: None,
        sampler: true,
        io_uring: false,
        skip: None,
        log: Log::Off,
    };
}

/// One of the settings, as users meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// Without `PROCLENS_` and in lower case; the switch `PROCLENS` itself is `proclens`.
    pub name: &'static str,
    /// The values that make sense, as a sentence can end with them.
    pub values: &'static str,
    /// What is set, in a line.
    pub meaning: &'static str,
}

/// All settings, for help texts and for saying why a value was ignored.
pub const NAMES: [Name; 10] = {
    const fn name(name: &'static str, values: &'static str, meaning: &'static str) -> Name {
        Name {
            name,
            values,
            meaning,
        }
    }
    [
        name("proclens", "on, off", "off: everything is passed through"),
        name(
            "cpus",
            "a number of CPUs from 0.001, such as 1.5",
            "upper bound for CPUs, as a quota",
        ),
        name(
            "memory",
            "bytes from 4096, or with K, M, G, Ki, Mi, Gi",
            "upper bound for memory",
        ),
        name(
            "cpu_round",
            "up, nearest, down",
            "how a quota becomes a number of CPUs",
        ),
        name(
            "time",
            "container, host",
            "host: uptime, boot time and start times stay the host's",
        ),
        name(
            "state",
            "an absolute path",
            "directory of the container's shared state",
        ),
        name(
            "sampler",
            "on, off",
            "off: nothing runs in the background, load averages are bridged from CPU time",
        ),
        name(
            "io_uring",
            "off, on",
            "off: io_uring is refused, so that file reads can be seen",
        ),
        name(
            "skip",
            "globs with : between",
            "programs, by the path of their executable, that see the host",
        ),
        name("log", "off, warn, debug", "what is said on stderr"),
    ]
};

impl<'s> Settings<'s> {
    /// Sets `name` (as in [`NAMES`]) to `value`; false if there is no such name or the value
    /// makes no sense, and then nothing is changed.
    pub fn set(&mut self, name: &[u8], value: &'s [u8]) -> bool {
        let value = trim(value);
        match name {
            b"proclens" => switch(value, b"on", b"off", &mut self.on),
            b"cpus" => option(quota(value), &mut self.cpus),
            b"memory" => option(size(value), &mut self.memory),
            b"cpu_round" => known(
                value,
                &[
                    (b"up", Rounding::Up),
                    (b"nearest", Rounding::Nearest),
                    (b"down", Rounding::Down),
                ],
                &mut self.rounding,
            ),
            b"time" => switch(value, b"container", b"host", &mut self.container_time),
            b"state" => option(
                Some(value).filter(|v| v.first() == Some(&b'/')),
                &mut self.state,
            ),
            b"sampler" => switch(value, b"on", b"off", &mut self.sampler),
            b"io_uring" => switch(value, b"on", b"off", &mut self.io_uring),
            b"skip" => option(Some(value).filter(|v| !v.is_empty()), &mut self.skip),
            b"log" => known(
                value,
                &[
                    (b"off", Log::Off),
                    (b"warn", Log::Warn),
                    (b"debug", Log::Debug),
                ],
                &mut self.log,
            ),
            _ => false,
        }
    }

    /// Takes what one environment string `PROCLENS…=value` says. `None`: it is not ours.
    pub fn set_from_environment(&mut self, entry: &'s [u8]) -> Option<bool> {
        let (name, value) = cut(entry, b'=')?;
        let rest = name.strip_prefix(b"PROCLENS")?;
        if rest.is_empty() {
            return Some(self.set(b"proclens", value));
        }
        let name = rest.strip_prefix(b"_")?;
        let mut lower = [0u8; 16];
        let Some(lower) = lower.get_mut(..name.len()) else {
            return Some(false);
        };
        for (to, from) in lower.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
        }
        Some(self.set(lower, value))
    }

    /// Takes what a file of `key = value` lines says; empty lines and lines that begin with `#`
    /// mean nothing. Each line that cannot be used is handed to `ignored`.
    pub fn set_from_file(&mut self, file: &'s [u8], mut ignored: impl FnMut(&'s [u8])) {
        for line in lines(file).map(trim) {
            if line.is_empty() || line.first() == Some(&b'#') {
                continue;
            }
            let understood =
                cut(line, b'=').is_some_and(|(name, value)| self.set(trim(name), value));
            if !understood {
                ignored(line);
            }
        }
    }

    /// What is in force where `file` is what the file of settings says and `environment` has the
    /// strings that begin with `PROCLENS`: the environment is above the file. Each line and string
    /// that cannot be used is handed to `ignored`.
    pub fn of(
        file: &'s [u8],
        environment: impl Iterator<Item = &'s [u8]>,
        mut ignored: impl FnMut(&'s [u8]),
    ) -> Settings<'s> {
        let mut settings = Settings::DEFAULT;
        settings.set_from_file(file, &mut ignored);
        for entry in environment {
            if settings.set_from_environment(entry) == Some(false) {
                ignored(entry);
            }
        }
        settings
    }

    /// True if `path`, the program's executable, is one that `PROCLENS_SKIP` names.
    pub fn skips(&self, path: &[u8]) -> bool {
        self.skip.is_some_and(|globs| {
            globs
                .split(|b| *b == b':')
                .any(|glob| !glob.is_empty() && matches(glob, path))
        })
    }
}

fn switch(value: &[u8], yes: &[u8], no: &[u8], into: &mut bool) -> bool {
    known(value, &[(yes, true), (no, false)], into)
}

fn known<T: Copy>(value: &[u8], values: &[(&[u8], T)], into: &mut T) -> bool {
    match values.iter().find(|(name, _)| *name == value) {
        Some((_, meaning)) => {
            *into = *meaning;
            true
        }
        None => false,
    }
}

fn option<T>(meaning: Option<T>, into: &mut Option<T>) -> bool {
    let understood = meaning.is_some();
    if understood {
        *into = meaning;
    }
    understood
}

/// `1.5` as microseconds in a period of a second; at least a thousandth, at most 65,536 CPUs.
fn quota(text: &[u8]) -> Option<Quota> {
    let (whole, fraction) = cut(text, b'.').unwrap_or((text, b"0"));
    let whole = decimal(whole)?;
    decimal(fraction)?;
    let mut millionths = 0u64;
    let mut unit = 100_000u64;
    for digit in fraction.iter().take(6) {
        millionths =
            millionths.wrapping_add(u64::from(digit.wrapping_sub(b'0')).wrapping_mul(unit));
        unit /= 10;
    }
    let quota_us = whole.checked_mul(1_000_000)?.checked_add(millionths)?;
    (1_000..=65_536_000_000)
        .contains(&quota_us)
        .then_some(Quota {
            quota_us,
            period_us: 1_000_000,
        })
}

/// Bytes, or with K, M, G, Ki, Mi, Gi: all of them powers of 1024, as Docker reads `-m 512M` and
/// Kubernetes `512Mi`. At least one page, for a machine of nothing is not one.
fn size(text: &[u8]) -> Option<u64> {
    let (number, unit) = leading_decimal(text)?;
    let shift = match unit {
        b"" => 0,
        b"K" | b"Ki" => 10,
        b"M" | b"Mi" => 20,
        b"G" | b"Gi" => 30,
        _ => return None,
    };
    let bytes = number.checked_mul(1u64 << shift)?;
    (4096..u64::MAX).contains(&bytes).then_some(bytes)
}

/// A glob against a whole path: `*` is any run of bytes (slashes too), `?` any one byte.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut glob, mut text) = (glob, text);
    // Where to go on when what followed the last star did not fit: one byte further on.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (glob.split_first(), text.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, text));
                glob = after;
                continue;
            }
            (Some((b'?', g)), Some((_, t))) => (glob, text) = (g, t),
            (Some((a, g)), Some((b, t))) if a == b => (glob, text) = (g, t),
            (None, None) => return true,
            _ => match retry {
                Some((after, [_, rest @ ..])) => {
                    retry = Some((after, rest));
                    (glob, text) = (after, rest);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(entry: &str) -> Option<Settings<'_>> {
        let mut settings = Settings::DEFAULT;
        settings
            .set_from_environment(entry.as_bytes())?
            .then_some(settings)
    }

    #[test]
    fn every_name_is_known() {
        for Name { name, .. } in NAMES {
            assert_eq!(NAMES.iter().filter(|n| n.name == name).count(), 1);
            let values = [
                "on", "1.5", "512M", "up", "host", "/run", "off", "*", "warn",
            ];
            let mut settings = Settings::DEFAULT;
            assert!(
                values
                    .iter()
                    .any(|v| settings.set(name.as_bytes(), v.as_bytes())),
                "{name}"
            );
        }
    }

    #[test]
    fn values() {
        assert!(!with("PROCLENS=off").unwrap().on);
        let cpus = |text| with(text).and_then(|s| s.cpus).map(|q| q.quota_us);
        assert_eq!(cpus("PROCLENS_CPUS=1.5"), Some(1_500_000));
        assert_eq!(cpus("PROCLENS_CPUS= 2 "), Some(2_000_000));
        assert_eq!(cpus("PROCLENS_CPUS=0.25"), Some(250_000));
        let memory = |text| with(text).and_then(|s| s.memory);
        assert_eq!(memory("PROCLENS_MEMORY=512M"), Some(512 << 20));
        assert_eq!(memory("PROCLENS_MEMORY=512Mi"), Some(512 << 20));
        assert_eq!(memory("PROCLENS_MEMORY=1073741824"), Some(1 << 30));
        assert_eq!(
            with("PROCLENS_CPU_ROUND=down").unwrap().rounding,
            Rounding::Down
        );
        assert_eq!(with("PROCLENS_LOG=warn").unwrap().log, Log::Warn);
        assert_eq!(
            with("PROCLENS_STATE=/run/x").unwrap().state,
            Some(&b"/run/x"[..])
        );
    }

    #[test]
    fn nonsense_is_ignored() {
        for entry in [
            "PROCLENS=maybe",
            "PROCLENS_CPUS=",
            "PROCLENS_CPUS=-1",
            "PROCLENS_CPUS=0",
            "PROCLENS_CPUS=1.5.1",
            "PROCLENS_CPUS=99999999999999999999",
            "PROCLENS_CPUS=two",
            "PROCLENS_MEMORY=",
            "PROCLENS_MEMORY=0",
            "PROCLENS_MEMORY=1T",
            "PROCLENS_MEMORY=-5",
            "PROCLENS_MEMORY=18446744073709551616",
            "PROCLENS_MEMORY=18446744073709551615K",
            "PROCLENS_CPU_ROUND=UP",
            "PROCLENS_STATE=relative",
            "PROCLENS_NOTHING=1",
            "PROCLENS_A_VERY_LONG_NAME_INDEED=1",
        ] {
            assert_eq!(with(entry), None, "{entry}");
        }
        let mut settings = Settings::DEFAULT;
        assert_eq!(settings.set_from_environment(b"PATH=/bin"), None);
        assert_eq!(settings.set_from_environment(b"PROCLENSES=1"), None);
        assert_eq!(settings.set_from_environment(b"PROCLENS"), None);
    }

    #[test]
    fn file() {
        let mut settings = Settings::DEFAULT;
        let mut ignored = Vec::new();
        let file = b"# a comment\n\n cpus = 2\nproclens=off\nmemory = lots\nnonsense\n";
        settings.set_from_file(file, |line| ignored.push(line));
        assert_eq!(settings.cpus.unwrap().quota_us, 2_000_000);
        assert!(!settings.on);
        assert_eq!(ignored, [&b"memory = lots"[..], b"nonsense"]);
    }

    #[test]
    fn environment_is_above_the_file() {
        let environment = [
            &b"PROCLENS_CPUS=3"[..],
            b"PROCLENS_TIME=later",
            b"PROCLENSES=1",
        ];
        let mut ignored = Vec::new();
        let file = b"cpus = 2\ntime = host\nlog = loud";
        let settings = Settings::of(file, environment.into_iter(), |entry| ignored.push(entry));
        assert_eq!(settings.cpus.unwrap().quota_us, 3_000_000);
        assert!(!settings.container_time);
        assert_eq!(ignored, [&b"log = loud"[..], b"PROCLENS_TIME=later"]);
    }

    #[test]
    fn globs() {
        for (glob, path, expected) in [
            ("/usr/bin/top", "/usr/bin/top", true),
            ("/usr/bin/top", "/usr/bin/topp", false),
            ("*/java", "/opt/jdk/bin/java", true),
            ("*/java", "/opt/jdk/bin/javac", false),
            ("*a*b*c", "/xaybzc", true),
            ("*a*b*c", "/xaybz", false),
            ("/bin/?sh", "/bin/zsh", true),
            ("/bin/?sh", "/bin/sh", false),
            ("*", "", true),
        ] {
            assert_eq!(
                matches(glob.as_bytes(), path.as_bytes()),
                expected,
                "{glob} {path}"
            );
        }
        let mut settings = Settings::DEFAULT;
        settings.set(b"skip", b"/bin/a:*/b");
        assert!(
            settings.skips(b"/usr/b") && settings.skips(b"/bin/a") && !settings.skips(b"/bin/c")
        );
    }
}
