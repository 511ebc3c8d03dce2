//! Attention over the paged cache, behind one trait. Causal order and raggedness come from the
//! batch's spans: no mask tensor exists outside [`naive`].

mod cpu;
mod naive;

pub use cpu::CpuAttention;
pub use naive::NaiveAttention;

use crate::forward::ForwardBatch;
use crate::kv_cache::LayerKv;
use candle_core::{Device, Result, Tensor};
use std::sync::Arc;

/// The shape and the variations of one layer's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionParams {
    /// Heads of queries; a multiple of `num_kv_heads`.
    pub num_heads: usize,
    /// Heads of keys and values.
    pub num_kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Multiplies the scores before everything else.
    pub scale: f32,
    /// A token sees itself and the `window - 1` before it.
    pub window: Option<usize>,
    /// Scores become `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
}

/// A way to compute attention on one kind of device.
pub trait AttentionBackend: std::fmt::Debug + Send + Sync {
    /// For logs.
    fn name(&self) -> &'static str;

    /// `q` `[tokens, heads × head_dim]` against the cache, which already holds this step's keys and
    /// values → `[tokens, heads × head_dim]`.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    fn attend(
        &self,
        q: &Tensor,
        kv: &LayerKv,
        batch: &ForwardBatch,
        params: &AttentionParams,
    ) -> Result<Tensor>;
}

/// The backend for a device.
///
/// # Errors
/// When there is none yet.
pub fn select(device: &Device) -> Result<Arc<dyn AttentionBackend>> {
    match device {
        Device::Cpu => Ok(Arc::new(CpuAttention)),
        other => candle_core::bail!("no attention backend for {other:?} yet"),
    }
}
