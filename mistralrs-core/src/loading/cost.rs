//! What a token costs at least, counted from a checkpoint's headers: the numbers that a roofline is made of.
//! Knows names of tensors, no layer and no machine.

use crate::kv_cache::{KvNumbers, KvSpec};
use mistralrs_quant::{Isq, QuantType, TensorInfo};
use serde_json::Value;

/// Parts of the names of what makes rows of pictures and sounds: a token of text passes it by.
const OTHER_SENSES: [&str; 4] = ["vis", "audio", "projector", "connector"];

/// Whether a part of a tensor's name says that it belongs to such.
pub(super) fn is_other_sense(part: &str) -> bool {
    OTHER_SENSES.iter().any(|sense| part.contains(sense))
}

/// What a token costs at least.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenCost {
    /// The matrices it is multiplied with, added up by kind.
    pub matrices: Vec<MatrixCost>,
    /// Bytes of keys and values of one token, all layers together.
    pub kv_bytes: u64,
    /// Operations of attention per token and token that it sees, all layers together.
    pub attention_operations: u64,
}

/// Matrices of one type and role.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatrixCost {
    /// How their numbers are stored.
    pub ty: QuantType,
    /// Whether they make logits: only rows that are read pass through them.
    pub is_head: bool,
    /// The share of them that one token needs: less than one for experts.
    pub share: f64,
    /// Numbers.
    pub numbers: u64,
    /// Bytes as they are stored.
    pub bytes: u64,
}

/// Counts. `isq` says what plain matrices become.
pub(super) fn token_cost(
    tensors: &[TensorInfo],
    isq: &Isq,
    config: &Value,
    (kv, numbers): (&KvSpec, KvNumbers),
) -> TokenCost {
    let config = config.get("text_config").unwrap_or(config);
    let size = |keys: &[&str]| {
        keys.iter().find_map(|key| config.get(key).and_then(Value::as_u64)).unwrap_or(0)
    };
    let experts = size(&["num_experts", "num_local_experts", "n_routed_experts"]);
    let chosen = size(&["num_experts_per_tok"]);
    let share = if experts > 0 { (chosen as f64 / experts as f64).min(1.0) } else { 1.0 };
    let has_head = tensors.iter().any(|info| info.name.ends_with("lm_head.weight"));
    let mut cost = TokenCost {
        matrices: Vec::new(),
        kv_bytes: kv
            .windows()
            .into_iter()
            .map(|window| kv.bytes_per_token(window, numbers) as u64)
            .sum(),
        attention_operations: 4
            * size(&["num_attention_heads"])
            * kv.layers.iter().map(|layer| layer.head_dim as u64).sum::<u64>(),
    };
    for info in tensors {
        if let Some(role) = Role::of(info, has_head) {
            let share = if role == Role::Expert { share } else { 1.0 };
            cost.add(info, isq, role == Role::Head, share);
        }
    }
    cost
}

impl TokenCost {
    fn add(&mut self, info: &TensorInfo, isq: &Isq, is_head: bool, share: f64) {
        let (cols, rows) = match info.shape.split_last() {
            Some((cols, rows)) => (*cols, rows.iter().map(|n| *n as u64).product::<u64>()),
            None => return,
        };
        let wanted = isq.of(&info.name).filter(|ty| ty.row_bytes(cols).is_some());
        let wanted = wanted.unwrap_or(info.ty);
        let ty = if info.ty.block_len() > 1 { info.ty } else { wanted };
        let bytes = ty.row_bytes(cols).unwrap_or(0) as u64 * rows;
        let numbers = cols as u64 * rows;
        let same = |it: &&mut MatrixCost| (it.ty, it.is_head, it.share) == (ty, is_head, share);
        match self.matrices.iter_mut().find(same) {
            Some(sum) => {
                sum.numbers += numbers;
                sum.bytes += bytes;
            }
            None => self.matrices.push(MatrixCost { ty, is_head, share, numbers, bytes }),
        }
    }
}

/// What a tensor is to a token of text.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Layer,
    Expert,
    Head,
}

