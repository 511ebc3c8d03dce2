//! MobileNet-V5, the tower of Gemma 3n: a stem, stages of convolutional and attentive blocks, and a last
//! block over the maps of the last two stages together. What a block is stands in the names and shapes
//! of its tensors; of strides the rule is that the first block of a stage halves its map.
//! Source: `mobilenetv5.py`, `_efficientnet_blocks.py`, `attention2d.py` of timm; arXiv 2404.10518.

use crate::attention::{AttentionParams, attend_across};
use crate::error::LoadError;
use crate::layers::encoder::Activation;
use crate::layers::{FeatureMap, MapConv, RmsNorm};
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::Linear;

/// Of all norms.
const EPS: f64 = 1e-6;

type Loaded<T> = std::result::Result<T, LoadError>;

/// A loaded tower.
pub struct MobileNet {
    stem: ConvNorm,
    stages: Vec<Vec<Block>>,
    fusion: Inverted,
    norm: RmsNorm,
    /// Height and width of what comes out.
    side: usize,
}

impl MobileNet {
    /// Reads the tower at `weights`, whose output is `[side × side, channels]`.
    ///
    /// # Errors
    /// When a tensor is missing, or no block is like what stands there.
    pub fn load(weights: &Weights, side: usize, channels: usize) -> Loaded<Self> {
        let blocks = weights.pp("blocks");
        let mut stages = Vec::new();
        while blocks.pp(stages.len()).has_any() {
            let stage = blocks.pp(stages.len());
            let mut loaded = Vec::new();
            while stage.pp(loaded.len()).has_any() {
                let stride = if loaded.is_empty() { 2 } else { 1 };
                loaded.push(Block::load(&stage.pp(loaded.len()), stride)?);
            }
            stages.push(loaded);
        }
        let fusion = weights.pp("msfa");
        Ok(Self {
            stem: ConvNorm::load(&weights.pp("conv_stem"), ("conv", "bn"), 2, true)?,
            stages,
            fusion: Inverted::load(&fusion.pp("ffn"), 1)?,
            norm: RmsNorm::load(&fusion.pp("norm"), channels, EPS)?,
            side,
        })
    }

    /// `[1, channels, height, width]` → `[side × side, channels out]`.
    ///
    /// # Errors
    /// When the last stages' maps cannot be pooled to `side`.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut map = self.stem.forward(&FeatureMap::from_planes(pixels)?)?;
        let mut last = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            for block in stage {
                map = block.forward(&map)?;
            }
            if number + 2 >= self.stages.len() {
                last.push(map.clone());
            }
        }
        let Some(first) = last.first() else { bail!("a tower without stages") };
        let (height, width) = (first.height, first.width);
        let planes = last.iter().map(|map| match (map.height, map.width) == (height, width) {
            true => map.planes(),
            false => map.planes()?.contiguous()?.upsample_nearest2d(height, width),
        });
        let planes = Tensor::cat(&planes.collect::<Result<Vec<_>>>()?, 1)?;
        let fused = self.fusion.forward(&FeatureMap::from_planes(&planes)?)?;
        self.norm.forward(&self.pooled(&fused)?.rows)
    }

    fn pooled(&self, map: &FeatureMap) -> Result<FeatureMap> {
        let (height, width, side) = (map.height, map.width, self.side);
        if side == 0 || height % side != 0 || width % side != 0 {
            bail!("a map of {height}×{width} cannot be pooled to {side}×{side}");
        }
        match height == side && width == side {
            true => Ok(map.clone()),
            false => FeatureMap::from_planes(
                &map.planes()?.contiguous()?.avg_pool2d((height / side, width / side))?,
            ),
        }
    }
}

enum Block {
    Edge(Edge),
    Inverted(Inverted),
    Attention(Attention),
}

impl Block {
    fn load(weights: &Weights, stride: usize) -> Loaded<Self> {
        Ok(if weights.pp("conv_exp").has_any() {
            Self::Edge(Edge::load(weights, stride)?)
        } else if weights.pp("attn").has_any() {
            Self::Attention(Attention::load(weights)?)
        } else {
            Self::Inverted(Inverted::load(weights, stride)?)
        })
    }

    fn forward(&self, map: &FeatureMap) -> Result<FeatureMap> {
        match self {
            Self::Edge(block) => block.forward(map),
            Self::Inverted(block) => block.forward(map),
            Self::Attention(block) => block.forward(map),
        }
    }
}

/// A convolution, then a norm of each place's channels.
struct ConvNorm {
    conv: MapConv,
    norm: RmsNorm,
    /// Behind the norm.
    activation: Activation,
}

impl ConvNorm {
    fn load(
        weights: &Weights,
        (conv, norm): (&str, &str),
        stride: usize,
        activated: bool,
    ) -> Loaded<Self> {
        let at = weights.pp(conv);
        let out = at.shape("weight")?.first().copied().unwrap_or(0);
        Ok(Self {
            conv: MapConv::load(&at, stride)?,
            norm: RmsNorm::load(&weights.pp(norm), out, EPS)?,
            activation: if activated { Activation::GeluTanh } else { Activation::Identity },
        })
    }

    fn forward(&self, map: &FeatureMap) -> Result<FeatureMap> {
        let map = self.conv.forward(map)?;
        Ok(map.with(self.activation.forward(self.norm.forward(&map.rows)?)?))
    }
}

/// A kernel of one place, which is a linear layer; then a norm.
struct PointNorm {
    linear: Linear,
    norm: RmsNorm,
    activation: Activation,
}

