//! One part of a message's content: text, or a reference to a picture, a video or a sound. Knows no
//! route; `crate::media` reads what is referred to.

use crate::error::ApiError;
use crate::media;
use mistralrs_core::{Audio, Detail, Image, MediaBytes, Part, Video};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// One part of a message's content.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct PartBody {
    /// `text`, `image_url`, `video_url`, `audio_url` or `input_audio`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    pub text: Option<String>,
    /// A URL, or `{"url", "detail": "auto" | "low" | "high"}`.
    #[schema(value_type = Option<Object>)]
    pub image_url: Option<Value>,
    /// A URL, or `{"url"}`.
    #[schema(value_type = Option<Object>)]
    pub audio_url: Option<Value>,
    /// The URL of an animated picture, `{"url", "fps"}`, or `{"frames": [URL, …], "fps"}`.
    #[schema(value_type = Option<Object>)]
    pub video_url: Option<Value>,
    /// `{"data": base64, "format": "wav" | "mp3" | "flac" | "ogg"}`.
    #[schema(value_type = Option<Object>)]
    pub input_audio: Option<Value>,
    /// Not supported.
    #[schema(value_type = Option<Object>)]
    pub file: Option<Value>,
    /// A part of kind `refusal`.
    pub refusal: Option<String>,
    /// The files of the part, once they have been read.
    #[serde(skip)]
    #[schema(ignore)]
    pub fetched: Vec<MediaBytes>,
}

/// Where the bytes of a file come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// A URL.
    Url(&'a str),
    /// The bytes themselves, in base64.
    Base64(&'a str),
}

/// What a part of media says.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaBody<'a> {
    /// Its files, each with the path of its field.
    pub sources: Vec<(String, Source<'a>)>,
    kind: MediaKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum MediaKind {
    Image(Detail),
    Video(Option<f64>),
    Audio,
}

/// What sounds may be; which of them one is, its first bytes say.
const SOUNDS: [&str; 4] = ["wav", "mp3", "flac", "ogg"];

impl PartBody {
    /// A part of text.
    pub fn text(text: String) -> Self {
        Self {
            kind: "text".to_owned(),
            text: Some(text),
            image_url: None,
            audio_url: None,
            video_url: None,
            input_audio: None,
            file: None,
            refusal: None,
            fetched: Vec::new(),
        }
    }

    /// What the part says if it is no text.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is missing or wrong.
    pub fn media(&self, path: &str) -> Result<Option<MediaBody<'_>>, ApiError> {
        let (value, keys): (_, &[&str]) = match self.kind.as_str() {
            "image_url" => (&self.image_url, &["url", "detail"]),
            "video_url" => (&self.video_url, &["url", "frames", "fps"]),
            "audio_url" => (&self.audio_url, &["url"]),
            "input_audio" => (&self.input_audio, &["data", "format"]),
            _ => return Ok(None),
        };
        let path = format!("{path}.{}", self.kind);
        let field = Field { path, value, keys };
        match self.kind.as_str() {
            "image_url" => field.image(),
            "video_url" => field.video(),
            "audio_url" => field.url().map(|source| field.media(vec![source], MediaKind::Audio)),
            _ => field.input_audio(),
        }
        .map(Some)
    }

    /// The part as the engine takes it; media with the files that were read, or that the request brings.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field.
    pub fn into_core(self, path: &str) -> Result<Part, ApiError> {
        if let Some(media) = self.media(path)? {
            let kind = media.kind;
            let files = match self.fetched.is_empty() {
                true => media::brought(&media.sources)?,
                false => self.fetched,
            };
            return Ok(kind.with_files(files));
        }
        match self.kind.as_str() {
            "text" => self.text.map(Part::Text).ok_or_else(|| {
                ApiError::invalid(format!("{path}.text"), format!("`{path}.text` is missing"))
            }),
            "refusal" => Ok(Part::Text(self.refusal.or(self.text).unwrap_or_default())),
            kind => {
                let kind: String = kind.chars().take(40).collect();
                let message = format!(
                    "`{path}.type` is `{kind}`; it has to be text, image_url, video_url, audio_url or \
                     input_audio"
                );
                Err(ApiError::invalid(format!("{path}.type"), message))
            }
        }
    }
}

impl MediaKind {
    /// There is one file, or those of a video.
    fn with_files(self, files: Vec<MediaBytes>) -> Part {
        let mut files = files;
        let mut only = || files.pop().unwrap_or_else(|| Vec::new().into());
        match self {
            Self::Image(detail) => Part::Image(Image { bytes: only(), detail }),
            Self::Audio => Part::Audio(Audio { bytes: only() }),
            Self::Video(fps) => Part::Video(Video { frames: files, fps }),
        }
    }
}

/// The object that describes a medium.
struct Field<'a> {
    path: String,
    value: &'a Option<Value>,
    keys: &'static [&'static str],
}

