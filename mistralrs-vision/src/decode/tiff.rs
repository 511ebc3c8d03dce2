//! TIFF → RGB as Pillow reads it: gray, palettes, RGB, differences and inks, with and without alpha, and JPEG
//! and fax codes within.
//! The crate `tiff` undoes the compression; it reads no palettes and does not decode JPEG as libjpeg
//! does, so both are done here. Source: TIFF 6.0; Pillow's table of what it opens.

mod fax;
mod jpegs;
mod ycbcr;

use super::{Limits, check_size, decoder_limits, over_white, undecodable};
use crate::error::{Error, Result};
use crate::jpeg;
use crate::picture::Picture;
use image::ImageFormat;
use image::metadata::Orientation;
use std::io::Cursor;
use tiff::ColorType;
use tiff::decoder::{ChunkType, Decoder, DecodingResult};
use tiff::tags::{ByteOrder, CompressionMethod, ExtraSamples, PhotometricInterpretation, Tag};
use ycbcr::Differences;

type Reader<'a> = Decoder<Cursor<&'a [u8]>>;

/// The first picture of the file, and how it is to be turned.
///
/// # Errors
/// [`Error`] names the limit, or what is wrong with the file.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<(Picture, Orientation)> {
    let mut decoder = open(bytes, limits)?;
    let mut number = |tag| decoder.find_tag_unsigned::<u16>(tag).map_err(damaged);
    let turned = number(Tag::Orientation)?.and_then(|turned| u8::try_from(turned).ok());
    let orientation = turned.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms);
    let compression = number(Tag::Compression)?.and_then(CompressionMethod::from_u16);
    let meaning =
        number(Tag::PhotometricInterpretation)?.and_then(PhotometricInterpretation::from_u16);
    let picture = match (compression, meaning) {
        (Some(CompressionMethod::ModernJPEG), meaning) => {
            jpegs::decode(bytes, &mut decoder, meaning, limits)?
        }
        (Some(CompressionMethod::Fax3), meaning) => {
            fax::decode(bytes, &mut decoder, meaning, limits)?
        }
        (_, Some(PhotometricInterpretation::RGBPalette)) => {
            let palette = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(damaged)?;
            let grays = called_gray(bytes, &mut decoder).ok_or_else(|| damaged(NO_KIND))?;
            of_samples(&mut open(&grays, limits)?, &Meaning::Palette(palette), limits)?
        }
        (_, Some(PhotometricInterpretation::YCbCr)) => {
            let differences = Differences::read(&mut decoder, compression)?;
            of_samples(&mut decoder, &Meaning::Differences(Box::new(differences)), limits)?
        }
        _ => of_samples(&mut decoder, &Meaning::Plain, limits)?,
    };
    Ok((picture, orientation))
}

const NO_KIND: &str = "its pixels are of a kind that is not read; read are gray of up to 32 bits, \
    palettes, RGB and CMYK of 8 or 16 bits, YCbCr of 8 with as many of each, JPEG within it in gray, RGB, YCbCr or \
    CMYK, and fax codes in one dimension or of group 4";

fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Reader<'a>> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(damaged)?;
    check_size(padded(&mut decoder)?, limits)?;
    let most = decoder_limits(limits).max_alloc.and_then(|bytes| usize::try_from(bytes).ok());
    let mut own = tiff::decoder::Limits::default();
    own.decoding_buffer_size = most.unwrap_or(own.decoding_buffer_size);
    own.intermediate_buffer_size = most.unwrap_or(own.intermediate_buffer_size);
    Ok(decoder.with_limits(own))
}

/// The size with all of the tiles at its edges.
fn padded(decoder: &mut Reader<'_>) -> Result<(u32, u32)> {
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    if decoder.get_chunk_type() == ChunkType::Strip {
        return Ok((width, height));
    }
    let tile = decoder.chunk_dimensions();
    let width = width.checked_next_multiple_of(tile.0).unwrap_or(u32::MAX);
    Ok((width, height.checked_next_multiple_of(tile.1).unwrap_or(u32::MAX)))
}

fn damaged(reason: impl std::fmt::Display) -> Error {
    undecodable(ImageFormat::Tiff, &reason)
}

