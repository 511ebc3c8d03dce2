//! Rotary embedding in `config.json`: flat or per kind of layer, in the older and the newer keys, and
//! the frequencies that follow. Formats: `modeling_rope_utils` of Hugging Face transformers. Papers:
//! YaRN, arXiv 2309.00071; LongRoPE, arXiv 2402.13753.

use serde::Deserialize;
use std::f64::consts::TAU;

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are stretched.
    pub scaling: RopeScaling,
    /// The share of a head's dimensions, from the first, that is rotated.
    pub partial: f64,
}

/// How the rotary frequencies are stretched for longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All divided by one factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low frequencies divided by the factor, high ones kept, a ramp between.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths longer than `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths shorter than `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context before stretching, in tokens.
        original_context: usize,
    },
    /// Like Llama3, with the ramp along the dimensions, not the frequencies.
    Yarn {
        /// The factor.
        factor: f64,
        /// Dimensions that make more turns in the original context are kept.
        beta_fast: f64,
        /// Dimensions that make fewer are divided.
        beta_slow: f64,
        /// Whether the ramp's ends are rounded outward to whole dimensions.
        truncate: bool,
        /// Context before stretching, in tokens.
        original_context: usize,
        /// Multiplies what is rotated.
        attention_factor: f64,
    },
    /// Each divided by its own factor: other ones in sequences longer than the original context.
    LongRope {
        /// One per frequency, highest frequency first.
        short: Vec<f64>,
        /// One per frequency, highest frequency first.
        long: Vec<f64>,
        /// Sequences longer than this, in tokens, take the `long` factors.
        original_context: usize,
        /// Multiplies what is rotated.
        attention_factor: f64,
    },
    /// Each divided by its own factor: what a GGUF file stores instead of the rule.
    Factors(
        /// One per frequency, highest frequency first.
        Vec<f64>,
    ),
}

impl RopeConfig {
    /// How many of a head's dimensions are rotated; even.
    pub fn rotary_dim(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.partial + 1e-6) as usize / 2 * 2
    }

    /// One frequency per pair of the rotated dimensions, in radians per token:
    /// `[rotary_dim / 2]`, highest first; in sequences no longer than the original context.
    pub fn inverse_frequencies(&self, rotary_dim: usize) -> Vec<f32> {
        self.frequencies(rotary_dim, |pair, plain| self.apply(pair, plain, rotary_dim))
    }

    /// The same in longer sequences, where that makes a difference.
    pub fn long_inverse_frequencies(&self, rotary_dim: usize) -> Option<Vec<f32>> {
        let RopeScaling::LongRope { long, .. } = &self.scaling else { return None };
        Some(self.frequencies(rotary_dim, |pair, plain| divide(plain, long, pair)))
    }

    /// Sequences of more tokens than this have the other frequencies.
    pub fn short_context(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::LongRope { original_context, .. } => Some(original_context),
            _ => None,
        }
    }

    /// Multiplies what is rotated.
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. }
            | RopeScaling::LongRope { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    fn frequencies(&self, rotary_dim: usize, stretch: impl Fn(usize, f64) -> f64) -> Vec<f32> {
        let plain = |pair: usize| self.theta.powf(-((2 * pair) as f64) / rotary_dim as f64);
        (0..rotary_dim / 2).map(|pair| stretch(pair, plain(pair)) as f32).collect()
    }

    fn apply(&self, pair: usize, frequency: f64, rotary_dim: usize) -> f64 {
        match &self.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Factors(factors) | RopeScaling::LongRope { short: factors, .. } => {
                divide(frequency, factors, pair)
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let turns = *original_context as f64 * frequency / TAU;
                // How many turns the original context makes decides how much of the plain
                // frequency is kept: all from `high` turns on, nothing up to `low` turns.
                let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                mix(frequency, *factor, kept)
            }
            RopeScaling::Yarn {
                factor, beta_fast, beta_slow, truncate, original_context, ..
            } => {
                // The pair that makes so many turns in the original context.
                let pair_of = |turns: f64| {
                    let wavelength = *original_context as f64 / turns;
                    rotary_dim as f64 * (wavelength / TAU).ln() / (2.0 * self.theta.ln())
                };
                let (mut first, mut last) = (pair_of(*beta_fast), pair_of(*beta_slow));
                if *truncate {
                    (first, last) = (first.floor(), last.ceil());
                }
                let (first, last) = (first.max(0.0), last.min(rotary_dim as f64 - 1.0));
                // A ramp of no length is a step.
                let length = if first == last { 0.001 } else { last - first };
                mix(frequency, *factor, 1.0 - (pair as f64 - first) / length)
            }
        }
    }
}

