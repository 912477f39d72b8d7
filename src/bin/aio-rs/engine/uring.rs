//! io_uring.

use super::interface::{Buffer, Engine, Operation, whole};
use io_uring::{IoUring, opcode, squeue, types};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

pub struct Uring<'a> {
    ring: IoUring,
    file: BorrowedFd<'a>,
    size: usize,
    buffers: Vec<Buffer>,
    in_flight: usize,
}

/// The user data of an fsync; that of other requests is their slot.
const SYNC: u64 = u64::MAX;

impl<'a> Uring<'a> {
    pub fn new(file: BorrowedFd<'a>, slots: usize, size: usize) -> Result<Uring<'a>> {
        let entries = u32::try_from(slots + 1).unwrap_or(u32::MAX).next_power_of_two();
        let buffers = (0..slots).map(|_| Buffer::new(size)).collect();
        Ok(Uring { ring: IoUring::new(entries)?, file, size, buffers, in_flight: 0 })
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<()> {
        // SAFETY: descriptor and buffer stay in place until the request has ended (`drop` waits).
        unsafe { self.ring.submission().push(entry) }.map_err(|_| Error::other("io_uring: no room"))?;
        self.ring.submit()?;
        self.in_flight += 1;
        Ok(())
    }

    fn reap(&mut self, done: &mut Vec<usize>) -> Result<()> {
        self.ring.submit_and_wait(1)?;
        for completion in self.ring.completion() {
            self.in_flight -= 1;
            let sync = completion.user_data() == SYNC;
            whole(completion.result().into(), if sync { 0 } else { self.size })?;
            if !sync {
                done.push(completion.user_data() as usize);
            }
        }
        Ok(())
    }
}

impl Engine for Uring<'_> {
    fn submit(&mut self, slot: usize, operation: Operation, offset: usize) -> Result<()> {
        let (fd, size) = (types::Fd(self.file.as_raw_fd()), self.size as u32);
        let buffer = self.buffers[slot].pointer();
        let entry = match operation {
            Operation::Read => opcode::Read::new(fd, buffer, size).offset(offset as u64).build(),
            Operation::Write => opcode::Write::new(fd, buffer, size).offset(offset as u64).build(),
        };
        self.push(&entry.user_data(slot as u64))
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        self.reap(done)
    }

    fn sync(&mut self) -> Result<()> {
        let entry = opcode::Fsync::new(types::Fd(self.file.as_raw_fd())).build();
        self.push(&entry.user_data(SYNC))?;
        self.reap(&mut Vec::new())
    }
}

impl Drop for Uring<'_> {
    fn drop(&mut self) {
        while self.in_flight > 0 && self.reap(&mut Vec::new()).is_ok() {}
        if self.in_flight > 0 {
            // The kernel may still write to the buffers: leak them.
            self.buffers.drain(..).for_each(std::mem::forget);
        }
    }
}