/// The file with its palette's numbers called grays, as which `tiff` reads them.
fn called_gray(bytes: &[u8], decoder: &mut Reader<'_>) -> Option<Vec<u8>> {
    let directory = usize::try_from(decoder.ifd_pointer()?.0).ok()?;
    let number = |at: usize| -> Option<u16> {
        let pair = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(match decoder.byte_order() {
            ByteOrder::LittleEndian => u16::from_le_bytes(pair),
            ByteOrder::BigEndian => u16::from_be_bytes(pair),
        })
    };
    const SHORT: u16 = 3;
    let (first, length, value) = match number(2)? {
        // BigTIFF
        43 => (directory.checked_add(8)?, 20, 12),
        _ => (directory.checked_add(2)?, 12, 8),
    };
    let tag = Some(Tag::PhotometricInterpretation.to_u16());
    let mut entries = (first..bytes.len()).step_by(length);
    let entry = entries.find(|at| number(*at) == tag && number(*at + 2) == Some(SHORT))?;
    let gray = PhotometricInterpretation::BlackIsZero.to_u16();
    let gray = match decoder.byte_order() {
        ByteOrder::LittleEndian => gray.to_le_bytes(),
        ByteOrder::BigEndian => gray.to_be_bytes(),
    };
    let mut renamed = bytes.to_vec();
    renamed.get_mut(entry + value..entry + value + 2)?.copy_from_slice(&gray);
    Some(renamed)
}

/// What a pixel's last sample says about the others.
#[derive(Clone, Copy, PartialEq)]
enum Alpha {
    None,
    Straight,
    /// Colors are multiplied by it.
    Multiplied,
}

/// Where the strips or tiles lie in the file.
///
/// # Errors
/// [`Error::TooManyBytes`] if they are longer than a file may be, each with so many bytes `more`: they may lie over
/// each other.
fn pieces<'a>(
    bytes: &'a [u8],
    decoder: &mut Reader<'_>,
    more: usize,
    limits: &Limits,
) -> Result<Vec<&'a [u8]>> {
    let (starts, lengths) = match decoder.get_chunk_type() {
        ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
        ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
    };
    let starts = decoder.get_tag_u64_vec(starts).map_err(damaged)?;
    let lengths = decoder.get_tag_u64_vec(lengths).map_err(damaged)?;
    let with_more = |length: &u64| length.saturating_add(more as u64);
    let total = lengths.iter().map(with_more).fold(0, u64::saturating_add);
    if total > limits.max_bytes as u64 {
        let (bytes, limit) = (usize::try_from(total).unwrap_or(usize::MAX), limits.max_bytes);
        return Err(Error::TooManyBytes { what: "image", bytes, limit });
    }
    let piece = |(start, length): (u64, u64)| {
        let (start, length) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
        bytes.get(start..start.checked_add(length)?)
    };
    let pieces = starts.into_iter().zip(lengths);
    pieces.map(|place| piece(place).ok_or_else(|| damaged("it is cut off"))).collect()
}

/// What samples stand for, where they are not gray, colors or inks.
enum Meaning {
    Plain,
    /// All reds, then all greens and all blues.
    Palette(Vec<u16>),
    Differences(Box<Differences>),
}

fn of_samples(decoder: &mut Reader<'_>, meaning: &Meaning, limits: &Limits) -> Result<Picture> {
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    let kind = decoder.colortype().map_err(damaged)?;
    let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).map_err(damaged)?;
    let extra = extra.and_then(|extra| extra.first().copied()).and_then(ExtraSamples::from_u16);
    let alpha = match (kind, extra) {
        (ColorType::RGBA(_), Some(ExtraSamples::AssociatedAlpha)) => Alpha::Multiplied,
        (ColorType::RGBA(_), _) => Alpha::Straight,
        (ColorType::Gray(_) | ColorType::RGB(_) | ColorType::CMYK(_), _) => Alpha::None,
        (ColorType::YCbCr(8), None) => Alpha::None,
        (ColorType::Multiband { bit_depth: 8, num_samples: 2 }, Some(extra)) => match extra {
            ExtraSamples::UnassociatedAlpha => Alpha::Straight,
            ExtraSamples::Unspecified => Alpha::None,
            _ => return Err(damaged(NO_KIND)),
        },
        _ => return Err(damaged(NO_KIND)),
    };
    let mut samples = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut samples).map_err(damaged)?;
    if samples.as_buffer(0).byte_len() < layout.complete_len {
        return Err(Error::TooManyPixels { width, height, limit: limits.max_pixels });
    }
    let samples = bytes(samples, kind, (width as usize, matches!(meaning, Meaning::Palette(_))))?;
    let samples = match layout.planes {
        0 | 1 => samples,
        planes => interleaved(&samples, planes),
    };
    let count = usize::from(kind.num_samples());
    let pixels = samples.chunks_exact(count);
    let rgb = pixels.flat_map(|pixel| laid_on_white(color(pixel, kind, meaning), pixel, alpha));
    Picture::new(width, height, rgb.collect())
}

