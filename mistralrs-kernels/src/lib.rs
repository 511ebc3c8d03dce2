//! Arithmetic on slices: quantised block formats, matrix products, attention over a paged cache,
//! norms, rotary embedding, activations; and the one memory map. Knows no tensors, models or tokens.
//!
//! Every `unsafe` block of the project lives in this crate. Each fast kernel has a slow, obvious
//! twin in [`mod@scalar`] that it is tested against. The instruction set is chosen once, when the
//! program runs.

pub mod quant_type;

pub use quant_type::QuantType;
