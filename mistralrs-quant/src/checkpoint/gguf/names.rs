//! table
//! From GGUF's tensor names to Hugging Face's: one row per architecture. Source: the tensor names of
//! the GGUF specification and the parameter names of the `transformers` models they were made from.

use super::metadata::Metadata;
use crate::error::{Error, Result};
use std::path::Path;

/// Every architecture whose names are known. A further one is a further row; its layer names
/// are a further list only where it has other parts.
const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "llama", layer: DECODER_LAYER, rotary: Rotary::Interleaved },
    Architecture { name: "qwen2", layer: DECODER_LAYER, rotary: Rotary::HalfSplit },
    Architecture { name: "qwen2moe", layer: DECODER_LAYER, rotary: Rotary::HalfSplit },
    Architecture { name: "qwen3moe", layer: DECODER_LAYER, rotary: Rotary::HalfSplit },
    // Neighbors turn together in both formats; the model knows.
    Architecture { name: "deepseek2", layer: LATENT_LAYER, rotary: Rotary::HalfSplit },
];

/// Names outside the layers, whole.
const MODEL: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output_norm.bias", "model.norm.bias"),
    ("output.weight", "lm_head.weight"),
    ("output.bias", "lm_head.bias"),
    // Llama 3's frequency factors; transformers computes them from the configuration.
    ("rope_freqs.weight", "rope_freqs.weight"),
];

/// Names inside a pre-norm decoder layer with a gated MLP, without `.weight` or `.bias`.
const DECODER_LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", QUERY),
    ("attn_k", KEY),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
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

/// The matrices of one expert in files of the first mixtures: `blk.N.ffn_gate.EXPERT.weight`.
const EXPERT: &[(&str, &str)] =
    &[("ffn_gate", "gate_proj"), ("ffn_up", "up_proj"), ("ffn_down", "down_proj")];

const QUERY: &str = "self_attn.q_proj";
const KEY: &str = "self_attn.k_proj";

/// One row: how an architecture's file differs from its Hugging Face checkpoint.
#[derive(Debug)]
pub(super) struct Architecture {
    /// `general.architecture`.
    name: &'static str,
    /// Names inside `blk.N.`.
    layer: &'static [(&'static str, &'static str)],
    /// Which rotary embedding the rows of query and key are ordered for.
    rotary: Rotary,
}

#[derive(Debug, PartialEq)]
enum Rotary {
    /// Row 2i turns with row 2i + 1 of its head.
    Interleaved,
    /// Row i turns with row i + head_dim / 2 of its head: Hugging Face's order.
    HalfSplit,
}

/// A tensor's Hugging Face name, and whether its rows must be reordered.
#[derive(Debug, PartialEq)]
pub(super) struct Translated {
    pub(super) name: String,
    /// The number of heads the rows are to be reordered within.
    pub(super) interleaved_heads: Option<usize>,
}

/// The row of the file's architecture.
pub(super) fn find(metadata: &Metadata, file: &Path) -> Result<&'static Architecture> {
    const NAME_KEY: &str = "general.architecture";
    let found = metadata
        .get_str(NAME_KEY)
        .ok_or_else(|| bad_key(file, NAME_KEY, "must be there and be a string"))?;
    ARCHITECTURES.iter().find(|row| row.name == found).ok_or_else(|| Error::UnknownArchitecture {
        file: file.to_owned(),
        found: found.to_owned(),
        supported: ARCHITECTURES.iter().map(|row| row.name).collect::<Vec<_>>().join(", "),
    })
}

impl Architecture {
    /// Translates one name. A name that is in no list stays as it is, so that whoever finds it
    /// unused can report it as the file spells it.
    pub(super) fn translate(
        &self,
        name: &str,
        metadata: &Metadata,
        file: &Path,
    ) -> Result<Translated> {
        if let Some((_, theirs)) = MODEL.iter().find(|(ours, _)| *ours == name) {
            return Ok(Translated { name: (*theirs).to_owned(), interleaved_heads: None });
        }
        let Some((layer, part, parameter)) = layer_part(name) else {
            return Ok(Translated { name: name.to_owned(), interleaved_heads: None });
        };
        if let Some((expert, theirs)) = expert_part(part) {
            let name = format!("model.layers.{layer}.mlp.experts.{expert}.{theirs}.{parameter}");
            return Ok(Translated { name, interleaved_heads: None });
        }
        let Some((_, theirs)) = self.layer.iter().find(|(ours, _)| *ours == part) else {
            return Ok(Translated { name: name.to_owned(), interleaved_heads: None });
        };
        Ok(Translated {
            name: format!("model.layers.{layer}.{theirs}.{parameter}"),
            interleaved_heads: self.interleaved_heads(theirs, metadata, file)?,
        })
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

/// `blk.7.attn_q.weight` → (7, `attn_q`, `weight`).
fn layer_part(name: &str) -> Option<(u32, &str, &str)> {
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

fn bad_key(file: &Path, key: &str, reason: &str) -> Error {
    Error::Metadata { file: file.to_owned(), key: key.to_owned(), reason: reason.to_owned() }
}
