//! What is remembered of descriptors, so that the next request of one need not ask the kernel.

pub mod checked;
pub mod identity;
pub mod paths;

use checked::Checked;
use identity::Identity;
use paths::Paths;

/// Starts from all zeroes: nothing is known.
pub struct FdCache {
    /// Which file a descriptor with unfinished requests refers to.
    pub identity: Identity,
    /// When a descriptor was last seen to refer to that file.
    pub checked: Checked,
    /// How a descriptor is read, and whether it has unfinished writes.
    pub paths: Paths,
}
