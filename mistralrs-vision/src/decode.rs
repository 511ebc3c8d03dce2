//! Bytes of an image file → RGB pixels, as Pillow and transformers' `convert_to_rgb` see them: EXIF
//! orientation applied, transparency laid on white, 16 bits cut to 8. Knows file formats (through the
//! crate `image`, `jpeg`, and what lies beneath), no model. Sizes are checked by the header, before
//! pixels are allocated.

mod bmp;
mod gif;
mod png;
mod tiff;
mod webp;

use crate::error::{Error, Result};
use crate::jpeg;
use crate::picture::Picture;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;

/// What a file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file.
    pub max_bytes: usize,
    /// Width times height of one picture.
    pub max_pixels: u64,
    /// Pictures of one video.
    pub max_frames: usize,
    /// Pixels of all pictures of one video together: few bytes can stand for many frames.
    pub max_clip_pixels: u64,
}

impl Default for Limits {
    /// 20 MiB, 50 million pixels, 128 frames of 200 million pixels.
    fn default() -> Self {
        Self {
            max_bytes: 20 << 20,
            max_pixels: 50_000_000,
            max_frames: 128,
            max_clip_pixels: 200_000_000,
        }
    }
}

/// The frames of an animation.
#[derive(Debug, Clone, PartialEq)]
pub struct Animation {
    /// At least one.
    pub frames: Vec<Picture>,
    /// Frames per second, if the file says.
    pub fps: Option<f64>,
}

const KNOWN: &str = "PNG, JPEG, WebP, GIF, BMP and TIFF";

/// One picture; of an animation, the first frame.
///
/// # Errors
/// [`Error`] names the limit, or what is wrong with the file.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture> {
    let format = format(bytes, limits)?;
    guarded(format, || first(bytes, format, limits))
}

/// Runs decoders of other crates. Damaged files lead some into panics (an animated WebP whose frame is of
/// another size than it says, for one); the file comes from outside, so that is an error.
fn guarded<T>(format: ImageFormat, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode));
    decoded.unwrap_or_else(|_| Err(undecodable(format, &"the decoder failed on it")))
}

fn first(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<Picture> {
    match format {
        ImageFormat::Gif => {
            let first = gif::Frames::open(bytes, limits)?.next();
            Ok(first.ok_or(Error::Empty("image"))??.0)
        }
        ImageFormat::Tiff => {
            let (picture, orientation) = tiff::decode(bytes, limits)?;
            let mut image = image_of(picture)?;
            image.apply_orientation(orientation);
            to_rgb(&image)
        }
        format => still(bytes, format, limits),
    }
}

fn still(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<Picture> {
    let undecodable = |error: ImageError| undecodable(format, &error);
    if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
        return Err(self::undecodable(format, &"it is cut off: its end marker is missing"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(decoder_limits(limits));
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    check_size(decoder.dimensions(), limits)?;
    let orientation = decoder.orientation().map_err(undecodable)?;
    let exact = match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, limits.max_pixels, None)?,
        ImageFormat::WebP => {
            let first = webp::Frames::open(bytes, limits)?.and_then(|mut frames| frames.next());
            first.transpose()?.map(|(picture, _)| picture)
        }
        _ => None,
    };
    let mut image = match exact {
        Some(picture) => image_of(picture)?,
        None => DynamicImage::from_decoder(decoder).map_err(undecodable)?,
    };
    image.apply_orientation(orientation);
    match format {
        ImageFormat::Png => match png::transparent_color(bytes, limits)? {
            Some(color) => png::without_color(&image, color),
            None => to_rgb(&image),
        },
        ImageFormat::Bmp => match bmp::bits_of_colors(bytes) {
            Some(bits) => bmp::scaled_down(&image, bits),
            None => to_rgb(&image),
        },
        _ => to_rgb(&image),
    }
}

/// All frames of an animated GIF or WebP; a still picture is one frame.
///
/// # Errors
/// [`Error`] names the limit, or what is wrong with the file.
pub fn decode_frames(bytes: &[u8], limits: &Limits) -> Result<Animation> {
    let format = format(bytes, limits)?;
    guarded(format, || all_frames(bytes, format, limits))
}

fn all_frames(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<Animation> {
    let frames: Box<dyn Iterator<Item = Result<(Picture, f64)>> + '_> = match format {
        ImageFormat::Gif => Box::new(gif::Frames::open(bytes, limits)?),
        ImageFormat::WebP => match webp::Frames::open(bytes, limits)? {
            Some(frames) => Box::new(frames),
            None => return Ok(Animation { frames: vec![decode(bytes, limits)?], fps: None }),
        },
        _ => return Ok(Animation { frames: vec![decode(bytes, limits)?], fps: None }),
    };
    let (mut pictures, mut seconds, mut pixels) = (Vec::new(), 0., 0);
    for frame in frames {
        if pictures.len() == limits.max_frames {
            return Err(Error::TooManyFrames { limit: limits.max_frames });
        }
        let (picture, shown) = frame?;
        pixels += u64::from(picture.width()) * u64::from(picture.height());
        check_clip(pixels, limits)?;
        seconds += shown;
        pictures.push(picture);
    }
    if pictures.is_empty() {
        return Err(Error::Empty("video"));
    }
    let fps = (seconds > 0.).then(|| pictures.len() as f64 / seconds);
    Ok(Animation { frames: pictures, fps })
}

fn format(bytes: &[u8], limits: &Limits) -> Result<ImageFormat> {
    if bytes.is_empty() {
        return Err(Error::Empty("image"));
    }
    if bytes.len() > limits.max_bytes {
        let (bytes, limit) = (bytes.len(), limits.max_bytes);
        return Err(Error::TooManyBytes { what: "image", bytes, limit });
    }
    let known = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ];
    // The crate `image` knows no TIFF with offsets of 64 bits.
    if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
        return Ok(ImageFormat::Tiff);
    }
    let format = image::guess_format(bytes).ok().filter(|format| known.contains(format));
    format.ok_or(Error::UnknownFormat { known: KNOWN })
}

