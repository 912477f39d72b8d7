//! How an idle worker sleeps: on a channel of its own, whose bounded flavour neither allocates nor blocks the caller.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use once_cell::sync::OnceCell;

/// The channel has a lock: callers have to block signals.
pub const CALL_MAY_BE_INTERRUPTED: bool = false;

pub struct Parker(OnceCell<(Sender<()>, Receiver<()>)>);

impl Parker {
    pub const fn new() -> Parker {
        Parker(OnceCell::new())
    }

    fn ends(&self) -> &(Sender<()>, Receiver<()>) {
        self.0.get_or_init(|| bounded(1))
    }

    /// Ends the owner's `wait`, the one under way or the next.
    pub fn call(&self) {
        // Full: it has been called already.
        let _ = self.ends().0.try_send(());
    }

    /// Waits for a `call`. False: the time was up.
    pub fn wait(&self, patience: Duration, _looks: bool) -> bool {
        self.ends().1.recv_timeout(patience).is_ok()
    }
}
