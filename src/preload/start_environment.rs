//! What the program's environment held at its start, and whether a later environment was derived from that
//! one or built anew. README, "Switching it off", states the rule. Pure code without system calls:
//! `preload/environment.rs` reads the strings.
#![forbid(unsafe_code)]

use crate::settings::is_setting;
use crate::text::cut;
use core::ffi::CStr;

/// The variable of the dynamic linker, ld.so(8).
pub const PRELOAD: &[u8] = b"LD_PRELOAD";

/// Bytes for copies of the strings about this library. The shared object has one writable page, which holds
/// them. A second page would make every exec of every program slower.
const TEXT: usize = 128;

/// The environment at the program's start.
///
/// The strings about this library are copied, because a program may overwrite the memory of its
/// environment (`setproctitle`) before it empties the list of variables.
pub struct StartEnvironment {
    names: Names,
    text: [u8; TEXT],
    used: usize,
}

impl StartEnvironment {
    /// A start with no variables.
    pub const EMPTY: StartEnvironment = StartEnvironment {
        names: Names::EMPTY,
        text: [0; TEXT],
        used: 0,
    };

    /// Adds one variable, `NAME=value` with its NUL. Returns false if the string is about this
    /// library and there is no space for a copy.
    pub fn add(&mut self, entry: &CStr) -> bool {
        if !is_ours(entry.to_bytes()) {
            self.names.insert(entry.to_bytes());
            return true;
        }
        let bytes = entry.to_bytes_with_nul();
        let end = self.used.saturating_add(bytes.len());
        let Some(space) = self.text.get_mut(self.used..end) else {
            return false;
        };
        for (to, from) in space.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.used = end;
        true
    }

    /// The copies of the strings about this library.
    pub fn ours(&self) -> impl Iterator<Item = &CStr> + Clone {
        let text = self.text.get(..self.used).unwrap_or_default();
        text.split_inclusive(|b| *b == 0)
            .filter_map(|entry| CStr::from_bytes_with_nul(entry).ok())
    }

    /// True if the environment `entries` was built anew instead of derived from the one at the
    /// start. An environment built anew lost `LD_PRELOAD` by accident; a derived one without it lost
    /// it on purpose.
    ///
    /// Built anew means: it holds no variable; or at most three quarters of the variables that the
    /// program started with are still in it, compared by name; or it is a login's (`LOGNAME` is in
    /// it and was not at the start). Strings about this library do not count.
    pub fn is_rebuilt<'e>(&self, entries: impl Iterator<Item = &'e [u8]>) -> bool {
        let mut now = Names::EMPTY;
        for entry in entries.filter(|entry| !is_ours(entry)) {
            now.insert(entry);
        }
        let started = self.names.count();
        let left = self.names.shared_with(&now);
        let login = now.has(b"LOGNAME") && !self.names.has(b"LOGNAME");
        now.count() == 0 || left < started && left * 4 <= started * 3 || login
    }
}

/// True for `LD_PRELOAD` and for a setting of this library.
pub fn is_ours(entry: &[u8]) -> bool {
    value_of(entry, PRELOAD).is_some() || is_setting(entry)
}

/// The value if `entry` is `name=value`.
pub fn value_of<'e>(entry: &'e [u8], name: &[u8]) -> Option<&'e [u8]> {
    entry.strip_prefix(name)?.strip_prefix(b"=")
}

/// The name of the variable `entry`.
pub fn name_of(entry: &[u8]) -> &[u8] {
    cut(entry, b'=').map_or(entry, |(name, _)| name)
}

/// A set of names of variables, as one bit for each of 256 hash values. Two names may share a bit:
/// the set only serves to estimate how much two environments have in common.
struct Names([u64; 4]);

impl Names {
    const EMPTY: Names = Names([0; 4]);

