//! Notifications that a library thread still has to deliver.

use crate::notify::Notify;
use crate::slab::{Id, NONE, Slab};
use crate::sys::errno::Result;

/// A notification that is due and not delivered yet, and the list that waits for its delivery.
#[derive(Clone, Copy)]
pub struct PendingNotification {
    pub notify: Notify,
    pub list_call: Id,
    /// What else is left to do: `Ended::retired`.
    pub retired: Option<i32>,
    /// It could not be delivered at once.
    pub delayed: bool,
}

impl PendingNotification {
    pub const NONE: PendingNotification =
        PendingNotification { notify: Notify::None, list_call: NONE, retired: None, delayed: false };

    pub fn is_none(&self) -> bool {
        self.notify.is_none() && self.list_call == NONE && self.retired.is_none()
    }
}

/// Notifications that a library thread still has to deliver: of requests that a caller cancelled, and those that found the
/// signal queue full; and apart from them functions, which need a thread. First in, first out.
pub struct Notifications {
    queued: Slab<Queued>,
    others: Queue,
    functions: Queue,
    /// A worker is delivering.
    pub claimed: bool,
}

#[derive(Clone, Copy)]
struct Queue {
    head: Id,
    tail: Id,
}

const EMPTY: Queue = Queue { head: NONE, tail: NONE };

struct Queued {
    pending: PendingNotification,
    next: Id,
}

impl Notifications {
    pub fn new() -> Notifications {
        Notifications { queued: Slab::new(), others: EMPTY, functions: EMPTY, claimed: false }
    }

    /// Error: ENOMEM.
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        self.queued.reserve(count)
    }

    pub fn push(&mut self, pending: PendingNotification) {
        let queue = if pending.notify.is_function() { &mut self.functions } else { &mut self.others };
        let id = self.queued.insert(Queued { pending, next: NONE });
        match queue.tail {
            NONE => queue.head = id,
            tail => self.queued[tail].next = id,
        }
        queue.tail = id;
    }

    /// The next one that needs no thread.
    pub fn pop(&mut self) -> Option<PendingNotification> {
        let Notifications { queued, others, .. } = self;
        others.pop(queued)
    }

    pub fn pop_function(&mut self) -> Option<PendingNotification> {
        let Notifications { queued, functions, .. } = self;
        functions.pop(queued)
    }

    /// Whether there is none but functions.
    pub fn is_empty(&self) -> bool {
        self.others.head == NONE
    }

    pub fn has_functions(&self) -> bool {
        self.functions.head != NONE
    }

    pub fn len(&self) -> usize {
        self.queued.len()
    }
}

impl Queue {
    fn pop(&mut self, queued: &mut Slab<Queued>) -> Option<PendingNotification> {
        if self.head == NONE {
            return None;
        }
        let Queued { pending, next } = queued.remove(self.head);
        self.head = next;
        if next == NONE {
            self.tail = NONE;
        }
        Some(pending)
    }
}
