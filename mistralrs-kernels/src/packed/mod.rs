//! Products of activations with packed weights, in integers or floats.
//!
//! A weight is packed once into tiles of 16 rows (see `layout`). For weights in blocks, activations are
//! rounded to bytes once per call (see `activations`); 32 columns are multiplied in integers, exactly; then
//! the scales are multiplied in. Where scales are integers, 256 columns are, and their scales with them. Floats are multiplied with activations as they are (see `exact`), or
//! bfloat16 with bfloat16 where that is fast (see `pairs`). The sum goes from the first column to the last
//! for every pair of rows, so a product has the same bits in any batch, tile and thread.

mod activations;
mod ahead;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod amx_chunk;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_block;
#[cfg(target_arch = "x86_64")]
mod avx2_chunk;
#[cfg(target_arch = "x86_64")]
mod avx2_strip;
#[cfg(target_arch = "x86_64")]
mod avx2_tall;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod avx512_chunk;
#[cfg(target_arch = "x86_64")]
mod avx512_chunk_strip;
#[cfg(target_arch = "x86_64")]
mod avx512_round;
#[cfg(target_arch = "x86_64")]
mod avx512_strip;
#[cfg(target_arch = "x86_64")]
mod avx512_tall;
#[cfg(target_arch = "x86_64")]
mod avx512_twelve;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_vnni;
pub(crate) mod exact;
mod floats;
mod gated;
mod layout;
mod pairs;
mod part;
mod reference;
mod slabs;
mod tasks;
mod twelve;

use crate::block::{Integers, Integral};
use crate::dispatch;
use crate::matmul::WeightRows;
use crate::pool;
use crate::quant_type::QuantType;
use crate::shared::SharedSlice;
use activations::{Block, Chunk, Rounded, Strips};
use exact::Columns;
use floats::Floats;
pub use gated::{GatedWeights, Gating, matmul_packed_mlp};
use layout::{BLOCK_COLS, Layout, Packing, TILE_ROWS};
use pairs::Pairs;
pub use part::PackedPart;
use slabs::Piece;
pub use slabs::Slabs;
use std::ops::Range;
use std::sync::OnceLock;
use tasks::run;
use twelve::{Beside, PackTwelve};

/// Evaluates `$body` with `$format` standing for the format of `$ty`; `None` for plain numbers.
macro_rules! with_format {
    ($ty:expr, $format:ident, $body:expr) => {
        with_format!(@ $ty, $format, $body,
            Q4_0 Q40, Q4_1 Q41, Q5_0 Q50, Q5_1 Q51, Q8_0 Q80,
            Q2_K Q2K, Q3_K Q3K, Q4_K Q4K, Q5_K Q5K, Q6_K Q6K,
            IQ4_NL Iq4Nl, IQ4_XS Iq4Xs, IQ3_S Iq3S, IQ3_XXS Iq3Xxs, IQ2_S Iq2S, IQ2_XS Iq2Xs,
            IQ2_XXS Iq2Xxs, IQ1_M Iq1M, IQ1_S Iq1S)
    };
    (@ $ty:expr, $format:ident, $body:expr, $($name:ident $of:ident),*) => {
        match $ty {
            $(QuantType::$name => {
                type $format = crate::block::$of;
                Some($body)
            })*
            QuantType::F32 | QuantType::F16 | QuantType::BF16 => None,
        }
    };
}
pub(crate) use with_format;

