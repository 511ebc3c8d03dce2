//! Arithmetic on slices: quantized block formats, matrix products, attention over a paged cache,
//! norms, rotary embedding, activations; the one memory map; what the machine gives at most. Knows no tensors, models or
//! tokens.
//!
//! Every `unsafe` block of the project lives in this crate. Each fast kernel has a slow, obvious
//! twin in [`mod@scalar`] that it is tested against. The instruction set is chosen once, when the
//! program runs.

mod attention;
mod block;
mod cores;
mod depthwise;
mod dispatch;
mod elementwise;
pub mod mapped_file;
mod math;
mod matmul;
mod memory;
mod packed;
mod peaks;
mod pool;
pub mod quant_type;
pub mod scalar;
mod shared;
mod simd;
mod tile;

pub use attention::{
    AttentionShape, AttentionSpan, CacheShape, CacheSlice, CacheSliceMut, bidirectional_attention,
    paged_attention, q8_head_bytes, round_to_q8, store_keys, store_values,
};
pub use depthwise::{DepthwiseShape, depthwise};
pub use dispatch::{InstructionSetError, force_instruction_set, instruction_set};
pub use elementwise::{
    RopePairs, RopeShape, add, add_to_rows, argmax, gelu, gelu_tanh, gelu_tanh_mul, layer_norm,
    quick_gelu, rms_norm, rope, round_to_halves, silu, silu_mul, softcap, softmax,
};
pub use matmul::{WeightRows, matmul};
pub use memory::{keep_freed_memory, prefer_huge_pages, return_freed_memory};
pub use packed::{
    GatedWeights, Gating, PackedPart, PackedWeight, Slabs, matmul_packed, matmul_packed_many,
    matmul_packed_mlp, matmul_packed_new, matmul_packed_parts, packed_bytes,
};
pub use peaks::{Peaks, measure_peaks};
pub use pool::{in_parallel, in_parallel_parts, pin_caller, set_threads, threads, with_threads};
pub use quant_type::QuantType;
