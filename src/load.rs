//! The library's constructor: the dynamic linker, or the start-up code of a static program, calls it before `main`. It only
//! records facts: it allocates nothing, opens nothing and starts nothing.

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

/// Keeps the constructor in a static program: from an archive the linker takes only objects that something refers to.
pub fn stay() {
    std::hint::black_box(&raw const AT_LOAD);
}
