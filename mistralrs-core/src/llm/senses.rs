//! What a model sees and hears: from the files of a conversation to what its encoder takes and what stands for it
//! in the prompt. The preparation itself is `mistralrs-vision`'s; how families write media is here.
//! Source of the texts: the processors of Hugging Face transformers (`processing_*.py`).

use super::media::modality;
use super::placeholders::{self, Mark, Prepared};
use super::places::Places;
use super::written;
use crate::error::{LoadError, RequestError};
use crate::forward::{LiveBytes, Media, MediaItem, Modality};
use crate::loading::read_json;
use crate::loading::source::{ModelFiles, PREPROCESSOR, PROCESSOR, VIDEO_PREPROCESSOR};
use crate::request::{Audio, Content, Image, Message, Part};
use crate::text::Tokenizer;
use candle_core::Tensor;
use mistralrs_vision::audio::{self, AudioLimits, LogMel, MelFrames};
use mistralrs_vision::{
    Animation, Family, ImageProcessor, Layout, Limits, Pixels, ProcessorConfig, decode,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The eyes of one model, before its encoder.
#[derive(Debug)]
pub(crate) struct Senses {
    family: Family,
    images: ImageProcessor,
    limits: Limits,
    /// Of models that hear.
    mel: Option<LogMel>,
    marks: Vec<Mark>,
    /// The tokens of the marks' placeholders.
    placeholders: Vec<(u32, Modality)>,
    /// Where requests are prepared.
    places: Places,
    /// Of what was prepared and is still needed.
    live: LiveBytes,
    /// Above this, what other requests need leaves no room for one more.
    most_live_bytes: usize,
}

/// What media are prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// To be seen, in a context of so many tokens.
    Seen {
        /// The context.
        most_tokens: usize,
        /// Whether a prompt that is too long loses its beginning.
        cut: bool,
    },
    /// Only their number of tokens counts.
    Counted,
}

impl Use {
    /// One piece for the encoder; without its numbers, and what they hash to, where nobody looks at them.
    fn media(
        self,
        modality: Modality,
        values: &Tensor,
        grid: [usize; 3],
    ) -> candle_core::Result<Media> {
        match self {
            Self::Seen { .. } => Media::of_tensor(modality, values, grid),
            Self::Counted => Media::new(modality, Vec::new(), &[0], grid),
        }
    }
}

/// What a picture will be to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Of the file, in pixels.
    pub width: u32,
    /// Of the file, in pixels.
    pub height: u32,
    /// Tokens of the prompt that will stand for it, without the marks around them.
    pub tokens: usize,
}

/// Gemma 3's picture in the prompt. The first is one past the text model's vocabulary, where some GGUF files end: a token that
/// nobody writes serves as well, for its embedding is never read.
const GEMMA_PICTURE: [&str; 2] = ["<image_soft_token>", "<unused0>"];

/// What chat templates write for media, and the tokens that stand for them.
fn marks(family: Family, knows: impl Fn(&str) -> bool) -> Vec<Mark> {
    let mark = |modality, template, placeholder| Mark { modality, template, placeholder };
    let image = |template, placeholder| mark(Modality::Image, template, placeholder);
    let video = |template| mark(Modality::Video, template, "<|video_pad|>");
    let pad = image("<|image_pad|>", "<|image_pad|>");
    match family {
        Family::Qwen2Vl => vec![pad, video("<|video_pad|>")],
        // Each pair of frames has marks of its own, behind its time.
        Family::Qwen3Vl => vec![pad, video("<|vision_start|><|video_pad|><|vision_end|>")],
        Family::Gemma3 => {
            let [soft, _] = GEMMA_PICTURE;
            let token = GEMMA_PICTURE.into_iter().find(|token| knows(token)).unwrap_or(soft);
            vec![image("<start_of_image>", token)]
        }
        Family::Gemma3n => vec![
            image("<image_soft_token>", "<image_soft_token>"),
            mark(Modality::Audio, "<audio_soft_token>", "<audio_soft_token>"),
        ],
        // Each frame of a video is written as a picture.
        Family::Idefics3 => {
            vec![image("<image>", "<image>"), mark(Modality::Video, "<video>", "<image>")]
        }
    }
}

/// What a model's files say of how its pictures and sounds are prepared.
#[derive(Debug)]
pub(crate) struct Preparation {
    family: Family,
    images: ImageProcessor,
    json: Value,
    /// For messages.
    file: PathBuf,
    tokenizer_file: PathBuf,
}

