//! BMP with 16 bits for a pixel in Pillow's arithmetic. Knows only the fields of the header that say so.

use crate::error::Result;
use crate::picture::Picture;
use image::DynamicImage;

/// How many bits each color has in a BMP with 16 for a pixel; None in others.
pub(super) fn bits_of_colors(bytes: &[u8]) -> Option<[u32; 3]> {
    let word = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let mask = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    const BITS_PER_PIXEL: usize = 28;
    const COMPRESSION: usize = 30;
    const MASKS: usize = 54;
    const WITH_MASKS: u16 = 3;
    match (word(BITS_PER_PIXEL)?, word(COMPRESSION)?) {
        (16, WITH_MASKS) => {
            let [red, green, blue] = [0, 4, 8].map(|part| mask(MASKS + part));
            Some([red?, green?, blue?].map(|mask| mask.count_ones().clamp(1, 8)))
        }
        (16, _) => Some([5; 3]),
        _ => None,
    }
}

/// Colors of few bits scaled to 8 with what is left over cut off, as Pillow does; `image` has rounded.
///
/// # Errors
/// If there is no pixel.
pub(super) fn scaled_down(image: &DynamicImage, bits: [u32; 3]) -> Result<Picture> {
    let (width, height) = (image.width(), image.height());
    let mut rgb = image.to_rgb8().into_raw();
    for pixel in rgb.as_chunks_mut::<3>().0 {
        for (value, bits) in pixel.iter_mut().zip(bits) {
            let few = u32::from(*value) >> (8 - bits);
            *value = (few * 255 / ((1 << bits) - 1)) as u8;
        }
    }
    Picture::new(width, height, rgb)
}