/// The same with the kind of packed weight that a kernel is compiled for, of the types in a list.
macro_rules! with_kind {
    (blocks, $ty:expr, $kind:ident, $body:expr) => {
        with_kind!(@ $ty, $kind, $body,
            Q4_0 Q40, Q4_1 Q41, Q5_0 Q50, Q5_1 Q51, Q8_0 Q80, IQ4_NL Iq4Nl)
    };
    (chunks, $ty:expr, $kind:ident, $body:expr) => {
        with_kind!(@ $ty, $kind, $body,
            Q2_K Q2K, Q3_K Q3K, Q4_K Q4K, Q5_K Q5K, Q6_K Q6K, IQ4_XS Iq4Xs, IQ3_S Iq3S, IQ3_XXS Iq3Xxs,
            IQ2_S Iq2S, IQ2_XS Iq2Xs, IQ2_XXS Iq2Xxs, IQ1_M Iq1M, IQ1_S Iq1S)
    };
    (@ $ty:expr, $kind:ident, $body:expr, $($name:ident $of:ident),*) => {
        match $ty {
            $(QuantType::$name => {
                type $kind = <crate::block::$of as $crate::packed::layout::Packing>::Kind;
                Some($body)
            })*
            _ => None,
        }
    };
}
pub(crate) use with_kind;

/// Below so many numbers, activations are rounded by the calling thread alone.
const SERIAL_NUMBERS: usize = 32 << 10;

/// The kernels of an instruction set that multiplies packed weights.
#[derive(Clone, Copy)]
pub(crate) struct PackedKernels {
    pub(crate) blocks: TileKernels<Block>,
    /// For weights whose scales are integers; rows are cut as those for `blocks`.
    pub(crate) chunks: TileKernels<Chunk>,
    /// Takes activations as they are.
    pub(crate) floats: TileKernels<Columns>,
    /// Rounds activations to bfloat16 for weights in it, where that is faster.
    pub(crate) pairs: Option<TileKernels<Pairs>>,
    /// Packs bfloat16 in twelve bits, where `floats` multiplies those faster.
    pub(crate) twelve: Option<PackTwelve>,
    /// Packs up to 16 stored rows of blocks of a type, given the bytes of a row, into a tile of zeros.
    pub(crate) pack: unsafe fn(QuantType, &[u8], usize, &mut [u8]),
}

/// How activations are taken for a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Blocks,
    Chunks,
    Floats,
    Pairs,
}

impl PackedKernels {
    fn family(&self, w: &PackedWeight) -> Family {
        match w.layout.floats {
            None if w.layout.grouped => Family::Chunks,
            None => Family::Blocks,
            Some(Floats::Bf16) if self.pairs.is_some() && !w.layout.twelve => Family::Pairs,
            Some(_) => Family::Floats,
        }
    }

    /// How they multiply a stack of matrices fastest; `None` if they do not.
    fn layout(&self, parts: &[WeightRows<'_>]) -> Option<Layout> {
        let w = parts.first()?;
        let mut layout = Layout::of(w.ty)?;
        if let (QuantType::BF16, None, Some(_)) = (w.ty, &self.pairs, self.twelve) {
            layout.twelve = twelve::suits(parts, w.ty.row_bytes(w.cols)?);
        }
        Some(layout)
    }
}

/// The kernels for tiles of integers or of floats.
#[derive(Clone, Copy)]
pub(crate) struct TileKernels<X: 'static> {
    /// How so many rows of activations are cut.
    pub(crate) strips: fn(usize) -> Strips,
    /// Rounds the rows of a strip.
    pub(crate) round: unsafe fn(&[f32], usize, &mut [X]),
    pub(crate) multiply: unsafe fn(&Job<'_, X>, Range<usize>),
}

/// A weight matrix `[rows, cols]` in tiles made for wide instructions, or a stack of such
/// matrices of one shape; it holds exactly the numbers that were stored.
#[derive(Debug)]
pub struct PackedWeight {
    ty: QuantType,
    layout: Layout,
    /// Of one matrix; each begins with a tile of its own.
    rows: usize,
    cols: usize,
    tile_bytes: usize,
    memory: Piece,
    /// Of each tile in twelve bits; none of others.
    beside: Vec<Beside>,
}

impl PackedWeight {
    /// Packs a stored matrix into `slabs`, with all threads; `None` if its type or shape has no packed
    /// form, this processor no kernel for it, or there is no memory.
    ///
    /// # Panics
    /// If the bytes do not fit the shape.
    pub fn new(w: &WeightRows<'_>, slabs: &Slabs) -> Option<Self> {
        Self::stack(std::slice::from_ref(w), slabs)
    }

