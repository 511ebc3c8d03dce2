//! Bfloat16 in twelve bits with AVX-512: all powers of two that a tile's exponents may stand for are in one register,
//! where each number looks its own up. A single strip of rows is multiplied with what is read so; for several, weights
//! are widened once. Columns are added as `exact` adds them, so products have the same bits as those in sixteen.

use super::exact::{Columns, Twelve, add_bias};
use super::layout::{BLOCK_COLS, TILE_ROWS, VECTOR};
use super::twelve::{self, Apart, Beside, COLS, OCTET, SIGN_AND_FRACTION};
use super::{Job, ahead};
use crate::simd::{Avx512, LINE, Simd};
use std::arch::x86_64::{
    __m512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_loadu_si512, _mm512_permutexvar_ps,
    _mm512_rol_epi32, _mm512_set1_epi32, _mm512_srli_epi32, _mm512_ternarylogic_epi32,
};
use std::ops::Range;

/// To be called only where the features below are present.
pub(super) const TWELVE: Twelve = Twelve { alone, widen };

/// Bytes of a block of columns.
const BLOCK: usize = BLOCK_COLS / COLS * OCTET;

/// See [`twelve::pack_tile`].
///
/// # Safety
/// The instruction set is present.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn pack(rows: &[u8], row_bytes: usize, tile: &mut [u8]) -> Beside {
    twelve::pack_tile(rows, row_bytes, tile)
}

/// # Safety
/// The instruction set is present; the tile has these blocks, and `out` is as long.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn widen(job: &Job<'_, Columns>, tile: usize, blocks: &Range<usize>, out: &mut [f32]) {
    let beside = job.beside(tile);
    let first = blocks.start * BLOCK_COLS;
    let mut octet = job.tile(tile).as_ptr().wrapping_add(blocks.start * BLOCK);
    // SAFETY: as the caller vouches.
    unsafe {
        let powers = powers(beside);
        for columns in out.as_chunks_mut::<{ COLS * TILE_ROWS }>().0 {
            let pairs = [
                load::<0>(octet, powers),
                load::<1>(octet, powers),
                load::<2>(octet, powers),
                load::<3>(octet, powers),
            ];
            let to = columns.as_chunks_mut::<{ 2 * TILE_ROWS }>().0;
            for (to, (even, odd)) in to.iter_mut().zip(pairs) {
                Avx512::store(even, to.as_mut_ptr(), TILE_ROWS);
                Avx512::store(odd, to[TILE_ROWS..].as_mut_ptr(), TILE_ROWS);
            }
            octet = octet.wrapping_add(OCTET);
        }
    }
    for apart in beside.apart_from(first) {
        if apart.column as usize >= blocks.end * BLOCK_COLS {
            break;
        }
        apart.write(first, out);
    }
}

/// Columns `2 P` and `2 P + 1` of an octet of a tile whose exponents' numbers stand for these powers of two.
///
/// # Safety
/// The instruction set is present; the octet is there.
#[inline(always)]
unsafe fn load<const P: usize>(octet: *const u8, powers: __m512) -> (__m512, __m512) {
    // SAFETY: as the caller vouches; only the last four bits of a number count.
    unsafe {
        let fractions = _mm512_loadu_si512(octet.wrapping_add(P / 2 * VECTOR).cast());
        let numbers = _mm512_loadu_si512(octet.wrapping_add(2 * VECTOR).cast());
        let [even, odd] = match P % 2 {
            0 => [fractions, _mm512_rol_epi32::<8>(fractions)],
            _ => [_mm512_rol_epi32::<16>(fractions), _mm512_rol_epi32::<24>(fractions)],
        };
        let (even_number, odd_number) = match P {
            0 => (numbers, _mm512_srli_epi32::<4>(numbers)),
            1 => (_mm512_srli_epi32::<8>(numbers), _mm512_srli_epi32::<12>(numbers)),
            2 => (_mm512_srli_epi32::<16>(numbers), _mm512_srli_epi32::<20>(numbers)),
            _ => (_mm512_srli_epi32::<24>(numbers), _mm512_srli_epi32::<28>(numbers)),
        };
        let even_power = _mm512_castps_si512(_mm512_permutexvar_ps(even_number, powers));
        let odd_power = _mm512_castps_si512(_mm512_permutexvar_ps(odd_number, powers));
        // (fraction & mask) | power
        let mask = _mm512_set1_epi32(SIGN_AND_FRACTION.cast_signed());
        let even = _mm512_ternarylogic_epi32::<0xea>(even, mask, even_power);
        let odd = _mm512_ternarylogic_epi32::<0xea>(odd, mask, odd_power);
        (_mm512_castsi512_ps(even), _mm512_castsi512_ps(odd))
    }
}

