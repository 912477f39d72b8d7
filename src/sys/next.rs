//! The functions that the library wraps, as the next object in the dynamic linker's search order defines them (RTLD_NEXT): a
//! tracer, a sanitizer or another wrapper sees the calls that this library passes on. They are looked up at load time,
//! because a signal handler must not call dlsym. Before that, and in a statically linked program, the C library's own are
//! used.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

pub struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Next {
        Next { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    /// None: call the C library's own.
    pub fn get(&self) -> Option<*mut c_void> {
        Some(self.found.load(Ordering::Relaxed)).filter(|found| !found.is_null())
    }

    fn look_up(&self) {
        // SAFETY: the name is a C string.
        self.found.store(unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) }, Ordering::Relaxed);
    }
}

pub static CLOSE: Next = Next::new(c"close");
pub static DUP2: Next = Next::new(c"dup2");
pub static DUP3: Next = Next::new(c"dup3");
pub static CLOSE_RANGE: Next = Next::new(c"close_range");
pub static FCLOSE: Next = Next::new(c"fclose");
pub static PCLOSE: Next = Next::new(c"pclose");
pub static CLOSEDIR: Next = Next::new(c"closedir");

extern "C" fn look_up_all() {
    [&CLOSE, &DUP2, &DUP3, &CLOSE_RANGE, &FCLOSE, &PCLOSE, &CLOSEDIR].into_iter().for_each(Next::look_up);
}

/// Run by the dynamic linker before `main`.
#[used]
// SAFETY: the section holds pointers to functions that may be called with any arguments.
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = look_up_all;

/// The closedir of a C library that is linked statically, by its internal name; NULL with a shared one, which does not export
/// it.
pub fn own_closedir() -> *mut c_void {
    let found: *mut c_void;
    // SAFETY: reads the symbol's entry of the global offset table, which is 0 for a weak symbol that nothing defines.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(".weak __closedir", "mov {}, qword ptr [rip + __closedir@GOTPCREL]", out(reg) found, options(nostack, preserves_flags));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(".weak __closedir", "adrp {0}, :got:__closedir", "ldr {0}, [{0}, :got_lo12:__closedir]", out(reg) found, options(nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        found = ptr::null_mut();
    }
    found
}
