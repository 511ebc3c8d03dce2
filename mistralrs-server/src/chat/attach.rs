//! Pictures and sounds on this machine, named in the chat: read from their files, found in what the user
//! typed or dropped into the window. Knows files; no conversation, no engine.

use mistralrs_core::{Audio, Image, Part, Video};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bigger files are refused before they are read.
const MAX_FILE_BYTES: u64 = 25 << 20;

const IMAGES: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff", "gif"];
const SOUNDS: [&str; 4] = ["wav", "mp3", "flac", "ogg"];

/// A file as a part of a message.
///
/// # Errors
/// A sentence with the file and the reason.
pub fn read(path: &Path) -> Result<Part, String> {
    let failed = |what: String| format!("Cannot attach {}: {what}.", path.display());
    let file = std::fs::File::open(at_home(path, std::env::home_dir()))
        .map_err(|error| failed(error.to_string()))?;
    let size = file.metadata().map_err(|error| failed(error.to_string()))?;
    if !size.is_file() || size.len() > MAX_FILE_BYTES {
        return Err(failed(format!("it is no file of at most {MAX_FILE_BYTES} bytes")));
    }
    let mut bytes = Vec::new();
    let taken = file.take(MAX_FILE_BYTES).read_to_end(&mut bytes);
    taken.map_err(|error| failed(error.to_string()))?;
    if is_one_of(path, &SOUNDS) {
        return Ok(Part::Audio(Audio { bytes: bytes.into() }));
    }
    Ok(Part::Image(Image::new(bytes)))
}

/// `~/cat.png` below the user's own folder.
fn at_home(path: &Path, home: Option<PathBuf>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path.to_owned(),
    }
}

/// The file that all of a text names: as it is, or as terminals write what is dropped on them.
pub fn path(text: &str) -> PathBuf {
    let whole = ['"', '\''].into_iter().find_map(|quote| {
        text.strip_prefix(quote)?.strip_suffix(quote).filter(|inside| !inside.contains(quote))
    });
    match whole {
        Some(path) => PathBuf::from(path),
        None => of_url(text).unwrap_or_else(|| unescaped(text)),
    }
}

fn of_url(text: &str) -> Option<PathBuf> {
    text.starts_with("file://").then(|| reqwest::Url::parse(text).ok()?.to_file_path().ok())?
}

/// On Windows a backslash is part of the path.
fn unescaped(text: &str) -> PathBuf {
    if cfg!(windows) { text.into() } else { text.replace("\\ ", " ").into() }
}

/// The text without the files named in it, and the files, in order. A name is a word (in quotes, or with
/// its spaces behind backslashes, as terminals write what is dropped on them) that ends as pictures and
/// sounds do.
pub fn split(text: &str) -> (String, Vec<PathBuf>) {
    let (mut rest, mut paths) = (String::new(), Vec::new());
    let mut start = 0;
    for (from, to) in words(text) {
        let word = text.get(from..to).unwrap_or_default();
        let Some((path, behind)) = path_of(word) else { continue };
        rest.push_str(text.get(start..from).unwrap_or_default());
        // A sentence goes on behind the name.
        rest.push_str(behind);
        paths.push(path);
        start = to;
    }
    rest.push_str(text.get(start..).unwrap_or_default());
    let rest = if paths.is_empty() { rest } else { rest.trim().to_owned() };
    (rest, paths)
}

/// Where words begin and end: at spaces outside quotes that have no backslash before them.
fn words(text: &str) -> Vec<(usize, usize)> {
    let (mut found, mut from, mut quote, mut escaped) = (Vec::new(), None, None, false);
    for (at, c) in text.char_indices() {
        let open = from.is_none();
        match c {
            _ if escaped => escaped = false,
            '\\' => (escaped, from) = (true, from.or(Some(at))),
            '"' | '\'' if open => (quote, from) = (Some(c), Some(at)),
            c if quote == Some(c) => quote = None,
            c if c.is_whitespace() && quote.is_none() => {
                found.extend(from.take().map(|from| (from, at)));
            }
            _ => from = from.or(Some(at)),
        }
    }
    found.extend(from.map(|from| (from, text.len())));
    found
}

