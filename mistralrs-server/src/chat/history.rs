//! What was typed earlier: a list with a place in it, kept in a file of the user's configuration.
//! A file that cannot be read or written costs the history, never the chat.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

const MAX_ENTRIES: usize = 1000;
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Earlier inputs, oldest first, and where in them the user is.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<String>,
    /// `None` = not in the history but at the new input.
    place: Option<usize>,
    /// The new input while the user is in the history.
    draft: String,
    file: Option<PathBuf>,
}

/// Where the input history lives by the conventions of the platform; `variable` reads the environment.
pub fn history_path(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let config = if cfg!(windows) {
        folder("APPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        folder("XDG_CONFIG_HOME")
            .filter(|it| it.is_absolute())
            .or_else(|| folder("HOME").map(|home| home.join(".config")))
    };
    config.map(|it| it.join("mistral.rs").join("history.txt"))
}

impl History {
    /// Reads the file if there is one. A file that cannot be read is a warning, in words.
    pub fn open(file: Option<PathBuf>) -> (Self, Option<String>) {
        let mut history = Self { file, ..Self::default() };
        let Some(path) = history.file.clone() else { return (history, None) };
        match read(&path) {
            Ok(text) => {
                let skip = text.lines().count().saturating_sub(MAX_ENTRIES);
                history.entries =
                    text.lines().skip(skip).filter(|it| !it.is_empty()).map(unescape).collect();
                (history, None)
            }
            Err(error) => {
                // Appending to what cannot be read would help nobody.
                history.file = None;
                (
                    history,
                    Some(format!("The input history {} cannot be read: {error}.", path.display())),
                )
            }
        }
    }

    /// Adds an input. If the file cannot be written, the warning comes once.
    pub fn add(&mut self, text: &str) -> Option<String> {
        self.place = None;
        self.draft.clear();
        if text.trim().is_empty() || self.entries.back().is_some_and(|last| last == text) {
            return None;
        }
        self.entries.push_back(text.to_owned());
        if self.entries.len() > MAX_ENTRIES {
            self.entries.pop_front();
        }
        let path = self.file.clone()?;
        self.write(&path, text).err().map(|error| {
            self.file = None;
            format!("The input history {} cannot be written: {error}.", path.display())
        })
    }

    /// Appends one entry; a file that has grown too long is written anew with the newest half.
    fn write(&mut self, path: &Path, text: &str) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        if file.metadata()?.len() < MAX_FILE_BYTES {
            return file.write_all(format!("{}\n", escape(text)).as_bytes());
        }
        let lines: Vec<String> = self.entries.iter().map(|entry| escape(entry) + "\n").collect();
        let mut kept = 0;
        let newest = lines.iter().rev().take_while(|line| {
            kept += line.len() as u64;
            kept <= MAX_FILE_BYTES / 2
        });
        let newest: Vec<&str> = newest.map(String::as_str).collect();
        file.set_len(0)?;
        newest.iter().rev().try_for_each(|line| file.write_all(line.as_bytes()))
    }

    /// The input before the one shown; `shown` is kept as the draft if it is the new one.
    pub fn earlier(&mut self, shown: &str) -> Option<&str> {
        let place = match self.place {
            None => {
                self.draft = shown.to_owned();
                self.entries.len().checked_sub(1)?
            }
            Some(place) => place.checked_sub(1)?,
        };
        self.place = Some(place);
        self.entries.get(place).map(String::as_str)
    }

    /// The input after the one shown; at the end the draft.
    pub fn later(&mut self) -> Option<&str> {
        let place = self.place? + 1;
        if place < self.entries.len() {
            self.place = Some(place);
            return self.entries.get(place).map(String::as_str);
        }
        self.place = None;
        Some(&self.draft)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(2 * MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some('r')) => text.push('\r'),
            ('\\', Some(other)) => text.push(other),
            (other, _) => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_and_down_keep_the_draft() {
        let (mut history, _) = History::open(None);
        assert_eq!(history.earlier("x"), None);
        for text in ["a", "b", "b", "  "] {
            assert_eq!(history.add(text), None);
        }
        assert_eq!(history.earlier("draft"), Some("b"));
        assert_eq!(history.earlier("b"), Some("a"));
        assert_eq!(history.earlier("a"), None);
        assert_eq!(history.later(), Some("b"));
        assert_eq!(history.later(), Some("draft"));
        assert_eq!(history.later(), None);
    }

    #[test]
    fn survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/history.txt");
        let (mut first, warning) = History::open(Some(file.clone()));
        assert_eq!(warning, None);
        for text in ["one", "two\nlines \\n \\", "漢字"] {
            assert_eq!(first.add(text), None);
        }
        let (second, warning) = History::open(Some(file));
        assert_eq!(warning, None);
        assert_eq!(second.entries, first.entries);
    }

    #[test]
    fn a_failing_write_warns_once() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("file");
        std::fs::write(&blocker, "").unwrap();
        let (mut history, _) = History::open(Some(folder.path().join("none/history.txt")));
        history.file = Some(blocker.join("history.txt"));
        assert!(history.add("a").unwrap().contains("cannot be written"));
        assert_eq!(history.add("b"), None);
        assert_eq!(history.earlier(""), Some("b"));
    }

    #[test]
    fn a_file_does_not_grow_forever() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.txt");
        let (mut history, _) = History::open(Some(file.clone()));
        let long = "x".repeat(1 << 19);
        for i in 0..20 {
            assert_eq!(history.add(&format!("{i} {long}")), None);
            assert!(std::fs::metadata(&file).unwrap().len() < MAX_FILE_BYTES + (1 << 20));
        }
        let (again, _) = History::open(Some(file));
        assert_eq!(again.entries.back(), history.entries.back());
    }

    #[test]
    fn an_unreadable_file_warns() {
        let folder = tempfile::tempdir().unwrap();
        let (history, warning) = History::open(Some(folder.path().to_owned()));
        assert!(warning.unwrap().contains("cannot be read"));
        assert!(history.file.is_none());
    }

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn follows_the_platform() {
        let path = |pairs: &'static [(&str, &str)]| {
            history_path(|name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, it)| (*it).to_owned())
            })
        };
        let there = |it: &str| Some(PathBuf::from(it));
        assert_eq!(path(&[("HOME", "/h")]), there("/h/.config/mistral.rs/history.txt"));
        assert_eq!(
            path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")]),
            there("/c/mistral.rs/history.txt")
        );
        assert_eq!(
            path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "rel")]),
            there("/h/.config/mistral.rs/history.txt")
        );
        assert_eq!(path(&[("HOME", "")]), None);
    }
}
