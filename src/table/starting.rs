//! What the table knows of the starter.

use super::Table;
use super::roles::StarterState;

impl Table {
    /// Whether the starter sleeps and has something to do; it is to be called when the lock is released.
    pub fn calls_starter(&mut self) -> bool {
        let calls = self.starting.state == StarterState::Sleeps && self.has_starter_work();
        if calls {
            self.starting.state = StarterState::Awake;
        }
        calls
    }

    fn has_starter_work(&self) -> bool {
        self.starting.wanted > 0 || self.notifications.has_functions() || self.workers.is_without_thread()
    }

    /// The wanted workers cannot be had.
    pub fn give_up_wanted(&mut self) {
        self.workers.never_started(self.starting.wanted);
        self.starting.wanted = 0;
        self.starting.answer(true);
    }
}
