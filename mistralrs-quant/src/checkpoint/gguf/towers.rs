//! table
//! From the tensor names of a vision tower's GGUF file (architecture `clip`, known as `mmproj`) to Hugging Face's:
//! one row per kind of projector. A name with `#` and a number is a part of a tensor: see `parts`. Source: the
//! tensor names of the `gguf` package and the parameter names of the `transformers` models they were made from.

use super::header::TensorEntry;
use super::metadata::{Array, Metadata};
use super::names::{Architecture, bad_key};
use crate::error::{Error, Result};
use std::path::Path;

/// `general.architecture` of all towers.
pub(super) const CLIP: &str = "clip";

const PROJECTOR: &str = "clip.projector_type";
/// In files that hear, too.
const VISION_PROJECTOR: &str = "clip.vision.projector_type";

/// Every projector whose names are known.
const TOWERS: &[Architecture] = &[
    Architecture {
        model: QWEN2_VL,
        layers: "visual.blocks",
        ..Architecture::new("qwen2vl_merger", QWEN2_VL_LAYER)
    },
    Architecture {
        model: QWEN2_VL,
        layers: "visual.blocks",
        ..Architecture::new("qwen2.5vl_merger", QWEN2_5_VL_LAYER)
    },
    Architecture {
        model: QWEN3_VL,
        layers: "visual.blocks",
        ..Architecture::new("qwen3vl_merger", QWEN3_VL_LAYER)
    },
    Architecture {
        model: GEMMA3,
        layers: "vision_tower.vision_model.encoder.layers",
        ones: Some("mm_soft_emb_norm.weight"),
        ..Architecture::new("gemma3", SIGLIP_LAYER)
    },
];

/// Both second generations'.
const QWEN2_VL: &[(&str, &str)] = &[
    ("v.patch_embd.weight", "visual.patch_embed.proj#0.weight"),
    ("v.patch_embd.weight.1", "visual.patch_embed.proj#1.weight"),
    ("v.post_ln.weight", "visual.merger.ln_q.weight"),
    ("v.post_ln.bias", "visual.merger.ln_q.bias"),
    ("mm.0.weight", "visual.merger.mlp.0.weight"),
    ("mm.0.bias", "visual.merger.mlp.0.bias"),
    ("mm.2.weight", "visual.merger.mlp.2.weight"),
    ("mm.2.bias", "visual.merger.mlp.2.bias"),
];

/// The third generation's.
const QWEN3_VL: &[(&str, &str)] = &[
    ("v.patch_embd.weight", "visual.patch_embed.proj#0.weight"),
    ("v.patch_embd.weight.1", "visual.patch_embed.proj#1.weight"),
    ("v.patch_embd.bias", "visual.patch_embed.proj.bias"),
    ("v.position_embd.weight", "visual.pos_embed.weight"),
    ("v.post_ln.weight", "visual.merger.norm.weight"),
    ("v.post_ln.bias", "visual.merger.norm.bias"),
    ("mm.0.weight", "visual.merger.linear_fc1.weight"),
    ("mm.0.bias", "visual.merger.linear_fc1.bias"),
    ("mm.2.weight", "visual.merger.linear_fc2.weight"),
    ("mm.2.bias", "visual.merger.linear_fc2.bias"),
];

/// SigLIP's, and Gemma 3's projector.
const GEMMA3: &[(&str, &str)] = &[
    ("v.patch_embd.weight", "vision_tower.vision_model.embeddings.patch_embedding.weight"),
    ("v.patch_embd.bias", "vision_tower.vision_model.embeddings.patch_embedding.bias"),
    ("v.position_embd.weight", "vision_tower.vision_model.embeddings.position_embedding.weight"),
    ("v.post_ln.weight", "vision_tower.vision_model.post_layernorm.weight"),
    ("v.post_ln.bias", "vision_tower.vision_model.post_layernorm.bias"),
    ("mm.input_projection.weight", "multi_modal_projector.mm_input_projection_weight"),
    ("mm.soft_emb_norm.weight", "multi_modal_projector.mm_soft_emb_norm.weight"),
];

/// Where the rows are taken that are added behind the text model's first layers.
const DEEPSTACK: &[(&str, &str)] =
    &[("norm", "norm"), ("fc1", "linear_fc1"), ("fc2", "linear_fc2")];