/// The path that a word is, and the punctuation behind it.
fn path_of(word: &str) -> Option<(PathBuf, &str)> {
    let known =
        |path: PathBuf| (is_one_of(&path, &IMAGES) || is_one_of(&path, &SOUNDS)).then_some(path);
    let quoted =
        ['"', '\''].into_iter().find_map(|quote| word.strip_prefix(quote)?.split_once(quote));
    if let Some((path, behind)) = quoted {
        return known(path.into()).map(|path| (path, behind));
    }
    let bare = word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')']);
    let behind = word.get(bare.len()..).unwrap_or_default();
    let path = if bare.contains("://") { of_url(bare) } else { Some(unescaped(bare)) };
    path.and_then(known).map(|path| (path, behind))
}

fn is_one_of(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

/// What stands for a part where a conversation is told as text.
pub fn mark(part: &Part) -> String {
    match part {
        Part::Text(text) => text.clone(),
        Part::Image(Image { bytes, .. }) => format!("[image, {} bytes]", bytes.len()),
        Part::Video(Video { frames, .. }) => format!("[video, {} files]", frames.len()),
        Part::Audio(Audio { bytes }) => format!("[audio, {} bytes]", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, rest: &str, paths: &[&str]) {
        let (found, files) = split(text);
        let files: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!((found.as_str(), files.as_slice()), (rest, paths), "{text}");
    }

    #[test]
    fn names_of_pictures_leave_the_text() {
        check("What is in cat.png?", "What is in ?", &["cat.png"]);
        check("/tmp/a.JPG", "", &["/tmp/a.JPG"]);
        check("compare a.png, b.webp and c.txt.", "compare ,  and c.txt.", &["a.png", "b.webp"]);
        check("'/tmp/my cat.png' what?", "what?", &["/tmp/my cat.png"]);
        check("\"my cat.png\", please", ", please", &["my cat.png"]);
        check("listen to a.wav", "listen to", &["a.wav"]);
        check("b.mp3 and c.flac, d.OGG", "and ,", &["b.mp3", "c.flac", "d.OGG"]);
        check("~/a.png", "", &["~/a.png"]);
        check("don't touch  this", "don't touch  this", &[]);
        check("see https://example.com/a.png", "see https://example.com/a.png", &[]);
        check("\\frac{1}{2} is 'half", "\\frac{1}{2} is 'half", &[]);
        check("", "", &[]);
        #[cfg(not(windows))]
        {
            check("/tmp/my\\ cat.png ?", "?", &["/tmp/my cat.png"]);
            check("file:///tmp/a.gif here", "here", &["/tmp/a.gif"]);
            check("file:///tmp/my%20cat.png.", ".", &["/tmp/my cat.png"]);
        }
    }

    #[cfg(not(windows))]
    #[test]
    fn a_name_is_read_as_typed_and_as_dropped() {
        for text in [
            "/tmp/my cat.png",
            "'/tmp/my cat.png'",
            "\"/tmp/my cat.png\"",
            "/tmp/my\\ cat.png",
            "file:///tmp/my%20cat.png",
        ] {
            assert_eq!(path(text), Path::new("/tmp/my cat.png"), "{text}");
        }
        assert_eq!(path("'a' and 'b'"), Path::new("'a' and 'b'"));
        let home = || Some(PathBuf::from("/people/ann"));
        assert_eq!(at_home(Path::new("~/a.png"), home()), Path::new("/people/ann/a.png"));
        assert_eq!(at_home(Path::new("~/a.png"), None), Path::new("~/a.png"));
        assert_eq!(at_home(Path::new("a~/b.png"), home()), Path::new("a~/b.png"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.png");
        assert!(read(&file).unwrap_err().contains("a.png"));
        assert!(read(folder.path()).unwrap_err().contains("no file of at most"));
        std::fs::write(&file, [1, 2, 3]).unwrap();
        assert_eq!(read(&file).unwrap(), Part::Image(Image::new(vec![1, 2, 3])));
        assert_eq!(mark(&read(&file).unwrap()), "[image, 3 bytes]");
    }
}
