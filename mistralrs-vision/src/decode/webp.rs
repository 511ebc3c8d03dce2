//! Animated WebP → pictures, laid on each other to the step of 255 as libwebp does, which Pillow reads with. Knows
//! the container; each frame's own pixels are decoded as a file of their own by the crate `image`. Source: the WebP
//! container's specification; libwebp for the arithmetic of blending and where it blends.

use super::{Limits, check_size, on_white, undecodable};
use crate::error::{Error, Result};
use crate::picture::Picture;
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat};
use std::io::Cursor;

/// The frames of a file, each as it is shown, with the seconds it is shown for.
pub(super) struct Frames<'a> {
    chunks: Chunks<'a>,
    size: (usize, usize),
    /// Whether the file says that there is transparency; what there is nevertheless does not show.
    has_alpha: bool,
    /// `[height, width, RGBA]`: what the next frame lies on.
    canvas: Vec<[u8; 4]>,
    before: Option<Before>,
}

/// What is known of the frame before.
struct Before {
    place: Place,
    disposed: bool,
    /// Whether nothing of earlier frames was visible beside it.
    was_key: bool,
}

#[derive(Clone, Copy)]
struct Place {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Place {
    fn holds(&self, x: usize, y: usize) -> bool {
        (self.left..self.left + self.width).contains(&x)
            && (self.top..self.top + self.height).contains(&y)
    }

    fn is_all_of(&self, (width, height): (usize, usize)) -> bool {
        (self.width, self.height) == (width, height)
    }
}

/// A frame as the file has it.
struct Frame<'a> {
    place: Place,
    milliseconds: u32,
    blends: bool,
    disposes: bool,
    content: &'a [u8],
}

impl<'a> Frames<'a> {
    /// None of a still picture.
    ///
    /// # Errors
    /// [`Error`] names the limit.
    pub fn open(bytes: &'a [u8], limits: &Limits) -> Result<Option<Self>> {
        const ANIMATED: u8 = 2;
        const WITH_ALPHA: u8 = 16;
        let mut chunks = Chunks(bytes.get(12..).unwrap_or_default());
        let Some((b"VP8X", &[flags, _, _, _, ref size @ ..])) = chunks.next() else {
            return Ok(None);
        };
        let (Some(width), Some(height)) = (three(size, 0), three(size, 3)) else { return Ok(None) };
        if flags & ANIMATED == 0 {
            return Ok(None);
        }
        let size = (width + 1, height + 1);
        check_size(size, limits)?;
        let size = (size.0 as usize, size.1 as usize);
        let canvas = vec![[0; 4]; size.0 * size.1];
        let has_alpha = flags & WITH_ALPHA != 0;
        Ok(Some(Self { chunks, size, has_alpha, canvas, before: None }))
    }

    fn read(&mut self, frame: &Frame<'_>) -> Result<(Picture, f64)> {
        let Frame { place, blends, disposes, .. } = *frame;
        let (pixels, has_alpha) = pixels(frame)?;
        let is_whole = place.is_all_of(self.size) && (!has_alpha || !blends);
        let is_key = self.before.as_ref().is_none_or(|before| {
            is_whole || before.disposed && (before.place.is_all_of(self.size) || before.was_key)
        });
        if is_key {
            self.canvas.fill([0; 4]);
        }
        let cleared =
            self.before.take().filter(|before| before.disposed).map(|before| before.place);
        let lies_bare = |x, y| is_key || !blends || cleared.is_some_and(|place| place.holds(x, y));
        let rows = self.canvas.chunks_exact_mut(self.size.0).enumerate();
        let rows = rows.skip(place.top).zip(pixels.chunks_exact(place.width));
        for ((y, row), pixels) in rows {
            let row = row.iter_mut().enumerate().skip(place.left).zip(pixels);
            for ((x, below), pixel) in row {
                *below = if lies_bare(x, y) { *pixel } else { blended(*pixel, *below) };
            }
        }
        let rgb = self.canvas.iter().flat_map(|&pixel| match self.has_alpha {
            true => on_white(pixel),
            false => [pixel[0], pixel[1], pixel[2]],
        });
        let picture = Picture::new(self.size.0 as u32, self.size.1 as u32, rgb.collect())?;
        if disposes {
            let rows = self.canvas.chunks_exact_mut(self.size.0).skip(place.top);
            for row in rows.take(place.height) {
                row.iter_mut().skip(place.left).take(place.width).for_each(|pixel| *pixel = [0; 4]);
            }
        }
        self.before = Some(Before { place, disposed: disposes, was_key: is_key });
        Ok((picture, f64::from(frame.milliseconds) / 1000.))
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<(Picture, f64)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, content) = self.chunks.find(|(name, _)| *name == b"ANMF")?;
        let frame = Frame::parse(content, self.size)
            .ok_or_else(|| damaged("a frame is cut off or lies beside the picture"));
        Some(frame.and_then(|frame| self.read(&frame)))
    }
}

