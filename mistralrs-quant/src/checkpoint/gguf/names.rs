//! table
//! From GGUF's tensor names to Hugging Face's: one row per architecture. Source: the tensor names of
//! the GGUF specification and the parameter names of the `transformers` models they were made from.

use super::metadata::Metadata;
use super::towers;
use crate::error::{Error, Result};
use std::path::Path;

/// Every architecture whose names are known. A further one is a further row; its layer names
/// are a further list only where it has other parts.
const ARCHITECTURES: &[Architecture] = &[
    Architecture { rotary: Rotary::Interleaved, ..Architecture::new("llama", DECODER_LAYER) },
    Architecture::new("qwen2", DECODER_LAYER),
    Architecture::new("qwen2vl", DECODER_LAYER),
    Architecture::new("qwen3vl", DECODER_LAYER),
    Architecture::new("qwen3vlmoe", DECODER_LAYER),
    Architecture::new("qwen3", DECODER_LAYER),
    Architecture { ones: NORMS, ..Architecture::new("gemma2", SANDWICH_LAYER) },
    Architecture { ones: NORMS, ..Architecture::new("gemma3", SANDWICH_LAYER) },
    Architecture::new("phi3", PHI3_LAYER),
    Architecture { rotary: Rotary::Interleaved, ..Architecture::new("smollm3", DECODER_LAYER) },
    Architecture { rotary: Rotary::Interleaved, ..Architecture::new("granite", DECODER_LAYER) },
    Architecture::new("olmo2", SANDWICH_LAYER),
    Architecture::new("glm4", GLM4_LAYER),
    Architecture::new("starcoder2", STARCODER2_LAYER),
    Architecture::new("seed_oss", DECODER_LAYER),
    Architecture::new("qwen2moe", DECODER_LAYER),
    Architecture::new("qwen3moe", DECODER_LAYER),
    // Neighbors turn together in both formats; the model knows.
    Architecture::new("deepseek2", LATENT_LAYER),
    Architecture::new("gemma3n", GEMMA3N_LAYER),
    Architecture { model: BERT, layers: "encoder.layer", ..Architecture::new("bert", BERT_LAYER) },
    Architecture {
        model: MODERN_BERT,
        layers: "layers",
        ..Architecture::new("modern-bert", MODERN_BERT_LAYER)
    },
    Architecture { ones: NORMS, ..Architecture::new("gemma-embedding", SANDWICH_LAYER) },
];

/// Every norm of the file.
const NORMS: Option<&str> = Some("norm.weight");

/// A decoder's names outside the layers, whole.
const MODEL: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output_norm.bias", "model.norm.bias"),
    ("output.weight", "lm_head.weight"),
    ("output.bias", "lm_head.bias"),
    // Llama 3's frequency factors; transformers computes them from the configuration.
    ("rope_freqs.weight", "rope_freqs.weight"),
    // Phi-3's, which transformers has in the configuration.
    ("rope_factors_short.weight", "rope_factors_short.weight"),
    ("rope_factors_long.weight", "rope_factors_long.weight"),
    // Gemma 3n; the stacks hold the projections of all streams but the first.
    ("per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"),
    ("per_layer_model_proj.weight", "model.per_layer_model_projection.weight"),
    ("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"),
    ("altup_proj.weight", "model.altup_projections.weight"),
    ("altup_unembd_proj.weight", "model.altup_unembed_projections.weight"),
];

/// BERT's names outside the layers; what a cross-encoder has behind its layers has BERT's names there,
/// whichever of its relatives the file was made from.
const BERT: &[(&str, &str)] = &[
    ("token_embd.weight", "embeddings.word_embeddings.weight"),
    ("position_embd.weight", "embeddings.position_embeddings.weight"),
    ("token_types.weight", "embeddings.token_type_embeddings.weight"),
    ("token_embd_norm.weight", "embeddings.LayerNorm.weight"),
    ("token_embd_norm.bias", "embeddings.LayerNorm.bias"),
    ("cls.weight", "pooler.dense.weight"),
    ("cls.bias", "pooler.dense.bias"),
    ("cls.output.weight", "classifier.weight"),
    ("cls.output.bias", "classifier.bias"),
];

/// ModernBERT's.
const MODERN_BERT: &[(&str, &str)] = &[
    ("token_embd.weight", "embeddings.tok_embeddings.weight"),
    ("token_embd_norm.weight", "embeddings.norm.weight"),
    ("token_embd_norm.bias", "embeddings.norm.bias"),
    ("output_norm.weight", "final_norm.weight"),
    ("output_norm.bias", "final_norm.bias"),
    ("cls.weight", "head.dense.weight"),
    ("cls.bias", "head.dense.bias"),
    ("cls.norm.weight", "head.norm.weight"),
    ("cls.norm.bias", "head.norm.bias"),
    ("cls.output.weight", "classifier.weight"),
    ("cls.output.bias", "classifier.bias"),
];

