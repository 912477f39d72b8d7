//! The records of descriptors and files.

use super::Order;
use super::node::{Desc, EMPTY, File, Trees, fd_key, file_hash};
use super::types::{Admission, Target};
use crate::slab::{Id, NONE};
use crate::sys::errno::Result;

impl<P: Copy> Order<P> {
    /// The descriptor's record. A number that names another file than its unfinished requests do was closed behind the
    /// library's back: it gets a new record, and they have none any more.
    pub(super) fn desc_for(&mut self, new: &Admission<P>) -> Result<Id> {
        let Admission { fd, target, identity, .. } = *new;
        let known = self.find_desc(fd, target == Target::Nothing);
        if let Some(desc) = known.filter(|desc| self.names(*desc, new)) {
            return Ok(desc);
        }
        self.descs.reserve(1)?;
        self.files.reserve(1)?;
        let descs = &self.descs;
        self.by_fd.reserve(1, |id| fd_key(descs[id].fd))?;
        let file = self.file_for(target)?;
        // Nothing has changed until here, and from here on nothing fails.
        self.files[file].descs += 1;
        if known.is_some() {
            self.orphan(fd);
        }
        let target_is_stream = target == Target::Stream;
        let desc = self.descs.insert(Desc {
            fd,
            file,
            trees: Trees { reads: NONE, writes: NONE },
            untracked_reads: 0,
            untracked_writes: 0,
            untracked_priority: 0,
            unfinished: 0,
            identity,
            target_is_stream,
            of_nothing: target == Target::Nothing,
            private: false,
        });
        self.by_fd.insert(fd_key(fd), desc);
        Ok(desc)
    }

    pub(super) fn names(&self, desc: Id, new: &Admission<P>) -> bool {
        let desc = &self.descs[desc];
        match new.target {
            Target::File(key) => self.files[desc.file].key == Some(key),
            Target::Stream => desc.target_is_stream && desc.identity == new.identity,
            Target::Nothing => desc.of_nothing,
        }
    }

    pub(super) fn file_for(&mut self, target: Target) -> Result<Id> {
        let key = match target {
            Target::File(key) => Some(key),
            Target::Stream | Target::Nothing => None,
        };
        if let Some(key) = key {
            let files = &self.files;
            self.by_file.reserve(1, |id| file_hash(&files[id]))?;
            if let Some(file) = self.by_file.find(key.hash(), |id| files[id].key == Some(key)) {
                return Ok(file);
            }
        }
        let file = self.files.insert(File {
            key,
            requests: EMPTY,
            waiting: EMPTY,
            ready: EMPTY,
            running: EMPTY,
            leader_queued: false,
            active_write: NONE,
            write_queue: NONE,
            descs: 0,
        });
        if let Some(key) = key {
            self.by_file.insert(key.hash(), file);
        }
        Ok(file)
    }

    pub(super) fn desc_of_fd(&self, fd: i32) -> Option<Id> {
        self.find_desc(fd, false)
    }

    pub(super) fn find_desc(&self, fd: i32, of_nothing: bool) -> Option<Id> {
        self.by_fd.find(fd_key(fd), |id| self.descs[id].fd == fd && self.descs[id].of_nothing == of_nothing)
    }

    pub(super) fn forget_fd(&mut self, desc: Id) {
        let descs = &self.descs;
        self.by_fd.remove(fd_key(descs[desc].fd), desc, |id| fd_key(descs[id].fd));
    }

    pub(super) fn file_of(&self, id: Id) -> Id {
        self.descs[self.nodes[id].desc].file
    }

    /// Takes a request off its descriptor. Some: it was the last one.
    pub(super) fn release_desc(&mut self, desc: Id) -> Option<Desc> {
        self.descs[desc].unfinished -= 1;
        if self.descs[desc].unfinished != 0 {
            return None;
        }
        self.forget_fd(desc);
        let gone = self.descs.remove(desc);
        self.files[gone.file].descs -= 1;
        if self.files[gone.file].descs == 0 {
            let files = &self.files;
            if let Some(key) = files[gone.file].key {
                self.by_file.remove(key.hash(), gone.file, |id| file_hash(&files[id]));
            }
            let file = self.files.remove(gone.file);
            if file.write_queue != NONE {
                self.write_queues.remove(file.write_queue);
            }
        }
        Some(gone)
    }
}
