//! What a caller may ask of the sampler. `None` = the model's generation default, else off.

/// DRY: punishes tokens that would extend a repeated span (row P-B1).
#[derive(Debug, Clone, PartialEq)]
pub struct DryParams {
    /// 0 = off.
    pub multiplier: f32,
    /// Growth per token of match length.
    pub base: f32,
    /// Matches up to this length go unpunished.
    pub allowed_length: usize,
    /// Look at this many last tokens; `None` = all.
    pub last_n: Option<usize>,
    /// Strings a match cannot cross.
    pub sequence_breakers: Vec<String>,
}

impl Default for DryParams {
    fn default() -> Self {
        Self {
            multiplier: 0.0,
            base: 1.75,
            allowed_length: 2,
            last_n: None,
            sequence_breakers: ["\n", ":", "\"", "*"].map(String::from).to_vec(),
        }
    }
}

/// Mirostat 2: holds the surprise of the text near `tau`; replaces the other filters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mirostat {
    /// Target surprise in bits.
    pub tau: f32,
    /// Learning rate.
    pub eta: f32,
}

/// XTC: with `probability`, drops all but the least likely of the tokens above `threshold`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xtc {
    /// Chance per token.
    pub probability: f32,
    /// Probability above which a token counts as a top choice.
    pub threshold: f32,
}

/// How the next token is chosen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 (or below 1e-7) = take the best.
    pub temperature: Option<f32>,
    /// Keep the k best; 0 = off.
    pub top_k: Option<usize>,
    /// Keep the smallest set whose probability reaches p.
    pub top_p: Option<f32>,
    /// Drop what is less likely than `min_p` × the best.
    pub min_p: Option<f32>,
    /// Keep the tokens nearest the distribution's entropy, up to this mass.
    pub typical_p: Option<f32>,
    /// Keep logits within n standard deviations of the best.
    pub top_n_sigma: Option<f32>,
    /// Exclude top choices.
    pub xtc: Option<Xtc>,
    /// Mirostat 2.
    pub mirostat: Option<Mirostat>,
    /// Divides positive and multiplies negative logits of seen tokens; 1 = off.
    pub repetition_penalty: Option<f32>,
    /// Subtracted once per occurrence.
    pub frequency_penalty: Option<f32>,
    /// Subtracted from tokens that occurred.
    pub presence_penalty: Option<f32>,
    /// The three penalties look at this many last tokens; `None` = all.
    pub penalty_last_n: Option<usize>,
    /// DRY.
    pub dry: Option<DryParams>,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Same seed, same prompt, same answer.
    pub seed: Option<u64>,
}