/// Norms behind attention and MLP.
const BERT_LAYER: &[(&str, &str)] = &[
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
    ("layer_output_norm", "output.LayerNorm"),
];

/// Query, key and value in one; gate and up in one.
const MODERN_BERT_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "attn_norm"),
    ("attn_qkv", "attn.Wqkv"),
    ("attn_output", "attn.Wo"),
    ("ffn_norm", "mlp_norm"),
    ("ffn_up", "mlp.Wi"),
    ("ffn_down", "mlp.Wo"),
];

/// Names inside a pre-norm decoder layer with a gated MLP, without `.weight` or `.bias`.
const DECODER_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", QUERY),
    ("attn_k", KEY),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    // The same in Seed-OSS.
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    // A mixture of experts; each of these but the router holds the matrices of all experts.
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.experts.gate_proj"),
    ("ffn_up_exps", "mlp.experts.up_proj"),
    ("ffn_down_exps", "mlp.experts.down_proj"),
    ("ffn_gate_up_exps", "mlp.experts.gate_up_proj"),
    ("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
];

/// Names inside a layer with latent attention; shared experts are several.
const LATENT_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_q_a", "self_attn.q_a_proj"),
    ("attn_q_a_norm", "self_attn.q_a_layernorm"),
    ("attn_q_b", "self_attn.q_b_proj"),
    ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    ("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
    ("attn_kv_b", "self_attn.kv_b_proj"),
    ("attn_k_b", "self_attn.k_b_proj"),
    ("attn_v_b", "self_attn.v_b_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
    ("exp_probs_b", "mlp.gate.e_score_correction"),
    ("ffn_gate_exps", "mlp.experts.gate_proj"),
    ("ffn_up_exps", "mlp.experts.up_proj"),
    ("ffn_down_exps", "mlp.experts.down_proj"),
    ("ffn_gate_up_exps", "mlp.experts.gate_up_proj"),
    ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
    ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
];

/// Norms on both sides, streams, a detour, inputs per layer.
const GEMMA3N_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", QUERY),
    ("attn_k", KEY),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
    ("inp_gate", "per_layer_input_gate"),
    ("proj", "per_layer_projection"),
    ("post_norm", "post_per_layer_input_norm"),
    ("altup_router", "altup.modality_router"),
    ("altup_router_norm", "altup.router_norm"),
    ("altup_predict_coef", "altup.prediction_coefs"),
    ("altup_correct_coef", "altup.correction_coefs"),
    ("altup_correct_scale", "altup.correct_output_scale"),
    ("laurel_l", "laurel.linear_left"),
    ("laurel_r", "laurel.linear_right"),
    ("laurel_post_norm", "laurel.post_laurel_norm"),
];

/// The matrices of one expert in files of the first mixtures: `blk.N.ffn_gate.EXPERT.weight`.
const EXPERT: &[(&str, &str)] =
    &[("ffn_gate", "gate_proj"), ("ffn_up", "up_proj"), ("ffn_down", "down_proj")];

/// Norms before and behind attention and MLP (Gemma), or behind alone (OLMo 2).
const SANDWICH_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", QUERY),
    ("attn_k", KEY),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// Query, key and value in one, gate and up in one.
const PHI3_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The norm behind attention has the name that others give the one before the MLP.
const GLM4_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", QUERY),
    ("attn_k", KEY),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("post_attention_norm", "post_self_attn_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_ffw_norm", "post_mlp_layernorm"),
];

/// No gate.
const STARCODER2_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", QUERY),
    ("attn_k", KEY),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];

const QUERY: &str = "self_attn.q_proj";
const KEY: &str = "self_attn.k_proj";

/// One row: how an architecture's file differs from its Hugging Face checkpoint.
#[derive(Debug)]
pub(super) struct Architecture {
    /// `general.architecture`.
    pub(super) name: &'static str,
    /// Names outside the layers, whole.
    pub(super) model: &'static [(&'static str, &'static str)],
    /// What stands before a layer's number.
    pub(super) layers: &'static str,
    /// Names inside `blk.N.`.
    pub(super) layer: &'static [(&'static str, &'static str)],
    /// Which rotary embedding the rows of query and key are ordered for.
    pub(super) rotary: Rotary,
    /// Where a norm multiplies by 1 + weight, the file holds the sum: how the names of such norms end.
    pub(super) ones: Option<&'static str>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Rotary {
    /// Row 2i turns with row 2i + 1 of its head.
    Interleaved,
    /// Row i turns with row i + head_dim / 2 of its head: Hugging Face's order.
    HalfSplit,
}

