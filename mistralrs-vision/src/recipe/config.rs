//! The keys of `preprocessor_config.json`, flat or nested in `processor_config.json`. Both spellings of
//! `size`; `null` means "as the family does". Source: transformers' `ImagesKwargs`.

use crate::error::{Error, Result};
use crate::normalize::PixelTable;
use crate::resize::Filter;
use serde::Deserialize;
use serde_json::Value;

/// What the files say about pictures, before a family fills the gaps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessorConfig {
    pub(super) image: ImageConfig,
    /// Where the files speak of videos.
    pub(super) video: Option<ImageConfig>,
    /// Tokens of one square picture.
    pub(super) tokens_per_picture: Option<usize>,
}

/// One section of the file. Unknown keys are somebody else's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct ImageConfig {
    pub size: Option<Size>,
    pub min_pixels: Option<u64>,
    pub max_pixels: Option<u64>,
    pub resample: Option<u64>,
    pub do_rescale: Option<bool>,
    pub rescale_factor: Option<f64>,
    pub do_normalize: Option<bool>,
    pub image_mean: Option<Vec<f64>>,
    pub image_std: Option<Vec<f64>>,
    pub patch_size: Option<usize>,
    pub temporal_patch_size: Option<usize>,
    pub merge_size: Option<usize>,
    pub do_pan_and_scan: Option<bool>,
    pub pan_and_scan_min_crop_size: Option<u32>,
    pub pan_and_scan_max_num_crops: Option<u32>,
    pub pan_and_scan_min_ratio_to_activate: Option<f64>,
    pub do_image_splitting: Option<bool>,
    pub cap_pixels_per_frame: Option<bool>,
    pub max_video_tokens: Option<u64>,
    pub max_image_size: Option<Size>,
    pub video_sampling: Option<VideoSampling>,
}

/// How SmolVLM takes videos; which frames, the caller has decided.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct VideoSampling {
    pub video_size: Option<Size>,
}

/// All spellings of a size.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Size {
    pub height: Option<u32>,
    pub width: Option<u32>,
    pub shortest_edge: Option<u64>,
    pub longest_edge: Option<u64>,
    pub min_pixels: Option<u64>,
    pub max_pixels: Option<u64>,
}

/// A family's numbers where the file is silent.
pub(super) struct Defaults {
    pub filter: Filter,
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

/// Longest side of anything that is resized to a fixed size, and of patches.
const MAX_SIDE: u32 = 8192;

impl ProcessorConfig {
    /// From a flat or a nested file.
    ///
    /// # Errors
    /// [`Error::Config`] if a key has the wrong type.
    pub fn from_json(config: &Value) -> Result<Self> {
        let read = |value: &Value| {
            serde_json::from_value::<ImageConfig>(value.clone())
                .map_err(|e| Error::Config(e.to_string()))
        };
        let image = read(config.get("image_processor").unwrap_or(config))?;
        let video = config.get("video_processor").map(read).transpose()?;
        let tokens = ["image_seq_length", "image_seq_len"];
        let tokens = tokens.iter().find_map(|key| config.get(key)).and_then(Value::as_u64);
        let tokens_per_picture = tokens.and_then(|tokens| usize::try_from(tokens).ok());
        Ok(Self { image, video, tokens_per_picture })
    }

    /// With the text of `video_preprocessor_config.json`, where a model has one.
    ///
    /// # Errors
    /// [`Error::Config`] if a key has the wrong type.
    pub fn with_video(self, config: &Value) -> Result<Self> {
        let video = Some(Self::from_json(config)?.image);
        Ok(Self { video, ..self })
    }

    /// With the number of tokens of one square picture, where `config.json` has it
    /// (`mm_tokens_per_image`); the processor's own file stands over it.
    pub fn with_tokens_per_picture(self, tokens: usize) -> Self {
        let tokens_per_picture = self.tokens_per_picture.or(Some(tokens));
        Self { tokens_per_picture, ..self }
    }
}

impl ImageConfig {
    /// # Errors
    /// [`Error::Config`] for means that are not three finite numbers, or a deviation of zero.
    pub fn table(&self, defaults: &Defaults) -> Result<PixelTable> {
        let triple = |key: &str, values: &Option<Vec<f64>>, default: [f64; 3]| {
            let Some(values) = values else { return Ok(default) };
            <[f64; 3]>::try_from(values.as_slice())
                .ok()
                .filter(|triple| triple.iter().all(|v| v.is_finite()))
                .ok_or_else(|| Error::Config(format!("`{key}` has to be three numbers")))
        };
        let mean = triple("image_mean", &self.image_mean, defaults.mean)?;
        let std = triple("image_std", &self.image_std, defaults.std)?;
        let factor = self.rescale_factor.unwrap_or(1. / 255.);
        if std.contains(&0.) || !(factor.is_finite() && factor > 0.) {
            let message = "`image_std` and `rescale_factor` may not be 0".to_owned();
            return Err(Error::Config(message));
        }
        let rescale = self.do_rescale.unwrap_or(true).then_some(factor);
        let normalize = self.do_normalize.unwrap_or(true).then_some((mean, std));
        Ok(PixelTable::new(rescale, normalize))
    }

    /// # Errors
    /// [`Error::Config`] for a kernel that is not known.
    pub fn filter(&self, defaults: &Defaults) -> Result<Filter> {
        self.resample.map_or(Ok(defaults.filter), Filter::from_pillow)
    }

    /// Width and height of pictures that all get the same size.
    ///
    /// # Errors
    /// [`Error::Config`] for a size that cannot be.
    pub fn fixed_size(&self, default: u32) -> Result<(u32, u32)> {
        let size = self.size.clone().unwrap_or_default();
        let width = size.width.unwrap_or(default);
        let height = size.height.unwrap_or(default);
        Ok((side("size", u64::from(width))?, side("size", u64::from(height))?))
    }

    /// Smallest and largest area.
    ///
    /// # Errors
    /// [`Error::Config`] if the first is larger than the second, or out of bounds.
    pub fn areas(&self, (min, max): (u64, u64)) -> Result<(u64, u64)> {
        const MAX_AREA: u64 = 1 << 40;
        let size = self.size.clone().unwrap_or_default();
        let min = self.min_pixels.or(size.shortest_edge).or(size.min_pixels).unwrap_or(min);
        let max = self.max_pixels.or(size.longest_edge).or(size.max_pixels).unwrap_or(max);
        if min == 0 || min > max || min > 1 << 26 || max > MAX_AREA {
            let message = format!("`size` allows {min} to {max} pixels, which cannot be");
            return Err(Error::Config(message));
        }
        Ok((min, max))
    }
}

/// A side in pixels that is neither 0 nor absurd.
///
/// # Errors
/// [`Error::Config`] naming the key.
pub(super) fn side(key: &str, value: u64) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|side| (1..=MAX_SIDE).contains(side))
        .ok_or_else(|| Error::Config(format!("`{key}` is {value}; it has to be 1 to {MAX_SIDE}")))
}
