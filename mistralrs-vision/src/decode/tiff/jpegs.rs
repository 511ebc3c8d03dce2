//! TIFF whose strips or tiles are JPEG files, without the tables that they share. Knows no other TIFF.
//! Source: Adobe's technical note 2 on TIFF (compression 7).

use super::{NO_KIND, Reader, damaged, pieces};
use crate::decode::Limits;
use crate::error::{Error, Result};
use crate::jpeg::{self, Colors};
use crate::picture::Picture;
use tiff::decoder::ChunkType;
use tiff::tags::{PhotometricInterpretation, Tag};

/// # Errors
/// [`Error`] names the limit, or what is wrong with the file.
pub(super) fn decode(
    bytes: &[u8],
    decoder: &mut Reader<'_>,
    meaning: Option<PhotometricInterpretation>,
    limits: &Limits,
) -> Result<Picture> {
    let colors = match meaning {
        Some(PhotometricInterpretation::YCbCr) => Colors::Differences,
        Some(
            PhotometricInterpretation::RGB
            | PhotometricInterpretation::BlackIsZero
            | PhotometricInterpretation::CMYK,
        ) => Colors::Plain,
        _ => return Err(damaged(NO_KIND)),
    };
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    let (piece_width, mut piece_height) = decoder.chunk_dimensions();
    if decoder.get_chunk_type() == ChunkType::Strip {
        piece_height = piece_height.min(height);
    }
    let most = u64::from(piece_width) * u64::from(piece_height);
    let across = width.div_ceil(piece_width.max(1)) as usize;
    let stride = width as usize * Picture::CHANNELS;
    let mut rgb = vec![0; stride * height as usize];
    for (i, file) in files(bytes, decoder, limits)?.iter().enumerate() {
        let piece = jpeg::decode(file, most, Some(colors)).map_err(|error| match error {
            Error::TooManyPixels { .. } => damaged("a piece is larger than its place"),
            error => error,
        })?;
        let piece = piece.ok_or_else(|| damaged(NO_KIND))?;
        let bytes = piece_width as usize * Picture::CHANNELS;
        let (left, top) = ((i % across) * bytes, (i / across) * piece_height as usize);
        let rows = rgb.chunks_exact_mut(stride).skip(top).take(piece_height as usize);
        for (y, row) in rows.enumerate() {
            let place = row.iter_mut().skip(left).take(bytes);
            let line = piece.row(y);
            if line.len() < place.len() {
                return Err(damaged("a piece is smaller than its place"));
            }
            place.zip(line).for_each(|(to, from)| *to = *from);
        }
    }
    Picture::new(width, height, rgb)
}

/// Each piece as a file of its own, with the tables before it.
fn files(bytes: &[u8], decoder: &mut Reader<'_>, limits: &Limits) -> Result<Vec<Vec<u8>>> {
    let tables = decoder.find_tag(Tag::JPEGTables).map_err(damaged)?;
    let tables = tables.map(|tables| tables.into_u8_vec()).transpose().map_err(damaged)?;
    let tables = tables.unwrap_or_default();
    // Two bytes mark their end.
    let tables = tables.get(..tables.len().saturating_sub(2)).unwrap_or_default();
    let pieces = pieces(bytes, decoder, tables.len(), limits)?;
    Ok(pieces.into_iter().map(|piece| [tables, piece].concat()).collect())
}
