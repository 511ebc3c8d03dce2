//! Qwen2-VL, Qwen2.5-VL and Qwen3-VL: a picture keeps its shape as far as its sides can be multiples
//! of patch × merge and its area lies between two bounds. Source: transformers' `smart_resize` of the
//! image processor and of Qwen3-VL's video processor.

use super::config::{Defaults, ImageConfig, side};
use super::{DEFAULT_FPS, Family, Layout, Pixels, ProcessorConfig};
use crate::Detail;
use crate::decode::Animation;
use crate::error::{Error, Result};
use crate::normalize::PixelTable;
use crate::patches::{Patching, patches};
use crate::picture::Picture;
use crate::resize::{Filter, resize};

#[derive(Debug, Clone)]
pub(super) struct Grid {
    image: Section,
    video: Section,
    /// Whether the bounds of a video's area are those of all its frames together.
    shared_budget: bool,
    /// Pixels of a video (of a frame, with a shared budget) that each frame gets no more than its share of.
    cap: Option<f64>,
}

/// Images and videos may be treated differently.
#[derive(Debug, Clone)]
struct Section {
    patching: Patching,
    areas: (u64, u64),
    filter: Filter,
    table: PixelTable,
}

const MAX_RATIO: u32 = 200;
const LOW_DETAIL_PIXELS: u64 = 512 * 512;

impl Grid {
    pub fn new(config: &ProcessorConfig, family: Family) -> Result<Self> {
        let shared_budget = family == Family::Qwen3Vl;
        let (patch, areas, video_areas) = match shared_budget {
            true => (16, (65_536, 16_777_216), (128 * 32 * 32, 32 * 32 * 768)),
            false => (14, (56 * 56, 28 * 28 * 1280), (128 * 28 * 28, 28 * 28 * 768)),
        };
        let defaults = match shared_budget {
            true => Defaults { filter: Filter::Bicubic, mean: [0.5; 3], std: [0.5; 3] },
            false => CLIP,
        };
        let of_video = config.video.as_ref().unwrap_or(&config.image);
        let video = Section::new(of_video, &defaults, patch, video_areas)?;
        let capped = of_video.cap_pixels_per_frame.unwrap_or(false);
        let tokens = of_video.max_video_tokens;
        let tokens = tokens.unwrap_or(if shared_budget { 768 } else { 128_000 });
        let pixels = tokens as f64 * (video.patching.factor() as f64).powi(2);
        Ok(Self {
            image: Section::new(&config.image, &defaults, patch, areas)?,
            video,
            shared_budget,
            cap: capped.then_some(pixels),
        })
    }

    pub fn image(&self, picture: &Picture, detail: Detail) -> Result<Pixels> {
        let section = &self.image;
        let (min, max) = section.areas;
        let max = match detail {
            Detail::Low => max.min(LOW_DETAIL_PIXELS).max(min),
            Detail::Auto | Detail::High => max,
        };
        let wanted = smart_size(picture, 1, section.patching.factor(), (min, max))?;
        section.cut(&[resize(picture, wanted, section.filter)?], None)
    }

    pub fn most_tokens(&self) -> usize {
        let of = |section: &Section, most: u64| {
            let square = (section.patching.factor() as u64).pow(2).max(1);
            usize::try_from(most / square).unwrap_or(usize::MAX)
        };
        // Frames may be rounded down to groups: a share is then of fewer than they are.
        let least = 2 * self.least_share();
        let video = self.video.areas.1.max(if self.cap.is_some() { least } else { 0 });
        of(&self.image, self.image.areas.1).max(of(&self.video, video))
    }

    /// What a frame may have in any case where shares are bounded.
    fn least_share(&self) -> u64 {
        (self.video.areas.0 as f64 * 1.05) as u64
    }

    /// The largest area: of a frame, or of all together where they share a budget.
    fn largest_area(&self, frames: usize) -> u64 {
        let (_, most) = self.video.areas;
        let Some(cap) = self.cap else { return most };
        let frames = (frames as u64).max(1);
        match self.shared_budget {
            true => (cap as u64).min(most / frames).max(self.least_share()).saturating_mul(frames),
            false => {
                let together = (cap * 0.9) as u64;
                let share = together.saturating_mul(self.video.patching.temporal as u64) / frames;
                most.min(share).max(self.least_share())
            }
        }
    }

    pub fn video(&self, video: &Animation) -> Result<Pixels> {
        let section = &self.video;
        let first = video.frames.first().ok_or(Error::Empty("video"))?;
        let areas = (section.areas.0, self.largest_area(video.frames.len()));
        let wanted = match self.shared_budget {
            true => self.size_of_frames(first, video.frames.len(), areas)?,
            false => smart_size(first, 1, section.patching.factor(), areas)?,
        };
        video.check_frames()?;
        let frames = video.frames.iter().map(|frame| resize(frame, wanted, section.filter));
        section.cut(&frames.collect::<Result<Vec<_>>>()?, Some(video.fps.unwrap_or(DEFAULT_FPS)))
    }

