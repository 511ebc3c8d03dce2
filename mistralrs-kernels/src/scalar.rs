//! The slow, obvious twin of every kernel: what the fast ones are tested against.
//! Plain loops in `f64` over the formulas; no blocking, no threads, no tricks.

use crate::attention::{AttentionShape, AttentionSpan};
use crate::depthwise::DepthwiseShape;
use crate::elementwise::{RopePairs, RopeShape};
use crate::matmul::WeightRows;
use std::ops::Range;

/// `y[m, rows] = x[m, cols] · wᵀ`.
pub fn matmul(w: &WeightRows<'_>, x: &[f32], y: &mut [f32]) {
    let row_bytes = w.bytes.len() / w.rows.max(1);
    let mut weights = vec![0.0; w.cols];
    for j in 0..w.rows {
        w.ty.dequantize_row(&w.bytes[j * row_bytes..(j + 1) * row_bytes], &mut weights);
        for (x, y) in x.chunks_exact(w.cols).zip(y.chunks_exact_mut(w.rows)) {
            y[j] = dot(x, &weights) as f32;
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// `x / sqrt(mean(x²) + eps) * weight` for each row of `weight.len()` numbers.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let cols = weight.len();
    for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
        let inverse = 1.0 / (dot(x, x) / cols as f64 + f64::from(eps)).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = (f64::from(*x) * inverse * f64::from(*weight)) as f32;
        }
    }
}

/// `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias` for each row.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let cols = weight.len();
    for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / cols as f64;
        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / cols as f64;
        for (i, out) in out.iter_mut().enumerate() {
            let normed = (f64::from(x[i]) - mean) / (variance + f64::from(eps)).sqrt();
            let bias = bias.map_or(0.0, |bias| f64::from(bias[i]));
            *out = (normed * f64::from(weight[i]) + bias) as f32;
        }
    }
}

/// GELU, with the normal distribution by Simpson's rule.
pub fn gelu(x: &mut [f32]) {
    for x in x {
        let wide = f64::from(*x);
        let (steps, end) = (2000, wide.clamp(-12.0, 12.0));
        let width = end / f64::from(steps);
        let area: f64 = (0..=steps)
            .map(|i| {
                let t = f64::from(i) * width;
                let factor = if i == 0 || i == steps { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
                factor * (-t * t / 2.0).exp()
            })
            .sum();
        let below = 0.5 + area * width / 3.0 / (2.0 * std::f64::consts::PI).sqrt();
        *x = (wide * below) as f32;
    }
}

/// `x * sigmoid(factor * (x + cubic * x³))`, which is SiLU and both short forms of GELU.
pub fn gate_itself(x: &mut [f32], factor: f32, cubic: f32) {
    for x in x {
        let wide = f64::from(*x);
        let inner = f64::from(factor) * (wide + f64::from(cubic) * wide.powi(3));
        *x = (wide / (1.0 + (-inner).exp())) as f32;
    }
}

/// `cap * tanh(x / cap)`
pub fn softcap(x: &mut [f32], cap: f32) {
    for x in x {
        *x = (f64::from(cap) * (f64::from(*x) / f64::from(cap)).tanh()) as f32;
    }
}

/// A convolution with one kernel for each channel; see [`crate::depthwise`].
pub fn depthwise(shape: &DepthwiseShape, x: &[f32], weight: &[f32], out: &mut [f32]) {
    let DepthwiseShape { map, channels, kernel, stride, before, out: [_, columns] } = *shape;
    for (at, out) in out.iter_mut().enumerate() {
        let (place, channel) = (at / channels, at % channels);
        let (row, column) = (place / columns, place % columns);
        let mut sum = 0.0;
        for y in 0..kernel[0] {
            for z in 0..kernel[1] {
                let row = (row * stride + y).wrapping_sub(before[0]);
                let column = (column * stride + z).wrapping_sub(before[1]);
                if row < map[0] && column < map[1] {
                    let weight = weight[(y * kernel[1] + z) * channels + channel];
                    let x = x[(row * map[1] + column) * channels + channel];
                    sum += f64::from(weight) * f64::from(x);
                }
            }
        }
        *out = sum as f32;
    }
}

/// Rotates the pairs of each head by its token's angles.
pub fn rope(x: &mut [f32], shape: RopeShape, cos: &[f32], sin: &[f32]) {
    let half = shape.rotary_dim / 2;
    for (token, x) in x.chunks_exact_mut(shape.heads * shape.head_dim).enumerate() {
        for head in x.chunks_exact_mut(shape.head_dim) {
            for i in 0..half {
                let cos = f64::from(cos[token * half + i]);
                let sin = f64::from(sin[token * half + i]);
                let (first, second) = match shape.pairs {
                    RopePairs::Halves => (i, i + half),
                    RopePairs::Neighbors => (2 * i, 2 * i + 1),
                };
                let (a, b) = (f64::from(head[first]), f64::from(head[second]));
                head[first] = (a * cos - b * sin) as f32;
                head[second] = (b * cos + a * sin) as f32;
            }
        }
    }
}

/// `gate / (1 + exp(-gate)) * up`.
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        let gate = f64::from(*gate);
        *out = (gate / (1.0 + (-gate).exp()) * f64::from(*up)) as f32;
    }
}