impl PointNorm {
    fn load(weights: &Weights, (conv, norm): (&str, &str), activated: bool) -> Loaded<Self> {
        let linear = weights.pp(conv).pointwise()?;
        let norm = RmsNorm::load(&weights.pp(norm), linear.info().rows, EPS)?;
        let activation = if activated { Activation::GeluTanh } else { Activation::Identity };
        Ok(Self { linear, norm, activation })
    }

    fn forward(&self, map: &FeatureMap) -> Result<FeatureMap> {
        let rows = self.norm.forward(&self.linear.forward(&map.rows)?)?;
        Ok(map.with(self.activation.forward(rows)?))
    }
}

/// What a block adds to its input, where both have one shape.
fn added(before: &FeatureMap, after: FeatureMap, skips: bool) -> Result<FeatureMap> {
    match skips && before.rows.shape() == after.rows.shape() {
        true => Ok(after.with((&before.rows + &after.rows)?)),
        false => Ok(after),
    }
}

/// Factors of the channels, where the checkpoint has them.
fn layer_scale(weights: &Weights, channels: usize) -> Loaded<Option<Tensor>> {
    let at = weights.pp("layer_scale");
    Ok(match at.contains("gamma") {
        true => Some(at.tensor("gamma", &[channels])?),
        false => None,
    })
}

fn scaled(map: FeatureMap, scale: Option<&Tensor>) -> Result<FeatureMap> {
    match scale {
        Some(scale) => Ok(map.with(map.rows.broadcast_mul(scale)?)),
        None => Ok(map),
    }
}

/// A full convolution to more channels, and back.
struct Edge {
    expand: ConvNorm,
    project: PointNorm,
}

impl Edge {
    fn load(weights: &Weights, stride: usize) -> Loaded<Self> {
        Ok(Self {
            expand: ConvNorm::load(weights, ("conv_exp", "bn1"), stride, true)?,
            project: PointNorm::load(weights, ("conv_pwl", "bn2"), false)?,
        })
    }

    fn forward(&self, map: &FeatureMap) -> Result<FeatureMap> {
        let out = self.project.forward(&self.expand.forward(map)?)?;
        added(map, out, self.expand.conv.stride() == 1)
    }
}

/// Channel by channel, to more channels, channel by channel, and back: where there are the tensors.
struct Inverted {
    start: Option<ConvNorm>,
    expand: PointNorm,
    middle: Option<ConvNorm>,
    project: PointNorm,
    scale: Option<Tensor>,
    skips: bool,
}

impl Inverted {
    fn load(weights: &Weights, stride: usize) -> Loaded<Self> {
        let depthwise = |name: &str, stride, activated| -> Loaded<Option<ConvNorm>> {
            let at = weights.pp(name);
            let load = || ConvNorm::load(&at, ("conv", "bn"), stride, activated);
            at.has_any().then(load).transpose()
        };
        let middle = depthwise("dw_mid", stride, true)?;
        let start_stride = if middle.is_some() { 1 } else { stride };
        let project = PointNorm::load(&weights.pp("pw_proj"), ("conv", "bn"), false)?;
        Ok(Self {
            start: depthwise("dw_start", start_stride, false)?,
            expand: PointNorm::load(&weights.pp("pw_exp"), ("conv", "bn"), true)?,
            middle,
            scale: layer_scale(weights, project.linear.info().rows)?,
            project,
            skips: stride == 1,
        })
    }

    fn forward(&self, map: &FeatureMap) -> Result<FeatureMap> {
        let mut x = map.clone();
        if let Some(start) = &self.start {
            x = start.forward(&x)?;
        }
        x = self.expand.forward(&x)?;
        if let Some(middle) = &self.middle {
            x = middle.forward(&x)?;
        }
        let x = scaled(self.project.forward(&x)?, self.scale.as_ref())?;
        added(map, x, self.skips)
    }
}

/// Every place asks with many heads; all share one head of keys and values, of a map that may be
/// halved before.
struct Attention {
    norm: RmsNorm,
    query: Linear,
    key: (Option<ConvNorm>, Linear),
    value: (Option<ConvNorm>, Linear),
    output: Linear,
    scale: Option<Tensor>,
    params: AttentionParams,
}

impl Attention {
    fn load(weights: &Weights) -> Loaded<Self> {
        let attn = weights.pp("attn");
        let projection = |name: &str| attn.pp(name).pp("proj").pointwise();
        let halved = |name: &str| -> Loaded<(Option<ConvNorm>, Linear)> {
            let at = attn.pp(name);
            let load = || ConvNorm::load(&at, ("down_conv", "norm"), 2, false);
            let down = at.pp("down_conv").has_any().then(load).transpose()?;
            Ok((down, projection(name)?))
        };
        let (query, key, output) = (projection("query")?, halved("key")?, projection("output")?);
        let (queries, head_dim) = (query.info().rows, key.1.info().rows);
        Ok(Self {
            norm: RmsNorm::load(&weights.pp("norm"), query.info().cols, EPS)?,
            query,
            key,
            value: halved("value")?,
            scale: layer_scale(weights, output.info().rows)?,
            output,
            params: AttentionParams {
                num_heads: queries / head_dim.max(1),
                num_kv_heads: 1,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
                window: None,
                softcap: None,
            },
        })
    }

    fn forward(&self, map: &FeatureMap) -> Result<FeatureMap> {
        let x = map.with(self.norm.forward(&map.rows)?);
        let of = |(down, projection): &(Option<ConvNorm>, Linear)| match down {
            Some(down) => projection.forward(&down.forward(&x)?.rows),
            None => projection.forward(&x.rows),
        };
        let q = self.query.forward(&x.rows)?;
        let attended = attend_across(&q, &of(&self.key)?, &of(&self.value)?, &self.params)?;
        let out = scaled(x.with(self.output.forward(&attended)?), self.scale.as_ref())?;
        added(map, out, true)
    }
}