/// # Safety
/// The instruction set is present.
#[inline(always)]
unsafe fn powers(beside: &Beside) -> __m512 {
    let powers = beside.powers();
    // SAFETY: as the caller vouches.
    unsafe { Avx512::load(powers.as_ptr(), powers.len()) }
}

/// # Safety
/// The instruction set is present, there is one strip, and nobody else writes the columns of `y` that belong to
/// `tiles`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn alone(job: &Job<'_, Columns>, tiles: Range<usize>) {
    // Two at a time, each half from its first to its last: what is fetched ahead of either is read next.
    let half = tiles.len() / 2;
    // SAFETY: as the caller vouches; the tiles are among those.
    unsafe {
        for tile in tiles.start..tiles.start + half {
            multiply_tiles(job, [tile, tile + half]);
        }
        if !tiles.len().is_multiple_of(2) {
            multiply_tiles(job, [tiles.end - 1]);
        }
    }
}

/// `N` tiles with all rows.
///
/// # Safety
/// As for [`alone`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn multiply_tiles<const N: usize>(job: &Job<'_, Columns>, tiles: [usize; N]) {
    // SAFETY: as the caller vouches; the strip has so many rows.
    unsafe {
        match job.strips.rows(0).len() {
            1 => multiply_rows::<N, 1>(job, tiles),
            2 => multiply_rows::<N, 2>(job, tiles),
            3 => multiply_rows::<N, 3>(job, tiles),
            4 => multiply_rows::<N, 4>(job, tiles),
            5 => multiply_rows::<N, 5>(job, tiles),
            6 => multiply_rows::<N, 6>(job, tiles),
            7 => multiply_rows::<N, 7>(job, tiles),
            _ => multiply_rows::<N, 8>(job, tiles),
        }
    }
}

/// `N` tiles with the `M` rows of the strip.
///
/// # Safety
/// As for [`alone`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn multiply_rows<const N: usize, const M: usize>(job: &Job<'_, Columns>, tiles: [usize; N]) {
    let w = job.part.w;
    let row = job.strips.rows(0).start;
    // SAFETY: the tiles have an octet for each eight columns, and `x` the strip's rows of each block; the columns
    // of these rows are within `y` and this task's own.
    unsafe {
        let mut streams = Streams::new(job, tiles);
        let mut x = job.x.as_ptr().add(row * w.blocks());
        let mut sums = [[Avx512::splat(0.0); N]; M];
        for block in 0..w.blocks() {
            if streams.are_patched(block) {
                streams.multiply_patched(job, block, x, &mut sums);
            } else {
                streams.multiply_block(x.cast(), &mut sums);
            }
            streams.step();
            x = x.add(M);
        }
        let starts = tiles.map(|tile| tile * TILE_ROWS);
        let counts = starts.map(|start| TILE_ROWS.min(w.rows - start));
        add_bias::<Avx512, N, M>(job, (&starts, &counts), &mut sums);
        for (i, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                Avx512::store(sum, job.place(row + i, starts[n], counts[n]), counts[n]);
            }
        }
    }
}

/// Tiles that are read together.
struct Streams<'a, const N: usize> {
    tiles: [usize; N],
    at: [*const u8; N],
    powers: [__m512; N],
    /// What is still to be put in the place of zeros.
    apart: [&'a [Apart]; N],
}

