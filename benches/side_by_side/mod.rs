//! What the benchmarks share: aio_rs beside libc in one process, each opened with dlopen and called through its own symbols,
//! so that neither answers for the other; and files in memory, so that no disk takes part.
#![allow(dead_code)] // each benchmark uses its part

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use libc::{aiocb, c_int, c_void};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

pub type Submit = unsafe extern "C" fn(*mut aiocb) -> c_int;
pub type Fsync = unsafe extern "C" fn(c_int, *mut aiocb) -> c_int;
pub type Error = unsafe extern "C" fn(*const aiocb) -> c_int;
pub type Return = unsafe extern "C" fn(*mut aiocb) -> isize;
pub type Suspend = unsafe extern "C" fn(*const *const aiocb, c_int, *const libc::timespec) -> c_int;
pub type Listio = unsafe extern "C" fn(c_int, *const *mut aiocb, c_int, *mut libc::sigevent) -> c_int;

/// One implementation of POSIX AIO.
pub struct Library {
    pub name: &'static str,
    pub read: Submit,
    pub write: Submit,
    pub fsync: Fsync,
    pub error: Error,
    pub result: Return,
    pub suspend: Suspend,
    pub listio: Listio,
}

impl Library {
    pub fn open(name: &'static str, path: &CStr) -> Library {
        // SAFETY: the path ends in NUL; the library's initialization asks nothing of its opener.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "cannot open {}", path.to_string_lossy());
        macro_rules! symbol {
            ($symbol:literal, $type:ty) => {{
                // SAFETY: the handle is open, the name ends in NUL.
                let address = unsafe { libc::dlsym(handle, $symbol.as_ptr()) };
                assert!(!address.is_null(), "{} lacks {:?}", path.to_string_lossy(), $symbol);
                // SAFETY: POSIX declares the function of this name with this type.
                unsafe { std::mem::transmute::<*mut c_void, $type>(address) }
            }};
        }
        Library {
            name,
            read: symbol!(c"aio_read", Submit),
            write: symbol!(c"aio_write", Submit),
            fsync: symbol!(c"aio_fsync", Fsync),
            error: symbol!(c"aio_error", Error),
            result: symbol!(c"aio_return", Return),
            suspend: symbol!(c"aio_suspend", Suspend),
            listio: symbol!(c"lio_listio", Listio),
        }
    }
}

/// `AIO_RS_LIBRARY`, or the one that cargo has built for this benchmark.
pub fn aio_rs_path() -> PathBuf {
    let named = std::env::var_os("AIO_RS_LIBRARY").map(PathBuf::from);
    named.unwrap_or_else(|| {
        let executable = std::env::current_exe().expect("this executable has a path");
        executable.with_file_name("libaio_rs.so")
    })
}

/// An aiocb and its buffer; the request must have ended when it is dropped.
pub struct Request {
    // Raw: other threads write to it.
    pub block: *mut aiocb,
    pub buffer: Vec<u8>,
}

impl Request {
    pub fn new(file: &File, offset: usize, size: usize) -> Request {
        let mut buffer = vec![1_u8; size];
        // SAFETY: an aiocb of zeros is valid.
        let mut block: aiocb = unsafe { std::mem::zeroed() };
        block.aio_fildes = file.as_raw_fd();
        block.aio_offset = offset as i64;
        block.aio_buf = buffer.as_mut_ptr().cast();
        block.aio_nbytes = size;
        block.aio_sigevent.sigev_notify = libc::SIGEV_NONE;
        Request { block: Box::into_raw(Box::new(block)), buffer }
    }

    /// Only while no request is in flight.
    pub fn block(&mut self) -> &mut aiocb {
        // SAFETY: alive as long as `self`, and nobody else uses it now.
        unsafe { &mut *self.block }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: it came from `Box::into_raw`.
        drop(unsafe { Box::from_raw(self.block) });
    }
}

/// As many requests of one size, at adjoining offsets of one file.
pub struct Batch {
    pub requests: Vec<Request>,
    pub pointers: Vec<*mut aiocb>,
}

