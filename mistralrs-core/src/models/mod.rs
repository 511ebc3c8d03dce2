//! The registry: one line per architecture. A model sees [`Weights`] once and [`ForwardBatch`] ever
//! after; it knows no files, sequences or devices.

mod llama;
mod qwen2;

use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::{KvCache, KvSpec};
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use serde_json::Value;

/// A loaded model: immutable weights; all state is in the cache.
pub trait Model: Send {
    /// One step → logits `[rows, vocab]` f32 of `batch.logit_rows`.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> Result<Tensor>;
}

/// What can be known of a model before it is loaded, and how to load it.
pub trait Architecture: Model + Sized + 'static {
    /// `config.json`, as far as this family reads it.
    type Config: serde::de::DeserializeOwned;

    /// What it keeps per token.
    fn kv_spec(config: &Self::Config) -> KvSpec;

    /// Reads its weights.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen, or the config asks for something unknown.
    fn load(config: &Self::Config, weights: &Weights) -> std::result::Result<Self, LoadError>;
}

type Loaded = std::result::Result<Box<dyn Model>, LoadError>;

/// One row of the registry: an [`Architecture`] behind function pointers.
#[derive(Debug, Clone, Copy)]
pub struct ArchitectureRow {
    /// The name in `architectures` of `config.json`.
    pub name: &'static str,
    /// [`Architecture::kv_spec`] of a `config.json`.
    pub kv_spec: fn(&Value) -> serde_json::Result<KvSpec>,
    /// [`Architecture::load`] of a `config.json`.
    pub load: fn(&Value, &Weights) -> Loaded,
}

const fn row<A: Architecture>(name: &'static str) -> ArchitectureRow {
    ArchitectureRow {
        name,
        kv_spec: |config| Ok(A::kv_spec(&serde_json::from_value(config.clone())?)),
        load: |config, weights| {
            let config = serde_json::from_value(config.clone()).map_err(|e| bad_config(&e))?;
            Ok(Box::new(A::load(&config, weights)?))
        },
    }
}

fn bad_config(error: &serde_json::Error) -> LoadError {
    LoadError::BadFile { file: "config.json".into(), reason: error.to_string() }
}

/// All architectures.
pub const ARCHITECTURES: &[ArchitectureRow] =
    &[row::<llama::Llama>("LlamaForCausalLM"), row::<qwen2::Qwen2>("Qwen2ForCausalLM")];

/// The row of an architecture.
///
/// # Errors
/// [`LoadError::UnknownArchitecture`] lists the known ones.
pub fn find(name: &str) -> std::result::Result<&'static ArchitectureRow, LoadError> {
    ARCHITECTURES.iter().find(|row| row.name == name).ok_or_else(|| {
        LoadError::UnknownArchitecture {
            found: name.to_owned(),
            supported: ARCHITECTURES.iter().map(|r| r.name).collect::<Vec<_>>().join(", "),
        }
    })
}
