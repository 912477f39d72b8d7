//! A stack of records that are never freed, linked through themselves: it needs no memory. Under its owner's lock.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

pub trait Linked: 'static + Sized {
    /// The next one below. A record lies on one stack at a time.
    fn next(&self) -> &AtomicPtr<Self>;
}

pub struct Stack<T>(*const T);

// SAFETY: records are never freed and shared anyway; links are only followed under the lock.
unsafe impl<T: Sync> Send for Stack<T> {}

impl<T: Linked> Stack<T> {
    pub const fn new() -> Stack<T> {
        Stack(ptr::null())
    }

    pub fn first(&self) -> Option<&'static T> {
        // SAFETY: records are never freed.
        unsafe { self.0.as_ref() }
    }

    pub fn push(&mut self, record: &'static T) {
        record.next().store(self.0.cast_mut(), Ordering::Relaxed);
        self.0 = record;
    }

    pub fn pop(&mut self) -> Option<&'static T> {
        let record = self.first()?;
        self.0 = record.next().load(Ordering::Relaxed);
        Some(record)
    }

    /// False: it is not there.
    pub fn remove(&mut self, gone: &'static T) -> bool {
        let (mut kept, mut found) = (Stack::new(), false);
        while let Some(record) = self.pop() {
            if ptr::eq(record, gone) {
                found = true;
                break;
            }
            kept.push(record);
        }
        while let Some(record) = kept.pop() {
            self.push(record);
        }
        found
    }
}
