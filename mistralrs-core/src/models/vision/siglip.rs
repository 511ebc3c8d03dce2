//! SigLIP's vision tower: patches, a table of positions, pre-norm layers that look both ways. It is
//! also Idefics3's, which finds positions by where in the picture a patch lies.
//! Source: `modeling_siglip.py`, `modeling_idefics3.py` of Hugging Face transformers; arXiv 2303.15343,
//! 2307.06304 (positions as fractions).

use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::layers::encoder::{Activation, EncoderAttention, LayerNorm, PlainMlp};
use crate::models::TowerShape;
use crate::models::config::{self, LARGEST_DIMENSION};
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::{Linear, MergedLinear, QuantMethod};
use serde::Deserialize;
use serde_json::Value;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The keys of `vision_config`, with SigLIP's defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct SiglipConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: usize,
    /// Height and width of a picture, in pixels.
    pub image_size: usize,
    /// Height and width of a patch, in pixels.
    pub patch_size: usize,
    hidden_act: String,
    /// Of the tower's norms.
    pub layer_norm_eps: f64,
}

impl Default for SiglipConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 16,
            hidden_act: "gelu_pytorch_tanh".to_owned(),
            layer_norm_eps: 1e-6,
        }
    }
}

impl SiglipConfig {
    /// Reads `vision_config` of `json`, the whole `config.json`, where the family has other `defaults`
    /// than SigLIP; the path is for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(
        file: &Path,
        json: &Value,
        defaults: Value,
    ) -> std::result::Result<Self, LoadError> {
        let bad = |reason: String| LoadError::BadFile {
            file: file.to_owned(),
            reason: format!("`vision_config`: {reason}"),
        };
        let keys = config::part(json, "vision_config", defaults);
        let config = Self::deserialize(keys).map_err(|error| bad(error.to_string()))?;
        config.check().map_err(bad)?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        for (key, value) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_channels", self.num_channels),
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
        ] {
            if !(1..=LARGEST_DIMENSION).contains(&value) {
                return Err(format!("`{key}` is {value}, outside 1..={LARGEST_DIMENSION}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
            return Err(format!("`hidden_size` {hidden} is no multiple of {heads} heads"));
        }
        if self.patches_per_side() == 0 {
            let (image, patch) = (self.image_size, self.patch_size);
            return Err(format!("`image_size` {image} is smaller than `patch_size` {patch}"));
        }
        if !(self.layer_norm_eps.is_finite() && self.layer_norm_eps >= 0.0) {
            return Err(format!("`layer_norm_eps` is {}", self.layer_norm_eps));
        }
        self.activation().map(|_| ())
    }

    fn activation(&self) -> std::result::Result<Activation, String> {
        Activation::from_name(&self.hidden_act)
            .ok_or_else(|| format!("`hidden_act` {} is not supported", self.hidden_act))
    }

    /// What looking at a picture costs that becomes so many tokens.
    pub fn shape(&self, tokens: usize) -> TowerShape {
        let patches = self.patches_per_side() * self.patches_per_side();
        let per_patch = super::layer_activations(self.hidden_size, self.intermediate_size);
        let activations_per_token = (patches * per_patch).div_ceil(tokens.max(1));
        TowerShape { activations_per_token, tokens: Some(tokens) }
    }

    /// Patches along each side of a whole picture.
    pub fn patches_per_side(&self) -> usize {
        self.image_size / self.patch_size
    }
}

/// A loaded tower.
pub struct SiglipTower {
    /// Over the pixels of a patch, channel by channel.
    patch_embedding: Linear,
    patch_size: usize,
    position_embedding: Arc<dyn QuantMethod>,
    /// Rows and columns of the table of positions.
    side: usize,
    layers: Vec<SiglipLayer>,
    post_layernorm: LayerNorm,
}

impl SiglipTower {
    /// Reads the tower at `weights`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(config: &SiglipConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let (hidden, patch, side) =
            (config.hidden_size, config.patch_size, config.patches_per_side());
        let embeddings = weights.pp("embeddings");
        let embedding = embeddings.pp("patch_embedding");
        let kernel = [hidden, config.num_channels, patch, patch];
        let layers = weights.pp("encoder").pp("layers");
        let last = weights.pp("post_layernorm");
        Ok(Self {
            patch_embedding: Linear::new(
                embedding.flattened(&kernel)?,
                Some(embedding.tensor("bias", &[hidden])?),
            ),
            patch_size: patch,
            position_embedding: embeddings.pp("position_embedding").table(side * side, hidden)?,
            side,
            layers: (0..config.num_hidden_layers)
                .map(|number| SiglipLayer::load(config, &layers.pp(number)))
                .collect::<std::result::Result<_, _>>()?,
            post_layernorm: LayerNorm::load(&last, hidden, config.layer_norm_eps, true)?,
        })
    }

    /// `[pictures, channels, height, width]` → `[pictures, patches, hidden]`, patches row by row.
    ///
    /// # Errors
    /// When the pictures are of another shape, or have more patches on a side than there are positions.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (patches, [pictures, rows, columns]) = patches(pixels, self.patch_size)?;
        let x = self.patch_embedding.forward(&patches)?; // [pictures × patches, hidden]
        let (_, hidden) = x.dims2()?;
        let positions = self.positions(rows, columns)?;
        let positions = Tensor::new(positions, pixels.device())?;
        let positions = self.position_embedding.rows(&positions)?; // [patches, hidden]
        let x = x.reshape((pictures, rows * columns, hidden))?;
        let mut x = x.broadcast_add(&positions)?.reshape((pictures * rows * columns, hidden))?;
        let spans: Vec<_> =
            (0..pictures).map(|p| p * rows * columns..(p + 1) * rows * columns).collect();
        for layer in &self.layers {
            x = layer.forward(&x, &spans)?;
        }
        self.post_layernorm.forward(&x)?.reshape((pictures, rows * columns, hidden))
    }

    /// The entry of the table that belongs to each patch: where a patch begins, as a share of the
    /// picture, says in which of the table's rows and columns it lies.
    fn positions(&self, rows: usize, columns: usize) -> Result<Vec<u32>> {
        if rows > self.side || columns > self.side {
            bail!("{rows}×{columns} patches; there are positions for {0}×{0}", self.side);
        }
        let place = |index: usize, of: usize| (index * self.side / of) as u32;
        let row = |row| {
            (0..columns).map(move |c| place(row, rows) * self.side as u32 + place(c, columns))
        };
        Ok((0..rows).flat_map(row).collect())
    }
}

