//! libaio's calls as a C program makes them: to a preloaded library that defines them, or else as the system calls that
//! libaio itself would make.

use crate::aio;
use crate::engine::{Buffer, Event, whole};
use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

type Setup = unsafe extern "C" fn(libc::c_int, *mut u64) -> libc::c_int;
type Submit = unsafe extern "C" fn(u64, libc::c_long, *mut *mut libc::iocb) -> libc::c_int;
type Take = unsafe extern "C" fn(u64, libc::c_long, libc::c_long, *mut Event, *mut libc::timespec) -> libc::c_int;
type Destroy = unsafe extern "C" fn(u64) -> libc::c_int;

const PWRITE: u16 = 1;
const FDSYNC: u16 = 3;

/// A context with slots for one request each, which has `size` bytes of data.
pub struct AioContext {
    number: u64,
    size: usize,
    iocbs: Vec<libc::iocb>,
    buffers: Vec<Buffer>,
    events: Vec<Event>,
}

impl AioContext {
    pub fn new(slots: usize, size: usize) -> Result<AioContext> {
        let mut number = 0;
        let count = slots.try_into().map_err(Error::other)?;
        // SAFETY: the call stores a number.
        check(unsafe { symbol::<Setup>(c"io_setup", system_setup)(count, &raw mut number) })?;
        // SAFETY: an iocb of zeros is valid.
        let iocbs = (0..slots).map(|_| unsafe { std::mem::zeroed() }).collect();
        let buffers = (0..slots).map(|_| Buffer::new(size)).collect();
        Ok(AioContext { number, size, iocbs, buffers, events: vec![Event::default(); slots] })
    }

    pub fn prepare_write(&mut self, slot: usize, file: BorrowedFd, offset: usize) {
        let data = self.buffers[slot].pointer().expose_provenance() as u64;
        let iocb = &mut self.iocbs[slot];
        (iocb.aio_buf, iocb.aio_nbytes, iocb.aio_offset) = (data, self.size as u64, offset as i64);
        self.prepare(slot, file, PWRITE);
    }

    pub fn prepare_sync(&mut self, slot: usize, file: BorrowedFd) {
        self.prepare(slot, file, FDSYNC);
    }

    fn prepare(&mut self, slot: usize, file: BorrowedFd, opcode: u16) {
        let iocb = &mut self.iocbs[slot];
        (iocb.aio_data, iocb.aio_lio_opcode, iocb.aio_fildes) = (slot as u64, opcode, file.as_raw_fd() as u32);
    }

    /// Submits the first `count` slots, which must be prepared.
    pub fn submit(&mut self, count: usize) -> Result<()> {
        let mut list: Vec<*mut libc::iocb> = self.iocbs[..count].iter_mut().map(ptr::from_mut).collect();
        let submit = symbol::<Submit>(c"io_submit", system_submit);
        // SAFETY: the iocbs and their buffers stay in place until the context is destroyed.
        let accepted = check(unsafe { submit(self.number, count as libc::c_long, list.as_mut_ptr()) })?;
        if accepted == count { Ok(()) } else { Err(Error::other(format!("io_submit takes {accepted} of {count}"))) }
    }

    /// Waits until at least so many requests have ended and returns their slots, in the order of their ends. Error: a request
    /// failed, or was short.
    pub fn take(&mut self, at_least: usize) -> Result<Vec<usize>> {
        let (least, most) = (at_least as libc::c_long, self.events.len() as libc::c_long);
        let take = symbol::<Take>(c"io_getevents", system_take);
        // SAFETY: there is room for so many events; no time limit.
        let got = check(unsafe { take(self.number, least, most, self.events.as_mut_ptr(), ptr::null_mut()) })?;
        let slots = self.events[..got].iter().map(|event| {
            let slot = event.data as usize;
            let expected = if self.iocbs[slot].aio_lio_opcode == PWRITE { self.size } else { 0 };
            whole(event.result, expected).map(|()| slot)
        });
        slots.collect()
    }
}

impl Drop for AioContext {
    fn drop(&mut self) {
        // SAFETY: waits for all requests in flight, so that the buffers may be freed.
        unsafe { symbol::<Destroy>(c"io_destroy", system_destroy)(self.number) };
    }
}

/// The function that this process has under this name, or else the other one. `F` is the type of both.
fn symbol<F: Copy>(name: &CStr, otherwise: F) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut libc::c_void>()) };
    // SAFETY: the callers give the type that libaio's function of this name has; a pointer has the same size.
    aio::symbol(name).map_or(otherwise, |found| unsafe { std::mem::transmute_copy(&found) })
}

/// libaio's functions return minus the number of an error.
fn check(returned: libc::c_int) -> Result<usize> {
    usize::try_from(returned).map_err(|_| Error::from_raw_os_error(-returned))
}

fn returned(result: libc::c_long) -> libc::c_int {
    let error = || -Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    if result == -1 { error() } else { result as libc::c_int }
}

unsafe extern "C" fn system_setup(count: libc::c_int, place: *mut u64) -> libc::c_int {
    // SAFETY: the caller passes what the system call takes, here and below.
    returned(unsafe { libc::syscall(libc::SYS_io_setup, count, place) })
}

unsafe extern "C" fn system_submit(context: u64, count: libc::c_long, list: *mut *mut libc::iocb) -> libc::c_int {
    // SAFETY: as above.
    returned(unsafe { libc::syscall(libc::SYS_io_submit, context, count, list) })
}

unsafe extern "C" fn system_take(
    context: u64,
    least: libc::c_long,
    most: libc::c_long,
    events: *mut Event,
    timeout: *mut libc::timespec,
) -> libc::c_int {
    // SAFETY: as above.
    returned(unsafe { libc::syscall(libc::SYS_io_getevents, context, least, most, events, timeout) })
}

unsafe extern "C" fn system_destroy(context: u64) -> libc::c_int {
    // SAFETY: as above.
    returned(unsafe { libc::syscall(libc::SYS_io_destroy, context) })
}
