//! The descriptors that deferred syncs need. A sync uses the program's own until the program closes it; from then on a duplicate,
//! which all syncs on that number share. Under the lock of the deferred syncs.

use libc::c_int;

use crate::order::FileKey;
use crate::slab::{Id, NONE, Slab};
use crate::sys::descriptor;
use crate::sys::errno::{Errno, Result};
use crate::sys::inode::Fields;

/// The library's copy of a descriptor that the program closes.
pub struct Duplicate {
    fd: c_int,
    /// The program's number, while its close is under way; then -1, as the number may be given to another file.
    number: c_int,
    /// `Handle`s that refer to this.
    users: u32,
}

/// A descriptor that a sync needs: the program's number, or a duplicate.
#[derive(Clone, Copy)]
pub struct Handle {
    pub number: c_int,
    /// NONE: the program's descriptor is used.
    duplicate: Id,
    /// The program closed the descriptor by a raw system call, so that there was nothing left to duplicate.
    lost: bool,
}

impl Handle {
    pub fn new(number: c_int) -> Handle {
        Handle { number, duplicate: NONE, lost: false }
    }

    /// Whether the program's descriptor is used.
    pub fn is_programs(&self) -> bool {
        self.duplicate == NONE && !self.lost
    }

    /// The descriptor to use. `file`: what it must refer to, if the caller knows. Error: EBADF, the program closed it by a raw
    /// system call.
    pub fn descriptor(&self, duplicates: &Slab<Duplicate>, file: Option<FileKey>) -> Result<c_int> {
        match duplicates.get(self.duplicate) {
            Some(duplicate) => Ok(duplicate.fd),
            None if self.lost => Err(Errno::BADF),
            None => match file_of(self.number) {
                Err(Errno::BADF) => Err(Errno::BADF),
                Ok(found) if file.is_some_and(|file| file != found) => Err(Errno::BADF),
                // Any other error is the file system's, and the descriptor is good.
                _ => Ok(self.number),
            },
        }
    }

    /// The number is about to be closed: refers to a duplicate from now on. Errors: EMFILE, ENFILE, ENOMEM; nothing has changed.
    pub fn leave_number(&mut self, duplicates: &mut Slab<Duplicate>, file: Option<FileKey>) -> Result<()> {
        let found = (0..Id::try_from(duplicates.opened()).unwrap_or(0))
            .find(|id| duplicates.get(*id).is_some_and(|duplicate| duplicate.number == self.number));
        if let Some(id) = found {
            duplicates[id].users += 1;
            self.duplicate = id;
            return Ok(());
        }
        if self.descriptor(duplicates, file).is_err() {
            self.lost = true;
            return Ok(());
        }
        duplicates.reserve(1)?;
        match descriptor::duplicate(self.number) {
            Ok(fd) => self.duplicate = duplicates.insert(Duplicate { fd, number: self.number, users: 1 }),
            Err(Errno::BADF) => self.lost = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The sync needs it no longer: the last user closes the duplicate.
    pub fn release(&mut self, duplicates: &mut Slab<Duplicate>) {
        let id = std::mem::replace(&mut self.duplicate, NONE);
        if let Some(duplicate) = duplicates.get_mut(id) {
            duplicate.users -= 1;
            if duplicate.users == 0 {
                descriptor::close_quietly(duplicates.remove(id).fd);
            }
        }
    }
}

/// The closes under way are about to happen: later syncs on these numbers mean other files.
pub fn forget_numbers(duplicates: &mut Slab<Duplicate>) {
    for id in 0..Id::try_from(duplicates.opened()).unwrap_or(0) {
        if let Some(duplicate) = duplicates.get_mut(id) {
            duplicate.number = -1;
        }
    }
}

/// The lowest of the duplicates from `first` on.
pub fn lowest(duplicates: &Slab<Duplicate>, first: c_int) -> Option<c_int> {
    duplicates.iter().map(|duplicate| duplicate.fd).filter(|fd| *fd >= first).min()
}

/// The file that a descriptor refers to. Error: EBADF, or the file system's.
pub fn file_of(fd: c_int) -> Result<FileKey> {
    let found = descriptor::describe(fd, 0, Fields::Identity)?;
    Ok(FileKey { device: found.device, inode: found.inode })
}
