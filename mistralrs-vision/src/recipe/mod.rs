//! A recipe per model family: from pictures to the pixels its encoder reads and the number of tokens
//! that stand for them. The numbers come from `preprocessor_config.json`, or from the
//! `processor_config.json` that transformers 5 writes. Source: transformers 5's image processors.

mod config;
mod crops;
mod qwen;
mod tiles;

pub use config::ProcessorConfig;

use crate::Detail;
use crate::decode::{Animation, Limits};
use crate::error::{Error, Result};
use crate::picture::Picture;
use candle_core::Tensor;
use serde_json::Value;

/// Models whose pictures are prepared alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Qwen2-VL and Qwen2.5-VL: any size, patches of 14.
    Qwen2Vl,
    /// Qwen3-VL: any size, patches of 16; videos share one budget of pixels.
    Qwen3Vl,
    /// Gemma 3: squares, and crops of long pictures if the file says so.
    Gemma3,
    /// Gemma 3n: one square.
    Gemma3n,
    /// Idefics3 and SmolVLM: tiles, and the whole picture as one more.
    Idefics3,
}

/// What an encoder reads of one image or video.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// f32 on the CPU: `[patches, patch_dim]` with [`Layout::Grid`], else `[pictures, 3, height, width]`.
    pub pixels: Tensor,
    /// How the pixels lie.
    pub layout: Layout,
    /// Placeholder tokens that stand for it in the prompt; marks around them do not count.
    pub num_tokens: usize,
}

/// How pixels lie.
#[derive(Debug, Clone, PartialEq)]
pub enum Layout {
    /// Patches in merge order (t, h / merge, w / merge, merge, merge).
    Grid {
        /// Patches in time, down and across, before merging.
        grid: [usize; 3],
        /// Of a video: the middle of each group of frames in seconds; one per step of `grid[0]`.
        timestamps: Vec<f64>,
        /// Of a video: seconds from one step of `grid[0]` to the next; 0 for an image.
        seconds_per_grid: f64,
    },
    /// The whole picture, then this many crops of it.
    Crops {
        /// 0 if the picture is not cut.
        crops: usize,
    },
    /// Tiles row by row, then the whole picture. No rows and columns: the whole picture alone.
    Tiles {
        /// Rows of tiles.
        rows: usize,
        /// Tiles per row.
        columns: usize,
    },
    /// The frames of a video, each a picture of its own.
    Frames {
        /// When each is shown, in seconds.
        timestamps: Vec<f64>,
    },
}

/// Prepares the pictures of one model.
#[derive(Debug, Clone)]
pub struct ImageProcessor {
    recipe: Recipe,
}

#[derive(Debug, Clone)]
enum Recipe {
    Grid(qwen::Grid),
    Crops(crops::Crops),
    Tiles(tiles::Tiles),
}

impl ImageProcessor {
    /// From the text of `preprocessor_config.json` or `processor_config.json`; what is missing takes
    /// the family's defaults.
    ///
    /// # Errors
    /// [`Error::Config`] names the key.
    pub fn from_config(config: &Value, family: Family) -> Result<Self> {
        Self::new(&ProcessorConfig::from_json(config)?, family)
    }

    /// From what was read of the files.
    ///
    /// # Errors
    /// [`Error::Config`] names the key.
    pub fn new(config: &ProcessorConfig, family: Family) -> Result<Self> {
        let recipe = match family {
            Family::Qwen2Vl | Family::Qwen3Vl => Recipe::Grid(qwen::Grid::new(config, family)?),
            Family::Gemma3 | Family::Gemma3n => Recipe::Crops(crops::Crops::new(config, family)?),
            Family::Idefics3 => Recipe::Tiles(tiles::Tiles::new(config)?),
        };
        Ok(Self { recipe })
    }

    /// An image as the encoder reads it.
    ///
    /// # Errors
    /// [`Error::AspectRatio`] for a stripe.
    pub fn image(&self, picture: &Picture, detail: Detail) -> Result<Pixels> {
        match &self.recipe {
            Recipe::Grid(grid) => grid.image(picture, detail),
            Recipe::Crops(crops) => crops.image(picture, detail),
            Recipe::Tiles(tiles) => tiles.image(picture, detail),
        }
    }

    /// A video as the encoder reads it: all its frames. Without `fps` they are taken for 24 per second,
    /// as the reference does.
    ///
    /// # Errors
    /// [`Error::NotTaken`] if the model takes no videos; [`Error::FrameSize`] if the frames differ in
    /// size; [`Error::AspectRatio`] for stripes.
    pub fn video(&self, video: &Animation) -> Result<Pixels> {
        match &self.recipe {
            Recipe::Grid(grid) => grid.video(video),
            Recipe::Tiles(tiles) => tiles.video(video),
            Recipe::Crops(_) => Err(Error::NotTaken("videos")),
        }
    }

    /// The most tokens that an image or a step of a video becomes, where pictures are not cut into pieces
    /// of one size.
    pub fn most_tokens(&self) -> Option<usize> {
        match &self.recipe {
            Recipe::Grid(grid) => Some(grid.most_tokens()),
            Recipe::Crops(_) | Recipe::Tiles(_) => None,
        }
    }

    /// Whether [`Self::video`] can succeed.
    pub fn takes_videos(&self) -> bool {
        match &self.recipe {
            Recipe::Grid(_) => true,
            Recipe::Tiles(tiles) => tiles.takes_videos(),
            Recipe::Crops(_) => false,
        }
    }
}

/// Frames per second of a video that does not say it, as the reference has it.
const DEFAULT_FPS: f64 = 24.;

/// Decodes the files of one video: a list of still frames, or one animated file.
impl Animation {
    /// # Errors
    /// [`Error::FrameSize`] if the frames differ in size.
    fn check_frames(&self) -> Result<()> {
        let sizes = self.frames.iter().map(|frame| (frame.width(), frame.height()));
        let first = sizes.clone().next().unwrap_or_default();
        match sizes.enumerate().find(|(_, found)| *found != first) {
            Some((frame, found)) => Err(Error::FrameSize { frame, found, first }),
            None => Ok(()),
        }
    }

    /// Frames in order; `fps` is the caller's word, and stands over what a file says.
    ///
    /// # Errors
    /// [`Error`] names the limit, or what is wrong with a file.
    pub fn from_files(files: &[&[u8]], fps: Option<f64>, limits: &Limits) -> Result<Self> {
        if fps.is_some_and(|fps| !(fps.is_finite() && fps > 0.)) {
            return Err(Error::Invalid("`fps` has to be greater than 0".to_owned()));
        }
        if files.len() > limits.max_frames {
            return Err(Error::TooManyFrames { limit: limits.max_frames });
        }
        let animation = match files {
            [] => return Err(Error::Empty("video")),
            [file] => crate::decode::decode_frames(file, limits)?,
            files => {
                let (mut frames, mut pixels) = (Vec::with_capacity(files.len()), 0);
                for file in files {
                    let frame = crate::decode::decode(file, limits)?;
                    pixels += u64::from(frame.width()) * u64::from(frame.height());
                    crate::decode::check_clip(pixels, limits)?;
                    frames.push(frame);
                }
                Self { frames, fps: None }
            }
        };
        Ok(Self { fps: fps.or(animation.fps), ..animation })
    }
}

#[cfg(test)]
mod tests;
