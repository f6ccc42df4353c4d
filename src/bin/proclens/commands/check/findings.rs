//! What `check` found, and how it prints it.

use crate::output::failure::Result;
use crate::output::style::{BAD, DIM, GOOD, WARNING};
use serde::Serialize;
use std::io::Write;

/// The result of the check.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    /// The library works in the program that was checked, or in this container's programs.
    pub(super) active: bool,
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    what: String,
    /// What to do.
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Good,
    /// Useful information; nothing needs to be done.
    Note,
    Problem,
}

/// The findings so far.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn good(&mut self, what: impl Into<String>) {
        self.add(Level::Good, what.into(), None);
    }

    pub(super) fn note(&mut self, what: impl Into<String>, remedy: &str) {
        self.add(Level::Note, what.into(), Some(remedy.to_owned()));
    }

    pub(super) fn problem(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Problem, what.into(), Some(remedy.into()));
    }

    fn add(&mut self, level: Level, what: String, remedy: Option<String>) {
        self.0.push(Finding {
            level,
            what,
            remedy,
        });
    }
}

pub(super) fn print(report: &Report, json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, report).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    for finding in &report.findings {
        let (style, mark) = match finding.level {
            Level::Good => (GOOD, "ok"),
            Level::Note => (WARNING, "note"),
            Level::Problem => (BAD, "problem"),
        };
        writeln!(out, "{style}{mark:<8}{style:#}{}", finding.what)?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "        {DIM}{remedy}{DIM:#}")?;
        }
    }
    let verdict = if report.active {
        "the library is active"
    } else {
        "the library is not active"
    };
    writeln!(out, "{verdict}")?;
    Ok(())
}
