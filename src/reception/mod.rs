//! What a caller meets before the table, without its lock: so it need not block signals, and several callers do not wait for
//! each other.

pub mod claims;
pub mod inbox;
pub mod known;

use crate::errno::Result;
use crate::order::Admission;
use crate::request::Request;
use crate::route::worker::Seat;
use crate::sys::memory;

use claims::Claims;
use inbox::Inbox;
use known::Known;

pub struct Reception {
    pub inbox: Inbox<Admission<Request>, Seat>,
    pub known: Known,
    pub claims: Claims,
}

impl Reception {
    /// An empty one, closed. It stays for ever. Error: ENOMEM.
    pub fn new() -> Result<&'static Reception> {
        let place = memory::map(size_of::<Reception>())?.cast::<Reception>();
        // SAFETY: the mapping is large enough, begins at a page and is never unmapped; each part says that all zeroes is
        // what it starts from.
        Ok(unsafe { place.as_ref() })
    }
}
