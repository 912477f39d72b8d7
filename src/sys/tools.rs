//! Valgrind and ThreadSanitizer: what they cannot see of themselves. The library synchronises by atomics and by the kernel, so to them a
//! buffer that a library thread filled and the program reads looks like a race.
//!
//! Valgrind takes sequences of instructions that do nothing as requests (valgrind.h); ThreadSanitizer's functions are there if
//! its run-time library is. Both are looked for when the library is loaded; without them a request costs the test of a flag.

use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// What was found; written before `main`.
static PRESENT: AtomicU8 = AtomicU8::new(0);
const VALGRIND: u8 = 1;
const TSAN: u8 = 2;

const RUNNING_ON_VALGRIND: usize = 0x1001;
/// "HG": both of helgrind and of DRD.
const HAPPENS_BEFORE: usize = 0x4847_0000 + 256 + 33;
const HAPPENS_AFTER: usize = HAPPENS_BEFORE + 1;
/// Not to look at memory: helgrind and DRD each have their own. Both forget that when the memory is freed.
const HELGRIND_LEAVE_ALONE: usize = HAPPENS_BEFORE + 6;
const DRD_LEAVE_ALONE: usize = 0x4452_0002;

pub fn at_load() {
    let valgrind = if ask(RUNNING_ON_VALGRIND, 0, 0) != 0 { VALGRIND } else { 0 };
    let tsan = if tsan::acquire().is_some() && tsan::release().is_some() { TSAN } else { 0 };
    PRESENT.store(valgrind | tsan, Ordering::Relaxed);
}

/// Whether the process runs under Valgrind. Its memcheck learns what the kernel's AIO has read from the iocb, when the result is
/// taken, and does not know all of its calls.
pub fn is_valgrind() -> bool {
    PRESENT.load(Ordering::Relaxed) & VALGRIND != 0
}

/// What the calling thread has done so far happens before what others do after `observed` of the same thing. It consists of
/// atomics, which the program may write over as soon as it has seen them: they are no race.
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

/// The program hands something in: what it has done happens before what its own functions do in the library's threads.
pub fn handed_in() {
    if PRESENT.load(Ordering::Relaxed) != 0 {
        tell((&raw const PRESENT).addr(), true);
    }
}

pub fn taken_over() {
    observed(&raw const PRESENT);
}

#[cold]
fn tell(address: usize, before: bool) {
    let present = PRESENT.load(Ordering::Relaxed);
    if present & VALGRIND != 0 {
        ask(if before { HAPPENS_BEFORE } else { HAPPENS_AFTER }, address, 0);
    }
    let function = if before { tsan::release() } else { tsan::acquire() };
    if let Some(function) = function.filter(|_| present & TSAN != 0) {
        // SAFETY: the address is a key for it, and is not read.
        unsafe { function(ptr::without_provenance_mut(address)) };
    }
}

/// A client request. 0 where nobody listens.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
fn ask(request: usize, first: usize, second: usize) -> usize {
    let arguments = [request, first, second, 0, 0, 0];
    let mut answer = 0;
    // SAFETY: rdi is rotated by 128 bits altogether, and rbx exchanged with itself: nothing changes. Valgrind reads the arguments.
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
    // SAFETY: x12 is rotated by 128 bits altogether, and x10 stays itself: nothing changes. Valgrind reads the arguments.
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

    std::arch::global_asm!(".weak __tsan_acquire", ".weak __tsan_release");

    pub fn acquire() -> Option<Function> {
        let address: usize;
        // SAFETY: the linker has left the function's address there, or 0; such a pointer is an `Option` of a function.
        unsafe {
            std::arch::asm!("mov {}, qword ptr [rip + __tsan_acquire@GOTPCREL]", out(reg) address, options(nostack));
            std::mem::transmute(address)
        }
    }

    pub fn release() -> Option<Function> {
        let address: usize;
        // SAFETY: as above.
        unsafe {
            std::arch::asm!("mov {}, qword ptr [rip + __tsan_release@GOTPCREL]", out(reg) address, options(nostack));
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
