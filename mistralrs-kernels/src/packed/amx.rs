//! The packed kernels for processors with AMX: a strip of up to 16 rows with a panel of spread-out weights. The product
//! of a block of 32 columns with 16 weight rows, each of them with each row of the strip, is one instruction, which
//! leaves it in a tile; by way of memory it gets to where it is scaled and added. Fewer rows go to `avx512_vnni`.
//! Source: the instruction `tdpbssd` multiplies a matrix of signed bytes, up to 16 rows of 64, with one whose
//! rows hold four columns of each of 16 weight rows: a vector of a packed tile.

use super::activations::{Block, Strips};
use super::avx512_strip::{Panel, Spread, empty, spread};
use super::avx512_tall::{self, PAIR, Part, Strip, Sums};
use super::avx512_vnni::{self, vnni};
use super::layout::{BLOCK_COLS, Layout, Packing, VECTOR};
use super::{Job, PackedKernels, QuantType, TileKernels, amx_chunk, with_kind};
use crate::simd::prefetch;
use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// To be called only where the features of `avx512_vnni` and AMX for bytes are present, and the system allows
/// the process to use tiles.
pub(crate) const KERNELS: PackedKernels = PackedKernels {
    blocks: TileKernels { strips, multiply, ..avx512_vnni::KERNELS.blocks },
    chunks: TileKernels { strips, multiply: amx_chunk::multiply, ..avx512_vnni::KERNELS.chunks },
    ..avx512_vnni::KERNELS
};

/// From so many rows of activations on, this way is the faster one; strips have at least twelve then.
pub(super) const LEAST: usize = 41;
/// Rows of a strip at most.
pub(super) const ROWS: usize = 16;
/// Blocks of a panel whose products are computed together.
const TOGETHER: usize = 4;

/// What the processor takes loads and stores apart by.
const PAGE: usize = 4096;

/// Products of a block's columns with both tiles in integers, a row of activations each.
pub(super) type Products = [[__m512i; 16]; PAIR];

/// The strip of 16 rows, for a kind of weights.
struct Amx<P>(PhantomData<P>);

fn strips(m: usize) -> Strips {
    if m < LEAST { avx512_vnni::strips(m) } else { Strips::up_to(ROWS, m) }
}

vnni! {
    /// # Safety
    /// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
    unsafe fn multiply(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        let _ = with_kind!(blocks, job.part.w.ty, Kind, unsafe { multiply_as::<Kind>(job, tiles) });
    }

    unsafe fn multiply_as<P: Packing>(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        unsafe {
            match job.strips.total() {
                ..LEAST => avx512_vnni::multiply_as::<P>(job, tiles),
                _ => avx512_tall::multiply::<Amx<P>>(job, tiles),
            }
        }
    }
}

/// What the instruction `ldtilecfg` takes.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Gives tiles their rows and the bytes of a row, from the first on; to be ended with [`release`].
///
/// # Safety
/// AMX is present; there are up to eight tiles, with up to 16 rows of up to 64 bytes.
pub(crate) unsafe fn shape(tiles: &[(usize, usize)]) {
    let mut shapes =
        Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    for (at, (rows, bytes)) in tiles.iter().enumerate() {
        (shapes.rows[at], shapes.row_bytes[at]) = (*rows as u8, *bytes as u16);
    }
    // SAFETY: the instruction is present, and these are 64 bytes as it takes them.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, preserves_flags));
    }
}

/// Without it the system would go on saving tiles.
///
/// # Safety
/// AMX is present.
pub(crate) unsafe fn release() {
    // SAFETY: the instruction is present.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
}

/// What stays from one strip to the next.
pub(super) struct Tiles {
    /// Rows that tiles have been given.
    rows: usize,
    products: [MaybeUninit<Products>; TOGETHER + PAGE / size_of::<Products>()],
}

impl Tiles {
    pub(super) fn new() -> Self {
        Self { rows: 0, products: [const { MaybeUninit::uninit() }; _] }
    }