/// SigLIP's.
const SIGLIP_LAYER: &[(&str, &str)] = &[
    ("ln1", "layer_norm1"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_out", "self_attn.out_proj"),
    ("ln2", "layer_norm2"),
    ("ffn_up", "mlp.fc1"),
    ("ffn_down", "mlp.fc2"),
];

/// Queries, keys and values in one.
const QWEN3_VL_LAYER: &[(&str, &str)] = &[
    ("ln1", "norm1"),
    ("attn_qkv", "attn.qkv"),
    ("attn_out", "attn.proj"),
    ("ln2", "norm2"),
    ("ffn_up", "mlp.linear_fc1"),
    ("ffn_down", "mlp.linear_fc2"),
];

/// Without a gate.
const QWEN2_VL_LAYER: &[(&str, &str)] = &[
    ("ln1", "norm1"),
    ("attn_q", "attn.qkv#0"),
    ("attn_k", "attn.qkv#1"),
    ("attn_v", "attn.qkv#2"),
    ("attn_qkv", "attn.qkv"),
    ("attn_out", "attn.proj"),
    ("ln2", "norm2"),
    ("ffn_up", "mlp.fc1"),
    ("ffn_down", "mlp.fc2"),
];

/// With one.
const QWEN2_5_VL_LAYER: &[(&str, &str)] = &[
    ("ln1", "norm1"),
    ("attn_q", "attn.qkv#0"),
    ("attn_k", "attn.qkv#1"),
    ("attn_v", "attn.qkv#2"),
    ("attn_qkv", "attn.qkv"),
    ("attn_out", "attn.proj"),
    ("ln2", "norm2"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The row of the file's projector.
pub(super) fn find(metadata: &Metadata, file: &Path) -> Result<&'static Architecture> {
    let found = projector(metadata)
        .ok_or_else(|| bad_key(file, PROJECTOR, "must be there and be a string"))?;
    TOWERS.iter().find(|row| row.name == found).ok_or_else(|| {
        let supported = TOWERS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        Error::UnknownProjector { file: file.to_owned(), found: found.to_owned(), supported }
    })
}

/// What brings the tower's rows to the width of the text model: it names the family.
pub(super) fn projector(metadata: &Metadata) -> Option<&str> {
    metadata.get_str(VISION_PROJECTOR).or_else(|| metadata.get_str(PROJECTOR))
}

/// `v.deepstack.16.fc1.weight` → `visual.deepstack_merger_list.1.linear_fc1.weight`: the file counts layers, the
/// checkpoint those of them that have such a part.
pub(super) fn deepstack(name: &str, metadata: &Metadata) -> Option<String> {
    let (layer, rest) = name.strip_prefix("v.deepstack.")?.split_once('.')?;
    let (part, parameter) = rest.split_once('.')?;
    let (_, theirs) = DEEPSTACK.iter().find(|(ours, _)| *ours == part)?;
    let Some(Array::Bool(has)) = metadata.get_array("clip.vision.is_deepstack_layers") else {
        return None;
    };
    let before = has.get(..layer.parse().ok()?)?;
    let number = before.iter().filter(|has| **has).count();
    Some(format!("visual.deepstack_merger_list.{number}.{theirs}.{parameter}"))
}

/// The first converters called the two layers of a feed-forward block by each other's names: what is `up` there has
/// more inputs than the layer is wide.
pub(super) fn swaps_feed_forward(tensors: &[TensorEntry], metadata: &Metadata) -> bool {
    let Some(width) = metadata.get_u64("clip.vision.embedding_length") else { return false };
    let inputs = |name: &str| {
        let tensor = tensors.iter().find(|tensor| tensor.name == name)?;
        tensor.shape.last().and_then(|inputs| u64::try_from(*inputs).ok())
    };
    let (up, down) = (inputs("v.blk.0.ffn_up.weight"), inputs("v.blk.0.ffn_down.weight"));
    down == Some(width) && up != Some(width)
}

/// The name that a layer of a feed-forward block should have had.
pub(super) fn swapped(name: &str) -> String {
    match (name.contains(".ffn_up."), name.contains(".ffn_down.")) {
        (true, _) => name.replace(".ffn_up.", ".ffn_down."),
        (_, true) => name.replace(".ffn_down.", ".ffn_up."),
        _ => name.to_owned(),
    }
}
