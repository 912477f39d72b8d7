//! What happens when the library is loaded: the dynamic linker, or the start-up code of a static program, calls it before `main`.
//! It only takes notes: it allocates nothing, opens nothing and starts nothing.

use crate::stats;
use crate::sys::{stderr, tools};

extern "C" fn at_load() {
    tools::at_load();
    stderr::at_load();
    stats::at_load();
}

#[used]
#[cfg_attr(not(miri), unsafe(link_section = ".init_array"))]
static AT_LOAD: extern "C" fn() = at_load;

/// A static library's object is linked only if something refers to it.
pub fn stay() {
    std::hint::black_box(&raw const AT_LOAD);
}
