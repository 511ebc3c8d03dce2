//! Pictures → the numbers an encoder reads: whole planes, or patches in the order in which a merger
//! joins them. Knows tables and pixels, no model.

use crate::error::{Error, Result};
use crate::normalize::PixelTable;
use crate::picture::Picture;
use candle_core::{Device, Tensor};
use mistralrs_kernels::prefer_huge_pages;
use rayon::prelude::*;

/// How pictures are cut into patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patching {
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Frames of a patch.
    pub temporal: usize,
    /// Patches whose features become one token, per side.
    pub merge: usize,
}

impl Patching {
    /// Sides of pictures are multiples of this many pixels.
    pub fn factor(&self) -> usize {
        self.patch * self.merge
    }

    /// Numbers of a patch: 3 channels × frames × side × side.
    pub fn dim(&self) -> usize {
        Picture::CHANNELS * self.temporal * self.patch * self.patch
    }
}

/// Pictures of one size → `[pictures, 3, height, width]`.
///
/// # Errors
/// [`Error::FrameSize`] if the sizes differ, [`Error::Empty`] without a picture.
pub fn planes(pictures: &[Picture], table: &PixelTable) -> Result<Tensor> {
    let size = common_size(pictures)?;
    let windows: Vec<_> = pictures.iter().map(Window::whole).collect();
    window_planes(&windows, size, table)
}

/// A part of a picture, where it lies: a tile that need not be cut out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    picture: &'a Picture,
    left: usize,
    top: usize,
}

impl<'a> Window<'a> {
    /// All of it.
    pub fn whole(picture: &'a Picture) -> Self {
        Self { picture, left: 0, top: 0 }
    }

    /// What lies right of and below a corner.
    pub fn new(picture: &'a Picture, left: usize, top: usize) -> Self {
        Self { picture, left, top }
    }

    /// From the left edge of a row to the end of the picture's.
    fn row(&self, y: usize) -> &'a [u8] {
        let row = self.picture.row(self.top + y);
        row.get(self.left * Picture::CHANNELS..).unwrap_or_default()
    }

    fn holds(&self, (width, height): (usize, usize)) -> bool {
        self.left + width <= self.picture.width() as usize
            && self.top + height <= self.picture.height() as usize
    }
}

