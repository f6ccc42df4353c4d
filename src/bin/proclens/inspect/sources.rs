//! Where each setting came from, and why a setting was ignored. The library defines the names, the values
//! and the order ([`proclens::settings`]).

use crate::inspect::processes;
use proclens::runtime::config::{FILE, MOST_OF_FILE};
use proclens::settings::{NAMES, Settings};
use proclens::sys::{self, Errno};
use proclens::text::{cut, lines, trim};
use serde::Serialize;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The texts from which settings are read.
pub struct Sources {
    path: PathBuf,
    file: Vec<u8>,
    /// Why the file is incomplete or unreadable.
    problem: Option<String>,
    environment: Vec<Vec<u8>>,
}

/// A setting that the user or the administrator made.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Given {
    /// The name as an environment variable: `PROCLENS_CPUS`.
    pub name: String,
    pub value: String,
    /// `environment`, or the path of the file.
    pub source: String,
    /// True if the setting is in force. If it is ignored, `reason` gives the reason.
    pub used: bool,
    pub reason: Option<String>,
    /// True if the setting is ignored because another one has priority.
    #[serde(skip)]
    pub overridden: bool,
}

impl Sources {
    /// The settings of this process.
    pub fn own() -> Sources {
        let environment = std::env::vars_os().map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.as_bytes());
            entry
        });
        let file = sys::open_regular(FILE)
            .and_then(|file| {
                let mut text = vec![0; MOST_OF_FILE + 1];
                let length = sys::read(file.raw(), &mut text)?;
                text.truncate(length);
                Ok(text)
            })
            .map_err(|errno| io::Error::from_raw_os_error(errno.0));
        Sources::new(Path::new("/"), file, environment)
    }

    /// The settings of another process, from its environment at its start.
    pub fn of_process(pid: u32) -> Sources {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        Sources::new(
            &PathBuf::from(format!("/proc/{pid}/root")),
            processes::file_inside(pid, FILE, MOST_OF_FILE + 1),
            environment.split(|b| *b == 0).map(<[u8]>::to_vec),
        )
    }

    /// No settings.
    pub fn none() -> Sources {
        Sources {
            path: PathBuf::new(),
            file: Vec::new(),
            problem: None,
            environment: Vec::new(),
        }
    }

    fn new(
        root: &Path,
        file: io::Result<Vec<u8>>,
        environment: impl Iterator<Item = Vec<u8>>,
    ) -> Sources {
        let name = FILE.to_string_lossy();
        let path = root.join(name.trim_start_matches('/'));
        let mut problem = None;
        let mut file = file.unwrap_or_else(|error| {
            if error.raw_os_error() == Some(Errno::MALFORMED.0) {
                problem = Some("is not a regular file".to_owned());
            } else if error.kind() != io::ErrorKind::NotFound {
                problem = Some(crate::output::failure::reason(&error));
            }
            Vec::new()
        });
        if file.len() > MOST_OF_FILE {
            file.truncate(MOST_OF_FILE);
            problem = Some(format!("only its first {MOST_OF_FILE} bytes are read"));
        }
        Sources {
            path,
            file,
            problem,
            environment: environment
                .filter(|entry| entry.starts_with(b"PROCLENS"))
                .collect(),
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings<'_> {
        Settings::of(&self.file, self.entries(), |_| {})
    }

    /// What is wrong with the file as a whole.
    pub fn problem(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!("{}: {problem}", self.path.display()))
    }

    /// Every setting that was made, those of the file first.
    pub fn given(&self) -> Vec<Given> {
        let mut ignored = Vec::new();
        Settings::of(&self.file, self.entries(), |entry| ignored.push(entry));
        let file = self.path.display().to_string();
        let of_file = lines(&self.file)
            .map(trim)
            .filter(|line| !line.is_empty() && line.first() != Some(&b'#'))
            .map(|line| (line, file.as_str()));
        let of_environment = self
            .entries()
            .filter(|entry| {
                Settings::DEFAULT
                    .clone()
                    .set_from_environment(entry)
                    .is_some()
            })
            .map(|entry| (entry, "environment"));
        let mut all: Vec<Given> = of_file
            .chain(of_environment)
            .map(|(entry, source)| {
                // Compare addresses: the same text may occur elsewhere.
                let refused = ignored.iter().any(|i| std::ptr::eq(*i, entry));
                given(entry, source, !refused)
            })
            .collect();
        let mut later = Vec::<(String, String)>::new();
        for setting in all.iter_mut().rev().filter(|s| s.used) {
            match later.iter().find(|(name, _)| *name == setting.name) {
                Some((_, source)) => {
                    setting.used = false;
                    setting.overridden = true;
                    setting.reason = Some(match source.as_str() {
                        "environment" => "the environment overrides it".to_owned(),
                        _ => "a later line overrides it".to_owned(),
                    });
                }
                None => later.push((setting.name.clone(), setting.source.clone())),
            }
        }
        all
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.environment.iter().map(Vec::as_slice)
    }
}

fn given(entry: &[u8], source: &str, used: bool) -> Given {
    let (name, value) = cut(entry, b'=').unwrap_or((entry, b""));
    let text = |bytes| String::from_utf8_lossy(trim(bytes)).into_owned();
    let name = variable(&text(name));
    let reason = (!used).then(|| match NAMES.iter().find(|n| variable(n.name) == name) {
        Some(known) => format!("takes {}", known.values),
        None => {
            let names = NAMES.map(|n| variable(n.name));
            format!(
                "there is no such setting; choose one of {}",
                names.join(", ")
            )
        }
    });
    Given {
        name,
        value: text(value),
        source: source.to_owned(),
        used,
        reason,
        overridden: false,
    }
}

/// The environment variable for a setting of the file.
pub fn variable(name: &str) -> String {
    let name = name.to_uppercase();
    match name.strip_prefix("PROCLENS") {
        Some(_) => name,
        None => format!("PROCLENS_{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_names_its_source_and_ignored_values() {
        let sources = Sources {
            path: PathBuf::from("/etc/proclens.conf"),
            file: b"# x\ncpus = 1\ncpus = 2\nmemory = lots\ntime=host\n".to_vec(),
            problem: None,
            environment: vec![
                b"PROCLENS_CPUS=3".to_vec(),
                b"PROCLENS_COLOUR=red".to_vec(),
                b"PROCLENSES=no".to_vec(),
            ],
        };
        let given = sources.given();
        let seen: Vec<_> = given
            .iter()
            .map(|g| (g.name.as_str(), g.value.as_str(), g.used))
            .collect();
        assert_eq!(
            seen,
            [
                ("PROCLENS_CPUS", "1", false),
                ("PROCLENS_CPUS", "2", false),
                ("PROCLENS_MEMORY", "lots", false),
                ("PROCLENS_TIME", "host", true),
                ("PROCLENS_CPUS", "3", true),
                ("PROCLENS_COLOUR", "red", false),
            ]
        );
        assert!(given[2].reason.as_ref().unwrap().contains("Ki, Mi, Gi"));
        assert!(given[5].reason.as_ref().unwrap().contains("PROCLENS_SKIP"));
        assert_eq!(sources.settings().cpus.unwrap().quota_us, 3_000_000);
    }

    #[test]
    fn names_of_variables() {
        assert_eq!(variable("proclens"), "PROCLENS");
        assert_eq!(variable("cpu_round"), "PROCLENS_CPU_ROUND");
        assert_eq!(variable("PROCLENS_LOG"), "PROCLENS_LOG");
    }
}
