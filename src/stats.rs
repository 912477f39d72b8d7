//! What the library has done so far: counted under the table's lock, read by `aio_rs_stats`, printed at exit on demand.

use std::fmt::{self, Display, Formatter};

use crate::errno::Errno;
use crate::order::Kind;
use crate::sys::clock::Nanos;

/// Figures since the process (or, in a child of fork, this child) made its first request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct aio_rs_stats {
    /// Requests accepted: reads.
    pub reads: u64,
    /// Requests accepted: writes.
    pub writes: u64,
    /// Requests accepted: aio_fsync.
    pub fsyncs: u64,
    /// Requests that ended as cancelled.
    pub cancelled: u64,
    /// Requests that ended with another error.
    pub failed: u64,
    /// Requests served inside the submitting call.
    pub route_inline: u64,
    /// Requests served by the kernel's own AIO.
    pub route_direct: u64,
    /// Requests served by the poller of streams.
    pub route_stream: u64,
    /// Requests served by a worker thread.
    pub route_worker: u64,
    /// aio_fsync requests that had to wait for older requests.
    pub barriers_waited: u64,
    /// The longest time from aio_fsync to its completion, in microseconds.
    pub barrier_longest_us: u64,
    /// aio_fsync requests served by the fsync of another one.
    pub fsyncs_coalesced: u64,
    /// The most requests that were unfinished at the same time.
    pub depth_most: u64,
    /// The most library threads that existed at the same time.
    pub threads_most: u64,
    /// Notifications that could not be delivered at once.
    pub notifications_delayed: u64,
    /// Requests submitted by io_submit.
    pub libaio_requests: u64,
    /// IO_CMD_FSYNC and IO_CMD_FDSYNC requests that were held back until older requests had completed.
    pub libaio_syncs_held: u64,
}

pub struct Stats {
    pub counts: aio_rs_stats,
}

impl Stats {
    pub fn new() -> Stats {
        Stats { counts: aio_rs_stats::default() }
    }

    pub fn admitted(&mut self, kind: Kind, depth: usize) {
        match kind {
            Kind::Read => self.counts.reads += 1,
            Kind::Write | Kind::Append => self.counts.writes += 1,
            Kind::DataSync | Kind::Sync => self.counts.fsyncs += 1,
        }
        self.counts.depth_most = self.counts.depth_most.max(u64::try_from(depth).unwrap_or(u64::MAX));
    }

    pub fn barrier_ended(&mut self, time: Nanos) {
        self.counts.barrier_longest_us = self.counts.barrier_longest_us.max(time / 1_000);
    }

    pub fn ended(&mut self, error: Option<Errno>) {
        match error {
            None => {}
            Some(Errno::CANCELED) => self.counts.cancelled += 1,
            Some(_) => self.counts.failed += 1,
        }
    }

    pub fn threads(&mut self, now: u32) {
        self.counts.threads_most = self.counts.threads_most.max(u64::from(now));
    }
}

impl aio_rs_stats {
    /// Which the program has used.
    fn interfaces(&self) -> &'static str {
        match (self.reads + self.writes + self.fsyncs > 0, self.libaio_requests > 0) {
            (true, true) => "POSIX AIO and libaio",
            (true, false) => "POSIX AIO",
            (false, true) => "libaio",
            (false, false) => "none",
        }
    }
}

impl Display for aio_rs_stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "aio_rs: interface: {}", self.interfaces())?;
        let (reads, writes, fsyncs) = (self.reads, self.writes, self.fsyncs);
        let (cancelled, failed) = (self.cancelled, self.failed);
        writeln!(
            f,
            "aio_rs: requests: read {reads}, write {writes}, fsync {fsyncs}, cancelled {cancelled}, failed {failed}"
        )?;
        let (inline, direct) = (self.route_inline, self.route_direct);
        let (stream, worker) = (self.route_stream, self.route_worker);
        writeln!(f, "aio_rs: routes: inline {inline}, direct {direct}, stream {stream}, worker {worker}")?;
        let (waited, longest, shared) = (self.barriers_waited, self.barrier_longest_us, self.fsyncs_coalesced);
        writeln!(f, "aio_rs: barriers: {fsyncs}, waited {waited}, longest wait {longest} us, coalesced {shared}")?;
        writeln!(f, "aio_rs: queue depth: highest {}", self.depth_most)?;
        writeln!(f, "aio_rs: threads: most {}", self.threads_most)?;
        writeln!(f, "aio_rs: notifications delayed: {}", self.notifications_delayed)?;
        writeln!(f, "aio_rs: libaio: requests {}, syncs held {}", self.libaio_requests, self.libaio_syncs_held)
    }
}