/// `kept` of the frequency as it is, the rest of it divided.
fn mix(frequency: f64, factor: f64, kept: f64) -> f64 {
    let kept = kept.clamp(0.0, 1.0);
    kept * frequency + (1.0 - kept) * frequency / factor
}

fn divide(frequency: f64, factors: &[f64], pair: usize) -> f64 {
    frequency / factors.get(pair).copied().unwrap_or(1.0)
}

/// What a file says of rotation, before it is checked.
pub(super) struct RopeKeys<'a> {
    /// `rope_theta` at the top.
    pub(super) theta: Option<f64>,
    /// `rope_local_base_freq` at the top.
    pub(super) local_theta: Option<f64>,
    pub(super) raw: Option<&'a RawRope>,
    /// `partial_rotary_factor` at the top.
    pub(super) partial: Option<f64>,
    /// `original_max_position_embeddings` at the top.
    pub(super) original_context: Option<usize>,
    pub(super) context: usize,
    pub(super) head_dim: usize,
}

/// `rope_scaling` and `rope_parameters` at once: the latter holds the base as well.
#[derive(Deserialize)]
pub(super) struct RawRope {
    /// The older name of `rope_type`.
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    attention_factor: Option<f64>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: Option<f64>,
    /// Ours: see [`RopeScaling::Factors`].
    factors: Option<Vec<f64>>,
    /// transformers 5 nests one object per kind of layer for some families.
    full_attention: Option<Box<RawRope>>,
    sliding_attention: Option<Box<RawRope>>,
}

