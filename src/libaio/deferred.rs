//! The deferred syncs: which there are, and what each waits for.
//!
//! Each file has a queue of them, in the order of their submission. A sync depends on the in-flight records of its file that no sync
//! before it in the queue depends on, and on the sync before it. So only the first of a queue can be ready, a record is listed
//! once, and a look costs by the number of files, not of syncs.
//!
//! All of this is under the lock.

use std::mem::MaybeUninit;

use libc::c_int;

use super::contexts::Contexts;
use super::duplicates::{self, Duplicate, Handle};
use super::in_flight::{InFlight, Record, Target};
use crate::order::FileKey;
use crate::slab::{Id, Index, NONE, Slab};
use crate::sys::aio_abi::iocb;
use crate::sys::clock::Nanos;
use crate::sys::errno::Result;

/// A sync that io_submit has accepted and the kernel does not have yet.
pub struct Deferred {
    pub in_flight: &'static InFlight,
    /// `Reaping::generation` when it was submitted: the context's. Records that are reused for another context have another.
    pub generation: u64,
    /// The program's iocb, and what it said.
    pub block: *mut iocb,
    pub copy: iocb,
    pub fd: Handle,
    pub eventfd: Option<Handle>,
    pub file: FileKey,
    pub seq: u64,
    /// When it was first found ready while it was not known who would take its event; and `Reaping::calls` then.
    pub ready_since: Option<(Nanos, u32)>,
    /// Its context is being destroyed: it waits for what is in the kernel only, and its event is nobody's.
    pub ending: bool,
    /// The kernel had no room for it in its context (EAGAIN).
    pub full: bool,
    /// Requests of the POSIX interface on its file up to this number have to end first.
    posix: Option<u64>,
    /// The first of its `Dependency`s.
    dependencies: Id,
    queue: Id,
    before: Id,
    behind: Id,
}

// SAFETY: the pointers are names for the kernel, or the library's own pages.
unsafe impl Send for Deferred {}

/// A record that has to end before a sync is submitted.
struct Dependency {
    record: Record,
    next: Id,
}

/// The syncs of one file.
struct Queue {
    file: FileKey,
    first: Id,
    last: Id,
    /// Since when its first sync is the first.
    since: Nanos,
    /// `Contexts::newest_entered` before the last sync's dependencies were searched for. The same now: nothing was entered since.
    /// STALE: that says nothing.
    entered: u64,
    before: Id,
    behind: Id,
}

const STALE: u64 = u64::MAX;

/// A sync whose context is gone: the library's thread makes it all the same, and there is no event.
pub struct Orphan {
    /// The library's own.
    pub descriptor: c_int,
    pub data_only: bool,
}

pub struct Syncs {
    pub slots: Slab<Deferred>,
    pub duplicates: Slab<Duplicate>,
    pub orphans: Slab<Orphan>,
    dependencies: Slab<Dependency>,
    queues: Slab<Queue>,
    by_file: Index,
    first_queue: Id,
    pub queue_count: usize,
    /// Syncs whose context is being destroyed.
    pub ending: usize,
}

/// What the lock protects. All zeroes is one without syncs, as it is in a child of fork.
pub struct DeferredSyncs {
    begun: bool,
    syncs: MaybeUninit<Syncs>,
    /// There is a thread that looks.
    pub watched: bool,
    /// It is to end as soon as no sync is deferred.
    pub dismissed: bool,
    /// Callers do not look before this: there is much to look at.
    pub next_look: Nanos,
}

impl DeferredSyncs {
    pub fn syncs(&mut self) -> &mut Syncs {
        if !self.begun {
            self.syncs.write(Syncs::new());
            self.begun = true;
        }
        // SAFETY: written above, or before.
        unsafe { self.syncs.assume_init_mut() }
    }
}

fn key(file: FileKey) -> u64 {
    file.inode ^ file.device.rotate_left(32)
}

