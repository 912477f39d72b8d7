//! The kernel's own clock_gettime, found in the code that it maps into every process (vdso(7)): it costs no system call, and no
//! program or preloaded library can replace it as they can libc's.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{Elf64_Ehdr, Elf64_Phdr, Elf64_Sym, c_int, timespec};

type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut timespec) -> c_int;

/// Its name. If the image has no function of this name, the system call serves.
const NAME: &CStr = if cfg!(target_arch = "aarch64") { c"__kernel_clock_gettime" } else { c"__vdso_clock_gettime" };

/// Reads CLOCK_MONOTONIC. Takes no lock and allocates nothing.
pub fn monotonic(time: &mut MaybeUninit<timespec>) {
    /// NULL: not searched for yet.
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let mut found = FOUND.load(Ordering::Relaxed);
    if found.is_null() {
        // Two threads that search at once find the same address.
        found = find().unwrap_or(by_system_call as ClockGettime as *mut c_void);
        FOUND.store(found, Ordering::Relaxed);
    }
    // SAFETY: `find` found a function of this type, or it is `by_system_call`; `time` has room for a timespec.
    unsafe { std::mem::transmute::<*mut c_void, ClockGettime>(found)(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) };
}

unsafe extern "C" fn by_system_call(clock: libc::clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: `time` has room for a timespec.
    c_int::try_from(unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) }).unwrap_or(-1)
}

/// The parts of the ELF image that the search needs.
struct Image {
    /// Where the image lies in memory, less the address that it is linked for.
    base: usize,
    symbols: *const Elf64_Sym,
    count: usize,
    names: *const c_char,
    names_size: usize,
}

fn find() -> Option<*mut c_void> {
    // SAFETY: it takes a number.
    let start = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    let image = Image::at(usize::try_from(start).ok().filter(|start| *start != 0)?)?;
    (0..image.count).find_map(|index| image.function(index))
}

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: u64,
    value: u64,
}

const STRING_TABLE: u64 = 5;
const SYMBOL_TABLE: u64 = 6;
const STRINGS_SIZE: u64 = 10;
/// More entries than any image has: it is a page or two.
const MOST_ENTRIES: usize = 256;

impl Image {
    fn at(start: usize) -> Option<Image> {
        // SAFETY: the kernel has mapped an ELF image there, for as long as the process lives.
        let header = unsafe { &*ptr::with_exposed_provenance::<Elf64_Ehdr>(start) };
        let segments = start + usize::try_from(header.e_phoff).ok()?;
        let segments = ptr::with_exposed_provenance::<Elf64_Phdr>(segments);
        // SAFETY: the header says that so many segments are there.
        let segments = unsafe { std::slice::from_raw_parts(segments, usize::from(header.e_phnum)) };
        let of_type = |wanted| segments.iter().find(|segment| segment.p_type == wanted);
        let (load, dynamic) = (of_type(libc::PT_LOAD)?, of_type(libc::PT_DYNAMIC)?);
        let base = start.wrapping_add_signed(isize::try_from(load.p_offset).ok()?);
        let base = base.wrapping_sub(usize::try_from(load.p_vaddr).ok()?);
        let entries = ptr::with_exposed_provenance::<Dynamic>(start + usize::try_from(dynamic.p_offset).ok()?);
        let count = usize::try_from(dynamic.p_memsz).ok()? / size_of::<Dynamic>();
        // SAFETY: the dynamic segment holds that many entries.
        let entries = unsafe { std::slice::from_raw_parts(entries, count.min(MOST_ENTRIES)) };
        let value = |wanted| {
            let entry = entries.iter().take_while(|entry| entry.tag != 0).find(|entry| entry.tag == wanted)?;
            usize::try_from(entry.value).ok()
        };
        let (symbols, names) = (base.wrapping_add(value(SYMBOL_TABLE)?), base.wrapping_add(value(STRING_TABLE)?));
        // The linker puts the names right behind the symbols, which tells their number without reading a hash table.
        let count = names.checked_sub(symbols)? / size_of::<Elf64_Sym>();
        let names_size = value(STRINGS_SIZE)?;
        let (symbols, names) = (ptr::with_exposed_provenance(symbols), ptr::with_exposed_provenance(names));
        (count <= MOST_ENTRIES).then_some(Image { base, symbols, count, names, names_size })
    }

    /// The address of the symbol at `index`, if that is the function searched for.
    fn function(&self, index: usize) -> Option<*mut c_void> {
        // SAFETY: `index` is below the number of symbols.
        let symbol = unsafe { self.symbols.add(index).read() };
        let name = usize::try_from(symbol.st_name).ok().filter(|name| *name < self.names_size)?;
        // SAFETY: the names end with a NUL, and this one begins before that.
        let name = unsafe { CStr::from_ptr(self.names.add(name)) };
        let is_wanted = name == NAME && symbol.st_shndx != 0;
        let address = self.base.wrapping_add(usize::try_from(symbol.st_value).ok()?);
        is_wanted.then(|| ptr::with_exposed_provenance_mut(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_time_that_the_kernel_tells() {
        assert!(find().is_some());
        let read = |by: &dyn Fn(&mut MaybeUninit<timespec>)| {
            let mut time = MaybeUninit::zeroed();
            by(&mut time);
            // SAFETY: all bits zero is a timespec, too.
            let time = unsafe { time.assume_init() };
            (time.tv_sec, time.tv_nsec)
        };
        // SAFETY: room for a timespec.
        let kernel = || read(&|time| _ = unsafe { by_system_call(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) });
        let (before, own, after) = (kernel(), read(&monotonic), kernel());
        assert!(before <= own && own <= after, "{before:?} {own:?} {after:?}");
    }
}
