//! Errors of the tool. Each is one line: the file or value, the reason, and the remedy.

use crate::output::style::plain;
use proclens::error::{self, ErrorKind};
use proclens::sys::Errno;
use proclens::sys::process::effective_user;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the tool cannot do what the user wants. Displayed without `proclens: ` in front.
#[derive(Debug)]
pub enum Failure {
    /// The reader of standard output has exited. Nothing is printed.
    ReaderGone,
    /// Standard output accepts no more data.
    Output(io::Error),
    /// A value from the user, or a state of the machine; and the remedy.
    Invalid { what: String, remedy: String },
    /// The process has ended, or is a zombie.
    Ended(u32),
    /// The system refused an operation on the file.
    File { path: PathBuf, error: io::Error },
    /// The library has no value for `what`.
    NoValue {
        what: String,
        kind: ErrorKind,
        errno: Errno,
    },
}

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// An error about `what`, and the remedy.
    pub fn new(what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure::Invalid {
            what: what.to_string(),
            remedy: remedy.to_string(),
        }
    }

    /// True if nothing is to be printed.
    pub fn is_silent(&self) -> bool {
        matches!(self, Failure::ReaderGone)
    }

    /// A process that has ended, or is a zombie.
    pub fn of_ended(pid: u32) -> Failure {
        Failure::Ended(pid)
    }

    /// An operation on `file` that the system refused.
    pub fn of_file(file: &Path, error: &io::Error) -> Failure {
        let error = match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        Failure::File {
            path: file.to_owned(),
            error,
        }
    }

    /// A value that the library could not give.
    pub fn no_value(what: &str, (kind, errno): error::Failure) -> Failure {
        Failure::NoValue {
            what: what.to_owned(),
            kind,
            errno,
        }
    }

    fn text(&self) -> String {
        match self {
            Failure::ReaderGone => String::new(),
            Failure::Output(error) => {
                format!("standard output: {}: is there space left?", reason(error))
            }
            Failure::Invalid { what, remedy } => format!("{what}: {remedy}"),
            Failure::Ended(pid) => {
                format!(
                    "process {pid} has ended: `proclens show --all` lists the running containers"
                )
            }
            Failure::File { path, error } => {
                let remedy = match error.kind() {
                    io::ErrorKind::PermissionDenied if effective_user() != 0 => ", try as root",
                    io::ErrorKind::ReadOnlyFilesystem => ", mount it writable",
                    _ => "",
                };
                format!("{}: {}{remedy}", path.display(), reason(error))
            }
            Failure::NoValue { what, kind, errno } => {
                let error = match errno.0 {
                    0 => String::new(),
                    number => format!(" ({})", reason(&io::Error::from_raw_os_error(number))),
                };
                format!(
                    "{what}: {}{error}; `proclens explain` names the files",
                    String::from_utf8_lossy(kind.text())
                )
            }
        }
    }
}

/// The error without Rust's `(os error 2)`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name can contain a newline, which must not make two lines.
        f.write_str(&plain(&self.text()))
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    /// Only output errors have no file name. Every other error names its file.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Output(error),
        }
    }
}