impl Syncs {
    pub const fn new() -> Syncs {
        Syncs {
            slots: Slab::new(),
            duplicates: Slab::new(),
            orphans: Slab::new(),
            dependencies: Slab::new(),
            queues: Slab::new(),
            by_file: Index::new(),
            first_queue: NONE,
            queue_count: 0,
            ending: 0,
        }
    }

    /// Room for one more. Error: ENOMEM.
    pub fn reserve(&mut self) -> Result<()> {
        self.slots.reserve(1)?;
        self.queues.reserve(1)?;
        // So that it finds room if its context is destroyed.
        self.orphans.reserve(self.slots.len() + 1)?;
        let queues = &self.queues;
        self.by_file.reserve(1, |id| key(queues[id].file))
    }

    pub fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        0..Id::try_from(self.slots.opened()).unwrap_or(0)
    }

    pub fn queue_of(&self, file: FileKey) -> Option<Id> {
        self.by_file.find(key(file), |id| self.queues[id].file == file)
    }

    /// Whether nothing was entered since the last sync of the file came, so that this one waits for that one only.
    pub fn depends_on_last_only(&self, file: FileKey, entered: u64) -> bool {
        self.queue_of(file).is_some_and(|id| self.queues[id].entered == entered)
    }

    // ---- dependencies ----

    /// Adds a record to a list of dependencies. Error: ENOMEM.
    fn depend_on(&mut self, list: &mut Id, record: Record) -> Result<()> {
        self.dependencies.reserve(1)?;
        *list = self.dependencies.insert(Dependency { record, next: *list });
        Ok(())
    }

    /// Lists what was submitted before on the sync's file. False: something was left out, as it is being submitted by a call that
    /// a signal handler has interrupted, which is the caller. Error: ENOMEM; nothing is listed.
    pub fn find_dependencies(&mut self, contexts: &Contexts, sync: &mut Deferred) -> Result<bool> {
        let (mut same, mut complete) = (SameFile::new(sync.fd.number, sync.file), true);
        for (record, on) in
            contexts.all_in_flight().filter(|in_flight| !in_flight.is_idle()).flat_map(InFlight::records)
        {
            if !record.is_older_than(sync.seq) || !same.is_on(on) {
                continue;
            }
            if contexts.submitters.is_under_way_here(&record) {
                complete = false;
                continue;
            }
            // One whose file is not known is listed for every file.
            if (on == Target::Unknown || record.list())
                && let Err(error) = self.depend_on(&mut sync.dependencies, record)
            {
                record.unlist();
                self.drop_dependencies(sync);
                return Err(error);
            }
        }
        Ok(complete)
    }

    /// Neither this sync nor those behind it depend on these records any more.
    pub fn drop_dependencies(&mut self, sync: &mut Deferred) {
        while sync.dependencies != NONE {
            let cover = self.dependencies.remove(sync.dependencies);
            cover.record.unlist();
            sync.dependencies = cover.next;
        }
    }

    /// Whether all that a sync covers itself has ended in the kernel. What has is not looked at again.
    fn drain(dependencies: &mut Slab<Dependency>, sync: &mut Deferred) -> bool {
        while sync.dependencies != NONE {
            if !dependencies[sync.dependencies].record.has_ended() {
                return false;
            }
            sync.dependencies = dependencies.remove(sync.dependencies).next;
        }
        true
    }

    /// The same for one that is not in a slot yet.
    pub fn are_met(&mut self, sync: &mut Deferred) -> bool {
        Syncs::drain(&mut self.dependencies, sync)
    }

    /// What a sync has to wait for in the other interface: requests on its file up to this number. None: nothing.
    pub fn posix_dependency(&self, id: Id) -> Option<(FileKey, u64)> {
        let sync = self.slots.get(id).filter(|sync| !sync.ending)?;
        sync.posix.map(|newest| (sync.file, newest))
    }

    /// They have ended.
    pub fn posix_is_met(&mut self, id: Id) {
        if let Some(sync) = self.slots.get_mut(id) {
            sync.posix = None;
        }
    }

    /// Whether all in the kernel that a sync waits for, beside the syncs before it, has ended.
    pub fn drain_slot(&mut self, id: Id) -> bool {
        self.slots.get_mut(id).is_some_and(|sync| Syncs::drain(&mut self.dependencies, sync))
    }

    // ---- queues ----

    /// Takes a sync in, behind those of its file. `reserve` made the room.
    pub fn insert(&mut self, mut sync: Deferred, now: Nanos, entered: Option<u64>) -> Id {
        let queue = self.queue_of(sync.file).unwrap_or_else(|| self.insert_queue(sync.file, now));
        let before = self.queues[queue].last;
        (sync.queue, sync.before, sync.behind) = (queue, before, NONE);
        let id = self.slots.insert(sync);
        match self.slots.get_mut(before) {
            Some(before) => before.behind = id,
            None => self.queues[queue].first = id,
        }
        self.queues[queue].last = id;
        self.queues[queue].entered = entered.unwrap_or(STALE);
        id
    }

    fn insert_queue(&mut self, file: FileKey, now: Nanos) -> Id {
        let behind = self.first_queue;
        let made = Queue { file, first: NONE, last: NONE, since: now, entered: STALE, before: NONE, behind };
        let id = self.queues.insert(made);
        if let Some(behind) = self.queues.get_mut(behind) {
            behind.before = id;
        }
        self.first_queue = id;
        self.queue_count += 1;
        self.by_file.insert(key(file), id);
        id
    }

    /// Takes a sync out. `record`: it is in flight as this, and the one behind it covers that.
    pub fn remove(&mut self, id: Id, now: Nanos, record: Option<Record>) -> Deferred {
        let mut sync = self.slots.remove(id);
        self.ending -= usize::from(sync.ending);
        sync.fd.release(&mut self.duplicates);
        sync.eventfd.as_mut().into_iter().for_each(|eventfd| eventfd.release(&mut self.duplicates));
        self.hand_on(&mut sync, record);
        let (queue, before, behind) = (sync.queue, sync.before, sync.behind);
        match self.slots.get_mut(before) {
            Some(before) => before.behind = behind,
            None => {
                self.queues[queue].first = behind;
                self.queues[queue].since = now;
            }
        }
        match self.slots.get_mut(behind) {
            Some(behind) => behind.before = before,
            None => self.queues[queue].last = before,
        }
        if self.queues[queue].first == NONE {
            self.remove_queue(queue);
        }
        sync
    }

    /// The sync behind takes over the dependencies of one that is taken out, and depends on its `record`.
    fn hand_on(&mut self, sync: &mut Deferred, record: Option<Record>) {
        let Some(heir) = self.slots.get(sync.behind).map(|heir| heir.dependencies) else {
            if sync.dependencies != NONE {
                // The next one has to search again.
                self.queues[sync.queue].entered = STALE;
                self.drop_dependencies(sync);
            }
            return;
        };
        let mut list = heir;
        while sync.dependencies != NONE {
            let id = sync.dependencies;
            sync.dependencies = std::mem::replace(&mut self.dependencies[id].next, list);
            list = id;
        }
        if let Some(record) = record {
            record.list();
            // `reserve_dependency` made the room.
            list = self.dependencies.insert(Dependency { record, next: list });
        }
        self.slots[sync.behind].dependencies = list;
    }

    /// So that `remove` can have the one behind a sync cover it. Error: ENOMEM.
    pub fn reserve_dependency(&mut self) -> Result<()> {
        self.dependencies.reserve(1)
    }

    fn remove_queue(&mut self, id: Id) {
        let queues = &self.queues;
        self.by_file.remove(key(queues[id].file), id, |id| key(queues[id].file));
        let queue = self.queues.remove(id);
        match self.queues.get_mut(queue.before) {
            Some(before) => before.behind = queue.behind,
            None => self.first_queue = queue.behind,
        }
        if let Some(behind) = self.queues.get_mut(queue.behind) {
            behind.before = queue.before;
        }
        self.queue_count -= 1;
    }

    pub fn first_queue(&self) -> Id {
        self.first_queue
    }

    pub fn queue_behind(&self, queue: Id) -> Id {
        self.queues.get(queue).map_or(NONE, |queue| queue.behind)
    }

    /// The first sync of a queue, and since when it is. None: the queue is gone.
    pub fn first_of(&self, queue: Id) -> Option<(Id, Nanos)> {
        self.queues.get(queue).map(|queue| (queue.first, queue.since))
    }

    /// Whether it waits for the program to show who takes its event.
    pub fn is_undecided(&self, id: Id) -> bool {
        self.slots.get(id).is_some_and(|sync| sync.ready_since.is_some() && !sync.full)
    }

    pub fn behind(&self, id: Id) -> Id {
        self.slots.get(id).map_or(NONE, |sync| sync.behind)
    }

    // ---- descriptors ----

    /// The program is about to close these numbers. Error: EMFILE, ENFILE, ENOMEM: something is not kept yet.
    pub fn keep_descriptors(&mut self, is_closed: impl Fn(c_int) -> bool) -> Result<()> {
        let mut done = Ok(());
        for id in self.ids() {
            let Some(sync) = self.slots.get_mut(id) else { continue };
            let file = Some(sync.file);
            for (handle, file) in [(Some(&mut sync.fd), file), (sync.eventfd.as_mut(), None)] {
                if let Some(handle) = handle.filter(|handle| handle.is_programs() && is_closed(handle.number)) {
                    done = done.and(handle.leave_number(&mut self.duplicates, file));
                }
            }
        }
        duplicates::forget_numbers(&mut self.duplicates);
        done
    }
}

