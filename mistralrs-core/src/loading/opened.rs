//! A model's files, opened: headers and JSON read, weights still on disk. What Hugging Face folders
//! and GGUF files do differently ends here.

use super::cost::token_cost;
use super::memory::MemoryPlan;
use super::source::{ModelFiles, TowerFile};
use super::{LoadOptions, Purpose};
use crate::error::LoadError;
use crate::kv_cache::KvNumbers;
use crate::llm::{ModelInfo, Preparation};
use crate::models::encoders::{self, EncoderRow};
use crate::models::matformer::MatformerSlice;
use crate::models::{self, ModelShape, gguf_config};
use crate::sampling::{GenerationDefaults, SamplingParams};
use crate::sentence::{self, SentenceConfig};
use crate::text::TextPipeline;
use mistralrs_quant::gguf::{GgufFile, Metadata};
use mistralrs_quant::{
    Checkpoint, Isq, QuantType, TensorInfo, WeightSize, checkpoints_together, open_safetensors,
};
use mistralrs_vision::Family;
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// A model whose headers have been read.
pub(super) struct Opened {
    source: Source,
    /// Its tensors, where they are not just those of `source`: a part of them, or those of a tower, too.
    tensors: Option<Arc<dyn Checkpoint>>,
    /// The file of a GGUF model's tower, and what it says of pictures.
    processor: Option<(PathBuf, Value)>,
    /// Where `config` came from, for messages.
    pub config_file: PathBuf,
    /// What `config.json` says, or would say.
    pub config: Value,
    generation_config: Option<Value>,
    /// The first of `architectures`.
    pub architecture: String,
    /// How it encodes, if that is what it is for.
    pub encoder: Option<&'static EncoderRow>,
}

/// Text or encoder: decided once (row D1).
struct Kind<'a> {
    is_sentence_model: bool,
    purpose: &'a Purpose,
}

impl Kind<'_> {
    /// The name of the architecture, and its row if it is to encode.
    fn decide(
        &self,
        config: &Value,
        file: &Path,
    ) -> Result<(String, Option<&'static EncoderRow>), LoadError> {
        let list = config.get("architectures").and_then(Value::as_array);
        let names: Vec<&str> = list.into_iter().flatten().filter_map(Value::as_str).collect();
        let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let asked = match self.purpose {
            Purpose::Encode(name) => Some(name.as_deref()),
            Purpose::Detect => None,
        };
        if self.is_sentence_model || asked.is_some() {
            let named = names.iter().find_map(|name| encoders::find(name));
            let row = match asked.flatten() {
                Some(name) => encoders::find(name),
                None => named.or_else(|| encoders::find_by_model_type(model_type)),
            };
            let found =
                asked.flatten().unwrap_or_else(|| names.first().copied().unwrap_or(model_type));
            return match row {
                Some(row) => Ok((row.name.to_owned(), Some(row))),
                None => Err(encoders::unknown(found)),
            };
        }
        match names.as_slice() {
            [name] => {
                Ok(((*name).to_owned(), encoders::find(name).filter(|row| row.only_encodes())))
            }
            _ => {
                let reason = "`architectures` must name exactly one architecture".to_owned();
                Err(LoadError::BadFile { file: file.to_owned(), reason })
            }
        }
    }
}

enum Source {
    HuggingFace(Arc<dyn Checkpoint>),
    Gguf(Arc<GgufFile>),
}

impl Source {
    /// Whether the files say that the model makes vectors or scores of texts.
    fn is_sentence_model(&self, config: &Path) -> Result<bool, LoadError> {
        match self {
            Self::HuggingFace(_) => Ok(config.parent().is_some_and(sentence::is_sentence_model)),
            Self::Gguf(file) => Ok(gguf_config::pooling(file.metadata())?.is_some()),
        }
    }
}

/// Weights, where the config came from, the config, the generation config.
type Parts = (Source, PathBuf, Value, Option<Value>);

fn gguf(file: GgufFile, name: PathBuf) -> Result<Parts, LoadError> {
    let mut config = gguf_config::config_from_gguf(file.metadata())?;
    add_what_tensors_tell(&mut config, &file)?;
    let generation_config = generation_config(file.metadata());
    Ok((Source::Gguf(Arc::new(file)), name, config, Some(generation_config)))
}

