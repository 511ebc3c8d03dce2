//! What Pillow makes of a color that a PNG calls transparent, which `image` turns into alpha. Knows
//! nothing else of the format. Source: the PNG specification's chunk `tRNS`; Pillow.

use super::{Limits, decoder_limits, to_rgb, undecodable};
use crate::error::Result;
use crate::picture::Picture;
use image::{DynamicImage, ImageFormat};
use std::io::Cursor;

/// The color that a PNG without alpha calls transparent. Pillow compares its low byte with what pixels
/// have become in 8 bits, whatever the file's depth.
///
/// # Errors
/// [`Error::Undecodable`] if the file is damaged.
pub(super) fn transparent_color(bytes: &[u8], limits: &Limits) -> Result<Option<[u8; 3]>> {
    let most = decoder_limits(limits).max_alloc.and_then(|bytes| usize::try_from(bytes).ok());
    let own = png::Limits { bytes: most.unwrap_or(usize::MAX) };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), own);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let reader = decoder.read_info().map_err(|error| undecodable(ImageFormat::Png, &error))?;
    let info = reader.info();
    Ok(match (info.color_type, info.trns.as_deref()) {
        (png::ColorType::Grayscale, Some([.., low])) => Some([*low; 3]),
        (png::ColorType::Rgb, Some([r, g, b] | [_, r, _, g, _, b])) => Some([*r, *g, *b]),
        _ => None,
    })
}

/// The picture without its alpha, and with white in place of a color.
///
/// # Errors
/// If there is no pixel.
pub(super) fn without_color(image: &DynamicImage, color: [u8; 3]) -> Result<Picture> {
    let opaque = match image {
        DynamicImage::ImageLumaA8(_) => image.to_luma8().into(),
        DynamicImage::ImageLumaA16(_) => image.to_luma16().into(),
        DynamicImage::ImageRgba8(_) => image.to_rgb8().into(),
        DynamicImage::ImageRgba16(_) => image.to_rgb16().into(),
        other => other.clone(),
    };
    let picture = to_rgb(&opaque)?;
    let (width, height) = (picture.width(), picture.height());
    let mut rgb = picture.into_rgb();
    let found = rgb.as_chunks_mut().0.iter_mut().filter(|pixel| **pixel == color);
    found.for_each(|pixel| *pixel = [u8::MAX; 3]);
    Picture::new(width, height, rgb)
}
