//! POSIX AIO as a C program uses it: by the symbols of libc, which a preloaded library replaces.
//!
//! A [`Request`] owns its aiocb and its buffer and waits for them before it frees them.

use crate::figures::aio_rs_stats;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::{self, NonNull};

/// Direct I/O needs aligned memory. A page is enough everywhere.
const ALIGNMENT: usize = 4096;

pub struct Request {
    // Pointers, not a reference or a Box: other threads write to both while a request is in flight.
    block: NonNull<libc::aiocb>,
    buffer: NonNull<u8>,
    layout: Layout,
}

impl Request {
    pub fn new(size: usize) -> Request {
        let layout = Layout::from_size_align(size.max(1), ALIGNMENT).expect("a small size");
        // SAFETY: the layout's size is not 0.
        let buffer = unsafe { alloc_zeroed(layout) };
        let buffer = NonNull::new(buffer).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: an aiocb of zeros is valid; C programs begin with one.
        let block = Box::new(unsafe { std::mem::zeroed::<libc::aiocb>() });
        Request { block: NonNull::from(Box::leak(block)), buffer, layout }
    }

    /// The data. Waits until no request is in flight.
    pub fn data(&mut self) -> &mut [u8] {
        self.wait();
        // SAFETY: `buffer` has this size and is initialised. No request is in flight, and none can start during the borrow.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.as_ptr(), self.layout.size()) }
    }

    pub fn read(&mut self, file: BorrowedFd, offset: usize) -> Result<()> {
        self.prepare(file, offset, 0);
        // SAFETY: aiocb and buffer live until the request has ended (`drop` waits).
        check(unsafe { libc::aio_read(self.block.as_ptr()) })
    }

    /// `priority` as in `aio_reqprio`: a higher one is less urgent.
    pub fn write(&mut self, file: BorrowedFd, offset: usize, priority: i32) -> Result<()> {
        self.prepare(file, offset, priority);
        // SAFETY: as for `read`.
        check(unsafe { libc::aio_write(self.block.as_ptr()) })
    }

    /// A write that fails with EFAULT: its buffer is an address without memory.
    pub fn bad_write(&mut self, file: BorrowedFd, offset: usize) -> Result<()> {
        self.prepare(file, offset, 0);
        // SAFETY: nothing is in flight, so the aiocb is ours. The kernel checks the address and refuses it.
        unsafe {
            (*self.block.as_ptr()).aio_buf = ptr::without_provenance_mut(usize::MAX - ALIGNMENT + 1);
            check(libc::aio_write(self.block.as_ptr()))
        }
    }

    pub fn fsync(&mut self, file: BorrowedFd) -> Result<()> {
        self.prepare(file, 0, 0);
        // SAFETY: as for `read`.
        check(unsafe { libc::aio_fsync(libc::O_SYNC, self.block.as_ptr()) })
    }

    pub fn pending(&self) -> bool {
        // SAFETY: the aiocb is alive. Before the first request it is zeroed, which aio_error takes as well.
        unsafe { libc::aio_error(self.block.as_ptr()) == libc::EINPROGRESS }
    }

    pub fn wait(&self) {
        while self.pending() {
            wait_any(&[self.handle()]);
        }
    }

    /// Waits, then returns the count, or the error the request ended with.
    pub fn result(&mut self) -> Result<usize> {
        self.wait();
        // SAFETY: the aiocb is alive and its request has ended.
        let (error, count) = unsafe { (libc::aio_error(self.block.as_ptr()), libc::aio_return(self.block.as_ptr())) };
        if error != 0 {
            return Err(Error::from_raw_os_error(error));
        }
        usize::try_from(count).map_err(|_| Error::other("aio_return is negative and aio_error is 0"))
    }

    /// For [`wait_any`].
    pub fn handle(&self) -> *const libc::aiocb {
        self.block.as_ptr()
    }

    fn prepare(&mut self, file: BorrowedFd, offset: usize, priority: i32) {
        self.wait();
        // SAFETY: nothing is in flight, so the aiocb is ours.
        let block = unsafe { self.block.as_mut() };
        block.aio_fildes = file.as_raw_fd() as RawFd;
        block.aio_offset = offset.try_into().expect("offsets inside the file");
        block.aio_reqprio = priority;
        block.aio_buf = self.buffer.as_ptr().cast();
        block.aio_nbytes = self.layout.size();
        block.aio_sigevent.sigev_notify = libc::SIGEV_NONE;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.wait();
        // SAFETY: both came from the allocator with these layouts, and nothing is in flight.
        unsafe {
            dealloc(self.buffer.as_ptr(), self.layout);
            drop(Box::from_raw(self.block.as_ptr()));
        }
    }
}

/// `aio_suspend`: returns when one of them has ended, or a signal handler has run.
pub fn wait_any(requests: &[*const libc::aiocb]) {
    let count = requests.len().try_into().expect("a short list");
    // SAFETY: every entry is the aiocb of a live `Request`.
    unsafe { libc::aio_suspend(requests.as_ptr(), count, ptr::null()) };
}

/// The address that a name has in this process.
pub fn symbol(name: &CStr) -> Option<NonNull<libc::c_void>> {
    // SAFETY: the name ends in NUL.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

/// The version of aio_rs, if it is loaded in this process.
pub fn library_version() -> Option<String> {
    type Version = unsafe extern "C" fn() -> *const libc::c_char;
    // SAFETY: the symbol, if there is one, has this type.
    let version = unsafe { std::mem::transmute::<NonNull<libc::c_void>, Version>(symbol(c"aio_rs_version")?) };
    // SAFETY: it returns a string that lives for ever.
    let text = unsafe { CStr::from_ptr(version()) };
    Some(text.to_string_lossy().into_owned())
}

/// How many requests aio_rs has served so far inside the call, by the kernel's AIO, by its poller and by its workers.
pub fn library_routes() -> Option<[u64; 4]> {
    type Query = unsafe extern "C" fn(*mut aio_rs_stats, usize) -> libc::c_int;
    let mut stats = aio_rs_stats::default();
    let query = symbol(c"aio_rs_stats")?;
    // SAFETY: the function has this type, and stores no more bytes than the size that it is given.
    let done = unsafe {
        std::mem::transmute::<NonNull<libc::c_void>, Query>(query)(&raw mut stats, size_of::<aio_rs_stats>())
    };
    (done == 0).then_some([stats.route_inline, stats.route_direct, stats.route_stream, stats.route_worker])
}

fn check(result: libc::c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
