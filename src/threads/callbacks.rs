//! Threads that run the program's functions (SIGEV_THREAD): a new one for each, as POSIX has it, so that no function finds what
//! another has left in its thread (storage, cancellation, affinity, name, signal stack). The starter makes them.
//!
//! With `callbacks=shared` in the configuration a thread is kept for a while and used again. A function may block for ever, so
//! each gets a thread that is idle, or a new one.
//!
//! Nothing here is taken from the C library's allocator, but for the thread itself.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use lock_api::Mutex;

use crate::config::Config;
use crate::engine::Engine;
use crate::errno::{Errno, Result};
use crate::mailbox::{Mailbox, Woken};
use crate::notify::{Attributes, Call};
use crate::slab::{Id, Slab};
use crate::stack::{Linked, Stack};
use crate::sys::lock::RawLock;
use crate::sys::{memory, signals, thread, tools};

pub struct Callbacks {
    shared: bool,
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

    /// Whether this is the process in which they were made.
    fn is_current(&self) -> bool {
        Engine::current().is_some_and(|engine| ptr::eq(&engine.callbacks, self))
    }

    /// Has a thread run `call`. For whoever may make threads. Error: EAGAIN, no thread is free and none can be made.
    pub fn run(&self, call: Call, attributes: Attributes) -> Result<()> {
        if self.run_by_idle(call, attributes) {
            return Ok(());
        }
        let mut made = self.made.lock();
        made.reserve(1).map_err(|_| Errno::AGAIN)?;
        let id = made.insert(call);
        drop(made);
        let job = to_pointer(id);
        // SAFETY: the program keeps its attributes valid until the notification.
        let with_attributes = || unsafe { thread::spawn_with(attributes.0, run_one, job) };
        if !attributes.0.is_null() && with_attributes().is_ok() {
            return Ok(());
        }
        // The default attributes are better than silence.
        let main = if self.shared { run_many } else { run_one };
        thread::spawn_for_program(main, job).map_err(|_| {
            self.made.lock().remove(id);
            Errno::AGAIN
        })
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
    fn next(&self) -> Option<Call> {
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

/// What `run` hands to a new thread.
fn to_pointer(id: Id) -> *mut c_void {
    ptr::without_provenance_mut(usize::try_from(id).unwrap_or(usize::MAX))
}

/// The engine, and the function that `run` has handed to this new thread.
fn begin(job: *mut c_void) -> Option<(&'static Callbacks, Call)> {
    let callbacks = &Engine::current()?.callbacks;
    let id = Id::try_from(job.addr()).ok()?;
    let call = callbacks.made.lock().remove(id);
    Some((callbacks, call))
}

/// A thread for one function, as if it were the thread's own.
extern "C-unwind" fn run_one(job: *mut c_void) -> *mut c_void {
    thread::set_name(NAME);
    if let Some((_, call)) = begin(job) {
        call_program(call);
    }
    ptr::null_mut()
}

const NAME: &std::ffi::CStr = c"aio_rs/notify";

/// A shared thread: one function after the other, as long as they return.
extern "C-unwind" fn run_many(job: *mut c_void) -> *mut c_void {
    thread::set_name(NAME);
    let Some((callbacks, call)) = begin(job) else { return ptr::null_mut() };
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
    tools::taken_over();
    signals::unblock_all();
    // SAFETY: the program gave the function for this purpose.
    unsafe { (call.function)(call.value) };
}