fn name(format: ImageFormat) -> String {
    match format {
        ImageFormat::WebP => "WebP".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    }
}

fn undecodable(format: ImageFormat, error: &dyn std::fmt::Display) -> Error {
    let reason: String = error.to_string().chars().take(200).collect();
    Error::Undecodable { format: name(format), reason }
}

/// A decoder may hold a picture of the largest size in its widest form, and as much again for itself.
fn decoder_limits(limits: &Limits) -> image::Limits {
    const BYTES_PER_PIXEL: u64 = 16;
    const SLACK: u64 = 1 << 20;
    let mut decoder = image::Limits::no_limits();
    decoder.max_alloc = Some(limits.max_pixels.saturating_mul(BYTES_PER_PIXEL) + SLACK);
    decoder
}

/// The number of pixels.
fn check_size((width, height): (u32, u32), limits: &Limits) -> Result<u64> {
    if width == 0 || height == 0 {
        return Err(Error::Empty("image"));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(Error::TooManyPixels { width, height, limit: limits.max_pixels });
    }
    Ok(pixels)
}

/// Whether a video may have so many pixels in all its frames.
pub(crate) fn check_clip(pixels: u64, limits: &Limits) -> Result<()> {
    match pixels > limits.max_clip_pixels {
        true => Err(Error::TooLargeClip { limit: limits.max_clip_pixels }),
        false => Ok(()),
    }
}

fn image_of(picture: Picture) -> Result<DynamicImage> {
    let (width, height) = (picture.width(), picture.height());
    let image = RgbImage::from_raw(width, height, picture.into_rgb());
    image.map(DynamicImage::ImageRgb8).ok_or(Error::Empty("image"))
}

/// Whether an end marker follows the last scan. The decoder fills what is missing with gray.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker| bytes.windows(2).rposition(|pair| pair == [0xFF, marker]);
    last(0xD9) > last(0xDA)
}

fn to_rgb(image: &DynamicImage) -> Result<Picture> {
    let (width, height) = (image.width(), image.height());
    // Pillow opens gray with 16 bits as numbers and clips them; of all else it keeps the high byte.
    let clip = |v: u16| u8::try_from(v).unwrap_or(u8::MAX);
    let high = |v: u16| v.to_be_bytes()[0];
    let gray = |v: u8| [v; 3];
    let rgb = match image {
        DynamicImage::ImageRgb8(image) => image.as_raw().clone(),
        DynamicImage::ImageLuma8(image) => image.iter().flat_map(|v| gray(*v)).collect(),
        DynamicImage::ImageLuma16(image) => image.iter().flat_map(|v| gray(clip(*v))).collect(),
        DynamicImage::ImageRgb16(image) => image.iter().map(|v| high(*v)).collect(),
        DynamicImage::ImageLumaA8(image) => {
            image.pixels().flat_map(|p| gray(over_white(p.0[0], p.0[1]))).collect()
        }
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|p| gray(over_white(high(p.0[0]), high(p.0[1])))).collect()
        }
        DynamicImage::ImageRgba8(image) => image.pixels().flat_map(|p| on_white(p.0)).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| on_white(p.0.map(high))).collect()
        }
        other => other.to_rgb8().into_raw(),
    };
    Picture::new(width, height, rgb)
}

fn on_white([r, g, b, alpha]: [u8; 4]) -> [u8; 3] {
    [r, g, b].map(|value| over_white(value, alpha))
}

/// Pillow's `alpha_composite` over opaque white: 7 more bits, and division by 255 through two shifts.
fn over_white(value: u8, alpha: u8) -> u8 {
    const BITS: u32 = 7;
    const WHITE: u32 = 255;
    let alpha = u32::from(alpha);
    let blended = (u32::from(value) * alpha + WHITE * (WHITE - alpha)) << BITS;
    let rounded = blended + (0x80 << BITS);
    let byte = (((rounded >> 8) + rounded) >> 8) >> BITS;
    u8::try_from(byte).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
