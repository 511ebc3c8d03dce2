//! Sounds in packets (MP3, FLAC) → samples, through the crate `symphonia`: its readers and decoders of these
//! two formats and nothing of its search for formats and tags. What stands around the sound (titles, covers) is
//! cut away before: its lengths are promises that the library allocates by. Ogg Vorbis is `vorbis`', with a
//! reader of our own.

use super::Sound;
use super::decode::AudioLimits;
use super::gathered::{Gathered, guarded, undecodable};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};
use symphonia::core::codecs::{CodecParameters, Decoder, DecoderOptions};
use symphonia::core::errors::Error as SoundError;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource};
use symphonia::default::codecs::{FlacDecoder, MpaDecoder};
use symphonia::default::formats::{FlacReader, MpaReader};

/// What is in the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Flac,
    Mp3,
}

/// The whole sound.
///
/// # Errors
/// [`Error`] names the limit, or what is wrong with the file.
pub(super) fn decode(bytes: &[u8], codec: Codec, limits: &AudioLimits) -> Result<Sound> {
    let packets = Packets { codec, limits };
    guarded(packets.format(), || packets.decode(bytes))
}

struct Packets<'a> {
    codec: Codec,
    limits: &'a AudioLimits,
}

impl Packets<'_> {
    fn decode(&self, bytes: &[u8]) -> Result<Sound> {
        let bare = match self.codec {
            Codec::Flac => flac_alone(bytes),
            Codec::Mp3 => Some(Cow::Borrowed(mp3_alone(bytes))),
        };
        let bare = bare.ok_or_else(|| self.undecodable("its header ends too early"))?;
        // One that cannot seek: the length of an MP3 file is then not guessed from its first frames.
        let source = Box::new(ReadOnlySource::new(Cursor::new(bare.into_owned())));
        let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
        self.open(stream)
            .map_err(|error| self.undecodable(&error.to_string()))
            .and_then(|(mut reader, mut decoder)| self.read(&mut *reader, &mut *decoder))
    }

    fn open(
        &self,
        stream: MediaSourceStream,
    ) -> symphonia::core::errors::Result<(Box<dyn FormatReader>, Box<dyn Decoder>)> {
        // The silence that an encoder put before and after the sound is not part of it.
        let form = FormatOptions { enable_gapless: true, ..FormatOptions::default() };
        let options = DecoderOptions::default();
        let reader: Box<dyn FormatReader> = match self.codec {
            Codec::Flac => Box::new(FlacReader::try_new(stream, &form)?),
            Codec::Mp3 => Box::new(MpaReader::try_new(stream, &form)?),
        };
        let track = reader.default_track().map(|track| track.codec_params.clone());
        let parameters: CodecParameters = track.unwrap_or_default();
        let decoder: Box<dyn Decoder> = match self.codec {
            Codec::Flac => Box::new(FlacDecoder::try_new(&parameters, &options)?),
            Codec::Mp3 => Box::new(MpaDecoder::try_new(&parameters, &options)?),
        };
        Ok((reader, decoder))
    }

    fn read(&self, reader: &mut dyn FormatReader, decoder: &mut dyn Decoder) -> Result<Sound> {
        let mut gathered = Gathered::new(self.format(), self.limits);
        loop {
            let packet = match reader.next_packet() {
                Ok(packet) => packet,
                // The end, or cut off: what was there is heard.
                Err(SoundError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(gathered.sound);
                }
                Err(error) => return Err(self.undecodable(&error.to_string())),
            };
            match decoder.decode(&packet) {
                Ok(decoded) => _ = gathered.add(decoded)?,
                // Damaged: a click, not an end.
                Err(SoundError::DecodeError(_)) => continue,
                Err(error) => return Err(self.undecodable(&error.to_string())),
            }
        }
    }

    fn undecodable(&self, reason: &str) -> Error {
        undecodable(self.format(), reason)
    }

    fn format(&self) -> &'static str {
        match self.codec {
            Codec::Flac => "FLAC",
            Codec::Mp3 => "MP3",
        }
    }
}

/// The frames behind the tags: `ID3`, two numbers of the version, flags, and four times seven bits of length.
fn mp3_alone(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b'I', b'D', b'3', _, _, flags, a, b, c, d, tail @ ..] = rest {
        let len = [a, b, c, d].iter().fold(0, |len, &&byte| len << 7 | usize::from(byte & 0x7F));
        let footer = if flags & 0x10 == 0 { 0 } else { 10 };
        rest = tail.get(len + footer..).unwrap_or_default();
    }
    rest
}

/// A file whose only block of metadata is the first, which says the form of the stream. A block: one bit for the
/// last, seven for its kind, three bytes of length. `None` if the blocks go beyond the file.
fn flac_alone(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    const MARK: usize = 4;
    const HEAD: usize = 4;
    let (mut at, mut form) = (MARK, None);
    loop {
        let &[kind, a, b, c] = bytes.get(at..at + HEAD)? else { return None };
        let end = at + HEAD + u32::from_be_bytes([0, a, b, c]) as usize;
        let block = bytes.get(at..end)?;
        if kind & 0x7F == 0 && form.is_none() {
            form = Some(block);
        }
        at = end;
        if kind & 0x80 != 0 {
            break;
        }
    }
    let (mark, form, frames) = (bytes.get(..MARK)?, form?, bytes.get(at..)?);
    let mut alone = [mark, form, frames].concat();
    *alone.get_mut(MARK)? |= 0x80;
    Some(Cow::Owned(alone))
}