impl Preparation {
    /// Reads the processor's files; `config` is `config.json`.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the file and the key; [`LoadError::NotFound`] for files that cannot say it.
    pub(crate) fn read(
        files: &ModelFiles,
        family: Family,
        config: &Value,
    ) -> Result<Self, LoadError> {
        let ModelFiles::HuggingFace { processors, tokenizer, .. } = files else {
            return Err(LoadError::NotFound {
                model: "the model".to_owned(),
                reason: "its GGUF file says nothing of how pictures are prepared".to_owned(),
            });
        };
        let json = processor_json(processors)?;
        let file = processors.first().map_or(Path::new(PREPROCESSOR), PathBuf::as_path).to_owned();
        let images = image_processor(processors, &json, family, config);
        let images = images.map_err(|error| bad_file(&file, &error))?;
        Ok(Self { family, images, json, file, tokenizer_file: tokenizer.clone() })
    }

    /// From what a GGUF model's files say of its pictures, as the processor's files would: `file` is the tower's,
    /// `tokenizer_file` that of the text model.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub(crate) fn of_gguf(
        (file, json): (&Path, &Value),
        tokenizer_file: &Path,
        family: Family,
        config: &Value,
    ) -> Result<Self, LoadError> {
        let images = image_processor(&[], json, family, config);
        let images = images.map_err(|error| bad_file(file, &error))?;
        let (json, file) = (json.clone(), file.to_owned());
        Ok(Self { family, images, json, file, tokenizer_file: tokenizer_file.to_owned() })
    }

    /// The most tokens that a picture becomes, where the files say it.
    pub(crate) fn most_tokens(&self) -> Option<usize> {
        self.images.most_tokens()
    }
}

fn bad_file(file: &Path, error: &impl ToString) -> LoadError {
    LoadError::BadFile { file: file.to_owned(), reason: error.to_string() }
}

impl Senses {
    /// Finds the tokens that stand for media.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the file and the key, or the token that the tokenizer lacks.
    pub(crate) fn new(
        preparation: Preparation,
        tokenizer: &Tokenizer,
        most_live_bytes: usize,
    ) -> Result<Self, LoadError> {
        let Preparation { family, images, json, file, tokenizer_file } = preparation;
        let id = |mark: &Mark| Some((tokenizer.token_id(mark.placeholder)?, mark.modality));
        let videos = images.takes_videos();
        let marks = marks(family, |token| tokenizer.token_id(token).is_some());
        let taken = marks.into_iter().filter(|m| videos || m.modality != Modality::Video);
        let (marks, placeholders): (Vec<Mark>, Vec<_>) =
            taken.filter_map(|mark| Some((mark, id(&mark)?))).unzip();
        if marks.is_empty() {
            return Err(bad_file(&tokenizer_file, &"none of its tokens stands for media"));
        }
        let hears = marks.iter().any(|mark| mark.modality == Modality::Audio);
        let mel = hears.then(|| LogMel::from_config(&json)).transpose();
        let mel = mel.map_err(|error| bad_file(&file, &error))?;
        Ok(Self {
            family,
            images,
            limits: Limits::default(),
            mel,
            marks,
            placeholders,
            places: Places::of_machine(),
            live: LiveBytes::default(),
            most_live_bytes,
        })
    }

