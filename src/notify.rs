//! What a program wants to be told with: a signal, or a function that a thread runs.

use libc::{c_int, pthread_attr_t};

use crate::abi::{NotifyFunction, sigevent};
use crate::sys::errno::{Errno, Result};
use crate::sys::signals;

/// How the program wants to be told.
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
    pub fn if_possible(self, threadless: bool) -> Result<Notify> {
        if threadless && self.is_function() { Err(Errno::AGAIN) } else { Ok(self) }
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
    pub fn delivery_class(&self) -> u8 {
        match *self {
            Notify::None => 0,
            Notify::Signal { signo, .. } => signo,
            #[cfg(target_os = "linux")]
            Notify::ThreadSignal { signo, .. } => signo,
            Notify::Function { .. } => DeliveryClasses::FUNCTION,
        }
    }
}

/// A set of ways.
#[derive(Clone, Copy, Default)]
pub struct DeliveryClasses(u128);

impl DeliveryClasses {
    pub const FUNCTION: u8 = 127;

    pub fn has(self, class: u8) -> bool {
        self.0 & 1 << (class & 127) != 0
    }

    pub fn add(&mut self, class: u8) {
        self.0 |= 1 << (class & 127);
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn signal(signo: c_int) -> Option<u8> {
    let valid = (1..=signals::max_signal()).contains(&signo);
    u8::try_from(signo).ok().filter(|_| valid)
}
