//! Gemma 3n, with its eyes and ears where the checkpoint has them: four residual streams of which a
//! layer computes one, a low-rank detour beside attention, embeddings for every layer, sparse gates in
//! the first layers, and last layers that read the keys and values of earlier ones.
//! Source: `modeling_gemma3n.py` of Hugging Face transformers.

mod config;
pub(in crate::models) mod embedder;
mod senses;
mod slice;

use super::{Architecture, MediaEncoder, Model, ModelShape, decoder};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::{KvCache, KvSpec};
use crate::layers::{
    Activation, AltUp, GatedMlp, Logits, RmsNorm, RotaryEmbedding, SharedKvAttention, Step,
    add_to_rest, gated, place_media, resized,
};
use crate::places::LayerPlaces;
use crate::weights::Weights;
use candle_core::{Device, Tensor};
use config::Gemma3nConfig;
use mistralrs_quant::{Linear, Place, QuantMethod};
use senses::Senses;
use serde_json::Value;
use std::f64::consts::FRAC_1_SQRT_2;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub(super) use slice::slice;

/// A loaded Gemma 3n.
pub struct Gemma3n {
    places: LayerPlaces,
    embed_tokens: Arc<dyn QuantMethod>,
    embedding_scale: f64,
    per_layer: PerLayerInputs,
    /// From the first stream to each other one, and back.
    altup_projections: Vec<Linear>,
    altup_unembed_projections: Vec<Linear>,
    rope: RotaryEmbedding,
    local_rope: RotaryEmbedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Linear,
    logits: Logits,
    senses: Senses,
}

impl Architecture for Gemma3n {
    type Config = Gemma3nConfig;

    const READS: &'static [&'static str] = &["final_logit_softcapping"];

    fn config(file: &Path, json: &Value) -> Result<Gemma3nConfig, LoadError> {
        Gemma3nConfig::parse(file, json)
    }

    fn shape(config: &Gemma3nConfig) -> ModelShape {
        let text = &config.text;
        let own = config.own_caches();
        let per_layer = 3 * config.per_layer_table.layers * config.per_layer;
        let shape = decoder::shape(text);
        ModelShape {
            kv: KvSpec::uniform(own, text.num_key_value_heads, text.head_dim)
                .with_windows(|layer| config.window(layer)),
            activations_per_token: shape.activations_per_token
                + 3 * config.streams * text.hidden_size
                + per_layer,
            tower: config.senses.tower(),
            ..shape
        }
    }

    fn load(config: &Gemma3nConfig, weights: &Weights) -> Result<Self, LoadError> {
        let (text, streams) = (&config.text, config.streams);
        let (hidden, eps) = (text.hidden_size, text.rms_norm_eps);
        let model = decoder::text_part(weights).pp("model");
        let between = |name: &str| -> Result<Vec<Linear>, LoadError> {
            Ok(model.pp(name).stacked_linear(streams - 1, hidden, hidden)?)
        };
        let embed_tokens = model.pp("embed_tokens").embedding(text.vocab_size, hidden)?;
        let layers = (0..text.num_hidden_layers)
            .map(|number| Layer::load(config, number, &model.pp("layers").layer(number)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            places: weights.places().clone(),
            embedding_scale: config.held((hidden as f64).sqrt()),
            per_layer: PerLayerInputs::load(config, &model)?,
            altup_projections: between("altup_projections")?,
            altup_unembed_projections: between("altup_unembed_projections")?,
            rope: decoder::rotary(&text.rope, text.head_dim, weights),
            local_rope: decoder::rotary(config.local_rope(), text.head_dim, weights),
            layers,
            norm: RmsNorm::load(&model.pp("norm"), hidden, eps)?,
            lm_head: match text.tie_word_embeddings {
                true => Linear::new(Arc::clone(&embed_tokens), None),
                false => weights.pp("lm_head").linear(text.vocab_size, hidden, false)?,
            },
            logits: config.softcap.map_or(Logits::Plain, Logits::Capped),
            senses: Senses::load(&config.senses, weights)?,
            embed_tokens,
        })
    }
}

