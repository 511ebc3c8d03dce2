//! The files that say what follows an encoder: `modules.json`, the folders it names,
//! `config_sentence_transformers.json`, `sentence_bert_config.json`. Absent keys have their
//! published defaults. Knows JSON and folders, no tensors.
//! Source: what sentence-transformers 2 to 6 write.

use crate::error::LoadError;
use crate::layers::encoder::{Activation, Pooling};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

const MODULES: &str = "modules.json";
const MARKER: &str = "config_sentence_transformers.json";
const LENGTHS: &str = "sentence_bert_config.json";

/// The modes in the order in which their vectors stand side by side, by the key of their flag and
/// by their newer name.
const MODES: [(&str, &str, Pooling); 6] = [
    ("pooling_mode_cls_token", "cls", Pooling::Cls),
    ("pooling_mode_max_tokens", "max", Pooling::Max),
    ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanSqrtLength),
    ("pooling_mode_weightedmean_tokens", "weightedmean", Pooling::WeightedMean),
    ("pooling_mode_lasttoken", "lasttoken", Pooling::LastToken),
];

/// Whether the folder of a model says that it makes vectors of sentences (row D1).
pub fn is_sentence_model(folder: &Path) -> bool {
    [MARKER, MODULES].iter().any(|name| folder.join(name).is_file())
}

/// What follows an encoder, and what is put before texts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SentenceConfig {
    /// At least one.
    pub pooling: Vec<Pooling>,
    /// In this order.
    pub steps: Vec<StepConfig>,
    /// What is put before a text, by the name of the task.
    pub prompts: BTreeMap<String, String>,
    /// The prompt of texts whose task is not told.
    pub default_prompt: Option<String>,
    /// Longer texts were cut in training, special tokens included.
    pub max_tokens: Option<usize>,
    /// Texts are read in lower case.
    pub lower_case: bool,
}

/// One step after pooling.
#[derive(Debug, Clone, PartialEq)]
pub enum StepConfig {
    /// A linear layer and an activation.
    Dense {
        /// Where its weights are.
        weights: DenseWeights,
        /// Numbers that come in.
        input: usize,
        /// Numbers that go out.
        output: usize,
        /// Whether there is a bias.
        bias: bool,
        /// After the layer.
        activation: Activation,
    },
    /// To length 1.
    Normalize,
}

/// Where the weights of a dense step are.
#[derive(Debug, Clone, PartialEq)]
pub enum DenseWeights {
    /// In a file of their own, as `linear.weight` and `linear.bias`.
    File(PathBuf),
    /// Among the model's, under this name.
    Model(&'static str),
}

impl SentenceConfig {
    /// For encoders that say nothing: the normalized mean.
    pub fn plain() -> Self {
        let (pooling, steps) = (vec![Pooling::Mean], vec![StepConfig::Normalize]);
        Self { pooling, steps, ..Self::default() }
    }

    /// Reads the files in a model's folder; those that are absent say nothing.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming file and key.
    pub fn read(folder: &Path) -> Result<Self, LoadError> {
        let mut config = match folder.join(MODULES).is_file() {
            true => Self::read_modules(folder)?,
            false => Self::plain(),
        };
        let tasks: TasksFile = read_if_there(&folder.join(MARKER))?;
        config.prompts = tasks.prompts.unwrap_or_default();
        config.default_prompt = tasks.default_prompt_name;
        if let Some(name) = &config.default_prompt
            && !config.prompts.contains_key(name)
        {
            let reason = format!("`default_prompt_name` is `{name}`, which `prompts` has not");
            return Err(bad(&folder.join(MARKER), reason));
        }
        let lengths: LengthsFile = read_if_there(&folder.join(LENGTHS))?;
        config.max_tokens = lengths.max_seq_length.filter(|tokens| *tokens > 0);
        config.lower_case = lengths.do_lower_case.unwrap_or(false);
        Ok(config)
    }

