//! The blocks that encoders are made of: attention both ways, LayerNorm, activations, pooling and
//! the head of a cross-encoder. They know packed texts and weights; no cache, no files.

mod activation;
mod attention;
mod head;
mod layer_norm;
mod mlp;
mod pooling;

pub use activation::Activation;
pub use attention::EncoderAttention;
pub use head::ClassificationHead;
pub use layer_norm::LayerNorm;
pub use mlp::PlainMlp;
pub use pooling::{Pooling, pool};
