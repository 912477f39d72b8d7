//! The workers that there are.

use std::sync::atomic::Ordering;

use super::pace::Pace;
use crate::lock_free::submission_queue::Consumer;
use crate::order::Kind;
use crate::stack::Stack;
use crate::worker_slot::WorkerSlot;

/// The pool, in the table.
pub struct Workers {
    /// Threads that exist, are being started or are wanted (`starter`).
    pub total: u32,
    /// Those of them that have not asked for work yet.
    pub coming: u32,
    /// Those of them of which a caller does not know yet whether they can be had.
    pub unconfirmed: u32,
    /// Those that run a request, of a stream not counted.
    pub running: u32,
    /// Those that may be blocked by a stream for ever.
    pub blocking: u32,
    pub idle: Stack<WorkerSlot>,
    pub idle_count: u32,
    pub free: Stack<WorkerSlot>,
    pub pace: Pace,
    /// The worker that has several transfers.
    pub burst: Option<&'static WorkerSlot>,
    /// How far it was at the watch's last tick.
    pub burst_seen: usize,
}

impl Workers {
    pub fn new() -> Workers {
        Workers {
            total: 0,
            coming: 0,
            unconfirmed: 0,
            running: 0,
            blocking: 0,
            idle: Stack::new(),
            idle_count: 0,
            free: Stack::new(),
            pace: Pace::new(),
            burst: None,
            burst_seen: 0,
        }
    }

    /// Whether there is no thread that is sure to run, of so many that are wanted.
    pub fn is_empty(&self, wanted: u32) -> bool {
        self.total <= self.unconfirmed + wanted
    }

    /// Whether none exists or is wanted.
    pub fn is_without_thread(&self) -> bool {
        self.total == 0
    }

    /// So many of those that were on their way cannot be had.
    pub fn never_started(&mut self, wanted: u32) {
        self.total -= wanted;
        self.coming -= wanted;
    }

    pub fn total(&self) -> u32 {
        self.total
    }

    /// Who takes what is pushed onto the submission queue.
    pub fn consumer(&self) -> Consumer<WorkerSlot> {
        if self.pace.is_quick() {
            return Consumer::Busy;
        }
        self.idle.first().map_or(Consumer::Nobody, Consumer::Idle)
    }

    /// The worker is through with its burst.
    pub fn burst_left(&mut self, kind: Kind, thread: i32) {
        self.running -= 1;
        self.pace.left(kind, false, thread);
    }

    pub fn push_idle(&mut self, slot: &'static WorkerSlot) {
        slot.idle.store(true, Ordering::Relaxed);
        self.idle.push(slot);
        self.idle_count += 1;
    }

    pub fn pop_idle(&mut self) -> Option<&'static WorkerSlot> {
        let slot = self.idle.pop()?;
        slot.idle.store(false, Ordering::Relaxed);
        self.idle_count -= 1;
        Some(slot)
    }

    pub fn remove_idle(&mut self, slot: &'static WorkerSlot) {
        self.idle.remove(slot);
        slot.idle.store(false, Ordering::Relaxed);
        self.idle_count -= 1;
    }
}
