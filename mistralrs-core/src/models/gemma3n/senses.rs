//! What Gemma 3n has beside its text: eyes, ears, and the vocabulary's tokens that speak of pictures and
//! sounds. A checkpoint may have either, both or neither.

use super::embedder::MediaEmbedder;
use crate::error::LoadError;
use crate::forward::{Encoded, ForwardBatch, Media, MediaItem, Modality, RopePositions};
use crate::models::audio::gemma3n::{Gemma3nAudio, Gemma3nAudioConfig};
use crate::models::vision::gemma3n::{Gemma3nVision, Gemma3nVisionConfig};
use crate::models::{MediaEncoder, TowerShape, vision};
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::Place;
use serde_json::Value;
use std::path::Path;

/// The keys of both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SensesConfig {
    vision: Option<Gemma3nVisionConfig>,
    audio: Option<Gemma3nAudioConfig>,
}

impl SensesConfig {
    /// Reads those that the whole `config.json` has; `text` is the text model's width and vocabulary.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(
        file: &Path,
        json: &Value,
        text: (usize, usize),
    ) -> std::result::Result<Self, LoadError> {
        let has = |part: &str| json.get(part).is_some_and(Value::is_object);
        let vision = || Gemma3nVisionConfig::parse(file, json, text.0);
        let audio = || Gemma3nAudioConfig::parse(file, json, text);
        Ok(Self {
            vision: has("vision_config").then(vision).transpose()?,
            audio: has("audio_config").then(audio).transpose()?,
        })
    }
}

impl SensesConfig {
    /// What looking costs, where the file speaks of eyes.
    pub fn tower(&self) -> Option<TowerShape> {
        self.vision.as_ref().map(Gemma3nVisionConfig::shape)
    }
}

/// Those that a checkpoint has.
pub struct Senses {
    vision: Option<Gemma3nVision>,
    audio: Option<Gemma3nAudio>,
}

impl Senses {
    /// Reads those whose tensors are there.
    ///
    /// # Errors
    /// When a tensor of one is missing or misshapen.
    pub fn load(config: &SensesConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let model = weights.pp("model");
        let ignored = |tower: &str, embedder: &str| {
            model.pp(tower).ignore();
            model.pp(embedder).ignore();
        };
        let vision = config.vision.as_ref().filter(|_| model.pp("embed_vision").has_any());
        let audio = config.audio.as_ref().filter(|_| model.pp("embed_audio").has_any());
        if vision.is_none() {
            ignored("vision_tower", "embed_vision");
        }
        if audio.is_none() {
            ignored("audio_tower", "embed_audio");
        }
        Ok(Self {
            vision: vision.map(|config| Gemma3nVision::load(config, weights)).transpose()?,
            audio: audio.map(|config| Gemma3nAudio::load(config, weights)).transpose()?,
        })
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.vision.is_some() || self.audio.is_some()
    }

    /// Puts the embeddings of tokens about pictures and sounds, those in place of which media stand left
    /// out, into their rows of `x` `[tokens, hidden]`, which is written to.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn place_tokens(&self, x: &Tensor, batch: &ForwardBatch) -> Result<()> {
        let vision = self.vision.as_ref().map(Gemma3nVision::embedder);
        let audio = self.audio.as_ref().map(Gemma3nAudio::embedder);
        for embedder in [vision, audio].into_iter().flatten() {
            place(embedder, x, batch)?;
        }
        Ok(())
    }
}

fn place(embedder: &MediaEmbedder, x: &Tensor, batch: &ForwardBatch) -> Result<()> {
    let known = embedder.ids();
    let is_medium = |row: usize| batch.media.iter().any(|span| span.rows.contains(&row));
    let rows: Vec<(usize, u32)> = batch
        .token_ids
        .iter()
        .copied()
        .enumerate()
        .filter(|(row, id)| known.contains(&(*id as usize)) && !is_medium(*row))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<u32> = rows.iter().map(|(_, id)| *id).collect();
    let embedded = Place::of(x).take(&embedder.tokens(&ids)?)?;
    for (number, (row, _)) in rows.iter().enumerate() {
        x.slice_set(&embedded.narrow(0, number, 1)?, 0, *row)?;
    }
    Ok(())
}

impl MediaEncoder for Senses {
    /// A sound is a mel spectrum `[frames, bins]`; its grid begins with the number of frames that are
    /// not padding.
    fn encode(&self, media: &Media) -> Result<Encoded> {
        match (media.modality(), &self.vision, &self.audio) {
            (Modality::Image, Some(eyes), _) => {
                vision::encoded(&eyes.forward(&vision::pixels(media)?)?)
            }
            (Modality::Audio, _, Some(ears)) => {
                let [valid, ..] = media.grid();
                vision::encoded(&ears.forward(media.values(), valid)?)
            }
            (other, ..) => bail!("{other:?}: this checkpoint has no part for it"),
        }
    }

    fn positions(&self, _: usize, _: &[MediaItem]) -> Option<RopePositions> {
        None
    }

    fn sees_both_ways(&self) -> bool {
        false
    }
}
