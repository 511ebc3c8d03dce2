//! Idefics3 and SmolVLM: a picture is scaled so that tiles of one size cover it, and the encoder sees
//! every tile and the whole. Source: transformers' Idefics3 image processor.

use super::config::{Defaults, side};
use super::{Layout, Pixels, ProcessorConfig};
use crate::Detail;
use crate::error::Result;
use crate::normalize::PixelTable;
use crate::patches::planes;
use crate::picture::Picture;
use crate::resize::{Filter, resize};

#[derive(Debug, Clone)]
pub(super) struct Tiles {
    /// The longer side before cutting.
    longest: u32,
    /// The side of a tile.
    tile: u32,
    split: bool,
    filter: Filter,
    table: PixelTable,
    tokens_per_tile: usize,
}

/// No side is longer, whatever the file says.
const MAX_SIDE: u32 = 4096;

impl Tiles {
    pub fn new(config: &ProcessorConfig) -> Result<Self> {
        let image = &config.image;
        let defaults = Defaults { filter: Filter::Lanczos, mean: [0.5; 3], std: [0.5; 3] };
        let longest = |size: &Option<super::config::Size>, default| {
            size.as_ref().and_then(|size| size.longest_edge).unwrap_or(default)
        };
        let tile = longest(&image.max_image_size, 364);
        Ok(Self {
            longest: side("size", longest(&image.size, 4 * 364))?,
            tile: side("max_image_size", tile)?,
            split: image.do_image_splitting.unwrap_or(true),
            filter: image.filter(&defaults)?,
            table: image.table(&defaults)?,
            tokens_per_tile: config.tokens_per_picture.unwrap_or(169),
        })
    }

    pub fn image(&self, picture: &Picture, detail: Detail) -> Result<Pixels> {
        let scaled = resize(picture, self.scaled_size(picture), self.filter)?;
        let square = (self.tile, self.tile);
        if !self.split || detail == Detail::Low {
            return self.finish(&[resize(&scaled, square, self.filter)?], (0, 0));
        }
        let whole = resize(&scaled, self.covered_size(&scaled), self.filter)?;
        if whole.width().max(whole.height()) <= self.tile {
            return self.finish(&[whole], (0, 0));
        }
        let (rows, columns) = (whole.height() / self.tile, whole.width() / self.tile);
        let corners = (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y)));
        let tiles = corners.map(|(x, y)| whole.crop((x * self.tile, y * self.tile), square));
        let mut tiles = tiles.collect::<Result<Vec<_>>>()?;
        tiles.push(resize(&whole, square, self.filter)?);
        self.finish(&tiles, (rows as usize, columns as usize))
    }

    fn finish(&self, tiles: &[Picture], (rows, columns): (usize, usize)) -> Result<Pixels> {
        Ok(Pixels {
            pixels: planes(tiles, &self.table)?,
            layout: Layout::Tiles { rows, columns },
            num_tokens: tiles.len() * self.tokens_per_tile,
        })
    }

    /// The longer side as the file wants it, the shorter one even, both at most [`MAX_SIDE`].
    fn scaled_size(&self, picture: &Picture) -> (u32, u32) {
        let (width, height) = (picture.width(), picture.height());
        let ratio = f64::from(width) / f64::from(height);
        let even = |side: f64| (side as u32).next_multiple_of(2).max(1);
        let longest = f64::from(self.longest);
        let (width, height) = match width >= height {
            true => (self.longest, even(longest / ratio)),
            false => (even(longest * ratio), self.longest),
        };
        below(width, height, MAX_SIDE)
    }

    /// Sides that are multiples of a tile's.
    fn covered_size(&self, picture: &Picture) -> (u32, u32) {
        let (width, height) = (picture.width(), picture.height());
        let ratio = f64::from(width) / f64::from(height);
        let up = |side: u32| side.next_multiple_of(self.tile);
        match width >= height {
            true => (up(width), up((f64::from(up(width)) / ratio) as u32)),
            false => (up((f64::from(up(height)) * ratio) as u32), up(height)),
        }
    }
}

/// Scaled down until no side is longer than `max`.
fn below(width: u32, height: u32, max: u32) -> (u32, u32) {
    let ratio = f64::from(width) / f64::from(height);
    let bound = f64::from(max);
    let (width, height) = match width >= height {
        true if width > max => (max, (bound / ratio) as u32),
        false if height > max => ((bound * ratio) as u32, max),
        _ => (width, height),
    };
    (width.max(1), height.max(1))
}
