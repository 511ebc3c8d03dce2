//! How keys and values lie in a paged cache, and how they are read there. Knows no query.
//!
//! What a block holds of one head lies together. Values lie position after position, `[blocks, kv_heads, block_size,
//! head_dim]`, and keys number by number, `[blocks, kv_heads, head_dim, block_size]`: the arithmetic wants one
//! number of many keys in a vector, and a token that looks back at thousands of positions has no time to
//! transpose them. In blocks of one position both are the same.
//! In bytes, a position's scales stand for numbers of their own before its others: see [`quantized`].

use super::AttentionShape;
use super::quantized::{self, q8_head_bytes};
use crate::simd::LoadHalves;
use half::f16;

/// Keys or values of the paged cache. Attention computes in `f32`, whatever they are kept as.
///
/// Keys are `[blocks, kv_heads, head_dim, block_size]`, values `[blocks, kv_heads, block_size, head_dim]`.
#[derive(Debug, Clone, Copy)]
pub enum CacheSlice<'a> {
    /// As they were computed.
    F32(&'a [f32]),
    /// Rounded to halves.
    F16(&'a [f16]),
    /// In bytes, [`q8_head_bytes`] for a head of one position, as [`super::round_to_q8`] makes them.
    Q8(&'a [u8]),
}

impl CacheSlice<'_> {
    /// How many blocks there are; `None` if they are not whole ones of this shape.
    pub fn blocks(&self, shape: &AttentionShape) -> Option<usize> {
        let (len, per_head) = match self {
            Self::F32(numbers) => (numbers.len(), f32::per_head(shape.head_dim)),
            Self::F16(numbers) => (numbers.len(), f16::per_head(shape.head_dim)),
            Self::Q8(bytes) => (bytes.len(), u8::per_head(shape.head_dim)),
        };
        let block = shape.block_size.saturating_mul(shape.kv_heads).saturating_mul(per_head);
        (block > 0 && len.is_multiple_of(block)).then(|| len / block)
    }
}

/// What the cache is made of: numbers, or the bytes of [`quantized`] ones.
pub(crate) trait CacheNumber: Copy {
    /// Whether few rows read it where it lies: widening it twice is less than a copy. Not so for what is not widened,
    /// where the code would be twice as large.
    const IN_PLACE: bool = false;

    /// How many of them are a head of `head_dim` numbers at one position.
    fn per_head(head_dim: usize) -> usize {
        head_dim
    }

    /// Numbers `d..d + count` of the head of `head_dim` at `head`, widened exactly; the lanes behind them are of no
    /// use. `d` is a multiple of `LANES` and `count` at most `LANES`.
    ///
    /// # Safety
    /// The instruction set is present, and the head has these numbers.
    unsafe fn load<S: LoadHalves>(
        head: *const Self,
        head_dim: usize,
        d: usize,
        count: usize,
    ) -> S::V;

    /// Number `d` of the keys `at..at + count` of a block whose keys of a head begin at `keys`, as [`Self::load`]; `shape`
    /// is `(head_dim, block_size)`.
    ///
    /// # Safety
    /// The instruction set is present, and the block has these keys.
    #[inline(always)]
    unsafe fn load_keys<S: LoadHalves>(
        keys: *const Self,
        (head_dim, block_size): (usize, usize),
        d: usize,
        at: usize,
        count: usize,
    ) -> S::V {
        // SAFETY: as the caller vouches; they lie one after the other, as a head's first numbers do.
        unsafe { Self::load::<S>(keys.add(d * block_size + at), head_dim, 0, count) }
    }
}

impl CacheNumber for f32 {
    #[inline(always)]
    unsafe fn load<S: LoadHalves>(head: *const f32, _: usize, d: usize, count: usize) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { S::load(head.add(d), count) }
    }
}

impl CacheNumber for f16 {
    const IN_PLACE: bool = true;

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(head: *const f16, _: usize, d: usize, count: usize) -> S::V {
        // SAFETY: as the caller vouches; halves lie in memory as little-endian bytes here.
        unsafe { S::load_halves::<false>(head.add(d).cast(), count) }
    }
}

impl CacheNumber for u8 {
    const IN_PLACE: bool = true;

    fn per_head(head_dim: usize) -> usize {
        q8_head_bytes(head_dim)
    }

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(
        head: *const u8,
        head_dim: usize,
        d: usize,
        count: usize,
    ) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { quantized::load::<S>(head, head_dim, d, count) }
    }

    #[inline(always)]
    unsafe fn load_keys<S: LoadHalves>(
        keys: *const u8,
        shape: (usize, usize),
        d: usize,
        at: usize,
        count: usize,
    ) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { quantized::load_keys::<S>(keys, shape, d, at, count) }
    }
}
