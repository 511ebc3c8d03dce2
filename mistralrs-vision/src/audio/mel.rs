//! Log-mel frames as Gemma 3n's audio encoder reads them. Knows samples at its own rate. Source:
//! transformers' `Gemma3nAudioFeatureExtractor` (the front end of Universal Speech Models).

use super::fft::Fft;
use super::{Sound, resample};
use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

/// The front end: filters, window and numbers.
#[derive(Debug, Clone)]
pub struct LogMel {
    config: MelConfig,
    frame_length: usize,
    hop_length: usize,
    window: Vec<f64>,
    fft: Fft,
    /// Per mel band: the first frequency bin with a weight, and the weights.
    bands: Vec<(usize, Vec<f64>)>,
    num_tokens: usize,
}

/// What an encoder reads of one sound.
#[derive(Debug, Clone)]
pub struct MelFrames {
    /// `[frames, bands]`, f32 on the CPU.
    pub features: Tensor,
    /// Per frame: whether it begins within the sound, not within the zeros behind it.
    pub mask: Vec<bool>,
    /// Placeholder tokens that stand for it in the prompt.
    pub num_tokens: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct MelConfig {
    feature_size: usize,
    sampling_rate: u32,
    frame_length_ms: f64,
    hop_length_ms: f64,
    min_frequency: f64,
    max_frequency: f64,
    preemphasis: f64,
    preemphasis_htk_flavor: bool,
    fft_overdrive: bool,
    input_scale_factor: f64,
    mel_floor: f64,
    per_bin_mean: Option<Vec<f64>>,
    per_bin_stddev: Option<Vec<f64>>,
}

impl Default for MelConfig {
    fn default() -> Self {
        Self {
            feature_size: 128,
            sampling_rate: 16_000,
            frame_length_ms: 32.,
            hop_length_ms: 10.,
            min_frequency: 125.,
            max_frequency: 7600.,
            preemphasis: 0.97,
            preemphasis_htk_flavor: true,
            fft_overdrive: true,
            input_scale_factor: 1.,
            mel_floor: 1e-5,
            per_bin_mean: None,
            per_bin_stddev: None,
        }
    }
}

/// Sounds are cut after this many samples (30 s at 16 kHz) and filled to a multiple of the second.
const MAX_SAMPLES: usize = 480_000;
const MULTIPLE: usize = 128;
/// Gemma 3n's tokens per sound, whatever its length.
const TOKENS: u64 = 188;

impl LogMel {
    /// From the text of `preprocessor_config.json` or `processor_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] for numbers that cannot be.
    pub fn from_config(config: &Value) -> Result<Self> {
        let tokens = config.get("audio_seq_length").and_then(Value::as_u64).unwrap_or(TOKENS);
        let section = config.get("feature_extractor").unwrap_or(config);
        let config: MelConfig =
            serde_json::from_value(section.clone()).map_err(|e| Error::Config(e.to_string()))?;
        config.check()?;
        let length = |ms: f64| (f64::from(config.sampling_rate) * ms / 1000.).round_ties_even();
        let frame_length = length(config.frame_length_ms) as usize;
        let hop_length = length(config.hop_length_ms) as usize;
        if !(2..=1 << 14).contains(&frame_length) || !(1..=1 << 14).contains(&hop_length) {
            let message = format!("frames of {frame_length} samples every {hop_length} cannot be");
            return Err(Error::Config(message));
        }
        let fft_length =
            frame_length.next_power_of_two() * if config.fft_overdrive { 2 } else { 1 };
        let angle = |i: usize| std::f64::consts::TAU * i as f64 / frame_length as f64;
        let window = (0..frame_length).map(|i| 0.5 * (1. - angle(i).cos())).collect();
        let bands = config.bands(fft_length);
        let num_tokens = usize::try_from(tokens).unwrap_or(usize::MAX);
        let fft = Fft::new(fft_length);
        Ok(Self { config, frame_length, hop_length, window, fft, bands, num_tokens })
    }

    /// Mixed down, resampled, and cut into frames.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the sound is shorter than one frame.
    pub fn sound(&self, sound: &Sound) -> Result<MelFrames> {
        self.samples(&resample(&sound.to_mono(), sound.rate, self.config.sampling_rate)?)
    }

