//! The packed kernels for processors with AMX: a strip of up to 16 rows with a panel of spread-out weights. The product
//! of a block of 32 columns with 16 weight rows, each of them with each row of the strip, is one instruction, which
//! leaves it in a tile; by way of memory it gets to where it is scaled and added. Fewer rows go to `avx512_vnni`.
//! Source: the instruction `tdpbssd` multiplies a matrix of signed bytes, up to 16 rows of 64, with one whose
//! rows hold four columns of each of 16 weight rows: a vector of a packed tile.

use super::activations::{Block, Strips};
use super::ahead::Ahead;
use super::avx512_tall::{self, Blocks, Kind, PAIR, Part, Spread, Strip, Sums, with_mins};
use super::avx512_vnni::{self, vnni};
use super::layout::{BLOCK_COLS, Packing, VECTOR};
use super::{Job, PackedKernels, QuantType, TileKernels, with_format, with_kind};
use crate::simd::prefetch;
use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};
use std::mem::MaybeUninit;
use std::ops::Range;

/// To be called only where the features of `avx512_vnni` and AMX for bytes are present, and the system allows
/// the process to use tiles.
pub(crate) const KERNELS: PackedKernels = PackedKernels {
    integers: TileKernels { strips, multiply, ..avx512_vnni::KERNELS.integers },
    ..avx512_vnni::KERNELS
};

/// From so many rows of activations on, this way is the faster one; strips have at least twelve then.
const LEAST: usize = 41;
/// Blocks of a panel whose products are computed together, and half of that where each block has two.
const TOGETHER: usize = 4;

/// What the processor takes loads and stores apart by.
const PAGE: usize = 4096;

/// Products of a block's columns with both tiles in integers, a row of activations each.
type Products = [[__m512i; 16]; PAIR];

/// The strip of 16 rows.
struct Amx;

fn strips(m: usize) -> Strips {
    if m < LEAST { avx512_vnni::strips(m) } else { Strips::up_to(Amx::ROWS, m) }
}

