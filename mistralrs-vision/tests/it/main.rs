//! Pictures, videos and sounds against transformers, Pillow and scipy: the values that
//! `scripts/make_vision_goldens.py` wrote. Tests over ../shared skip where it is absent.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod files;
mod ogg;
mod pictures;
mod sound;
mod speed;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What was written down of a tensor.
#[derive(Debug, Clone, Deserialize)]
struct Sampled {
    shape: Vec<usize>,
    mean: f64,
    mean_square: f64,
    /// At evenly spaced places, the first and the last among them.
    samples: Vec<f64>,
    /// Of all numbers, where they are laid down to the bit.
    sha256: Option<String>,
}

impl Sampled {
    /// What was found where samples were taken, and what was wanted there.
    fn pairs(&self, values: &[f32]) -> Vec<(f64, f64)> {
        let last = self.samples.len() - 1;
        let at = |i: usize| f64::from(values[i * (values.len() - 1) / last]);
        self.samples.iter().enumerate().map(|(i, wanted)| (at(i), *wanted)).collect()
    }

    /// Whether all numbers are those, to the bit, as far as that is known.
    fn are(&self, values: &[f32]) -> bool {
        let mut hash = Sha256::new();
        values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.sha256.as_ref().is_none_or(|wanted| *wanted == found)
    }

    /// The largest distance of a sample, and that of the mean and the mean square.
    fn distances(&self, values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / count;
        let samples = self.pairs(values).into_iter().map(|(found, wanted)| (found - wanted).abs());
        let means = (mean - self.mean).abs().max((square - self.mean_square).abs());
        (samples.fold(0., f64::max), means)
    }
}
