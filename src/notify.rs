//! Telling the program that a request or a list has ended: a signal, or a thread that runs a function.
//!
//! Library threads deliver, after the status is stored and outside the table's lock; a caller sends nothing but signals
//! (`route::inline`). What cannot be delivered now (a full signal queue, no more threads) is kept and tried again (see
//! `files::Notices`); it is never dropped.
//!
//! Threads for SIGEV_THREAD are kept for a while and used again. The lock here is only taken by library threads.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libc::{c_int, pthread_attr_t};
use lock_api::Mutex;

use crate::abi::{NotifyFunction, sigevent};
use crate::engine::Engine;
use crate::errno::{Errno, Result};
use crate::mailbox::{Mailbox, Woken};
use crate::sys::lock::RawLock;
use crate::sys::{signals, thread};

/// A notification that is owed.
#[derive(Clone, Copy)]
pub enum Notify {
    None,
    Signal {
        signo: u8,
        value: usize,
    },
    #[cfg(target_os = "linux")]
    ThreadSignal {
        signo: u8,
        thread: c_int,
        value: usize,
    },
    Function {
        call: Call,
        attributes: Attributes,
    },
}

/// A function of the program and its argument.
#[derive(Clone, Copy)]
pub struct Call {
    function: NotifyFunction,
    value: usize,
}

/// The program's thread attributes, or NULL.
#[derive(Clone, Copy)]
pub struct Attributes(*const pthread_attr_t);

// SAFETY: POSIX has the program keep the attributes until the notification; they are only read.
unsafe impl Send for Attributes {}

impl Notify {
    /// Copies a sigevent. Error: EINVAL for an unknown kind, a signal number out of range, no function.
    pub fn parse(event: &sigevent) -> Result<Notify> {
        match event.sigev_notify {
            libc::SIGEV_NONE => Ok(Notify::None),
            // A zeroed aiocb asks for signal 0: nothing is sent.
            libc::SIGEV_SIGNAL if event.signo() == 0 => Ok(Notify::None),
            libc::SIGEV_SIGNAL => Ok(Notify::Signal { signo: signal(event.signo())?, value: event.sigev_value }),
            #[cfg(target_os = "linux")]
            libc::SIGEV_THREAD_ID if event.signo() == 0 => Ok(Notify::None),
            #[cfg(target_os = "linux")]
            libc::SIGEV_THREAD_ID => Ok(Notify::ThreadSignal {
                signo: signal(event.signo())?,
                thread: event.thread_id(),
                value: event.sigev_value,
            }),
            libc::SIGEV_THREAD => {
                let call = Call { function: event.function().ok_or(Errno::INVAL)?, value: event.sigev_value };
                Ok(Notify::Function { call, attributes: Attributes(event.attributes()) })
            }
            _ => Err(Errno::INVAL),
        }
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Notify::None)
    }

    /// The signal's number, if it is one.
    pub fn signal(&self) -> Option<c_int> {
        match *self {
            Notify::Signal { signo, .. } => Some(signo.into()),
            #[cfg(target_os = "linux")]
            Notify::ThreadSignal { signo, .. } => Some(signo.into()),
            Notify::None | Notify::Function { .. } => None,
        }
    }

    /// What a notification needs: a place in the queue for its signal, a thread. One that cannot be had holds up nothing
    /// that needs another.
    pub fn way(&self) -> u8 {
        match *self {
            Notify::None => 0,
            Notify::Signal { signo, .. } => signo,
            #[cfg(target_os = "linux")]
            Notify::ThreadSignal { signo, .. } => signo,
            Notify::Function { .. } => Ways::FUNCTION,
        }
    }
}

/// A set of ways.
#[derive(Clone, Copy, Default)]
pub struct Ways(u128);

impl Ways {
    const FUNCTION: u8 = 127;

    pub fn has(self, way: u8) -> bool {
        self.0 & 1 << (way & 127) != 0
    }

    pub fn add(&mut self, way: u8) {
        self.0 |= 1 << (way & 127);
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn signal(signo: c_int) -> Result<u8> {
    let valid = (1..=signals::max_signal()).contains(&signo);
    u8::try_from(signo).ok().filter(|_| valid).ok_or(Errno::INVAL)
}

/// Delivers a notification. Error: EAGAIN, try again later.
pub fn deliver(notify: &Notify, callbacks: &'static Callbacks) -> Result<()> {
    let done = match *notify {
        Notify::None => Ok(()),
        Notify::Signal { signo, value } => signals::queue_to_process(c_int::from(signo), value),
        #[cfg(target_os = "linux")]
        Notify::ThreadSignal { signo, thread, value } => signals::queue_to_thread(thread, c_int::from(signo), value),
        Notify::Function { call, attributes } => callbacks.run(call, attributes),
    };
    match done {
        Err(Errno::AGAIN) => Err(Errno::AGAIN),
        // A thread that has ended cannot be told; there is nobody else to tell.
        _ => Ok(()),
    }
}

/// Threads that run functions of the program.
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
    fn run(&'static self, call: Call, attributes: Attributes) -> Result<()> {
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
    std::ptr::null_mut()
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
    std::ptr::null_mut()
}

/// Runs a function of the program. No frame from here up owns anything: the function may end the thread by pthread_exit,
/// which unwinds through them. (As a "C-unwind" call it would meet a pad that aborts, under panic = "abort".)
fn call_program(call: Call) {
    signals::unblock_all();
    // SAFETY: the program gave the function for this purpose.
    unsafe { (call.function)(call.value) };
}
