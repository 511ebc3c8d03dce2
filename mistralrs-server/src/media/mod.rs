//! The bytes of pictures, videos and sounds that a request refers to: `data:` URLs always, `file:` and
//! `http(s):` only where the operator allows it. Knows URLs and limits; decodes nothing.

mod source;

pub use source::is_data;

use crate::error::ApiError;
use crate::fetch::{self, FetchRules};
use crate::openai::message::{ContentBody, Messages};
use crate::openai::part::Source;
use mistralrs_core::MediaBytes;
use std::path::PathBuf;
use std::time::Duration;

/// What requests may refer to, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaConfig {
    /// Files below this folder may be named by `file:` URLs; none = no files.
    pub folder: Option<PathBuf>,
    /// Hosts that media are fetched from: `example.com`, `127.0.0.1:8080`, or `*` for every host with a
    /// public address. Empty = nothing is fetched. A host that is named may have a private address.
    pub hosts: Vec<String>,
    /// Largest file.
    pub max_file_bytes: usize,
    /// All files of a request together.
    pub max_request_bytes: usize,
    /// Files of a request.
    pub max_files: usize,
    /// Longest time for one URL, redirects included.
    pub timeout: Duration,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            folder: None,
            hosts: Vec::new(),
            max_file_bytes: 20 << 20,
            max_request_bytes: 100 << 20,
            max_files: 128,
            timeout: Duration::from_secs(20),
        }
    }
}

impl MediaConfig {
    fn rules(&self) -> FetchRules {
        FetchRules {
            hosts: self.hosts.clone(),
            max_bytes: self.max_file_bytes,
            timeout: self.timeout,
            option: "--allowed-media-host",
        }
    }
}

/// Reads everything that a conversation refers to, in order.
///
/// # Errors
/// [`ApiError`] with the path of the field, and the limit.
pub async fn fetch(config: &MediaConfig, messages: &mut Messages) -> Result<(), ApiError> {
    let mut reader = Reader::new(config);
    for (i, message) in messages.0.iter_mut().enumerate() {
        let Some(ContentBody::Parts(parts)) = &mut message.content else { continue };
        for (j, part) in parts.iter_mut().enumerate() {
            let mut fetched = Vec::new();
            let Some(media) = part.media(&format!("messages[{i}].content[{j}]"))? else { continue };
            for (path, source) in media.sources {
                fetched.push(reader.read(&source, &path).await?);
            }
            part.fetched = fetched;
        }
    }
    Ok(())
}

/// A URL in another dialect's request.
pub struct Referred<'a> {
    /// The path of its field.
    pub path: String,
    /// The URL.
    pub url: &'a str,
    /// Where its file goes.
    pub fetched: &'a mut Vec<MediaBytes>,
}

/// Reads everything that URLs refer to, in order.
///
/// # Errors
/// As [`fetch()`].
pub async fn fetch_urls(config: &MediaConfig, urls: Vec<Referred<'_>>) -> Result<(), ApiError> {
    let mut reader = Reader::new(config);
    for Referred { path, url, fetched } in urls {
        *fetched = vec![reader.read(&Source::Url(url), &path).await?];
    }
    Ok(())
}

/// Reads the files of one request, and counts them.
struct Reader<'a> {
    config: &'a MediaConfig,
    files: usize,
    bytes: usize,
}

impl<'a> Reader<'a> {
    fn new(config: &'a MediaConfig) -> Self {
        Self { config, files: 0, bytes: 0 }
    }

    /// One more file.
    async fn read(&mut self, source: &Source<'_>, path: &str) -> Result<MediaBytes, ApiError> {
        let Self { config, files, bytes } = self;
        *files += 1;
        if *files > config.max_files {
            let limit = config.max_files;
            let message = format!("`{path}` is one file more than {limit}, the limit");
            return Err(ApiError::invalid(path, message));
        }
        let file = read(config, source, path).await?;
        *bytes += file.len();
        if *bytes > config.max_request_bytes {
            let limit = config.max_request_bytes;
            let message = format!(
                "with `{path}` the files of the request have more than {limit} bytes, the limit"
            );
            return Err(ApiError::invalid(path, message));
        }
        Ok(file)
    }
}

/// What the request itself brings, where nothing has been fetched.
///
/// # Errors
/// [`ApiError`] with the path of the field; also for what would have to be fetched.
pub fn brought(sources: &[(String, Source<'_>)]) -> Result<Vec<MediaBytes>, ApiError> {
    let limit = MediaConfig::default().max_file_bytes;
    let read = |(path, source): &(String, Source<'_>)| {
        let bytes = match source {
            Source::Base64(text) => source::base64(text, limit),
            Source::Url(url) if is_data(url) => source::data_url(url, limit),
            Source::Url(_) => Err("here it has to be a `data:` URL".to_owned()),
        };
        named(path, bytes)
    };
    sources.iter().map(read).collect()
}

async fn read(
    config: &MediaConfig,
    source: &Source<'_>,
    path: &str,
) -> Result<MediaBytes, ApiError> {
    let bytes = match source {
        Source::Base64(text) => source::base64(text, config.max_file_bytes),
        Source::Url(url) if is_data(url) => source::data_url(url, config.max_file_bytes),
        Source::Url(url) => match url.split_once(':').map(|(scheme, _)| scheme) {
            Some(scheme) if scheme.eq_ignore_ascii_case("file") => file(config, url).await,
            Some("http" | "https" | "HTTP" | "HTTPS") => {
                fetch::get(&config.rules(), url).await.map(|fetched| fetched.bytes)
            }
            _ => Err("it has to be a `data:`, `https:`, `http:` or `file:` URL".to_owned()),
        },
    };
    named(path, bytes)
}

fn named(path: &str, bytes: Result<Vec<u8>, String>) -> Result<MediaBytes, ApiError> {
    bytes
        .map(MediaBytes::from)
        .map_err(|reason| ApiError::invalid(path, format!("`{path}` cannot be read: {reason}")))
}

/// Away from the threads that serve: disks may be slow.
async fn file(config: &MediaConfig, url: &str) -> Result<Vec<u8>, String> {
    let (config, url) = (config.clone(), url.to_owned());
    let read = tokio::task::spawn_blocking(move || source::file_url(&config, &url));
    read.await.unwrap_or_else(|_| Err("reading it failed".to_owned()))
}

#[cfg(test)]
mod tests;
