//! What one request costs: aio_rs beside libc, both in this process.
//!
//! Each library is opened with dlopen and called through its own symbols, so that neither answers for the other. The
//! files are in memory (memfd): what is measured is the library, not a disk.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use libc::{aiocb, c_int, c_void};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;
use std::ptr;
use std::time::{Duration, Instant};

type Submit = unsafe extern "C" fn(*mut aiocb) -> c_int;
type Fsync = unsafe extern "C" fn(c_int, *mut aiocb) -> c_int;
type Error = unsafe extern "C" fn(*const aiocb) -> c_int;
type Return = unsafe extern "C" fn(*mut aiocb) -> isize;
type Suspend = unsafe extern "C" fn(*const *const aiocb, c_int, *const libc::timespec) -> c_int;
type Listio = unsafe extern "C" fn(c_int, *const *mut aiocb, c_int, *mut libc::sigevent) -> c_int;

/// One implementation of POSIX AIO.
struct Library {
    name: &'static str,
    read: Submit,
    write: Submit,
    fsync: Fsync,
    error: Error,
    result: Return,
    suspend: Suspend,
    listio: Listio,
}

impl Library {
    fn open(name: &'static str, path: &CStr) -> Library {
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
fn aio_rs_path() -> PathBuf {
    let named = std::env::var_os("AIO_RS_LIBRARY").map(PathBuf::from);
    named.unwrap_or_else(|| {
        let executable = std::env::current_exe().expect("this executable has a path");
        executable.with_file_name("libaio_rs.so")
    })
}

/// An aiocb and its buffer; the request must have ended when it is dropped.
struct Request {
    // Raw: other threads write to it.
    block: *mut aiocb,
    buffer: Vec<u8>,
}

impl Request {
    fn new(file: &File, offset: usize, size: usize) -> Request {
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
    fn block(&mut self) -> &mut aiocb {
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
struct Batch {
    requests: Vec<Request>,
    pointers: Vec<*mut aiocb>,
}

impl Batch {
    fn new(count: usize, size: usize, file: &File) -> Batch {
        let request = |index| Request::new(file, index * size, size);
        let requests: Vec<_> = (0..count).map(request).collect();
        let pointers = requests.iter().map(|request| request.block).collect();
        Batch { requests, pointers }
    }

    fn for_lists(mut self, opcode: c_int) -> Batch {
        self.requests.iter_mut().for_each(|request| request.block().aio_lio_opcode = opcode);
        self
    }

    fn event(&mut self) -> &mut libc::sigevent {
        &mut self.requests[0].block().aio_sigevent
    }
}

impl Library {
    fn submitted(&self, result: c_int) {
        assert_eq!(result, 0, "{}: {}", self.name, std::io::Error::last_os_error());
    }

    fn read(&self, block: *mut aiocb) {
        // SAFETY: block and buffer belong to a `Request` that outlives the request.
        self.submitted(unsafe { (self.read)(block) });
    }

    fn write(&self, block: *mut aiocb) {
        // SAFETY: as for `read`.
        self.submitted(unsafe { (self.write)(block) });
    }

    fn fsync(&self, block: *mut aiocb) {
        // SAFETY: as for `read`.
        self.submitted(unsafe { (self.fsync)(libc::O_SYNC, block) });
    }

    fn pending(&self, block: *mut aiocb) -> bool {
        // SAFETY: the block is alive.
        unsafe { (self.error)(block) == libc::EINPROGRESS }
    }

    /// Waits asleep.
    fn suspend(&self, block: *mut aiocb) {
        while self.pending(block) {
            let list = [block.cast_const()];
            // SAFETY: the block is alive.
            unsafe { (self.suspend)(list.as_ptr(), 1, ptr::null()) };
        }
    }

    fn finish(&self, block: *mut aiocb, expected: usize) {
        // SAFETY: the block is alive and its request has ended.
        let count = unsafe { (self.result)(block) };
        assert_eq!(usize::try_from(count), Ok(expected), "{}", self.name);
    }

    fn finish_all(&self, batch: &Batch) {
        for (request, &block) in batch.requests.iter().zip(&batch.pointers) {
            self.suspend(block);
            self.finish(block, request.buffer.len());
        }
    }
}

fn memory_file(size: usize) -> File {
    // SAFETY: the name ends in NUL.
    let fd = unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(&vec![0; size]).expect("memory for the file");
    file
}

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (File::from(std::os::fd::OwnedFd::from(reader)), File::from(std::os::fd::OwnedFd::from(writer)))
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;
type Kind = fn(&mut Group, &Library);

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    group
}

/// The calls of aio_read alone; what they started is waited for outside the measured time.
fn submission(group: &mut Group, library: &Library) {
    const COUNT: usize = 64;
    let file = memory_file(COUNT * 4096);
    let batch = Batch::new(COUNT, 4096, &file);
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function(library.name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let start = Instant::now();
                batch.pointers.iter().for_each(|&block| library.read(block));
                spent += start.elapsed();
                library.finish_all(&batch);
            }
            spent
        })
    });
}

/// From aio_write to its end, for a caller that watches the status.
fn completion(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let batch = Batch::new(1, 512, &file);
    let block = batch.pointers[0];
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.write(block);
            while library.pending(block) {
                std::hint::spin_loop();
            }
            library.finish(block, 512);
        })
    });
}

