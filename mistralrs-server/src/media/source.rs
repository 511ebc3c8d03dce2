//! Bytes that are already here: within the request, or in a folder that the operator names.

use super::MediaConfig;
use crate::fetch::too_large;
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::io::Read;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Base64 of either alphabet, padded or not.
pub(super) fn base64(text: &str, limit: usize) -> Result<Vec<u8>, String> {
    let text = text.trim();
    // Four characters hold three bytes.
    if text.len() / 4 * 3 > limit.saturating_add(3) {
        return Err(too_large(limit));
    }
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let bytes = GeneralPurpose::new(alphabet, LENIENT)
        .decode(text)
        .map_err(|error| format!("it is no base64: {error}"))?;
    if bytes.len() > limit { Err(too_large(limit)) } else { Ok(bytes) }
}

/// Whether a URL brings its bytes itself.
pub fn is_data(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// `data:image/png;base64,…`
pub(super) fn data_url(url: &str, limit: usize) -> Result<Vec<u8>, String> {
    let content = url.split_once(',');
    let (head, content) = content.ok_or("a `data:` URL has a comma before its data")?;
    let encoded =
        head.rsplit(';').next().is_some_and(|it| it.trim().eq_ignore_ascii_case("base64"));
    if !encoded {
        return Err("the data of a `data:` URL have to be base64".to_owned());
    }
    base64(content, limit)
}

/// `file:///folder/picture.png`, below the allowed folder. What lies outside is not told apart from
/// what is not there.
pub(super) fn file_url(config: &MediaConfig, url: &str) -> Result<Vec<u8>, String> {
    let Some(folder) = &config.folder else {
        return Err("files are not allowed here (--allowed-media-path)".to_owned());
    };
    let outside = || "there is no such file below --allowed-media-path".to_owned();
    let path = reqwest::Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
    let path = path.and_then(|path| path.canonicalize().ok()).ok_or_else(outside)?;
    let folder = folder.canonicalize().map_err(|_| outside())?;
    if !path.starts_with(&folder) || !path.is_file() {
        return Err(outside());
    }
    let file = std::fs::File::open(&path).map_err(|_| outside())?;
    let limit = config.max_file_bytes;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|_| outside())?;
    if bytes.len() > limit { Err(too_large(limit)) } else { Ok(bytes) }
}
