//! Metric families as text: in the OpenMetrics format, version 1.0.0
//! (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>), or in Prometheus's
//! older format for programs that do not know OpenMetrics, such as node_exporter's textfile collector.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// The format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// Prometheus's text format, version 0.0.4. It has no units and no type `info`, and the type of a
    /// counter stands with the name of its samples.
    Prometheus,
}

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The format for a client with this `Accept` header, in lower case: OpenMetrics, unless the client names
    /// plain text and not OpenMetrics.
    pub fn accepted(accept: &str) -> Format {
        match accept.contains("text/plain") && !accept.contains("openmetrics") {
            true => Format::Prometheus,
            false => Format::OpenMetrics,
        }
    }
}

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows; its samples get the suffix `_total`.
    Counter,
    /// Labels about the target; its sample is 1 and gets the suffix `_info`.
    Info,
}

/// A metric family without its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name without `_total` and `_info`; it ends with the unit, if there is one.
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

/// Families in the order in which they were first used, each with its samples.
#[derive(Default)]
pub struct Metrics {
    order: Vec<Family>,
    samples: BTreeMap<&'static str, String>,
    /// Name and labels of each sample.
    series: HashSet<String>,
}

impl Family {
    /// The name of the samples.
    fn series(&self) -> String {
        let suffix = match self.kind {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        };
        format!("{}{suffix}", self.name)
    }
}

impl Metrics {
    /// Adds one sample. A second sample with the same name and labels is left out: it would make the whole
    /// text invalid.
    pub fn add(&mut self, family: Family, labels: &[(&str, &str)], value: f64) {
        let mut series = family.series();
        let mut open = '{';
        for (name, value) in labels {
            series.push(open);
            open = ',';
            // Writing to a String cannot fail.
            let _ = write!(series, "{name}=\"{}\"", escaped(value));
        }
        if open == ',' {
            series.push('}');
        }
        if !self.samples.contains_key(family.name) {
            self.order.push(family);
        }
        let text = self.samples.entry(family.name).or_default();
        let line = format!("{series} {value}\n");
        if self.series.insert(series) {
            text.push_str(&line);
        }
    }

    /// The whole text, in OpenMetrics with its end mark.
    pub fn text(&self, format: Format) -> String {
        let mut text = String::new();
        for family in &self.order {
            let (name, kind) = match (format, family.kind) {
                (Format::OpenMetrics, Kind::Info) => (family.name.to_owned(), "info"),
                (Format::OpenMetrics, Kind::Counter) => (family.name.to_owned(), "counter"),
                (Format::Prometheus, Kind::Counter) => (family.series(), "counter"),
                _ => (family.series(), "gauge"),
            };
            let _ = writeln!(text, "# TYPE {name} {kind}");
            let unit = ["seconds", "bytes"]
                .into_iter()
                .find(|unit| family.name.ends_with(&format!("_{unit}")));
            if let (Format::OpenMetrics, Some(unit)) = (format, unit) {
                let _ = writeln!(text, "# UNIT {name} {unit}");
            }
            let _ = writeln!(text, "# HELP {name} {}", escaped(family.help));
            text.push_str(self.samples.get(family.name).map_or("", String::as_str));
        }
        if format == Format::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

/// A label value, with backslash, quote and newline escaped as the format requires.
fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Family = Family {
        name: "x_cpu_seconds",
        kind: Kind::Counter,
        help: "CPU time.",
    };
    const TASKS: Family = Family {
        name: "x_tasks",
        kind: Kind::Gauge,
        help: "Tasks.",
    };

    #[test]
    fn samples_stand_with_their_family() {
        let mut metrics = Metrics::default();
        metrics.add(CPU, &[("mode", "user")], 1.5);
        metrics.add(TASKS, &[], 3.0);
        metrics.add(CPU, &[("mode", "system")], 2.0);
        assert_eq!(
            metrics.text(Format::OpenMetrics),
            "# TYPE x_cpu_seconds counter\n# UNIT x_cpu_seconds seconds\n# HELP x_cpu_seconds CPU time.\n\
             x_cpu_seconds_total{mode=\"user\"} 1.5\nx_cpu_seconds_total{mode=\"system\"} 2\n\
             # TYPE x_tasks gauge\n# HELP x_tasks Tasks.\nx_tasks 3\n# EOF\n"
        );
    }

    #[test]
    fn the_format_of_prometheus() {
        let build = Family {
            name: "x_build",
            kind: Kind::Info,
            help: "Build.",
        };
        let mut metrics = Metrics::default();
        metrics.add(CPU, &[], 1.5);
        metrics.add(build, &[("version", "1")], 1.0);
        assert_eq!(
            metrics.text(Format::Prometheus),
            "# TYPE x_cpu_seconds_total counter\n# HELP x_cpu_seconds_total CPU time.\nx_cpu_seconds_total 1.5\n\
             # TYPE x_build_info gauge\n# HELP x_build_info Build.\nx_build_info{version=\"1\"} 1\n"
        );
        for (accept, format) in [
            ("", Format::OpenMetrics),
            ("*/*", Format::OpenMetrics),
            (
                "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Prometheus,
            ),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn a_series_has_one_sample() {
        let mut metrics = Metrics::default();
        metrics.add(TASKS, &[("id", "/a")], 1.0);
        metrics.add(TASKS, &[("id", "/a")], 2.0);
        metrics.add(TASKS, &[("id", "/b")], 3.0);
        let text = metrics.text(Format::OpenMetrics);
        assert!(text.ends_with("x_tasks{id=\"/a\"} 1\nx_tasks{id=\"/b\"} 3\n# EOF\n"));
    }

    #[test]
    fn label_values_are_escaped() {
        let mut metrics = Metrics::default();
        metrics.add(TASKS, &[("id", "/a \"b\"\n\\c")], 0.0);
        assert!(
            metrics
                .text(Format::OpenMetrics)
                .contains(r#"x_tasks{id="/a \"b\"\n\\c"} 0"#)
        );
    }
}
