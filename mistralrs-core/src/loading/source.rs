//! Id or path → the files of a model, on disk. Downloads from the hub when it has to.

use crate::error::LoadError;
use crate::loading::LoadOptions;
use std::path::PathBuf;

/// Where a hub token comes from; the command line spells it `literal:V`, `env:V`, `path:V`, `cache`, `none`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenSource {
    /// The token itself.
    Literal(String),
    /// An environment variable.
    Env(String),
    /// A file.
    Path(PathBuf),
    /// The hub's own cache folder.
    #[default]
    Cache,
    /// No token.
    None,
}

/// How the hub is reached.
#[derive(Debug, Clone, Default)]
pub struct HubOptions {
    /// Where the token comes from.
    pub token_source: TokenSource,
    /// Base address; `None` = the public hub. (`HF_ENDPOINT` on the command line.)
    pub endpoint: Option<String>,
    /// Never go to the network. (`HF_HUB_OFFLINE` on the command line.)
    pub offline: bool,
    /// Cache folder; `None` = the hub's usual one. (`HF_HOME`/`--hf-cache-path` on the command line.)
    pub cache_dir: Option<PathBuf>,
}

/// The files of a model, all on disk.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelFiles {
    /// A Hugging Face folder.
    HuggingFace {
        /// `config.json`.
        config: PathBuf,
        /// The safetensors files, in order.
        weights: Vec<PathBuf>,
        /// `tokenizer.json`.
        tokenizer: PathBuf,
        /// `tokenizer_config.json`, if there.
        tokenizer_config: Option<PathBuf>,
        /// `generation_config.json`, if there.
        generation_config: Option<PathBuf>,
        /// `chat_template.jinja` or `chat_template.json`, if there.
        chat_template: Option<PathBuf>,
    },
    /// GGUF: everything in one file, or in the parts of a split one, in order.
    Gguf {
        /// The files.
        files: Vec<PathBuf>,
    },
}

/// Finds the files of `options.model`, downloading what is missing.
///
/// # Errors
/// [`LoadError::NotFound`] and [`LoadError::Hub`], in sentences.
pub fn resolve(options: &LoadOptions) -> Result<ModelFiles, LoadError> {
    todo!()
}