    /// What stands for one of this kind in the prompt's text.
    fn placeholder(&self, modality: Modality) -> &'static str {
        self.marks.iter().find(|it| it.modality == modality).map_or("", |mark| mark.placeholder)
    }

    /// Whether it takes this kind.
    pub(crate) fn takes(&self, modality: Modality) -> bool {
        self.marks.iter().any(|mark| mark.modality == modality)
    }

    /// The media of a conversation, in order, ready for the encoder. Files of few bytes may be pictures of many
    /// numbers, so none is prepared that has no room in the context.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] with the path `messages[i].content[j]`; [`RequestError::TooMuchMedia`];
    /// [`RequestError::MediaInFlight`] while other requests need too much.
    pub(crate) fn prepare(
        &self,
        messages: &[Message],
        wanted: Use,
    ) -> Result<Vec<Prepared>, RequestError> {
        let parts = media_of(messages);
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let _place = self.places.take();
        let (mut prepared, mut tokens, mut bytes) = (Vec::with_capacity(parts.len()), 0, 0);
        // The last one first: what is cut off is the beginning.
        for (path, part, modality) in parts.into_iter().rev() {
            if let Use::Seen { most_tokens, cut } = wanted
                && tokens > most_tokens
            {
                if !cut {
                    return Err(RequestError::TooMuchMedia { tokens, limit: most_tokens });
                }
                prepared.push(Prepared::cut_off(modality));
                continue;
            }
            self.check_live_bytes(bytes)?;
            let made = self
                .part(part, wanted)
                .map_err(|e| RequestError::invalid(&path, format!("`{path}`: {e}")))?;
            tokens += made.num_tokens();
            bytes += made.bytes();
            prepared.push(made);
        }
        prepared.reverse();
        Ok(prepared)
    }

    /// `own` is what the request itself has prepared.
    fn check_live_bytes(&self, own: usize) -> Result<(), RequestError> {
        let (bytes, limit) = (self.live.now().saturating_sub(own), self.most_live_bytes);
        match bytes > limit {
            true => Err(RequestError::MediaInFlight { bytes, limit }),
            false => Ok(()),
        }
    }

    fn part(&self, part: &Part, wanted: Use) -> mistralrs_vision::Result<Prepared> {
        match part {
            Part::Text(_) => Err(mistralrs_vision::Error::NotTaken("text among media")),
            Part::Image(image) => {
                let picture = decode(&image.bytes, &self.limits)?;
                let pixels = self.images.image(&picture, image.detail)?;
                self.written(Modality::Image, pixels, wanted)
            }
            Part::Video(video) => {
                let files: Vec<&[u8]> = video.frames.iter().map(|frame| &**frame).collect();
                let animation = Animation::from_files(&files, video.fps, &self.limits)?;
                self.written(Modality::Video, self.images.video(&animation)?, wanted)
            }
            Part::Audio(audio) => self.sound(audio, wanted),
        }
    }

    /// Writes media in place of their marks in a rendered conversation.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when there are not as many marks as media.
    pub(crate) fn write(&self, prompt: &str, media: &[Prepared]) -> Result<String, RequestError> {
        placeholders::write_media(prompt, &self.marks, media)
    }

    /// Repeats placeholders as often as what they stand for has tokens.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when there are not as many placeholders as media.
    pub(crate) fn expand(
        &self,
        tokens: &[u32],
        media: &[Prepared],
    ) -> Result<(Vec<u32>, Vec<MediaItem>), RequestError> {
        placeholders::expand(tokens, &self.placeholders, media)
    }

    /// How large a picture is, and how many tokens it will be.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when it cannot be read.
    pub(crate) fn look(&self, image: &Image) -> Result<Look, RequestError> {
        let bad =
            |error: mistralrs_vision::Error| RequestError::invalid("image", error.to_string());
        let _place = self.places.take();
        let picture = decode(&image.bytes, &self.limits).map_err(bad)?;
        let pixels = self.images.image(&picture, image.detail).map_err(bad)?;
        Ok(Look { width: picture.width(), height: picture.height(), tokens: pixels.num_tokens })
    }

    fn sound(&self, sound: &Audio, wanted: Use) -> mistralrs_vision::Result<Prepared> {
        let Some(mel) = &self.mel else { return Err(mistralrs_vision::Error::NotTaken("sound")) };
        let sound = audio::decode(&sound.bytes, &AudioLimits::default())?;
        let MelFrames { features, mask, num_tokens } = mel.sound(&sound)?;
        let valid = mask.iter().take_while(|is_sound| **is_sound).count();
        let media = wanted.media(Modality::Audio, &features, [valid, 1, 1])?;
        Ok(Prepared {
            modality: Modality::Audio,
            text: "\n\n<start_of_audio><audio_soft_token><end_of_audio>\n\n".to_owned(),
            pieces: vec![(Arc::new(media.counted(&self.live)), num_tokens)],
        })
    }

    /// Text and pieces of one picture or video.
    fn written(
        &self,
        modality: Modality,
        pixels: Pixels,
        wanted: Use,
    ) -> mistralrs_vision::Result<Prepared> {
        let Pixels { pixels, layout, num_tokens } = pixels;
        let mut kind = modality;
        let (text, cuts) = match &layout {
            Layout::Grid { grid, timestamps, .. } => self.write_grid(modality, *grid, timestamps),
            Layout::Crops { crops } => {
                (written::crops(*crops, self.placeholder(modality)), vec![[1; 3]; crops + 1])
            }
            Layout::Tiles { rows, columns } => {
                (written::tiles(*rows, *columns), vec![[1; 3]; rows * columns + 1])
            }
            Layout::Frames { timestamps } => {
                kind = Modality::Image;
                (written::frames(timestamps), vec![[1; 3]; timestamps.len()])
            }
        };
        let count = cuts.len().max(1);
        let (rows, mut first) = (pixels.dim(0)?, 0);
        let seconds = match layout {
            Layout::Grid { seconds_per_grid, .. } => seconds_per_grid as f32,
            _ => 0.0,
        };
        let mut pieces = Vec::with_capacity(count);
        for grid in cuts {
            let mut values = pixels.narrow(0, first, rows / count)?;
            // A picture or tile, without the axis along which there are several.
            if pixels.rank() == 4 {
                values = values.squeeze(0)?;
            }
            first += rows / count;
            let mut media = wanted.media(kind, &values, grid)?;
            if seconds > 0.0 {
                media = media.with_seconds_per_grid(seconds);
            }
            pieces.push((Arc::new(media.counted(&self.live)), num_tokens / count));
        }
        Ok(Prepared { modality, text, pieces })
    }

    fn write_grid(
        &self,
        modality: Modality,
        grid: [usize; 3],
        timestamps: &[f64],
    ) -> (String, Vec<[usize; 3]>) {
        let [frames, height, width] = grid;
        match (modality, self.family) {
            (Modality::Video, Family::Qwen3Vl) => {
                (written::pairs(timestamps), vec![[1, height, width]; frames])
            }
            (Modality::Video, _) => ("<|video_pad|>".to_owned(), vec![grid]),
            _ => ("<|image_pad|>".to_owned(), vec![grid]),
        }
    }
}