/// `gelu(gate) * up` with the tanh form of GELU.
pub fn gelu_tanh_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        let gate = f64::from(*gate);
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044715 * gate.powi(3));
        *out = (0.5 * gate * (1.0 + inner.tanh()) * f64::from(*up)) as f32;
    }
}

/// The index of the first largest number; NaN never wins.
pub fn argmax(x: &[f32]) -> usize {
    let mut best: Option<usize> = None;
    for (i, value) in x.iter().enumerate() {
        if !value.is_nan() && best.is_none_or(|best| *value > x[best]) {
            best = Some(i);
        }
    }
    best.unwrap_or(0)
}

/// `exp(x - max) / sum` in place.
pub fn softmax(x: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
    let exps: Vec<f64> = x.iter().map(|x| f64::from(x - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    for (x, exp) in x.iter_mut().zip(exps) {
        *x = (exp / sum) as f32;
    }
}

/// The numbers of heads in bytes, of `size` positions each that lie number by number: `[heads, head_dim, size]`. A
/// head has a half for each 32 numbers and position, then the bytes, which are to be multiplied by them. Of what
/// [`crate::round_to_q8`] makes and of values, `size` is 1; of keys, a block's.
pub fn widen_q8(bytes: &[u8], head_dim: usize, size: usize) -> Vec<f32> {
    let scales = head_dim.div_ceil(32) * size;
    let mut numbers = Vec::new();
    for head in bytes.chunks_exact(2 * scales + head_dim * size) {
        let half = |at: usize| half::f16::from_le_bytes([head[2 * at], head[2 * at + 1]]).to_f32();
        for (i, byte) in head[2 * scales..].iter().enumerate() {
            let (d, position) = (i / size, i % size);
            numbers.push(f32::from(*byte as i8) * half(d / 32 * size + position));
        }
    }
    numbers
}

/// Attention of every query row over the keys it may see; see [`crate::paged_attention`].
pub fn paged_attention(
    shape: &AttentionShape,
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    spans: &[AttentionSpan<'_>],
    out: &mut [f32],
) {
    let window = shape.window.unwrap_or(usize::MAX);
    // Rows whose position would be negative see nothing.
    let sees = |span: &AttentionSpan<'_>, row: usize, p: usize| {
        let end = (span.context_len + row + 1).saturating_sub(span.query_len);
        let both =
            |group: &Range<usize>| end > 0 && group.contains(&(end - 1)) && group.contains(&p);
        let back = p < end && end - 1 - p < window;
        back || p >= end && span.together.iter().any(both)
    };
    attention_where(shape, (q, k_cache, v_cache), spans, sees, out);
}

/// Attention of every query row over all of its text, or what is less than the window away; see
/// [`crate::bidirectional_attention`].
pub fn bidirectional_attention(
    shape: &AttentionShape,
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    spans: &[AttentionSpan<'_>],
    out: &mut [f32],
) {
    let window = shape.window.unwrap_or(usize::MAX);
    let sees = |_: &AttentionSpan<'_>, row: usize, p: usize| row.abs_diff(p) < window;
    attention_where(shape, (q, k_cache, v_cache), spans, sees, out);
}

fn attention_where(
    shape: &AttentionShape,
    (q, k_cache, v_cache): (&[f32], &[f32], &[f32]),
    spans: &[AttentionSpan<'_>],
    sees: impl Fn(&AttentionSpan<'_>, usize, usize) -> bool,
    out: &mut [f32],
) {
    let dim = shape.head_dim;
    for span in spans {
        for row in 0..span.query_len {
            let seen: Vec<usize> = (0..span.context_len).filter(|p| sees(span, row, *p)).collect();
            for head in 0..shape.heads {
                let kv_head = head / (shape.heads / shape.kv_heads);
                let size = shape.block_size;
                // Of keys and values, what stands between two numbers of a head differs.
                let number = |cache: &[f32], position: usize, at: usize| {
                    let block = span.block_table[position / size] as usize;
                    cache[(block * shape.kv_heads + kv_head) * size * dim + at]
                };
                let key = |p: usize, d: usize| number(k_cache, p, d * size + p % size);
                let value = |p: usize, d: usize| number(v_cache, p, p % size * dim + d);
                let first = ((span.query_start + row) * shape.heads + head) * dim;
                let q = &q[first..first + dim];
                let scores: Vec<f64> = seen
                    .iter()
                    .map(|&p| {
                        let key: Vec<f32> = (0..dim).map(|d| key(p, d)).collect();
                        let score = dot(q, &key) * f64::from(shape.scale);
                        shape
                            .softcap
                            .map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                    })
                    .collect();
                let max = scores.iter().fold(f64::NEG_INFINITY, |max, s| max.max(*s));
                let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                for d in 0..dim {
                    let weighted: f64 = seen
                        .iter()
                        .zip(&scores)
                        .map(|(&p, s)| (s - max).exp() * f64::from(value(p, d)))
                        .sum();
                    out[first + d] = if sum > 0.0 { (weighted / sum) as f32 } else { 0.0 };
                }
            }
        }
    }
}