impl Deferred {
    pub fn new(in_flight: &'static InFlight, block: *mut iocb, copy: &iocb, file: FileKey, seq: u64) -> Deferred {
        Deferred {
            in_flight,
            generation: in_flight.reaping.generation(),
            block,
            copy: *copy,
            fd: Handle::new(copy.aio_fildes),
            eventfd: copy.eventfd().map(Handle::new),
            file,
            seq,
            ready_since: None,
            ending: false,
            full: false,
            posix: None,
            dependencies: NONE,
            queue: NONE,
            before: NONE,
            behind: NONE,
        }
    }

    pub fn after_posix(self, newest: Option<u64>) -> Deferred {
        Deferred { posix: newest, ..self }
    }

    pub fn waits_for_posix(&self) -> bool {
        self.posix.is_some()
    }

    /// Whether it was submitted to this context (any, if None), with a number up to this one.
    pub fn is_of(&self, context: Option<u64>, newest: u64) -> bool {
        context.is_none_or(|context| self.in_flight.address() == context) && self.seq <= newest
    }

    /// Whether its context is what it was.
    pub fn has_its_context(&self) -> bool {
        self.in_flight.reaping.generation() == self.generation
    }
}

/// Tells which descriptors refer to a file. The last ones asked for are remembered, which saves a system call for each record.
struct SameFile {
    fd: c_int,
    file: FileKey,
    others: [Option<(c_int, bool)>; SameFile::REMEMBERED],
    next: usize,
}

impl SameFile {
    const REMEMBERED: usize = 16;

    fn new(fd: c_int, file: FileKey) -> SameFile {
        SameFile { fd, file, others: [None; SameFile::REMEMBERED], next: 0 }
    }

    fn is_on(&mut self, on: Target) -> bool {
        match on {
            Target::Descriptor(fd) if fd == self.fd => true,
            Target::Descriptor(fd) => self.is_same(fd),
            Target::File(file) => file == self.file,
            Target::Unknown => true,
        }
    }

    fn is_same(&mut self, fd: c_int) -> bool {
        if let Some((_, same)) = self.others.iter().flatten().find(|(other, _)| *other == fd) {
            return *same;
        }
        let same = duplicates::file_of(fd) == Ok(self.file);
        if let Some(place) = self.others.get_mut(self.next % SameFile::REMEMBERED) {
            *place = Some((fd, same));
        }
        self.next += 1;
        same
    }
}