impl<'a> Field<'a> {
    fn refuse<T>(&self, key: &str, wanted: &str) -> Result<T, ApiError> {
        let path = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        Err(ApiError::invalid(path.as_str(), format!("`{path}` has to be {wanted}")))
    }

    fn media(&self, sources: Vec<(String, Source<'a>)>, kind: MediaKind) -> MediaBody<'a> {
        MediaBody { sources, kind }
    }

    /// # Errors
    /// If there is no object, or a key in it that nobody would heed.
    fn object(&self) -> Result<&'a Map<String, Value>, ApiError> {
        let Some(Value::Object(object)) = self.value else {
            return self.refuse("", &format!("an object with {}", self.keys.join(", ")));
        };
        match object.keys().find(|key| !self.keys.contains(&key.as_str())) {
            Some(key) => {
                let key: String = key.chars().take(40).collect();
                self.refuse("", &format!("an object with {}, not `{key}`", self.keys.join(", ")))
            }
            None => Ok(object),
        }
    }

    /// A URL, by itself or in an object.
    fn url(&self) -> Result<(String, Source<'a>), ApiError> {
        if let Some(Value::String(url)) = self.value {
            return Ok((self.path.clone(), Source::Url(url)));
        }
        match self.object()?.get("url") {
            Some(Value::String(url)) => Ok((format!("{}.url", self.path), Source::Url(url))),
            _ => self.refuse("url", "a URL"),
        }
    }

    fn image(&self) -> Result<MediaBody<'a>, ApiError> {
        let source = self.url()?;
        let detail = self.value.as_ref().and_then(|value| value.get("detail"));
        let detail = match detail.filter(|detail| !detail.is_null()).map(Value::as_str) {
            None | Some(Some("auto")) => Detail::Auto,
            Some(Some("low")) => Detail::Low,
            Some(Some("high")) => Detail::High,
            Some(_) => return self.refuse("detail", "auto, low or high"),
        };
        Ok(self.media(vec![source], MediaKind::Image(detail)))
    }

