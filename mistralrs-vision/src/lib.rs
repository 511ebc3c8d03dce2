//! Pixels and sound to tensors: decoding, resizing, normalizing and cutting images into patches, a
//! recipe per model family; sound to samples and log-mel frames. Knows images, sound and candle; not
//! core, not the network.
//!
//! ```
//! use mistralrs_vision::{Detail, Family, ImageProcessor, Limits, decode};
//!
//! # fn run(png: &[u8], preprocessor_config: &serde_json::Value) -> mistralrs_vision::Result<()> {
//! let processor = ImageProcessor::from_config(preprocessor_config, Family::Qwen2Vl)?;
//! let picture = decode(png, &Limits::default())?;
//! let pixels = processor.image(&picture, Detail::Auto)?;
//! println!("{} placeholder tokens, pixels {:?}", pixels.num_tokens, pixels.pixels.dims());
//! # Ok(())
//! # }
//! ```
//!
//! The reference is transformers 5 with its torchvision image processors; the goldens say so.
#![forbid(unsafe_code)]

pub mod audio;
mod decode;
mod error;
mod jpeg;
mod normalize;
mod patches;
mod picture;
mod recipe;
mod resize;

pub use decode::{Animation, Limits, decode, decode_frames};
pub use error::{Error, Result};
pub use normalize::{PixelTable, normalize};
pub use patches::{Patching, patches, planes};
pub use picture::Picture;
pub use recipe::{Family, ImageProcessor, Layout, Pixels, ProcessorConfig};
pub use resize::{Filter, resize};

/// How closely a model is to look at a picture (OpenAI's `detail`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Detail {
    /// As the model's files say.
    #[default]
    Auto,
    /// Cheaply: at most 512 × 512 pixels, no crops or tiles.
    Low,
    /// As the model's files say.
    High,
}