impl RopeKeys<'_> {
    /// Of the layers that see everything.
    pub(super) fn global(&self) -> Result<RopeConfig, String> {
        let raw = self.raw.map(|raw| raw.full_attention.as_deref().unwrap_or(raw));
        self.read(raw, self.theta)
    }

    /// Of the layers with a window, if there is something about them.
    pub(super) fn local(&self) -> Result<Option<RopeConfig>, String> {
        match (self.raw.and_then(|raw| raw.sliding_attention.as_deref()), self.local_theta) {
            (Some(raw), theta) => self.read(Some(raw), theta.or(self.theta)).map(Some),
            // The older keys stretch the other layers only.
            (None, Some(theta)) => self.read(None, Some(theta)).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn read(&self, raw: Option<&RawRope>, theta: Option<f64>) -> Result<RopeConfig, String> {
        let theta = raw.and_then(|raw| raw.rope_theta).or(theta).unwrap_or(10_000.0);
        let partial = raw.and_then(|raw| raw.partial_rotary_factor).or(self.partial);
        let partial = partial.unwrap_or(1.0);
        let mut rope = RopeConfig {
            theta: positive("rope_theta", Some(theta))?,
            scaling: RopeScaling::None,
            partial: positive("partial_rotary_factor", Some(partial))?,
        };
        let rotated = rope.rotary_dim(self.head_dim);
        if partial > 1.0 || rotated == 0 {
            return Err(format!("`partial_rotary_factor` {partial} rotates {rotated} dimensions"));
        }
        if let Some(raw) = raw {
            rope.scaling = self.scaling(raw, rotated / 2)?;
        }
        Ok(rope)
    }

    fn scaling(&self, raw: &RawRope, pairs: usize) -> Result<RopeScaling, String> {
        let kind = raw.rope_type.as_deref().or(raw.kind.as_deref()).unwrap_or("default");
        match kind {
            "default" => Ok(RopeScaling::None),
            // Stretches only what is longer than `max_position_embeddings`, which is refused: it would turn
            // the keys of one sequence by frequencies that depend on how it was cut into steps.
            "dynamic" => positive("factor", raw.factor).map(|_| RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: positive("factor", raw.factor)? }),
            "llama3" => self.llama3(raw),
            // Phi-3's early files call LongRoPE so.
            "longrope" | "su" => self.long_rope(raw, pairs),
            "yarn" if raw.long_factor.is_some() => self.long_rope(raw, pairs),
            "yarn" => self.yarn(raw),
            "factors" => {
                Ok(RopeScaling::Factors(factors("factors", raw.factors.as_deref(), pairs)?))
            }
            other => Err(format!(
                "rope scaling `{other}` is not supported; supported: linear, dynamic, llama3, yarn, longrope"
            )),
        }
    }

    fn llama3(&self, raw: &RawRope) -> Result<RopeScaling, String> {
        let low_freq_factor = positive("low_freq_factor", raw.low_freq_factor)?;
        let high_freq_factor = positive("high_freq_factor", raw.high_freq_factor)?;
        if low_freq_factor >= high_freq_factor {
            return Err(format!(
                "rope scaling: `low_freq_factor` {low_freq_factor} must be less than \
                 `high_freq_factor` {high_freq_factor}"
            ));
        }
        let original_context = self.original(raw)?;
        let factor = positive("factor", raw.factor)?;
        Ok(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context })
    }

    fn yarn(&self, raw: &RawRope) -> Result<RopeScaling, String> {
        let factor = positive("factor", raw.factor)?;
        // The paper's advice; DeepSeek's files weigh it.
        let sharpness = |weight: f64| match factor > 1.0 {
            true => 0.1 * weight * factor.ln() + 1.0,
            false => 1.0,
        };
        let non_zero = |weight: Option<f64>| weight.filter(|weight| *weight != 0.0);
        let advised = match (non_zero(raw.mscale), non_zero(raw.mscale_all_dim)) {
            (Some(above), Some(below)) => sharpness(above) / sharpness(below),
            _ => sharpness(1.0),
        };
        let attention_factor = raw.attention_factor.unwrap_or(advised);
        let or_default = |beta: Option<f64>, default| beta.filter(|b| *b != 0.0).unwrap_or(default);
        Ok(RopeScaling::Yarn {
            factor,
            beta_fast: positive("beta_fast", Some(or_default(raw.beta_fast, 32.0)))?,
            beta_slow: positive("beta_slow", Some(or_default(raw.beta_slow, 1.0)))?,
            truncate: raw.truncate.unwrap_or(true),
            original_context: self.original(raw)?,
            attention_factor: positive("attention_factor", Some(attention_factor))?,
        })
    }

    fn long_rope(&self, raw: &RawRope, pairs: usize) -> Result<RopeScaling, String> {
        let original_context = self.original(raw)?;
        let growth = raw.factor.unwrap_or(self.context as f64 / original_context as f64);
        let advised = match growth > 1.0 && original_context > 1 {
            true => (1.0 + growth.ln() / (original_context as f64).ln()).sqrt(),
            false => 1.0,
        };
        let attention_factor = raw.attention_factor.unwrap_or(advised);
        Ok(RopeScaling::LongRope {
            short: factors("short_factor", raw.short_factor.as_deref(), pairs)?,
            long: factors("long_factor", raw.long_factor.as_deref(), pairs)?,
            original_context,
            attention_factor: positive("attention_factor", Some(attention_factor))?,
        })
    }

    fn original(&self, raw: &RawRope) -> Result<usize, String> {
        let tokens = self.original_context.or(raw.original_max_position_embeddings);
        let missing = "rope scaling: `original_max_position_embeddings` is missing";
        tokens.filter(|tokens| *tokens > 0).ok_or_else(|| missing.to_owned())
    }
}

/// One positive factor per pair.
fn factors(key: &str, found: Option<&[f64]>, pairs: usize) -> Result<Vec<f64>, String> {
    let found = found.unwrap_or_default();
    if found.len() != pairs {
        return Err(format!(
            "rope scaling: `{key}` has {} factors for {pairs} frequencies",
            found.len()
        ));
    }
    found.iter().map(|factor| positive(key, Some(*factor))).collect()
}

fn positive(key: &str, value: Option<f64>) -> Result<f64, String> {
    match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        Some(value) => Err(format!("rope: `{key}` is {value}, must be positive")),
        None => Err(format!("rope scaling: `{key}` is missing")),
    }
}
