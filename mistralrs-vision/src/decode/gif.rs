//! GIF → pictures, laid on each other as Pillow does: what no frame has painted has the palette's first
//! color, or is white where the frame has a transparent one; a first frame that reaches beyond the
//! canvas makes it larger. Knows no other format. Source: GIF89a; Pillow for what that leaves open.

use super::{Limits, check_size, decoder_limits, undecodable};
use crate::error::{Error, Result};
use crate::picture::Picture;
use gif::{ColorOutput, DecodeOptions, Decoder, DisposalMethod, MemoryLimit};
use image::ImageFormat;
use std::io::Cursor;
use std::num::NonZeroU64;

const WHITE: [u8; 3] = [255; 3];

/// The frames of a file, each as it is shown, with the seconds it is shown for.
pub(super) struct Frames<'a> {
    decoder: Decoder<Cursor<&'a [u8]>>,
    disposals: Disposals<'a>,
    limits: Limits,
    canvas: Option<Canvas>,
    /// Whether the first frame has a transparent color: Pillow keeps alpha from frame to frame then.
    keeps_alpha: bool,
}

impl<'a> Frames<'a> {
    /// # Errors
    /// [`Error::Undecodable`] if the header is damaged.
    pub fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        let most = decoder_limits(limits).max_alloc.and_then(NonZeroU64::new);
        options.set_memory_limit(most.map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
        let decoder = options.read_info(Cursor::new(bytes)).map_err(damaged)?;
        let disposals = Disposals::new(bytes);
        Ok(Self { decoder, disposals, limits: *limits, canvas: None, keeps_alpha: false })
    }

    fn read(&mut self) -> Result<Option<(Picture, f64)>> {
        let Some(frame) = self.decoder.next_frame_info().map_err(damaged)? else { return Ok(None) };
        let place = Place {
            start: (usize::from(frame.left), usize::from(frame.top)),
            size: (usize::from(frame.width), usize::from(frame.height)),
        };
        let (dispose, clear_color) = (self.disposals.next(), frame.transparent);
        let transparent = clear_color.is_some();
        let seconds = f64::from(frame.delay) / 100.;
        let before = self.canvas.take();
        let is_first = before.is_none();
        self.keeps_alpha = if is_first { transparent } else { self.keeps_alpha };
        let canvas = match before {
            Some(canvas) => canvas,
            None => {
                let blank = if transparent { WHITE } else { self.color(0) };
                let size = (self.decoder.width(), self.decoder.height());
                Canvas::new(place.around(size), blank, &self.limits)?
            }
        };
        if place.size.0 * place.size.1 > canvas.pixels() {
            return Err(damaged("a frame is larger than the first one's canvas"));
        }
        let mut pixels = vec![0; self.decoder.buffer_size()];
        self.decoder.read_into_buffer(&mut pixels).map_err(damaged)?;
        let mut shown = canvas.clone();
        shown.paint(place, pixels.as_chunks().0);
        let picture = shown.picture()?;
        self.canvas = Some(match dispose {
            DisposalMethod::Any | DisposalMethod::Keep => shown,
            // There is nothing that could come back.
            DisposalMethod::Previous if is_first && !transparent => shown,
            DisposalMethod::Previous => canvas,
            DisposalMethod::Background => {
                let [r, g, b] = match clear_color {
                    Some(_) if self.keeps_alpha => WHITE,
                    // A color of the palette like any other.
                    Some(index) => self.color(usize::from(index)),
                    None => self.color(self.decoder.bg_color().unwrap_or(0)),
                };
                shown.paint(place, &vec![[r, g, b, 255]; place.size.0 * place.size.1]);
                shown
            }
        });
        Ok(Some((picture, seconds)))
    }

