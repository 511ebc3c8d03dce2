//! Which of the files of a folder or repository make the model: decided by names alone, so that
//! a folder, the hub's file list and the cache follow one rule. Touches no disk and no network.

use crate::loading::LoadOptions;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const GENERATION_CONFIG: &str = "generation_config.json";
/// How a model that sees wants its pictures.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// The same and more, as transformers 5 writes it.
pub const PROCESSOR: &str = "processor_config.json";
/// The same of videos, where they differ.
pub const VIDEO_PREPROCESSOR: &str = "video_preprocessor_config.json";
pub(super) const PROCESSORS: [&str; 3] = [PREPROCESSOR, PROCESSOR, VIDEO_PREPROCESSOR];
pub(super) const CHAT_TEMPLATES: [&str; 2] = ["chat_template.jinja", "chat_template.json"];
/// What sentence-transformers keeps beside the configuration.
const SENTENCE_FILES: [&str; 3] =
    ["modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"];
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// Names shown in a message at most.
const SHOWN: usize = 20;

/// What the operator said about files.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// GGUF files named explicitly.
    pub gguf_files: Vec<String>,
    /// A tokenizer from elsewhere.
    pub tokenizer: Option<PathBuf>,
    /// The tower's GGUF file: a name in the folder, or a path to elsewhere.
    pub mmproj: Option<PathBuf>,
    /// Among several GGUF files take `Q4_K_M` unasked.
    pub prefer_q4_k_m: bool,
}

impl Wanted {
    pub fn of(options: &LoadOptions) -> Self {
        Self {
            gguf_files: options.gguf_files.clone(),
            tokenizer: options.tokenizer_json.clone(),
            mmproj: options.mmproj.clone(),
            prefer_q4_k_m: false,
        }
    }
}

/// The model's files, as names within the folder.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    /// The index names the weights.
    Sharded { index: String },
    /// These are the weights.
    Safetensors { weights: Vec<String> },
    /// One GGUF, or the parts of one, in order, and the tower's.
    Gguf { files: Vec<String>, tower: Tower },
}

/// Where the file of a GGUF model's tower is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tower {
    /// Nowhere.
    None,
    /// Asked for, under this name in the folder.
    Named(String),
    /// Asked for, and not in the folder.
    Elsewhere(PathBuf),
    /// The only one beside the model.
    Found(String),
    /// Several lie beside the model, and none was asked for.
    Several(Vec<String>),
}

impl Tower {
    /// The tower of the model in these files.
    pub fn of(names: &BTreeSet<String>, files: &[String], wanted: &Wanted) -> Self {
        if let Some(file) = &wanted.mmproj {
            let name = file.to_str().filter(|name| names.contains(*name));
            return name.map_or_else(|| Self::Elsewhere(file.clone()), |n| Self::Named(n.into()));
        }
        let folder = |name: &str| name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let beside = files.first().and_then(|name| folder(name));
        let there = names.iter().filter(|name| is_tower(name) && folder(name) == beside);
        match there.cloned().collect::<Vec<_>>().as_slice() {
            [] => Self::None,
            [one] => Self::Found(one.clone()),
            several => Self::Several(several.to_vec()),
        }
    }

    /// Its name in the folder, if it is there.
    pub fn name(&self) -> Option<&String> {
        match self {
            Self::Named(name) | Self::Found(name) => Some(name),
            Self::None | Self::Elsewhere(_) | Self::Several(_) => None,
        }
    }
}

/// Chooses among `names`, or says in a sentence what is missing.
pub(super) fn choose(names: &BTreeSet<String>, wanted: &Wanted) -> Result<Choice, String> {
    if !wanted.gguf_files.is_empty() {
        return named_gguf(names, &wanted.gguf_files).map(|files| gguf(names, files, wanted));
    }
    let mut safetensors: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| is_weights(name)).collect();
    if names.contains(INDEX) || !safetensors.is_empty() {
        need(names, CONFIG, "it says how the weights are to be used")?;
        if wanted.tokenizer.is_none() {
            need(names, TOKENIZER, "name one with `--tokenizer-json`")?;
        }
        if names.contains(INDEX) {
            return Ok(Choice::Sharded { index: INDEX.to_owned() });
        }
        if names.contains(SINGLE) {
            return Ok(Choice::Safetensors { weights: vec![SINGLE.to_owned()] });
        }
        // Mistral's own format lies beside the one we read, with other tensor names.
        if safetensors.iter().any(|name| !name.starts_with("consolidated")) {
            safetensors.retain(|name| !name.starts_with("consolidated"));
        }
        let weights: Vec<String> = safetensors.into_iter().map(str::to_owned).collect();
        for name in &weights {
            parts(names, name)?;
        }
        return Ok(Choice::Safetensors { weights });
    }
    only_gguf(names, wanted).map(|files| gguf(names, files, wanted))
}