    fn read_modules(folder: &Path) -> Result<Self, LoadError> {
        let file = folder.join(MODULES);
        let modules: Vec<ModuleLine> = read(&file)?;
        let mut config = Self::default();
        for (i, module) in modules.iter().enumerate() {
            let own = module.folder(folder).ok_or_else(|| {
                bad(&file, format!("the path `{}` leads out of the folder", module.path))
            })?;
            match module.ty.rsplit('.').next().unwrap_or_default() {
                "Transformer" if i == 0 => {}
                "Pooling" if config.pooling.is_empty() && config.steps.is_empty() => {
                    config.pooling = read_pooling(&own.join("config.json"))?;
                }
                "Dense" if !config.pooling.is_empty() => config.steps.push(read_dense(&own)?),
                "Normalize" if !config.pooling.is_empty() => {
                    config.steps.push(StepConfig::Normalize)
                }
                // Only trains.
                "Dropout" => {}
                _ => {
                    let reason = format!(
                        "module {i} is `{}`; supported: Transformer first, then Pooling, then any of \
                         Dense and Normalize",
                        module.ty
                    );
                    return Err(bad(&file, reason));
                }
            }
        }
        match config.pooling.is_empty() {
            true => Err(bad(&file, "there is no Pooling in it".to_owned())),
            false => Ok(config),
        }
    }
}

/// A line of `modules.json`.
#[derive(Deserialize)]
struct ModuleLine {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    ty: String,
}

impl ModuleLine {
    /// `None` if the path leads elsewhere.
    fn folder(&self, folder: &Path) -> Option<PathBuf> {
        let inside = Path::new(&self.path).components().all(|c| matches!(c, Component::Normal(_)));
        (inside && !self.path.contains('\\')).then(|| folder.join(&self.path))
    }
}

#[derive(Deserialize, Default)]
struct TasksFile {
    prompts: Option<BTreeMap<String, String>>,
    default_prompt_name: Option<String>,
}

#[derive(Deserialize, Default)]
struct LengthsFile {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
}

/// `pooling_mode` of sentence-transformers 5 and later, a name or a list of names.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn read_pooling(file: &Path) -> Result<Vec<Pooling>, LoadError> {
    let config: Map<String, Value> = read(file)?;
    if config.get("include_prompt").and_then(Value::as_bool) == Some(false) {
        let reason = "`include_prompt` is false; pooling without the prompt is not supported";
        return Err(bad(file, reason.to_owned()));
    }
    if let Some(names) = config.get("pooling_mode") {
        let names = OneOrMany::deserialize(names).map_err(|e| bad(file, e.to_string()))?;
        let names = match names {
            OneOrMany::One(name) => vec![name],
            OneOrMany::Many(names) => names,
        };
        let mode =
            |name: &String| MODES.iter().find(|(_, new, _)| new == name).map(|(.., mode)| *mode);
        let unknown = names.iter().find(|name| mode(name).is_none());
        if let Some(name) = unknown {
            let known: Vec<_> = MODES.iter().map(|(_, new, _)| *new).collect();
            let reason = format!("`pooling_mode` {name} is none of {}", known.join(", "));
            return Err(bad(file, reason));
        }
        let modes: Vec<_> = names.iter().filter_map(mode).collect();
        return Ok(if modes.is_empty() { vec![Pooling::Mean] } else { modes });
    }
    let is_set = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let modes: Vec<_> =
        MODES.iter().filter(|(flag, ..)| is_set(flag)).map(|(.., mode)| *mode).collect();
    let known = |key: &String| MODES.iter().any(|(flag, ..)| flag == key);
    let unknown =
        config.keys().find(|key| key.starts_with("pooling_mode_") && !known(key) && is_set(key));
    match unknown {
        Some(key) => Err(bad(file, format!("`{key}` is not supported"))),
        None if modes.is_empty() => Ok(vec![Pooling::Mean]),
        None => Ok(modes),
    }
}

#[derive(Deserialize)]
struct DenseFile {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "tanh")]
    activation_function: String,
    #[serde(default)]
    use_residual: bool,
    module_input_name: Option<String>,
    module_output_name: Option<String>,
}

fn yes() -> bool {
    true
}

fn tanh() -> String {
    "torch.nn.modules.activation.Tanh".to_owned()
}

fn read_dense(folder: &Path) -> Result<StepConfig, LoadError> {
    let file = folder.join("config.json");
    let dense: DenseFile = read(&file)?;
    let Some(activation) = Activation::from_name(&dense.activation_function) else {
        let reason =
            format!("`activation_function` {} is not supported", dense.activation_function);
        return Err(bad(&file, reason));
    };
    let names = [&dense.module_input_name, &dense.module_output_name];
    let elsewhere =
        |name: &&Option<String>| name.as_ref().is_some_and(|n| n != "sentence_embedding");
    if dense.use_residual || names.iter().any(elsewhere) {
        let reason = "`use_residual` and other inputs than `sentence_embedding` are not supported";
        return Err(bad(&file, reason.to_owned()));
    }
    if dense.in_features == 0 || dense.out_features == 0 {
        return Err(bad(&file, "0 features".to_owned()));
    }
    Ok(StepConfig::Dense {
        weights: DenseWeights::File(folder.join("model.safetensors")),
        input: dense.in_features,
        output: dense.out_features,
        bias: dense.bias,
        activation,
    })
}

