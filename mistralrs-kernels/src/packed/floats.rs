//! How floats lie in tiles, and the way there and back. Knows no products.
//! A tile has one column of its 16 rows after the other; bfloat16 lies in pairs of columns instead, row
//! by row, which is how the instruction `vdpbf16ps` takes it.

use super::layout::{BLOCK_COLS, TILE_ROWS};
use crate::quant_type::QuantType;

/// The floats that can be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floats {
    F32,
    F16,
    Bf16,
}

impl Floats {
    /// `None` for what is no float.
    pub(crate) fn of(ty: QuantType) -> Option<Self> {
        match ty {
            QuantType::F32 => Some(Self::F32),
            QuantType::F16 => Some(Self::F16),
            QuantType::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Bytes of 32 columns of a tile.
    pub(crate) const fn block_bytes(self) -> usize {
        BLOCK_COLS * TILE_ROWS * if matches!(self, Self::F32) { 4 } else { 2 }
    }

    /// Where in a tile, or in some columns of it, the number of a row and column begins.
    #[inline(always)]
    const fn place(self, row: usize, column: usize) -> usize {
        match self {
            Self::F32 => 4 * (column * TILE_ROWS + row),
            Self::F16 => 2 * (column * TILE_ROWS + row),
            Self::Bf16 => 4 * (column / 2 * TILE_ROWS + row) + column % 2 * 2,
        }
    }

    /// Packs up to 16 stored rows; rows that are missing stay as they are.
    pub(super) fn pack(self, rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
        match self {
            // A pair of bfloat16 is as wide as one f32.
            Self::F32 | Self::Bf16 => pack_units::<4>(rows, row_bytes, tile),
            Self::F16 => pack_units::<2>(rows, row_bytes, tile),
        }
    }

    /// The number of a row and column of a tile, or of some columns of it.
    pub(super) fn number(self, tile: &[u8], row: usize, column: usize) -> f32 {
        let at = self.place(row, column);
        let half = || u16::from_le_bytes([tile[at], tile[at + 1]]);
        match self {
            Self::F32 => f32::from_le_bytes([0, 1, 2, 3].map(|byte| tile[at + byte])),
            Self::F16 => crate::block::f16_to_f32(half()),
            Self::Bf16 => f32::from_bits(u32::from(half()) << 16),
        }
    }
}

/// Writes unit after unit of so many bytes, each of all rows; some columns of every row at a time, so that
/// what is written stays near.
fn pack_units<const BYTES: usize>(rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
    const NEAR: usize = 32;
    for (at, part) in tile.as_chunks_mut::<BYTES>().0.chunks_mut(NEAR * TILE_ROWS).enumerate() {
        for (row, stored) in rows.chunks_exact(row_bytes).enumerate() {
            // A pair may have one number only, the last.
            let (whole, rest) = stored.as_chunks::<BYTES>();
            let mut last = [0; BYTES];
            last[..rest.len()].copy_from_slice(rest);
            let units = whole.iter().chain((!rest.is_empty()).then_some(&last)).skip(at * NEAR);
            for (column, unit) in part.as_chunks_mut::<TILE_ROWS>().0.iter_mut().zip(units) {
                column[row] = *unit;
            }
        }
    }
}
