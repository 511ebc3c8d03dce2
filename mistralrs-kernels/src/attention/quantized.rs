//! Keys and values in bytes: the layout of a head, and how numbers come into it. Knows no cache and no query.
//!
//! A head is in groups of [`GROUP`] numbers, the last one as short as it is. First come the scales of all groups (IEEE
//! halves, little-endian), then a signed byte for each number, `x = scale * byte`: the numbers of ggml's Q8_0. Heads
//! of a block's keys lie number by number, so `[groups, block_size]` scales and `[head_dim, block_size]` bytes.

use crate::block::{f16_to_f32, f32_to_f16, inverse, nearest_integer};
use crate::dispatch;
use crate::simd::LoadHalves;

/// Numbers that share a scale: whole vectors of every instruction set.
const GROUP: usize = 32;
/// Bytes of a scale.
const SCALE: usize = 2;

/// Bytes of a head of `head_dim` numbers: one for each, and two for each 32 of them.
pub fn q8_head_bytes(head_dim: usize) -> usize {
    head_dim.saturating_add(scale_bytes(head_dim))
}

/// Bytes of a head's scales.
#[inline(always)]
fn scale_bytes(head_dim: usize) -> usize {
    head_dim.div_ceil(GROUP) * SCALE
}

/// Rounds heads of `head_dim` numbers to bytes with a scale per 32 of them, a 127th of their largest magnitude. A
/// number is off by half a scale at most, or by 4e-6 where that is more: scales are halves. What is larger than
/// 8.3e6 becomes that. Where one of the 32 is infinite or no number, all of them become NaN.
///
/// # Panics
/// If `x` is not whole heads, or `out` not [`q8_head_bytes`] for each.
pub fn round_to_q8(x: &[f32], head_dim: usize, out: &mut [u8]) {
    assert!(head_dim > 0 && x.len().is_multiple_of(head_dim), "x is not [heads, {head_dim}]");
    let bytes = (x.len() / head_dim).saturating_mul(q8_head_bytes(head_dim));
    assert_eq!(bytes, out.len(), "out is not of x's size");
    // SAFETY: the kernels' instruction set is present.
    unsafe { (dispatch::kernels().round_to_q8)(x, head_dim, out) }
}

/// The body of [`round_to_q8`], which has checked the sizes.
#[inline(always)]
pub(crate) fn round_heads(x: &[f32], head_dim: usize, out: &mut [u8]) {
    let heads = out.chunks_exact_mut(q8_head_bytes(head_dim));
    for (x, head) in x.chunks_exact(head_dim).zip(heads) {
        let (scales, codes) = head.split_at_mut(scale_bytes(head_dim));
        let groups = scales.chunks_exact_mut(SCALE).zip(codes.chunks_mut(GROUP));
        for (x, (scale, codes)) in x.chunks(GROUP).zip(groups) {
            round_group(x, scale, codes);
        }
    }
}

#[inline(always)]
fn round_group(x: &[f32], to: &mut [u8], codes: &mut [u8]) {
    // The bits of magnitudes are in their order, with the infinite above the finite and NaN above both.
    let largest = x.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
    let largest = f32::from_bits(largest);
    let scale = f32_to_f16(if largest.is_finite() { largest / 127.0 } else { f32::NAN });
    let inverse = inverse(f16_to_f32(scale));
    to.copy_from_slice(&scale.to_le_bytes());
    for (code, x) in codes.iter_mut().zip(x) {
        *code = nearest_integer((x * inverse).clamp(-127.0, 127.0)) as i8 as u8;
    }
}

/// Puts a head to its place among those of a block's keys.
pub(super) fn spread_q8(
    head: &[u8],
    (head_dim, block_size): (usize, usize),
    position: usize,
    block: &mut [u8],
) {
    let (scales, codes) = head.split_at(scale_bytes(head_dim));
    let (to_scales, to_codes) = block.split_at_mut(scales.len() * block_size);
    let to_scales = to_scales[position * SCALE..].chunks_mut(SCALE * block_size);
    for (to, scale) in to_scales.zip(scales.chunks_exact(SCALE)) {
        to[..SCALE].copy_from_slice(scale);
    }
    for (to, code) in to_codes[position..].iter_mut().step_by(block_size).zip(codes) {
        *to = *code;
    }
}

