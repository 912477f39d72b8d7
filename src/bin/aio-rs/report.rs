//! The results of a tour, and how they are printed. No I/O.

use crate::line::Line;
use crate::measure::median;
use crate::promise::{INTERFACES, Interface, Kept, verdict};
use crate::stage::{SIDES, Side};
use crate::workload::WORKLOADS;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Width of the first column.
const NAME: usize = 36;

pub struct Report {
    heading: String,
    libc: Facts,
    aio_rs: Facts,
}

#[derive(Default)]
struct Facts {
    version: Option<String>,
    data: Vec<(String, String)>,
    promises: Vec<(Interface, String, Kept)>,
    rates: BTreeMap<String, Vec<f64>>,
    skipped: BTreeMap<String, String>,
}

impl Report {
    /// `size`: of the data file.
    pub fn new(library: &Path, directory: &Path, filesystem: &str, size: usize) -> Report {
        let heading = format!(
            "One POSIX AIO program, on libc and with LD_PRELOAD={}\n\
             Data file: {} MiB in {} ({filesystem}); processors: {}\n",
            library.display(),
            size >> 20,
            directory.display(),
            std::thread::available_parallelism().map_or(1, usize::from),
        );
        Report { heading, libc: Facts::default(), aio_rs: Facts::default() }
    }

    pub fn add(&mut self, side: Side, line: Line) {
        let facts = match side {
            Side::Libc => &mut self.libc,
            Side::AioRs => &mut self.aio_rs,
        };
        facts.add(line);
    }

    /// The checks that aio_rs did not pass. (Libc may fail any.)
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.aio_rs.version.as_deref().unwrap_or("").is_empty() {
            failures.push("the client did not run on aio_rs".to_owned());
        }
        if self.libc.version.as_deref() != Some("") {
            failures.push("the client to compare with did not run on libc".to_owned());
        }
        for (name, verdict) in &self.aio_rs.data {
            if verdict != "ok" && verdict != "not supported" {
                failures.push(format!("data, {name}: {verdict}"));
            }
        }
        for (interface, name, kept) in &self.aio_rs.promises {
            if !kept.always() {
                failures.push(format!("{} {name}: {kept}", sync_of(*interface)));
            }
        }
        failures
    }

    fn side(&self, side: Side) -> &Facts {
        match side {
            Side::Libc => &self.libc,
            Side::AioRs => &self.aio_rs,
        }
    }

    fn data(&self, out: &mut fmt::Formatter) -> fmt::Result {
        row(out, "Written, read back and compared", ["aio_rs", "libc", ""])?;
        for (index, (name, verdict)) in self.aio_rs.data.iter().enumerate() {
            let libc = self.libc.data.get(index).map_or("", |(_, verdict)| verdict);
            row(out, &format!("  {name}"), [verdict, libc, ""])?;
        }
        Ok(())
    }

    fn promises(&self, out: &mut fmt::Formatter, interface: Interface) -> fmt::Result {
        row(out, &format!("\n{} completes in time", sync_of(interface)), ["aio_rs", interface.without(), ""])?;
        let of_libc = |name: &str| {
            let mut found = self.libc.promises.iter().filter(|promise| promise.0 == interface && promise.1 == name);
            found.next().map(|promise| promise.2).unwrap_or_default()
        };
        for (_, name, kept) in self.aio_rs.promises.iter().filter(|promise| promise.0 == interface) {
            row(out, &format!("  {name}"), [&kept.to_string(), &of_libc(name).to_string(), ""])?;
        }
        let [libc, ours] = SIDES.map(|side| self.side(side).kept(interface));
        writeln!(out, "{}", verdict(interface, ours, libc))
    }

    fn rates(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let rounds = self.aio_rs.rates.values().map(Vec::len).max().unwrap_or(0);
        if rounds == 0 {
            return Ok(());
        }
        row(out, "\nThousand requests a second", ["aio_rs", "libc", "ratio"])?;
        for workload in &WORKLOADS {
            let [libc, ours] = SIDES.map(|side| self.side(side).median(workload.name));
            let name = format!("  {}", workload.name);
            match (ours, libc) {
                (Some(ours), Some(libc)) => {
                    let cells = [ours / 1e3, libc / 1e3].map(|thousands| format!("{thousands:.1}"));
                    row(out, &name, [&cells[0], &cells[1], &format!("{:.2}", ours / libc)])?;
                }
                _ => {
                    let reason = self.aio_rs.skipped.get(workload.name);
                    writeln!(out, "{name:NAME$} {}", reason.map_or("not measured", String::as_str))?;
                }
            }
        }
        let rounds = format!("{rounds} round{}", if rounds == 1 { "" } else { "s" });
        writeln!(out, "Medians of {rounds}, a tenth of a second each: an impression, not a benchmark.")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        writeln!(out, "{}", self.heading)?;
        self.data(out)?;
        INTERFACES.into_iter().try_for_each(|interface| self.promises(out, interface))?;
        self.rates(out)?;
        let failures = self.failures();
        if failures.is_empty() {
            let version = self.aio_rs.version.as_deref().unwrap_or("");
            return writeln!(out, "\naio_rs {version} passed every check.");
        }
        writeln!(out, "\naio_rs FAILED:")?;
        failures.iter().try_for_each(|failure| writeln!(out, "  {failure}"))
    }
}

