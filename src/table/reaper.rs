//! What the table knows of the reaper.

use super::Table;
use super::roles::ReaperState;
use crate::sys::wait;

impl Table {
    /// Whether somebody depends on what is in the kernel who does not wait there: for a notification, a successor, a barrier,
    /// a request of another thread; or the ring is getting full.
    pub fn needs_reaper(&self) -> bool {
        const CROWD: u32 = 256;
        let in_kernel = self.lock_free.ring_owner.in_kernel();
        let blocked = self.order.blocked_count() > 0;
        in_kernel > 0
            // Somebody is handing it over, and asks then.
            && !self.order.has_direct_work()
            && (self.announced_in_kernel > 0 || blocked || in_kernel >= CROWD || wait::sleepers() > 0)
    }

    /// Whether the reaper has to stop leaving results to callers.
    pub fn calls_reaper(&self) -> bool {
        match self.reaper {
            ReaperState::Off | ReaperState::Starts | ReaperState::On => false,
            ReaperState::Rests => self.needs_reaper() && !self.lock_free.ring_owner.is_wanted(),
            ReaperState::Sleeps => self.lock_free.ring_owner.in_kernel() > 0,
        }
    }
}
