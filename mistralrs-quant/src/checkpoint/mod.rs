//! What a model is loaded from: tensors by name, whatever the file format. Headers are read when a
//! checkpoint is opened, bytes stay in the memory map until somebody computes with them. Knows
//! nothing of models; a further format is a file beside these.

mod catalog;
mod cut;
pub mod gguf;
mod safetensors;
mod tensor_bytes;
mod together;

pub use cut::{Cut, cut_checkpoint};
pub use safetensors::open_safetensors;
pub use tensor_bytes::TensorBytes;
pub use together::checkpoints_together;

use crate::error::Result;
use mistralrs_kernels::QuantType;
use std::fmt::Debug;
use std::path::PathBuf;

/// What a header says about a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, in Hugging Face's spelling.
    pub name: String,
    /// The shape, row-major: a linear weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub ty: QuantType,
    /// The file it is in.
    pub file: PathBuf,
}

/// Tensors by name. Cheap to open: only headers are read.
pub trait Checkpoint: Send + Sync + Debug {
    /// The names of all tensors, in the order of the files.
    fn names(&self) -> Vec<&str>;

    /// What is known of a tensor.
    fn info(&self, name: &str) -> Option<&TensorInfo>;

    /// The bytes of a tensor: rows of its type, row-major.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] if there is no such tensor.
    fn read(&self, name: &str) -> Result<TensorBytes>;
}
