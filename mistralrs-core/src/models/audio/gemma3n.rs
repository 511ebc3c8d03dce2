//! What Gemma 3n hears: a mel spectrum through convolutions and a conformer, every fourth step of it, and
//! the rest of a fixed number of tokens filled up.
//! Source: `modeling_gemma3n.py` of Hugging Face transformers.

use super::conformer::{ConformerBlock, ConformerConfig};
use super::subsample::{Subsample, SubsampleConfig};
use crate::error::LoadError;
use crate::models::config::LARGEST_DIMENSION;
use crate::models::gemma3n::embedder::{EmbedderConfig, MediaEmbedder};
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// The keys that say how Gemma 3n hears.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemma3nAudioConfig {
    embedder: EmbedderConfig,
    subsample: SubsampleConfig,
    conformer: ConformerConfig,
    /// Of so many steps, one becomes a token.
    reduction: usize,
    /// Tokens of a sound of whatever length.
    tokens: usize,
    /// The token that fills up.
    filler: u32,
    text_hidden: usize,
}

#[derive(Deserialize)]
struct Keys {
    hidden_size: usize,
    input_feat_size: usize,
    gradient_clipping: f64,
    conf_attention_context_left: usize,
    conf_attention_context_right: usize,
    conf_attention_logit_cap: f64,
    conf_num_attention_heads: usize,
    conf_num_hidden_layers: usize,
    conf_conv_kernel_size: usize,
    conf_reduction_factor: usize,
    conf_residual_weight: f64,
    rms_norm_eps: f64,
    sscp_conv_channel_size: [usize; 2],
    sscp_conv_group_norm_eps: f64,
    sscp_conv_kernel_size: [[usize; 2]; 2],
    sscp_conv_stride_size: [[usize; 2]; 2],
}

impl Keys {
    fn check(&self) -> std::result::Result<(), String> {
        let [first, second] = self.sscp_conv_kernel_size;
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("input_feat_size", self.input_feat_size),
            ("conf_attention_context_left", self.conf_attention_context_left),
            ("conf_num_attention_heads", self.conf_num_attention_heads),
            ("conf_num_hidden_layers", self.conf_num_hidden_layers),
            ("conf_conv_kernel_size", self.conf_conv_kernel_size),
            ("conf_reduction_factor", self.conf_reduction_factor),
        ];
        let lists = [self.sscp_conv_channel_size, first, second].concat();
        let lists = lists.into_iter().map(|size| ("sscp_conv_…", size));
        for (key, value) in sizes.into_iter().chain(lists) {
            if !(1..=LARGEST_DIMENSION).contains(&value) {
                return Err(format!("`{key}` is {value}, outside 1..={LARGEST_DIMENSION}"));
            }
        }
        if self.conf_attention_context_right > LARGEST_DIMENSION {
            return Err("`conf_attention_context_right` is too large".to_owned());
        }
        if !self.hidden_size.is_multiple_of(self.conf_num_attention_heads) {
            let (hidden, heads) = (self.hidden_size, self.conf_num_attention_heads);
            return Err(format!("`hidden_size` {hidden} is no multiple of {heads} heads"));
        }
        if self.sscp_conv_stride_size.iter().any(|[time, mel]| time != mel || *time == 0) {
            let strides = self.sscp_conv_stride_size;
            return Err(format!(
                "`sscp_conv_stride_size` is {strides:?}; only equal ones are supported"
            ));
        }
        if !(self.conf_attention_logit_cap > 0.0 && self.gradient_clipping > 0.0) {
            return Err(
                "`conf_attention_logit_cap` and `gradient_clipping` must be positive".to_owned()
            );
        }
        Ok(())
    }
}