impl Batch {
    pub fn new(count: usize, size: usize, file: &File) -> Batch {
        let request = |index| Request::new(file, index * size, size);
        let requests: Vec<_> = (0..count).map(request).collect();
        let pointers = requests.iter().map(|request| request.block).collect();
        Batch { requests, pointers }
    }

    pub fn for_lists(mut self, opcode: c_int) -> Batch {
        self.requests.iter_mut().for_each(|request| request.block().aio_lio_opcode = opcode);
        self
    }

    pub fn event(&mut self) -> &mut libc::sigevent {
        &mut self.requests[0].block().aio_sigevent
    }
}

impl Library {
    pub fn submitted(&self, result: c_int) {
        assert_eq!(result, 0, "{}: {}", self.name, std::io::Error::last_os_error());
    }

    pub fn read(&self, block: *mut aiocb) {
        // SAFETY: block and buffer belong to a `Request` that outlives the request.
        self.submitted(unsafe { (self.read)(block) });
    }

    pub fn write(&self, block: *mut aiocb) {
        // SAFETY: as for `read`.
        self.submitted(unsafe { (self.write)(block) });
    }

    pub fn fsync(&self, block: *mut aiocb) {
        // SAFETY: as for `read`.
        self.submitted(unsafe { (self.fsync)(libc::O_SYNC, block) });
    }

    pub fn pending(&self, block: *mut aiocb) -> bool {
        // SAFETY: the block is alive.
        unsafe { (self.error)(block) == libc::EINPROGRESS }
    }

    /// Waits asleep.
    pub fn suspend(&self, block: *mut aiocb) {
        while self.pending(block) {
            let list = [block.cast_const()];
            // SAFETY: the block is alive.
            unsafe { (self.suspend)(list.as_ptr(), 1, ptr::null()) };
        }
    }

    pub fn finish(&self, block: *mut aiocb, expected: usize) {
        // SAFETY: the block is alive and its request has ended.
        let count = unsafe { (self.result)(block) };
        assert_eq!(usize::try_from(count), Ok(expected), "{}", self.name);
    }

    pub fn finish_all(&self, batch: &Batch) {
        for (request, &block) in batch.requests.iter().zip(&batch.pointers) {
            self.suspend(block);
            self.finish(block, request.buffer.len());
        }
    }
}

pub fn memory_file(size: usize) -> File {
    // SAFETY: the name ends in NUL.
    let fd = unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(&vec![0; size]).expect("memory for the file");
    file
}

/// A file of a file system with a page cache; nothing is left of it when it is closed.
pub fn disk_file(size: usize) -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aio_rs-bench");
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
    std::fs::remove_file(&path).expect("the file is there");
    file.write_all(&vec![0; size]).expect("room for the file");
    file
}

pub fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (File::from(std::os::fd::OwnedFd::from(reader)), File::from(std::os::fd::OwnedFd::from(writer)))
}

pub type Group<'a> = BenchmarkGroup<'a, WallTime>;
pub type Kind = fn(&mut Group, &Library);

pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    group
}

/// Blocks a signal in this thread, for sigwaitinfo, and returns the set of it.
pub fn block(number: c_int) -> libc::sigset_t {
    // SAFETY: the set is initialized by sigemptyset.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, number);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        set
    }
}

/// The libc crate does not name the union that holds sigev_notify_function.
pub fn set_callback(event: &mut libc::sigevent, function: extern "C" fn(libc::sigval)) {
    let union = std::mem::offset_of!(libc::sigevent, sigev_notify_thread_id).next_multiple_of(8);
    // SAFETY: Linux's sigevent has the function pointer where the thread id is, inside its 64 bytes.
    unsafe { (&raw mut *event).byte_add(union).cast::<extern "C" fn(libc::sigval)>().write(function) };
}

/// aio_rs and libc.
pub fn libraries() -> [Library; 2] {
    let path = CString::new(aio_rs_path().into_os_string().into_encoded_bytes()).expect("no NUL");
    [Library::open("aio_rs", &path), Library::open("libc", c"libc.so.6")]
}