/// Numbers `d..d + count` of a head, exactly; what is in the lanes behind them does not matter. `d` is a multiple
/// of `LANES`.
///
/// # Safety
/// The instruction set is present, and the head has these numbers.
#[inline(always)]
pub(super) unsafe fn load<S: LoadHalves>(
    head: *const u8,
    head_dim: usize,
    d: usize,
    count: usize,
) -> S::V {
    const { assert!(GROUP.is_multiple_of(S::LANES), "a vector has one scale") };
    // SAFETY: the scale of group `d / GROUP` is there, and these numbers.
    unsafe {
        let scale = u16::from_le_bytes(head.add(d / GROUP * SCALE).cast::<[u8; SCALE]>().read());
        S::load_scaled(scale, head.add(scale_bytes(head_dim) + d), count)
    }
}

/// Number `d` of keys `at..at + count` of a block, exactly, as [`load`].
///
/// # Safety
/// The instruction set is present, and the block has these keys.
#[inline(always)]
pub(super) unsafe fn load_keys<S: LoadHalves>(
    keys: *const u8,
    (head_dim, block_size): (usize, usize),
    d: usize,
    at: usize,
    count: usize,
) -> S::V {
    // SAFETY: the scales of group `d / GROUP` are there, and the bytes of number `d`, of these keys.
    unsafe {
        let scales = keys.add((d / GROUP * block_size + at) * SCALE);
        let codes = keys.add((scale_bytes(head_dim) + d) * block_size + at);
        S::load_each_scaled(scales, codes, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::all_kernels;
    use crate::scalar::widen_q8;
    use proptest::prelude::*;

    /// What a head comes back as; every instruction set makes the same bytes of it.
    fn there_and_back(x: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0xaa; q8_head_bytes(x.len())];
        round_to_q8(x, x.len(), &mut bytes);
        for kernels in all_kernels() {
            let mut others = vec![0x55; bytes.len()];
            // SAFETY: the instruction set is present, the sizes fit.
            unsafe { (kernels.round_to_q8)(x, x.len(), &mut others) };
            assert_eq!(bytes, others, "{}", kernels.isa.name());
        }
        widen_q8(&bytes, x.len(), 1)
    }

    proptest! {
        #[test]
        fn numbers_are_off_by_half_a_scale_at_most(
            numbers in proptest::collection::vec(-1f32..1.0, 1..100),
            exponents in proptest::collection::vec(-30i32..22, 4),
        ) {
            let sized = |(i, x): (usize, &f32)| x * 2f32.powi(exponents[i / GROUP]);
            let x: Vec<f32> = numbers.iter().enumerate().map(sized).collect();
            let found = there_and_back(&x);
            prop_assert_eq!(found.len(), x.len());
            for (x, found) in x.chunks(GROUP).zip(found.chunks(GROUP)) {
                let largest = x.iter().fold(0f32, |most, x| most.max(x.abs()));
                // The scale is a half: off by a 2048th of itself, or by 2^-25 where it is small.
                let bound = largest / 254.0 * (1.0 + 1.0 / 1024.0) + 127.0 / 2f32.powi(25);
                for (x, found) in x.iter().zip(found) {
                    prop_assert!((x - found).abs() <= bound, "{x} became {found} beside {largest}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_finite_number_shows_in_its_group_alone() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5; 2 * GROUP + 3];
            x[GROUP + 7] = odd;
            let found = there_and_back(&x);
            let groups: Vec<_> = found.chunks(GROUP).map(<[f32]>::to_vec).collect();
            assert!(groups[1].iter().all(|x| x.is_nan()), "{odd}");
            assert!(groups[0].iter().chain(&groups[2]).all(|x| (x - 0.5).abs() < 1e-3), "{odd}");
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        let most = 127.0 * 65504.0;
        assert_eq!(there_and_back(&[f32::MAX, -1e30, 0.0]), [most, -most, 0.0]);
        assert_eq!(there_and_back(&[0.0, -0.0, 1e-40]), [0.0; 3]);
        assert_eq!(there_and_back(&[127.0, -127.0, 63.0, 0.4]), [127.0, -127.0, 63.0, 0.0]);
    }

    #[test]
    fn a_head_has_a_scale_for_each_32() {
        let bytes = [1, 8, 32, 33, 64, 80].map(q8_head_bytes);
        assert_eq!(bytes, [3, 10, 34, 37, 68, 86]);
    }

    #[test]
    #[should_panic(expected = "not of x's size")]
    fn room_of_another_size_is_refused() {
        round_to_q8(&[0.0; 16], 8, &mut [0; 18]);
    }
}
