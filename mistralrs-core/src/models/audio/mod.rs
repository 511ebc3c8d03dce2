//! The parts of models that hear: from mel spectra to features. They know weights and tensors; no
//! files, no sampling rates, no engine.

pub mod conformer;
pub mod gemma3n;
pub mod subsample;