    /// Gives four tiles of products and one of activations so many rows, of so many columns, and the others the
    /// weights.
    ///
    /// # Safety
    /// AMX is present.
    pub(super) unsafe fn shape_for(&mut self, rows: usize, columns: usize) {
        if self.rows != rows {
            self.rows = rows;
            let (products, w) = ((rows, VECTOR), (columns / 4, VECTOR));
            // SAFETY: there are eight, of sixteen rows at most.
            unsafe { shape(&[products, products, products, products, (rows, columns), w, w, w]) };
        }
    }

    /// Where products of the activations at `x` go. A load waits for earlier stores to the same place of another
    /// page, so they lie half a page apart.
    #[inline(always)]
    pub(super) fn place(&mut self, x: *const u8) -> *mut Products {
        let start = self.products.as_mut_ptr();
        let shift = (x.addr() + PAGE / 2).wrapping_sub(start.addr()) % PAGE;
        start.wrapping_byte_add(shift).cast()
    }
}

impl<P: Packing> Strip for Amx<P> {
    const LAYOUT: &'static Layout = &P::LAYOUT;

    type X = Block;
    type Panel = Panel;
    type State = Tiles;

    fn begin() -> (Panel, Tiles) {
        // SAFETY: as the caller of all of this vouches.
        let panel = unsafe { empty() };
        (panel, Tiles::new())
    }

    unsafe fn spread(job: &Job<'_, Block>, blocks: &[u8], n: usize, panel: &mut Panel) {
        // SAFETY: as the caller vouches.
        unsafe { spread::<P>(job, blocks, 0, n, panel) }
    }

    unsafe fn multiply(part: Part<'_, Self>, sums: &mut [Sums], tiles: &mut Tiles) {
        let Part { panel, x, units, next } = part;
        let x = Activations { x, next };
        // SAFETY: as the caller vouches.
        unsafe {
            tiles.shape_for(sums.len(), BLOCK_COLS);
            match P::LAYOUT.mins {
                true => multiply_strip::<true>(&panel[..units], x, sums, tiles),
                false => multiply_strip::<false>(&panel[..units], x, sums, tiles),
            }
        }
    }

    unsafe fn end() {
        // SAFETY: AMX is present.
        unsafe { release() };
    }
}

/// Those of a strip in the columns of a panel.
struct Activations {
    /// A block for each row, and that for each block of the panel.
    x: *const Block,
    /// Where those are that the panel is multiplied with next.
    next: Option<*const Block>,
}

/// Computes the products of the activations at `$x` with the weights at `$w`, and with the other tile's behind
/// them, in tiles `$first` and `$second`.
macro_rules! begin {
    ($first:tt, $second:tt, $x:expr, $w:expr) => {
        asm!(
            "tileloadd tmm4, [{x} + {stride}]",
            "tileloadd tmm5, [{w} + {stride}]",
            concat!("tilezero ", $first),
            concat!("tdpbssd ", $first, ", tmm4, tmm5"),
            "tileloadd tmm6, [{w} + {stride} + {tile}]",
            concat!("tilezero ", $second),
            concat!("tdpbssd ", $second, ", tmm4, tmm6"),
            x = in(reg) $x,
            w = in(reg) $w,
            stride = in(reg) VECTOR,
            tile = const size_of::<Spread>(),
            options(nostack, preserves_flags, readonly),
        )
    };
}

/// Writes the products that tiles `$first` and `$second` hold.
macro_rules! write {
    ($first:tt, $second:tt, $to:expr) => {
        asm!(
            concat!("tilestored [{to} + {stride}], ", $first),
            concat!("tilestored [{to} + {stride} + {tile}], ", $second),
            to = in(reg) $to,
            stride = in(reg) VECTOR,
            tile = const 16 * VECTOR,
            options(nostack, preserves_flags),
        )
    };
}

