//! The workers that there are.

use std::sync::atomic::Ordering;

use super::limit::ConcurrencyLimit;
use crate::lock_free::submission_queue::Consumer;
use crate::order::Kind;
use crate::stack::Stack;
use crate::worker_slot::WorkerSlot;

/// The pool.
pub struct Workers {
    /// Threads that exist, are being started or are wanted from the starter.
    pub total: u32,
    /// Of these, those that have not asked for work yet.
    pub coming: u32,
    /// Of these, those that a caller is making, and that perhaps cannot be made.
    pub unconfirmed: u32,
    /// Those that run a request, of a stream not counted.
    pub running: u32,
    /// Those that may be blocked by a stream for ever.
    pub blocking: u32,
    pub idle: Stack<WorkerSlot>,
    pub idle_count: u32,
    pub free: Stack<WorkerSlot>,
    pub limit: ConcurrencyLimit,
    /// The worker that has several transfers.
    pub batch: Option<&'static WorkerSlot>,
    /// How far its batch was at the watchdog's last tick.
    pub batch_seen: usize,
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
            limit: ConcurrencyLimit::new(),
            batch: None,
            batch_seen: 0,
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
        if self.limit.is_quick() {
            return Consumer::Busy;
        }
        self.idle.first().map_or(Consumer::Nobody, Consumer::Idle)
    }

    /// The worker is through with its batch.
    pub fn batch_left(&mut self, kind: Kind, thread: i32) {
        self.running -= 1;
        self.limit.left(kind, false, thread);
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
