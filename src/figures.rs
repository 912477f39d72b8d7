//! The figures of the library: what it counts, how they read, and where they are kept. The command has this file, too, and so it
//! uses nothing of the crate.

use std::cell::UnsafeCell;
use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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

/// The figures of one process.
#[repr(C, align(64))]
pub struct Slot {
    /// Written under the table's lock. Those below are zero here.
    table: UnsafeCell<aio_rs_stats>,
    pub libaio_requests: AtomicU64,
    pub libaio_syncs_held: AtomicU64,
    pub inline_reads: Line,
}

/// Alone in its cache line: counted without the lock.
#[repr(C, align(64))]
pub struct Line(pub AtomicU64);

// SAFETY: `table` is reached by whoever holds the lock; the parent of the process only reads, by `read`.
unsafe impl Sync for Slot {}

impl Slot {
    pub const fn new() -> Slot {
        // SAFETY: all zeroes are a slot.
        unsafe { std::mem::zeroed() }
    }

    /// What is counted under the table's lock.
    pub fn table(&self) -> *mut aio_rs_stats {
        self.table.get()
    }

    /// All of it. Without the lock the figures may be those of different moments.
    pub fn read(&self) -> aio_rs_stats {
        // SAFETY: the place is valid, and any bits are figures.
        let mut counts = unsafe { self.table.get().read_volatile() };
        counts.route_inline = self.inline_reads.0.load(Ordering::Relaxed);
        counts.reads += counts.route_inline;
        counts.libaio_requests = self.libaio_requests.load(Ordering::Relaxed);
        counts.libaio_syncs_held = self.libaio_syncs_held.load(Ordering::Relaxed);
        counts
    }

    pub fn clear(&self) {
        // SAFETY: the place is valid; the caller is the only one that counts.
        unsafe { self.table.get().write(aio_rs_stats::default()) };
        for word in [&self.inline_reads.0, &self.libaio_requests, &self.libaio_syncs_held] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// Memory that a program under `aio-rs run --stats` shares with the command: it outlives every way to end.
#[repr(C)]
pub struct Segment {
    magic: AtomicU64,
    /// Processes that loaded the library, and those (children of fork, too) that began to count.
    pub loaded: AtomicU32,
    pub begun: AtomicU32,
    slots: [Slot; Segment::SLOTS],
}

impl Segment {
    const SLOTS: usize = 1024;
    /// Changes with whatever the segment contains.
    const MAGIC: u64 = 0x6169_6f5f_7273_0000 | (size_of::<Segment>() as u64 & 0xffff) ^ 1;

    /// The command has made it, of zeroes.
    pub fn prepare(&self) {
        self.magic.store(Segment::MAGIC, Ordering::Release);
    }

    pub fn is_one(&self) -> bool {
        self.magic.load(Ordering::Acquire) == Segment::MAGIC
    }

    /// A slot for this process. None: they are used up.
    pub fn claim(&self) -> Option<&Slot> {
        let index = self.begun.fetch_add(1, Ordering::Relaxed);
        self.slots.get(usize::try_from(index).ok()?)
    }

    /// Of all processes.
    pub fn sum(&self) -> aio_rs_stats {
        self.slots.iter().map(Slot::read).fold(aio_rs_stats::default(), aio_rs_stats::and)
    }

    /// How many processes have made requests.
    pub fn used(&self) -> usize {
        self.slots.iter().filter(|slot| slot.read().any()).count()
    }
}

impl aio_rs_stats {
    /// Whether there was any request.
    pub fn any(&self) -> bool {
        self.reads + self.writes + self.fsyncs + self.libaio_requests > 0
    }

    /// Those of two processes.
    fn and(self, other: aio_rs_stats) -> aio_rs_stats {
        aio_rs_stats {
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
            fsyncs: self.fsyncs + other.fsyncs,
            cancelled: self.cancelled + other.cancelled,
            failed: self.failed + other.failed,
            route_inline: self.route_inline + other.route_inline,
            route_direct: self.route_direct + other.route_direct,
            route_stream: self.route_stream + other.route_stream,
            route_worker: self.route_worker + other.route_worker,
            barriers_waited: self.barriers_waited + other.barriers_waited,
            barrier_longest_us: self.barrier_longest_us.max(other.barrier_longest_us),
            fsyncs_coalesced: self.fsyncs_coalesced + other.fsyncs_coalesced,
            depth_most: self.depth_most.max(other.depth_most),
            threads_most: self.threads_most.max(other.threads_most),
            notifications_delayed: self.notifications_delayed + other.notifications_delayed,
            libaio_requests: self.libaio_requests + other.libaio_requests,
            libaio_syncs_held: self.libaio_syncs_held + other.libaio_syncs_held,
        }
    }

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