vnni! {
    unsafe fn multiply_strip<const MINS: bool>(
        panel: &[[Spread; PAIR]],
        x: Activations,
        sums: &mut [Sums],
        tiles: &mut Tiles,
    ) {
        // SAFETY: as many rows as the strip has.
        unsafe {
            match sums.len() {
                12 => multiply_rows::<MINS, 12>(panel, x, sums, tiles),
                13 => multiply_rows::<MINS, 13>(panel, x, sums, tiles),
                14 => multiply_rows::<MINS, 14>(panel, x, sums, tiles),
                15 => multiply_rows::<MINS, 15>(panel, x, sums, tiles),
                _ => multiply_rows::<MINS, ROWS>(panel, x, sums, tiles),
            }
        }
    }

    /// First some products, then their sums: beside tiles, and for a while after them, the processor computes with
    /// wide floats at half the speed.
    unsafe fn multiply_rows<const MINS: bool, const M: usize>(
        panel: &[[Spread; PAIR]],
        Activations { mut x, next: of_next_strip }: Activations,
        sums: &mut [Sums],
        tiles: &mut Tiles,
    ) {
        const { assert!(size_of::<Block>() == VECTOR) };
        assert_eq!(sums.len(), M, "a sum for each row");
        // SAFETY: that many are there.
        let sums = unsafe { &mut *sums.as_mut_ptr().cast::<[Sums; M]>() };
        let end = x.wrapping_add(panel.len() * M);
        for panel in panel.chunks(TOGETHER) {
            let mut next = x.wrapping_add(panel.len() * M);
            if let (true, Some(of_next_strip)) = (next == end, of_next_strip) {
                next = of_next_strip;
            }
            let products = tiles.place(x.cast());
            // SAFETY: `x` has `M` rows for each of these blocks; their products are computed before they are read.
            unsafe {
                multiply_blocks::<M>(panel, x, products);
                for n in 0..PAIR {
                    let mut here = [_mm512_setzero_ps(); M];
                    for i in 0..M {
                        here[i] = sums[i][n];
                    }
                    for (at, of_block) in panel.iter().enumerate() {
                        for _ in 0..M / PAIR {
                            prefetch(next.cast());
                            next = next.wrapping_add(1);
                        }
                        add::<MINS, M>(&of_block[n], x.add(at * M), &(&*products.add(at))[n], &mut here);
                    }
                    for i in 0..M {
                        sums[i][n] = here[i];
                    }
                }
                x = x.add(panel.len() * M);
            }
        }
    }

    /// The products of a strip with some blocks. They are written while those after them are computed, which
    /// takes as long.
    unsafe fn multiply_blocks<const M: usize>(
        panel: &[[Spread; PAIR]],
        x: *const Block,
        products: *mut Products,
    ) {
        for at in 0..=panel.len() {
            // SAFETY: `x` has `M` rows for each block; the tiles have the shapes of these and of blocks.
            unsafe {
                if let Some([of_block, _]) = panel.get(at) {
                    let x = (&raw const (*x.add(at * M)).codes).cast::<i8>();
                    match at % 2 {
                        0 => begin!("tmm0", "tmm1", x, of_block.codes.as_ptr()),
                        _ => begin!("tmm2", "tmm3", x, of_block.codes.as_ptr()),
                    }
                }
                if let Some(before) = at.checked_sub(1) {
                    let to = products.add(before);
                    match before % 2 {
                        0 => write!("tmm0", "tmm1", to),
                        _ => write!("tmm2", "tmm3", to),
                    }
                }
            }
        }
    }

    /// Adds the products of a block with a tile, times the scales, and the offsets.
    unsafe fn add<const MINS: bool, const M: usize>(
        tile: &Spread,
        x: *const Block,
        products: &[__m512i; 16],
        sums: &mut [__m512; M],
    ) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: there are `M` rows.
            let x = unsafe { &*x.add(i) };
            let scale = _mm512_mul_ps(tile.scale, _mm512_set1_ps(x.scale));
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[i]), scale, *sum);
            if MINS {
                *sum = _mm512_fmadd_ps(tile.min, _mm512_set1_ps(x.sum), *sum);
            }
        }
    }
}
