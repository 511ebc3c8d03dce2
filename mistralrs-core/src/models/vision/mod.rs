//! The parts of models that see: towers, from pixels to features, and what brings features to the
//! width of a text model. They know weights and tensors; no files, no prompts, no engine.

pub mod gemma3;
pub mod gemma3n;
pub mod grid;
pub mod idefics3;
pub mod mobilenet;
pub mod qwen;
pub mod qwen2_vl;
pub mod qwen3_vl;
pub mod siglip;

use crate::forward::{Encoded, Media, Modality};
use candle_core::{Result, Tensor, bail};

/// Most numbers alive per patch in a layer of these widths: the residual and its norm; then either q, k and v as one
/// product and apart, the attended and what comes of it, or the feed-forward block's two; and what a product
/// copies of its input.
pub fn layer_activations(hidden: usize, intermediate: usize) -> usize {
    2 * hidden + (8 * hidden).max(hidden + 2 * intermediate) + hidden.max(intermediate)
}

/// The pixels `[1, channels, height, width]` of a picture or tile.
///
/// # Errors
/// When the medium is none.
pub fn pixels(media: &Media) -> Result<Tensor> {
    let values = media.values();
    if media.modality() != Modality::Image || values.rank() != 3 {
        bail!("{:?} of shape {:?}; this model sees pictures", media.modality(), values.dims());
    }
    values.unsqueeze(0)
}

/// What a tower gave for one picture, `[1, tokens, hidden]` or `[tokens, hidden]`.
///
/// # Errors
/// When it is of another shape.
pub fn encoded(features: &Tensor) -> Result<Encoded> {
    let embeddings = match features.rank() {
        3 => features.squeeze(0)?,
        _ => features.clone(),
    };
    embeddings.dims2()?;
    Ok(Encoded { embeddings, deepstack: Vec::new() })
}