    /// Packs stored matrices of one type and shape one after the other, as [`Self::new`] packs one:
    /// in one piece of memory, however many they are. [`Self::part`] names them again.
    ///
    /// # Panics
    /// If their types or shapes differ, or bytes do not fit the shape.
    pub fn stack(parts: &[WeightRows<'_>], slabs: &Slabs) -> Option<Self> {
        dispatch::kernels().packed.and_then(|kernels| Self::pack(kernels, parts, slabs))
    }

    fn pack(kernels: PackedKernels, parts: &[WeightRows<'_>], slabs: &Slabs) -> Option<Self> {
        let w = parts.first()?;
        let stored = w.ty.row_bytes(w.cols)?.checked_mul(w.rows);
        for part in parts {
            let shape = (part.ty, part.rows, part.cols);
            assert_eq!(shape, (w.ty, w.rows, w.cols), "a stack is of one type and shape");
            assert_eq!(stored, Some(part.bytes.len()), "bytes of {shape:?}");
        }
        Self::pack_as(kernels.layout(parts)?, kernels, parts, slabs)
    }

    fn pack_as(
        layout: Layout,
        kernels: PackedKernels,
        parts: &[WeightRows<'_>],
        slabs: &Slabs,
    ) -> Option<Self> {
        let w = parts.first()?;
        let chunk_cols = layout.chunk_blocks() * BLOCK_COLS;
        let row_bytes = w.ty.row_bytes(w.cols)?;
        // A row of floats may end within a block: zeros fill it.
        let fits = w.cols.is_multiple_of(chunk_cols)
            || (layout.floats.is_some() && w.cols >= BLOCK_COLS / 2);
        if w.rows == 0 || w.cols == 0 || !fits {
            return None;
        }
        let tile_bytes = w.cols.div_ceil(chunk_cols).checked_mul(layout.chunk_bytes())?;
        let part_bytes = tile_bytes.checked_mul(w.rows.div_ceil(TILE_ROWS))?;
        let bytes = part_bytes.checked_mul(parts.len())?;
        let mut memory = slabs.take(bytes)?;
        let tiles = w.rows.div_ceil(TILE_ROWS);
        let twelve = kernels.twelve.filter(|_| layout.twelve);
        let of_tiles = twelve.map_or(0, |_| tiles * parts.len());
        let beside: Vec<OnceLock<Beside>> = (0..of_tiles).map(|_| OnceLock::new()).collect();
        pool::in_parallel_parts(&mut memory, tile_bytes, |at, tile| {
            let rows = parts[at / tiles].rows_of_tile(row_bytes, at % tiles);
            match (layout.floats, twelve) {
                (_, Some(pack)) => {
                    // SAFETY: the kernels' instruction set is present.
                    let found = unsafe { pack(rows, row_bytes, tile) };
                    beside[at].get_or_init(|| found);
                }
                (Some(floats), None) => floats.pack(rows, row_bytes, tile),
                // SAFETY: as above.
                (None, None) => unsafe { (kernels.pack)(w.ty, rows, row_bytes, tile) },
            }
        });
        let beside = beside.into_iter().map(|it| it.into_inner().unwrap_or_default()).collect();
        Some(Self { ty: w.ty, layout, rows: w.rows, cols: w.cols, tile_bytes, memory, beside })
    }

    /// How the weights were stored.
    pub fn ty(&self) -> QuantType {
        self.ty
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.memory.len() + self.beside.iter().map(Beside::size).sum::<usize>()
    }

    /// One matrix of a stack; the only one of any other weight is number 0.
    ///
    /// # Panics
    /// If there is no such matrix.
    pub fn part(&self, at: usize) -> PackedPart<'_> {
        let first_tile = at * self.tiles();
        let parts = self.memory.len() / (self.tile_bytes * self.tiles());
        assert!(at < parts, "matrix {at} of a stack of {parts}");
        PackedPart::new(self, first_tile)
    }

    /// Turns a row into numbers: the same bits as the stored row gives.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `cols` long.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "a row has {} numbers", self.cols);
        let (at, row) = (row / TILE_ROWS, row % TILE_ROWS);
        match self.beside.get(at) {
            Some(beside) => beside.dequantize(self.tile(at), row, out),
            None => self.layout.dequantize(self.tile(at), row, out),
        }
    }

    /// The number of a row and column of tile `at`, a float.
    fn number(&self, at: usize, row: usize, column: usize) -> f32 {
        match (self.beside.get(at), self.layout.floats) {
            (Some(beside), _) => beside.number(self.tile(at), row, column),
            (None, Some(floats)) => floats.number(self.tile(at), row, column),
            (None, None) => f32::NAN,
        }
    }

    fn tile(&self, at: usize) -> &[u8] {
        &self.memory[at * self.tile_bytes..(at + 1) * self.tile_bytes]
    }

    fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    fn blocks(&self) -> usize {
        self.cols.div_ceil(BLOCK_COLS)
    }
}

/// What the weights of a type that are stored in so many bytes take once they are packed for this process.
pub fn packed_bytes(ty: QuantType, stored: u64) -> u64 {
    let Some(layout) = dispatch::kernels().packed.and(Layout::of(ty)) else {
        return stored;
    };
    let numbers = stored / ty.block_bytes() as u64 * ty.block_len() as u64;
    let of_chunk = layout.chunk_blocks() * BLOCK_COLS * TILE_ROWS;
    (numbers * layout.chunk_bytes() as u64).div_ceil(of_chunk as u64)
}

/// Packs up to 16 stored rows; rows that are missing stay zero.
#[inline(always)]
fn pack_tile<F: Packing + Integral<BYTES, LEN>, const BYTES: usize, const LEN: usize>(
    rows: &[u8],
    row_bytes: usize,
    tile: &mut [u8],
) {
    let mut integers: [Integers; TILE_ROWS] = std::array::from_fn(|_| Integers::new());
    for (at, chunk) in tile.chunks_exact_mut(F::LAYOUT.chunk_bytes()).enumerate() {
        for (stored, integers) in rows.chunks_exact(row_bytes).zip(&mut integers) {
            if let Some(block) = stored.as_chunks::<BYTES>().0.get(at) {
                F::integers(block, integers);
            }
        }
        F::LAYOUT.write(chunk, &integers);
    }
}

/// One product, checked.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a, X> {
    part: PackedPart<'a>,
    /// All activations.
    x: &'a [X],
    /// Those that are multiplied.
    strips: Strips,
    first_row: usize,
    /// `[strips.all, part.len]`
    y: SharedSlice<'a>,
}

impl<'a, X> Job<'a, X> {
    fn new(part: PackedPart<'a>, x: &'a [X], strips: Strips, y: SharedSlice<'a>) -> Self {
        Self { part, x, strips, first_row: strips.all().start, y }
    }