impl Role {
    /// `None` for vectors, for tables of which a token needs a row, and for what it passes by.
    fn of(info: &TensorInfo, has_head: bool) -> Option<Self> {
        if info.shape.len() < 2 || info.name.split('.').any(is_other_sense) {
            return None;
        }
        if info.name.ends_with("embed_tokens.weight") {
            // A head that is the embedding.
            return (!has_head).then_some(Self::Head);
        }
        if info.name.contains("embed") {
            return None;
        }
        Some(match &info.name {
            name if name.ends_with("lm_head.weight") => Self::Head,
            name if name.contains(".experts.") => Self::Expert,
            _ => Self::Layer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    fn tensor(name: &str, shape: &[usize], ty: QuantType) -> TensorInfo {
        TensorInfo { name: name.into(), shape: shape.into(), ty, file: PathBuf::new() }
    }

    fn kinds(tensors: &[TensorInfo], config: &Value, isq: Option<QuantType>) -> Vec<MatrixCost> {
        let kv = KvSpec::uniform(2, 1, 16);
        let isq = &isq.into();
        let cost = token_cost(tensors, isq, config, (&kv, KvNumbers::F16));
        assert_eq!((cost.kv_bytes, cost.attention_operations), (2 * 2 * 16 * 2, 4 * 4 * 32));
        let cost = token_cost(tensors, isq, config, (&kv, KvNumbers::Q8));
        assert_eq!(cost.kv_bytes, 2 * 2 * (16 + 2));
        cost.matrices
    }

    #[test]
    fn matrices_by_type_and_role() {
        let tensors = [
            tensor("model.embed_tokens.weight", &[100, 64], QuantType::Q8_0),
            tensor("model.layers.0.self_attn.q_proj.weight", &[64, 64], QuantType::Q4_0),
            tensor("model.layers.0.self_attn.q_proj.bias", &[64], QuantType::F32),
            tensor("model.layers.1.self_attn.q_proj.weight", &[64, 64], QuantType::Q4_0),
            tensor("visual.blocks.0.attn.qkv.weight", &[64, 64], QuantType::F32),
            tensor("model.vision_tower.encoder.0.weight", &[64, 64], QuantType::F32),
        ];
        let config = json!({"num_attention_heads": 4});
        let layers = MatrixCost {
            ty: QuantType::Q4_0,
            is_head: false,
            share: 1.0,
            numbers: 2 * 64 * 64,
            bytes: 2 * 64 * 64 / 32 * 18,
        };
        let head = MatrixCost {
            ty: QuantType::Q8_0,
            is_head: true,
            share: 1.0,
            numbers: 6400,
            bytes: 6400 / 32 * 34,
        };
        assert_eq!(kinds(&tensors, &config, None), [head, layers]);
        let mut untied = tensors.to_vec();
        untied.push(tensor("lm_head.weight", &[100, 64], QuantType::F32));
        // The table is no head any more; what is in blocks stays, what is plain is quantized.
        let head = MatrixCost { ty: QuantType::Q8_0, bytes: head.bytes, ..head };
        assert_eq!(kinds(&untied, &config, Some(QuantType::Q8_0)), [layers, head]);
    }

    #[test]
    fn a_token_needs_some_of_the_experts() {
        let tensors = [
            tensor("model.layers.0.mlp.experts.gate_up_proj", &[8, 128, 64], QuantType::BF16),
            tensor("model.layers.0.mlp.shared_expert.up_proj.weight", &[64, 64], QuantType::BF16),
            tensor("lm_head.weight", &[100, 64], QuantType::BF16),
        ];
        let config = json!({"text_config":
            {"num_attention_heads": 4, "num_experts": 8, "num_experts_per_tok": 2}});
        let found = kinds(&tensors, &config, None);
        let shares: Vec<_> = found.iter().map(|kind| (kind.share, kind.numbers)).collect();
        assert_eq!(shares, [(0.25, 8 * 128 * 64), (1.0, 64 * 64), (1.0, 6400)]);
        assert_eq!(found.iter().filter(|kind| kind.is_head).count(), 1);
    }
}
