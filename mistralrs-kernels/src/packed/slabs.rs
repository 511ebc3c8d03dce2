//! Where packed weights lie: slabs that many of them share. A map for each would end most of them within a
//! huge page, which the system then cannot use, and reading them would cost a look-up every 4 KiB.

use memmap2::{MmapMut, MmapRaw};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a slab: many huge pages. What nobody takes of it costs no memory.
const SLAB: usize = 64 << 20;
/// Where a piece may begin: a multiple of cache lines, two of which are fetched together.
const ALIGNMENT: usize = 128;

/// Memory for the packed weights of a model. A clone shares it; a slab goes when the last weight in it does.
#[derive(Clone, Default)]
pub struct Slabs(Arc<Mutex<Option<Slab>>>);

/// The slab that is being filled.
struct Slab {
    memory: Arc<MmapRaw>,
    used: usize,
}

/// Zeroed memory that nobody else has.
pub(super) struct Piece {
    slab: Arc<MmapRaw>,
    start: usize,
    len: usize,
}

impl Slabs {
    /// `len` zeros; `None` if there is no memory.
    pub(super) fn take(&self, len: usize) -> Option<Piece> {
        // A slab is valid between any two statements below, so a poisoned lock can be taken over.
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |slab: &Slab| len <= slab.memory.len().saturating_sub(slab.used);
        let slab = match current.take().filter(fits) {
            Some(slab) => slab,
            None => Slab { memory: Arc::new(map(len.max(SLAB))?), used: 0 },
        };
        let slab = current.insert(slab);
        let piece = Piece { slab: Arc::clone(&slab.memory), start: slab.used, len };
        slab.used = slab.used.saturating_add(len).checked_next_multiple_of(ALIGNMENT)?;
        Some(piece)
    }
}

fn map(len: usize) -> Option<MmapRaw> {
    let memory = MmapMut::map_anon(len).ok()?;
    #[cfg(target_os = "linux")]
    {
        // A system without huge pages works as well.
        let _ = memory.advise(memmap2::Advice::HugePage);
    }
    Some(memory.into())
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `take` gave this part of the slab to this piece alone, and only `deref_mut` writes it.
        unsafe { std::slice::from_raw_parts(self.slab.as_ptr().add(self.start), self.len) }
    }
}

impl DerefMut for Piece {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; a piece is no `Clone`, so nobody else reads this part now.
        unsafe { std::slice::from_raw_parts_mut(self.slab.as_mut_ptr().add(self.start), self.len) }
    }
}

impl fmt::Debug for Slabs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slabs")
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_zeroed_aligned_and_apart() {
        let slabs = Slabs::default();
        let lens = [1, 0, 127, 4096, SLAB - 9000, 5000, SLAB + 1, 70];
        let mut pieces: Vec<_> = lens.iter().map(|len| slabs.clone().take(*len).unwrap()).collect();
        for (at, piece) in pieces.iter_mut().enumerate() {
            assert_eq!(piece.len(), lens[at]);
            assert_eq!(piece.as_ptr().addr() % ALIGNMENT, 0);
            let len = piece.len();
            for byte in piece.iter_mut().take(5) {
                assert_eq!(std::mem::replace(byte, at as u8 + 1), 0);
            }
            if let Some(last) = piece.get_mut(len.saturating_sub(1)) {
                *last = at as u8 + 1;
            }
        }
        drop(slabs);
        for (at, piece) in pieces.iter().enumerate() {
            assert!(piece.first().is_none_or(|byte| usize::from(*byte) == at + 1));
            assert!(piece.last().is_none_or(|byte| usize::from(*byte) == at + 1));
        }
    }

    #[test]
    fn no_memory_is_no_panic() {
        assert!(Slabs::default().take(usize::MAX / 2).is_none());
        assert!(Slabs::default().take(usize::MAX).is_none());
    }
}