/// From aio_read to its end, for a caller that sleeps in aio_suspend.
fn round_trip(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let batch = Batch::new(1, 4096, &file);
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.read(batch.pointers[0]);
            library.finish_all(&batch);
        })
    });
}

/// From a byte's arrival in a pipe to the return of aio_suspend on the read that waits for it.
fn wake_up(group: &mut Group, library: &Library) {
    let (reader, mut writer) = pipe();
    let batch = Batch::new(1, 1, &reader);
    group.bench_function(library.name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                library.read(batch.pointers[0]);
                let start = Instant::now();
                writer.write_all(b"x").expect("the pipe has room");
                library.finish_all(&batch);
                spent += start.elapsed();
            }
            spent
        })
    });
}

/// An aio_fsync that has nothing to wait for.
fn fsync_alone(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let batch = Batch::new(1, 0, &file);
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.fsync(batch.pointers[0]);
            library.finish_all(&batch);
        })
    });
}

/// So many writes of 512 bytes on one descriptor, an aio_fsync behind them, and the wait for it.
fn queue(group: &mut Group, library: &Library, count: usize) {
    let file = memory_file(count * 512);
    let batch = Batch::new(count, 512, &file);
    let sync = Batch::new(1, 0, &file);
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(BenchmarkId::new(library.name, count), |bencher| {
        bencher.iter(|| {
            batch.pointers.iter().for_each(|&block| library.write(block));
            library.fsync(sync.pointers[0]);
            library.finish_all(&sync);
            library.finish_all(&batch);
        })
    });
}

/// lio_listio that waits for a list of reads.
fn list(group: &mut Group, library: &Library) {
    const COUNT: usize = 32;
    let file = memory_file(COUNT * 4096);
    let batch = Batch::new(COUNT, 4096, &file).for_lists(libc::LIO_READ);
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            let list = batch.pointers.as_ptr();
            // SAFETY: the list and all its blocks are alive; it waits, so they stay so.
            let result = unsafe { (library.listio)(libc::LIO_WAIT, list, COUNT as c_int, ptr::null_mut()) };
            library.submitted(result);
            library.finish_all(&batch);
        })
    });
}

/// From aio_read to the signal it announces its end with.
fn signal(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let mut batch = Batch::new(1, 512, &file);
    let number = libc::SIGRTMIN();
    let event = batch.event();
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = number;
    // SAFETY: the set is initialized by sigemptyset.
    let set = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, number);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        set
    };
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.read(batch.pointers[0]);
            // SAFETY: the set is valid; no information is asked for.
            let taken = unsafe { libc::sigwaitinfo(&raw const set, ptr::null_mut()) };
            assert_eq!(taken, number);
            library.finish(batch.pointers[0], 512);
        })
    });
}

/// From aio_read to the start of the callback that announces its end.
fn thread(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let mut batch = Batch::new(1, 512, &file);
    let (mut woken, waker) = pipe();
    let event = batch.event();
    event.sigev_notify = libc::SIGEV_THREAD;
    event.sigev_value.sival_ptr = ptr::without_provenance_mut(waker.as_raw_fd() as usize);
    set_callback(event, called);
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.read(batch.pointers[0]);
            woken.read_exact(&mut [0]).expect("the callback writes one byte");
            library.finish(batch.pointers[0], 512);
        })
    });
}

extern "C" fn called(value: libc::sigval) {
    let fd = value.sival_ptr.addr() as c_int;
    // SAFETY: the pipe is open as long as the benchmark runs.
    unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
}

/// The libc crate does not name the union that holds sigev_notify_function.
fn set_callback(event: &mut libc::sigevent, function: extern "C" fn(libc::sigval)) {
    let union = std::mem::offset_of!(libc::sigevent, sigev_notify_thread_id).next_multiple_of(8);
    // SAFETY: Linux's sigevent has the function pointer where the thread id is, inside its 64 bytes.
    unsafe { (&raw mut *event).byte_add(union).cast::<extern "C" fn(libc::sigval)>().write(function) };
}

fn benchmarks(criterion: &mut Criterion) {
    let path = CString::new(aio_rs_path().into_os_string().into_encoded_bytes()).expect("no NUL");
    let libraries = [Library::open("aio_rs", &path), Library::open("libc", c"libc.so.6")];
    let kinds: [(&str, Kind); 8] = [
        ("submission", submission),
        ("completion", completion),
        ("round trip", round_trip),
        ("wake-up", wake_up),
        ("fsync", fsync_alone),
        ("list of 32", list),
        ("notification by signal", signal),
        ("notification by thread", thread),
    ];
    for (name, run) in kinds {
        let mut group = group(criterion, name);
        libraries.iter().for_each(|library| run(&mut group, library));
        group.finish();
    }
    barriers(criterion, &libraries);
}

/// libc's cost per request grows with the queue: 100,000 would take it most of a minute for each sample.
fn barriers(criterion: &mut Criterion, libraries: &[Library]) {
    const MOST_FOR_LIBC: usize = 10_000;
    let mut group = group(criterion, "writes and fsync");
    group.sample_size(10);
    for count in [100, 1_000, 10_000, 100_000] {
        for library in libraries {
            if library.name != "libc" || count <= MOST_FOR_LIBC {
                queue(&mut group, library, count);
            }
        }
    }
    group.finish();
}

criterion_group!(all, benchmarks);
criterion_main!(all);
