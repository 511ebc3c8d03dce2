//! Sound: decoded to samples, mixed down, resampled, leveled, and turned into log-mel frames. Knows
//! sound files, no model but the numbers of its front end.

mod decode;
mod effects;
mod fft;
mod gathered;
mod mel;
mod ogg;
mod packets;
mod resample;
mod vorbis;

pub use decode::{AudioLimits, decode};
pub use mel::{LogMel, MelFrames};
pub use resample::resample;

/// Samples between −1 and 1, one per channel and frame, interleaved.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// Frame after frame, in each the channels in order.
    pub samples: Vec<f32>,
    /// Frames per second; at least 1.
    pub rate: u32,
    /// At least 1.
    pub channels: usize,
}

impl Sound {
    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.samples.len() / self.channels.max(1)
    }

    /// The mean of the channels.
    pub fn to_mono(&self) -> Vec<f32> {
        let channels = self.channels.max(1);
        let frames = self.samples.chunks_exact(channels);
        frames.map(|frame| frame.iter().sum::<f32>() / channels as f32).collect()
    }
}
