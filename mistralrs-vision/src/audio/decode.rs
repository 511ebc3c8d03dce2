//! Bytes of a sound file → samples. Knows which format it is, and WAV, through the crate `hound`: there
//! the length is checked by the header, before samples are allocated. Other formats are `packets`' and `vorbis`'.

use super::Sound;
use super::gathered::undecodable;
use super::packets::{self, Codec};
use super::vorbis;
use crate::error::{Error, Result};
use hound::{SampleFormat, WavReader};
use std::io::Cursor;

/// What a file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLimits {
    /// Bytes of a file.
    pub max_bytes: usize,
    /// Length of the sound.
    pub max_seconds: u64,
    /// Samples of all channels: few bytes can stand for many.
    pub max_samples: usize,
}

impl Default for AudioLimits {
    /// 25 MiB, ten minutes, and what they have in stereo at 48 kHz.
    fn default() -> Self {
        Self { max_bytes: 25 << 20, max_seconds: 600, max_samples: 600 * 48_000 * 2 }
    }
}

const KNOWN: &str = "WAV, MP3, FLAC and Ogg Vorbis";
const MAX_CHANNELS: usize = 8;
const MAX_RATE: u32 = 384_000;

/// A whole sound.
///
/// # Errors
/// [`Error`] names the limit, or what is wrong with the file.
pub fn decode(bytes: &[u8], limits: &AudioLimits) -> Result<Sound> {
    if bytes.is_empty() {
        return Err(Error::Empty("audio"));
    }
    if bytes.len() > limits.max_bytes {
        let (bytes, limit) = (bytes.len(), limits.max_bytes);
        return Err(Error::TooManyBytes { what: "audio", bytes, limit });
    }
    match bytes {
        [b'R', b'I', b'F', b'F', ..] => wav(bytes, limits),
        [b'f', b'L', b'a', b'C', ..] => packets::decode(bytes, Codec::Flac, limits),
        [b'O', b'g', b'g', b'S', ..] => vorbis::decode(bytes, limits),
        // Tags, or the eleven bits that begin a frame.
        [b'I', b'D', b'3', ..] => packets::decode(bytes, Codec::Mp3, limits),
        [0xFF, second, ..] if second >> 5 == 7 => packets::decode(bytes, Codec::Mp3, limits),
        _ => Err(Error::UnknownFormat { known: KNOWN }),
    }
}

/// # Errors
/// [`Error::Invalid`] for numbers that no sound has.
pub(super) fn check_form(rate: u32, channels: usize) -> Result<()> {
    match (1..=MAX_CHANNELS).contains(&channels) && (1..=MAX_RATE).contains(&rate) {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "the audio has {channels} channels at {rate} Hz; at most {MAX_CHANNELS} and {MAX_RATE} are \
             allowed"
        ))),
    }
}

fn wav(bytes: &[u8], limits: &AudioLimits) -> Result<Sound> {
    let reader = WavReader::new(Cursor::new(bytes))
        .map_err(|error| undecodable("WAV", &error.to_string()))?;
    let spec = reader.spec();
    let (rate, channels) = (spec.sample_rate, usize::from(spec.channels));
    check_form(rate, channels)?;
    if u64::from(reader.duration()) > limits.max_seconds.saturating_mul(u64::from(rate)) {
        return Err(Error::TooLong { limit: limits.max_seconds });
    }
    // A file that is cut off is heard as far as it goes.
    let samples: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().map_while(|s| s.ok()).collect(),
        SampleFormat::Int => {
            let full_scale = (1u64 << spec.bits_per_sample.clamp(1, 32) >> 1) as f32;
            let samples = reader.into_samples::<i32>().map_while(|s| s.ok());
            samples.map(|sample| sample as f32 / full_scale).collect()
        }
    };
    let whole = samples.len() / channels * channels;
    if whole == 0 {
        return Err(Error::Empty("audio"));
    }
    let samples = samples.into_iter().take(whole).collect();
    Ok(Sound { samples, rate, channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A WAV file of 16-bit samples.
    fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
        let data = samples.len() as u32 * 2;
        let mut file = b"RIFF".to_vec();
        file.extend((36 + data).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16u32.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend((rate * u32::from(channels) * 2).to_le_bytes());
        file.extend((channels * 2).to_le_bytes());
        file.extend(16u16.to_le_bytes());
        file.extend(b"data");
        file.extend(data.to_le_bytes());
        file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        file
    }

    #[test]
    fn a_wav_file_arrives_as_it_is() {
        let samples: Vec<i16> = (0..80).map(|i| i * 400 - 16_000).collect();
        let sound = decode(&wav(8000, 1, &samples), &AudioLimits::default()).unwrap();
        assert_eq!((sound.frames(), sound.rate, sound.channels), (80, 8000, 1));
        for (found, wanted) in sound.samples.iter().zip(&samples) {
            assert_eq!(*found, f32::from(*wanted) / 32_768.);
        }
    }

    #[test]
    fn mono_is_the_mean_of_the_channels() {
        let samples = [1000, 3000, -2000, 0];
        let sound = decode(&wav(16_000, 2, &samples), &AudioLimits::default()).unwrap();
        assert_eq!((sound.frames(), sound.channels), (2, 2));
        assert_eq!(sound.to_mono(), [2000. / 32_768., -1000. / 32_768.]);
    }

    #[test]
    fn limits_are_named() {
        let file = wav(8000, 1, &[0; 16_001]);
        let limits = AudioLimits { max_seconds: 2, ..AudioLimits::default() };
        let error = decode(&file, &limits).unwrap_err();
        assert_eq!(error.to_string(), "the audio is longer than 2 seconds, which is the limit");
        let limits = AudioLimits { max_bytes: 100, ..AudioLimits::default() };
        assert!(matches!(decode(&file, &limits), Err(Error::TooManyBytes { limit: 100, .. })));
        let limits = AudioLimits::default();
        assert!(matches!(decode(&[], &limits), Err(Error::Empty(_))));
        for odd in [b"hello, world".as_slice(), &[0xFF; 300], &file[..20]] {
            assert!(decode(odd, &limits).is_err(), "{odd:?}");
        }
        // A header that promises more than there is.
        let cut = decode(&file[..2044], &limits).unwrap();
        assert_eq!(cut.frames(), 1000);
    }
}
