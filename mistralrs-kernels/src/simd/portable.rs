//! Eight lanes in plain code: for processors without the other instruction sets.

use super::{Exponential, LEAST_EXPONENT, LoadHalves, Simd};
use crate::block::f16_to_f32;

/// Whatever the compiler makes of arrays.
pub(crate) struct Portable;

impl Simd for Portable {
    const LANES: usize = 8;
    type V = [f32; 8];

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32, count: usize) -> [f32; 8] {
        if count == 8 {
            // SAFETY: the caller vouches for eight numbers; alignment is not assumed.
            return unsafe { from.cast::<[f32; 8]>().read_unaligned() };
        }
        let mut v = [0.0; 8];
        for (i, lane) in v.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` numbers.
            *lane = unsafe { from.add(i).read_unaligned() };
        }
        v
    }

    #[inline(always)]
    unsafe fn store(v: [f32; 8], to: *mut f32, count: usize) {
        for (i, lane) in v.iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` numbers.
            unsafe { to.add(i).write_unaligned(*lane) };
        }
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Two roundings: a fused one would be a library call per lane.
        let mut v = c;
        for (i, lane) in v.iter_mut().enumerate() {
            *lane += a[i] * b[i];
        }
        v
    }

    #[inline(always)]
    unsafe fn sum(v: [f32; 8]) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

    #[inline(always)]
    unsafe fn transpose(square: &mut [[f32; 8]; 16]) {
        let rows = *square;
        for (i, row) in square.iter_mut().enumerate().take(8) {
            *row = std::array::from_fn(|column| rows[column][i]);
        }
    }
}

impl LoadHalves for Portable {
    #[inline(always)]
    unsafe fn load_halves<const BF16: bool>(from: *const u8, count: usize) -> [f32; 8] {
        let mut v = [0.0; 8];
        for (i, lane) in v.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` numbers.
            let bits = u16::from_le_bytes(unsafe { from.add(2 * i).cast::<[u8; 2]>().read() });
            *lane = if BF16 { f32::from_bits(u32::from(bits) << 16) } else { f16_to_f32(bits) };
        }
        v
    }

    #[inline(always)]
    unsafe fn load_pairs(from: *const u8) -> ([f32; 8], [f32; 8]) {
        let pair = |i: usize| {
            // SAFETY: the caller vouches for eight pairs.
            u32::from_le_bytes(unsafe { from.add(4 * i).cast::<[u8; 4]>().read() })
        };
        let first = std::array::from_fn(|i| f32::from_bits(pair(i) << 16));
        (first, std::array::from_fn(|i| f32::from_bits(pair(i) & 0xffff_0000)))
    }

    #[inline(always)]
    unsafe fn load_scaled(scale: u16, from: *const u8, count: usize) -> [f32; 8] {
        let scale = f16_to_f32(scale);
        // SAFETY: the caller vouches for `count` bytes.
        unsafe { load_bytes(from, count) }.map(|lane| lane * scale)
    }

    #[inline(always)]
    unsafe fn load_each_scaled(scales: *const u8, from: *const u8, count: usize) -> [f32; 8] {
        // SAFETY: the caller vouches for `count` halves and bytes.
        let (scales, codes) =
            unsafe { (Self::load_halves::<false>(scales, count), load_bytes(from, count)) };
        std::array::from_fn(|i| codes[i] * scales[i])
    }
}

/// The first `count` signed bytes at `from`, zeros after.
#[inline(always)]
unsafe fn load_bytes(from: *const u8, count: usize) -> [f32; 8] {
    let mut v = [0.0; 8];
    for (i, lane) in v.iter_mut().enumerate().take(count) {
        // SAFETY: the caller vouches for `count` bytes.
        *lane = f32::from(unsafe { from.add(i).read() } as i8);
    }
    v
}

impl Exponential for Portable {
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn max(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn largest(v: [f32; 8]) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, |largest, x| if x > largest { x } else { largest })
    }

    #[inline(always)]
    unsafe fn exp(x: [f32; 8]) -> [f32; 8] {
        x.map(|x| if x < LEAST_EXPONENT { 0.0 } else { crate::math::exp(x) })
    }
}
