//! The members of a list end, and are told: the last one ends the list.

use super::Table;
use crate::notify::Notify;
use crate::slab::{Id, NONE};

impl Table {
    /// A member of a list has ended. Some: it was the last; waiters sleep on this word.
    pub fn leave_list_call(&mut self, id: Id, failed: bool) -> Option<*const u32> {
        if id == NONE {
            return None;
        }
        let list_call = &mut self.list_calls[id];
        list_call.failed |= failed;
        list_call.pending -= 1;
        if list_call.pending != 0 {
            return None;
        }
        list_call.status.publish(0, 0);
        let word = list_call.status.address();
        self.drop_list_call_if_done(id);
        Some(word)
    }

    /// A member's own notification is out. Some: the last one; this is the list's.
    pub fn member_delivered(&mut self, id: Id) -> Option<Notify> {
        if id == NONE {
            return None;
        }
        let list_call = &mut self.list_calls[id];
        list_call.undelivered -= 1;
        let notify = (list_call.undelivered == 0).then_some(list_call.notify);
        self.drop_list_call_if_done(id);
        notify
    }

    /// A list_call is needed while members run, notifications are pending or a thread waits.
    pub fn drop_list_call_if_done(&mut self, id: Id) {
        let list_call = &self.list_calls[id];
        if list_call.pending == 0 && list_call.undelivered == 0 && !list_call.awaited {
            self.list_calls.remove(id);
        }
    }
}