    /// The same for some of its strips.
    fn with(&self, strips: Strips) -> Self {
        Self { strips, ..*self }
    }

    /// Where the `count` results of activation row `row` with the weights from row `column` go.
    ///
    /// # Safety
    /// They are among the results.
    #[inline(always)]
    unsafe fn place(&self, row: usize, column: usize, count: usize) -> *mut f32 {
        // SAFETY: as the caller vouches.
        unsafe {
            let start = (row - self.first_row) * self.part.len + column - self.part.start;
            self.y.place(start, count)
        }
    }

    /// What is added to the `count` results of the weights from row `column`.
    #[inline(always)]
    fn bias(&self, column: usize, count: usize) -> Option<&[f32]> {
        self.part.bias.map(|bias| &bias[column - self.part.start..][..count])
    }

    /// The result of the weights' row `column` whose products add up to `sum`.
    #[inline(always)]
    fn result(&self, column: usize, sum: f32) -> f32 {
        self.bias(column, 1).map_or(sum, |bias| sum + bias[0])
    }

    /// What tile `at` of the job's matrix needs beside its bytes, where it is in twelve bits.
    #[inline(always)]
    fn beside(&self, at: usize) -> &'a Beside {
        &self.part.w.beside[self.part.first_tile + at]
    }

    /// Tile `at` of the job's matrix.
    #[inline(always)]
    fn tile(&self, at: usize) -> &[u8] {
        self.part.w.tile(self.part.first_tile + at)
    }
}

