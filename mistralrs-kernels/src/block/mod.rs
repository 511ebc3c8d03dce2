//! Stored number formats, one file each, or one for those that share a table: the layout, block to numbers, numbers
//! to block.
//! Knows nothing of rows, matrices or threads. All formats are ggml's, little-endian.
//! Every function here is plain code that the compiler vectorizes once per instruction set
//! (see `dispatch`); it uses no fused multiply-add, so all instruction sets give the same bits.

mod dense;
mod fit;
mod grid;
mod half_float;
mod iq1;
mod iq2;
mod iq3;
mod iq4_nl;
mod iq4_xs;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;

pub(crate) use dense::{BF16, F16, F32};
pub(crate) use fit::{inverse, nearest_integer};
pub(crate) use grid::Values;
pub(crate) use half_float::{f16_to_f32, f32_to_f16};
pub(crate) use iq1::{Iq1M, Iq1S, VALUES as IQ1_VALUES};
pub(crate) use iq2::{Iq2S, Iq2Xs, Iq2Xxs, VALUES as IQ2_VALUES};
pub(crate) use iq3::{Iq3S, Iq3Xxs, S_VALUES as IQ3_S_VALUES, XXS_VALUES as IQ3_XXS_VALUES};
pub(crate) use iq4_nl::{Iq4Nl, VALUES as IQ4_VALUES};
pub(crate) use iq4_xs::Iq4Xs;
pub(crate) use q2_k::Q2K;
pub(crate) use q3_k::Q3K;
pub(crate) use q4_0::Q40;
pub(crate) use q4_1::Q41;
pub(crate) use q4_k::Q4K;
pub(crate) use q5_0::Q50;
pub(crate) use q5_1::Q51;
pub(crate) use q5_k::Q5K;
pub(crate) use q6_k::Q6K;
pub(crate) use q8_0::Q80;

/// A format that stores `LEN` weights in a block of `BYTES` bytes.
pub(crate) trait Format<const BYTES: usize, const LEN: usize> {
    /// Turns one block into numbers.
    fn dequantize(block: &[u8; BYTES], out: &mut [f32; LEN]);
}

/// A format that numbers are stored in here; others are only read.
pub(crate) trait Writable<const BYTES: usize, const LEN: usize>: Format<BYTES, LEN> {
    /// Stores numbers as one block.
    fn quantize(x: &[f32; LEN], block: &mut [u8; BYTES]);
}

/// What one block is made of: up to 256 integers, and the scales they share.
pub(crate) struct Integers {
    /// The integers, counted from the smallest the format knows, or their numbers in its table.
    pub(crate) codes: [u8; 256],
    /// The integer scale of each group; unused where a block has one scale.
    pub(crate) scales: [i8; 16],
    /// The integer offset of each group, likewise.
    pub(crate) mins: [u8; 16],
    /// The block's scale, a half.
    pub(crate) d: u16,
    /// The block's offset, or the scale of its groups' offsets, a half.
    pub(crate) m: u16,
}

impl Integers {
    pub(crate) fn new() -> Self {
        Self { codes: [0; 256], scales: [0; 16], mins: [0; 16], d: 0, m: 0 }
    }
}

/// A format of integers and scales.
pub(crate) trait Integral<const BYTES: usize, const LEN: usize>: Format<BYTES, LEN> {
    /// Takes one block apart.
    fn integers(block: &[u8; BYTES], out: &mut Integers);
}

/// Turns a row of whole blocks into numbers.
#[inline(always)]
pub(crate) fn dequantize_row<F: Format<BYTES, LEN>, const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
) {
    let blocks = bytes.as_chunks::<BYTES>().0.iter();
    for (block, out) in blocks.zip(out.as_chunks_mut::<LEN>().0) {
        F::dequantize(block, out);
        if LEN > 1 {
            keep_apart();
        }
    }
}

/// Between blocks, rows or groups of a block, keeps the compiler from gathering the same weight of
/// several into one vector, which it prefers once the short loops are unrolled: up to 8 times slower.
#[inline(always)]
pub(crate) fn keep_apart() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: no instruction at all.
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// Stores a row of numbers as whole blocks.
#[inline(always)]
pub(crate) fn quantize_row<F: Writable<BYTES, LEN>, const BYTES: usize, const LEN: usize>(
    x: &[f32],
    out: &mut [u8],
) {
    let rows = x.as_chunks::<LEN>().0.iter();
    for (x, block) in rows.zip(out.as_chunks_mut::<BYTES>().0) {
        F::quantize(x, block);
    }
}
