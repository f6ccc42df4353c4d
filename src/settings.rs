//! The settings that users can change: one table of names, values and meanings, for the environment
//! (`PROCLENS_CPUS`), for `/etc/proclens.conf` (`cpus`), for the library and for the tool. This module
//! parses text into values. `runtime/config.rs` reads the environment and the file.
#![forbid(unsafe_code)]

use crate::text::{cut, decimal, leading_decimal, lines, trim};
use crate::values::{Quota, Rounding};

/// The settings in force. Text is borrowed from the memory that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings<'s> {
    /// `PROCLENS`: false turns the library off, so that programs see the host.
    pub on: bool,
    /// `PROCLENS_CPUS`: an additional quota. The tightest quota applies.
    pub cpus: Option<Quota>,
    /// `PROCLENS_MEMORY`: an additional limit in bytes. The tightest limit applies.
    pub memory: Option<u64>,
    /// `PROCLENS_CPU_ROUND`.
    pub rounding: Rounding,
    /// `PROCLENS_TIME`: false keeps uptime, btime and start times those of the host.
    pub container_time: bool,
    /// `PROCLENS_STATE`: the directory of the shared state. `None` selects the first usable one of the
    /// usual directories.
    pub state: Option<&'s [u8]>,
    /// `PROCLENS_SAMPLER`: false prevents the library from starting the background sampler.
    pub sampler: bool,
    /// `PROCLENS_IO_URING`: false makes `io_uring_setup` fail with ENOSYS.
    pub io_uring: bool,
    /// `PROCLENS_SKIP`: globs with `:` between, matched against the program's path.
    pub skip: Option<&'s [u8]>,
    /// `PROCLENS_LOG`.
    pub log: Log,
}

/// Which messages are written to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Log {
    /// No messages.
    #[default]
    Off,
    /// Failures and what the program got instead, once for each virtual file; and invalid settings.
    Warn,
    /// Also what a read of a virtual file got: the container's content.
    Debug,
}

impl Settings<'_> {
    /// The settings that apply if the user sets nothing.
    pub const DEFAULT: Settings<'static> = Settings {
        on: true,
        cpus: None,
        memory: None,
        rounding: Rounding::Up,
        container_time: true,
        state: None,
        sampler: true,
        io_uring: true,
        skip: None,
        log: Log::Off,
    };
}

/// One setting, as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name without `PROCLENS_`, in lower case. The switch `PROCLENS` itself is `proclens`.
    pub name: &'static str,
    /// The valid values, as the end of a sentence.
    pub values: &'static str,
    /// What the setting does, in one line.
    pub meaning: &'static str,
}

/// The beginning of each environment string of this library, `PROCLENS=off` or `PROCLENS_CPUS=1`.
pub const PREFIX: &[u8] = b"PROCLENS";

/// Bytes of the longest name.
const LONGEST: usize = 16;

/// True if the environment string `entry` sets one of [`NAMES`]. Kubernetes makes other variables with this prefix for
/// each Service whose name begins with `proclens`.
pub fn is_setting(entry: &[u8]) -> bool {
    let mut lower = [0; LONGEST];
    let Some((name, _)) = name_and_value(entry, &mut lower) else {
        return false;
    };
    // Not a search in `NAMES`, whose pointers the dynamic linker would have to relocate at each exec.
    matches!(
        name,
        b"proclens"
            | b"cpus"
            | b"memory"
            | b"cpu_round"
            | b"time"
            | b"state"
            | b"sampler"
            | b"io_uring"
            | b"skip"
            | b"log"
    )
}

/// True if the environment string `entry` has the form of a setting, perhaps with an unknown name.
pub fn could_be_setting(entry: &[u8]) -> bool {
    name_and_value(entry, &mut [0; LONGEST]).is_some()
}

/// The name (as in [`NAMES`]; empty if it is too long for any) and the value of an environment string `PROCLENS…=value`.
/// `None` if the string is another variable's.
fn name_and_value<'n, 's>(
    entry: &'s [u8],
    lower: &'n mut [u8; LONGEST],
) -> Option<(&'n [u8], &'s [u8])> {
    let (name, value) = cut(entry, b'=')?;
    let rest = name.strip_prefix(PREFIX)?;
    if rest.is_empty() {
        return Some((b"proclens", value));
    }
    let name = rest.strip_prefix(b"_")?;
    let lower = lower.get_mut(..name.len()).unwrap_or_default();
    for (to, from) in lower.iter_mut().zip(name) {
        *to = from.to_ascii_lowercase();
    }
    Some((lower, value))
}

/// All settings, for help texts and for explaining why a value was ignored.
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
            "off: nothing runs in the background, load averages are extrapolated from CPU time",
        ),
        name(
            "io_uring",
            "on, off",
            "off: io_uring_setup fails with ENOSYS, so that programs read files with calls that the library sees",
        ),
        name(
            "skip",
            "globs with : between",
            "programs, by the path of their executable, that see the host",
        ),
        name(
            "log",
            "off, warn, debug",
            "which messages are written to stderr",
        ),
    ]
};

impl<'s> Settings<'s> {
    /// Sets `name` (as in [`NAMES`]) to `value`. Returns false and changes nothing if the name does not
    /// exist or the value is invalid.
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

    /// Applies one environment string `PROCLENS…=value`. `None` if the string is not a setting.
    pub fn set_from_environment(&mut self, entry: &'s [u8]) -> Option<bool> {
        let mut lower = [0; LONGEST];
        let (name, value) = name_and_value(entry, &mut lower)?;
        Some(self.set(name, value))
    }

    /// Applies a file of `key = value` lines. Skips empty lines and lines that begin with `#`. Calls
    /// `ignored` with each line that is invalid.
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

    /// Computes the settings in force. `file` is the text of the settings file, and `environment`
    /// yields the strings that begin with `PROCLENS`. The environment overrides the file. Calls
    /// `ignored` with each line and string that is invalid.
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

    /// True if `PROCLENS_SKIP` matches `path`, the executable of the program.
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

/// Parses a number of CPUs such as `1.5` into microseconds per period of a second. At least a
/// thousandth of a CPU, at most 65,536 CPUs.
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

/// Parses a number of bytes, or a number with K, M, G, Ki, Mi, Gi. All units are powers of 1024, as
/// Docker reads `-m 512M` and Kubernetes `512Mi`. At least one page, because a machine without memory
/// cannot run.
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

/// Matches a glob against a whole path: `*` is any run of bytes (including slashes), `?` any one byte.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut glob, mut text) = (glob, text);
    // Where to continue if the text after the last star did not match: one byte further on.
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
            let variable = match name {
                "proclens" => "PROCLENS=".to_owned(),
                _ => format!("PROCLENS_{}=x", name.to_uppercase()),
            };
            assert!(is_setting(variable.as_bytes()), "{name}");
        }
        for other in [
            "PROCLENS",
            "PROCLENS_CPUS",
            "PROCLENS_=1",
            "PROCLENS_PROCLENSES=1",
            "PROCLENS_PORT=1",
            "PROCLENS_A_VERY_LONG_NAME_INDEED=1",
            "PROCLENSES=1",
            "CPUS=1",
        ] {
            assert!(!is_setting(other.as_bytes()), "{other}");
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
