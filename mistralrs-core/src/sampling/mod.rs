//! Logits to a token. Every sequence owns its [`Sampler`]: chain, history and seeded random numbers,
//! so that a result never depends on who shares the batch. Knows no tensor, no text, no engine.

pub mod params;

pub use params::{DryParams, Mirostat, SamplingParams, Xtc};
