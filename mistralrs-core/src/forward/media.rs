//! What is no text in a prompt: pictures, clips and sounds as an encoder takes them, the places of
//! their tokens, and what the encoder makes of them. Knows numbers and hashes; no files, no pixels.

use candle_core::{DType, Device, Result, Tensor};
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Identifies what an encoder is given, to the bit: a cryptographic hash, since whoever sends
/// pictures must not be able to make two that are taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    fn of(modality: Modality, values: &[f32], shape: &[usize], grid: [usize; 3]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([modality as u8]);
        for number in grid.iter().chain(shape) {
            hasher.update((*number as u64).to_le_bytes());
        }
        for values in values.chunks(4096) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            hasher.update(bytes);
        }
        Self(hasher.finalize().into())
    }
}

/// What kind of medium it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Modality {
    Image,
    Video,
    Audio,
}

/// One picture, clip or sound (or one tile of a picture), ready for a model's encoder.
#[derive(Debug, Clone)]
pub struct Media {
    modality: Modality,
    values: Tensor,
    grid: [usize; 3],
    seconds_per_grid: f32,
    hash: ContentHash,
    _counted: Option<Arc<Counted>>,
}

/// How many bytes of media there are at this moment. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct LiveBytes(Arc<AtomicUsize>);

impl LiveBytes {
    /// The number.
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a medium adds to the number, as long as it lives.
#[derive(Debug)]
struct Counted {
    bytes: usize,
    all: LiveBytes,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Media {
    /// `values` in `shape` as the model's preprocessing gives them (for Qwen-VL `[patches, channels ×
    /// frames × patch × patch]`, for SigLIP `[channels, height, width]`), and in `grid` the patches
    /// along time, height and width; `[1, 1, 1]` where the shape says all.
    ///
    /// # Errors
    /// When there are not as many values as the shape says.
    pub fn new(
        modality: Modality,
        values: Vec<f32>,
        shape: &[usize],
        grid: [usize; 3],
    ) -> Result<Self> {
        let hash = ContentHash::of(modality, &values, shape, grid);
        let values = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok(Self { modality, values, grid, seconds_per_grid: 0.0, hash, _counted: None })
    }

    /// The same of a tensor.
    ///
    /// # Errors
    /// When its numbers cannot be read.
    pub fn of_tensor(modality: Modality, values: &Tensor, grid: [usize; 3]) -> Result<Self> {
        let values = values.to_dtype(DType::F32)?.contiguous()?;
        let numbers = values.flatten_all()?.to_vec1::<f32>()?;
        let hash = ContentHash::of(modality, &numbers, values.dims(), grid);
        Ok(Self { modality, values, grid, seconds_per_grid: 0.0, hash, _counted: None })
    }

    /// A clip of which each step of the grid's first axis stands for so many seconds.
    #[must_use]
    pub fn with_seconds_per_grid(self, seconds: f32) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.hash.0);
        hasher.update(seconds.to_le_bytes());
        let hash = ContentHash(hasher.finalize().into());
        Self { seconds_per_grid: seconds, hash, ..self }
    }

    /// The same, counted among the living.
    #[must_use]
    pub fn counted(self, all: &LiveBytes) -> Self {
        let bytes = self.bytes();
        all.0.fetch_add(bytes, Ordering::Relaxed);
        Self { _counted: Some(Arc::new(Counted { bytes, all: all.clone() })), ..self }
    }

    /// What its numbers take.
    pub fn bytes(&self) -> usize {
        self.values.elem_count() * DType::F32.size_in_bytes()
    }

    /// What kind it is.
    pub fn modality(&self) -> Modality {
        self.modality
    }

    /// What the encoder takes, f32.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Patches along time, height and width.
    pub fn grid(&self) -> [usize; 3] {
        self.grid
    }

    /// Seconds that a step along time stands for; 0 for what has no time.
    pub fn seconds_per_grid(&self) -> f32 {
        self.seconds_per_grid
    }

    /// Equal for what the encoder would take for the same.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }
}

/// A medium and the tokens of the prompt that stand for it.
#[derive(Debug, Clone)]
pub struct MediaItem {
    /// Positions of its placeholder tokens; as many as the encoder gives rows.
    pub tokens: Range<usize>,
    /// The medium.
    pub media: Arc<Media>,
}

/// What an encoder made of one medium.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[tokens, hidden]`: what the decoder reads in place of its placeholders' embeddings.
    pub embeddings: Tensor,
    /// `[tokens, hidden]` each: what is added behind the decoder's first layers (DeepStack).
    pub deepstack: Vec<Tensor>,
}

