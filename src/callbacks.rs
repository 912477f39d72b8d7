//! Threads that run the program's functions (SIGEV_THREAD). They are kept for a while and used again.
//!
//! A function may block for ever, so each gets a thread that is idle, or a new one. Nobody waits for the
//! lock but library threads and aio_init: it may be held while memory is allocated.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lock_api::Mutex;

use crate::engine::Engine;
use crate::errno::{Errno, Result};
use crate::mailbox::{Mailbox, Woken};
use crate::notify::{Attributes, Call};
use crate::sys::lock::RawLock;
use crate::sys::{signals, thread};

pub struct Callbacks {
    threads: Mutex<RawLock, Threads>,
    /// How long a thread waits for another function, in milliseconds.
    patience: AtomicU64,
}

/// A thread without work waits here; an empty message has it look at its patience again.
type Place = &'static Mailbox<Option<Call>>;

struct Threads {
    idle: Vec<Place>,
    /// Places that nobody uses. They are never freed: whoever gives a job may still be at it when the thread goes on.
    free: Vec<Place>,
}

impl Callbacks {
    pub fn new(idle_ms: u64) -> Callbacks {
        let threads = Mutex::new(Threads { idle: Vec::new(), free: Vec::new() });
        Callbacks { threads, patience: AtomicU64::new(idle_ms) }
    }

    pub fn set_patience(&self, idle_ms: u64) {
        self.patience.store(idle_ms, Ordering::Relaxed);
        let idle = std::mem::take(&mut self.threads.lock().idle);
        idle.into_iter().for_each(|place| place.give(None));
    }

    /// Whether this is the process in which they were made.
    fn is_current(&self) -> bool {
        Engine::current().is_some_and(|engine| ptr::eq(&engine.callbacks, self))
    }

    /// Has a thread run `call`. Error: EAGAIN, no thread is free and none can be made.
    pub fn run(&'static self, call: Call, attributes: Attributes) -> Result<()> {
        if !attributes.0.is_null() {
            let job = Box::into_raw(Box::new(call));
            // SAFETY: the program keeps its attributes valid until the notification.
            if unsafe { thread::spawn_with(attributes.0, run_one, job.cast()) }.is_ok() {
                return Ok(());
            }
            // SAFETY: no thread was made that could have taken it. The default attributes are better than silence.
            drop(unsafe { Box::from_raw(job) });
        }
        let idle = self.threads.lock().idle.pop();
        if let Some(place) = idle {
            place.give(Some(call));
            return Ok(());
        }
        let job = Box::into_raw(Box::new((self, call)));
        thread::spawn_for_program(run_many, job.cast()).map_err(|_| {
            // SAFETY: no thread was made that could have taken it.
            drop(unsafe { Box::from_raw(job) });
            Errno::AGAIN
        })
    }

    /// Has a thread run `call` that is idle. For a caller, its signals blocked. False: none is, or one just might be: whoever
    /// holds the lock may be waiting for memory, and the caller be a handler that has interrupted malloc.
    pub fn run_by_idle(&self, call: Call) -> bool {
        let idle = self.threads.try_lock().and_then(|mut threads| threads.idle.pop());
        idle.inspect(|place| place.give(Some(call))).is_some()
    }

    /// Waits for the next call. None: the thread has waited long enough.
    fn next(&self) -> Option<Call> {
        let known = self.threads.lock().free.pop();
        let place: Place = known.unwrap_or_else(|| Box::leak(Box::new(Mailbox::new())));
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

    fn wait(&self, place: Place) -> Waited {
        loop {
            let patience = Duration::from_millis(self.patience.load(Ordering::Relaxed));
            match place.wait(patience, true) {
                Woken::Given(message) => return message.map_or(Waited::Roused, Waited::Call),
                Woken::Called => continue,
                Woken::TimeUp => {}
            }
            let mut threads = self.threads.lock();
            let idle = threads.idle.len();
            threads.idle.retain(|other| !ptr::eq(*other, place));
            if threads.idle.len() < idle {
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

/// A thread with the program's attributes: one function, as if it were the thread's own.
extern "C-unwind" fn run_one(job: *mut c_void) -> *mut c_void {
    // SAFETY: `run` made this box for this thread.
    let call = *unsafe { Box::from_raw(job.cast::<Call>()) };
    call_program(call);
    ptr::null_mut()
}

/// A thread with default attributes: one function after the other, as long as they return.
extern "C-unwind" fn run_many(job: *mut c_void) -> *mut c_void {
    thread::set_name(c"aio_rs/notify");
    // SAFETY: `run` made this box for this thread.
    let (callbacks, call) = *unsafe { Box::from_raw(job.cast::<(&'static Callbacks, Call)>()) };
    let mut next = Some(call);
    while let Some(call) = next {
        call_program(call);
        signals::block_all();
        if !callbacks.is_current() {
            // It has forked: the lock, and all else here, is the parent's.
            break;
        }
        next = callbacks.next();
    }
    ptr::null_mut()
}

/// Runs a function of the program. No frame from here up owns anything: the function may end the thread by pthread_exit,
/// which unwinds through them. (As a "C-unwind" call it would meet a pad that aborts, under panic = "abort".)
fn call_program(call: Call) {
    signals::unblock_all();
    // SAFETY: the program gave the function for this purpose.
    unsafe { (call.function)(call.value) };
}
