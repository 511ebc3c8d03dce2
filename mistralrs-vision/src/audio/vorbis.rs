//! Ogg Vorbis → samples, through the crate `symphonia`'s decoder of packets. The decoder allocates what a header of
//! few bytes asks for, up to terabytes: the headers are read and held to bounds here before it sees them. Source:
//! the Vorbis I specification. Floors of kind 0, which encoders gave up before the format was finished, are refused:
//! a packet of few bytes can keep a processor busy with them.

use super::Sound;
use super::decode::{AudioLimits, check_form};
use super::gathered::{Gathered, guarded, undecodable};
use super::ogg::{Packet, Packets};
use crate::error::Result;
use symphonia::core::codecs::{CODEC_TYPE_VORBIS, CodecParameters, Decoder, DecoderOptions};
use symphonia::default::codecs::VorbisDecoder;

const FORMAT: &str = "Ogg Vorbis";

/// Entries of all codebooks together. Those of libvorbis have 3 216 to 19 413; a decoder needs up to 600 bytes
/// for each while it builds its tables.
const MAX_ENTRIES: u64 = 1 << 17;
/// Numbers of all vectors in all codebooks together. Those of libvorbis have 7 000 to 86 000.
const MAX_NUMBERS: u64 = 1 << 20;

/// The whole sound.
///
/// # Errors
/// They name the limit, or what is wrong with the file.
pub(super) fn decode(bytes: &[u8], limits: &AudioLimits) -> Result<Sound> {
    guarded(FORMAT, || read(bytes, limits))
}

fn read(bytes: &[u8], limits: &AudioLimits) -> Result<Sound> {
    let mut packets = Packets::new(bytes);
    let (mut decoder, form) = open(&mut packets)?;
    let mut gathered = Gathered::new(FORMAT, limits);
    // How many frames the stream has so far, once a page has said so.
    let mut position = None;
    while let Some(packet) = packets.next()? {
        let whole = symphonia::core::formats::Packet::new_from_slice(0, 0, 0, &packet.data);
        match decoder.decode(&whole) {
            Ok(decoded) => {
                let frames = gathered.add(decoded)? as u64;
                position = position.map(|before: u64| before.saturating_add(frames));
            }
            // Damaged: a click, not an end.
            Err(_) => gathered.lose(form.longest * form.channels)?,
        }
        position = trim(&mut gathered.sound, position, &packet);
    }
    Ok(gathered.sound)
}

/// Cuts off what encoders add to fill whole packets, as the pages say: at the start up to the first page's end,
/// at the end of the last page. The position at the packet's end is returned.
fn trim(sound: &mut Sound, position: Option<u64>, packet: &Packet<'_>) -> Option<u64> {
    let Some(wanted) = packet.position else { return position };
    let frames = sound.frames();
    let found = position.unwrap_or(frames as u64);
    let extra = usize::try_from(found.saturating_sub(wanted)).unwrap_or(frames).min(frames);
    if packet.last {
        sound.samples.truncate((frames - extra) * sound.channels);
    } else if position.is_none() {
        sound.samples.drain(..extra * sound.channels);
    }
    Some(wanted)
}

/// What the headers say.
struct Form {
    channels: usize,
    /// Frames of the longest packet.
    longest: usize,
}

fn open(packets: &mut Packets<'_>) -> Result<(VorbisDecoder, Form)> {
    let mut header = |kind: u8, what: &str| {
        let packet = packets.next()?.map(|packet| packet.data);
        let found = packet.filter(|data| data.strip_prefix(&[kind]).is_some_and(is_vorbis));
        found.ok_or_else(|| undecodable(FORMAT, &format!("it has no {what}")))
    };
    let (id, _, setup) =
        (header(1, "first header")?, header(3, "header of titles")?, header(5, "codebooks")?);
    // Mark, version, channels, rate, three bit rates, block sizes, one bit.
    let Some(&[_, _, _, _, _, _, _, _, _, _, _, channels, a, b, c, d, .., sizes, _]) =
        id.first_chunk::<30>()
    else {
        return Err(undecodable(FORMAT, "its first header ends too early"));
    };
    let channels = usize::from(channels);
    check_form(u32::from_le_bytes([a, b, c, d]), channels)?;
    check_setup(&setup).map_err(|reason| undecodable(FORMAT, reason))?;
    let headers = [id.get(..30).unwrap_or_default(), &setup].concat();
    let parameters = CodecParameters::default()
        .for_codec(CODEC_TYPE_VORBIS)
        .with_extra_data(headers.into_boxed_slice())
        .clone();
    let decoder = VorbisDecoder::try_new(&parameters, &DecoderOptions::default());
    let decoder = decoder.map_err(|error| undecodable(FORMAT, &error.to_string()))?;
    Ok((decoder, Form { channels, longest: 1 << (sizes >> 4) >> 1 }))
}

