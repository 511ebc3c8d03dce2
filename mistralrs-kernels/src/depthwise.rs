//! A convolution with one kernel for each channel, over maps whose channels lie side by side.
//!
//! A task is a few vectors of channels in a band of rows: what it reads is first laid out densely, with the
//! zeros around the map, so that neighbors in the map are neighbors in the first-level cache. Every output
//! adds the kernel's places row by row, whatever band it is computed in.

use crate::dispatch::{self, Kernels};
use crate::pool;
use crate::shared::{Scratch, SharedSlice};
use crate::simd::Simd;
use std::ops::Range;

/// The sizes of a map, a kernel, and what comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseShape {
    /// Rows and columns of the map.
    pub map: [usize; 2],
    /// Numbers at each place.
    pub channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// From one output to the next, in rows and columns of the map; not 0.
    pub stride: usize,
    /// Zeros above the map and to its left.
    pub before: [usize; 2],
    /// Rows and columns that come out; what the kernel reaches beyond the map is zero.
    pub out: [usize; 2],
}

impl DepthwiseShape {
    /// Rows and columns that some rows and columns of the output are computed from.
    fn reach(&self, axis: usize, outputs: usize) -> usize {
        (outputs.max(1) - 1) * self.stride + self.kernel[axis]
    }
}

/// So many numbers of a laid out band stay in the second-level cache.
const BAND: usize = 96 << 10;
/// Vectors of channels of a task.
const VECTORS: usize = 2;
/// Outputs side by side that are computed together.
const TOGETHER: usize = 4;

/// `x` `[rows, columns, channels]` convolved with `weight` `[kernel rows, kernel columns, channels]`:
/// `[out rows, out columns, channels]`.
///
/// # Panics
/// If the sizes of the slices do not fit the shape, or the stride is 0.
pub fn depthwise(shape: &DepthwiseShape, x: &[f32], weight: &[f32]) -> Vec<f32> {
    depthwise_on(dispatch::kernels(), shape, x, weight)
}

/// One call, checked.
pub(crate) struct Job<'a> {
    shape: DepthwiseShape,
    x: &'a [f32],
    weight: &'a [f32],
    out: SharedSlice<'a>,
}

/// The first channel, and rows of the output.
pub(crate) struct Task {
    channel: usize,
    rows: Range<usize>,
}

pub(crate) fn depthwise_on(
    kernels: &Kernels,
    shape: &DepthwiseShape,
    x: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let size = |sides: [usize; 2]| sides[0].saturating_mul(sides[1]).saturating_mul(shape.channels);
    assert!(shape.stride > 0, "a stride of 0");
    assert_eq!(size(shape.map), x.len(), "x is not [{:?}, {}]", shape.map, shape.channels);
    assert_eq!(size(shape.kernel), weight.len(), "the kernel is not {:?}", shape.kernel);
    let len = size(shape.out);
    if len == 0 || weight.is_empty() {
        return vec![0.0; len];
    }
    let mut out = Vec::with_capacity(len);
    let memory = SharedSlice::unwritten(&mut out.spare_capacity_mut()[..len]);
    let job = Job { shape: *shape, x, weight, out: memory };
    let width = VECTORS * kernels.lanes;
    let row = shape.reach(1, shape.out[1]) * width;
    let fitting = (BAND / row).saturating_sub(shape.kernel[0]) / shape.stride + 1;
    let bands = shape.out[0].div_ceil(fitting);
    pool::in_parallel(shape.channels.div_ceil(width) * bands, |turn| {
        let first = turn % bands * fitting;
        let rows = first..shape.out[0].min(first + fitting);
        let task = Task { channel: turn / bands * width, rows };
        // SAFETY: the kernels' instruction set is present, the sizes were checked, and no two tasks share
        // a row and a channel.
        unsafe { (kernels.depthwise)(&job, &task) }
    });
    // SAFETY: the tasks' channels and rows are all there are, and each writes its own.
    unsafe { out.set_len(len) };
    out
}

/// # Safety
/// The instruction set is present, the job's sizes were checked, and nobody else writes the task's rows and
/// channels.
#[inline(always)]
pub(crate) unsafe fn convolve<S: Simd>(job: &Job<'_>, task: &Task) {
    let shape = &job.shape;
    let columns = shape.reach(1, shape.out[1]);
    let width = VECTORS * S::LANES;
    let mut scratch = Scratch::take(shape.reach(0, task.rows.len()) * columns * width);
    let band = scratch.numbers();
    // SAFETY: as the caller vouches; the band has room for all that these rows reach.
    unsafe {
        lay_out::<S>(job, task, columns, band);
        for row in task.rows.clone() {
            let mut column = 0;
            while column < shape.out[1] {
                let at = ((row - task.rows.start) * columns + column) * shape.stride * width;
                let from = band.as_ptr().add(at);
                if column + TOGETHER <= shape.out[1] {
                    outputs::<S, TOGETHER>(job, task.channel, (row, column), (from, columns));
                    column += TOGETHER;
                } else {
                    outputs::<S, 1>(job, task.channel, (row, column), (from, columns));
                    column += 1;
                }
            }
        }
    }
}

