//! POSIX AIO, of libc or of a preloaded library.

use super::interface::{Engine, Operation, whole};
use crate::aio::{self, Request};
use std::io::Result;
use std::os::fd::BorrowedFd;

pub struct Posix<'a> {
    file: BorrowedFd<'a>,
    size: usize,
    requests: Vec<Request>,
    handles: Vec<*const libc::aiocb>,
    in_flight: Vec<bool>,
    sync: Request,
}

impl<'a> Posix<'a> {
    pub fn new(file: BorrowedFd<'a>, slots: usize, size: usize) -> Posix<'a> {
        let requests: Vec<_> = (0..slots).map(|_| Request::new(size)).collect();
        let handles = requests.iter().map(Request::handle).collect();
        Posix { file, size, requests, handles, in_flight: vec![false; slots], sync: Request::new(0) }
    }

    fn reap(&mut self, done: &mut Vec<usize>) -> Result<()> {
        for (slot, request) in self.requests.iter_mut().enumerate() {
            if self.in_flight[slot] && !request.pending() {
                self.in_flight[slot] = false;
                whole(request.result()? as i64, self.size)?;
                done.push(slot);
            }
        }
        Ok(())
    }
}

impl Engine for Posix<'_> {
    fn submit(&mut self, slot: usize, operation: Operation, offset: usize) -> Result<()> {
        let request = &mut self.requests[slot];
        match operation {
            Operation::Read => request.read(self.file, offset)?,
            Operation::Write => request.write(self.file, offset, 0)?,
        }
        self.in_flight[slot] = true;
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        let before = done.len();
        loop {
            self.reap(done)?;
            if done.len() > before {
                return Ok(());
            }
            aio::wait_any(&self.handles);
        }
    }

    fn sync(&mut self) -> Result<()> {
        self.sync.fsync(self.file)?;
        self.sync.result().map(drop)
    }

    fn sync_is_barrier(&self) -> bool {
        true
    }
}
