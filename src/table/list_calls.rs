//! lio_listio calls that are under way.

use crate::notify::Notify;

use crate::status::Status;

/// A lio_listio call that is under way.
pub struct ListCall {
    /// Members that have not ended.
    pub pending: u32,
    /// Members whose own notification is still pending.
    pub undelivered: u32,
    /// LIO_WAIT: the calling thread looks at this record.
    pub awaited: bool,
    /// A member failed.
    pub failed: bool,
    pub notify: Notify,
    /// In progress until the last member has ended: what LIO_WAIT sleeps on.
    pub status: Status,
}
