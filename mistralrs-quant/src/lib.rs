//! Weights at rest and in multiplication: checkpoints (safetensors, GGUF), in-situ quantization and
//! the linear layer over any stored format. Knows candle and files. Does not know models, tokens,
//! layers or requests; arithmetic on blocks lives in `mistralrs-kernels`.

#![forbid(unsafe_code)]

mod checkpoint;
mod error;
mod experts;
mod heads;
mod isq;
mod linear;
mod method;
mod packed;
mod place;
mod placed;
mod slices;
mod stack;

pub use checkpoint::{
    Checkpoint, Cut, TensorBytes, TensorInfo, checkpoints_together, cut_checkpoint, gguf,
    open_safetensors,
};
pub use error::{Error, Result};
pub use experts::{ExpertWeights, ExpertsInfo, StoredExpert, experts};
pub use heads::HeadLinear;
pub use isq::{Isq, IsqOverride, resolve};
pub use linear::{Linear, MergedLinear};
pub use method::{QuantMethod, WeightInfo};
pub use mistralrs_kernels::{Gating, QuantType};
pub use packed::{WeightOptions, dense, weight};
pub use place::{Place, has_kernels};
pub use placed::WeightSize;
pub use stack::StoredMatrix;
