//! What a client tells the tour or the benchmark that has started it: one line of text for each fact.

use crate::measure::Figures;
use crate::promise::{Interface, Kept};
use std::fmt;

/// Printed with tabs between its fields.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// The library that answered; empty for libc.
    Library(String),
    Data {
        name: String,
        verdict: String,
    },
    Promise {
        interface: Interface,
        name: String,
        kept: Kept,
    },
    Figures {
        workload: String,
        figures: Figures,
    },
    Skipped {
        workload: String,
        reason: String,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Line::Library(version) => write!(out, "library\t{version}"),
            Line::Data { name, verdict } => write!(out, "data\t{name}\t{verdict}"),
            Line::Promise { interface, name, kept: Kept { kept, trials } } => {
                write!(out, "promise\t{}\t{name}\t{kept}\t{trials}", interface.name())
            }
            Line::Figures { workload, figures } => write!(out, "figures\t{workload}\t{figures}"),
            Line::Skipped { workload, reason } => write!(out, "skipped\t{workload}\t{reason}"),
        }
    }
}

impl Line {
    pub fn parse(text: &str) -> Option<Line> {
        let fields: Vec<_> = text.split('\t').collect();
        Some(match fields[..] {
            ["library", version] => Line::Library(version.into()),
            ["data", name, verdict] => Line::Data { name: name.into(), verdict: verdict.into() },
            ["promise", interface, name, kept, trials] => Line::Promise {
                interface: Interface::parse(interface)?,
                name: name.into(),
                kept: Kept { kept: kept.parse().ok()?, trials: trials.parse().ok()? },
            },
            ["figures", workload, figures] => {
                Line::Figures { workload: workload.into(), figures: Figures::parse(figures)? }
            }
            ["skipped", workload, reason] => Line::Skipped { workload: workload.into(), reason: reason.into() },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_pipe() {
        let lines = [
            Line::Library(String::new()),
            Line::Data { name: "buffered".into(), verdict: "ok".into() },
            Line::Promise { interface: Interface::Posix, name: "a dup".into(), kept: Kept { kept: 3, trials: 10 } },
            Line::Promise { interface: Interface::Libaio, name: "a dup".into(), kept: Kept::default() },
            Line::Figures {
                workload: "read".into(),
                figures: Figures { rate: 1234.5, cpu: 2.0, p50: 10.0, p99: 20.0 },
            },
            Line::Skipped { workload: "direct".into(), reason: "none".into() },
        ];
        for line in lines {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
        assert_eq!(Line::parse("promise\tposix\ta\tmany\t10"), None);
        assert_eq!(Line::parse("promise\tother\ta\t9\t10"), None);
        assert_eq!(Line::parse("noise"), None);
    }
}
