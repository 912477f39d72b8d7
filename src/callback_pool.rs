//! Functions of the program on their way to a thread, and with `callbacks=shared` the threads that wait for another one.
//!
//! Nothing here is taken from the C library's allocator.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use lock_api::Mutex;

use crate::config::Config;
use crate::mailbox::{Mailbox, Woken};
use crate::notify::{Attributes, Call};
use crate::slab::{Id, Slab};
use crate::stack::{Linked, Stack};
use crate::sys::errno::{Errno, Result};
use crate::sys::lock::RawLock;
use crate::sys::memory;

pub struct Callbacks {
    pub shared: bool,
    /// Functions whose threads were made, but have not begun yet.
    made: Mutex<RawLock, Slab<Call>>,
    threads: Mutex<RawLock, Threads>,
    /// How long a shared thread waits for another function, in milliseconds.
    patience: AtomicU64,
}

struct Threads {
    idle: Stack<Place>,
    /// Places that nobody uses. They are never freed: whoever gives a job may still be at it when the thread goes on.
    free: Stack<Place>,
}

/// Where a shared thread without work waits.
struct Place {
    /// An empty message has it look at its patience again.
    mailbox: Mailbox<Option<Call>>,
    next: AtomicPtr<Place>,
}

impl Linked for Place {
    fn next(&self) -> &AtomicPtr<Place> {
        &self.next
    }
}

impl Place {
    /// Error: ENOMEM.
    fn make() -> Result<&'static Place> {
        let place = memory::map(size_of::<Place>())?.cast::<Place>();
        // SAFETY: the mapping is large enough, begins at a page and is never unmapped.
        unsafe {
            place.write(Place { mailbox: Mailbox::new(), next: AtomicPtr::new(ptr::null_mut()) });
            Ok(place.as_ref())
        }
    }
}

impl Callbacks {
    pub fn new(config: &Config) -> Callbacks {
        Callbacks {
            shared: config.shared_callbacks,
            made: Mutex::new(Slab::new()),
            threads: Mutex::new(Threads { idle: Stack::new(), free: Stack::new() }),
            patience: AtomicU64::new(config.idle_ms),
        }
    }

    pub fn set_patience(&self, idle_ms: u64) {
        self.patience.store(idle_ms, Ordering::Relaxed);
        let mut idle = std::mem::replace(&mut self.threads.lock().idle, Stack::new());
        while let Some(place) = idle.pop() {
            place.mailbox.give(None);
        }
    }

    /// Keeps a function for a thread that is going to be made. Error: EAGAIN, no memory.
    pub fn keep(&self, call: Call) -> Result<Id> {
        let mut made = self.made.lock();
        made.reserve(1).map_err(|_| Errno::AGAIN)?;
        Ok(made.insert(call))
    }

    /// For the thread that was made for it, or when it could not be.
    pub fn take(&self, id: Id) -> Call {
        self.made.lock().remove(id)
    }

    /// Has a thread run `call` that is idle, its signals being blocked here. False: there is none.
    pub fn run_by_idle(&self, call: Call, attributes: Attributes) -> bool {
        if !self.shared || !attributes.0.is_null() {
            return false;
        }
        let idle = self.threads.lock().idle.pop();
        idle.inspect(|place| place.mailbox.give(Some(call))).is_some()
    }

    /// Waits for the next call. None: the thread has waited long enough, or there is no memory.
    pub fn next(&self) -> Option<Call> {
        let known = self.threads.lock().free.pop();
        let place = known.map_or_else(Place::make, Ok).ok()?;
        loop {
            self.threads.lock().idle.push(place);
            match self.wait(place) {
                Waited::Call(call) => {
                    self.threads.lock().free.push(place);
                    return Some(call);
                }
                Waited::LongEnough => return None,
                Waited::Roused => {}
            }
        }
    }

    fn wait(&self, place: &'static Place) -> Waited {
        loop {
            let patience = Duration::from_millis(self.patience.load(Ordering::Relaxed));
            match place.mailbox.wait(patience, true) {
                Woken::Given(message) => return message.map_or(Waited::Roused, Waited::Call),
                Woken::Called => continue,
                Woken::TimeUp => {}
            }
            let mut threads = self.threads.lock();
            if threads.idle.remove(place) {
                threads.free.push(place);
                return Waited::LongEnough;
            }
            // Somebody has taken it off the idle ones: the message is on its way.
        }
    }
}

enum Waited {
    Call(Call),
    LongEnough,
    /// The patience has changed.
    Roused,
}
