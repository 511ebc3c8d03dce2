//! The bytes of one tensor: a range of a shared memory map wherever possible, else a copy whose
//! start is aligned for any number in it. Knows nothing of shapes.

use mistralrs_kernels::QuantType;
use mistralrs_kernels::mapped_file::MappedFile;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Bytes of a tensor; a clone shares them.
#[derive(Clone)]
pub struct TensorBytes(Source);

#[derive(Clone)]
enum Source {
    Mapped {
        map: Arc<MappedFile>,
        range: Range<usize>,
    },
    /// Words, so that the first byte is aligned for every number type.
    Owned {
        words: Arc<Vec<u64>>,
        range: Range<usize>,
    },
}

impl TensorBytes {
    /// A range of a mapped file; empty if the range is not inside the file.
    pub(crate) fn mapped(map: Arc<MappedFile>, range: Range<usize>) -> Self {
        Self(Source::Mapped { map, range })
    }

    /// Zeroed bytes that `fill` then writes.
    pub(crate) fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut words = vec![0_u64; len.div_ceil(size_of::<u64>())];
        if let Some(bytes) = bytemuck::cast_slice_mut(&mut words).get_mut(..len) {
            fill(bytes);
        }
        Self(Source::Owned { words: Arc::new(words), range: 0..len })
    }

    /// These bytes where numbers of `ty` may be read as numbers: themselves if they already lie at
    /// such an address, else a copy.
    pub(crate) fn aligned_for(self, ty: QuantType) -> Self {
        let alignment = match ty {
            QuantType::F32 => align_of::<f32>(),
            // Halves, and the half-precision scales inside blocks.
            _ => align_of::<u16>(),
        };
        if self.as_ptr().addr().is_multiple_of(alignment) { self } else { Self::from(&*self) }
    }

    /// Some of these bytes, shared; none if they are not all there.
    pub fn part(&self, part: Range<usize>) -> Self {
        let inside = |whole: &Range<usize>| {
            let start = whole.start.saturating_add(part.start);
            let end = whole.start.saturating_add(part.end);
            if start <= end && end <= whole.end { start..end } else { whole.start..whole.start }
        };
        Self(match &self.0 {
            Source::Mapped { map, range } => {
                Source::Mapped { map: Arc::clone(map), range: inside(range) }
            }
            Source::Owned { words, range } => {
                Source::Owned { words: Arc::clone(words), range: inside(range) }
            }
        })
    }

    /// Says that mapped bytes will not be read again soon: they stop costing memory.
    pub(crate) fn release(&self) {
        if let Source::Mapped { map, range } = &self.0 {
            map.release(range.clone());
        }
    }

    /// Whether the bytes lie in a memory map and so cost no memory of their own.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Source::Mapped { .. })
    }
}

impl From<&[u8]> for TensorBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::build(bytes.len(), |copy| copy.copy_from_slice(bytes))
    }
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Mapped { map, range } => map.bytes().get(range.clone()),
            Source::Owned { words, range } => bytemuck::cast_slice(words).get(range.clone()),
        }
        .unwrap_or_default()
    }
}

impl fmt::Debug for TensorBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.is_mapped() { "mapped" } else { "owned" };
        write!(f, "TensorBytes({} bytes, {place})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_aligned_and_equal() {
        let source: Vec<u8> = (0..23).collect();
        for start in 0..8 {
            let bytes = TensorBytes::from(&source[start..]);
            assert_eq!(&*bytes, &source[start..]);
            assert_eq!(bytes.as_ptr().addr() % 8, 0);
        }
        assert!(TensorBytes::from(&[][..]).is_empty());
    }

    #[test]
    fn parts_of_parts_and_nothing_beyond() {
        let bytes = TensorBytes::from(&(0..23).collect::<Vec<u8>>()[..]);
        let part = bytes.part(5..20);
        assert_eq!(&*part, &(5..20).collect::<Vec<u8>>()[..]);
        assert_eq!(&*part.part(3..4), &[8]);
        let reversed = Range { start: usize::MAX, end: 3 };
        assert!(part.part(10..16).is_empty() && part.part(reversed).is_empty());
    }
}
