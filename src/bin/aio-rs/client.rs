//! The child that the tour and the benchmark run on libc and on aio_rs: it uses POSIX AIO as any program does, or another
//! engine.
//!
//! Its standard input is the data file. It prints one [`Line`] for each fact.

use crate::aio::{self, Request};
use crate::data_file::reopen;
use crate::engine::Kind;
use crate::line::Line;
use crate::measure::{Extent, measure};
use crate::trials;
use crate::workload::{self, Cache, WORKLOADS, Workload};
use std::io::{Error, Result, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Duration;

/// SIGALRM ends the client then: a library that loses a request must not hang the tour.
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
    /// The data that it writes, and the promises.
    Check,
    Promises,
    Bench,
}

pub fn main(args: &Args) -> ExitCode {
    // SAFETY: passes a number only.
    unsafe { libc::alarm(MOST_SECONDS) };
    let done = match args.task {
        Task::Check => run_checks(),
        Task::Promises => trials::try_all(say),
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

fn run_checks() -> Result<()> {
    say(&Line::Library(aio::library_version().unwrap_or_default()))?;
    for (name, flags) in [("buffered", 0), ("O_DIRECT", libc::O_DIRECT)] {
        let verdict = match reopen(std::io::stdin(), true, flags) {
            Ok(file) => write_and_read_back(file.as_fd()).err().map_or("ok".into(), |error| error.to_string()),
            Err(_) => "not supported".into(),
        };
        say(&Line::Data { name: name.into(), verdict })?;
    }
    trials::try_all(say)
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

/// The word at a position. No two words of the file are the same.
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
    match reopen(std::io::stdin(), true, flags).and_then(|file| measure(workload, args.engine, &file, time)) {
        Ok(figures) => Ok(Line::Figures { workload: workload.name.into(), figures }),
        Err(error) if workload.cache == Cache::Bypassed && error.raw_os_error() == Some(libc::EINVAL) => {
            skipped("no O_DIRECT here")
        }
        // A machine may lack or forbid these.
        Err(error) if matches!(args.engine, Kind::Kernel | Kind::Uring) => skipped(&error.to_string()),
        Err(error) => Err(Error::other(format!("{}: {error}", workload.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
