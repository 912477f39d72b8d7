//! The program that the tour and the benchmark run on libc and on aio_rs: an ordinary user of POSIX AIO that knows neither of
//! them; and the benchmark's other engines.
//!
//! Its data file is its standard input, so the file needs no name. It prints one [`Line`] for each fact.

use crate::aio::{self, Request};
use crate::engine::Kind;
use crate::measure::{Extent, Figures, measure};
use crate::promise::{self, Interface, Kept};
use crate::workload::{self, Cache, WORKLOADS, Workload};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Error, Result, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::Duration;

/// Opening this opens the data file once more.
const DATA_FILE: &str = "/proc/self/fd/0";
/// A library that loses a request must not hang the tour.
const MOST_SECONDS: u32 = 60;

#[derive(clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    task: Task,
    /// Milliseconds for each workload
    #[arg(long, default_value_t = 100)]
    millis: u64,
    #[arg(long, value_enum, default_value_t = Kind::Posix)]
    engine: Kind,
    /// Only this workload
    #[arg(long)]
    only: Option<String>,
    /// Another depth than the workload's
    #[arg(long)]
    depth: Option<usize>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Task {
    /// What it writes, and what it is promised.
    Check,
    Promises,
    Bench,
}

/// What the client says, one per line, fields apart by tabs.
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

pub fn main(args: &Args) -> ExitCode {
    // SAFETY: takes a number, cannot fail.
    unsafe { libc::alarm(MOST_SECONDS) };
    let done = match args.task {
        Task::Check => run_checks(),
        Task::Promises => promise::try_all(say),
        Task::Bench => run_workloads(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn say(line: &Line) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

pub fn open(flags: i32) -> Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(DATA_FILE)
}

fn run_checks() -> Result<()> {
    say(&Line::Library(aio::library_version().unwrap_or_default()))?;
    for (name, flags) in [("buffered", 0), ("O_DIRECT", libc::O_DIRECT)] {
        let verdict = match open(flags) {
            Ok(file) => write_and_read_back(file.as_fd()).err().map_or("ok".into(), |error| error.to_string()),
            Err(_) => "not supported".into(),
        };
        say(&Line::Data { name: name.into(), verdict })?;
    }
    promise::try_all(say)
}

/// Writes a pattern in scattered order with many requests in flight, syncs it, reads it back and compares.
fn write_and_read_back(file: BorrowedFd) -> Result<()> {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 256;
    let offset = |step: usize| (step * 37 % CHUNKS) * CHUNK;
    let mut requests: Vec<_> = (0..32).map(|_| Request::new(CHUNK)).collect();
    let depth = requests.len();
    for step in 0..CHUNKS + depth {
        let request = &mut requests[step % depth];
        if step >= depth && request.result()? != CHUNK {
            return Err(Error::other("short write"));
        }
        if step < CHUNKS {
            fill(request.data(), offset(step));
            request.write(file, offset(step), 0)?;
        }
    }
    let mut sync = Request::new(0);
    sync.fsync(file)?;
    sync.result()?;
    for step in 0..CHUNKS + depth {
        let request = &mut requests[step % depth];
        if step >= depth {
            let count = request.result()?;
            compare(request.data(), count, offset(step - depth))?;
        }
        if step < CHUNKS {
            request.data().fill(0);
            request.read(file, offset(step))?;
        }
    }
    Ok(())
}

/// Every word differs from every other in the file.
fn word(position: usize) -> [u8; 8] {
    (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

fn fill(data: &mut [u8], offset: usize) {
    for (index, bytes) in data.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&word(offset + 8 * index));
    }
}

fn compare(data: &[u8], count: usize, offset: usize) -> Result<()> {
    let mut words = data.chunks_exact(8).enumerate();
    let wrong = words.find(|(index, bytes)| **bytes != word(offset + 8 * index));
    match wrong {
        _ if count != data.len() => Err(Error::other(format!("short read at {offset}"))),
        Some((index, _)) => Err(Error::other(format!("wrong data at {}", offset + 8 * index))),
        None => Ok(()),
    }
}

fn run_workloads(args: &Args) -> Result<()> {
    let wanted = match &args.only {
        None => WORKLOADS.to_vec(),
        Some(name) => vec![workload::named(name).ok_or_else(|| Error::other(format!("no workload {name}")))?],
    };
    for workload in wanted {
        let workload = Workload { depth: args.depth.unwrap_or(workload.depth), ..workload };
        say(&run_workload(&workload, args)?)?;
    }
    Ok(())
}

fn run_workload(workload: &Workload, args: &Args) -> Result<Line> {
    let flags = if workload.cache == Cache::Bypassed { libc::O_DIRECT } else { 0 };
    let time = Extent::Time(Duration::from_millis(args.millis));
    let skipped = |reason: &str| Ok(Line::Skipped { workload: workload.name.into(), reason: reason.into() });
    match open(flags).and_then(|file| measure(workload, args.engine, &file, time)) {
        Ok(figures) => Ok(Line::Figures { workload: workload.name.into(), figures }),
        Err(error) if workload.cache == Cache::Bypassed && error.raw_os_error() == Some(libc::EINVAL) => {
            skipped("no O_DIRECT here")
        }
        // What a machine may forbid.
        Err(error) if matches!(args.engine, Kind::Kernel | Kind::Uring) => skipped(&error.to_string()),
        Err(error) => Err(Error::other(format!("{}: {error}", workload.name))),
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

    #[test]
    fn a_wrong_word_and_a_short_read_are_found() {
        let mut data = vec![0; 64];
        fill(&mut data, 4096);
        assert!(compare(&data, 64, 4096).is_ok());
        assert!(compare(&data, 63, 4096).is_err());
        assert!(compare(&data, 64, 8192).is_err());
        data[17] ^= 1;
        assert_eq!(compare(&data, 64, 4096).unwrap_err().to_string(), "wrong data at 4112");
    }
}