/// The files every Hugging Face model may bring along; those in `names` are worth having.
pub(super) fn companions(names: &BTreeSet<String>) -> Vec<String> {
    [CONFIG, TOKENIZER, TOKENIZER_CONFIG, GENERATION_CONFIG]
        .into_iter()
        .chain(CHAT_TEMPLATES)
        .chain(PROCESSORS)
        .chain(SENTENCE_FILES)
        .filter(|name| names.contains(*name))
        .map(str::to_owned)
        .chain(names.iter().filter(|name| is_module_file(name)).cloned())
        .collect()
}

/// `2_Dense/model.safetensors`: a step of sentence-transformers behind the encoder.
fn is_module_file(name: &str) -> bool {
    let Some((folder, file)) = name.split_once('/') else { return false };
    let numbered = folder.split_once('_').is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    numbered && ["config.json", "model.safetensors"].contains(&file)
}

/// The weight files an index names, sorted; the names stay inside the folder.
pub(super) fn indexed_weights(index: &str) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::HashMap<String, String>,
    }
    let index: Index = serde_json::from_str(index).map_err(|error| error.to_string())?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    match files.iter().find(|name| !stays_inside(name)) {
        Some(name) => Err(format!("`{name}` leads out of the folder")),
        None if files.is_empty() => Err("`weight_map` names no file".to_owned()),
        None => Ok(files.into_iter().collect()),
    }
}

/// A relative name without `..`.
pub(super) fn stays_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.contains('\\')
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

fn need(names: &BTreeSet<String>, name: &str, remedy: &str) -> Result<(), String> {
    if names.contains(name) { Ok(()) } else { Err(format!("`{name}` is missing; {remedy}")) }
}

/// Weights at the top of the folder; what lies deeper belongs to something else.
fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains('/') && !name.starts_with("adapter_model")
}

/// Text models only: `mmproj` files hold the vision half, `imatrix` ones statistics.
fn is_text_gguf(name: &str) -> bool {
    is_gguf(name) && !is_tower(name) && !is_gguf_of(name, "imatrix")
}

/// Whether it is the vision half's file, by its name.
fn is_tower(name: &str) -> bool {
    is_gguf_of(name, "mmproj")
}

fn is_gguf(name: &str) -> bool {
    is_gguf_of(name, "")
}

fn is_gguf_of(name: &str, kind: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    file.ends_with(".gguf") && file.contains(kind)
}

fn gguf(names: &BTreeSet<String>, files: Vec<String>, wanted: &Wanted) -> Choice {
    let tower = Tower::of(names, &files, wanted);
    Choice::Gguf { files, tower }
}

fn only_gguf(names: &BTreeSet<String>, wanted: &Wanted) -> Result<Vec<String>, String> {
    // A split file counts once, under the name of its first part.
    let models: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| is_text_gguf(name) && split(name).is_none_or(|split| split.part == 1))
        .collect();
    match models.as_slice() {
        [] => match names.iter().find(|name| is_text_gguf(name)) {
            Some(part) => parts(names, part),
            None => Err(nothing_to_load(names)),
        },
        [one] => parts(names, one),
        several => {
            let middle = several
                .iter()
                .find(|name| wanted.prefer_q4_k_m && name.to_ascii_uppercase().contains("Q4_K_M"));
            match middle {
                Some(name) => parts(names, name),
                None => Err(format!(
                    "there are {} GGUF files, name one of them: {}",
                    several.len(),
                    list(several)
                )),
            }
        }
    }
}

fn named_gguf(names: &BTreeSet<String>, asked: &[String]) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for name in asked {
        if !names.contains(name) {
            let there: Vec<&str> =
                names.iter().map(String::as_str).filter(|name| name.ends_with(".gguf")).collect();
            return Err(format!("there is no `{name}`; GGUF files there: {}", list(&there)));
        }
        for part in parts(names, name)? {
            if !files.contains(&part) {
                files.push(part);
            }
        }
    }
    Ok(files)
}

fn nothing_to_load(names: &BTreeSet<String>) -> String {
    let old = [".bin", ".pth", ".pt", ".ckpt", ".h5", ".msgpack", ".onnx"];
    match names.iter().find(|name| old.iter().any(|ending| name.ends_with(ending))) {
        Some(name) => format!(
            "the weights are in a format that is not read (`{name}`); safetensors or GGUF is needed"
        ),
        None if names.is_empty() => "the folder is empty".to_owned(),
        None => "there are no weights: neither a `.safetensors` nor a `.gguf` file".to_owned(),
    }
}

/// One part of a split file: `stem-00002-of-00005.gguf`.
struct Split<'a> {
    stem: &'a str,
    part: u32,
    of: u32,
    ending: &'a str,
}