fn read_if_there<T: DeserializeOwned + Default>(file: &Path) -> Result<T, LoadError> {
    if file.is_file() { read(file) } else { Ok(T::default()) }
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T, LoadError> {
    let bytes =
        std::fs::read(file).map_err(|source| LoadError::Io { file: file.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|error| bad(file, error.to_string()))
}

fn bad(file: &Path, reason: String) -> LoadError {
    LoadError::BadFile { file: file.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, json) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, json.to_string()).unwrap();
        }
        folder
    }

    fn modules(types: &[(&str, &str)]) -> Value {
        let line = |(ty, path): &(&str, &str)| json!({"idx": 0, "name": "0", "path": path, "type": format!("sentence_transformers.models.{ty}")});
        types.iter().map(line).collect()
    }

    fn pooling(config: Value) -> Result<Vec<Pooling>, String> {
        let folder = folder(&[("config.json", config)]);
        read_pooling(&folder.path().join("config.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn silence_means_the_normalized_mean() {
        let empty = folder(&[]);
        assert!(!is_sentence_model(empty.path()));
        assert_eq!(SentenceConfig::read(empty.path()).unwrap(), SentenceConfig::plain());
        let marked = folder(&[(MARKER, json!({}))]);
        assert!(is_sentence_model(marked.path()));
        assert_eq!(SentenceConfig::read(marked.path()).unwrap(), SentenceConfig::plain());
    }

    #[test]
    fn a_whole_chain_is_read() {
        let dense = json!({"in_features": 8, "out_features": 4, "bias": false,
            "activation_function": "torch.nn.modules.linear.Identity"});
        let folder = folder(&[
            (
                MODULES,
                modules(&[
                    ("Transformer", ""),
                    ("Pooling", "1_Pooling"),
                    ("Dense", "2_Dense"),
                    ("Normalize", "3_Normalize"),
                ]),
            ),
            (
                "1_Pooling/config.json",
                json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}),
            ),
            ("2_Dense/config.json", dense),
            (
                MARKER,
                json!({"prompts": {"query": "query: "}, "default_prompt_name": null, "similarity_fn_name": "cosine"}),
            ),
            (LENGTHS, json!({"max_seq_length": 256, "do_lower_case": true})),
        ]);
        let config = SentenceConfig::read(folder.path()).unwrap();
        assert_eq!(config.pooling, [Pooling::Cls]);
        let file = folder.path().join("2_Dense/model.safetensors");
        let wanted = StepConfig::Dense {
            weights: DenseWeights::File(file),
            input: 8,
            output: 4,
            bias: false,
            activation: Activation::Identity,
        };
        assert_eq!(config.steps, [wanted, StepConfig::Normalize]);
        assert_eq!(config.prompts["query"], "query: ");
        assert_eq!(
            (config.max_tokens, config.lower_case, config.default_prompt),
            (Some(256), true, None)
        );
        // The file of weights is missing, and the widths do not fit.
        let weights = super::super::tests::model_weights();
        let missing =
            super::super::Chain::load(&SentenceConfig::read(folder.path()).unwrap(), 8, &weights);
        assert!(missing.unwrap_err().to_string().contains("model.safetensors"));
        let narrow =
            super::super::Chain::load(&SentenceConfig::read(folder.path()).unwrap(), 6, &weights);
        assert!(narrow.unwrap_err().to_string().contains("`in_features` is 8"));
    }

    #[test]
    fn both_generations_of_pooling() {
        assert_eq!(pooling(json!({"word_embedding_dimension": 4})).unwrap(), [Pooling::Mean]);
        assert_eq!(pooling(json!({"pooling_mode": "lasttoken"})).unwrap(), [Pooling::LastToken]);
        assert_eq!(
            pooling(json!({"pooling_mode": ["mean", "cls"]})).unwrap(),
            [Pooling::Mean, Pooling::Cls]
        );
        let flags = json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true});
        assert_eq!(pooling(flags).unwrap(), [Pooling::Cls, Pooling::Mean]);
        for (config, word) in [
            (json!({"pooling_mode": "median"}), "median"),
            (json!({"pooling_mode": 5}), "pooling_mode"),
            (json!({"pooling_mode_median": true}), "pooling_mode_median"),
            (json!({"include_prompt": false}), "include_prompt"),
        ] {
            let error = pooling(config.clone()).unwrap_err();
            assert!(error.contains(word) || error.contains("OneOrMany"), "{config}: {error}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let error = |files: &[(&str, Value)]| {
            SentenceConfig::read(folder(files).path()).unwrap_err().to_string()
        };
        let chain = |types| error(&[(MODULES, modules(types)), ("1/config.json", json!({}))]);
        assert!(chain(&[("Transformer", ""), ("CNN", "1")]).contains("CNN"));
        assert!(chain(&[("Transformer", "")]).contains("no Pooling"));
        assert!(
            chain(&[("Transformer", ""), ("Normalize", ""), ("Pooling", "1")])
                .contains("Normalize")
        );
        assert!(chain(&[("Transformer", "../elsewhere")]).contains("leads out"));
        assert!(error(&[(MODULES, json!({"a": 1}))]).contains("modules.json"));
        assert!(
            error(&[(MARKER, json!({"default_prompt_name": "q"}))]).contains("default_prompt_name")
        );
        assert!(
            chain(&[("Transformer", ""), ("Pooling", "1"), ("Dense", "1")]).contains("in_features")
        );
    }
}