/// A tensor's Hugging Face name, and what must be done to its values.
#[derive(Debug, PartialEq)]
pub(super) struct Translated {
    pub(super) name: String,
    pub(super) change: Option<Change>,
}

/// What the file has done to a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The rows of so many heads stand in the order of interleaved rotary embedding.
    Interleaved(usize),
    /// One has been added.
    PlusOne,
}

/// The row of the file's architecture.
pub(super) fn find(metadata: &Metadata, file: &Path) -> Result<&'static Architecture> {
    const NAME_KEY: &str = "general.architecture";
    let found = metadata
        .get_str(NAME_KEY)
        .ok_or_else(|| bad_key(file, NAME_KEY, "must be there and be a string"))?;
    if found == towers::CLIP {
        return towers::find(metadata, file);
    }
    ARCHITECTURES.iter().find(|row| row.name == found).ok_or_else(|| Error::UnknownArchitecture {
        file: file.to_owned(),
        found: found.to_owned(),
        supported: ARCHITECTURES.iter().map(|row| row.name).collect::<Vec<_>>().join(", "),
    })
}

impl Architecture {
    pub(super) const fn new(
        name: &'static str,
        layer: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            name,
            model: MODEL,
            layers: "model.layers",
            layer,
            rotary: Rotary::HalfSplit,
            ones: None,
        }
    }

    /// Translates one name. A name that is in no list stays as it is, so that whoever finds it
    /// unused can report it as the file spells it.
    pub(super) fn translate(
        &self,
        name: &str,
        metadata: &Metadata,
        file: &Path,
    ) -> Result<Translated> {
        let plus_one = |name: &str| self.ones.is_some_and(|ending| name.ends_with(ending));
        if let Some((_, theirs)) = self.model.iter().find(|(ours, _)| *ours == name) {
            let change = plus_one(theirs).then_some(Change::PlusOne);
            return Ok(Translated { name: (*theirs).to_owned(), change });
        }
        let Some((layer, part, parameter)) = layer_part(name) else {
            let name = towers::deepstack(name, metadata).unwrap_or_else(|| name.to_owned());
            return Ok(Translated { name, change: None });
        };
        if let Some((expert, theirs)) = expert_part(part) {
            let name = format!("{}.{layer}.mlp.experts.{expert}.{theirs}.{parameter}", self.layers);
            return Ok(Translated { name, change: None });
        }
        let Some((_, theirs)) = self.layer.iter().find(|(ours, _)| *ours == part) else {
            return Ok(Translated { name: name.to_owned(), change: None });
        };
        let name = format!("{}.{layer}.{theirs}.{parameter}", self.layers);
        let change = match plus_one(&name) {
            true => Some(Change::PlusOne),
            false => self.interleaved_heads(theirs, metadata, file)?.map(Change::Interleaved),
        };
        Ok(Translated { name, change })
    }

    fn interleaved_heads(
        &self,
        part: &str,
        metadata: &Metadata,
        file: &Path,
    ) -> Result<Option<usize>> {
        if self.rotary == Rotary::HalfSplit || (part != QUERY && part != KEY) {
            return Ok(None);
        }
        let query_key = format!("{}.attention.head_count", self.name);
        let kv_key = format!("{}.attention.head_count_kv", self.name);
        // Without its own count, key and value have as many heads as the query.
        let key = if part == KEY && metadata.get(&kv_key).is_some() { kv_key } else { query_key };
        let heads = metadata.get_u64(&key).and_then(|heads| usize::try_from(heads).ok());
        match heads.filter(|&heads| heads > 0) {
            Some(heads) => Ok(Some(heads)),
            None => Err(bad_key(file, &key, "must be there and be a positive integer")),
        }
    }
}

/// `blk.7.attn_q.weight` → (7, `attn_q`, `weight`); a tower's begins with `v.`.
fn layer_part(name: &str) -> Option<(u32, &str, &str)> {
    let name = name.strip_prefix("v.").unwrap_or(name);
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, parameter) = rest.rsplit_once('.')?;
    matches!(parameter, "weight" | "bias").then_some(())?;
    Some((layer.parse().ok()?, part, parameter))
}

/// `ffn_gate.3` → (3, `gate_proj`).
fn expert_part(part: &str) -> Option<(u32, &'static str)> {
    let (part, expert) = part.split_once('.')?;
    let (_, theirs) = EXPERT.iter().find(|(ours, _)| *ours == part)?;
    Some((expert.parse().ok()?, theirs))
}

pub(super) fn bad_key(file: &Path, key: &str, reason: &str) -> Error {
    Error::Metadata { file: file.to_owned(), key: key.to_owned(), reason: reason.to_owned() }
}
