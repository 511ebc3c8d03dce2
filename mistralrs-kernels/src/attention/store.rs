//! How keys and values come into the paged cache: rounded to what it is made of, and to where [`super::cache`] says
//! that they lie.

use super::cache::CacheNumber;
use super::quantized::{round_to_q8, spread_q8};
use crate::elementwise::round_to_halves;
use half::f16;

/// What all blocks of a cache share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Key/value heads.
    pub kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Positions per block.
    pub block_size: usize,
}

/// A [`super::CacheSlice`] to be written to.
#[derive(Debug)]
pub enum CacheSliceMut<'a> {
    /// As they were computed.
    F32(&'a mut [f32]),
    /// Rounded to halves: the largest to the largest half.
    F16(&'a mut [f16]),
    /// In bytes, see [`round_to_q8`].
    Q8(&'a mut [u8]),
}

/// Puts the keys of tokens, `[tokens, kv_heads, head_dim]`, into their slots of the cache: slot `s` is position
/// `s % block_size` of block `s / block_size`.
///
/// # Panics
/// If `x` is not a token for each slot, or a slot lies outside the cache.
pub fn store_keys(shape: &CacheShape, x: &[f32], slots: &[usize], cache: CacheSliceMut<'_>) {
    match cache {
        CacheSliceMut::F32(cache) => store(shape, x, slots, cache, f32::spread),
        CacheSliceMut::F16(cache) => store(shape, x, slots, cache, f16::spread),
        CacheSliceMut::Q8(cache) => store(shape, x, slots, cache, u8::spread),
    }
}

/// The same with values.
///
/// # Panics
/// As [`store_keys`].
pub fn store_values(shape: &CacheShape, x: &[f32], slots: &[usize], cache: CacheSliceMut<'_>) {
    match cache {
        CacheSliceMut::F32(cache) => store(shape, x, slots, cache, beside),
        CacheSliceMut::F16(cache) => store(shape, x, slots, cache, beside),
        CacheSliceMut::Q8(cache) => store(shape, x, slots, cache, beside),
    }
}

/// Writes a head into its block's heads at a position.
type Place<C> = fn(head: &[C], shape: &CacheShape, position: usize, block: &mut [C]);

/// Rounds token by token and has `place` write each head.
fn store<C: Stored>(
    shape: &CacheShape,
    x: &[f32],
    slots: &[usize],
    cache: &mut [C],
    place: Place<C>,
) {
    let CacheShape { kv_heads, head_dim, block_size } = *shape;
    let width = kv_heads * head_dim;
    assert_eq!(x.len(), slots.len() * width, "x is not [{}, {width}]", slots.len());
    if x.is_empty() {
        return;
    }
    let per_head = C::per_head(head_dim);
    let per_block = block_size * per_head;
    let mut rounded = vec![C::ZERO; kv_heads * per_head];
    for (x, slot) in x.chunks_exact(width).zip(slots) {
        C::round(x, head_dim, &mut rounded);
        let (block, position) = (slot / block_size, slot % block_size);
        let blocks = cache[block * kv_heads * per_block..].chunks_exact_mut(per_block);
        assert!(blocks.len() >= kv_heads, "slot {slot} lies outside the cache");
        for (head, block) in rounded.chunks_exact(per_head).zip(blocks) {
            place(head, shape, position, block);
        }
    }
}

/// Position after position.
fn beside<C: CacheNumber>(head: &[C], _: &CacheShape, position: usize, block: &mut [C]) {
    block[position * head.len()..][..head.len()].copy_from_slice(head);
}

/// How numbers become those of a cache.
trait Stored: CacheNumber {
    const ZERO: Self;
    /// Rounds whole heads.
    fn round(x: &[f32], head_dim: usize, out: &mut [Self]);
    /// Number by number: a [`Place`] for keys.
    fn spread(head: &[Self], shape: &CacheShape, position: usize, block: &mut [Self]) {
        for (to, x) in block[position..].iter_mut().step_by(shape.block_size).zip(head) {
            *to = *x;
        }
    }
}

impl Stored for f32 {
    const ZERO: Self = 0.0;
    fn round(x: &[f32], _: usize, out: &mut [f32]) {
        out.copy_from_slice(x);
    }
}

impl Stored for f16 {
    const ZERO: Self = f16::ZERO;
    fn round(x: &[f32], _: usize, out: &mut [f16]) {
        round_to_halves(x, out);
    }
}

impl Stored for u8 {
    const ZERO: Self = 0;
    fn round(x: &[f32], head_dim: usize, out: &mut [u8]) {
        round_to_q8(x, head_dim, out);
    }

    fn spread(head: &[u8], shape: &CacheShape, position: usize, block: &mut [u8]) {
        spread_q8(head, (shape.head_dim, shape.block_size), position, block);
    }
}
