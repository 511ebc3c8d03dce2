//! The head of a cross-encoder: pool → dense → activation → (norm) → classifier. BERT, RoBERTa and
//! ModernBERT differ in names and in what stands in these places.

use super::{Activation, LayerNorm, Pooling, pool};
use candle_core::{Result, Tensor};
use mistralrs_quant::Linear;
use std::ops::Range;

/// Hidden states to one number per text and label.
#[derive(Debug)]
pub struct ClassificationHead {
    /// Which token speaks for the text.
    pub pooling: Pooling,
    /// `[hidden, hidden]`
    pub dense: Linear,
    /// After `dense`.
    pub activation: Activation,
    /// After the activation, where there is one.
    pub norm: Option<LayerNorm>,
    /// `[labels, hidden]`
    pub classifier: Linear,
}

impl ClassificationHead {
    /// `[tokens, hidden]` → `[texts, labels]`: logits.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn forward(&self, x: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        let x = pool(x, spans, &[self.pooling])?;
        let mut x = self.activation.forward(self.dense.forward(&x)?)?;
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        self.classifier.forward(&x)
    }
}
