//! The kernel's AIO structures (linux/aio_abi.h), by the names and fields that `<libaio.h>` gives them: the program's interface and
//! the library's own requests use the same. The layout is asserted at compile time and, where libaio's header is installed, by a
//! test.

use std::mem::offset_of;
use std::ptr;

use libc::{c_int, c_longlong, c_short, c_uint, c_ulong, c_void, iovec};

/// A request. The kernel copies it when it is submitted; the program keeps it until its event has come.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct iocb {
    /// Comes back in the event.
    pub data: *mut c_void,
    pub key: c_uint,
    /// RWF_NOWAIT and the like.
    pub aio_rw_flags: c_int,
    /// IO_CMD_PREAD and the like.
    pub aio_lio_opcode: c_short,
    pub aio_reqprio: c_short,
    pub aio_fildes: c_int,
    pub u: io_iocb_arguments,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub union io_iocb_arguments {
    pub c: io_iocb_common,
    pub v: io_iocb_vector,
    pub poll: io_iocb_poll,
}

/// Of IO_CMD_PREAD, IO_CMD_PWRITE, IO_CMD_FSYNC, IO_CMD_FDSYNC.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct io_iocb_common {
    pub buf: *mut c_void,
    pub nbytes: c_ulong,
    pub offset: c_longlong,
    pub __pad3: c_longlong,
    /// 1: resfd is an eventfd that is told.
    pub flags: c_uint,
    pub resfd: c_uint,
}

/// Of IO_CMD_PREADV and IO_CMD_PWRITEV.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct io_iocb_vector {
    pub vec: *const iovec,
    pub nr: c_ulong,
    pub offset: c_longlong,
}

/// Of IO_CMD_POLL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct io_iocb_poll {
    pub events: c_int,
    pub __pad1: c_uint,
}

/// What has become of a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct io_event {
    pub data: *mut c_void,
    pub obj: *mut iocb,
    /// Bytes, or a negative errno.
    pub res: c_ulong,
    pub res2: c_ulong,
}

pub const IO_CMD_PREAD: c_short = 0;
pub const IO_CMD_PWRITE: c_short = 1;
pub const IO_CMD_FSYNC: c_short = 2;
pub const IO_CMD_FDSYNC: c_short = 3;
pub const IO_CMD_POLL: c_short = 5;
pub const IO_CMD_NOOP: c_short = 6;
pub const IO_CMD_PREADV: c_short = 7;
pub const IO_CMD_PWRITEV: c_short = 8;

const _: () = {
    assert!(size_of::<iocb>() == 64 && size_of::<io_event>() == 32);
    assert!(offset_of!(iocb, aio_lio_opcode) == 16 && offset_of!(iocb, aio_fildes) == 20);
    assert!(offset_of!(iocb, u) == 24 && offset_of!(io_iocb_common, flags) == 32);
};

impl iocb {
    pub const NONE: iocb = iocb {
        data: ptr::null_mut(),
        key: 0,
        aio_rw_flags: 0,
        aio_lio_opcode: 0,
        aio_reqprio: 0,
        aio_fildes: 0,
        u: io_iocb_arguments {
            c: io_iocb_common { buf: ptr::null_mut(), nbytes: 0, offset: 0, __pad3: 0, flags: 0, resfd: 0 },
        },
    };

    /// The arguments of all but IO_CMD_PREADV, IO_CMD_PWRITEV and IO_CMD_POLL; for those, their bits.
    pub fn common(&self) -> &io_iocb_common {
        // SAFETY: the largest member of the union, so that all of it is initialised; its fields may have any bits.
        unsafe { &self.u.c }
    }

    pub fn common_mut(&mut self) -> &mut io_iocb_common {
        // SAFETY: as for `common`.
        unsafe { &mut self.u.c }
    }

    /// RWF_NOWAIT and the like. A big-endian kernel has `key` and the flags the other way round.
    pub fn set_rw_flags(&mut self, flags: c_int) {
        if cfg!(target_endian = "little") { self.aio_rw_flags = flags } else { self.key = flags.cast_unsigned() }
    }

    /// The eventfd that the request signals (io_set_eventfd).
    #[cfg(libaio)]
    pub fn eventfd(&self) -> Option<c_int> {
        const IOCB_FLAG_RESFD: c_uint = 1;
        let common = self.common();
        (common.flags & IOCB_FLAG_RESFD != 0).then(|| common.resfd.cast_signed())
    }

    /// Whether both ask the same of the kernel, which itself writes into `key` when it takes one.
    #[cfg(libaio)]
    pub fn asks_the_same_as(&self, other: &iocb) -> bool {
        let (mine, theirs) = (self.common(), other.common());
        ptr::eq(self.data, other.data)
            && self.aio_rw_flags == other.aio_rw_flags
            && self.aio_lio_opcode == other.aio_lio_opcode
            && self.aio_reqprio == other.aio_reqprio
            && self.aio_fildes == other.aio_fildes
            && ptr::eq(mine.buf, theirs.buf)
            && (mine.nbytes, mine.offset, mine.__pad3) == (theirs.nbytes, theirs.offset, theirs.__pad3)
            && (mine.flags, mine.resfd) == (theirs.flags, theirs.resfd)
    }
}

impl io_event {
    pub const NONE: io_event = io_event { data: ptr::null_mut(), obj: ptr::null_mut(), res: 0, res2: 0 };
}
