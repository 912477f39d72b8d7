//! The requests of a descriptor that is closed or cancelled.

use super::Order;
use super::node::{ListName, fd_key};
use super::types::{NO_NUMBER, State};
use crate::slab::{Id, NONE};

/// A walk over the requests of a descriptor.
pub struct Walk {
    desc: Id,
    file: Id,
    unseen: u32,
    places: std::slice::Iter<'static, fn(Id) -> ListName>,
    next: Id,
}

/// Every list that holds unfinished requests of a file. Withdrawing one may move barriers down this list, never up.
static LISTS_OF_FILE: [fn(Id) -> ListName; 4] = [
    ListName::Requests,
    |file| ListName::Barriers(file, State::Waiting),
    |file| ListName::Barriers(file, State::Ready),
    |file| ListName::Barriers(file, State::Running),
];

impl<P: Copy> Order<P> {
    /// Starts a walk over the unfinished requests of a descriptor that use its file. None: there are none.
    pub fn walk(&self, fd: i32) -> Option<Walk> {
        self.desc_of_fd(fd).map(|desc| self.walk_over(desc))
    }

    /// The same over those that will only report an error.
    pub fn walk_refused(&self, fd: i32) -> Option<Walk> {
        self.find_desc(fd, true).map(|desc| self.walk_over(desc))
    }

    pub(super) fn walk_over(&self, desc: Id) -> Walk {
        let record = &self.descs[desc];
        Walk { desc, file: record.file, unseen: record.unfinished, places: LISTS_OF_FILE.iter(), next: NONE }
    }

    /// The next request of the walk, oldest first among reads and writes, then barriers. Each may be withdrawn at once.
    pub fn step(&mut self, walk: &mut Walk) -> Option<Id> {
        // With the last of its requests the descriptor and the file are gone: then nothing is looked at.
        while walk.unseen > 0 {
            let id = walk.next;
            if id == NONE {
                let queue = walk.places.next()?;
                walk.next = self.list(queue(walk.file)).head;
                continue;
            }
            walk.next = self.nodes[id].in_file.next;
            if self.nodes[id].desc == walk.desc {
                walk.unseen -= 1;
                return Some(id);
            }
        }
        None
    }

    /// Whether a descriptor has requests that use its file.
    pub fn has_requests(&self, fd: i32) -> bool {
        self.desc_of_fd(fd).is_some()
    }

    /// Whether a number is the library's own duplicate of a closed descriptor.
    pub fn is_private(&self, fd: i32) -> bool {
        self.desc_of_fd(fd).is_some_and(|desc| self.descs[desc].private)
    }

    /// The lowest descriptor of the program from `first` on that has requests.
    #[cfg(target_os = "linux")]
    pub fn lowest_from(&self, first: i32) -> Option<i32> {
        self.lowest(first, false)
    }

    /// The lowest of the library's own duplicates from `first` on.
    #[cfg(target_os = "linux")]
    pub fn lowest_private_from(&self, first: i32) -> Option<i32> {
        self.lowest(first, true)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn lowest(&self, first: i32, private: bool) -> Option<i32> {
        let descs = self.descs.iter().filter(|desc| desc.private == private && !desc.of_nothing);
        descs.map(|desc| desc.fd).filter(|fd| *fd >= first).min()
    }

    /// The number belongs to somebody else, or will: the descriptor's requests have none any more.
    pub fn orphan(&mut self, fd: i32) {
        if let Some(desc) = self.desc_of_fd(fd) {
            self.forget_fd(desc);
            let desc = &mut self.descs[desc];
            (desc.fd, desc.private) = (NO_NUMBER, false);
        }
    }

    /// The number will belong to somebody else: the descriptor's requests go to `duplicate` instead, a number of the
    /// library's own, by which the descriptor is known from now on.
    pub fn detach(&mut self, fd: i32, duplicate: i32) {
        if let Some(desc) = self.desc_of_fd(fd) {
            self.forget_fd(desc);
            self.descs[desc].fd = duplicate;
            self.descs[desc].private = true;
            self.by_fd.insert(fd_key(duplicate), desc);
        }
    }
}
