//! The C structures that callers hand in, laid out as the platform's `<aio.h>` has them, asserted at compile time.
//!
//! Only the two status words of an aiocb are ever written; all else is read once, at submission.

use std::mem::{offset_of, size_of};

use libc::{c_int, c_void, off_t, size_t};

use crate::status::Status;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("aio_rs supports 64-bit targets only: struct aiocb is laid out differently on 32-bit ones");

/// `struct aiocb` (and `aiocb64`) of glibc and of musl, which keep the status words at the same offsets.
#[cfg(not(target_os = "nto"))]
#[repr(C)]
pub struct aiocb {
    pub aio_fildes: c_int,
    pub aio_lio_opcode: c_int,
    pub aio_reqprio: c_int,
    pub aio_buf: *mut c_void,
    pub aio_nbytes: size_t,
    pub aio_sigevent: sigevent,
    internal: [usize; 2],
    /// The only fields that the library writes.
    pub status: Status,
    pub aio_offset: off_t,
    reserved: [u8; 32],
}

#[cfg(not(target_os = "nto"))]
const _: () = {
    assert!(size_of::<aiocb>() == size_of::<libc::aiocb>());
    assert!(offset_of!(aiocb, aio_fildes) == offset_of!(libc::aiocb, aio_fildes));
    assert!(offset_of!(aiocb, aio_lio_opcode) == offset_of!(libc::aiocb, aio_lio_opcode));
    assert!(offset_of!(aiocb, aio_reqprio) == offset_of!(libc::aiocb, aio_reqprio));
    assert!(offset_of!(aiocb, aio_buf) == offset_of!(libc::aiocb, aio_buf));
    assert!(offset_of!(aiocb, aio_nbytes) == offset_of!(libc::aiocb, aio_nbytes));
    assert!(offset_of!(aiocb, aio_sigevent) == offset_of!(libc::aiocb, aio_sigevent));
    assert!(offset_of!(aiocb, aio_offset) == offset_of!(libc::aiocb, aio_offset));
    // glibc's __error_code and __return_value, musl's __err and __ret.
    assert!(offset_of!(aiocb, status) == 112 && size_of::<Status>() == 16);
    assert!(size_of::<sigevent>() == 64);
};

/// `struct aiocb` of QNX 7.
#[cfg(target_os = "nto")]
#[repr(C)]
pub struct aiocb {
    pub aio_fildes: c_int,
    pub aio_reqprio: c_int,
    pub aio_offset: off_t,
    pub aio_buf: *mut c_void,
    pub aio_nbytes: size_t,
    pub aio_sigevent: sigevent,
    pub aio_lio_opcode: c_int,
    lio_state: *mut c_void,
    pad: [c_int; 3],
    next: *mut c_void,
    flag: libc::c_uint,
    iotype: libc::c_uint,
    /// The only fields that the library writes.
    pub status: Status,
    suspend: *mut c_void,
    list: *mut c_void,
    policy: c_int,
    parameter: libc::__sched_param,
}

#[cfg(target_os = "nto")]
const _: () = {
    assert!(size_of::<aiocb>() == size_of::<libc::aiocb>());
    assert!(size_of::<sigevent>() == size_of::<libc::sigevent>());
    assert!(offset_of!(aiocb, aio_sigevent) == offset_of!(libc::aiocb, aio_sigevent));
    assert!(offset_of!(aiocb, aio_lio_opcode) == offset_of!(libc::aiocb, aio_lio_opcode));
    assert!(offset_of!(aiocb, status) == offset_of!(libc::aiocb, _aio_result));
    assert!(offset_of!(aiocb, suspend) == offset_of!(libc::aiocb, _aio_suspend));
};

/// `struct sigevent` of Linux.
#[cfg(not(target_os = "nto"))]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sigevent {
    pub sigev_value: usize,
    pub sigev_signo: c_int,
    pub sigev_notify: c_int,
    un: Un,
    attributes: *const libc::pthread_attr_t,
    reserved: [usize; 4],
}

#[cfg(not(target_os = "nto"))]
#[repr(C)]
#[derive(Clone, Copy)]
union Un {
    thread_id: c_int,
    function: Option<NotifyFunction>,
}

#[cfg(not(target_os = "nto"))]
impl sigevent {
    pub fn signo(&self) -> c_int {
        self.sigev_signo
    }

    pub fn function(&self) -> Option<NotifyFunction> {
        // SAFETY: the caller chose SIGEV_THREAD, so this member of the union is the one that is set.
        unsafe { self.un.function }
    }

    pub fn attributes(&self) -> *const libc::pthread_attr_t {
        self.attributes
    }

    /// Linux's `sigev_notify_thread_id`.
    pub fn thread_id(&self) -> c_int {
        // SAFETY: an int may hold any bits.
        unsafe { self.un.thread_id }
    }
}

/// `struct sigevent` of QNX 7: the signal number and the function are one union, the attributes part of another.
#[cfg(target_os = "nto")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sigevent {
    pub sigev_notify: c_int,
    un1: Un1,
    pub sigev_value: usize,
    attributes: *const libc::pthread_attr_t,
}

#[cfg(target_os = "nto")]
#[repr(C)]
#[derive(Clone, Copy)]
union Un1 {
    signo: c_int,
    function: Option<NotifyFunction>,
}

#[cfg(target_os = "nto")]
impl sigevent {
    pub fn signo(&self) -> c_int {
        // SAFETY: an int may hold any bits.
        unsafe { self.un1.signo }
    }

    pub fn function(&self) -> Option<NotifyFunction> {
        // SAFETY: the caller chose SIGEV_THREAD, so this member of the union is the one that is set.
        unsafe { self.un1.function }
    }

    pub fn attributes(&self) -> *const libc::pthread_attr_t {
        self.attributes
    }
}

/// A SIGEV_THREAD function; its argument is `union sigval`. It may leave by pthread_exit: see `notify::call_program`.
pub type NotifyFunction = unsafe extern "C" fn(usize);

/// `struct aioinit` of glibc.
#[repr(C)]
pub struct aioinit {
    /// Maximum number of threads.
    pub aio_threads: c_int,
    /// Number of requests expected at the same time.
    pub aio_num: c_int,
    aio_locks: c_int,
    aio_usedba: c_int,
    aio_debug: c_int,
    aio_numusers: c_int,
    /// Seconds before an idle thread ends.
    pub aio_idle_time: c_int,
    aio_reserved: c_int,
}

/// lio_listio's opcodes; LIO_DSYNC and LIO_SYNC are glibc's internal ones, which its lio_listio takes too.
pub mod lio {
    use libc::c_int;
    pub const READ: c_int = libc::LIO_READ;
    pub const WRITE: c_int = libc::LIO_WRITE;
    pub const NOP: c_int = libc::LIO_NOP;
    pub const DSYNC: c_int = 3;
    pub const SYNC: c_int = 4;
}
