//! Where an idle library thread waits for its next job.
//!
//! The job goes through a bounded channel, but the thread never waits in the channel: a sender that finds a receiver waiting
//! there would allocate, and a signal handler may be the sender. It waits in `sys::park` instead. (Nor in parking_lot or
//! std: what those keep for the whole process does not survive a fork.)

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::sys::park::Parker;

pub struct Mailbox<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
    parker: Parker,
}

impl<T> Mailbox<T> {
    pub fn new() -> Mailbox<T> {
        let (sender, receiver) = bounded(1);
        Mailbox { sender, receiver, parker: Parker::new() }
    }

    /// Gives the owner, which was taken off the idle ones for it, a job.
    pub fn give(&self, job: T) {
        // Never full: one job, and only while the owner waits.
        let _ = self.sender.try_send(job);
        self.parker.call();
    }

    /// None: the time was up.
    pub fn wait(&self, patience: Duration) -> Option<T> {
        if self.parker.wait(patience) { self.receiver.try_recv().ok() } else { None }
    }
}
