//! The engine: made at the first call, replaced in a child process, never destroyed.

use std::cell::UnsafeCell;
use std::fmt::Write;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

use lock_api::{Mutex, MutexGuard};

use crate::callback_pool::Callbacks;
use crate::config::{self, Config};
use crate::figures::{Slot, aio_rs_stats};
use crate::lock_free::LockFree;
use crate::order::Policy;
use crate::ring_owner::RingOwner;
use crate::sys::descriptor::Duplicates;
use crate::sys::errno::{Errno, Result};
use crate::sys::fork::{self, Mark};
use crate::sys::kaio::Context;
use crate::sys::owned_lock::OwnedLock;
use crate::sys::park::Parker;
use crate::sys::poller::Poller;
use crate::sys::signals::Blocked;
use crate::sys::stderr::{self, Message};
use crate::sys::{environment, memory, thread, tools, wait};
use crate::table::{self, Table};
use crate::{load, stats};

pub struct Engine {
    table: Mutex<OwnedLock, Table>,
    pub poller: Poller,
    pub kernel: Context,
    pub callbacks: Callbacks,
    /// Where the starter sleeps.
    pub starter: Parker,
    pub duplicates: Duplicates,
    pub lock_free: &'static LockFree,
    pub ring_owner: &'static RingOwner,
    /// How long an idle worker waits, in milliseconds: the table's, for those who do not hold it.
    pub idle_ms: AtomicU64,
    mark: Mark,
    /// Whether reads may be served inside the call.
    pub inline: bool,
    pub figures: &'static Slot,
    /// `fsync=strict`: aio_fsync demands a descriptor open for writing.
    pub fsync_needs_write: bool,
    /// Calls do all the work themselves (`route::threadless`).
    pub threadless: bool,
    /// The process that made it; a child of vfork shares the memory, but not the descriptors.
    pub process: i32,
}

/// The table, locked by a library thread.
pub type Locked = MutexGuard<'static, OwnedLock, Table>;

static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(ptr::null_mut());

impl Engine {
    /// The engine of this process, made now if there is none. Error: EAGAIN, out of memory.
    pub fn get() -> Result<&'static Engine> {
        match Engine::current() {
            Some(engine) => Ok(engine),
            None => Engine::create(),
        }
    }

    /// The engine of this process, if it has one.
    pub fn current() -> Option<&'static Engine> {
        // Acquire: pairs with the store in `create`.
        let engine = ENGINE.load(Ordering::Acquire);
        // SAFETY: an engine is never freed.
        let known = unsafe { engine.as_ref() }?;
        if known.mark.is_ours() {
            return Some(known);
        }
        forget(engine);
        None
    }

    /// False: this is a child of the process that it belongs to.
    pub fn is_current(&self) -> bool {
        Engine::current().is_some_and(|current| ptr::eq(current, self))
    }

    #[cold]
    fn create() -> Result<&'static Engine> {
        let threadless = !fork::may_make_threads();
        let config = if threadless { configuration().without_threads() } else { configuration() };
        let mark = Mark::new().map_err(|_| Errno::AGAIN)?;
        let lock_free = LockFree::new().map_err(|_| Errno::AGAIN)?;
        // Not a Box: without memory that would end the process.
        let place = memory::map(size_of::<Engine>()).map_err(|_| Errno::AGAIN)?.cast::<Engine>();
        let new = place.as_ptr();
        let engine = Engine {
            table: Mutex::new(Table::new(config, lock_free)),
            lock_free,
            ring_owner: &lock_free.ring_owner,
            idle_ms: AtomicU64::new(config.idle_ms),
            poller: Poller::new(),
            kernel: Context::new(config.routes.direct && !tools::is_valgrind()),
            callbacks: Callbacks::new(&config),
            starter: Parker::new(),
            duplicates: Duplicates::new(),
            mark,
            figures: stats::slot(),
            inline: config.routes.inline && config.order != Policy::Strict,
            fsync_needs_write: config.fsync_needs_write,
            threadless,
            process: thread::process_id(),
        };
        // SAFETY: the mapping is large enough, and begins at a page.
        unsafe { place.write(engine) };
        // AcqRel: publishes the engine, or sees another thread's. Pairs with the load in `current`.
        match ENGINE.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it was just made, and is never freed.
            Ok(_) => Ok(unsafe { &*new }),
            Err(other) => {
                // SAFETY: nobody has seen the new one. The other one is never freed.
                unsafe {
                    place.drop_in_place();
                    memory::unmap(place.cast(), size_of::<Engine>());
                    Ok(&*other)
                }
            }
        }
    }

    /// Locks the table in a thread whose signals are all blocked: a library thread's, or under `Caller`.
    pub fn lock(&'static self) -> Locked {
        self.table.lock()
    }

    /// Whether this very thread holds the lock: then an interposed function has called from within.
    pub fn is_locked_by_caller(&self) -> bool {
        // SAFETY: the lock is only looked at.
        unsafe { self.table.raw() }.is_mine()
    }
}