impl Model for Gemma3n {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        let ids = Tensor::new(batch.token_ids.as_slice(), &Device::Cpu)?;
        let x = self.places.primary().take(&self.embed_tokens.rows(&ids)?)?;
        let x = (x * self.embedding_scale)?; // [tokens, hidden]
        self.senses.place_tokens(&x, batch)?;
        let x = place_media(x, batch)?;
        let per_layer = self.per_layer.compute(&batch.token_ids, &x)?;
        let mut streams = vec![x.clone()];
        for projection in &self.altup_projections {
            streams.push(resized(&projection.forward(&x)?, &x)?);
        }
        let mut streams = Tensor::stack(&streams, 0)?; // [streams, tokens, hidden]
        let (rope, local_rope) =
            (self.rope.step_tables(batch)?, self.local_rope.step_tables(batch)?);
        let mut step = Step { batch, rope, local_rope, kv };
        for (number, layer) in self.layers.iter().enumerate() {
            let place = self.places.of_layer(number);
            let mine = place.take(&self.per_layer.of_layer(&per_layer, number)?)?;
            streams = step.enter(place, streams)?;
            streams = layer.forward(&streams, &mine, &mut step)?;
        }
        streams = self.places.primary().take(&streams)?;
        let rows = Tensor::new(batch.logit_rows.as_slice(), streams.device())?;
        let first = streams.get(0)?.index_select(&rows, 0)?;
        let mut sum = first.clone();
        for (number, projection) in self.altup_unembed_projections.iter().enumerate() {
            let stream = streams.get(number + 1)?.index_select(&rows, 0)?;
            sum = (sum + resized(&projection.forward(&stream)?, &first)?)?;
        }
        let mean = (sum / (self.altup_unembed_projections.len() + 1) as f64)?;
        let logits = self.lm_head.forward(&self.norm.forward(&mean)?)?;
        self.logits.of(logits)
    }

    fn media_encoder(&self) -> Option<&dyn MediaEncoder> {
        self.senses.any().then_some(&self.senses as &dyn MediaEncoder)
    }
}

/// What every layer is told of each token beside the residual.
#[derive(Debug)]
struct PerLayerInputs {
    /// `[vocab, layers of the table × width]`
    table: Arc<dyn QuantMethod>,
    /// Those of its columns that are for layers there are.
    columns: Vec<Range<usize>>,
    table_scale: f64,
    /// `[layers × width, hidden]`
    projection: Linear,
    projection_scale: f64,
    norm: RmsNorm,
    /// Numbers per layer.
    width: usize,
}

impl PerLayerInputs {
    fn load(config: &Gemma3nConfig, model: &Weights) -> Result<Self, LoadError> {
        let (hidden, width) = (config.text.hidden_size, config.per_layer);
        let all = config.text.num_hidden_layers * width;
        let in_table = config.per_layer_table.layers * width;
        let table = model.pp("embed_tokens_per_layer").table(config.per_layer_vocab, in_table)?;
        Ok(Self {
            table,
            columns: config.per_layer_columns(),
            table_scale: config.held((width as f64).sqrt()),
            projection: model.pp("per_layer_model_projection").linear(all, hidden, false)?,
            projection_scale: config.held((hidden as f64).sqrt().recip()),
            norm: RmsNorm::load(
                &model.pp("per_layer_projection_norm"),
                width,
                config.text.rms_norm_eps,
            )?,
            width,
        })
    }

    /// `[tokens, layers × width]` of the ids and the embeddings `x` `[tokens, hidden]`.
    fn compute(&self, ids: &[u32], x: &Tensor) -> candle_core::Result<Tensor> {
        // What the table does not have (images, sounds) counts as its first entry.
        let known = |id: &u32| (*id as usize) < self.table.info().rows;
        let ids: Vec<u32> = ids.iter().map(|id| if known(id) { *id } else { 0 }).collect();
        let told = self.of_layers(self.table.rows(&Tensor::new(ids, &Device::Cpu)?)?)?;
        let told = Place::of(x).take(&told)?;
        let told = (told * self.table_scale)?;
        let projected = (self.projection.forward(x)? * self.projection_scale)?;
        (self.norm.forward(&projected)? + told)? * FRAC_1_SQRT_2
    }

    /// Rows of the table without what is for layers that a slice left out.
    fn of_layers(&self, rows: Tensor) -> candle_core::Result<Tensor> {
        if self.columns.iter().map(ExactSizeIterator::len).sum::<usize>() == rows.dim(1)? {
            return Ok(rows);
        }
        let columns = self.columns.iter().map(|part| rows.narrow(1, part.start, part.len()));
        Tensor::cat(&columns.collect::<Result<Vec<_>, _>>()?, 1)
    }

