//! The conformer of Gemma 3n's hearing: feed-forward, attention within a window of time, a causal
//! convolution channel by channel, feed-forward. Attention knows how far a key is behind its query by a
//! sinusoid of the distance (row G12); distances are signed and bounded by the window before they
//! become an index.
//! Source: `modeling_gemma3n.py` of Hugging Face transformers; arXiv 2005.08100, 1901.02860, 2303.01037.

use crate::error::LoadError;
use crate::layers::{Conv, ConvSteps, RmsNorm};
use crate::weights::Weights;
use candle_core::{Device, Result, Tensor, bail};
use mistralrs_quant::{Linear, MergedLinear};
use rayon::prelude::*;

/// The sizes of a conformer.
#[derive(Debug, Clone, PartialEq)]
pub struct ConformerConfig {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Heads of attention; divides `hidden`.
    pub heads: usize,
    /// Steps before its own that a query sees.
    pub before: usize,
    /// Steps after its own that a query sees.
    pub after: usize,
    /// Scores become `cap · tanh(score / cap)`.
    pub cap: f32,
    /// Length of the convolution's kernel.
    pub kernel: usize,
    /// What a feed-forward block adds is multiplied by this.
    pub residual: f64,
    /// Numbers are held within ± this.
    pub clip: f64,
    /// Of the convolution's norms; the others have 1e-6.
    pub eps: f64,
}

const EPS: f64 = 1e-6;

type Loaded<T> = std::result::Result<T, LoadError>;

/// One block.
pub struct ConformerBlock {
    start: FeedForward,
    attention: LocalAttention,
    convolution: LightConv,
    end: FeedForward,
    norm: RmsNorm,
    clip: f64,
}

impl ConformerBlock {
    /// Reads the block at `weights`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(config: &ConformerConfig, weights: &Weights) -> Loaded<Self> {
        Ok(Self {
            start: FeedForward::load(config, &weights.pp("ffw_layer_start"))?,
            attention: LocalAttention::load(config, &weights.pp("attention"))?,
            convolution: LightConv::load(config, &weights.pp("lconv1d"))?,
            end: FeedForward::load(config, &weights.pp("ffw_layer_end"))?,
            norm: RmsNorm::load(&weights.pp("norm"), config.hidden, EPS)?,
            clip: config.clip,
        })
    }

    /// `[steps, hidden]`, of which the first `valid` are sound and the others padding → the same. What
    /// padding becomes means nothing.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn forward(&self, x: &Tensor, valid: usize) -> Result<Tensor> {
        let x = self.attention.forward(&self.start.forward(x)?, valid)?;
        let (steps, _) = x.dims2()?;
        let sound = x.narrow(0, 0, valid.min(steps))?;
        let x = sound.pad_with_zeros(0, 0, steps - valid.min(steps))?;
        let x = self.end.forward(&self.convolution.forward(&x)?)?;
        self.norm.forward(&x.clamp(-self.clip, self.clip)?)
    }
}

struct FeedForward {
    pre_norm: RmsNorm,
    first: Linear,
    second: Linear,
    post_norm: RmsNorm,
    residual: f64,
    clip: f64,
}