vnni! {
    /// # Safety
    /// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
    unsafe fn multiply(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        let _ = with_kind!(job.part.w.ty, Kind, unsafe { multiply_as::<Kind>(job, tiles) });
    }

    unsafe fn multiply_as<P: Packing>(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        unsafe {
            match job.strips.total() {
                ..LEAST => avx512_vnni::multiply_as::<P>(job, tiles),
                _ => avx512_tall::multiply::<Amx, P>(job, tiles),
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
struct Tiles {
    /// Rows that tiles have been given.
    rows: usize,
    products: [MaybeUninit<Products>; TOGETHER + PAGE / size_of::<Products>()],
}

impl Tiles {
    /// Where products of the activations at `x` go. A load waits for earlier stores to the same place of another
    /// page, so they lie half a page apart.
    #[inline(always)]
    fn place(&mut self, x: *const Block) -> *mut Products {
        let start = self.products.as_mut_ptr();
        let shift = (x.addr() + PAGE / 2).wrapping_sub(start.addr()) % PAGE;
        start.wrapping_byte_add(shift).cast()
    }
}

impl Strip for Amx {
    const ROWS: usize = 16;
    const ZERO: i32 = 0;

    type State = Tiles;

    fn begin() -> Tiles {
        Tiles { rows: 0, products: [const { MaybeUninit::uninit() }; _] }
    }

    unsafe fn multiply<K: Kind>(
        part: Part<'_>,
        ahead: &mut [Ahead; PAIR],
        sums: &mut [Sums],
        tiles: &mut Tiles,
    ) {
        // SAFETY: as the caller vouches.
        unsafe {
            if tiles.rows != part.rows.count {
                tiles.rows = part.rows.count;
                let columns = if K::HALVES { BLOCK_COLS / 2 } else { BLOCK_COLS };
                let (products, x) = ((tiles.rows, VECTOR), (tiles.rows, columns));
                let w = (columns / 4, VECTOR);
                shape(&[products, products, products, products, x, w, w]);
            }
            match part.rows.count {
                12 => multiply_rows::<K, 12>(part, ahead, sums, tiles),
                13 => multiply_rows::<K, 13>(part, ahead, sums, tiles),
                14 => multiply_rows::<K, 14>(part, ahead, sums, tiles),
                15 => multiply_rows::<K, 15>(part, ahead, sums, tiles),
                _ => multiply_rows::<K, 16>(part, ahead, sums, tiles),
            }
        }
    }

    unsafe fn end() {
        // SAFETY: AMX is present.
        unsafe { release() };
    }
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
    /// First some products, then their sums: beside tiles, and for a while after them, the processor computes with
    /// wide floats at half the speed.
    unsafe fn multiply_rows<K: Kind, const M: usize>(
        part: Part<'_>,
        ahead: &mut [Ahead; PAIR],
        sums: &mut [Sums],
        tiles: &mut Tiles,
    ) {
        const { assert!(size_of::<Block>() == VECTOR) };
        assert_eq!(sums.len(), M, "a sum for each row");
        // SAFETY: that many are there.
        let sums = unsafe { &mut *sums.as_mut_ptr().cast::<[Sums; M]>() };
        if part.is_first {
            *sums = [[_mm512_setzero_ps(); PAIR]; M];
        }
        ahead.iter_mut().for_each(Ahead::fetch);
        let parts = 1 + usize::from(K::HALVES);
        let mut x = part.rows.x;
        let end = x.wrapping_add(part.panel.len() * M);
        for panel in part.panel.chunks(TOGETHER / parts) {
            let mut next = x.wrapping_add(panel.len() * M);
            if let (true, Some(of_next_strip)) = (next == end, part.next) {
                next = of_next_strip;
            }
            let products = tiles.place(x);
            // SAFETY: `x` has `M` rows for each of these blocks; their products are computed before they are read.
            unsafe {
                multiply_blocks::<K, M>(panel, x, products);
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
                        let products = products.add(at * parts);
                        add::<K, M>(&of_block[n], x.add(at * M), products, n, &mut here);
                    }
                    for i in 0..M {
                        sums[i][n] = here[i];
                    }
                }
                x = x.add(panel.len() * M);
            }
        }
    }

    /// The products of a strip with some blocks, or their halves. They are written while those after them are
    /// computed, which takes as long.
    unsafe fn multiply_blocks<K: Kind, const M: usize>(
        panel: &[Blocks],
        x: *const Block,
        products: *mut Products,
    ) {
        let parts = 1 + usize::from(K::HALVES);
        let count = panel.len() * parts;
        for at in 0..=count {
            // SAFETY: `x` has `M` rows for each block; the tiles have the shapes of these and of blocks or halves.
            unsafe {
                if at < count {
                    let (block, half) = (at / parts, at % parts);
                    let x = (&raw const (*x.add(block * M)).codes).cast::<i8>();
                    let x = x.add(half * BLOCK_COLS / 2);
                    let w = panel[block][0].codes.as_ptr().add(half * 4);
                    match at % 2 {
                        0 => begin!("tmm0", "tmm1", x, w),
                        _ => begin!("tmm2", "tmm3", x, w),
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

    /// Adds the products of a block with tile `n`, times the scales, and the offsets.
    unsafe fn add<K: Kind, const M: usize>(
        tile: &Spread,
        x: *const Block,
        products: *const Products,
        n: usize,
        sums: &mut [__m512; M],
    ) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: there are `M` rows.
            let x = unsafe { &*x.add(i) };
            let unit = _mm512_set1_ps(x.scale);
            for half in 0..1 + usize::from(K::HALVES) {
                let scale = _mm512_mul_ps(tile.scales[half], unit);
                // SAFETY: as the caller vouches, they were computed.
                let product = unsafe { (&(*products.add(half))[n])[i] };
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), scale, *sum);
            }
            if K::MINS {
                *sum = with_mins::<K>(tile, x, *sum);
            }
        }
    }
}