impl<'a> Frame<'a> {
    /// None if it is cut off or does not lie within the picture.
    fn parse(bytes: &'a [u8], (width, height): (usize, usize)) -> Option<Self> {
        const DISPOSES: u8 = 1;
        const COVERS: u8 = 2;
        let number = |at| three(bytes, at).map(|number| number as usize);
        let place = Place {
            left: 2 * number(0)?,
            top: 2 * number(3)?,
            width: number(6)? + 1,
            height: number(9)? + 1,
        };
        let fits = place.left + place.width <= width && place.top + place.height <= height;
        let (flags, content) = bytes.get(15..)?.split_first()?;
        fits.then_some(Self {
            place,
            milliseconds: three(bytes, 12)?,
            blends: flags & COVERS == 0,
            disposes: flags & DISPOSES != 0,
            content,
        })
    }
}

/// A frame's pixels, and whether they are said to have transparency.
fn pixels(frame: &Frame<'_>) -> Result<(Vec<[u8; 4]>, bool)> {
    let Place { width, height, .. } = frame.place;
    let mut alpha = None;
    let picture = Chunks(frame.content).find(|(name, content)| {
        if *name == b"ALPH" {
            alpha = Some(*content);
        }
        matches!(*name, b"VP8 " | b"VP8L")
    });
    let (name, content) = picture.ok_or_else(|| damaged("a frame has no picture"))?;
    let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
    if let (Some(alpha), b"VP8 ") = (alpha, name) {
        let size = [width - 1, height - 1].map(|side| (side as u32).to_le_bytes());
        let [[a, b, c, _], [d, e, f, _]] = size;
        append(&mut file, b"VP8X", &[16, 0, 0, 0, a, b, c, d, e, f]);
        append(&mut file, b"ALPH", alpha);
    }
    append(&mut file, name, content);
    let length = (file.len() - 8) as u32;
    if let Some(place) = file.get_mut(4..8) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    let undecodable = |error: ImageError| undecodable(ImageFormat::WebP, &error);
    let decoder = WebPDecoder::new(Cursor::new(&file)).map_err(undecodable)?;
    if decoder.dimensions() != (width as u32, height as u32) {
        return Err(damaged("a frame is of another size than it says"));
    }
    let image = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    let has_alpha = image.color().has_alpha();
    Ok((image.into_rgba8().into_raw().as_chunks().0.to_vec(), has_alpha))
}

fn append(file: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    file.extend(name);
    file.extend((content.len() as u32).to_le_bytes());
    file.extend(content);
    if content.len() % 2 == 1 {
        file.push(0);
    }
}

/// A pixel over another, neither multiplied with its alpha, in 24-bit fixed point; each step cuts off.
fn blended(above: [u8; 4], below: [u8; 4]) -> [u8; 4] {
    let [alpha, below_alpha] = [above[3], below[3]].map(u32::from);
    match alpha {
        0 => return below,
        255 => return above,
        _ => {}
    }
    let share = (below_alpha * (256 - alpha)) >> 8;
    let whole = alpha + share;
    let scale = (1 << 24) / whole;
    let part = |i: usize| {
        let sum = u32::from(above[i]) * alpha + u32::from(below[i]) * share;
        ((u64::from(sum) * u64::from(scale)) >> 24) as u8
    };
    [part(0), part(1), part(2), whole as u8]
}

/// Chunk after chunk: a name, a length, so many bytes, and one more if that is odd.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = (&'a [u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let content = rest.get(..length)?;
        self.0 = rest.get(length + length % 2..).unwrap_or_default();
        Some((name, content))
    }
}

fn three(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = *bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes([a, b, c, 0]))
}

fn damaged(reason: &str) -> Error {
    undecodable(ImageFormat::WebP, &reason)
}
