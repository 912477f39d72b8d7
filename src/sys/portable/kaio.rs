//! The kernel's own AIO, which only Linux has: here every request takes another route.

use std::ffi::c_void;

use libc::c_int;

use crate::sys::clock::Nanos;
use crate::sys::errno::{Errno, Result};
use crate::sys::transfer::Transfer;

#[derive(Clone, Copy)]
pub struct Iocb;

impl Iocb {
    pub const NONE: Iocb = Iocb;

    pub fn new(_transfer: &Transfer) -> Iocb {
        Iocb
    }
}

#[derive(Clone, Copy)]
pub struct Event {
    pub token: u64,
}

impl Event {
    pub const NONE: Event = Event { token: 0 };

    pub fn result(&self) -> Option<Result<isize>> {
        None
    }
}

pub fn may_write_up_to(_end: u64) -> bool {
    false
}

pub struct Context;

impl Context {
    pub const fn new(_wanted: bool) -> Context {
        Context
    }

    pub fn is_possible(&self) -> bool {
        false
    }

    pub fn open(&self) -> bool {
        false
    }

    pub fn is_open(&self) -> bool {
        false
    }

    pub fn give_up(&self) {}

    pub fn submit(&self, _requests: &[*mut Iocb]) -> usize {
        0
    }

    pub fn reap(&self, _events: &mut [Event], _patience: Nanos) -> Result<usize> {
        Err(Errno(libc::ENOSYS))
    }

    pub fn take(&self, _events: &mut [Event]) -> usize {
        0
    }

    pub fn wake(&self, _ready: c_int) -> Result<()> {
        Err(Errno(libc::ENOSYS))
    }

    pub fn watch(
        &self,
        _patience: Nanos,
        _cleanup: extern "C" fn(*mut c_void),
        _argument: *mut c_void,
    ) -> Result<bool> {
        Err(Errno(libc::ENOSYS))
    }

    pub fn try_watching(&self) {}

    pub fn can_be_watched(&self) -> bool {
        false
    }

    pub fn is_ring_ours(&self) -> bool {
        false
    }

    pub fn has_results(&self) -> bool {
        false
    }

    pub fn taken(&self) -> u32 {
        0
    }
}