/// Multiplies `x` `[m, cols]` with the transpose of `w` into `y` `[m, rows]`.
///
/// `y[i, j]` depends on row `i` of `x` and row `j` of `w` only, to the bit. It is exact but for the
/// rounding of sums to `f32` and, with weights in blocks, of `x` to bytes (each number by at most a 254th
/// of the largest of its 32 neighbors, or of 256 with types whose scales are integers); with bfloat16, where the processor is fast at it, of `x` to that,
/// by at most a 256th of itself. If a number of a row of `x` is not finite, neither is its result.
///
/// # Panics
/// If the sizes of the slices do not fit the shape of `w`.
pub fn matmul_packed(w: &PackedWeight, x: &[f32], y: &mut [f32]) {
    matmul_packed_many(&[w], x, &mut [y]);
}

/// Multiplies `x` with each of several weights of the same `cols`, into a `y` for each; `x` is
/// rounded once. The results are those of [`matmul_packed`].
///
/// # Panics
/// If the sizes of the slices do not fit the shapes of the weights.
pub fn matmul_packed_many(weights: &[&PackedWeight], x: &[f32], ys: &mut [&mut [f32]]) {
    multiply_on(dispatch::kernels().packed, weights, x, ys);
}

/// [`matmul_packed_many`] with single matrices of stacks, or some of their rows; biases are added.
///
/// # Panics
/// If the sizes of the slices do not fit the shapes of the matrices.
pub fn matmul_packed_parts(parts: &[PackedPart<'_>], x: &[f32], ys: &mut [&mut [f32]]) {
    multiply_parts_on(dispatch::kernels().packed, parts, x, ys);
}

/// As [`matmul_packed_many`]; without kernels, by the slow twin.
fn multiply_on(
    kernels: Option<PackedKernels>,
    weights: &[&PackedWeight],
    x: &[f32],
    ys: &mut [&mut [f32]],
) {
    let parts: Vec<_> = weights.iter().map(|w| PackedPart::from(*w)).collect();
    multiply_parts_on(kernels, &parts, x, ys);
}

fn multiply_parts_on(
    kernels: Option<PackedKernels>,
    parts: &[PackedPart<'_>],
    x: &[f32],
    ys: &mut [&mut [f32]],
) {
    assert_eq!(parts.len(), ys.len(), "a result for each weight");
    let ys = ys.iter_mut().map(|y| SharedSlice::new(y));
    let targets: Vec<_> = parts.iter().copied().zip(ys).collect();
    multiply_into(kernels, &targets, x);
}

/// As [`matmul_packed_parts`], into memory of its own: nobody fills it with zeros first.
///
/// # Panics
/// If `x` does not fit the shapes of the parts.
pub fn matmul_packed_new(parts: &[PackedPart<'_>], x: &[f32]) -> Vec<Vec<f32>> {
    new_on(dispatch::kernels().packed, parts, x)
}

fn new_on(kernels: Option<PackedKernels>, parts: &[PackedPart<'_>], x: &[f32]) -> Vec<Vec<f32>> {
    let sizes = parts.iter().map(|part| x.len() / part.w.cols * part.len);
    let mut ys: Vec<Vec<f32>> = sizes.clone().map(Vec::with_capacity).collect();
    let memory = ys.iter_mut().map(Vec::spare_capacity_mut).zip(sizes.clone());
    let memory = memory.map(|(y, len)| SharedSlice::unwritten(&mut y[..len]));
    let targets: Vec<_> = parts.iter().copied().zip(memory).collect();
    multiply_into(kernels, &targets, x);
    for (y, len) in ys.iter_mut().zip(sizes) {
        // SAFETY: a product writes all of its numbers.
        unsafe { y.set_len(len) };
    }
    ys
}

/// Writes all products, every number of each.
fn multiply_into(
    kernels: Option<PackedKernels>,
    targets: &[(PackedPart<'_>, SharedSlice<'_>)],
    x: &[f32],
) {
    let kernels = kernels.unwrap_or(reference::KERNELS);
    let Some(cols) = targets.first().map(|(part, _)| part.w.cols) else {
        return;
    };
    let m = x.len() / cols;
    assert_eq!(x.len(), m * cols, "x is not [m, {cols}]");
    for (part, y) in targets {
        assert_eq!(part.w.cols, cols, "all weights have the same columns");
        assert_eq!(Some(y.len()), m.checked_mul(part.len), "y is not [{m}, {}]", part.len);
    }
    if m == 0 {
        return;
    }
    let [mut blocks, mut chunks, mut floats, mut pairs] = [const { Vec::new() }; 4];
    for target in targets {
        let kind = match kernels.family(target.0.w) {
            Family::Blocks => &mut blocks,
            Family::Chunks => &mut chunks,
            Family::Pairs => &mut pairs,
            Family::Floats => &mut floats,
        };
        kind.push(*target);
    }
    multiply_with(kernels.blocks, &blocks, x, m);
    multiply_with(kernels.chunks, &chunks, x, m);
    multiply_with(kernels.floats, &floats, x, m);
    if let Some(kernels) = kernels.pairs {
        multiply_with(kernels, &pairs, x, m);
    }
}

/// The products with parts of one kind: `x` is rounded once for all of them.
fn multiply_with<X: Rounded>(
    kernels: TileKernels<X>,
    parts: &[(PackedPart<'_>, SharedSlice<'_>)],
    x: &[f32],
    m: usize,
) {
    if parts.is_empty() {
        return;
    }
    let strips = (kernels.strips)(m);
    let cols = x.len() / m;
    with_memory(m * cols.div_ceil(X::COLS), |memory| {
        round(kernels, x, cols, strips, memory);
        let x = &*memory;
        let jobs = parts.iter().map(|&(part, y)| Job::new(part, x, strips, y));
        let jobs: Vec<Job<'_, X>> = jobs.collect();
        run(kernels, &jobs, strips);
    });
}

/// Works with memory for rounded activations that the thread keeps; what it holds at first is arbitrary.
fn with_memory<X: Rounded>(len: usize, work: impl FnOnce(&mut [X])) {
    let mut kept = X::memory().take();
    let mut memory = kept.pop().unwrap_or_default();
    X::memory().set(kept);
    if memory.len() < len {
        memory.resize(len, X::default());
    }
    work(&mut memory[..len]);
    let mut kept = X::memory().take();
    kept.push(memory);
    X::memory().set(kept);
}

/// Rounds all rows of `x`, strip by strip.
fn round<X: Rounded>(
    kernels: TileKernels<X>,
    x: &[f32],
    cols: usize,
    strips: Strips,
    out: &mut [X],
) {
    let blocks = cols.div_ceil(X::COLS);
    let start = SharedSlice::new(out);
    let strip = |at: usize| {
        let rows = strips.rows(at);
        // SAFETY: the kernels' instruction set is present; a strip has a part of its own.
        unsafe {
            let out = start.part(rows.start * blocks, rows.len() * blocks);
            (kernels.round)(&x[rows.start * cols..rows.end * cols], rows.len(), out);
        }
    };
    if x.len() < SERIAL_NUMBERS {
        (0..strips.count()).for_each(strip);
    } else {
        pool::in_parallel(strips.count(), strip);
    }
}

#[cfg(test)]
mod tests;