/// What of a conversation is no text, with its path and kind.
fn media_of(messages: &[Message]) -> Vec<(String, &Part, Modality)> {
    let mut media = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        let Content::Parts(parts) = &message.content else { continue };
        for (j, part) in parts.iter().enumerate() {
            if let Some(modality) = modality(part) {
                media.push((format!("messages[{i}].content[{j}]"), part, modality));
            }
        }
    }
    media
}

fn read_named(files: &[PathBuf], name: &str) -> Result<Option<Value>, LoadError> {
    let is_it = |file: &&PathBuf| file.file_name().is_some_and(|found| found == name);
    files.iter().find(is_it).map(|file| read_json(file)).transpose()
}

/// What the files that are there say of pictures and sound.
fn processor_json(files: &[PathBuf]) -> Result<Value, LoadError> {
    let (whole, images) = (read_named(files, PROCESSOR)?, read_named(files, PREPROCESSOR)?);
    Ok(match (whole, images) {
        // What transformers 5 writes holds everything.
        (Some(whole), None) => whole,
        (Some(whole), _) if whole.get("image_processor").is_some() => whole,
        (whole, Some(mut images)) => {
            for key in ["image_seq_length", "image_seq_len", "audio_seq_length"] {
                let tokens = whole.as_ref().and_then(|whole| whole.get(key)).cloned();
                if let (Some(keys), Some(tokens)) = (images.as_object_mut(), tokens) {
                    keys.insert(key.to_owned(), tokens);
                }
            }
            images
        }
        (None, None) => {
            tracing::warn!("the model has no {PREPROCESSOR}: its family's numbers are taken");
            json!({})
        }
    })
}

/// From what the files say, and from `config.json` what they leave open.
fn image_processor(
    files: &[PathBuf],
    json: &Value,
    family: Family,
    config: &Value,
) -> mistralrs_vision::Result<ImageProcessor> {
    let mut processor = ProcessorConfig::from_json(json)?;
    let video = read_named(files, VIDEO_PREPROCESSOR);
    let video = video.map_err(|error| mistralrs_vision::Error::Config(error.to_string()))?;
    if let Some(video) = video {
        processor = processor.with_video(&video)?;
    }
    let tokens = config.get("mm_tokens_per_image").and_then(Value::as_u64);
    if let Some(tokens) = tokens.and_then(|tokens| usize::try_from(tokens).ok()) {
        processor = processor.with_tokens_per_picture(tokens);
    }
    ImageProcessor::new(&processor, family)
}

#[cfg(test)]
mod tests;
