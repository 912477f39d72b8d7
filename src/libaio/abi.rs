//! What `<libaio.h>` declares.

use libc::c_long;

// The kernel's structures and commands, which the header declares, too.
pub use crate::sys::aio_abi::*;

/// A context's number: the address of its ring of completions.
pub enum io_context {}

pub type io_context_t = *mut io_context;

/// What io_queue_run calls for each event.
pub type io_callback_t = Option<unsafe extern "C" fn(ctx: io_context_t, iocb: *mut iocb, res: c_long, res2: c_long)>;
