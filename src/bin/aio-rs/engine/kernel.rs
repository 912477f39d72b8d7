//! The kernel's own AIO, by the system calls io_submit and io_getevents.

use super::interface::{Buffer, Engine, Operation, plain_sync, whole};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

pub struct Kernel<'a> {
    context: u64,
    file: BorrowedFd<'a>,
    size: usize,
    buffers: Vec<Buffer>,
    iocbs: Vec<libc::iocb>,
    events: Vec<Event>,
}

/// struct io_event.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Event {
    pub data: u64,
    iocb: u64,
    pub result: i64,
    result2: i64,
}

impl<'a> Kernel<'a> {
    pub fn new(file: BorrowedFd<'a>, slots: usize, size: usize) -> Result<Kernel<'a>> {
        let mut context = 0_u64;
        // SAFETY: the call stores a number.
        if unsafe { libc::syscall(libc::SYS_io_setup, slots, &raw mut context) } != 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: an iocb of zeros is valid.
        let iocbs = (0..slots).map(|_| unsafe { std::mem::zeroed() }).collect();
        let buffers = (0..slots).map(|_| Buffer::new(size)).collect();
        Ok(Kernel { context, file, size, buffers, iocbs, events: vec![Event::default(); slots] })
    }
}

impl Engine for Kernel<'_> {
    fn submit(&mut self, slot: usize, operation: Operation, offset: usize) -> Result<()> {
        let iocb = &mut self.iocbs[slot];
        iocb.aio_data = slot as u64;
        // IOCB_CMD_PREAD, IOCB_CMD_PWRITE.
        iocb.aio_lio_opcode = if operation == Operation::Read { 0 } else { 1 };
        iocb.aio_fildes = self.file.as_raw_fd() as u32;
        iocb.aio_buf = self.buffers[slot].pointer().expose_provenance() as u64;
        iocb.aio_nbytes = self.size as u64;
        iocb.aio_offset = offset as i64;
        let mut list: [*mut libc::iocb; 1] = [iocb];
        // SAFETY: the iocb and its buffer stay in place until the context is destroyed.
        let done = unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1, list.as_mut_ptr()) };
        if done == 1 { Ok(()) } else { Err(Error::last_os_error()) }
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        let (room, events) = (self.events.len(), self.events.as_mut_ptr());
        // SAFETY: there is room for as many events as it may store.
        let got = unsafe { libc::syscall(libc::SYS_io_getevents, self.context, 1, room, events, ptr::null::<u8>()) };
        let got = usize::try_from(got).map_err(|_| Error::last_os_error())?;
        for event in &self.events[..got] {
            whole(event.result, self.size)?;
            done.push(event.data as usize);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        plain_sync(self.file)
    }
}

impl Drop for Kernel<'_> {
    fn drop(&mut self) {
        // SAFETY: waits for all requests in flight, so that the buffers may be freed.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}