/// How many channels vector `number` of a task has.
#[inline(always)]
fn count<S: Simd>(shape: &DepthwiseShape, channel: usize, number: usize) -> usize {
    S::LANES.min(shape.channels.saturating_sub(channel + number * S::LANES))
}

/// Copies what the task's rows reach into `band` `[rows, columns, VECTORS × LANES]`.
#[inline(always)]
unsafe fn lay_out<S: Simd>(job: &Job<'_>, task: &Task, columns: usize, band: &mut [f32]) {
    let shape = &job.shape;
    let rows = shape.reach(0, task.rows.len());
    let first = (task.rows.start * shape.stride) as isize - shape.before[0] as isize;
    let inside =
        |at: isize, axis: usize| usize::try_from(at).ok().filter(|at| *at < shape.map[axis]);
    let mut to = band.as_mut_ptr();
    for row in 0..rows {
        let row = inside(first + row as isize, 0);
        for column in 0..columns {
            let column = inside(column as isize - shape.before[1] as isize, 1);
            for number in 0..VECTORS {
                // SAFETY: the place lies in the map, and as many channels are left; the band has room.
                unsafe {
                    let count = count::<S>(shape, task.channel, number);
                    let numbers = match (row, column) {
                        (Some(row), Some(column)) if count > 0 => {
                            let place = (row * shape.map[1] + column) * shape.channels;
                            let channel = task.channel + number * S::LANES;
                            S::load(job.x.as_ptr().add(place + channel), count)
                        }
                        _ => S::splat(0.0),
                    };
                    S::store(numbers, to, S::LANES);
                    to = to.add(S::LANES);
                }
            }
        }
    }
}

/// `N` outputs of a row, from `column` on; `from` is the first number that they reach in a band of so many
/// columns.
#[inline(always)]
unsafe fn outputs<S: Simd, const N: usize>(
    job: &Job<'_>,
    channel: usize,
    (row, column): (usize, usize),
    (from, columns): (*const f32, usize),
) {
    let shape = &job.shape;
    let width = VECTORS * S::LANES;
    let counts: [usize; VECTORS] = std::array::from_fn(|number| count::<S>(shape, channel, number));
    // SAFETY: all that is read lies in the band, in the kernel and, by the counts, in its channels; what
    // is written is the task's own.
    unsafe {
        let mut sums = [[S::splat(0.0); VECTORS]; N];
        for y in 0..shape.kernel[0] {
            for x in 0..shape.kernel[1] {
                let place = (y * shape.kernel[1] + x) * shape.channels + channel;
                let mut weights = [S::splat(0.0); VECTORS];
                for (number, weights) in weights.iter_mut().enumerate() {
                    if counts[number] > 0 {
                        let at = job.weight.as_ptr().add(place + number * S::LANES);
                        *weights = S::load(at, counts[number]);
                    }
                }
                let from = from.add((y * columns + x) * width);
                for (n, sums) in sums.iter_mut().enumerate() {
                    let from = from.add(n * shape.stride * width);
                    for (number, (sum, weight)) in sums.iter_mut().zip(weights).enumerate() {
                        let numbers = S::load(from.add(number * S::LANES), S::LANES);
                        *sum = S::mul_add(numbers, weight, *sum);
                    }
                }
            }
        }
        for (n, sums) in sums.iter().enumerate() {
            let place = (row * shape.out[1] + column + n) * shape.channels + channel;
            for (number, sum) in sums.iter().enumerate() {
                if counts[number] > 0 {
                    let at = place + number * S::LANES;
                    S::store(*sum, job.out.place(at, counts[number]), counts[number]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::all_kernels;
    use crate::scalar;
    use proptest::prelude::*;

    fn noise(seed: u64, len: usize) -> Vec<f32> {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn check(shape: &DepthwiseShape, seed: u64) -> Result<(), TestCaseError> {
        let len = |sides: [usize; 2]| sides[0] * sides[1] * shape.channels;
        let (x, weight) = (noise(seed, len(shape.map)), noise(seed ^ 7, len(shape.kernel)));
        let mut wanted = vec![f32::NAN; len(shape.out)];
        scalar::depthwise(shape, &x, &weight, &mut wanted);
        for kernels in all_kernels() {
            let out = depthwise_on(kernels, shape, &x, &weight);
            prop_assert_eq!(out.len(), wanted.len());
            for (found, wanted) in out.iter().zip(&wanted) {
                prop_assert!((found - wanted).abs() < 1e-5, "{shape:?}: {found} {wanted}");
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn every_walk_is_the_definition(
            map in [1usize..12, 1usize..12], channels in 1usize..70, kernel in [1usize..6, 1usize..6],
            stride in 1usize..4, before in [0usize..4, 0usize..4], out in [0usize..9, 0usize..9],
            seed in any::<u64>(),
        ) {
            check(&DepthwiseShape { map, channels, kernel, stride, before, out }, seed)?;
        }
    }

    /// So large that a band does not hold it.
    #[test]
    fn bands_meet() {
        let (kernel, before) = ([5, 5], [2, 2]);
        for (map, stride) in [([130, 120], 1), ([131, 120], 2)] {
            let out = map.map(|side: usize| side.div_ceil(stride));
            let shape = DepthwiseShape { map, channels: 40, kernel, stride, before, out };
            check(&shape, 5).unwrap();
        }
    }
}