    fn insert(&mut self, entry: &[u8]) {
        let (word, bit) = Names::place(name_of(entry));
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    fn has(&self, name: &[u8]) -> bool {
        let (word, bit) = Names::place(name);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn shared_with(&self, other: &Names) -> u32 {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| (a & b).count_ones()).sum()
    }

    /// FNV-1a. Its upper bits are mixed best, so they select the bit.
    fn place(name: &[u8]) -> (usize, u64) {
        let hash = name.iter().fold(0x811c_9dc5u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        (hash as usize >> 30, 1u64 << (hash >> 24 & 63))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn started(entries: &[&str]) -> StartEnvironment {
        let mut start = StartEnvironment::EMPTY;
        for entry in entries {
            start.add(&CString::new(*entry).unwrap());
        }
        start
    }

    fn rebuilt(start: &[&str], now: &[&str]) -> bool {
        started(start).is_rebuilt(now.iter().map(|entry| entry.as_bytes()))
    }

    const DOCKER: [&str; 4] = ["PATH=/bin", "HOSTNAME=a", "HOME=/root", "LD_PRELOAD=/l.so"];

    #[test]
    fn an_environment_without_the_preload_alone_is_derived() {
        assert!(!rebuilt(&DOCKER, &DOCKER[..3]));
        // A shell adds variables of its own and changes values.
        let shell = ["PATH=/b", "HOSTNAME=a", "HOME=/", "PWD=/", "SHLVL=1", "_=x"];
        assert!(!rebuilt(&DOCKER, &shell));
        assert!(!rebuilt(&["LD_PRELOAD=/l.so"], &["PWD=/"]));
        let ten: Vec<String> = (0..10).map(|i| format!("V{i}=")).collect();
        let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
        assert!(!rebuilt(&ten, &ten[..8]));
    }

    #[test]
    fn an_environment_that_lost_most_is_rebuilt() {
        assert!(rebuilt(&DOCKER, &[]));
        assert!(rebuilt(&DOCKER, &["LD_PRELOAD=", "PROCLENS=on"]));
        assert!(rebuilt(&DOCKER, &["PATH=/bin"]));
        assert!(rebuilt(&DOCKER, &["PATH=/bin", "HOME=/root", "A=1", "B=2"]));
        assert!(rebuilt(&["LD_PRELOAD=/l.so"], &[]));
        // su -, with a terminal and without.
        let login = [
            "PATH=/bin",
            "HOME=/",
            "SHELL=/bin/sh",
            "USER=a",
            "LOGNAME=a",
        ];
        assert!(rebuilt(&DOCKER, &login));
        assert!(rebuilt(
            &["PATH=/bin", "HOME=/root", "LD_PRELOAD=/l.so"],
            &login
        ));
        assert!(rebuilt(&["PATH=/bin", "LD_PRELOAD=/l.so"], &login));
    }

    #[test]
    fn a_login_shells_own_children_are_derived() {
        let login = [
            "PATH=/b",
            "HOME=/",
            "USER=a",
            "LOGNAME=a",
            "LD_PRELOAD=/l.so",
        ];
        assert!(!rebuilt(&login, &login[..4]));
        assert!(rebuilt(&login, &["PATH=/b", "HOME=/", "USER=b"]));
    }

    #[test]
    fn strings_about_the_library_are_copied() {
        let start = started(&[
            "A=1",
            "LD_PRELOAD=/l.so",
            "PROCLENS=off",
            "PROCLENS_A_PORT=1",
            "PROCLENS_CPUS=2",
        ]);
        let ours: Vec<&[u8]> = start.ours().map(CStr::to_bytes).collect();
        assert_eq!(
            ours,
            [
                &b"LD_PRELOAD=/l.so"[..],
                b"PROCLENS=off",
                b"PROCLENS_CPUS=2"
            ]
        );
        let mut start = started(&["PROCLENS=off"]);
        let long = CString::new(format!("PROCLENS_SKIP={}", "x".repeat(300))).unwrap();
        assert!(!start.add(&long));
        assert!(start.add(c"PROCLENS_CPUS=1"));
        assert_eq!(start.ours().count(), 2);
    }

    #[test]
    fn names_and_values() {
        assert_eq!(value_of(b"LD_PRELOAD=a", PRELOAD), Some(&b"a"[..]));
        assert_eq!(value_of(b"LD_PRELOADS=a", PRELOAD), None);
        assert_eq!(name_of(b"A=b=c"), b"A");
        assert_eq!(name_of(b"odd"), b"odd");
    }
}
