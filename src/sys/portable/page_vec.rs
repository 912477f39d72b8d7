//! A vector of plain data in memory of its own (`memory::map`): its users must not call malloc.

use std::ops;
use std::ptr::NonNull;

use crate::sys::errno::{Errno, Result};
use crate::sys::memory;

pub struct PageVec<T> {
    start: NonNull<T>,
    len: usize,
    room: usize,
}

// SAFETY: it owns its elements, as a Vec does.
unsafe impl<T: Send> Send for PageVec<T> {}

impl<T: Copy> PageVec<T> {
    pub const fn new() -> PageVec<T> {
        PageVec { start: NonNull::dangling(), len: 0, room: 0 }
    }

    /// Makes room for `count` more elements. Error: ENOMEM; the vector is unchanged.
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        let needed = self.len.saturating_add(count);
        if needed <= self.room {
            return Ok(());
        }
        const FIRST: usize = 256;
        let room = needed.max(FIRST).checked_next_power_of_two().ok_or(Errno(libc::ENOMEM))?;
        let bytes = room.checked_mul(size_of::<T>()).ok_or(Errno(libc::ENOMEM))?;
        let larger = memory::map(bytes)?.cast::<T>();
        // SAFETY: the new mapping has room for `len` elements and does not overlap the old one.
        unsafe { larger.copy_from_nonoverlapping(self.start, self.len) };
        *self = PageVec { start: larger, len: self.len, room };
        Ok(())
    }

    /// Adds an element. Error: ENOMEM, never within what `reserve` has made room for.
    pub fn push(&mut self, element: T) -> Result<()> {
        self.reserve(1)?;
        // SAFETY: `reserve` has made room for it.
        unsafe { self.start.add(self.len).write(element) };
        self.len += 1;
        Ok(())
    }

    /// Keeps the elements for which `keep` returns true, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut kept = 0;
        for index in 0..self.len {
            let Some(element) = self.get(index).copied() else { break };
            if keep(&element) {
                if let Some(place) = self.get_mut(kept) {
                    *place = element;
                }
                kept += 1;
            }
        }
        self.len = kept;
    }
}

impl<T: Copy> Default for PageVec<T> {
    fn default() -> PageVec<T> {
        PageVec::new()
    }
}

impl<T> ops::Deref for PageVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements were written; the borrow keeps them from changing.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> ops::DerefMut for PageVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and this borrow is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for PageVec<T> {
    fn drop(&mut self) {
        if self.room > 0 {
            // SAFETY: mapped by `reserve` with this size; nothing refers to it any more.
            unsafe { memory::unmap(self.start.cast(), self.room * size_of::<T>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_grows_and_keeps_its_order() {
        let mut numbers = PageVec::new();
        (0..10_000u32).for_each(|number| numbers.push(number).unwrap());
        assert!(numbers.iter().copied().eq(0..10_000));
        numbers.retain(|number| number % 3 == 0);
        assert!(numbers.iter().copied().eq((0..10_000).step_by(3)));
        assert_eq!(std::mem::take(&mut numbers).len(), 3_334);
        assert!(numbers.is_empty());
    }
}
