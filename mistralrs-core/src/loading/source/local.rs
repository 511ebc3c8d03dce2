//! The files of a model in a folder on disk; the hub's snapshots are such folders too.
//! Errors are reasons in a sentence: the caller knows what was asked for.

use super::choose::{self, Choice, Tower, Wanted};
use super::{ModelFiles, TowerFile};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// An index of the largest models has some ten thousand lines; more is no index.
const LARGEST_INDEX_BYTES: u64 = 64 << 20;

/// Finds the model in `folder`.
pub(super) fn folder(folder: &Path, wanted: &Wanted) -> Result<ModelFiles, String> {
    let choice = choose::choose(&names(folder, wanted)?, wanted)?;
    files(folder, &choice, wanted)
}

/// One `.gguf` file, with its sisters if it is a part of a split one.
pub(super) fn gguf_file(path: &Path, wanted: &Wanted) -> Result<ModelFiles, String> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        let tower = tower(parent, &Tower::of(&BTreeSet::new(), &[], wanted))?;
        return Ok(ModelFiles::Gguf { files: vec![path.to_owned()], tower });
    };
    let names = list(parent)?.into_iter().collect();
    let parts = choose::parts(&names, name)?;
    let tower = tower(parent, &Tower::of(&names, &parts, wanted))?;
    let files = match parts.as_slice() {
        [_] => vec![path.to_owned()],
        _ => parts.iter().map(|part| parent.join(part)).collect(),
    };
    // A tower is not its own, where somebody takes one for the model.
    let tower = tower.filter(|tower| tower.named || !files.contains(&tower.file));
    Ok(ModelFiles::Gguf { files, tower })
}

/// The tower's file as a path; it is there.
fn tower(folder: &Path, tower: &Tower) -> Result<Option<TowerFile>, String> {
    let (file, named) = match tower {
        Tower::None => return Ok(None),
        Tower::Several(names) => {
            let names = names.join(", ");
            tracing::warn!("several towers lie beside the model; name one with --mmproj: {names}");
            return Ok(None);
        }
        Tower::Named(name) => (folder.join(name), true),
        Tower::Elsewhere(file) => (file.clone(), true),
        Tower::Found(name) => (folder.join(name), false),
    };
    match file.is_file() {
        true => Ok(Some(TowerFile { file, named })),
        false => {
            Err(format!("`{}` (--mmproj) is no file, here or beside the model", file.display()))
        }
    }
}

/// The chosen files as paths; all of them are there.
pub(super) fn files(folder: &Path, choice: &Choice, wanted: &Wanted) -> Result<ModelFiles, String> {
    let names = match choice {
        Choice::Gguf { files, .. } | Choice::Safetensors { weights: files } => files.clone(),
        Choice::Sharded { index } => shards(&folder.join(index))?,
    };
    let weights: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    if let Some((_, name)) = weights.iter().zip(&names).find(|(path, _)| !path.is_file()) {
        return Err(format!("`{name}` is missing; the download or copy may be incomplete"));
    }
    if let Choice::Gguf { tower: file, .. } = choice {
        return Ok(ModelFiles::Gguf { files: weights, tower: tower(folder, file)? });
    }
    let optional = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    Ok(ModelFiles::HuggingFace {
        config: folder.join(choose::CONFIG),
        weights,
        tokenizer: wanted.tokenizer.clone().unwrap_or_else(|| folder.join(choose::TOKENIZER)),
        tokenizer_config: optional(choose::TOKENIZER_CONFIG),
        generation_config: optional(choose::GENERATION_CONFIG),
        chat_template: choose::CHAT_TEMPLATES.into_iter().find_map(optional),
        processors: choose::PROCESSORS.into_iter().filter_map(optional).collect(),
    })
}

/// The weight files that the index on disk names.
pub(super) fn shards(index: &Path) -> Result<Vec<String>, String> {
    let bad = |reason: String| format!("`{}`: {reason}", index.display());
    let length = std::fs::metadata(index).map_err(|error| bad(error.to_string()))?.len();
    if length > LARGEST_INDEX_BYTES {
        return Err(bad(format!("{length} bytes are too many for an index")));
    }
    let text = std::fs::read_to_string(index).map_err(|error| bad(error.to_string()))?;
    choose::indexed_weights(&text).map_err(bad)
}

/// The files of the folder, and of those subfolders that named GGUF files lie in.
fn names(folder: &Path, wanted: &Wanted) -> Result<BTreeSet<String>, String> {
    let mut names: BTreeSet<String> = list(folder)?.into_iter().collect();
    let mmproj = wanted.mmproj.as_ref().and_then(|file| file.to_str());
    for file in wanted.gguf_files.iter().map(String::as_str).chain(mmproj) {
        if let Some((sub, _)) = file.rsplit_once('/')
            && choose::stays_inside(file)
            && let Ok(files) = list(&folder.join(sub))
        {
            names.extend(files.into_iter().map(|name| format!("{sub}/{name}")));
        }
    }
    Ok(names)
}

/// Names of the files (links to files included) directly in `folder`.
fn list(folder: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| format!("cannot list `{}`: {error}", folder.display()))?;
    Ok(entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}
