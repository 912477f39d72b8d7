//! The descriptors of deferred syncs. A sync uses the program's own, until the program closes it: then a duplicate of the
//! library's takes its place, one for all syncs with that number. Under the lock of the deferred syncs.

use libc::c_int;

use crate::errno::{Errno, Result};
use crate::order::FileKey;
use crate::slab::{Id, NONE, Slab};
use crate::sys::descriptor;
use crate::sys::inode::Fields;

/// A duplicate.
pub struct Kept {
    fd: c_int,
    /// What it is of, as long as that number is being closed.
    number: c_int,
    users: u32,
}

/// A descriptor that a sync needs.
#[derive(Clone, Copy)]
pub struct Handle {
    /// The program's.
    pub number: c_int,
    kept: Id,
    /// The program closed it behind the library's back.
    lost: bool,
}

impl Handle {
    pub fn new(number: c_int) -> Handle {
        Handle { number, kept: NONE, lost: false }
    }

    /// Whether it still is the program's.
    pub fn is_programs(&self) -> bool {
        self.kept == NONE && !self.lost
    }

    /// The descriptor to use. `file`: what it has to be, if that can be told. Error: EBADF, the program has closed it by a raw
    /// system call.
    pub fn descriptor(&self, kept: &Slab<Kept>, file: Option<FileKey>) -> Result<c_int> {
        match kept.get(self.kept) {
            Some(kept) => Ok(kept.fd),
            None if self.lost => Err(Errno::BADF),
            None => match file_of(self.number) {
                Err(Errno::BADF) => Err(Errno::BADF),
                Ok(found) if file.is_some_and(|file| file != found) => Err(Errno::BADF),
                // Or the file system does not answer any more.
                _ => Ok(self.number),
            },
        }
    }

    /// The number is about to be closed. Error: there is no descriptor for a duplicate, or no memory.
    pub fn keep(&mut self, kept: &mut Slab<Kept>, file: Option<FileKey>) -> Result<()> {
        let found = (0..Id::try_from(kept.opened()).unwrap_or(0))
            .find(|id| kept.get(*id).is_some_and(|kept| kept.number == self.number));
        if let Some(id) = found {
            kept[id].users += 1;
            self.kept = id;
            return Ok(());
        }
        if self.descriptor(kept, file).is_err() {
            self.lost = true;
            return Ok(());
        }
        kept.reserve(1)?;
        match descriptor::duplicate(self.number) {
            Ok(fd) => self.kept = kept.insert(Kept { fd, number: self.number, users: 1 }),
            Err(Errno::BADF) => self.lost = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// It is not needed any more.
    pub fn release(&mut self, kept: &mut Slab<Kept>) {
        let id = std::mem::replace(&mut self.kept, NONE);
        if let Some(user) = kept.get_mut(id) {
            user.users -= 1;
            if user.users == 0 {
                descriptor::close_quietly(kept.remove(id).fd);
            }
        }
    }
}

/// The numbers are closed: what gets them next is another.
pub fn forget_numbers(kept: &mut Slab<Kept>) {
    for id in 0..Id::try_from(kept.opened()).unwrap_or(0) {
        if let Some(kept) = kept.get_mut(id) {
            kept.number = -1;
        }
    }
}

/// The lowest of the duplicates from `first` on.
pub fn lowest(kept: &Slab<Kept>, first: c_int) -> Option<c_int> {
    kept.iter().map(|kept| kept.fd).filter(|fd| *fd >= first).min()
}

/// The file behind a descriptor. Error: EBADF, or its file system's.
pub fn file_of(fd: c_int) -> Result<FileKey> {
    let found = descriptor::describe(fd, 0, Fields::Identity)?;
    Ok(FileKey { device: found.device, inode: found.inode })
}
