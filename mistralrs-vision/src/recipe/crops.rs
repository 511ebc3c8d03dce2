//! Gemma 3 and Gemma 3n: every picture becomes one square of a fixed size; Gemma 3 may add crops of a
//! long one ("pan and scan", off unless the file says so). Source: transformers' Gemma 3 and SigLIP
//! image processors.

use super::config::{Defaults, side};
use super::{Family, Layout, Pixels, ProcessorConfig};
use crate::Detail;
use crate::error::Result;
use crate::normalize::PixelTable;
use crate::patches::{Window, window_planes};
use crate::picture::Picture;
use crate::resize::{Filter, resize, resized};
use std::borrow::Cow;

#[derive(Debug, Clone)]
pub(super) struct Crops {
    size: (u32, u32),
    filter: Filter,
    table: PixelTable,
    tokens_per_picture: usize,
    pan_and_scan: Option<PanAndScan>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct PanAndScan {
    /// No crop has a smaller side.
    min_side: u32,
    max_crops: u32,
    /// Pictures whose sides are closer to each other stay whole.
    min_ratio: f64,
}

impl Crops {
    pub fn new(config: &ProcessorConfig, family: Family) -> Result<Self> {
        let image = &config.image;
        let defaults = Defaults { filter: Filter::Bilinear, mean: [0.5; 3], std: [0.5; 3] };
        let default_side = if family == Family::Gemma3 { 896 } else { 768 };
        let scan = || -> Result<PanAndScan> {
            let min_side = image.pan_and_scan_min_crop_size.unwrap_or(256);
            let max_crops = image.pan_and_scan_max_num_crops.unwrap_or(4);
            Ok(PanAndScan {
                min_side: side("pan_and_scan_min_crop_size", u64::from(min_side))?,
                max_crops: max_crops.clamp(1, 64),
                min_ratio: image.pan_and_scan_min_ratio_to_activate.unwrap_or(1.2),
            })
        };
        let pan_and_scan = family == Family::Gemma3 && image.do_pan_and_scan.unwrap_or(false);
        Ok(Self {
            size: image.fixed_size(default_side)?,
            filter: image.filter(&defaults)?,
            table: image.table(&defaults)?,
            tokens_per_picture: config.tokens_per_picture.unwrap_or(256),
            pan_and_scan: pan_and_scan.then(scan).transpose()?,
        })
    }

    pub fn image(&self, picture: &Picture, detail: Detail) -> Result<Pixels> {
        let mut squares = vec![resized(picture, self.size, self.filter)?];
        let scan = self.pan_and_scan.filter(|_| detail != Detail::Low);
        for (corner, size) in scan.map(|scan| scan.crops(picture)).unwrap_or_default() {
            let crop = picture.crop(corner, size)?;
            squares.push(Cow::Owned(resize(&crop, self.size, self.filter)?));
        }
        let windows: Vec<_> = squares.iter().map(|square| Window::whole(square)).collect();
        let (width, height) = self.size;
        let size = (width as usize, height as usize);
        Ok(Pixels {
            pixels: window_planes(&windows, size, &self.table)?,
            layout: Layout::Crops { crops: squares.len() - 1 },
            num_tokens: squares.len() * self.tokens_per_picture,
        })
    }
}

impl PanAndScan {
    /// Corner and size of each crop, along the longer side.
    fn crops(self, picture: &Picture) -> Vec<((u32, u32), (u32, u32))> {
        let (width, height) = (picture.width(), picture.height());
        let (long, short) = (width.max(height), width.min(height));
        let ratio = f64::from(long) / f64::from(short);
        if ratio < self.min_ratio {
            return Vec::new();
        }
        let wanted = (ratio + 0.5).floor() as u32;
        let crops = wanted.min(long / self.min_side).max(2).min(self.max_crops);
        let step = long.div_ceil(crops);
        if step.min(short) < self.min_side {
            return Vec::new();
        }
        // The last crop may be shorter, or (with very many) lie outside.
        let starts = (0..crops).map(|i| i * step).filter(|start| *start < long);
        match width >= height {
            true => starts.map(|x| ((x, 0), (step, height))).collect(),
            false => starts.map(|y| ((0, y), (width, step))).collect(),
        }
    }
}
