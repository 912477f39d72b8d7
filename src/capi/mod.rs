//! The exported symbols. Each function converts its arguments, makes one call and sets errno.

pub mod posix;
