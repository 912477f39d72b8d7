//! Runs a workload on an engine and measures it.

use crate::engine::{self, Engine, Kind, Operation};
use crate::workload::{Access, Cache, GROUP, Offsets, Workload};
use std::fmt;
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// What one run has measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Requests a second.
    pub rate: f64,
    /// Processor time of all threads per request, in microseconds.
    pub cpu: f64,
    /// Time from submission to completion in microseconds: the 50th percentile.
    pub p50: f64,
    /// The same: the 99th percentile.
    pub p99: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} {} {} {}", self.rate, self.cpu, self.p50, self.p99)
    }
}

impl Figures {
    pub fn parse(text: &str) -> Option<Figures> {
        let numbers: Vec<f64> = text.split(' ').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
        let [rate, cpu, p50, p99] = numbers[..] else { return None };
        Some(Figures { rate, cpu, p50, p99 })
    }
}

/// None: there are no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// When a run stops submitting.
#[derive(Clone, Copy)]
pub enum Extent {
    Time(Duration),
    /// After so many requests by each thread; those in flight then end and count.
    #[allow(dead_code)] // for benches/engines.rs
    Requests(u64),
}

/// Runs a workload on a file, which is open with the flags that the workload wants.
pub fn measure(workload: &Workload, kind: Kind, file: &File, extent: Extent) -> Result<Figures> {
    let size = usize::try_from(file.metadata()?.len()).map_err(Error::other)?;
    settle_cache(workload.cache, file, size)?;
    let ready = Barrier::new(workload.threads);
    let run = |number| {
        let engine = engine::open(kind, file.as_fd(), workload.depth, workload.block);
        // Even if that failed: the other threads wait here.
        ready.wait();
        Run::new(workload, engine?, Offsets::new(size, workload.block, number), extent).all()
    };
    let before = processor_time();
    let parts: Result<Vec<(Tally, Duration)>> = thread::scope(|scope| {
        let threads: Vec<_> = (1..workload.threads).map(|number| scope.spawn(move || run(number))).collect();
        let own = run(0);
        let others = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(Error::other("panic"))));
        std::iter::once(own).chain(others).collect()
    });
    let used = processor_time() - before;
    let (mut tally, mut time) = (Tally::default(), Duration::ZERO);
    for (part, took) in &parts? {
        tally.add(part);
        time = time.max(*took);
    }
    let (seconds, count) = (time.as_secs_f64(), tally.count as f64);
    Ok(Figures {
        rate: count / seconds,
        cpu: used * 1e6 / count,
        p50: tally.percentile(0.50),
        p99: tally.percentile(0.99),
    })
}

/// User and system time of this process, in seconds.
fn processor_time() -> f64 {
    // SAFETY: a rusage of zeros is valid, and there is room for one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Brings the page cache to the state that the workload wants, without dirty pages.
fn settle_cache(cache: Cache, file: &File, size: usize) -> Result<()> {
    file.sync_data()?;
    match cache {
        Cache::Warm => {
            // In pages of 4 KiB, as a program leaves them that works in blocks. Readahead makes folios of up to 2 MiB, and
            // ext4 walks all 512 blocks of a folio in each write: the measurement would show little else.
            advise(file.as_fd(), libc::POSIX_FADV_RANDOM)?;
            let mut piece = vec![0; 1 << 20];
            (0..size).step_by(piece.len()).try_for_each(|at| file.read_at(&mut piece, at as u64).map(drop))
        }
        Cache::Cold => advise(file.as_fd(), libc::POSIX_FADV_DONTNEED),
        Cache::Bypassed => Ok(()),
    }
}

pub fn advise(file: BorrowedFd, advice: libc::c_int) -> Result<()> {
    // SAFETY: passes numbers only.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, advice) } {
        0 => Ok(()),
        error => Err(Error::from_raw_os_error(error)),
    }
}

/// A histogram of the times that requests took.
#[derive(Default)]
struct Tally {
    count: u64,
    /// `STEPS` buckets for each doubling of the time.
    buckets: Vec<u64>,
}

impl Tally {
    const STEPS: f64 = 16.0;

    fn took(&mut self, time: Duration) {
        let nanos = (time.as_nanos() as f64).max(1.0);
        let bucket = (nanos.log2() * Self::STEPS) as usize;
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
    }

