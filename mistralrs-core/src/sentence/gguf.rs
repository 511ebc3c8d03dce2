//! What follows an encoder that comes as a GGUF file: pooling by its key, dense layers if their
//! tensors are there, and length 1, which the files take for granted. They hold no prompts.
//! Source: the keys and tensors that llama.cpp's converter writes.

use super::config::{DenseWeights, SentenceConfig, StepConfig};
use crate::error::LoadError;
use crate::layers::encoder::{Activation, Pooling};
use crate::models::gguf_config::{GgufPooling, pooling};
use mistralrs_quant::Checkpoint;
use mistralrs_quant::gguf::GgufFile;

/// EmbeddingGemma's two, in their order.
const DENSE: [&str; 2] = ["dense_2", "dense_3"];

impl SentenceConfig {
    /// Of a GGUF file.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, LoadError> {
        let pooling = match pooling(file.metadata())? {
            None | Some(GgufPooling::Mean) => Pooling::Mean,
            // A cross-encoder's head pools for itself.
            Some(GgufPooling::Cls | GgufPooling::Rank) => Pooling::Cls,
            Some(GgufPooling::LastToken) => Pooling::LastToken,
        };
        let mut steps: Vec<StepConfig> =
            DENSE.iter().filter_map(|name| dense(file, name)).collect();
        steps.push(StepConfig::Normalize);
        Ok(Self { pooling: vec![pooling], steps, ..Self::default() })
    }
}

fn dense(file: &GgufFile, name: &'static str) -> Option<StepConfig> {
    let [output, input] = file.info(&format!("{name}.weight"))?.shape[..] else {
        return None; // left over, and named as such
    };
    Some(StepConfig::Dense {
        weights: DenseWeights::Model(name),
        input,
        output,
        bias: file.info(&format!("{name}.bias")).is_some(),
        activation: Activation::Identity,
    })
}
