//! Where the hub token comes from. It is read when it is needed, and printed by nothing.

use crate::error::LoadError;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a hub token comes from; the command line spells it `literal:V`, `path:V`, `cache`, `none`.
/// Its `env:V` is a literal by the time it comes here: core reads no environment.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum TokenSource {
    /// The token itself.
    Literal(String),
    /// A file.
    Path(PathBuf),
    /// The hub's own cache folder.
    #[default]
    Cache,
    /// No token.
    None,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::Path(path) => write!(f, "Path({path:?})"),
            Self::Cache => f.write_str("Cache"),
            Self::None => f.write_str("None"),
        }
    }
}

impl TokenSource {
    /// The token; `cached` is where the hub's own login puts one.
    pub(super) fn read(&self, cached: &Path) -> Result<Option<String>, LoadError> {
        let bad = |reason: String| LoadError::Option { option: "--token-source", reason };
        let text = match self {
            Self::None => return Ok(None),
            Self::Literal(token) => token.clone(),
            Self::Path(path) => std::fs::read_to_string(path)
                .map_err(|error| bad(format!("cannot read `{}`: {error}", path.display())))?,
            Self::Cache => match std::fs::read_to_string(cached) {
                Ok(text) if !text.trim().is_empty() => text,
                _ => return Ok(None),
            },
        };
        let token = text.trim();
        if token.is_empty() {
            return Err(bad("the token is empty".to_owned()));
        }
        if !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(bad("the token holds characters that no token has".to_owned()));
        }
        Ok(Some(token.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_gives_its_token_or_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let missing = folder.path().join("missing");
        std::fs::write(&file, " hf_abc\n").unwrap();
        let read =
            |source: TokenSource, cached: &Path| source.read(cached).map_err(|e| e.to_string());
        assert_eq!(read(TokenSource::None, &file), Ok(None));
        assert_eq!(read(TokenSource::Cache, &file), Ok(Some("hf_abc".into())));
        assert_eq!(read(TokenSource::Cache, &missing), Ok(None));
        assert_eq!(read(TokenSource::Path(file.clone()), &missing), Ok(Some("hf_abc".into())));
        assert_eq!(read(TokenSource::Literal("t\n".into()), &missing), Ok(Some("t".into())));
        for (source, word) in [
            (TokenSource::Path(missing.clone()), "missing"),
            (TokenSource::Literal(" ".into()), "empty"),
            (TokenSource::Literal("se\ncret".into()), "characters"),
        ] {
            let error = read(source, &missing).unwrap_err();
            assert!(error.contains("--token-source") && error.contains(word), "{error}");
            assert!(!error.contains("cret"), "the token leaks: {error}");
        }
    }

    #[test]
    fn a_literal_token_is_not_in_the_debug_text() {
        let options = super::super::HubOptions {
            token_source: TokenSource::Literal("hf_secret".into()),
            ..Default::default()
        };
        assert!(!format!("{options:?}").contains("hf_secret"));
    }
}