/// The sampling settings that a GGUF file recommends, under the names of `generation_config.json`.
fn generation_config(metadata: &Metadata) -> Value {
    let settings = [
        ("temperature", "temp"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("repetition_penalty", "penalty_repeat"),
    ];
    let mut config = serde_json::Map::new();
    for (name, key) in settings {
        if let Some(value) = metadata.get_f32(&format!("general.sampling.{key}")) {
            config.insert(name.to_owned(), value.into());
        }
    }
    if let Some(top_k) = metadata.get_u64("general.sampling.top_k") {
        config.insert("top_k".to_owned(), top_k.into());
    }
    Value::Object(config)
}

impl Opened {
    pub(super) fn open(files: &ModelFiles, purpose: &Purpose) -> Result<Self, LoadError> {
        let (source, config_file, config, generation_config): Parts = match files {
            ModelFiles::HuggingFace { config, weights, generation_config, .. } => (
                Source::HuggingFace(open_safetensors(weights)?),
                config.clone(),
                read_json(config)?,
                generation_config.as_deref().map(read_json).transpose()?,
            ),
            ModelFiles::Gguf { files, .. } => {
                gguf(GgufFile::open(files)?, files.first().cloned().unwrap_or_default())?
            }
            ModelFiles::Embedded { name, bytes } => {
                gguf(GgufFile::embedded(name, bytes)?, name.clone())?
            }
        };
        let is_sentence_model = source.is_sentence_model(&config_file)?;
        let kind = Kind { is_sentence_model, purpose };
        let (architecture, encoder) = kind.decide(&config, &config_file)?;
        let mut opened = Self {
            source,
            tensors: None,
            processor: None,
            config_file,
            config,
            generation_config,
            architecture,
            encoder,
        };
        if let ModelFiles::Gguf { tower: Some(tower), .. } = files {
            opened.add_tower(tower)?;
        }
        Ok(opened)
    }

    /// The eyes of a GGUF model, from their own file. One that only lies there is left where it does not fit.
    fn add_tower(&mut self, tower: &TowerFile) -> Result<(), LoadError> {
        let file = tower.file.display();
        match self.with_tower(&tower.file) {
            Ok(()) if tower.named => tracing::info!("pictures are seen by {file}"),
            Ok(()) => tracing::info!("pictures are seen by {file}, found beside the model"),
            Err(error) if tower.named => return Err(error),
            Err(error) => {
                tracing::warn!("{file} lies beside the model and is not used: {error}");
            }
        }
        Ok(())
    }

    fn with_tower(&mut self, file: &Path) -> Result<(), LoadError> {
        let tower = GgufFile::open(&[file.to_owned()])?;
        let seeing = gguf_config::with_tower(&self.config, &self.config_file, &tower, file)?;
        self.tensors = Some(checkpoints_together(vec![self.checkpoint(), Arc::new(tower)])?);
        (self.config, self.architecture) = (seeing.config, seeing.architecture.to_owned());
        self.processor = Some((file.to_owned(), seeing.processor));
        Ok(())
    }

    /// How pictures are prepared.
    pub(super) fn preparation(
        &self,
        files: &ModelFiles,
        family: Family,
    ) -> Result<Preparation, LoadError> {
        match &self.processor {
            Some((file, json)) => {
                Preparation::of_gguf((file, json), &self.config_file, family, &self.config)
            }
            None => Preparation::read(files, family, &self.config),
        }
    }

    /// Leaves of the model what a slice of it has: nobody behind this door sees more.
    pub(super) fn slice(&mut self, slice: &MatformerSlice) -> Result<(), LoadError> {
        let row =
            if self.encoder.is_some() { None } else { Some(models::find(&self.architecture)?) };
        let Some(cut) = row.and_then(|row| row.slice) else {
            let sliced = models::ARCHITECTURES.iter().filter(|row| row.slice.is_some());
            let sliced = sliced.map(|row| row.name).collect::<Vec<_>>().join(", ");
            let reason = format!("{} has no slices; these have: {sliced}", self.architecture);
            return Err(LoadError::Option { option: "--matformer-slice-name", reason });
        };
        let whole = self.checkpoint();
        let (config, part) = cut(&self.config_file, &self.config, whole, slice)?;
        let (layers, skipped) = (slice.widths.len(), slice.skipped.len());
        tracing::info!("slice `{}`: {layers} layers, {skipped} skipped", slice.name);
        (self.config, self.tensors) = (config, Some(part));
        Ok(())
    }

    pub(super) fn checkpoint(&self) -> Arc<dyn Checkpoint> {
        match (&self.tensors, &self.source) {
            (Some(tensors), _) => Arc::clone(tensors),
            (None, Source::HuggingFace(checkpoint)) => Arc::clone(checkpoint),
            (None, Source::Gguf(file)) => Arc::clone(file) as Arc<dyn Checkpoint>,
        }
    }

    /// Opens tokenizer and template on another thread while `load` takes the weights: neither needs the
    /// other, and for a small model each takes about as long. If both fail, it is the text that is told.
    pub(super) fn text_beside<T>(
        &self,
        files: &ModelFiles,
        options: &LoadOptions,
        load: impl FnOnce() -> Result<T, LoadError>,
    ) -> Result<(TextPipeline, T), LoadError> {
        let (text, loaded) = thread::scope(|scope| {
            let text = scope.spawn(|| {
                let text = self.text(files, options);
                // A vocabulary goes through several forms; the weights can have what those took.
                mistralrs_kernels::return_freed_memory();
                text
            });
            let loaded = load();
            (text.join(), loaded)
        });
        Ok((text.unwrap_or_else(|panic| resume_unwind(panic))?, loaded?))
    }

    fn text(&self, files: &ModelFiles, options: &LoadOptions) -> Result<TextPipeline, LoadError> {
        match &self.source {
            Source::HuggingFace(_) => TextPipeline::from_huggingface(files, options),
            Source::Gguf(file) => {
                TextPipeline::from_gguf(file.metadata(), &self.config_file, options)
            }
        }
    }

    /// What follows the encoder.
    pub(super) fn sentence(&self) -> Result<SentenceConfig, LoadError> {
        match &self.source {
            Source::HuggingFace(_) => {
                SentenceConfig::read(self.config_file.parent().unwrap_or(Path::new(".")))
            }
            Source::Gguf(file) => SentenceConfig::from_gguf(file),
        }
    }

    pub(super) fn sampling_defaults(&self) -> SamplingParams {
        self.generation_config.as_ref().map(GenerationDefaults::from_json).unwrap_or_default()
    }

    /// Bytes of all weights as they will lie in memory.
    pub(super) fn weight_bytes(&self, isq: &Isq) -> u64 {
        self.sizes_by_tensor(isq).into_iter().map(|(_, size)| size.here).sum()
    }

    /// What tensors take, name by name.
    pub(super) fn sizes_by_tensor(&self, isq: &Isq) -> Vec<(String, WeightSize)> {
        let size = |info: TensorInfo| {
            // Only matrices, and stacks of them, are quantised; embeddings are counted as if they were too,
            // which is near enough.
            let isq = (info.shape.len() >= 2).then(|| isq.of(&info.name)).flatten();
            let ty = isq.unwrap_or(info.ty);
            let bytes = |ty| stored_bytes(&info, ty).map(|bytes| (ty, bytes));
            let (ty, bytes) = bytes(ty).or_else(|| bytes(info.ty)).unwrap_or((ty, 0));
            (info.name, WeightSize::of(ty, bytes))
        };
        self.tensors().into_iter().map(size).collect()
    }

    /// How keys and values are kept: as halves where activations are rounded more than that, to bytes for
    /// weights in blocks, or to 16-bit floats for weights of their kind.
    pub(super) fn kv_numbers(&self, options: &LoadOptions) -> KvNumbers {
        let instruction_set = mistralrs_kernels::instruction_set();
        let isq = options.quantization().0;
        let is_rounded = |info: &TensorInfo| match isq.of(&info.name).unwrap_or(info.ty) {
            QuantType::F32 | QuantType::F16 => false,
            QuantType::BF16 => instruction_set == "avx512bf16",
            _ => instruction_set != "scalar",
        };
        let is_matrix = |info: &&TensorInfo| info.shape.len() >= 2;
        let usual = match self.tensors().iter().filter(is_matrix).any(is_rounded) {
            true => KvNumbers::F16,
            false => KvNumbers::F32,
        };
        options.kv_numbers.unwrap_or(usual)
    }

    pub(super) fn info(
        &self,
        options: &LoadOptions,
        shape: &ModelShape,
        plan: &MemoryPlan,
        text: &TextPipeline,
    ) -> ModelInfo {
        let tensors = self.tensors();
        let numbers = |info: &TensorInfo| info.shape.iter().map(|n| *n as u64).product::<u64>();
        let mut types: BTreeMap<&str, usize> = BTreeMap::new();
        for info in &tensors {
            *types.entry(info.ty.name()).or_default() += 1;
        }
        let mut types: Vec<_> = types.into_iter().collect();
        types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let types: Vec<_> = types.iter().map(|(name, count)| format!("{name} ×{count}")).collect();
        ModelInfo {
            id: model_id(&options.model),
            architecture: self.architecture.clone(),
            max_sequence_length: plan.context,
            vocab_size: shape.vocab_size,
            num_parameters: tensors.iter().map(numbers).sum(),
            weight_bytes: plan.weight_bytes,
            weight_types: types.join(", "),
            cost: token_cost(
                &tensors,
                &options.quantization().0,
                &self.config,
                (&shape.kv, self.kv_numbers(options)),
            ),
            has_chat_template: text.chat_template().is_some(),
            eos_token_ids: text.eos_token_ids().to_vec(),
        }
    }

    fn tensors(&self) -> Vec<TensorInfo> {
        let checkpoint = self.checkpoint();
        checkpoint.names().into_iter().filter_map(|name| checkpoint.info(name).cloned()).collect()
    }
}

/// Keys of a config that are true where one of these tensors is in the file.
const TOLD_BY_PRESENCE: &[(&str, &[&str])] = &[
    (
        "attention_bias",
        &[
            "model.layers.0.self_attn.q_proj.bias",
            "model.layers.0.self_attn.kv_a_proj_with_mqa.bias",
            "layers.0.attn.Wqkv.bias",
        ],
    ),
    ("attention_out_bias", &["model.layers.0.self_attn.o_proj.bias"]),
    ("use_bias", &["model.layers.0.self_attn.q_proj.bias"]),
    ("mlp_bias", &["model.layers.0.mlp.down_proj.bias", "layers.0.mlp.Wi.bias"]),
    ("norm_bias", &["final_norm.bias", "embeddings.norm.bias"]),
    ("classifier_bias", &["head.dense.bias"]),
];

/// Metadata is silent on what the presence of a tensor shows; and Phi-3's rope factors are tensors.
fn add_what_tensors_tell(config: &mut Value, file: &GgufFile) -> Result<(), LoadError> {
    let has = |names: &[&str]| names.iter().any(|name| file.info(name).is_some());
    config["tie_word_embeddings"] = (!has(&["lm_head.weight"])).into();
    for (key, names) in TOLD_BY_PRESENCE {
        config[*key] = has(names).into();
    }
    for (key, name) in [
        ("type_vocab_size", "embeddings.token_type_embeddings.weight"),
        ("num_labels", "classifier.weight"),
    ] {
        if let Some(rows) = file.info(name).and_then(|info| info.shape.first()) {
            config[key] = (*rows).into();
        }
    }
    for (key, name) in
        [("short_factor", "rope_factors_short.weight"), ("long_factor", "rope_factors_long.weight")]
    {
        if let Some(info) = file.info(name) {
            let factors = mistralrs_quant::dense(info, file.read(name)?)?.to_vec1::<f32>()?;
            config["rope_parameters"]["rope_type"] = "longrope".into();
            config["rope_parameters"][key] = factors.into();
        }
    }
    Ok(())
}

fn stored_bytes(info: &TensorInfo, ty: QuantType) -> Option<u64> {
    let (cols, rows) = info.shape.split_last()?;
    let rows: u64 = rows.iter().map(|n| *n as u64).product();
    Some(ty.row_bytes(*cols)? as u64 * rows)
}

/// A hub id as it is; of a path its last component, without `.gguf`.
fn model_id(model: &str) -> String {
    let path = Path::new(model);
    if !path.exists() {
        return model.to_owned();
    }
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = match path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
        true => path.file_stem(),
        false => path.file_name(),
    };
    name.map_or_else(|| model.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A JSON file of the model.
///
/// # Errors
/// [`LoadError`] naming it.
pub(crate) fn read_json(file: &Path) -> Result<Value, LoadError> {
    let bytes =
        std::fs::read(file).map_err(|source| LoadError::Io { file: file.to_owned(), source })?;
    serde_json::from_slice(&bytes)
        .map_err(|e| LoadError::BadFile { file: file.to_owned(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decide(names: Value, marker: bool, purpose: &Purpose) -> Result<(String, bool), String> {
        let config = json!({"architectures": names, "model_type": "bert"});
        let kind = Kind { is_sentence_model: marker, purpose };
        kind.decide(&config, Path::new("config.json"))
            .map(|(name, row)| (name, row.is_some()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn text_or_encoder() {
        let found = |names, marker| decide(names, marker, &Purpose::Detect);
        let named = |name: &str, encodes| Ok((name.to_owned(), encodes));
        assert_eq!(found(json!(["LlamaForCausalLM"]), false), named("LlamaForCausalLM", false));
        assert_eq!(found(json!(["BertModel"]), false), named("BertModel", true));
        assert_eq!(found(json!(["BertModel"]), true), named("BertModel", true));
        assert_eq!(found(json!([]), true), named("BertModel", true));
        assert_eq!(found(json!(null), true), named("BertModel", true));
        assert_eq!(found(json!(["Unheard", "RobertaModel"]), true), named("RobertaModel", true));
        for wrong in [json!(["A", "B"]), json!([]), json!(null), json!("BertModel")] {
            assert!(found(wrong, false).unwrap_err().contains("exactly one"));
        }
        let asked = |name: Option<&str>| {
            let purpose = Purpose::Encode(name.map(str::to_owned));
            decide(json!(["BertModel"]), false, &purpose)
        };
        assert_eq!(asked(None), named("BertModel", true));
        assert_eq!(asked(Some("ModernBertModel")), named("ModernBertModel", true));
        assert!(asked(Some("GloVe")).unwrap_err().contains("BertModel"));
    }
}