impl<'a, const N: usize> Streams<'a, N> {
    #[inline(always)]
    unsafe fn new(job: &Job<'a, Columns>, tiles: [usize; N]) -> Self {
        // SAFETY: as the caller vouches.
        let nothing = unsafe { Avx512::splat(0.0) };
        let mut streams =
            Self { tiles, at: [std::ptr::null(); N], powers: [nothing; N], apart: [&[]; N] };
        for (n, tile) in tiles.into_iter().enumerate() {
            let beside = job.beside(tile);
            streams.at[n] = job.tile(tile).as_ptr();
            // SAFETY: as the caller vouches.
            streams.powers[n] = unsafe { powers(beside) };
            streams.apart[n] = beside.apart_from(0);
        }
        streams
    }

    /// Whether a block has something in the place of zeros.
    #[inline(always)]
    fn are_patched(&self, block: usize) -> bool {
        let end = (block + 1) * BLOCK_COLS;
        self.apart.iter().any(|apart| apart.first().is_some_and(|it| (it.column as usize) < end))
    }

    /// Goes on to the next block.
    #[inline(always)]
    fn step(&mut self) {
        for at in &mut self.at {
            *at = at.wrapping_add(BLOCK);
        }
    }

    /// Multiplies a block; `x` are the numbers of the first row.
    #[inline(always)]
    unsafe fn multiply_block<const M: usize>(&self, x: *const f32, sums: &mut [[__m512; N]; M]) {
        for octet in 0..BLOCK_COLS / COLS {
            let x = x.wrapping_add(octet * COLS);
            // SAFETY: as the caller vouches.
            unsafe {
                self.multiply_pair::<M, 0>(octet, x, sums);
                self.multiply_pair::<M, 1>(octet, x, sums);
                self.multiply_pair::<M, 2>(octet, x, sums);
                self.multiply_pair::<M, 3>(octet, x, sums);
            }
        }
    }

    /// Pair `P` of an octet's columns; `x` are the octet's numbers of the first row.
    #[inline(always)]
    unsafe fn multiply_pair<const M: usize, const P: usize>(
        &self,
        octet: usize,
        x: *const f32,
        sums: &mut [[__m512; N]; M],
    ) {
        // SAFETY: as the caller vouches.
        unsafe {
            let mut columns = [(Avx512::splat(0.0), Avx512::splat(0.0)); N];
            for (n, columns) in columns.iter_mut().enumerate() {
                let at = self.at[n].wrapping_add(octet * OCTET);
                // An octet has three cache lines.
                if P < OCTET / LINE {
                    ahead::stream(at.wrapping_add(P * LINE), LINE);
                }
                *columns = load::<P>(at, self.powers[n]);
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = x.wrapping_add(i * BLOCK_COLS + 2 * P);
                let (even, odd) = (Avx512::splat(*x), Avx512::splat(*x.add(1)));
                for (sum, columns) in sums.iter_mut().zip(&columns) {
                    *sum = Avx512::mul_add(columns.0, even, *sum);
                    *sum = Avx512::mul_add(columns.1, odd, *sum);
                }
            }
        }
    }

    /// Multiplies a block of which something is kept apart. That is rare, so it is widened first.
    #[inline(always)]
    unsafe fn multiply_patched<const M: usize>(
        &mut self,
        job: &Job<'_, Columns>,
        block: usize,
        x: *const Columns,
        sums: &mut [[__m512; N]; M],
    ) {
        let mut near = [[0.0; BLOCK_COLS * TILE_ROWS]; N];
        let end = ((block + 1) * BLOCK_COLS) as u32;
        for (n, near) in near.iter_mut().enumerate() {
            // SAFETY: as the caller vouches.
            unsafe { widen(job, self.tiles[n], &(block..block + 1), near) };
            let done = self.apart[n].iter().take_while(|it| it.column < end).count();
            self.apart[n] = &self.apart[n][done..];
            ahead::stream(self.at[n], BLOCK);
        }
        for column in 0..BLOCK_COLS {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (sum, near) in sums.iter_mut().zip(&near) {
                    // SAFETY: as the caller vouches.
                    unsafe {
                        let weights = Avx512::load(near[column * TILE_ROWS..].as_ptr(), TILE_ROWS);
                        let x = Avx512::splat((*x.add(i)).0[column]);
                        *sum = Avx512::mul_add(weights, x, *sum);
                    }
                }
            }
        }
    }
}
