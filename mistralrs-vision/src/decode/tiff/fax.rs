//! TIFF with the one-dimensional fax codes of group 3 → black and white. The crate `fax` reads the codes. Knows no
//! other TIFF. Source: TIFF 6.0, section 11.

use super::{NO_KIND, Reader, damaged, pieces};
use crate::decode::Limits;
use crate::error::Result;
use crate::picture::Picture;
use fax::Color;
use fax::decoder::{Group3Decoder, pels};
use std::convert::Infallible;
use tiff::ColorType;
use tiff::decoder::ChunkType;
use tiff::tags::{PhotometricInterpretation, Tag};

/// # Errors
/// They name the limit, or what is wrong with the file.
pub(super) fn decode(
    bytes: &[u8],
    decoder: &mut Reader<'_>,
    meaning: Option<PhotometricInterpretation>,
    limits: &Limits,
) -> Result<Picture> {
    const OPTIONS: u16 = 292;
    const TWO_DIMENSIONS: u64 = 1;
    const LOWEST_FIRST: u64 = 2;
    let mut number = |tag| decoder.find_tag_unsigned::<u64>(tag).map_err(damaged);
    let options = number(Tag::from_u16_exhaustive(OPTIONS))?.unwrap_or_default();
    let turned = number(Tag::FillOrder)? == Some(LOWEST_FIRST);
    let black = match meaning {
        Some(PhotometricInterpretation::WhiteIsZero) => 0,
        Some(PhotometricInterpretation::BlackIsZero) => u8::MAX,
        _ => return Err(damaged(NO_KIND)),
    };
    let is_plain = decoder.colortype().map_err(damaged)? == ColorType::Gray(1)
        && decoder.get_chunk_type() == ChunkType::Strip;
    if options & TWO_DIMENSIONS != 0 || !is_plain {
        return Err(damaged(NO_KIND));
    }
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    let across =
        u16::try_from(width).map_err(|_| damaged("its rows are too long for fax codes"))?;
    let rows_of_piece = decoder.chunk_dimensions().1.max(1);
    let mut rgb = Vec::with_capacity(width as usize * height as usize * Picture::CHANNELS);
    let mut left = height;
    for piece in pieces(bytes, decoder, 0, limits)? {
        let byte = |byte: &u8| -> std::result::Result<u8, Infallible> {
            Ok(if turned { byte.reverse_bits() } else { *byte })
        };
        let mut lines = Group3Decoder::new(piece.iter().map(byte))
            .map_err(|_| damaged("it has no fax codes"))?;
        for _ in 0..rows_of_piece.min(left) {
            // An error is that no mark follows: so it is where the piece ends.
            let is_last = lines.advance().is_err();
            if is_last && lines.transitions().is_empty() {
                return Err(damaged("it is cut off"));
            }
            let value = |color: Color| if color == Color::Black { black } else { !black };
            let line = pels(lines.transitions(), across);
            rgb.extend(line.flat_map(|color| [value(color); Picture::CHANNELS]));
            left -= 1;
        }
    }
    match left {
        0 => Picture::new(width, height, rgb),
        _ => Err(damaged("it is cut off")),
    }
}
