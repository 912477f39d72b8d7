//! Threads that run the program's functions (SIGEV_THREAD). They are kept for a while and used again.
//!
//! A function may block for ever, so none waits behind one that runs: for each that waits there is a thread that is idle or
//! on its way. But only one of these is woken at a time, and wakes the next when it has found something: functions that are
//! over soon share a thread that is awake. New threads are made by library threads only: the program's functions may give
//! theirs another priority, say, which a new one would inherit.
//!
//! The lock is taken by library threads and by those here, between functions; a caller only tries to: its holder may be
//! allocating, and the caller be a signal handler that has interrupted malloc.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lock_api::{Mutex, MutexGuard};

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

/// Where a thread without work waits to be woken.
type Place = &'static Mailbox<()>;

struct Threads {
    waiting: VecDeque<Call>,
    /// Threads that were woken or made, and have not looked yet. Never are more functions waiting than these and the idle.
    coming: usize,
    idle: Vec<Place>,
    /// Places that nobody uses. They are never freed: whoever wakes a thread may still be at it when the thread goes on.
    free: Vec<Place>,
}

type Locked<'a> = MutexGuard<'a, RawLock, Threads>;

impl Callbacks {
    pub fn new(idle_ms: u64) -> Callbacks {
        let threads = Threads { waiting: VecDeque::new(), coming: 0, idle: Vec::new(), free: Vec::new() };
        Callbacks { threads: Mutex::new(threads), patience: AtomicU64::new(idle_ms) }
    }

    pub fn set_patience(&self, idle_ms: u64) {
        self.patience.store(idle_ms, Ordering::Relaxed);
        let mut threads = self.threads.lock();
        let idle = std::mem::take(&mut threads.idle);
        threads.coming += idle.len();
        drop(threads);
        idle.into_iter().for_each(|place| place.give(()));
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
        let mut threads = self.threads.lock();
        threads.waiting.try_reserve(1).map_err(|_| Errno::AGAIN)?;
        if !threads.has_thread_to_spare() {
            // Under the lock: nobody may rely on a thread that perhaps cannot be had.
            thread::spawn_for_program(run_many, ptr::from_ref(self).cast_mut().cast()).map_err(|_| Errno::AGAIN)?;
            threads.coming += 1;
        }
        threads.waiting.push_back(call);
        wake_one(threads);
        Ok(())
    }

    /// The same for a caller. Signals are blocked. Error: EAGAIN, it is for a library thread.
    pub fn try_run(&self, call: Call) -> Result<()> {
        let mut threads = self.threads.try_lock().ok_or(Errno::AGAIN)?;
        if !threads.has_thread_to_spare() || threads.waiting.len() == threads.waiting.capacity() {
            return Err(Errno::AGAIN);
        }
        threads.waiting.push_back(call);
        wake_one(threads);
        Ok(())
    }

    /// What a thread runs next; `comes`: somebody has woken or made it. None: it has waited long enough.
    fn next(&self, comes: bool) -> Option<Call> {
        let mut threads = self.threads.lock();
        threads.coming -= usize::from(comes);
        loop {
            if let Some(call) = threads.waiting.pop_front() {
                wake_one(threads);
                return Some(call);
            }
            let place = threads.free.pop().unwrap_or_else(|| Box::leak(Box::new(Mailbox::new())));
            threads.idle.push(place);
            drop(threads);
            let woken = self.wait(place);
            threads = self.threads.lock();
            threads.free.push(place);
            if !woken {
                return None;
            }
            threads.coming -= 1;
        }
    }

    /// False: it has waited long enough, and is not idle any more.
    fn wait(&self, place: Place) -> bool {
        loop {
            let patience = Duration::from_millis(self.patience.load(Ordering::Relaxed));
            match place.wait(patience, true) {
                Woken::Given(()) => return true,
                Woken::Called => continue,
                Woken::TimeUp => {}
            }
            let mut threads = self.threads.lock();
            let idle = threads.idle.len();
            // What waits may rely on this thread.
            if threads.waiting.is_empty() {
                threads.idle.retain(|other| !ptr::eq(*other, place));
            }
            if threads.idle.len() < idle {
                return false;
            }
            // Or somebody has taken it off the idle ones: the message is on its way.
        }
    }
}

impl Threads {
    fn has_thread_to_spare(&self) -> bool {
        self.idle.len() + self.coming > self.waiting.len()
    }
}

/// Sees to it that a thread is on its way if something waits.
fn wake_one(mut threads: Locked) {
    if threads.waiting.is_empty() || threads.coming > 0 {
        return;
    }
    if let Some(place) = threads.idle.pop() {
        threads.coming += 1;
        drop(threads);
        place.give(());
    }
}

/// A thread with the program's attributes: one function, as if it were the thread's own.
extern "C-unwind" fn run_one(job: *mut c_void) -> *mut c_void {
    // SAFETY: `run` made this box for this thread.
    let call = *unsafe { Box::from_raw(job.cast::<Call>()) };
    call_program(call);
    ptr::null_mut()
}

/// A thread with default attributes: one function after the other, as long as they return.
extern "C-unwind" fn run_many(callbacks: *mut c_void) -> *mut c_void {
    thread::set_name(c"aio_rs/notify");
    // SAFETY: `run` passes its own, which are never freed.
    let Some(callbacks) = (unsafe { callbacks.cast::<Callbacks>().as_ref() }) else { return ptr::null_mut() };
    let mut next = callbacks.next(true);
    while let Some(call) = next {
        call_program(call);
        signals::block_all();
        if !callbacks.is_current() {
            // It has forked: the lock, and all else here, is the parent's.
            break;
        }
        next = callbacks.next(false);
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
