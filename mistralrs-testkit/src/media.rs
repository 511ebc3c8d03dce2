//! Reference values of models that see and hear: what transformers makes of each medium, and
//! log-probabilities of prompts with media in them.

use crate::{GoldenCase, fixture, read_json};
use serde::Deserialize;
use serde_json::{Map, Value};

/// `media.golden.json` of a fixture.
#[derive(Debug, Clone, Deserialize)]
pub struct MediaGolden {
    /// Another fixture with the same pictures and clips, of which its processor makes the same: the pixels are there.
    #[serde(default)]
    pub pixels_of: Option<String>,
    /// The pictures of the folder `images`.
    pub images: Vec<GoldenImage>,
    /// Clips, for models that see them.
    #[serde(default)]
    pub videos: Vec<GoldenVideo>,
    /// Sounds, for models that hear.
    #[serde(default)]
    pub sounds: Vec<GoldenSound>,
    /// Prompts, each with the numbers of its pictures in order.
    pub cases: Vec<MediaCase>,
    /// The token that stands for pictures.
    #[serde(skip)]
    pub image_token: Option<u32>,
    /// The token that stands for clips.
    #[serde(skip)]
    pub video_token: Option<u32>,
    /// The token that stands for sounds.
    #[serde(skip)]
    pub audio_token: Option<u32>,
}

/// A picture and what becomes of it.
#[derive(Debug, Clone, Deserialize)]
pub struct GoldenImage {
    /// Its name in the folder `images`.
    pub file: String,
    /// Patches along time, height and width, where the processor makes patches.
    #[serde(default)]
    pub grid: Vec<usize>,
    /// What the image processor makes of it: `[tiles, channels, height, width]`, or `[patches, width of
    /// a patch]`.
    #[serde(default)]
    pub pixels: GoldenTensor,
    /// What the model makes of that: `[tiles, tokens, width of the text model]`.
    pub features: GoldenTensor,
    /// What is added behind the text model's first layers: `[tokens, width of the text model]` each.
    #[serde(default)]
    pub deepstack: Vec<GoldenTensor>,
}

/// A clip and what becomes of it, as of a picture.
#[derive(Debug, Clone, Deserialize)]
pub struct GoldenVideo {
    /// Its names in the folder `videos`: one animated file, or stills.
    pub files: Vec<String>,
    /// Frames per second; an animated file says so itself.
    pub fps: f64,
    /// Patches along time, height and width.
    pub grid: [usize; 3],
    /// `[patches, width of a patch]`
    #[serde(default)]
    pub pixels: GoldenTensor,
    /// `[tokens, width of the text model]`
    pub features: GoldenTensor,
    /// `[tokens, width of the text model]` each.
    #[serde(default)]
    pub deepstack: Vec<GoldenTensor>,
}

/// A sound and what becomes of it.
#[derive(Debug, Clone, Deserialize)]
pub struct GoldenSound {
    /// Its name in the folder `sounds`; none where the spectrum is all there is.
    #[serde(default)]
    pub file: Option<String>,
    /// Its mel spectrum: `[frames, bins]`.
    pub mel: GoldenTensor,
    /// How many of the frames are sound; the others are padding.
    pub valid: usize,
    /// What the model makes of it, before the rest is filled up: `[tokens, width of the text model]`.
    pub features: GoldenTensor,
}

/// A prompt with pictures; it has a placeholder for every token of them.
#[derive(Debug, Clone, Deserialize)]
pub struct MediaCase {
    /// Which of [`MediaGolden::images`] it has, in order.
    pub images: Vec<usize>,
    /// Which of [`MediaGolden::sounds`] it has, in order.
    #[serde(default)]
    pub sounds: Vec<usize>,
    /// Which of [`MediaGolden::videos`] it has, in order.
    #[serde(default)]
    pub videos: Vec<usize>,
    /// Keys that stand over those of `preprocessor_config.json` here.
    #[serde(default)]
    pub processor: Map<String, Value>,
    /// The conversation that the prompt was rendered from; a medium's part has its number.
    #[serde(default)]
    pub messages: Vec<Value>,
    /// The prompt's positions along time, height and width, for models that have them.
    #[serde(default)]
    pub positions: Vec<Vec<u32>>,
    /// The prompt and its continuation.
    #[serde(flatten)]
    pub text: GoldenCase,
}

/// Numbers in a shape.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct GoldenTensor {
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// The numbers, the last axis fastest.
    pub data: Vec<f32>,
}

/// The reference values of a fixture with media.
///
/// # Panics
/// When there are none, or the pixels are elsewhere and of something else.
pub fn media_golden(name: &str) -> MediaGolden {
    let config: Value = read_json(&fixture(name).join("config.json"));
    let token = |key: &str| config.get(key)?.as_u64()?.try_into().ok();
    let mut golden = MediaGolden {
        image_token: token("image_token_id").or_else(|| token("image_token_index")),
        video_token: token("video_token_id"),
        audio_token: token("audio_token_id"),
        ..read_json(&fixture(name).join("media.golden.json"))
    };
    if let Some(other) = &golden.pixels_of {
        let other: MediaGolden = read_json(&fixture(other).join("media.golden.json"));
        for (image, same) in golden.images.iter_mut().zip(other.images) {
            assert_eq!((&image.file, &image.grid), (&same.file, &same.grid), "{name}");
            image.pixels = same.pixels;
        }
        for (video, same) in golden.videos.iter_mut().zip(other.videos) {
            assert_eq!((&video.files, &video.grid), (&same.files, &same.grid), "{name}");
            video.pixels = same.pixels;
        }
    }
    golden
}
