//! Telling the program that a request or a list has ended: a signal, or a thread that runs a function.
//!
//! Library threads deliver, after the status is stored and outside the table's lock; a caller only for a read that was
//! served inside the call (`route::inline`). A function that needs a new thread is left to the starter. What cannot be
//! delivered now (a full signal queue, no more threads) is kept and tried again (see `files::Notices`); it is never dropped.

use libc::{c_int, pthread_attr_t};

use crate::abi::{NotifyFunction, sigevent};
use crate::engine::{Caller, Engine};
use crate::errno::{Errno, Result};
use crate::sys::signals;
use crate::threads::callbacks::Callbacks;

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
    pub function: NotifyFunction,
    pub value: usize,
}

/// The program's thread attributes, or NULL.
#[derive(Clone, Copy)]
pub struct Attributes(pub *const pthread_attr_t);

// SAFETY: POSIX has the program keep the attributes until the notification; they are only read.
unsafe impl Send for Attributes {}

impl Notify {
    /// Copies a sigevent. Uninitialised memory asks for nothing, and with glibc its request is made: so is one of no known kind
    /// here, and one whose signal cannot exist. Error: EINVAL, no function to call.
    pub fn parse(event: &sigevent) -> Result<Notify> {
        match event.sigev_notify {
            // A zeroed aiocb asks for signal 0: nothing is sent.
            libc::SIGEV_SIGNAL => {
                Ok(signal(event.signo())
                    .map_or(Notify::None, |signo| Notify::Signal { signo, value: event.sigev_value }))
            }
            #[cfg(target_os = "linux")]
            libc::SIGEV_THREAD_ID => Ok(signal(event.signo()).map_or(Notify::None, |signo| Notify::ThreadSignal {
                signo,
                thread: event.thread_id(),
                value: event.sigev_value,
            })),
            libc::SIGEV_THREAD => {
                let call = Call { function: event.function().ok_or(Errno::INVAL)?, value: event.sigev_value };
                Ok(Notify::Function { call, attributes: Attributes(event.attributes()) })
            }
            _ => Ok(Notify::None),
        }
    }

    /// Error: EAGAIN, it needs a thread, and there can be none.
    pub fn if_possible(self, engine: &Engine) -> Result<Notify> {
        if engine.threadless && self.is_function() { Err(Errno::AGAIN) } else { Ok(self) }
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Notify::None)
    }

    pub fn is_function(&self) -> bool {
        matches!(self, Notify::Function { .. })
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
    pub const FUNCTION: u8 = 127;

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

fn signal(signo: c_int) -> Option<u8> {
    let valid = (1..=signals::max_signal()).contains(&signo);
    u8::try_from(signo).ok().filter(|_| valid)
}

/// Who delivers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The starter, or whoever does its work when it cannot be had: may make a thread.
    Starter,
    /// Any other library thread.
    Other,
}

/// Delivers a notification from a library thread. Error: EAGAIN, try again later, or leave it to the starter.
pub fn deliver(notify: &Notify, callbacks: &'static Callbacks, by: By) -> Result<()> {
    let done = match *notify {
        Notify::None => Ok(()),
        Notify::Signal { signo, value } => signals::queue_to_process(c_int::from(signo), value),
        #[cfg(target_os = "linux")]
        Notify::ThreadSignal { signo, thread, value } => signals::queue_to_thread(thread, c_int::from(signo), value),
        Notify::Function { call, attributes } if by == By::Starter => callbacks.run(call, attributes),
        Notify::Function { call, attributes } if callbacks.run_by_idle(call, attributes) => Ok(()),
        Notify::Function { .. } => Err(Errno::AGAIN),
    };
    match done {
        Err(Errno::AGAIN) => Err(Errno::AGAIN),
        // A thread that has ended cannot be told; there is nobody else to tell.
        _ => Ok(()),
    }
}

/// Delivers from a call of the program. False: a library thread has to try, and to judge why it cannot be.
pub fn send_from_call(notify: &Notify, engine: &'static Engine) -> bool {
    match *notify {
        Notify::None => true,
        Notify::Signal { signo, value } => signals::queue_to_process(c_int::from(signo), value).is_ok(),
        #[cfg(target_os = "linux")]
        Notify::ThreadSignal { signo, thread, value } => {
            signals::queue_to_thread(thread, c_int::from(signo), value).is_ok()
        }
        Notify::Function { call, attributes } => {
            Caller::enter(engine).is_some_and(|caller| caller.engine.callbacks.run_by_idle(call, attributes))
        }
    }
}
