//! Which rows of a packed weight are multiplied, and what is added to their products.

use super::PackedWeight;
use super::layout::TILE_ROWS;
use std::ops::Range;

/// One matrix of a [`PackedWeight`], or some of its rows, and their biases.
#[derive(Debug, Clone, Copy)]
pub struct PackedPart<'a> {
    pub(super) w: &'a PackedWeight,
    /// Of the matrix, in the stack.
    pub(super) first_tile: usize,
    /// The rows from `start` on, `len` of them, are meant.
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) bias: Option<&'a [f32]>,
}

impl<'a> PackedPart<'a> {
    pub(super) fn new(w: &'a PackedWeight, first_tile: usize) -> Self {
        Self { w, first_tile, start: 0, len: w.rows, bias: None }
    }

    /// These rows of it alone; `None` if they are not there, or a tile of 16 rows would have to be cut.
    pub fn rows(self, rows: Range<usize>) -> Option<Self> {
        let is_cut = |row: usize| row != self.w.rows && !row.is_multiple_of(TILE_ROWS);
        if rows.is_empty()
            || rows.end > self.len
            || is_cut(self.start + rows.start)
            || is_cut(self.start + rows.end)
        {
            return None;
        }
        Some(self.cut(rows))
    }

    /// As [`Self::rows`], where it is known that there are such.
    pub(super) fn cut(self, rows: Range<usize>) -> Self {
        let (start, len) = (self.start + rows.start, rows.len());
        Self { start, len, bias: self.bias.map(|bias| &bias[rows]), ..self }
    }

    /// With a number for each row, which is added to its products.
    ///
    /// # Panics
    /// If they are not as many as the rows.
    #[must_use]
    pub fn with_bias(self, bias: &'a [f32]) -> Self {
        assert_eq!(bias.len(), self.len, "a bias for each row");
        Self { bias: Some(bias), ..self }
    }

    /// How many rows it has.
    #[expect(clippy::len_without_is_empty, reason = "there is no part without rows")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.w.cols
    }

    /// The matrix' tiles with its rows.
    pub(super) fn tiles(&self) -> Range<usize> {
        self.start / TILE_ROWS..(self.start + self.len).div_ceil(TILE_ROWS)
    }
}

impl<'a> From<&'a PackedWeight> for PackedPart<'a> {
    fn from(w: &'a PackedWeight) -> Self {
        w.part(0)
    }
}
