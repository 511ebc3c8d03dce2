//! The best among many numbers without sorting them all: what keeps sampling cheap beside a forward
//! pass when the vocabulary has 150,000 entries. Knows slices, not what the numbers mean.

/// Entries compared side by side, so that the compiler can use vector registers.
const LANES: usize = 8;
/// The same for [`maximum`]: enough vectors that none waits for its own last comparison.
const WIDE: usize = 32;
/// Entries that share one maximum in [`rank_floor`].
const CHUNK: usize = 64;
/// Entries that [`argmax`] looks at once more, number by number.
const SEARCHED: usize = 4096;
/// Below this many entries [`mass_boundary`] sorts.
const SMALL: usize = 32;

/// The largest entry; NaN never wins; -inf if there is no number.
pub(super) fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; WIDE];
    let groups = values.chunks_exact(WIDE);
    let rest = groups.remainder();
    for group in groups {
        for (lane, &value) in lanes.iter_mut().zip(group) {
            *lane = larger(*lane, value);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |best, &value| larger(best, value))
}

/// Sum of [`exp`] of all entries, none of which is above 0.
pub(super) fn sum_of_exp(values: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    let groups = values.chunks_exact(LANES);
    let rest = groups.remainder();
    for group in groups {
        let mut exps = [0.0; LANES];
        for (out, &value) in exps.iter_mut().zip(group) {
            *out = exp(value);
        }
        for (lane, exp) in lanes.iter_mut().zip(exps) {
            *lane += f64::from(exp);
        }
    }
    let rest = rest.iter().map(|&value| f64::from(exp(value)));
    lanes.into_iter().chain(rest).sum()
}

/// `e^x` for x ≤ 0 within 3 · 10⁻⁷ of the true value, 0 below -87.7 and for NaN. Without a branch or a call, so
/// that the compiler computes several at once: the standard library's takes most of a draw's time.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    /// Added and subtracted, this leaves a whole number: 1.5 · 2²³.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has so few bits that its multiples are exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    let x = x.max(-88.0); // the smallest power of two, 2⁻¹²⁷, comes out as 0; so does NaN
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let r = x - power * LN_2_HIGH - power * LN_2_LOW; // |r| ≤ ln 2 / 2: the Taylor series is short
    let mut series = 1.0 / 5040.0;
    series = series * r + 1.0 / 720.0;
    series = series * r + 1.0 / 120.0;
    series = series * r + 1.0 / 24.0;
    series = series * r + 1.0 / 6.0;
    series = series * r + 0.5;
    series = series * r + 1.0;
    series = series * r + 1.0;
    let power_bits = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let scale = f32::from_bits((power_bits.wrapping_add(127) as u32) << 23);
    series * scale
}

/// `f32::max` with the comparison spelled out: one instruction, and a NaN `value` loses.
fn larger(best: f32, value: f32) -> f32 {
    if value > best { value } else { best }
}

/// Index of the largest entry, the first of equals; `None` if nothing lies above -inf.
pub(super) fn argmax(values: &[f32]) -> Option<u32> {
    // In one pass: the best chunk is remembered and searched.
    let (mut best, mut found) = (f32::NEG_INFINITY, None);
    for (at, chunk) in values.chunks(SEARCHED).enumerate() {
        let highest = maximum(chunk);
        if highest > best {
            (best, found) = (highest, Some((at, chunk)));
        }
    }
    let (at, chunk) = found?;
    let within = chunk.iter().position(|&value| value == best)?;
    u32::try_from(at * SEARCHED + within).ok()
}

/// A number that at least `k` entries reach, found without ranking the entries themselves: the
/// `k`-th largest of the maxima of chunks. Few entries besides the `k` best reach it.
/// -inf where there are fewer than `k` chunks.
pub(super) fn rank_floor(values: &[f32], k: usize) -> f32 {
    if k == 0 || values.len().div_ceil(CHUNK) < k {
        return f32::NEG_INFINITY;
    }
    let mut maxima: Vec<f32> = values.chunks(CHUNK).map(maximum).collect();
    let (_, floor, _) = maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    *floor
}

/// The `k` best entries with their indices, best first, equal ones by index; NaN counts as -inf.
pub(super) fn best(values: &[f32], k: usize) -> Vec<(u32, f32)> {
    let floor = rank_floor(values, k);
    let mut found: Vec<(u32, f32)> = (0..)
        .zip(values)
        .map(|(id, &value)| (id, larger(f32::NEG_INFINITY, value) + 0.0)) // -0 equals 0
        .filter(|&(_, value)| k > 0 && value >= floor)
        .collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if k < found.len() {
        found.select_nth_unstable_by(k, order);
        found.truncate(k);
    }
    found.sort_unstable_by(order);
    found
}

/// An entry in a ranking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranked {
    /// Smallest first: the key, and among equal keys the id, in one number that compares fast.
    pub place: u64,
    /// Its share of the mass, unnormalized.
    pub weight: f32,
}

impl Ranked {
    /// An entry that stands the further ahead the smaller its `key` is. `key` is not NaN.
    pub(super) fn new(key: f32, id: u32, weight: f32) -> Self {
        // The bits of floats compare like integers, but for the sign; + 0.0 turns -0 into 0.
        let bits = (key + 0.0).to_bits();
        let ordered = if key < 0.0 { !bits } else { bits | 1 << 31 };
        let place = u64::from(ordered) << 32 | u64::from(id);
        Self { place, weight }
    }
}

/// The last entry of the shortest front of the ranking whose mass is `enough`, or the last entry
/// of all. Halves the entries again and again instead of sorting them: linear time. `enough` must
/// stay true once it is true.
pub(super) fn mass_boundary(ranked: &mut [Ranked], enough: impl Fn(f64) -> bool) -> Option<Ranked> {
    let mut rest = ranked;
    let mut mass = 0.0;
    while rest.len() > SMALL {
        let middle = rest.len() / 2;
        rest.select_nth_unstable_by_key(middle, |entry| entry.place);
        let (front, back) = rest.split_at_mut(middle);
        let with_front = mass + front.iter().map(|r| f64::from(r.weight)).sum::<f64>();
        if enough(with_front) {
            rest = front;
        } else {
            mass = with_front;
            rest = back;
        }
    }
    rest.sort_unstable_by_key(|entry| entry.place);
    let last = rest.last().copied();
    rest.iter()
        .find(|entry| {
            mass += f64::from(entry.weight);
            enough(mass)
        })
        .copied()
        .or(last)
}