fn is_vorbis(rest: &[u8]) -> bool {
    rest.starts_with(b"vorbis")
}

type Checked<T> = std::result::Result<T, &'static str>;

/// Whether the third header stays within bounds, up to its floors; what follows them can ask for little only.
fn check_setup(setup: &[u8]) -> Checked<()> {
    let mut bits = Bits { bytes: setup, at: 7 * 8 };
    let (mut entries, mut numbers) = (0, 0);
    for _ in 0..=bits.read(8)? {
        let (of_book, dimensions) = check_codebook(&mut bits, MAX_ENTRIES - entries)?;
        entries += of_book;
        numbers += of_book * dimensions;
        if numbers > MAX_NUMBERS {
            return Err("its codebooks have too many numbers");
        }
    }
    for _ in 0..=bits.read(6)? {
        bits.skip(16)?;
    }
    for _ in 0..=bits.read(6)? {
        match bits.read(16)? {
            0 => return Err("it has a floor of kind 0, which is not read"),
            1 => skip_floor(&mut bits)?,
            _ => return Err("it has a floor of no known kind"),
        }
    }
    Ok(())
}

/// The number of entries, and how many numbers each stands for: none in a book without vectors.
fn check_codebook(bits: &mut Bits<'_>, most: u64) -> Checked<(u64, u64)> {
    if bits.read(24)? != 0x56_4342 {
        return Err("a codebook does not begin with its mark");
    }
    let (dimensions, entries) = (bits.read(16)?, bits.read(24)?);
    if dimensions == 0 {
        return Err("a codebook has no dimensions");
    }
    if entries > most {
        return Err("its codebooks have too many entries");
    }
    if bits.read(1)? == 1 {
        skip_ordered_lengths(bits, entries)?;
    } else {
        let is_sparse = bits.read(1)? == 1;
        for _ in 0..entries {
            if !is_sparse || bits.read(1)? == 1 {
                bits.skip(5)?;
            }
        }
    }
    let values = match bits.read(4)? {
        0 => return Ok((entries, 0)),
        // Two to this power is more than the decoder counts with.
        1 if dimensions > 31 => return Err("a codebook has too many dimensions"),
        1 => (0..).take_while(|n: &u64| power(n + 1, dimensions) <= entries).count() as u64,
        2 => entries * dimensions,
        _ => return Err("a codebook has vectors of no known kind"),
    };
    bits.skip(32 + 32)?;
    let size = bits.read(4)? + 1;
    bits.skip(1 + values * size)?;
    Ok((entries, dimensions))
}

/// How many entries have codes of one bit, of two, and so on.
fn skip_ordered_lengths(bits: &mut Bits<'_>, entries: u64) -> Checked<()> {
    const LONGEST: u64 = 32;
    let (mut seen, mut len) = (0, bits.read(5)? + 1);
    loop {
        seen += bits.read(64 - (entries - seen).leading_zeros())?;
        len += 1;
        match seen.cmp(&entries) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less if len <= LONGEST => {}
            _ => return Err("the codes of a codebook cannot be"),
        }
    }
}

fn power(base: u64, exponent: u64) -> u64 {
    let exponent = u32::try_from(exponent).unwrap_or(u32::MAX);
    base.saturating_pow(exponent)
}

fn skip_floor(bits: &mut Bits<'_>) -> Checked<()> {
    let partitions = bits.read(5)?;
    let classes: Vec<usize> =
        (0..partitions).map(|_| Ok(bits.read(4)? as usize)).collect::<Checked<_>>()?;
    let mut dimensions = [0; 16];
    let used = classes.iter().max().map_or(0, |last| last + 1);
    for dimensions in dimensions.iter_mut().take(used) {
        *dimensions = bits.read(3)? + 1;
        let subclass_bits = bits.read(2)?;
        let books = (1 << subclass_bits) + u64::from(subclass_bits > 0);
        bits.skip(books * 8)?;
    }
    bits.skip(2)?;
    let size = bits.read(4)?;
    let points = classes.iter().filter_map(|class| dimensions.get(*class)).sum::<u64>();
    bits.skip(points * size)
}

/// Reads bits, the lowest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Bits<'_> {
    /// At most 24.
    fn read(&mut self, count: u32) -> Checked<u64> {
        let byte = usize::try_from(self.at / 8).unwrap_or(usize::MAX);
        let shift = self.at % 8;
        self.skip(u64::from(count))?;
        let bytes = self.bytes.iter().skip(byte).take(4).rev();
        let word = bytes.fold(0, |word, byte| word << 8 | u64::from(*byte));
        Ok(word >> shift & ((1 << count) - 1))
    }

    fn skip(&mut self, count: u64) -> Checked<()> {
        self.at = self.at.saturating_add(count);
        match self.at <= self.bytes.len() as u64 * 8 {
            true => Ok(()),
            false => Err("its codebooks end too early"),
        }
    }
}