impl FeedForward {
    fn load(config: &ConformerConfig, weights: &Weights) -> Loaded<Self> {
        let hidden = config.hidden;
        Ok(Self {
            pre_norm: RmsNorm::load(&weights.pp("pre_layer_norm"), hidden, EPS)?,
            first: weights.pp("ffw_layer_1").linear(4 * hidden, hidden, false)?,
            second: weights.pp("ffw_layer_2").linear(hidden, 4 * hidden, false)?,
            post_norm: RmsNorm::load(&weights.pp("post_layer_norm"), hidden, EPS)?,
            residual: config.residual,
            clip: config.clip,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = self.pre_norm.forward(&x.clamp(-self.clip, self.clip)?)?;
        let inner = self.second.forward(&self.first.forward(&inner)?.silu()?)?;
        let inner = self.post_norm.forward(&inner.clamp(-self.clip, self.clip)?)?;
        x + (inner * self.residual)?
    }
}

struct LightConv {
    pre_norm: RmsNorm,
    linear_start: Linear,
    depthwise: Conv,
    kernel: usize,
    conv_norm: RmsNorm,
    linear_end: Linear,
    clip: f64,
}

impl LightConv {
    fn load(config: &ConformerConfig, weights: &Weights) -> Loaded<Self> {
        let (hidden, kernel) = (config.hidden, config.kernel);
        let steps = ConvSteps { groups: hidden, ..ConvSteps::default() };
        let depthwise = weights.pp("depthwise_conv1d");
        Ok(Self {
            pre_norm: RmsNorm::load(&weights.pp("pre_layer_norm"), hidden, config.eps)?,
            linear_start: weights.pp("linear_start").linear(2 * hidden, hidden, false)?,
            depthwise: Conv::load(&depthwise, &[hidden, 1, kernel], false, steps)?,
            kernel,
            conv_norm: RmsNorm::load(&weights.pp("conv_norm"), hidden, config.eps)?,
            linear_end: weights.pp("linear_end").linear(hidden, hidden, false)?,
            clip: config.clip,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let both = self.linear_start.forward(&self.pre_norm.forward(x)?)?;
        let halves = both.chunk(2, 1)?;
        let [inner, gate] = halves.as_slice() else { bail!("a gate has two halves") };
        let gate = (gate.neg()?.exp()? + 1.0)?.recip()?;
        let inner = (inner * gate)?.t()?.unsqueeze(0)?; // [1, hidden, steps]
        let inner = self.depthwise.forward(&inner.pad_with_zeros(2, self.kernel - 1, 0)?)?;
        let inner = inner.squeeze(0)?.t()?.contiguous()?.clamp(-self.clip, self.clip)?;
        x + self.linear_end.forward(&self.conv_norm.forward(&inner)?.silu()?)?
    }
}

struct LocalAttention {
    pre_norm: RmsNorm,
    qkv: MergedLinear,
    shape: Window,
    /// `[heads × head_dim, distances]`, the key after the query by most first: what is added to the
    /// score of a query for each distance is the query times this.
    distances: Vec<f32>,
    /// `[head_dim]`
    query_scale: Vec<f32>,
    post: Linear,
    post_norm: RmsNorm,
    clip: f64,
}

/// Which keys a query sees, and how.
#[derive(Debug, Clone, Copy)]
struct Window {
    heads: usize,
    head_dim: usize,
    before: usize,
    after: usize,
    cap: f32,
}

impl LocalAttention {
    fn load(config: &ConformerConfig, weights: &Weights) -> Loaded<Self> {
        let (hidden, attn) = (config.hidden, weights.pp("attn"));
        let projection = |name| attn.pp(name).linear(hidden, hidden, false);
        let window = Window {
            heads: config.heads,
            head_dim: hidden / config.heads,
            before: config.before,
            after: config.after,
            cap: config.cap,
        };
        let positions = attn.pp("relative_position_embedding").pp("pos_proj");
        let positions = positions.linear(hidden, hidden, false)?;
        let waves = sinusoids(window.before, window.after, hidden);
        let reach = window.before + window.after + 1;
        let waves = Tensor::from_vec(waves, (reach, hidden), &Device::Cpu)?;
        let scales: Vec<f32> = attn.tensor("per_dim_scale", &[window.head_dim])?.to_vec1()?;
        // By itself the scale is the usual 1/√head_dim: softplus(0) is ln 2.
        let usual = (window.head_dim as f32).sqrt() * std::f32::consts::LN_2;
        Ok(Self {
            pre_norm: RmsNorm::load(&weights.pp("pre_attn_norm"), hidden, EPS)?,
            qkv: MergedLinear::new(vec![
                projection("q_proj")?,
                projection("k_proj")?,
                projection("v_proj")?,
            ]),
            shape: window,
            distances: positions.forward(&waves)?.flatten_all()?.to_vec1()?,
            query_scale: scales.iter().map(|scale| softplus(*scale) / usual).collect(),
            post: weights.pp("post").linear(hidden, hidden, false)?,
            post_norm: RmsNorm::load(&weights.pp("post_norm"), hidden, EPS)?,
            clip: config.clip,
        })
    }

    fn forward(&self, x: &Tensor, valid: usize) -> Result<Tensor> {
        let inner = self.pre_norm.forward(&x.clamp(-self.clip, self.clip)?)?;
        let parts = self.qkv.forward(&inner)?;
        let [q, k, v] = parts.as_slice() else { bail!("q, k and v are three") };
        let numbers = |x: &Tensor| x.contiguous()?.flatten_all()?.to_vec1::<f32>();
        let (mut q, k, v) = (numbers(q)?, numbers(k)?, numbers(v)?);
        for head in q.chunks_exact_mut(self.query_scale.len().max(1)) {
            head.iter_mut().zip(&self.query_scale).for_each(|(q, scale)| *q *= scale);
        }
        let out = self.shape.attend(&q, (&k, &v), &self.distances, valid);
        let out = Tensor::from_vec(out, x.shape(), x.device())?;
        let out = self.post.forward(&out)?.clamp(-self.clip, self.clip)?;
        x + self.post_norm.forward(&out)?
    }
}

/// `[before + 1 + after, width]`: sines, then cosines, of distances from `before` down to `-after`.
fn sinusoids(before: usize, after: usize, width: usize) -> Vec<f32> {
    let half = width / 2;
    let slower = -(1e4f32).ln() / (half.saturating_sub(1)).max(1) as f32;
    let mut waves = Vec::with_capacity((before + after + 1) * width);
    for row in 0..before + after + 1 {
        let distance = before as f32 - row as f32;
        let angle = |i: usize| distance * (i as f32 * slower).exp();
        waves.extend((0..half).map(|i| angle(i).sin()));
        waves.extend((0..half).map(|i| angle(i).cos()));
        waves.extend(std::iter::repeat_n(0.0, width - 2 * half));
    }
    waves
}

fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Window {
    /// `q`, `k` and `v` `[steps, heads × head_dim]`, `distances` `[before + 1 + after, heads × head_dim]`
    /// from the furthest before on → `[steps, heads × head_dim]`; keys from `valid` on are not seen,
    /// and a query that sees none is zero.
    fn attend(
        &self,
        q: &[f32],
        (k, v): (&[f32], &[f32]),
        distances: &[f32],
        valid: usize,
    ) -> Vec<f32> {
        let width = self.heads * self.head_dim;
        let mut out = vec![0f32; q.len()];
        let steps = out.par_chunks_mut(width.max(1)).zip(q.par_chunks(width.max(1))).enumerate();
        steps.for_each(|(step, (out, q))| {
            let keys = step.saturating_sub(self.before)..(step + self.after + 1).min(valid);
            let heads = out.chunks_exact_mut(self.head_dim).zip(q.chunks_exact(self.head_dim));
            for (head, (out, q)) in heads.enumerate() {
                let row = |x: &[f32], row: usize| {
                    let start = row * width + head * self.head_dim;
                    x.get(start..start + self.head_dim).unwrap_or_default().to_vec()
                };
                let score = |key: usize| {
                    // The furthest before is row 0; `key + before` is at least `step`.
                    let distance = row(distances, key + self.before - step);
                    let score = dot(q, &row(k, key)) + dot(q, &distance);
                    self.cap * (score / self.cap).tanh()
                };
                let scores: Vec<f32> = keys.clone().map(score).collect();
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
                let sum: f32 = weights.iter().sum();
                for (key, weight) in keys.clone().zip(&weights) {
                    let value = row(v, key);
                    out.iter_mut().zip(&value).for_each(|(out, v)| *out += weight / sum * v);
                }
            }
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_signed_and_reach_both_ends() {
        // Width 2: one sine and one cosine of the distance itself.
        let waves = sinusoids(2, 1, 2);
        let wanted = [2f32, 1.0, 0.0, -1.0].map(|d| [d.sin(), d.cos()]).concat();
        for (found, wanted) in waves.iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-6);
        }
        assert_eq!(waves.len(), 8);
        assert_eq!(sinusoids(0, 0, 4), [0.0, 0.0, 1.0, 1.0]);
    }

    /// One head of one number: scores are the distance's number alone, values the step's own number.
    fn seen(steps: usize, window: Window, distances: &[f32], valid: usize) -> Vec<f32> {
        let values: Vec<f32> = (0..steps).map(|step| step as f32).collect();
        window.attend(&vec![1.0; steps], (&vec![0.0; steps], &values), distances, valid)
    }

    #[test]
    fn each_step_sees_its_window_and_tells_near_from_far() {
        let window = Window { heads: 1, head_dim: 1, before: 2, after: 1, cap: 1e6 };
        let flat = [0.0; 4];
        for steps in [1, 5, 2 * 3 + 3] {
            let found = seen(steps, window, &flat, steps);
            for (step, found) in found.into_iter().enumerate() {
                let keys: Vec<usize> = (step.saturating_sub(2)..(step + 2).min(steps)).collect();
                let mean = keys.iter().sum::<usize>() as f32 / keys.len() as f32;
                assert!((found - mean).abs() < 1e-5, "{steps} {step}: {found} {mean}");
            }
        }
        // A score of 60 for one distance alone: every step reads the value that far away.
        for (row, distance) in [(0, -2i64), (1, -1), (2, 0), (3, 1)] {
            let mut distances = flat;
            distances[row] = 60.0;
            for (step, found) in seen(9, window, &distances, 9).into_iter().enumerate() {
                let key = step as i64 + distance;
                if (0..9).contains(&key) {
                    assert!((found - key as f32).abs() < 1e-4, "{distance} {step}: {found}");
                }
            }
        }
    }

    #[test]
    fn padding_is_not_seen_and_caps_hold() {
        let window = Window { heads: 1, head_dim: 1, before: 2, after: 1, cap: 1e6 };
        let found = seen(6, window, &[0.0; 4], 3);
        assert_eq!(found[2], 1.0, "of 0, 1 and 2; 3 is padding");
        assert_eq!(found[5], 0.0, "3 to 5 are all padding");
        let capped = Window { cap: 0.001, ..window };
        let found = seen(3, capped, &[0.0, 0.0, 60.0, 0.0], 3);
        assert!((found[1] - 1.0).abs() < 0.01);
        assert!((found[0] - 0.5).abs() < 0.01, "a cap near 0 makes all alike");
    }

    #[test]
    fn softplus_of_the_table() {
        for (x, wanted) in
            [(0.0, std::f32::consts::LN_2), (1.0, 1.313_261_7), (-30.0, 0.0), (40.0, 40.0)]
        {
            assert!((softplus(x) - wanted).abs() < 1e-5, "{x}");
        }
    }
}