/// `[pictures, channels, height, width]` → `[pictures × rows × columns, channels × patch × patch]`, and the first
/// three of these numbers; pixels behind the last whole patch are left out.
fn patches(pixels: &Tensor, patch: usize) -> Result<(Tensor, [usize; 3])> {
    let (pictures, channels, height, width) = pixels.dims4()?;
    let (rows, columns) = (height / patch, width / patch);
    if rows == 0 || columns == 0 {
        bail!("a picture of {height}×{width} has no patch of {patch}×{patch}");
    }
    let whole = pixels.narrow(2, 0, rows * patch)?.narrow(3, 0, columns * patch)?;
    let cut = whole.contiguous()?.reshape(&[pictures, channels, rows, patch, columns, patch])?;
    let cut = cut.permute([0, 2, 4, 1, 3, 5])?.contiguous()?;
    let cut = cut.reshape((pictures * rows * columns, channels * patch * patch))?;
    Ok((cut, [pictures, rows, columns]))
}

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`.
struct SiglipLayer {
    layer_norm1: LayerNorm,
    attention: EncoderAttention,
    layer_norm2: LayerNorm,
    mlp: PlainMlp,
}

impl SiglipLayer {
    fn load(config: &SiglipConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let hidden = config.hidden_size;
        let widths = [hidden, config.intermediate_size, hidden];
        let activation = config.activation().unwrap_or(Activation::GeluTanh);
        let norm = |name| LayerNorm::load(&weights.pp(name), hidden, config.layer_norm_eps, true);
        let attention = weights.pp("self_attn");
        let own = |name| attention.pp(name).linear(hidden, hidden, true);
        let heads = config.num_attention_heads;
        Ok(Self {
            layer_norm1: norm("layer_norm1")?,
            attention: EncoderAttention {
                qkv: MergedLinear::new(vec![own("q_proj")?, own("k_proj")?, own("v_proj")?]),
                output: own("out_proj")?,
                params: AttentionParams::plain(heads, hidden / heads),
            },
            layer_norm2: norm("layer_norm2")?,
            mlp: PlainMlp::load(&weights.pp("mlp"), ["fc1", "fc2"], widths, activation)?,
        })
    }

    /// `[patches, hidden]` → the same; each span is one picture.
    fn forward(&self, x: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        let x = (x + self.attention.forward(&self.layer_norm1.forward(x)?, spans, None)?)?;
        &x + self.mlp.forward(&self.layer_norm2.forward(&x)?)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::tests::noise;
    use crate::layers::{Conv, ConvSteps};

    /// Patches times kernels are the convolution whose step is its kernel's size.
    #[test]
    fn patches_are_what_the_convolution_sees() {
        let (pixels, kernels) = (noise(&[2, 3, 9, 13], 1), noise(&[5, 3, 4, 4], 2));
        let steps = ConvSteps { stride: 4, ..ConvSteps::default() };
        let wanted = Conv::new(&kernels, None, steps).unwrap().forward(&pixels).unwrap();
        let (patches, sides) = patches(&pixels, 4).unwrap();
        assert_eq!(sides, [2, 2, 3]);
        let found = patches.matmul(&kernels.flatten_from(1).unwrap().t().unwrap()).unwrap();
        let wanted = wanted.permute((0, 2, 3, 1)).unwrap().flatten_to(2).unwrap();
        let worst = (found - wanted).unwrap().abs().unwrap().max_all().unwrap();
        assert!(worst.to_scalar::<f32>().unwrap() < 1e-5);
        assert!(super::patches(&noise(&[1, 3, 3, 9], 1), 4).is_err());
    }
}
