//! The program that the tour and the benchmark run on libc and on aio_rs: an ordinary user of POSIX AIO that knows neither of
//! them; and the benchmark's other engines.
//!
//! Its data file is its standard input, so the file needs no name. It prints one [`Line`] for each fact.

use crate::aio::{self, Request};
use crate::engine::Kind;
use crate::measure::{Extent, Figures, measure};
use crate::workload::{self, BLOCK, Cache, WORKLOADS, Workload};
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
/// Trials of each promise.
const TRIALS: usize = 10;
/// A trial in which nothing was pending any more proves nothing and is repeated, but not for ever.
const MOST_ATTEMPTS: usize = 10 * TRIALS;

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
    Check,
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
        name: String,
        kept: usize,
        trials: usize,
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
            Line::Promise { name, kept, trials } => {
                write!(out, "promise\t{name}\t{kept}\t{trials}")
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
            ["promise", name, kept, trials] => {
                Line::Promise { name: name.into(), kept: kept.parse().ok()?, trials: trials.parse().ok()? }
            }
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

fn open(flags: i32) -> Result<File> {
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
    PROMISES.iter().try_for_each(|promise| say(&try_promise(promise)?))
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

/// What aio_fsync promises: to complete after all requests before it, and to tell if one of them failed.
struct Promise {
    name: &'static str,
    target: Target,
    /// `aio_reqprio` of the writes; the fsync has 0, the most urgent.
    priority: i32,
    failing_write: bool,
}

/// Which descriptor of the file the fsync names; the writes name the first.
enum Target {
    Same,
    Dup,
    Reopened,
}

const PROMISES: [Promise; 5] = [
    Promise { name: "after writes on its descriptor", target: Target::Same, priority: 0, failing_write: false },
    Promise { name: "after writes of lower priority", target: Target::Same, priority: 10, failing_write: false },
    Promise { name: "through a dup of the descriptor", target: Target::Dup, priority: 0, failing_write: false },
    Promise { name: "through a second open", target: Target::Reopened, priority: 0, failing_write: false },
    Promise { name: "reports a write that failed", target: Target::Same, priority: 0, failing_write: true },
];

fn try_promise(promise: &Promise) -> Result<Line> {
    let file = open_direct_if_possible()?;
    let other = match promise.target {
        Target::Same => None,
        Target::Dup => Some(file.try_clone()?),
        Target::Reopened => Some(open_direct_if_possible()?),
    };
    let target = other.as_ref().unwrap_or(&file).as_fd();
    let (mut kept, mut trials) = (0, 0);
    for _ in 0..MOST_ATTEMPTS {
        if let Some(good) = trial(promise, file.as_fd(), target)? {
            kept += usize::from(good);
            trials += 1;
        }
        if trials == TRIALS {
            break;
        }
    }
    Ok(Line::Promise { name: promise.name.into(), kept, trials })
}

/// Direct writes leave no dirty pages, so that a careless fsync has nothing to do and is done before them.
fn open_direct_if_possible() -> Result<File> {
    open(libc::O_DIRECT).or_else(|_| open(0))
}

/// `None` if nothing was pending when `aio_fsync` had returned: then there was nothing to wait for.
fn trial(promise: &Promise, file: BorrowedFd, target: BorrowedFd) -> Result<Option<bool>> {
    const WRITES: usize = 16;
    const SIZE: usize = 256 << 10;
    let mut writes: Vec<_> = (0..WRITES).map(|_| Request::new(SIZE)).collect();
    for (index, write) in writes.iter_mut().enumerate() {
        write.write(file, index * SIZE, promise.priority)?;
    }
    let mut bad = Request::new(BLOCK);
    if promise.failing_write {
        // In the last write's range, so that it stays queued until that one has ended.
        bad.bad_write(file, (WRITES - 1) * SIZE)?;
    }
    let mut sync = Request::new(0);
    sync.fsync(target)?;
    let early = if promise.failing_write { !bad.pending() } else { !writes.iter().any(Request::pending) };
    // Watched, not slept for: waking up takes longer than a write.
    while sync.pending() {
        std::thread::yield_now();
    }
    let overtaken = writes.iter().any(Request::pending);
    let outcome = sync.result();
    let good = if promise.failing_write { outcome.is_err() } else { outcome.is_ok() && !overtaken };
    for write in &mut writes {
        write.result()?;
    }
    Ok((!early).then_some(good))
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
            Line::Promise { name: "a dup".into(), kept: 3, trials: 10 },
            Line::Figures {
                workload: "read".into(),
                figures: Figures { rate: 1234.5, cpu: 2.0, p50: 10.0, p99: 20.0 },
            },
            Line::Skipped { workload: "direct".into(), reason: "none".into() },
        ];
        for line in lines {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
        assert_eq!(Line::parse("promise\ta\tmany\t10"), None);
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
