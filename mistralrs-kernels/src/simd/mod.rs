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

/// Vectors that are read from 16-bit numbers.
///
/// # Safety
/// As for [`Simd`].
pub(crate) trait LoadHalves: Simd {
    /// The first `count <= LANES` numbers at `from`, widened exactly, zeros after: bfloat16, or
    /// IEEE halves if not `BF16`. Little-endian, of any alignment.
    unsafe fn load_halves<const BF16: bool>(from: *const u8, count: usize) -> Self::V;
    /// `LANES` pairs of bfloat16 at `from`: the first numbers of all pairs, and the second.
    unsafe fn load_pairs(from: *const u8) -> (Self::V, Self::V);
}

/// Has the cache line at `from` fetched, if there is one.
#[inline(always)]
pub(crate) fn prefetch(from: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}
