//! What decoders of packets have in common: samples are gathered within limits, and a decoder's panic is an
//! error. Knows sounds of the crate `symphonia`, no format.

use super::Sound;
use super::decode::{AudioLimits, check_form};
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use symphonia::core::audio::{AudioBufferRef, SampleBuffer};

/// Runs a decoder of another crate, for a sound that is not empty. Its arithmetic is checked in debug builds,
/// and there a header can make it panic.
///
/// # Errors
/// Those of `decode`, and that there is no sound.
pub(super) fn guarded(
    format: &'static str,
    decode: impl FnOnce() -> Result<Sound>,
) -> Result<Sound> {
    let found = catch_unwind(AssertUnwindSafe(decode));
    let sound = found.unwrap_or_else(|_| Err(undecodable(format, "its numbers cannot be")))?;
    if sound.samples.is_empty() { Err(Error::Empty("audio")) } else { Ok(sound) }
}

/// The error for a damaged file.
pub(super) fn undecodable(format: &str, reason: &str) -> Error {
    let reason = reason.chars().take(200).collect();
    Error::Undecodable { format: format.to_owned(), reason }
}

/// The sound so far.
pub(super) struct Gathered<'a> {
    pub sound: Sound,
    format: &'static str,
    limits: &'a AudioLimits,
    lost: usize,
}

impl<'a> Gathered<'a> {
    pub fn new(format: &'static str, limits: &'a AudioLimits) -> Self {
        let sound = Sound { samples: Vec::new(), rate: 0, channels: 0 };
        Self { sound, format, limits, lost: 0 }
    }

    /// Appends a packet's samples; the number of frames is returned. Every packet has the form of the first.
    ///
    /// # Errors
    /// [`Error`] names the limit.
    pub fn add(&mut self, decoded: AudioBufferRef<'_>) -> Result<usize> {
        if decoded.frames() == 0 {
            return Ok(0);
        }
        let spec = *decoded.spec();
        let (rate, channels) = (spec.rate, spec.channels.count());
        let mut samples = SampleBuffer::<f32>::new(decoded.frames() as u64, spec);
        samples.copy_interleaved_ref(decoded);
        let samples = samples.samples();
        let sound = &mut self.sound;
        if sound.channels == 0 {
            check_form(rate, channels)?;
            (sound.rate, sound.channels) = (rate, channels);
        }
        if (sound.rate, sound.channels) != (rate, channels) {
            return Err(undecodable(self.format, "its rate or channels change on the way"));
        }
        self.check_samples(samples.len())?;
        self.sound.samples.extend_from_slice(samples);
        let limit = self.limits.max_seconds;
        match self.sound.frames() as u64 > limit.saturating_mul(u64::from(rate)) {
            true => Err(Error::TooLong { limit }),
            false => Ok(samples.len() / channels),
        }
    }

    /// Counts samples that a damaged packet would have had: work was spent on it.
    ///
    /// # Errors
    /// [`Error::TooManySamples`].
    pub fn lose(&mut self, samples: usize) -> Result<()> {
        self.check_samples(samples)?;
        self.lost += samples;
        Ok(())
    }

    fn check_samples(&self, more: usize) -> Result<()> {
        let limit = self.limits.max_samples;
        match self.sound.samples.len() + self.lost + more > limit {
            true => Err(Error::TooManySamples { limit }),
            false => Ok(()),
        }
    }
}