    /// Frames smaller than a square are enlarged first, and the bounds hold for the whole video.
    fn size_of_frames(
        &self,
        first: &Picture,
        frames: usize,
        areas: (u64, u64),
    ) -> Result<(u32, u32)> {
        let patching = &self.video.patching;
        if frames < patching.temporal {
            let temporal = patching.temporal;
            let message =
                format!("a video needs at least {temporal} frames, this one has {frames}");
            return Err(Error::Invalid(message));
        }
        let factor = patching.factor() as f64;
        let (mut width, mut height) = (f64::from(first.width()), f64::from(first.height()));
        if width < factor || height < factor {
            let scale = (factor / height).max(factor / width);
            (width, height) = ((width * scale).trunc(), (height * scale).trunc());
        }
        let rounded = (frames as f64 / patching.temporal as f64).round_ties_even();
        let area = Area { frames: frames as f64, rounded: rounded * patching.temporal as f64 };
        area.fit((width, height), factor, areas)
    }
}

const CLIP: Defaults = Defaults {
    filter: Filter::Bicubic,
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
};

impl Section {
    fn new(
        config: &ImageConfig,
        defaults: &Defaults,
        patch: usize,
        areas: (u64, u64),
    ) -> Result<Self> {
        let small = |key: &str, value: Option<usize>, default: usize| match value.unwrap_or(default)
        {
            value @ 1..=16 => Ok(value),
            value => Err(Error::Config(format!("`{key}` is {value}; it has to be 1 to 16"))),
        };
        let patch = config.patch_size.unwrap_or(patch);
        let patching = Patching {
            patch: side("patch_size", patch as u64)? as usize,
            temporal: small("temporal_patch_size", config.temporal_patch_size, 2)?,
            merge: small("merge_size", config.merge_size, 2)?,
        };
        Ok(Self {
            patching,
            areas: config.areas(areas)?,
            filter: config.filter(defaults)?,
            table: config.table(defaults)?,
        })
    }

    /// `fps` for a video, none for an image.
    fn cut(&self, frames: &[Picture], fps: Option<f64>) -> Result<Pixels> {
        let (pixels, grid) = patches(frames, self.patching, &self.table)?;
        let Patching { temporal, merge, .. } = self.patching;
        let timestamps = fps.map(|fps| {
            let time = |frame: usize| frame.min(frames.len() - 1) as f64 / fps;
            let middle = |group: usize| {
                (time(group * temporal) + time(group * temporal + temporal - 1)) / 2.
            };
            (0..grid[0]).map(middle).collect()
        });
        let layout = Layout::Grid {
            grid,
            timestamps: timestamps.unwrap_or_default(),
            seconds_per_grid: fps.map_or(0., |fps| temporal as f64 / fps),
        };
        let num_tokens = grid.iter().product::<usize>() / (merge * merge);
        Ok(Pixels { pixels, layout, num_tokens })
    }
}

/// The size of one picture.
fn smart_size(
    picture: &Picture,
    frames: u32,
    factor: usize,
    areas: (u64, u64),
) -> Result<(u32, u32)> {
    let frames = f64::from(frames);
    let size = (f64::from(picture.width()), f64::from(picture.height()));
    Area { frames, rounded: frames }.fit(size, factor as f64, areas)
}

/// What multiplies the area of a frame: 1 unless frames share a budget.
struct Area {
    frames: f64,
    /// Up or down to whole groups.
    rounded: f64,
}

impl Area {
    fn fit(
        &self,
        (width, height): (f64, f64),
        factor: f64,
        (min, max): (u64, u64),
    ) -> Result<(u32, u32)> {
        if width.max(height) / width.min(height) > f64::from(MAX_RATIO) {
            let (width, height) = (width as u32, height as u32);
            return Err(Error::AspectRatio { width, height, limit: MAX_RATIO });
        }
        let (min, max) = (min as f64, max as f64);
        let nearest = |side: f64| (side / factor).round_ties_even() * factor;
        let (mut w, mut h) = (nearest(width), nearest(height));
        if self.rounded * h * w > max {
            let shrink = (self.frames * height * width / max).sqrt();
            let down = |side: f64| ((side / shrink / factor).floor() * factor).max(factor);
            (w, h) = (down(width), down(height));
        } else if self.rounded * h * w < min {
            let grow = (min / (self.frames * height * width)).sqrt();
            let up = |side: f64| (side * grow / factor).ceil() * factor;
            (w, h) = (up(width), up(height));
        }
        Ok((w.max(factor) as u32, h.max(factor) as u32))
    }
}