impl Facts {
    fn add(&mut self, line: Line) {
        match line {
            Line::Library(version) => self.version = Some(version),
            Line::Data { name, verdict } => self.data.push((name, verdict)),
            Line::Promise { interface, name, kept } => self.promises.push((interface, name, kept)),
            Line::Figures { workload, figures } => self.rates.entry(workload).or_default().push(figures.rate),
            Line::Skipped { workload, reason } => drop(self.skipped.insert(workload, reason)),
        }
    }

    fn kept(&self, interface: Interface) -> Kept {
        let mut sum = Kept::default();
        self.promises.iter().filter(|promise| promise.0 == interface).for_each(|promise| sum += promise.2);
        sum
    }

    fn median(&self, workload: &str) -> Option<f64> {
        median(self.rates.get(workload)?.clone())
    }
}

fn sync_of(interface: Interface) -> &'static str {
    match interface {
        Interface::Posix => "aio_fsync",
        Interface::Libaio => "io_fdsync",
    }
}

fn row(out: &mut fmt::Formatter, name: &str, cells: [&str; 3]) -> fmt::Result {
    // A blank line before a heading does not count towards its width.
    let width = NAME + usize::from(name.starts_with('\n'));
    let line = format!("{name:width$} {:>13} {:>13} {:>7}", cells[0], cells[1], cells[2]);
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Figures;

    fn report(ours: Vec<Line>, libc: Vec<Line>) -> Report {
        let mut report = Report::new(Path::new("/lib/libaio_rs.so"), Path::new("/var/tmp"), "ext4", 1 << 20);
        report.add(Side::AioRs, Line::Library("0.1.0".into()));
        report.add(Side::Libc, Line::Library(String::new()));
        ours.into_iter().for_each(|line| report.add(Side::AioRs, line));
        libc.into_iter().for_each(|line| report.add(Side::Libc, line));
        report
    }

    fn promise(interface: Interface, kept: usize) -> Line {
        Line::Promise { interface, name: "through a dup".into(), kept: Kept { kept, trials: 10 } }
    }

    #[test]
    fn libc_may_fail_and_aio_rs_may_not() {
        use Interface::{Libaio, Posix};
        let good = report(vec![promise(Posix, 10), promise(Libaio, 10)], vec![promise(Posix, 3), promise(Libaio, 0)]);
        assert!(good.failures().is_empty());
        assert!(good.to_string().contains("fsync kept its promise: 10 of 10 (libc: 3 of 10)"));
        assert!(good.to_string().contains("fsync kept its promise: 10 of 10 (plain libaio: 0 of 10)"));
        let bad = report(vec![promise(Posix, 9), promise(Libaio, 8)], vec![promise(Posix, 10)]);
        assert_eq!(bad.failures(), ["aio_fsync through a dup: 9 of 10", "io_fdsync through a dup: 8 of 10"]);
        assert!(bad.to_string().contains("FAILED"));
        assert!(bad.to_string().contains("(plain libaio: not tried)"));
    }

    #[test]
    fn a_client_on_the_wrong_library_is_a_failure() {
        let mut same = report(vec![], vec![]);
        same.add(Side::AioRs, Line::Library(String::new()));
        same.add(Side::Libc, Line::Library("0.1.0".into()));
        assert_eq!(same.failures().len(), 2);
    }

    #[test]
    fn wrong_data_fails_and_a_file_system_without_direct_io_does_not() {
        let data = |verdict: &str| Line::Data { name: "O_DIRECT".into(), verdict: verdict.into() };
        assert!(report(vec![data("not supported")], vec![]).failures().is_empty());
        assert_eq!(report(vec![data("wrong data at 8")], vec![]).failures().len(), 1);
    }

    #[test]
    fn the_median_is_printed_with_its_ratio() {
        let rate = |rate| {
            let figures = Figures { rate, cpu: 1.0, p50: 1.0, p99: 1.0 };
            Line::Figures { workload: WORKLOADS[0].name.into(), figures }
        };
        let ours = [10e3, 900e3, 20e3].map(rate).into();
        let text = report(ours, vec![rate(10e3)]).to_string();
        let line = text.lines().find(|line| line.contains(WORKLOADS[0].name)).unwrap();
        assert_eq!(line.split_whitespace().rev().take(3).collect::<Vec<_>>(), ["2.00", "10.0", "20.0"]);
        assert!(text.contains("not measured"), "the workloads without a figure");
    }
}