    fn add(&mut self, other: &Tally) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, count)| *sum += count);
        self.count += other.count;
    }

    /// The time in microseconds that this share of the requests has not exceeded.
    fn percentile(&self, share: f64) -> f64 {
        let mut left = (self.count as f64 * share).ceil() as u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            if left <= *count {
                return ((bucket as f64 + 0.5) / Self::STEPS).exp2() / 1e3;
            }
            left -= count;
        }
        0.0
    }
}

/// One thread's part of a run.
struct Run<'a> {
    workload: &'a Workload,
    engine: Box<dyn Engine + 'a>,
    offsets: Offsets,
    extent: Extent,
    start: Instant,
    /// When the request of each slot was submitted.
    begun: Vec<Instant>,
    /// Requests submitted so far.
    number: u64,
    tally: Tally,
}

impl<'a> Run<'a> {
    fn new(workload: &'a Workload, engine: Box<dyn Engine + 'a>, offsets: Offsets, extent: Extent) -> Run<'a> {
        let start = Instant::now();
        let begun = vec![start; workload.depth];
        Run { workload, engine, offsets, extent, start, begun, number: 0, tally: Tally::default() }
    }

    fn wants_more(&self) -> bool {
        match self.extent {
            Extent::Time(time) => self.start.elapsed() < time,
            Extent::Requests(count) => self.number < count,
        }
    }

    /// Runs to the end. The time does not include creating and dropping the engine.
    fn all(mut self) -> Result<(Tally, Duration)> {
        let begin = Instant::now();
        match self.workload.access {
            Access::Commit => self.commit_groups()?,
            _ => self.keep_in_flight()?,
        }
        Ok((self.tally, begin.elapsed()))
    }

    fn keep_in_flight(&mut self) -> Result<()> {
        (0..self.workload.depth).try_for_each(|slot| self.submit(slot))?;
        let (mut in_flight, mut done) = (self.workload.depth, Vec::new());
        while in_flight > 0 {
            self.wait(&mut done)?;
            let more = self.wants_more();
            for slot in done.drain(..) {
                if more {
                    self.submit(slot)?;
                } else {
                    in_flight -= 1;
                }
            }
        }
        Ok(())
    }

    /// An fsync behind each group of writes.
    fn commit_groups(&mut self) -> Result<()> {
        let mut done = Vec::new();
        while self.wants_more() {
            (0..GROUP).try_for_each(|slot| self.submit(slot))?;
            if self.engine.sync_is_barrier() {
                self.engine.sync()?;
            }
            while done.len() < GROUP {
                self.wait(&mut done)?;
            }
            if !self.engine.sync_is_barrier() {
                self.engine.sync()?;
            }
            done.clear();
        }
        Ok(())
    }

    fn submit(&mut self, slot: usize) -> Result<()> {
        self.number += 1;
        let operation = match self.workload.access {
            Access::Read => Operation::Read,
            Access::Mix if self.number * 7 % 10 < 7 => Operation::Read,
            _ => Operation::Write,
        };
        self.begun[slot] = Instant::now();
        self.engine.submit(slot, operation, self.offsets.next())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        let before = done.len();
        self.engine.wait(done)?;
        let now = Instant::now();
        for &slot in &done[before..] {
            self.tally.took(now - self.begun[slot]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near_the_truth() {
        let mut tally = Tally::default();
        (1..=1000).for_each(|us| tally.took(Duration::from_micros(us)));
        for (share, truth) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = tally.percentile(share);
            assert!((found / truth - 1.0).abs() < 0.05, "{share}: {found}");
        }
    }

    #[test]
    fn every_engine_runs_every_workload() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        for workload in crate::workload::WORKLOADS.iter().filter(|workload| workload.cache != Cache::Bypassed) {
            for kind in [Kind::Posix, Kind::Kernel, Kind::Uring, Kind::Threads] {
                match measure(workload, kind, &file, Extent::Time(Duration::from_millis(5))) {
                    Ok(figures) => assert!(figures.rate > 0.0 && figures.p50 <= figures.p99, "{}", workload.name),
                    // A sandbox may forbid it.
                    Err(error) => assert!(matches!(kind, Kind::Kernel | Kind::Uring), "{}: {error}", workload.name),
                }
            }
        }
    }

    #[test]
    fn figures_survive_the_pipe() {
        let figures = Figures { rate: 1234.5, cpu: 0.25, p50: 17.0, p99: 81.5 };
        assert_eq!(Figures::parse(&figures.to_string()), Some(figures));
        assert_eq!(Figures::parse("1 2 3"), None);
    }
}
