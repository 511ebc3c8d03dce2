//! Idefics3 and SmolVLM: a picture is scaled so that tiles of one size cover it, and the encoder sees
//! every tile and the whole. Frames of videos, where a model takes them, are squares like the whole. Source:
//! transformers' Idefics3 image processor and SmolVLM video processor.

use super::config::{Defaults, ImageConfig, Size, side};
use super::{DEFAULT_FPS, Layout, Pixels, ProcessorConfig};
use crate::Detail;
use crate::decode::Animation;
use crate::error::{Error, Result};
use crate::normalize::PixelTable;
use crate::patches::{Window, planes, window_planes};
use crate::picture::Picture;
use crate::resize::{Filter, resize, resized};
use std::borrow::Cow;

#[derive(Debug, Clone)]
pub(super) struct Tiles {
    image: Scaling,
    /// Where the files speak of videos.
    video: Option<Scaling>,
    split: bool,
    tokens_per_tile: usize,
}

/// How a picture or frame is scaled and its pixels read.
#[derive(Debug, Clone)]
struct Scaling {
    /// The longer side before cutting.
    longest: u32,
    /// The side of a tile.
    tile: u32,
    filter: Filter,
    table: PixelTable,
}

/// No side is longer, whatever the file says.
const MAX_SIDE: u32 = 4096;

impl Tiles {
    pub fn new(config: &ProcessorConfig) -> Result<Self> {
        let sampled = config.image.video_sampling.is_some().then_some(&config.image);
        let video = config.video.as_ref().or(sampled).map(|video| {
            let sampling = video.video_sampling.clone().unwrap_or_default();
            Scaling::new(video, sampling.video_size.as_ref().or(video.size.as_ref()))
        });
        Ok(Self {
            image: Scaling::new(&config.image, config.image.size.as_ref())?,
            video: video.transpose()?,
            split: config.image.do_image_splitting.unwrap_or(true),
            tokens_per_tile: config.tokens_per_picture.unwrap_or(169),
        })
    }

    pub fn image(&self, picture: &Picture, detail: Detail) -> Result<Pixels> {
        let scaling = &self.image;
        if !self.split || detail == Detail::Low {
            return self.alone(&scaling.square(picture)?);
        }
        let scaled = scaling.scaled(picture)?;
        let (side, filter) = (scaling.tile, scaling.filter);
        let whole = resized(&scaled, scaling.covered_size(&scaled), filter)?;
        if whole.width().max(whole.height()) <= side {
            return self.alone(&whole);
        }
        let small = resize(&whole, (side, side), filter)?;
        let side = side as usize;
        let (rows, columns) = (whole.height() as usize / side, whole.width() as usize / side);
        let corners = (0..rows).flat_map(|y| (0..columns).map(move |x| (x * side, y * side)));
        let mut tiles: Vec<_> = corners.map(|(x, y)| Window::new(&whole, x, y)).collect();
        tiles.push(Window::whole(&small));
        self.finish(&tiles, (side, side), (rows, columns))
    }

    pub fn takes_videos(&self) -> bool {
        self.video.is_some()
    }

    /// Every frame is one square.
    pub fn video(&self, video: &Animation) -> Result<Pixels> {
        let scaling = self.video.as_ref().ok_or(Error::NotTaken("videos"))?;
        video.check_frames()?;
        let frames = video.frames.iter().map(|frame| scaling.square(frame));
        let frames = frames.collect::<Result<Vec<_>>>()?;
        let fps = video.fps.unwrap_or(DEFAULT_FPS);
        let timestamps = (0..frames.len()).map(|frame| frame as f64 / fps).collect();
        Ok(Pixels {
            pixels: planes(&frames, &scaling.table)?,
            layout: Layout::Frames { timestamps },
            num_tokens: frames.len() * self.tokens_per_tile,
        })
    }

    fn alone(&self, picture: &Picture) -> Result<Pixels> {
        let size = (picture.width() as usize, picture.height() as usize);
        self.finish(&[Window::whole(picture)], size, (0, 0))
    }

    fn finish(
        &self,
        tiles: &[Window<'_>],
        size: (usize, usize),
        (rows, columns): (usize, usize),
    ) -> Result<Pixels> {
        Ok(Pixels {
            pixels: window_planes(tiles, size, &self.image.table)?,
            layout: Layout::Tiles { rows, columns },
            num_tokens: tiles.len() * self.tokens_per_tile,
        })
    }
}

impl Scaling {
    fn new(config: &ImageConfig, size: Option<&Size>) -> Result<Self> {
        let defaults = Defaults { filter: Filter::Lanczos, mean: [0.5; 3], std: [0.5; 3] };
        let longest = |size: Option<&Size>, default| {
            size.and_then(|size| size.longest_edge).unwrap_or(default)
        };
        Ok(Self {
            longest: side("size", longest(size, 4 * 364))?,
            tile: side("max_image_size", longest(config.max_image_size.as_ref(), 364))?,
            filter: config.filter(&defaults)?,
            table: config.table(&defaults)?,
        })
    }

    fn scaled<'a>(&self, picture: &'a Picture) -> Result<Cow<'a, Picture>> {
        resized(picture, self.scaled_size(picture), self.filter)
    }

    /// The whole picture as one tile.
    fn square(&self, picture: &Picture) -> Result<Picture> {
        let scaled = self.scaled(picture)?;
        resize(&scaled, (self.tile, self.tile), self.filter)
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
