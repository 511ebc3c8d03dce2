//! The parts of models that see: towers, from pixels to features, and what brings features to the
//! width of a text model. They know weights and tensors; no files, no prompts, no engine.

pub mod gemma3;
pub mod gemma3n;
pub mod grid;
pub mod idefics3;
pub mod mobilenet;
pub mod qwen;
pub mod qwen2_vl;
pub mod qwen3_vl;
pub mod siglip;
