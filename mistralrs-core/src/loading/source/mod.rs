//! Id or path → the files of a model, on disk. Downloads from the hub when it has to.
//!
//! `choose` decides by file names alone, `local` finds the chosen files in a folder, `hub`
//! brings them into the cache, which is then a folder like any other.

mod choose;
mod hub;
mod hub_failure;
mod local;
#[cfg(test)]
mod tests;
mod token;
mod transfer;

use crate::error::LoadError;
use crate::loading::LoadOptions;
use choose::Wanted;
use std::path::{Path, PathBuf};

pub use choose::{PREPROCESSOR, PROCESSOR, VIDEO_PREPROCESSOR};
pub use token::TokenSource;

/// How the hub is reached.
#[derive(Debug, Clone, Default)]
pub struct HubOptions {
    /// Where the token comes from.
    pub token_source: TokenSource,
    /// Base address; `None` = the public hub. (`HF_ENDPOINT` on the command line.)
    pub endpoint: Option<String>,
    /// Never go to the network. (`HF_HUB_OFFLINE` on the command line.)
    pub offline: bool,
    /// The folder that holds `models--…`; `None` = `~/.cache/huggingface/hub`.
    /// (`--hf-cache-path`, or `hub` under `HF_HOME`, on the command line.)
    pub cache_dir: Option<PathBuf>,
}

/// The files of a model, none of them on the network any more.
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
        /// [`PREPROCESSOR`], [`PROCESSOR`] and [`VIDEO_PREPROCESSOR`], those that are there.
        processors: Vec<PathBuf>,
    },
    /// GGUF: everything in one file, or in the parts of a split one, in order.
    Gguf {
        /// The files.
        files: Vec<PathBuf>,
        /// The file of the model's eyes (`mmproj`), if there is one.
        tower: Option<TowerFile>,
    },
    /// A GGUF file inside the program.
    Embedded {
        /// Stands for its path in messages.
        name: PathBuf,
        /// The file.
        bytes: &'static [u8],
    },
}

/// The file of a vision tower, beside that of its text model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TowerFile {
    /// The file.
    pub file: PathBuf,
    /// Whether it was asked for; else it lay there.
    pub named: bool,
}

/// Finds the files of `options.model`, downloading what is missing.
///
/// A path is never looked up on the hub, and a model that is complete in the cache is not either:
/// name a revision (`id@revision`) to get another one.
///
/// # Errors
/// [`LoadError::NotFound`] and [`LoadError::Hub`], in sentences.
pub fn resolve(options: &LoadOptions) -> Result<ModelFiles, LoadError> {
    let not_found = |reason: String| LoadError::NotFound { model: options.model.clone(), reason };
    let path = Path::new(&options.model);
    if let Some(bytes) = options.embedded {
        return Ok(ModelFiles::Embedded { name: path.to_owned(), bytes });
    }
    let wanted = Wanted::of(options);
    let files = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => local::folder(path, &wanted).map_err(not_found),
        Ok(_) if is_gguf(path) => local::gguf_file(path, &wanted).map_err(not_found),
        Ok(_) => Err(not_found(
            "a model is a folder, a `.gguf` file or a hub id; for safetensors name the folder that \
             also holds `config.json`"
                .to_owned(),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(LoadError::Io { file: path.to_owned(), source: error })
        }
        Err(_) => match hub::RepoId::parse(&options.model) {
            Some(id) => hub::resolve(&id, &wanted, options),
            None => Err(not_found(why_no_id(&options.model))),
        },
    }?;
    match &files {
        ModelFiles::HuggingFace { .. } if options.mmproj.is_some() => Err(LoadError::Option {
            option: "--mmproj",
            reason: "only GGUF files have their tower in another file".to_owned(),
        }),
        _ => Ok(files),
    }
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Says what is wrong with an argument that is neither an existing path nor a hub id.
fn why_no_id(model: &str) -> String {
    if model.is_empty() {
        "no model was named; give a folder, a `.gguf` file or a hub id".to_owned()
    } else if model.contains("://") {
        "an address is not a hub id; give the id alone, `org/name`".to_owned()
    } else if model.contains(['/', '\\'])
        || model.starts_with(['.', '~'])
        || is_gguf(Path::new(model))
    {
        let expand = if model.starts_with('~') { " (`~` is expanded by shells only)" } else { "" };
        format!("there is no such file or folder{expand}")
    } else {
        "there is no such folder here, and a hub id has the form `org/name`".to_owned()
    }
}