    /// Of the palette of the frame at hand; black if it has no such color.
    fn color(&self, index: usize) -> [u8; 3] {
        let palette = self.decoder.palette().unwrap_or_default();
        palette.as_chunks().0.get(index).copied().unwrap_or_default()
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<(Picture, f64)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// How each frame is taken away again, as Pillow has it: what a frame does not say, or says with 0, is what
/// the one before it said, and numbers that mean nothing are restoring. The decoder tells neither.
struct Disposals<'a> {
    bytes: &'a [u8],
    at: usize,
    last: DisposalMethod,
}

impl<'a> Disposals<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        const HEADER: usize = 13;
        let flags = bytes.get(HEADER - 3).copied().unwrap_or_default();
        Self { bytes, at: HEADER + palette_bytes(flags), last: DisposalMethod::Any }
    }

    /// Of the next frame.
    fn next(&mut self) -> DisposalMethod {
        const FRAME: u8 = b',';
        const EXTENSION: u8 = b'!';
        const CONTROL: u8 = 0xF9;
        const DESCRIPTOR: usize = 10;
        while let Some([kind, rest @ ..]) = self.bytes.get(self.at..) {
            match *kind {
                FRAME => {
                    let flags = rest.get(DESCRIPTOR - 2).copied().unwrap_or_default();
                    // A byte with the length of codes stands before the blocks.
                    self.at += DESCRIPTOR + palette_bytes(flags) + 1;
                    self.skip_blocks();
                    return self.last;
                }
                EXTENSION => {
                    if let [CONTROL, len, flags, ..] = rest
                        && *len > 0
                    {
                        self.last = match flags >> 2 & 7 {
                            0 => self.last,
                            1 => DisposalMethod::Keep,
                            2 => DisposalMethod::Background,
                            _ => DisposalMethod::Previous,
                        };
                    }
                    self.at += 2;
                    self.skip_blocks();
                }
                _ => self.at += 1,
            }
        }
        self.last
    }

    /// Blocks begin with their length; an empty one is the last.
    fn skip_blocks(&mut self) {
        while let Some(len) = self.bytes.get(self.at) {
            self.at += 1 + usize::from(*len);
            if *len == 0 {
                return;
            }
        }
    }
}

/// Of the palette that flags announce.
fn palette_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 6 << (flags & 7) }
}

fn damaged(reason: impl std::fmt::Display) -> Error {
    undecodable(ImageFormat::Gif, &reason)
}

/// Where a frame lies on the canvas: left and top, width and height.
#[derive(Clone, Copy)]
struct Place {
    start: (usize, usize),
    size: (usize, usize),
}

impl Place {
    /// The least size that holds both the frame and the screen.
    fn around(&self, (width, height): (u16, u16)) -> (usize, usize) {
        let end = (self.start.0 + self.size.0, self.start.1 + self.size.1);
        (end.0.max(usize::from(width)), end.1.max(usize::from(height)))
    }
}

/// What has been painted so far.
#[derive(Clone)]
struct Canvas {
    width: usize,
    /// `[height, width]`
    colors: Vec<[u8; 3]>,
}

impl Canvas {
    /// # Errors
    /// [`Error::TooManyPixels`], [`Error::Empty`].
    fn new((width, height): (usize, usize), blank: [u8; 3], limits: &Limits) -> Result<Self> {
        check_size((width as u32, height as u32), limits)?;
        Ok(Self { width, colors: vec![blank; width * height] })
    }

    fn pixels(&self) -> usize {
        self.colors.len()
    }

    /// Lays down the pixels (RGBA, `[height, width]` of the place) that are not transparent and not
    /// outside.
    fn paint(&mut self, place: Place, pixels: &[[u8; 4]]) {
        let (left, top) = place.start;
        let rows = self.colors.chunks_exact_mut(self.width.max(1)).skip(top);
        for (row, line) in rows.zip(pixels.chunks(place.size.0.max(1))) {
            for (color, [r, g, b, alpha]) in row.iter_mut().skip(left).zip(line) {
                if *alpha > 0 {
                    *color = [*r, *g, *b];
                }
            }
        }
    }

    fn picture(&self) -> Result<Picture> {
        let height = self.pixels() / self.width.max(1);
        Picture::new(self.width as u32, height as u32, self.colors.as_flattened().to_vec())
    }
}
