//! pread and pwrite in a thread for each slot. With one slot the caller does it itself.

use super::interface::{Buffer, Engine, Operation, plain_sync, whole};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::thread::{self, JoinHandle};

pub struct Threads<'a> {
    file: BorrowedFd<'a>,
    size: usize,
    /// The buffer of the only slot.
    alone: Option<Buffer>,
    /// The result of its request.
    alone_done: Option<i64>,
    slots: Vec<(Sender<Order>, JoinHandle<()>)>,
    results: Receiver<(usize, i64)>,
}

type Order = (Operation, usize);

impl<'a> Threads<'a> {
    pub fn new(file: BorrowedFd<'a>, slots: usize, size: usize) -> Result<Threads<'a>> {
        let (answers, results) = unbounded();
        let alone = (slots == 1).then(|| Buffer::new(size));
        let mut engine = Threads { file, size, alone, alone_done: None, slots: Vec::new(), results };
        let fd = file.as_raw_fd();
        for slot in 0..if slots == 1 { 0 } else { slots } {
            let (sender, orders) = unbounded::<Order>();
            let answers = answers.clone();
            let thread = thread::Builder::new().spawn(move || {
                let mut buffer = Buffer::new(size);
                for (operation, offset) in orders {
                    if answers.send((slot, transfer(fd, &mut buffer, size, operation, offset))).is_err() {
                        return;
                    }
                }
            })?;
            engine.slots.push((sender, thread));
        }
        Ok(engine)
    }
}

fn transfer(fd: RawFd, buffer: &mut Buffer, size: usize, operation: Operation, offset: usize) -> i64 {
    let (data, offset) = (buffer.pointer().cast(), offset as i64);
    // SAFETY: the buffer has this size.
    let done = unsafe {
        match operation {
            Operation::Read => libc::pread(fd, data, size, offset),
            Operation::Write => libc::pwrite(fd, data, size, offset),
        }
    };
    if done < 0 { -i64::from(Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) } else { done as i64 }
}

impl Engine for Threads<'_> {
    fn submit(&mut self, slot: usize, operation: Operation, offset: usize) -> Result<()> {
        match &mut self.alone {
            Some(buffer) => {
                self.alone_done = Some(transfer(self.file.as_raw_fd(), buffer, self.size, operation, offset));
                Ok(())
            }
            None => self.slots[slot].0.send((operation, offset)).map_err(Error::other),
        }
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        let (slot, result) = match self.alone_done.take() {
            Some(result) => (0, result),
            None => self.results.recv().map_err(Error::other)?,
        };
        whole(result, self.size)?;
        done.push(slot);
        for (slot, result) in self.results.try_iter() {
            whole(result, self.size)?;
            done.push(slot);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        plain_sync(self.file)
    }
}

impl Drop for Threads<'_> {
    fn drop(&mut self) {
        for (orders, thread) in self.slots.drain(..) {
            drop(orders);
            let _ = thread.join();
        }
    }
}
