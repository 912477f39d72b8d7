//! Threads that run the program's functions (SIGEV_THREAD): a new one for each, as POSIX has it, so that no function finds what
//! another has left in its thread (storage, cancellation, affinity, name, signal stack). The starter makes them.
//!
//! With `callbacks=shared` in the configuration a thread is kept for a while and used again. A function may block for ever, so
//! each gets a thread that is idle, or a new one.
//!
//! Nothing here is taken from the C library's allocator, but for the thread itself.

use std::ffi::c_void;
use std::ptr;

use crate::callback_pool::Callbacks;
use crate::engine::Engine;
use crate::notify::{Attributes, Call};
use crate::slab::Id;
use crate::sys::errno::{Errno, Result};
use crate::sys::{signals, thread, tools};

/// Has a thread run `call`. For whoever may make threads. Error: EAGAIN, no thread is free and none can be made.
pub fn run(callbacks: &'static Callbacks, call: Call, attributes: Attributes) -> Result<()> {
    if callbacks.run_by_idle(call, attributes) {
        return Ok(());
    }
    let id = callbacks.keep(call)?;
    let job = to_pointer(id);
    // SAFETY: the program keeps its attributes valid until the notification.
    let with_attributes = || unsafe { thread::spawn_with(attributes.0, run_one, job) };
    if !attributes.0.is_null() && with_attributes().is_ok() {
        return Ok(());
    }
    // The default attributes are better than silence.
    let main = if callbacks.shared { run_many } else { run_one };
    thread::spawn_for_program(main, job).map_err(|_| {
        callbacks.take(id);
        Errno::AGAIN
    })
}

/// Whether this is the process in which they were made.
fn are_current(callbacks: &Callbacks) -> bool {
    Engine::current().is_some_and(|engine| ptr::eq(&raw const engine.callbacks, callbacks))
}

/// What `run` owner to a new thread.
fn to_pointer(id: Id) -> *mut c_void {
    ptr::without_provenance_mut(usize::try_from(id).unwrap_or(usize::MAX))
}

/// The engine, and the function that `run` has handed to this new thread.
fn begin(job: *mut c_void) -> Option<(&'static Callbacks, Call)> {
    let callbacks = &Engine::current()?.callbacks;
    let id = Id::try_from(job.addr()).ok()?;
    Some((callbacks, callbacks.take(id)))
}

/// A thread for one function, as if it were the thread's own.
extern "C-unwind" fn run_one(job: *mut c_void) -> *mut c_void {
    thread::set_name(NAME);
    if let Some((_, call)) = begin(job) {
        call_program(call);
    }
    ptr::null_mut()
}

const NAME: &std::ffi::CStr = c"aio_rs/notify";

/// A shared thread: one function after the other, as long as they return.
extern "C-unwind" fn run_many(job: *mut c_void) -> *mut c_void {
    thread::set_name(NAME);
    let Some((callbacks, call)) = begin(job) else { return ptr::null_mut() };
    let mut next = Some(call);
    while let Some(call) = next {
        call_program(call);
        signals::block_all();
        if !are_current(callbacks) {
            // It has forked: the lock, and all else here, is the parent's.
            break;
        }
        next = callbacks.next();
    }
    ptr::null_mut()
}

/// Runs a function of the program. No frame from here up owns anything: the function may end the thread by pthread_exit,
/// which unwinds through them. (As a "C-unwind" call it would meet a pad that aborts, under panic = "abort".)
fn call_program(call: Call) {
    tools::taken_over();
    signals::unblock_all();
    // SAFETY: the program gave the function for this purpose.
    unsafe { (call.function)(call.value) };
}