/// `[planes, pixels]` → `[pixels, planes]`.
fn interleaved(samples: &[u8], planes: usize) -> Vec<u8> {
    let pixels = samples.len() / planes;
    let sample = |i: usize| samples.get((i % planes) * pixels + i / planes).copied();
    (0..pixels * planes).filter_map(sample).collect()
}

/// Samples of 8 bits: of 16 the high ones; gray of more than 8 is clipped, which is Pillow's way. The
/// `row` has a width, and keeps small numbers as they are if they are those of a palette.
fn bytes(samples: DecodingResult, kind: ColorType, row: (usize, bool)) -> Result<Vec<u8>> {
    let is_gray = matches!(kind, ColorType::Gray(_));
    let clip = |value: i32| value.clamp(0, 255) as u8;
    Ok(match (samples, kind.bit_depth()) {
        (DecodingResult::U8(bytes), 8) => bytes,
        (DecodingResult::U8(bytes), bits @ (1 | 2 | 4)) if is_gray => unpacked(&bytes, bits, row),
        (DecodingResult::U16(words), 16) if is_gray => {
            words.into_iter().map(|word| clip(word.into())).collect()
        }
        (DecodingResult::U16(words), 16) => {
            words.into_iter().map(|word| word.to_be_bytes()[0]).collect()
        }
        (DecodingResult::I16(words), 16) if is_gray => {
            words.into_iter().map(|word| clip(word.into())).collect()
        }
        (DecodingResult::U32(words), 32) if is_gray => {
            words.into_iter().map(|word| clip(word.cast_signed())).collect()
        }
        (DecodingResult::I32(words), 32) if is_gray => words.into_iter().map(clip).collect(),
        (DecodingResult::F32(values), 32) if is_gray => {
            values.into_iter().map(|value| value as u8).collect()
        }
        _ => return Err(damaged(NO_KIND)),
    })
}

/// Several samples lie in a byte, the first one highest; each row begins with a byte.
fn unpacked(bytes: &[u8], bits: u8, (width, as_numbers): (usize, bool)) -> Vec<u8> {
    let bits = usize::from(bits);
    let most = (1u8 << bits) - 1;
    let unit = if as_numbers { 1 } else { 255 / most };
    let rows = bytes.chunks(width.div_ceil(8 / bits).max(1));
    let samples = |byte: &u8| {
        let byte = *byte;
        (0..8 / bits).rev().map(move |i| ((byte >> (i * bits)) & most) * unit)
    };
    rows.flat_map(|row| row.iter().flat_map(samples).take(width)).collect()
}

fn color(pixel: &[u8], kind: ColorType, meaning: &Meaning) -> [u8; 3] {
    match (pixel, meaning, kind) {
        ([y, b, r, ..], Meaning::Differences(differences), _) => differences.color([*y, *b, *r]),
        ([number, ..], Meaning::Palette(palette), _) => [0, 1, 2].map(|part| {
            let at = part * (palette.len() / 3) + usize::from(*number);
            palette.get(at).map_or(0, |value| value.to_be_bytes()[0])
        }),
        ([r, g, b, ..], _, ColorType::RGB(_) | ColorType::RGBA(_)) => [*r, *g, *b],
        ([c, m, y, k, ..], _, ColorType::CMYK(_)) => jpeg::under([*c, *m, *y], 255 - k),
        ([gray, ..], ..) => [*gray; 3],
        ([], ..) => [0; 3],
    }
}

fn laid_on_white(color: [u8; 3], pixel: &[u8], alpha: Alpha) -> [u8; 3] {
    let Some(last) = pixel.last().copied().filter(|_| alpha != Alpha::None) else { return color };
    color.map(|value| match alpha {
        Alpha::Multiplied if last > 0 => {
            let value = (u32::from(value) * 255 / u32::from(last)).min(255);
            over_white(value as u8, last)
        }
        _ => over_white(value, last),
    })
}