fn split(name: &str) -> Option<Split<'_>> {
    let (front, ending) = name.rsplit_once('.')?;
    let (front, of) = front.rsplit_once("-of-")?;
    let (stem, part) = front.rsplit_once('-')?;
    let number = |digits: &str| -> Option<u32> {
        (digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse().ok())?
    };
    let (part, of) = (number(part)?, number(of)?);
    (1..=of).contains(&part).then_some(Split { stem, part, of, ending })
}

/// All parts of the file that `name` is a part of; itself if it is not split.
pub(super) fn parts(names: &BTreeSet<String>, name: &str) -> Result<Vec<String>, String> {
    let Some(split) = split(name) else {
        return Ok(vec![name.to_owned()]);
    };
    let all = (1..=split.of)
        .map(|part| format!("{}-{part:05}-of-{:05}.{}", split.stem, split.of, split.ending));
    let (there, missing): (Vec<String>, Vec<String>) = all.partition(|part| names.contains(part));
    if missing.is_empty() {
        return Ok(there);
    }
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    Err(format!("of the {} parts of `{name}` these are missing: {}", split.of, list(&missing)))
}

fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len() - shown.len() {
        0 if shown.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::choose as choose_from;
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn hf(more: &[&str]) -> BTreeSet<String> {
        let mut names = set(&[CONFIG, TOKENIZER]);
        names.extend(set(more));
        names
    }

    fn safetensors(names: &[&str]) -> Result<Choice, String> {
        Ok(Choice::Safetensors { weights: names.iter().map(|n| (*n).to_owned()).collect() })
    }

    fn gguf(names: &[&str]) -> Result<Choice, String> {
        gguf_with(names, Tower::None)
    }

    fn gguf_with(names: &[&str], tower: Tower) -> Result<Choice, String> {
        Ok(Choice::Gguf { files: names.iter().map(|n| (*n).to_owned()).collect(), tower })
    }

    #[test]
    fn the_files_behind_an_encoder_come_along() {
        let names = hf(&[
            "modules.json",
            "config_sentence_transformers.json",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "onnx/model.safetensors",
            "1_Pooling/deeper/config.json",
            "README.md",
        ]);
        let wanted = [
            CONFIG,
            TOKENIZER,
            "modules.json",
            "config_sentence_transformers.json",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
        ];
        assert_eq!(companions(&names), wanted);
    }

    #[test]
    fn weights_of_a_hugging_face_folder() {
        let choose = |names: &[&str]| choose_from(&hf(names), &Wanted::default());
        assert_eq!(
            choose(&["model.safetensors", "x.gguf", "pytorch_model.bin"]),
            safetensors(&["model.safetensors"])
        );
        assert_eq!(
            choose(&["b.safetensors", "a.safetensors"]),
            safetensors(&["a.safetensors", "b.safetensors"])
        );
        assert_eq!(
            choose(&["a.safetensors", "consolidated.safetensors", "onnx/c.safetensors"]),
            safetensors(&["a.safetensors"])
        );
        assert_eq!(
            choose(&["consolidated.safetensors"]),
            safetensors(&["consolidated.safetensors"])
        );
        let index = Choice::Sharded { index: "model.safetensors.index.json".into() };
        assert_eq!(choose(&["model.safetensors.index.json", "model.safetensors"]), Ok(index));
        assert_eq!(
            choose(&["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"]),
            safetensors(&["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
        );
    }

    #[test]
    fn gguf_files_of_a_folder() {
        let choose = |names: &[&str]| choose_from(&set(names), &Wanted::default());
        assert_eq!(choose(&["config.json", "a.gguf", "imatrix-a.gguf"]), gguf(&["a.gguf"]));
        let split = ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"];
        assert_eq!(choose(&split), gguf(&split));
        let error = choose(&["a-Q4_K_M.gguf", "b.gguf", split[0], split[1]]).unwrap_err();
        assert_eq!(
            error,
            "there are 3 GGUF files, name one of them: `a-00001-of-00002.gguf`, `a-Q4_K_M.gguf`, `b.gguf`"
        );
        let error = choose(&[split[1]]).unwrap_err();
        assert!(error.contains("missing: `a-00001-of-00002.gguf`"), "{error}");
    }

    #[test]
    fn the_only_tower_beside_a_model_is_its_own_unless_another_is_asked_for() {
        let named = |file: &str, mmproj: Option<&str>| Wanted {
            gguf_files: vec![file.to_owned()],
            mmproj: mmproj.map(PathBuf::from),
            ..Wanted::default()
        };
        let names =
            set(&["a.gguf", "a-mmproj-f16.GGUF", "q/b.gguf", "q/mmproj-1.gguf", "q/MMPROJ.gguf"]);
        let choose = |file: &str, mmproj| choose_from(&names, &named(file, mmproj));
        let found = Tower::Found("a-mmproj-f16.GGUF".into());
        assert_eq!(choose("a.gguf", None), gguf_with(&["a.gguf"], found));
        let both = Tower::Several(vec!["q/MMPROJ.gguf".into(), "q/mmproj-1.gguf".into()]);
        assert_eq!(choose("q/b.gguf", None), gguf_with(&["q/b.gguf"], both));
        let asked = Tower::Named("q/mmproj-1.gguf".into());
        assert_eq!(choose("a.gguf", Some("q/mmproj-1.gguf")), gguf_with(&["a.gguf"], asked));
        let elsewhere = Tower::Elsewhere("../mmproj-2.gguf".into());
        assert_eq!(choose("a.gguf", Some("../mmproj-2.gguf")), gguf_with(&["a.gguf"], elsewhere));
    }

    #[test]
    fn among_the_gguf_files_of_a_repository_the_middle_one_is_taken() {
        let wanted = Wanted { prefer_q4_k_m: true, ..Wanted::default() };
        let names = set(&["m-q8_0.gguf", "m-q4_k_m.gguf", "m-q2_k.gguf"]);
        assert_eq!(choose(&names, &wanted), gguf(&["m-q4_k_m.gguf"]));
        assert!(choose(&set(&["a.gguf", "b.gguf"]), &wanted).unwrap_err().contains("name one"));
    }

    #[test]
    fn named_gguf_files_win_over_everything() {
        let named = |files: &[&str]| Wanted {
            gguf_files: files.iter().map(|n| (*n).to_owned()).collect(),
            ..Wanted::default()
        };
        let names = hf(&[
            "model.safetensors",
            "a.gguf",
            "q/b-00001-of-00002.gguf",
            "q/b-00002-of-00002.gguf",
        ]);
        assert_eq!(choose(&names, &named(&["a.gguf"])), gguf(&["a.gguf"]));
        let both = ["q/b-00001-of-00002.gguf", "q/b-00002-of-00002.gguf"];
        assert_eq!(choose(&names, &named(&[both[1]])), gguf(&both));
        assert_eq!(choose(&names, &named(&both)), gguf(&both));
        let error = choose(&names, &named(&["c.gguf"])).unwrap_err();
        assert!(error.starts_with("there is no `c.gguf`; GGUF files there: `a.gguf`, "), "{error}");
        assert!(choose(&hf(&[]), &named(&["c.gguf"])).unwrap_err().ends_with("there: none"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let table: [(&[&str], &str); 6] = [
            (&["model.safetensors", "tokenizer.json"], "`config.json` is missing"),
            (
                &["model.safetensors", "config.json"],
                "`tokenizer.json` is missing; name one with `--tokenizer-json`",
            ),
            (
                &["config.json", "tokenizer.json", "pytorch_model.bin"],
                "(`pytorch_model.bin`); safetensors or GGUF is needed",
            ),
            (&["config.json", "tokenizer.json"], "there are no weights"),
            (
                &["config.json", "tokenizer.json", "model-00001-of-00002.safetensors"],
                "missing: `model-00002-of-00002.safetensors`",
            ),
            (&[], "empty"),
        ];
        for (names, text) in table {
            let error = choose(&set(names), &Wanted::default()).unwrap_err();
            assert!(error.contains(text), "{names:?}: {error}");
        }
        let own_tokenizer = Wanted { tokenizer: Some("t.json".into()), ..Wanted::default() };
        assert!(choose(&set(&["model.safetensors", "config.json"]), &own_tokenizer).is_ok());
    }

    #[test]
    fn an_index_names_files_inside_the_folder() {
        let index = r#"{"metadata": {}, "weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "2.safetensors"}}"#;
        assert_eq!(indexed_weights(index).unwrap(), ["1.safetensors", "2.safetensors"]);
        for name in ["../x", "/etc/x", "a/../../x", "", "..", "a\\\\..\\\\x"] {
            let index = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
            assert!(indexed_weights(&index).unwrap_err().contains("leads out"), "{name}");
        }
        assert!(indexed_weights(r#"{"weight_map": {}}"#).is_err());
        assert!(indexed_weights("{").is_err());
    }

    #[test]
    fn names_that_look_split_and_are_not() {
        for name in [
            "a-1-of-2.gguf",
            "a-00003-of-00002.gguf",
            "a-00000-of-00002.gguf",
            "a-0000x-of-00002.gguf",
            "a.gguf",
        ] {
            assert_eq!(parts(&set(&[]), name).unwrap(), [name]);
        }
    }

    #[test]
    fn a_huge_number_of_parts_makes_a_short_message() {
        let error = parts(&set(&[]), "a-00001-of-99999.gguf").unwrap_err();
        assert!(error.contains("and 99979 more") && error.len() < 1000, "{error}");
    }
}