    /// Of one channel at the front end's rate.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the sound is shorter than one frame.
    pub fn samples(&self, samples: &[f32]) -> Result<MelFrames> {
        let samples = samples.get(..MAX_SAMPLES).unwrap_or(samples);
        let scale = self.config.input_scale_factor;
        let mut padded: Vec<f64> = samples.iter().map(|s| f64::from(*s) * scale).collect();
        padded.resize(samples.len().next_multiple_of(MULTIPLE), 0.);
        // One sample more than a frame: the first is there for the difference only.
        let mut features = Vec::new();
        for frame in padded.windows(self.frame_length + 1).step_by(self.hop_length) {
            features.extend(self.frame(frame));
        }
        let frames = features.len() / self.config.feature_size;
        if frames == 0 {
            let (found, wanted) = (samples.len(), self.frame_length + 1);
            let message = format!("the audio has {found} samples; at least {wanted} are needed");
            return Err(Error::Invalid(message));
        }
        Ok(MelFrames {
            features: Tensor::from_vec(features, (frames, self.config.feature_size), &Device::Cpu)?,
            mask: (0..frames).map(|frame| frame * self.hop_length < samples.len()).collect(),
            num_tokens: self.num_tokens,
        })
    }

    fn frame(&self, frame: &[f64]) -> impl Iterator<Item = f32> + use<'_> {
        let factor = self.config.preemphasis;
        // HTK's flavor takes the first value for its own predecessor.
        let shift = usize::from(!self.config.preemphasis_htk_flavor && factor > 0.);
        let at = |i: usize| frame.get(i).copied().unwrap_or_default();
        let emphasized = |i: usize| at(i + shift) - factor * at((i + shift).saturating_sub(1));
        let windowed = self.window.iter().enumerate().map(|(i, w)| emphasized(i) * w);
        let windowed: Vec<f64> = windowed.collect();
        let magnitudes = self.fft.magnitudes(&windowed);
        let level = move |(first, weights): &(usize, Vec<f64>)| {
            let bins = magnitudes.get(*first..).unwrap_or_default();
            bins.iter().zip(weights).map(|(m, w)| m * w).sum::<f64>()
        };
        let of = |values: &Option<Vec<f64>>, band: usize, default: f64| {
            values.as_ref().and_then(|values| values.get(band)).copied().unwrap_or(default)
        };
        self.bands.iter().enumerate().map(move |(band, filter)| {
            let log = level(filter).max(self.config.mel_floor).ln();
            let centered = log - of(&self.config.per_bin_mean, band, 0.);
            (centered / of(&self.config.per_bin_stddev, band, 1.)) as f32
        })
    }
}

impl MelConfig {
    fn check(&self) -> Result<()> {
        let bins = |values: &Option<Vec<f64>>| {
            values.as_ref().is_none_or(|values| values.len() == self.feature_size)
        };
        let sane = (1..=512).contains(&self.feature_size)
            && (1000..=192_000).contains(&self.sampling_rate)
            && self.min_frequency >= 0.
            && self.max_frequency > self.min_frequency
            && self.max_frequency.is_finite()
            && self.mel_floor > 0.
            && bins(&self.per_bin_mean)
            && bins(&self.per_bin_stddev)
            && self.per_bin_stddev.as_ref().is_none_or(|values| !values.contains(&0.));
        match sane {
            true => Ok(()),
            false => Err(Error::Config("the audio front end's numbers cannot be".to_owned())),
        }
    }

    /// Triangles that are evenly spaced in mel (HTK's formula), as weights of frequency bins.
    fn bands(&self, fft_length: usize) -> Vec<(usize, Vec<f64>)> {
        let mel = |hertz: f64| 2595. * (1. + hertz / 700.).log10();
        let hertz = |mel: f64| 700. * (10f64.powf(mel / 2595.) - 1.);
        let (low, high) = (mel(self.min_frequency), mel(self.max_frequency));
        let point =
            |i: usize| hertz(low + (high - low) * i as f64 / (self.feature_size + 1) as f64);
        let bin = |k: usize| k as f64 * f64::from(self.sampling_rate) / fft_length as f64;
        let band = |i: usize| {
            let (left, center, right) = (point(i), point(i + 1), point(i + 2));
            let weight = |k: usize| {
                let (up, down) =
                    ((bin(k) - left) / (center - left), (right - bin(k)) / (right - center));
                up.min(down).max(0.)
            };
            let bins = 0..=fft_length / 2;
            let first = bins.clone().find(|k| weight(*k) > 0.).unwrap_or(0);
            (first, (first..=fft_length / 2).map(weight).take_while(|w| *w > 0.).collect())
        };
        (0..self.feature_size).map(band).collect()
    }
}

#[cfg(test)]
mod tests;
