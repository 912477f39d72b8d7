//! Tells Valgrind and ThreadSanitizer which thread's work happens before which. They do not understand synchronisation by
//! atomics of this library or by the kernel: without help, a buffer that a library thread fills and the program reads looks
//! like a race.
//!
//! Valgrind takes certain instructions that change nothing as requests (valgrind.h); ThreadSanitizer is asked by functions of
//! its run-time library. Which of the two is there is found out at load time. Without them each call here tests one flag.

use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Which tools are there: bits of the next two constants. Written before `main`.
static PRESENT: AtomicU8 = AtomicU8::new(0);
const VALGRIND: u8 = 1;
const TSAN: u8 = 2;

const RUNNING_ON_VALGRIND: usize = 0x1001;
/// "HG": requests that both helgrind and DRD know.
const HAPPENS_BEFORE: usize = 0x4847_0000 + 256 + 33;
const HAPPENS_AFTER: usize = HAPPENS_BEFORE + 1;
/// Do not check these bytes; helgrind and DRD have a request each. It ends when the memory is freed.
const HELGRIND_LEAVE_ALONE: usize = HAPPENS_BEFORE + 6;
const DRD_LEAVE_ALONE: usize = 0x4452_0002;

pub fn at_load() {
    let valgrind = if ask(RUNNING_ON_VALGRIND, 0, 0) != 0 { VALGRIND } else { 0 };
    let tsan = if tsan::acquire().is_some() && tsan::release().is_some() { TSAN } else { 0 };
    PRESENT.store(valgrind | tsan, Ordering::Relaxed);
}

/// Whether the process runs under Valgrind. Memcheck follows only some of the kernel's AIO calls: it finds out from the iocb
/// which bytes a read has defined, at the io_getevents that returns the event.
pub fn is_valgrind() -> bool {
    PRESENT.load(Ordering::Relaxed) & VALGRIND != 0
}

/// What the calling thread has done so far happens before what a thread does after `observed` with the same address. `status`
/// is excluded from checks: the program may overwrite it, without atomics, as soon as it has seen the final value.
pub fn publishes<T>(status: &T) {
    if PRESENT.load(Ordering::Relaxed) != 0 {
        for leave_alone in [HELGRIND_LEAVE_ALONE, DRD_LEAVE_ALONE] {
            ask(leave_alone, ptr::from_ref(status).addr(), size_of::<T>());
        }
        tell(ptr::from_ref(status).addr(), true);
    }
}

pub fn observed<T>(address: *const T) {
    if PRESENT.load(Ordering::Relaxed) != 0 {
        tell(address.addr(), false);
    }
}

/// A call of the program submits something: what its thread has done so far happens before what a thread does after
/// `taken_over`.
pub fn handed_in() {
    if PRESENT.load(Ordering::Relaxed) != 0 {
        tell((&raw const PRESENT).addr(), true);
    }
}

/// A library thread is about to call a function of the program.
pub fn taken_over() {
    observed(&raw const PRESENT);
}

/// The kernel has mapped memory that memcheck may not know, and has written it.
#[cfg_attr(feature = "portable", allow(dead_code))]
pub fn is_mapped(address: usize, length: usize) {
    // Of memcheck's requests; other tools ignore it.
    const MAKE_MEMORY_DEFINED: usize = 0x4d43_0002;
    if PRESENT.load(Ordering::Relaxed) & VALGRIND != 0 {
        ask(MAKE_MEMORY_DEFINED, address, length);
    }
}

#[cold]
fn tell(address: usize, before: bool) {
    let present = PRESENT.load(Ordering::Relaxed);
    if present & VALGRIND != 0 {
        ask(if before { HAPPENS_BEFORE } else { HAPPENS_AFTER }, address, 0);
    }
    let function = if before { tsan::release() } else { tsan::acquire() };
    if let Some(function) = function.filter(|_| present & TSAN != 0) {
        // SAFETY: the function uses the address as a key and does not read it.
        unsafe { function(ptr::without_provenance_mut(address)) };
    }
}

/// Makes a client request. Returns 0 outside Valgrind.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
fn ask(request: usize, first: usize, second: usize) -> usize {
    let arguments = [request, first, second, 0, 0, 0];
    let mut answer = 0;
    // SAFETY: rdi is rotated by 128 bits in all and rbx exchanged with itself, so nothing changes. Valgrind reads the
    // arguments.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") answer,
            options(nostack),
        );
    }
    answer
}

#[cfg(all(target_os = "linux", target_arch = "aarch64", not(miri)))]
fn ask(request: usize, first: usize, second: usize) -> usize {
    let arguments = [request, first, second, 0, 0, 0];
    let mut answer = 0;
    // SAFETY: x12 is rotated by 128 bits in all and x10 is or-ed with itself, so nothing changes. Valgrind reads the arguments.
    unsafe {
        std::arch::asm!(
            "ror x12, x12, 3",
            "ror x12, x12, 13",
            "ror x12, x12, 51",
            "ror x12, x12, 61",
            "orr x10, x10, x10",
            inout("x3") answer,
            in("x4") arguments.as_ptr(),
            options(nostack),
        );
    }
    answer
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
fn ask(_: usize, _: usize, _: usize) -> usize {
    0
}

/// __tsan_acquire and __tsan_release, by weak symbols.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
mod tsan {
    use std::ffi::c_void;

    pub type Function = unsafe extern "C" fn(*mut c_void);

    // `.weak` stands beside each use: the code may be inlined into another object file than this one's.
    pub fn acquire() -> Option<Function> {
        let address: usize;
        // SAFETY: the symbol's entry of the global offset table is the function's address or 0, and 0 is `None` of such an
        // `Option`.
        unsafe {
            std::arch::asm!(
                ".weak __tsan_acquire",
                "mov {}, qword ptr [rip + __tsan_acquire@GOTPCREL]",
                out(reg) address,
                options(nostack)
            );
            std::mem::transmute(address)
        }
    }

    pub fn release() -> Option<Function> {
        let address: usize;
        // SAFETY: as above.
        unsafe {
            std::arch::asm!(
                ".weak __tsan_release",
                "mov {}, qword ptr [rip + __tsan_release@GOTPCREL]",
                out(reg) address,
                options(nostack)
            );
            std::mem::transmute(address)
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(miri))))]
mod tsan {
    use std::ffi::c_void;

    pub type Function = unsafe extern "C" fn(*mut c_void);

    pub fn acquire() -> Option<Function> {
        None
    }

    pub fn release() -> Option<Function> {
        None
    }
}