/// A caller's thread inside the library, its signals blocked: a handler cannot find the table locked by its own thread.
pub struct Caller {
    pub engine: &'static Engine,
    _blocked: Blocked,
}

impl Caller {
    /// None: a signal handler has forked since `engine` was looked up, and this is the child. The engine is its parent's,
    /// and whoever held its lock is not here to release it.
    pub fn enter(engine: &'static Engine) -> Option<Caller> {
        let caller = Caller { engine, _blocked: Blocked::all() };
        engine.is_current().then_some(caller)
    }

    /// Locks the table, with all in it that was submitted so far.
    pub fn lock(&self) -> Locked {
        let mut table = self.engine.lock();
        table.take_submissions();
        table
    }
}

/// Read once in the life of a program; children of fork keep it.
pub fn configuration() -> Config {
    static KNOWN: Known = Known { state: AtomicU8::new(UNREAD), config: UnsafeCell::new(Config::DEFAULT) };
    // Acquire: pairs with the Release below.
    match KNOWN.state.compare_exchange(UNREAD, BEING_READ, Ordering::Acquire, Ordering::Acquire) {
        Ok(_) => {}
        // SAFETY: it is not written any more.
        Err(READ) => return unsafe { *KNOWN.config.get() },
        // Not waited for: this may be a handler that has interrupted the thread that reads it.
        Err(_) => return Config::from_environment(|_, _| ()),
    }
    let config = Config::from_environment(config::complain);
    thread::at_fork_in_child(forget_parent);
    fork::handler_is_registered();
    load::stay();
    // The command prints what it shares with the program.
    if config.stats && stats::segment().is_none() {
        environment::at_exit(print_stats);
    }
    // SAFETY: only the thread that made the exchange comes here, and nobody looks before the store.
    unsafe { *KNOWN.config.get() = config };
    KNOWN.state.store(READ, Ordering::Release);
    config
}

struct Known {
    state: AtomicU8,
    config: UnsafeCell<Config>,
}

// SAFETY: see `configuration`.
unsafe impl Sync for Known {}

const UNREAD: u8 = 0;
const BEING_READ: u8 = 1;
const READ: u8 = 2;

/// After fork: the parent's requests, threads and lock stay the parent's. The child starts anew.
extern "C" fn forget_parent() {
    fork::handler_runs();
    let engine = ENGINE.load(Ordering::Acquire);
    // SAFETY: an engine is never freed.
    if unsafe { engine.as_ref() }.is_some() {
        forget(engine);
    }
    stats::forget_parent();
}

fn forget(engine: *mut Engine) {
    // A handler would make the child's own in between.
    let _blocked = Blocked::all();
    if ENGINE.compare_exchange(engine, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        table::forget_parent();
        wait::reset_in_child();
        stats::forget_parent();
        // SAFETY: an engine is never freed.
        let parents = unsafe { &*engine };
        parents.poller.close();
        parents.duplicates.close_all();
    }
}

/// The figures so far; zeroes before the first request.
pub fn stats() -> aio_rs_stats {
    // Under the lock they are all of one moment.
    let _locked = Engine::current().and_then(Caller::enter).map(|caller| (caller.lock(), caller));
    stats::current().map_or_else(aio_rs_stats::default, Slot::read)
}

extern "C" fn print_stats() {
    let counts = stats();
    if !counts.any() {
        return;
    }
    let mut text = Message::<2048>::new();
    let _ = write!(text, "{counts}");
    stderr::write(text.bytes(), stderr::AT_EXIT);
}
