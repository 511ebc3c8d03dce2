//! `toml -f FILE`: the model from a file with a `[model]` table, in the keys of the 0.6 line.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What the file may say. A key that is not here is an error: nothing is silently ignored.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelFile {
    /// The model.
    pub model: ModelTable,
    /// Another tokenizer.
    pub tokenizer_json: Option<PathBuf>,
    /// Not built yet.
    pub speculative: Option<toml::Table>,
    /// Not built yet.
    pub anymoe: Option<toml::Table>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModelTable {
    #[serde(alias = "quantized_model_id")]
    pub model_id: Option<String>,
    pub quantized_filename: Option<Files>,
    #[serde(alias = "tok_model_id")]
    pub tokenizer_json: Option<PathBuf>,
    pub mmproj: Option<PathBuf>,
    pub isq: Option<String>,
    pub topology: Option<PathBuf>,
    pub max_seq_len: Option<usize>,
    pub matformer_config_path: Option<PathBuf>,
    pub matformer_slice_name: Option<String>,
    pub chat_template: Option<PathBuf>,
    pub jinja_explicit: Option<PathBuf>,
    /// Read from the model.
    pub arch: Option<String>,
    /// Weights stay as stored.
    pub dtype: Option<String>,
    /// `--max-seqs` says it.
    pub max_batch_size: Option<usize>,
}

/// One file, several separated by spaces, or a list.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Files {
    One(String),
    Several(Vec<String>),
}

impl Files {
    pub fn into_list(self) -> Vec<String> {
        match self {
            Self::One(names) => names.split_whitespace().map(str::to_owned).collect(),
            Self::Several(names) => names,
        }
    }
}

/// Reads the file; the error is a sentence for the user.
pub(super) fn read(path: &Path) -> Result<ModelFile, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if file.speculative.is_some() {
        return Err(format!("{}: the table [speculative] is not built yet", path.display()));
    }
    if file.anymoe.is_some() {
        return Err(format!("{}: the table [anymoe] is not built yet", path.display()));
    }
    Ok(file)
}

fn parse(text: &str) -> Result<ModelFile, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_older_files() {
        let text = "[model]\ntok_model_id = \"t.json\"\nquantized_model_id = \"dir\"\nquantized_filename = \"a.gguf b.gguf\"\n";
        let file = parse(text).unwrap();
        assert_eq!(file.model.model_id.as_deref(), Some("dir"));
        assert_eq!(file.model.quantized_filename.unwrap().into_list(), ["a.gguf", "b.gguf"]);
        assert_eq!(file.model.tokenizer_json, Some("t.json".into()));
        let plain =
            parse("tokenizer_json = \"x\"\n[model]\nmodel_id = \"q\"\narch = \"qwen2\"\n").unwrap();
        assert_eq!(
            (plain.model.model_id.as_deref(), plain.model.arch.as_deref()),
            (Some("q"), Some("qwen2"))
        );
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = parse("[model]\nmodel_id = \"q\"\nadapters = 1\n").unwrap_err();
        assert!(error.contains("adapters"), "{error}");
    }
}
