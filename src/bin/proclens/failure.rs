//! What goes wrong, in one line: which file, what about it, and what to do.

use crate::style::plain;
use proclens::log;
use proclens::sys::process::effective_user;
use std::fmt;
use std::io;
use std::path::Path;

/// A line for stderr, without `proclens: ` in front.
#[derive(Debug)]
pub struct Failure(String);

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// `what` and the remedy.
    pub fn new(what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure(format!("{what}: {remedy}"))
    }

    /// True if there is nothing to be said.
    pub fn is_silent(&self) -> bool {
        self.0.is_empty()
    }

    /// A process that is there no more, or only for its parent to see.
    pub fn of_ended(pid: u32) -> Failure {
        Failure::new(
            format_args!("process {pid} has ended"),
            "`proclens show --all` lists what runs",
        )
    }

    /// An operation on `file` that the system refused.
    pub fn of_file(file: &Path, error: &io::Error) -> Failure {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied if effective_user() != 0 => ", try as root",
            io::ErrorKind::ReadOnlyFilesystem => ", mount it writable",
            _ => "",
        };
        Failure(format!("{}: {}{remedy}", file.display(), reason(error)))
    }

    /// A question that the core could not answer.
    pub fn of_question(what: &str, (trouble, errno): log::Failure) -> Failure {
        let error = match errno.0 {
            0 => String::new(),
            number => format!(" ({})", reason(&io::Error::from_raw_os_error(number))),
        };
        Failure(format!(
            "{what}: {}{error}; `proclens explain` names the files",
            String::from_utf8_lossy(trouble.text())
        ))
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
        // A name with a newline in it must not make two lines.
        f.write_str(&plain(&self.0))
    }
}

impl From<io::Error> for Failure {
    /// Only output can fail without a name: everything else names its file. A reader that has
    /// seen enough is not worth a word.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure(String::new()),
            _ => Failure::new(
                format_args!("standard output: {}", reason(&error)),
                "is there room where it goes?",
            ),
        }
    }
}