impl Encoded {
    /// What it costs to keep.
    pub fn bytes(&self) -> usize {
        let all = std::iter::once(&self.embeddings).chain(&self.deepstack);
        all.map(|tensor| tensor.elem_count() * DType::F32.size_in_bytes()).sum()
    }

    /// Tokens it stands for.
    pub fn len(&self) -> usize {
        self.embeddings.dims().first().copied().unwrap_or(0)
    }

    /// Whether it stands for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows of a step whose tokens stand for (a part of) a medium.
#[derive(Debug, Clone)]
pub struct MediaSpan {
    /// The rows.
    pub rows: Range<usize>,
    /// Which of the medium's tokens stands in the first row.
    pub first: usize,
    /// What was made of the whole medium.
    pub encoded: Arc<Encoded>,
}

impl MediaSpan {
    /// What the rows are to hold in place of embeddings: `[rows, hidden]`.
    ///
    /// # Errors
    /// When the medium has fewer tokens.
    pub fn embeddings(&self) -> Result<Tensor> {
        self.encoded.embeddings.narrow(0, self.first, self.rows.len())
    }

    /// What is added to the rows behind layer number `layer`, if anything: `[rows, hidden]`.
    ///
    /// # Errors
    /// When the medium has fewer tokens.
    pub fn deepstack(&self, layer: usize) -> Result<Option<Tensor>> {
        let features = self.encoded.deepstack.get(layer);
        features.map(|all| all.narrow(0, self.first, self.rows.len())).transpose()
    }
}

/// Positions of a prompt along time, height and width, for rotary embeddings with sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RopePositions {
    /// `[tokens]`
    pub prompt: Vec<[u32; 3]>,
    /// Of the first token after the prompt, along all three axes; each further one is one more.
    pub next: u32,
}

impl RopePositions {
    /// Of any token of the sequence.
    pub fn at(&self, position: usize) -> [u32; 3] {
        let behind = || self.next + position.saturating_sub(self.prompt.len()) as u32;
        self.prompt.get(position).copied().unwrap_or_else(|| [behind(); 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(values: &[f32], shape: &[usize], grid: [usize; 3]) -> Media {
        Media::new(Modality::Image, values.to_vec(), shape, grid).unwrap()
    }

    #[test]
    fn a_hash_tells_apart_whatever_differs() {
        let numbers = [1.0, 2.0, 3.0, 4.0];
        let first = media(&numbers, &[2, 2], [1, 1, 2]);
        assert_eq!(first.hash(), media(&numbers, &[2, 2], [1, 1, 2]).hash());
        let same = Tensor::from_vec(numbers.to_vec(), (2, 2), &Device::Cpu).unwrap();
        let same = Media::of_tensor(Modality::Image, &same, [1, 1, 2]).unwrap();
        assert_eq!(first.hash(), same.hash());
        let others = [
            media(&[1.0, 2.0, 3.0, 4.000_001], &[2, 2], [1, 1, 2]),
            media(&numbers, &[4, 1], [1, 1, 2]),
            media(&numbers, &[2, 2], [1, 2, 1]),
            first.clone().with_seconds_per_grid(0.5),
            Media::new(Modality::Video, numbers.to_vec(), &[2, 2], [1, 1, 2]).unwrap(),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(first.hash(), other.hash(), "{i}");
        }
        assert!(Media::new(Modality::Image, numbers.to_vec(), &[3, 2], [1; 3]).is_err());
    }

    #[test]
    fn media_are_counted_as_long_as_they_live() {
        let all = LiveBytes::default();
        let first = media(&[1.0, 2.0], &[2], [1; 3]).counted(&all);
        let second = media(&[3.0], &[1], [1; 3]).counted(&all);
        assert_eq!((first.bytes(), all.now()), (8, 12));
        let again = first.clone();
        drop(first);
        assert_eq!(all.now(), 12, "its numbers are still there");
        drop(again);
        assert_eq!(all.clone().now(), 4);
        drop(second.with_seconds_per_grid(1.0));
        assert_eq!(all.now(), 0);
    }

    #[test]
    fn positions_go_on_behind_the_prompt() {
        let positions = RopePositions { prompt: vec![[0; 3], [1, 1, 2]], next: 3 };
        let all: Vec<_> = (0..4).map(|at| positions.at(at)).collect();
        assert_eq!(all, [[0; 3], [1, 1, 2], [3; 3], [4; 3]]);
    }
}
