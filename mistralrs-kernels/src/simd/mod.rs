//! Vectors of `f32` lanes, one implementation per instruction set, so that a kernel's loop is
//! written once. Knows nothing of the kernels.
//!
//! Everything is `#[inline(always)]` and only called from code that `dispatch` compiles with the
//! instruction set enabled.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// The operations that kernels are made of.
///
/// # Safety
/// All functions need the instruction set to be present. Pointers need no alignment, but what is
/// read or written must lie within one allocation.
pub(crate) trait Simd {
    const LANES: usize;
    /// A vector.
    type V: Copy;

    /// `x` in all lanes.
    unsafe fn splat(x: f32) -> Self::V;
    /// The first `count <= LANES` numbers at `from`, zeros after.
    unsafe fn load(from: *const f32, count: usize) -> Self::V;
    /// Writes the first `count <= LANES` lanes to `to`.
    unsafe fn store(v: Self::V, to: *mut f32, count: usize);
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The sum of all lanes, in an order of the instruction set's own that is always the same.
    unsafe fn sum(v: Self::V) -> f32;
    /// Swaps rows and columns of the square of the first `LANES` vectors; `LANES <= 16`.
    unsafe fn transpose(square: &mut [Self::V; 16]);
}

/// Vectors that are read from numbers of 16 and 8 bits.
///
/// # Safety
/// As for [`Simd`].
pub(crate) trait LoadHalves: Simd {
    /// The first `count <= LANES` numbers at `from`, widened exactly, zeros after: bfloat16, or
    /// IEEE halves if not `BF16`. Little-endian, of any alignment.
    unsafe fn load_halves<const BF16: bool>(from: *const u8, count: usize) -> Self::V;
    /// `LANES` pairs of bfloat16 at `from`: the first numbers of all pairs, and the second.
    unsafe fn load_pairs(from: *const u8) -> (Self::V, Self::V);
    /// The first `count <= LANES` signed bytes at `from` times the IEEE half `scale`, exactly; in the lanes behind
    /// them zeros times it.
    unsafe fn load_scaled(scale: u16, from: *const u8, count: usize) -> Self::V;
    /// The same with a scale for each lane, `count` halves at `scales`.
    unsafe fn load_each_scaled(scales: *const u8, from: *const u8, count: usize) -> Self::V;
}

/// What a running softmax needs besides.
///
/// # Safety
/// As for [`Simd`].
pub(crate) trait Exponential: LoadHalves {
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// The larger of each two lanes; `b`'s where `a`'s is no number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The largest of all lanes, none of which is no number.
    unsafe fn largest(v: Self::V) -> f32;
    /// `e^x` for `x <= 0`, within 2 units in the last place; zero from -87 on, keeps what is no number.
    unsafe fn exp(x: Self::V) -> Self::V;
}

/// `log2 e`.
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// `ln 2` in two parts, the first of few bits: its product with a small integer is exact.
const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
/// Below, `e^x` is zero: what it is there is no normal number, and processors take a hundred times as long to
/// come to one.
const LEAST_EXPONENT: f32 = -87.0;
/// The Taylor series of `e^r` from its last term on: within 1e-8 for `|r| <= ln 2 / 2`.
const SERIES: [f32; 8] =
    [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Has the cache line at `from` fetched into the first-level cache, if there is one.
#[inline(always)]
pub(crate) fn prefetch(from: *const u8) {
    prefetch_into::<false>(from);
}

/// The same into the second-level cache: what is needed later. The first-level one waits for few lines at a time, fewer
/// than memory would give meanwhile.
#[inline(always)]
pub(crate) fn prefetch_early(from: *const u8) {
    prefetch_into::<true>(from);
}

#[inline(always)]
fn prefetch_into<const SECOND: bool>(from: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and it reads nothing.
        unsafe {
            if SECOND {
                _mm_prefetch::<_MM_HINT_T1>(from.cast());
            } else {
                _mm_prefetch::<_MM_HINT_T0>(from.cast());
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[inline(always)]
    unsafe fn exps<S: Exponential>(x: &mut [f32]) {
        for x in x.chunks_exact_mut(S::LANES) {
            // SAFETY: as the caller vouches.
            unsafe { S::store(S::exp(S::load(x.as_ptr(), S::LANES)), x.as_mut_ptr(), S::LANES) };
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn avx2(x: &mut [f32]) {
        // SAFETY: as the caller vouches.
        unsafe { exps::<Avx2>(x) };
    }

    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn avx512(x: &mut [f32]) {
        // SAFETY: as the caller vouches.
        unsafe { exps::<Avx512>(x) };
    }

    #[test]
    fn exponentials_are_close_to_f64() {
        let mut ways: Vec<unsafe fn(&mut [f32])> = vec![exps::<Portable>];
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            ways.push(avx2);
        }
        if is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512bw") {
            ways.push(avx512);
        }
        let mut x: Vec<f32> = (0..1 << 16).map(|i| i as f32 * -1.6e-3).collect();
        x[1..4].copy_from_slice(&[f32::NAN, f32::NEG_INFINITY, -1e30]);
        for exp in ways {
            let mut y = x.clone();
            // SAFETY: the instruction set is present.
            unsafe { exp(&mut y) };
            assert_eq!(y[0], 1.0);
            assert!(y[1].is_nan());
            assert_eq!(y[2..4], [0.0, 0.0]);
            for (x, y) in x.iter().zip(&y).skip(4) {
                if *x < LEAST_EXPONENT {
                    assert_eq!(*y, 0.0);
                    continue;
                }
                let wanted = f64::from(*x).exp();
                let unit = f64::from(f32::from_bits((wanted as f32).to_bits() + 1))
                    - f64::from(wanted as f32);
                assert!((f64::from(*y) - wanted).abs() < 2.0 * unit, "{x}: {y}, not {wanted}");
            }
        }
    }
}
