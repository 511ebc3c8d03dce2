//! Writing disjoint parts of one slice from several threads, and memory that a thread keeps
//! between calls. Knows no kernel.

use crate::simd::LINE;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// A slice that several threads write, each its own places.
#[derive(Clone, Copy)]
pub(crate) struct SharedSlice<'a, T = f32> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: the only way to write is `part`, whose caller vouches that no two threads share a place.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T: Copy> SharedSlice<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// Memory that holds nothing yet: only to be written, by [`Self::write`] or behind [`Self::place`].
    pub(crate) fn unwritten(slice: &'a mut [MaybeUninit<T>]) -> Self {
        Self { start: slice.as_mut_ptr().cast(), len: slice.len(), slice: PhantomData }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// Where the `len` elements from `start` lie.
    ///
    /// # Safety
    /// They lie within the slice.
    #[inline(always)]
    pub(crate) unsafe fn place(self, start: usize, len: usize) -> *mut T {
        debug_assert!(start + len <= self.len);
        // SAFETY: within the slice, as the caller vouches.
        unsafe { self.start.add(start) }
    }

    /// The `len` elements from `start`, which are there.
    ///
    /// # Safety
    /// They lie within the slice, and nobody else reads or writes them while the result lives.
    #[inline(always)]
    pub(crate) unsafe fn part(self, start: usize, len: usize) -> &'a mut [T] {
        debug_assert!(start + len <= self.len);
        // SAFETY: within the slice and exclusive, as the caller vouches.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// Writes one element.
    ///
    /// # Safety
    /// `at` lies within the slice and no other thread touches it.
    #[inline(always)]
    pub(crate) unsafe fn write(self, at: usize, x: T) {
        debug_assert!(at < self.len);
        // SAFETY: within the slice and exclusive, as the caller vouches.
        unsafe { self.start.add(at).write(x) };
    }
}

/// A cache line: vectors that begin at one are read at once.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; NUMBERS]);

/// Numbers of a line.
const NUMBERS: usize = LINE / size_of::<f32>();

thread_local! {
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Numbers of this thread's own, handed back to it at the end. (A guard and not a closure: a
/// closure would be compiled without the caller's instruction set.)
pub(crate) struct Scratch {
    memory: Vec<Line>,
    len: usize,
}

impl Scratch {
    /// `len` numbers, the first at the beginning of a cache line; what they hold at first is arbitrary.
    pub(crate) fn take(len: usize) -> Self {
        let mut memory = SCRATCH.take();
        let lines = len.div_ceil(NUMBERS);
        if memory.len() < lines {
            memory.resize(lines, Line([0.0; NUMBERS]));
        }
        Self { memory, len }
    }

    #[inline(always)]
    pub(crate) fn numbers(&mut self) -> &mut [f32] {
        let start = self.memory.as_mut_ptr().cast();
        // SAFETY: as many lines are there, and a line is nothing but its numbers.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.memory));
    }
}