    fn of_layer(&self, all: &Tensor, number: usize) -> candle_core::Result<Tensor> {
        all.narrow(1, number * self.width, self.width)?.contiguous()
    }
}

#[derive(Debug)]
struct Layer {
    altup: AltUp,
    correct_output_scale: Option<Tensor>,
    laurel: (Linear, Linear, RmsNorm),
    input_layernorm: RmsNorm,
    self_attn: SharedKvAttention,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    mlp: GatedMlp,
    post_feedforward_layernorm: RmsNorm,
    per_layer_input_gate: Linear,
    per_layer_projection: Linear,
    post_per_layer_input_norm: RmsNorm,
}

impl Layer {
    fn load(config: &Gemma3nConfig, number: usize, weights: &Weights) -> Result<Self, LoadError> {
        let text = &config.text;
        let (hidden, eps, rank) = (text.hidden_size, text.rms_norm_eps, config.laurel_rank);
        let norm = |name| RmsNorm::load(&weights.pp(name), hidden, eps);
        let linear = |name, rows, cols| weights.pp(name).linear(rows, cols, false);
        let (altup, laurel) = (weights.pp("altup"), weights.pp("laurel"));
        let params = AttentionParams {
            scale: 1.0,
            window: config.window(number),
            ..decoder::attention_params(text)
        };
        let attention = weights.pp("self_attn");
        let place = config.kv_place(number);
        let mlp = GatedMlp::load(&weights.pp("mlp"), hidden, config.intermediate(number), false)?
            .with_activation(Activation::GeluTanh);
        Ok(Self {
            correct_output_scale: match config.correct_scale {
                true => Some(altup.vector("correct_output_scale", hidden)?),
                false => {
                    altup.pp("correct_output_scale").ignore();
                    None
                }
            },
            altup: AltUp::load(&altup, config.streams, config.active, hidden, eps)?,
            laurel: (
                laurel.pp("linear_left").linear(rank, hidden, false)?,
                laurel.pp("linear_right").linear(hidden, rank, false)?,
                RmsNorm::load(&laurel.pp("post_laurel_norm"), hidden, eps)?,
            ),
            input_layernorm: norm("input_layernorm")?,
            self_attn: SharedKvAttention::load(&attention, place, hidden, params, eps)?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            pre_feedforward_layernorm: norm("pre_feedforward_layernorm")?,
            mlp: match config.deviations(number) {
                Some(deviations) => mlp.with_sparsity(deviations),
                None => mlp,
            },
            post_feedforward_layernorm: norm("post_feedforward_layernorm")?,
            per_layer_input_gate: linear("per_layer_input_gate", config.per_layer, hidden)?,
            per_layer_projection: linear("per_layer_projection", hidden, config.per_layer)?,
            post_per_layer_input_norm: norm("post_per_layer_input_norm")?,
        })
    }

    /// `[streams, tokens, hidden]` → the same; `told` is `[tokens, width]`.
    fn forward(
        &self,
        streams: &Tensor,
        told: &Tensor,
        step: &mut Step<'_>,
    ) -> candle_core::Result<Tensor> {
        let predictions = self.altup.predict(streams)?;
        let active = self.altup.active(&predictions)?;
        let x = self.input_layernorm.forward(&active)?;
        let (left, right, laurel_norm) = &self.laurel;
        let laurel = (&x + laurel_norm.forward(&right.forward(&left.forward(&x)?)?)?)?;
        let attended = self.self_attn.forward(&x, step)?;
        let attended = (active + self.post_attention_layernorm.forward(&attended)?)?;
        let x = ((attended + laurel)? * FRAC_1_SQRT_2)?;
        let fed = self.mlp.forward(&self.pre_feedforward_layernorm.forward(&x)?)?;
        let x = (x + self.post_feedforward_layernorm.forward(&fed)?)?;
        let corrected = self.altup.correct(&predictions, &x)?;
        let mut first = self.altup.active(&corrected)?;
        if let Some(scale) = &self.correct_output_scale {
            first = first.broadcast_mul(scale)?;
        }
        let gate = self.per_layer_input_gate.forward(&first)?;
        let mine = gated(Activation::GeluTanh, &gate, told)?;
        let mine = self.per_layer_projection.forward(&mine)?;
        add_to_rest(corrected, &self.post_per_layer_input_norm.forward(&mine)?)
    }
}
