//! The frame of a decoder-only language model: embedding → layers → norm → head, and the
//! pre-norm layer that most families use.

use super::{
    Attention, GatedMlp, Norm, RmsNorm, RotaryEmbedding, Step, add_deepstack, place_media,
};
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::places::LayerPlaces;
use crate::slices::{f32_slice, f32_slice_mut, with_f32};
use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Result, Tensor, bail};
use mistralrs_quant::{Linear, Place, QuantMethod, has_kernels};
use std::sync::Arc;

/// One layer of a decoder.
pub trait DecoderLayer: Send {
    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor>;
}

/// What a layer adds to the residual stream: attention of some kind, a feed-forward block of some
/// kind.
pub trait Sublayer: Send {
    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor>;
}

impl Sublayer for Attention {
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        self.forward(x, step)
    }
}

impl Sublayer for GatedMlp {
    fn forward(&self, x: &Tensor, _: &mut Step<'_>) -> Result<Tensor> {
        self.forward(x)
    }
}

/// `x + update`, written where the update stands: no third tensor.
fn added(x: &Tensor, update: Tensor) -> Result<Tensor> {
    if !update.is_contiguous() || !has_kernels(&update) {
        return x + update;
    }
    update.inplace_op2(&x.contiguous()?, &Add)?;
    Ok(update)
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let sum = f32_slice_mut(sum, sum_layout, self.name())?;
        let x = f32_slice(x, x_layout, self.name())?;
        if sum.len() != x.len() {
            bail!("add: {} numbers and {}", sum.len(), x.len());
        }
        mistralrs_kernels::add(sum, x);
        Ok(())
    }
}

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields carry the checkpoint's names")]
pub struct PreNormLayer<A = Attention, F = GatedMlp> {
    pub input_layernorm: RmsNorm,
    pub self_attn: A,
    pub post_attention_layernorm: RmsNorm,
    pub mlp: F,
}

impl<A: Sublayer, F: Sublayer> DecoderLayer for PreNormLayer<A, F> {
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let x = added(x, self.self_attn.forward(&self.input_layernorm.forward(x)?, step)?)?;
        added(&x, self.mlp.forward(&self.post_attention_layernorm.forward(&x)?, step)?)
    }
}

/// `x + norm(attention(norm(x)))`, then `x + norm(mlp(norm(x)))`: norms on both sides.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields say where they stand")]
pub struct SandwichLayer {
    pub pre_attention: RmsNorm,
    pub self_attn: Attention,
    pub post_attention: RmsNorm,
    pub pre_mlp: RmsNorm,
    pub mlp: GatedMlp,
    pub post_mlp: RmsNorm,
}

impl DecoderLayer for SandwichLayer {
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let attended = self.self_attn.forward(&self.pre_attention.forward(x)?, step)?;
        let x = added(x, self.post_attention.forward(&attended)?)?;
        let fed = self.mlp.forward(&self.pre_mlp.forward(&x)?)?;
        added(&x, self.post_mlp.forward(&fed)?)
    }
}

/// What the head's numbers go through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Logits {
    /// Nothing.
    Plain,
    /// `cap · tanh(x / cap)`.
    Capped(f64),
    /// `x · factor`.
    Scaled(f64),
}

impl Logits {
    /// Them of the head's numbers, where this project's kernels compute; in their memory if they are there.
    ///
    /// # Errors
    /// When a device fails.
    pub fn of(self, head: Tensor) -> Result<Tensor> {
        let head = Place::default().take(&head)?;
        match self {
            Self::Plain => {}
            Self::Capped(cap) => {
                with_f32(&head, "logits", |x| mistralrs_kernels::softcap(x, cap as f32))?
            }
            Self::Scaled(factor) => {
                with_f32(&head, "logits", |x| x.iter_mut().for_each(|x| *x *= factor as f32))?;
            }
        }
        Ok(head)
    }
}

/// A causal language model over layers of one kind.
#[derive(Debug)]
#[allow(missing_docs, reason = "most fields carry the checkpoint's names")]
pub struct CausalLm<L, N = RmsNorm> {
    /// Where the layers are, and everything else.
    pub places: LayerPlaces,
    pub embed_tokens: Arc<dyn QuantMethod>,
    /// Multiplies the embeddings.
    pub embedding_scale: Option<f64>,
    pub rope: RotaryEmbedding,
    /// Of the layers with a window, where it differs.
    pub local_rope: Option<RotaryEmbedding>,
    pub layers: Vec<L>,
    pub norm: N,
    pub lm_head: Linear,
    pub logits: Logits,
}

impl<L: DecoderLayer, N: Norm> CausalLm<L, N> {
    /// One step: logits `[rows, vocab]` of the rows that the batch asks for.
    ///
    /// # Errors
    /// When a token id is outside the vocabulary, shapes disagree or the device fails.
    pub fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> Result<Tensor> {
        let x = self.through_layers(batch, kv)?;
        let rows = Tensor::new(batch.logit_rows.as_slice(), x.device())?;
        let logits = self.lm_head.forward(&self.norm.forward(&x.index_select(&rows, 0)?)?)?;
        self.logits.of(logits)
    }

    /// One step: the hidden states `[tokens, hidden]` of all rows, after the last norm.
    ///
    /// # Errors
    /// As [`CausalLm::forward`].
    pub fn hidden(&self, batch: &ForwardBatch, kv: &mut KvCache) -> Result<Tensor> {
        Place::default().take(&self.norm.forward(&self.through_layers(batch, kv)?)?)
    }

    fn through_layers(&self, batch: &ForwardBatch, kv: &mut KvCache) -> Result<Tensor> {
        let ids = Tensor::new(batch.token_ids.as_slice(), &Device::Cpu)?;
        // [tokens, hidden]
        let mut x = self.places.primary().take(&self.embed_tokens.rows(&ids)?)?;
        if let Some(scale) = self.embedding_scale {
            x = (x * scale)?;
        }
        x = place_media(x, batch)?;
        let rope = self.rope.step_tables(batch)?;
        let local_rope = match &self.local_rope {
            Some(local) => local.step_tables(batch)?,
            None => rope.clone(),
        };
        let mut step = Step { batch, rope, local_rope, kv };
        for (number, layer) in self.layers.iter().enumerate() {
            x = step.enter(self.places.of_layer(number), x)?;
            x = add_deepstack(layer.forward(&x, &mut step)?, batch, number)?;
        }
        self.places.primary().take(&x)
    }
}