impl Gemma3nAudioConfig {
    /// Reads the whole `config.json`; the path is for messages only. `vocab` is the text model's.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(
        file: &Path,
        json: &Value,
        (text_hidden, vocab): (usize, usize),
    ) -> std::result::Result<Self, LoadError> {
        const PART: &str = "audio_config";
        let defaults = json!({
            "hidden_size": 1536, "vocab_size": 128, "vocab_offset": 262_272, "rms_norm_eps": 1e-6,
            "input_feat_size": 128, "gradient_clipping": 1e10, "conf_attention_context_left": 13,
            "conf_attention_context_right": 0, "conf_attention_logit_cap": 50.0,
            "conf_num_attention_heads": 8, "conf_num_hidden_layers": 12, "conf_conv_kernel_size": 5,
            "conf_reduction_factor": 4, "conf_residual_weight": 0.5,
            "sscp_conv_channel_size": [128, 32], "sscp_conv_group_norm_eps": 1e-3,
            "sscp_conv_kernel_size": [[3, 3], [3, 3]], "sscp_conv_stride_size": [[2, 2], [2, 2]],
        });
        let keys = crate::models::config::part(json, PART, defaults);
        let bad = |reason: String| LoadError::BadFile {
            file: file.to_owned(),
            reason: format!("`{PART}`: {reason}"),
        };
        let read = Keys::deserialize(&keys).map_err(|error| bad(error.to_string()))?;
        read.check().map_err(bad)?;
        let tokens = json.get("audio_soft_tokens_per_image");
        let tokens = tokens.map_or(Some(188), Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let tokens = tokens.filter(|tokens| (1..=LARGEST_DIMENSION).contains(tokens));
        Ok(Self {
            embedder: EmbedderConfig::parse(file, PART, &keys)?,
            subsample: SubsampleConfig {
                bins: read.input_feat_size,
                channels: read.sscp_conv_channel_size,
                kernels: read.sscp_conv_kernel_size,
                strides: read.sscp_conv_stride_size.map(|[time, _]| time),
                eps: read.sscp_conv_group_norm_eps as f32,
                hidden: read.hidden_size,
            },
            conformer: ConformerConfig {
                hidden: read.hidden_size,
                layers: read.conf_num_hidden_layers,
                heads: read.conf_num_attention_heads,
                before: read.conf_attention_context_left - 1,
                after: read.conf_attention_context_right,
                cap: read.conf_attention_logit_cap as f32,
                kernel: read.conf_conv_kernel_size,
                residual: read.conf_residual_weight,
                clip: read.gradient_clipping,
                eps: read.rms_norm_eps,
            },
            reduction: read.conf_reduction_factor,
            tokens: tokens
                .ok_or_else(|| bad("`audio_soft_tokens_per_image` is no number".to_owned()))?,
            filler: u32::try_from(vocab.saturating_sub(1)).unwrap_or(u32::MAX),
            text_hidden,
        })
    }

    /// Tokens of one sound.
    pub fn tokens_per_sound(&self) -> usize {
        self.tokens
    }
}

/// The loaded hearing.
pub struct Gemma3nAudio {
    subsample: Subsample,
    /// Frames per step of the conformer.
    stride: usize,
    conformer: Vec<ConformerBlock>,
    embedder: MediaEmbedder,
    reduction: usize,
    tokens: usize,
    filler: u32,
}

impl Gemma3nAudio {
    /// Reads `model.audio_tower` and `model.embed_audio`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        config: &Gemma3nAudioConfig,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let model = weights.pp("model").of_tower();
        let tower = model.pp("audio_tower");
        let (front, embed) = (tower.pp("subsample_conv_projection"), model.pp("embed_audio"));
        let block =
            |number| ConformerBlock::load(&config.conformer, &tower.pp("conformer").pp(number));
        Ok(Self {
            subsample: Subsample::load(&config.subsample, &front)?,
            stride: config.subsample.strides.iter().product(),
            conformer: (0..config.conformer.layers)
                .map(block)
                .collect::<std::result::Result<_, _>>()?,
            embedder: MediaEmbedder::load(&config.embedder, &embed, config.text_hidden)?,
            reduction: config.reduction,
            tokens: config.tokens,
            filler: config.filler,
        })
    }

    /// Mel spectrum `[frames, bins]`, of which the first `valid` frames are sound and the others padding
    /// → `[tokens, text width]`.
    ///
    /// # Errors
    /// When there are too few frames or too many, or other bins than the model has.
    pub fn forward(&self, mel: &Tensor, valid: usize) -> Result<Tensor> {
        let mut x = self.subsample.forward(mel)?; // [steps, hidden]
        let (steps, _) = x.dims2()?;
        // A step is sound where its first frame is.
        let valid = valid.div_ceil(self.stride).min(steps);
        for block in &self.conformer {
            x = block.forward(&x, valid)?;
        }
        let kept: Vec<u32> = (0..valid as u32).step_by(self.reduction).collect();
        if kept.len() > self.tokens || kept.is_empty() {
            bail!("a sound of {} tokens; from 1 to {} are possible", kept.len(), self.tokens);
        }
        let missing = self.tokens - kept.len();
        let kept = self.embedder.features(&x.index_select(&Tensor::new(kept, x.device())?, 0)?)?;
        match missing {
            0 => Ok(kept),
            _ => Tensor::cat(&[kept, self.embedder.tokens(&vec![self.filler; missing])?], 0),
        }
    }

    /// What embeds the vocabulary's tokens about sounds.
    pub fn embedder(&self) -> &MediaEmbedder {
        &self.embedder
    }
}