/// [`planes`] of parts of pictures, all of one size.
///
/// # Errors
/// [`Error::Empty`] for a size of zero, [`Error::Invalid`] if a part is not inside its picture.
pub(crate) fn window_planes(
    windows: &[Window<'_>],
    (width, height): (usize, usize),
    table: &PixelTable,
) -> Result<Tensor> {
    if width == 0 || height == 0 {
        return Err(Error::Empty("image"));
    }
    if let Some(window) = windows.iter().find(|window| !window.holds((width, height))) {
        let (left, top) = (window.left, window.top);
        let message =
            format!("{width} × {height} pixels at ({left}, {top}) of {:?}", window.picture);
        return Err(Error::Invalid(message));
    }
    let mut values = zeros(windows.len() * Picture::CHANNELS * height * width);
    let rows = values.par_chunks_mut(width).enumerate();
    rows.for_each(|(at, row)| {
        let (channel, y) = (at / height % Picture::CHANNELS, at % height);
        let Some(window) = windows.get(at / height / Picture::CHANNELS) else { return };
        look_up(row, window.row(y), channel, table);
    });
    let shape = (windows.len(), Picture::CHANNELS, height, width);
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Memory for so many numbers. What pictures become is often larger than what an allocator keeps, so that it
/// is new from the system each time; 40 MB took 19 ms in pages of 4 KiB and 9 ms in huge ones.
fn zeros(len: usize) -> Vec<f32> {
    let mut values = vec![0f32; len];
    prefer_huge_pages(&mut values);
    values
}

/// Frames of one size → `[grid_t · grid_h · grid_w, 3 · temporal · patch · patch]` and the grid.
/// Patches stand in the order (t, h / merge, w / merge, merge, merge); the last frame is repeated
/// until `temporal` divides their number.
///
/// # Errors
/// [`Error::FrameSize`] if the sizes differ, [`Error::Invalid`] if they are no multiples of the factor.
pub fn patches(
    frames: &[Picture],
    patching: Patching,
    table: &PixelTable,
) -> Result<(Tensor, [usize; 3])> {
    let (width, height) = common_size(frames)?;
    let factor = patching.factor();
    if factor == 0 || patching.temporal == 0 || width % factor != 0 || height % factor != 0 {
        return Err(Error::Invalid(format!(
            "{width} × {height} pixels cannot be cut into squares of {factor}"
        )));
    }
    let Patching { patch, temporal, merge } = patching;
    let area = patch * patch;
    let grid = [frames.len().div_ceil(temporal), height / patch, width / patch];
    let [grid_t, grid_h, grid_w] = grid;
    let mut values = zeros(grid_t * grid_h * grid_w * patching.dim());
    // A band is one row of squares of one group of frames; its patches are consecutive.
    let band = grid_w * merge * patching.dim();
    let bands_per_group = grid_h / merge;
    values.par_chunks_mut(band).enumerate().for_each(|(at, band)| {
        let (group, band_y) = (at / bands_per_group, at % bands_per_group);
        let frames = frames.get(group * temporal..).unwrap_or_default();
        let frames = &frames[..frames.len().min(temporal)];
        for (i, values) in band.chunks_exact_mut(patching.dim()).enumerate() {
            let (square, inside) = (i / (merge * merge), i % (merge * merge));
            let left = (square * merge + inside % merge) * patch;
            let top = (band_y * merge + inside / merge) * patch;
            for (channel, values) in values.chunks_exact_mut(temporal * area).enumerate() {
                for (frame, values) in frames.iter().zip(values.chunks_exact_mut(area)) {
                    for (y, row) in values.chunks_exact_mut(patch).enumerate() {
                        let pixels = frame.row(top + y).get(left * Picture::CHANNELS..);
                        look_up(row, pixels.unwrap_or_default(), channel, table);
                    }
                }
                for frame in frames.len()..temporal {
                    values.copy_within((frame - 1) * area..frame * area, frame * area);
                }
            }
        }
    });
    let shape = (grid_t * grid_h * grid_w, patching.dim());
    Ok((Tensor::from_vec(values, shape, &Device::Cpu)?, grid))
}

/// What becomes of one channel of a row's first pixels.
fn look_up(values: &mut [f32], pixels: &[u8], channel: usize, table: &PixelTable) {
    let table = table.channel(channel);
    let (pixels, _) = pixels.as_chunks::<{ Picture::CHANNELS }>();
    for (value, pixel) in values.iter_mut().zip(pixels) {
        *value = table[usize::from(pixel[channel])];
    }
}

/// Width and height of all.
fn common_size(pictures: &[Picture]) -> Result<(usize, usize)> {
    let first = pictures.first().ok_or(Error::Empty("video"))?;
    let first = (first.width(), first.height());
    for (frame, picture) in pictures.iter().enumerate() {
        let found = (picture.width(), picture.height());
        if found != first {
            return Err(Error::FrameSize { frame, found, first });
        }
    }
    Ok((first.0 as usize, first.1 as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, seed: usize) -> Picture {
        let n = (width * height * 3) as usize;
        let rgb = (0..n).map(|i| (((i + seed) * 2_654_435_761) >> 7) as u8).collect();
        Picture::new(width, height, rgb).unwrap()
    }

    /// By the definition of the order, one number at a time.
    #[test]
    fn every_number_stands_where_the_order_says() {
        let table = PixelTable::new(None, None);
        for (patch, temporal, merge, frames) in
            [(2, 2, 2, 1), (3, 2, 1, 3), (4, 1, 2, 2), (2, 3, 3, 4)]
        {
            let patching = Patching { patch, temporal, merge };
            let factor = patching.factor() as u32;
            let (width, height) = (factor * 3, factor * 2);
            let frames: Vec<Picture> = (0..frames).map(|i| picture(width, height, i * 7)).collect();
            let (tensor, grid) = patches(&frames, patching, &table).unwrap();
            let [grid_t, grid_h, grid_w] = grid;
            assert_eq!(tensor.dims(), [grid_t * grid_h * grid_w, patching.dim()]);
            let found = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let mut wanted = Vec::new();
            for t in 0..grid_t {
                for square in 0..(grid_h / merge) * (grid_w / merge) {
                    let (by, bx) = (square / (grid_w / merge), square % (grid_w / merge));
                    for inside in 0..merge * merge {
                        let y0 = (by * merge + inside / merge) * patch;
                        let x0 = (bx * merge + inside % merge) * patch;
                        for c in 0..3 {
                            for f in 0..temporal {
                                let frame = &frames[(t * temporal + f).min(frames.len() - 1)];
                                for y in 0..patch {
                                    for x in 0..patch {
                                        let at = ((y0 + y) * width as usize + x0 + x) * 3 + c;
                                        wanted.push(f32::from(frame.rgb()[at]));
                                    }
                                }
                            }
                        }
                    }
                }
            }
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn planes_are_channels_first() {
        let table = PixelTable::new(None, None);
        let pictures = [picture(3, 2, 0), picture(3, 2, 5)];
        let found = planes(&pictures, &table).unwrap();
        assert_eq!(found.dims(), [2, 3, 2, 3]);
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (i, value) in found.into_iter().enumerate() {
            let (p, c, pixel) = (i / 18, i / 6 % 3, i % 6);
            assert_eq!(value, f32::from(pictures[p].rgb()[pixel * 3 + c]));
        }
    }

    #[test]
    fn windows_are_read_where_they_lie() {
        let table = PixelTable::new(Some(0.5), Some(([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])));
        let (whole, other) = (picture(11, 7, 0), picture(4, 3, 9));
        let cut = whole.crop((5, 2), (4, 3)).unwrap();
        let windows = [Window::new(&whole, 5, 2), Window::whole(&other), Window::new(&whole, 7, 4)];
        let found = window_planes(&windows, (4, 3), &table).unwrap();
        let last = whole.crop((7, 4), (4, 3)).unwrap();
        let wanted = planes(&[cut, other.clone(), last], &table).unwrap();
        let numbers = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(found), numbers(wanted));
        for outside in [Window::new(&whole, 8, 0), Window::new(&whole, 0, 5)] {
            let error = window_planes(&[outside], (4, 3), &table);
            assert!(matches!(error, Err(Error::Invalid(_))));
        }
        assert!(window_planes(&windows, (0, 3), &table).is_err());
    }

    #[test]
    fn sizes_have_to_agree() {
        let table = PixelTable::new(None, None);
        let two = [picture(4, 4, 0), picture(4, 8, 0)];
        assert!(matches!(planes(&two, &table), Err(Error::FrameSize { frame: 1, .. })));
        assert!(matches!(planes(&[], &table), Err(Error::Empty(_))));
        let patching = Patching { patch: 2, temporal: 2, merge: 2 };
        assert!(patches(&[picture(6, 4, 0)], patching, &table).is_err());
    }
}