    fn video(&self) -> Result<MediaBody<'a>, ApiError> {
        let inside = |key| self.value.as_ref().and_then(|value| value.get(key));
        let fps = match inside("fps").filter(|fps| !fps.is_null()).map(Value::as_f64) {
            None => None,
            Some(Some(fps)) if fps > 0. => Some(fps),
            Some(_) => return self.refuse("fps", "a number greater than 0"),
        };
        let Some(frames) = inside("frames") else {
            return Ok(self.media(vec![self.url()?], MediaKind::Video(fps)));
        };
        if self.object()?.contains_key("url") {
            return self.refuse("frames", "absent where there is `url`");
        }
        let Value::Array(frames) = frames else { return self.refuse("frames", "a list of URLs") };
        if frames.is_empty() {
            return self.refuse("frames", "at least one URL");
        }
        let sources = frames.iter().enumerate().map(|(i, frame)| match frame {
            Value::String(url) => Ok((format!("{}.frames[{i}]", self.path), Source::Url(url))),
            _ => self.refuse(&format!("frames[{i}]"), "a URL"),
        });
        Ok(self.media(sources.collect::<Result<_, _>>()?, MediaKind::Video(fps)))
    }

    fn input_audio(&self) -> Result<MediaBody<'a>, ApiError> {
        let object = self.object()?;
        let format = object.get("format").and_then(Value::as_str);
        let known = |format: &str| SOUNDS.iter().any(|known| format.eq_ignore_ascii_case(known));
        if format.is_some_and(|format| !known(format)) {
            return self.refuse("format", "wav, mp3, flac or ogg");
        }
        match object.get("data") {
            Some(Value::String(data)) => {
                let source = (format!("{}.data", self.path), Source::Base64(data));
                Ok(self.media(vec![source], MediaKind::Audio))
            }
            _ => self.refuse("data", "a string of base64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(value: Value) -> PartBody {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_kind_becomes_its_part() {
        let core = |value: Value| {
            let mut fetched = part(value.clone());
            fetched.fetched = vec![vec![7].into()];
            let fetched = fetched.into_core("p").unwrap();
            assert_eq!(
                part(value).into_core("p").unwrap(),
                fetched,
                "what it brings needs no fetching"
            );
            fetched
        };
        let image = |detail| Part::Image(Image { bytes: vec![7].into(), detail });
        let url = "data:;base64,Bw==";
        assert_eq!(core(json!({"type": "image_url", "image_url": url})), image(Detail::Auto));
        let asked = json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}});
        assert_eq!(core(asked), image(Detail::Low));
        let video = json!({"type": "video_url", "video_url": {"frames": [url], "fps": 2.5}});
        let wanted = Video { frames: vec![vec![7].into()], fps: Some(2.5) };
        assert_eq!(core(video), Part::Video(wanted));
        for format in ["wav", "mp3", "FLAC", "ogg"] {
            let sound = json!({"data": "Bw==", "format": format});
            let audio = json!({"type": "input_audio", "input_audio": sound});
            assert_eq!(core(audio), Part::Audio(Audio { bytes: vec![7].into() }));
        }
        let audio = json!({"type": "audio_url", "audio_url": {"url": url}});
        assert_eq!(core(audio), Part::Audio(Audio { bytes: vec![7].into() }));
    }

    #[test]
    fn faults_name_their_path() {
        let table = [
            (json!({"type": "image_url"}), "p.image_url"),
            (json!({"type": "image_url", "image_url": 5}), "p.image_url"),
            (json!({"type": "image_url", "image_url": {}}), "p.image_url.url"),
            (json!({"type": "image_url", "image_url": {"url": 5}}), "p.image_url.url"),
            (json!({"type": "image_url", "image_url": {"url": "", "zoom": 1}}), "p.image_url"),
            (
                json!({"type": "image_url", "image_url": {"url": "", "detail": "huge"}}),
                "p.image_url.detail",
            ),
            (json!({"type": "video_url", "video_url": {"url": "", "fps": 0}}), "p.video_url.fps"),
            (json!({"type": "video_url", "video_url": {"frames": []}}), "p.video_url.frames"),
            (json!({"type": "video_url", "video_url": {"frames": [5]}}), "p.video_url.frames[0]"),
            (
                json!({"type": "video_url", "video_url": {"frames": [""], "url": ""}}),
                "p.video_url.frames",
            ),
            (json!({"type": "input_audio", "input_audio": {}}), "p.input_audio.data"),
            (
                json!({"type": "input_audio", "input_audio": {"data": "", "format": "aac"}}),
                "p.input_audio.format",
            ),
            (json!({"type": "audio_url", "audio_url": null}), "p.audio_url"),
            (json!({"type": "image_url", "image_url": "data:,"}), "p.image_url"),
            (json!({"type": "image_url", "image_url": {"url": "https://a/b"}}), "p.image_url.url"),
            (json!({"type": "file", "file": {}}), "p.type"),
            (json!({"type": "text"}), "p.text"),
        ];
        for (value, path) in table {
            let error = part(value.clone()).into_core("p").unwrap_err();
            assert_eq!(error.field(), Some(path), "{value}");
        }
    }
}
