//! What is done with an input, and what inputs are made of: the fixtures.

use super::{Outcome, kind_of};
use mistralrs_core::models::{self, ARCHITECTURES, encoders, gguf_config};
use mistralrs_core::sentence::SentenceConfig;
use mistralrs_core::text::gguf_tokenizer;
use mistralrs_quant::gguf::GgufFile;
use mistralrs_quant::{Checkpoint, open_safetensors};
use mistralrs_testkit::encoders::{
    CROSS_ENCODERS, EMBEDDING_MODELS, GGUF_CROSS_ENCODERS, GGUF_EMBEDDING_MODELS,
};
use mistralrs_testkit::{GGUF_MODELS, GGUF_THAT_SEE, HF_MODELS, fixture};
use serde_json::json;
use std::path::{Path, PathBuf};

pub fn gguf_seeds() -> Vec<Vec<u8>> {
    let names = GGUF_MODELS.iter().chain(&GGUF_EMBEDDING_MODELS).chain(&GGUF_CROSS_ENCODERS);
    let towers = GGUF_THAT_SEE.map(|name| name.replace("-gguf/", "-gguf/mmproj-"));
    let names = names.copied().chain(towers.iter().map(String::as_str));
    names.map(|name| std::fs::read(fixture(name)).unwrap()).collect()
}

pub fn safetensors_seeds() -> Vec<Vec<u8>> {
    let names = ["llama-plain", "bert-plain", "roberta-mean", "mistral"];
    names.map(|name| std::fs::read(fixture(name).join("model.safetensors")).unwrap()).to_vec()
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    let folders = HF_MODELS.iter().chain(&EMBEDDING_MODELS).chain(&CROSS_ENCODERS);
    let files =
        folders.flat_map(|name| ["config.json", "config.old.json"].map(|f| fixture(name).join(f)));
    files.map(|file| std::fs::read(file).unwrap()).collect()
}

/// A file with this content, on a memory file system where there is one. Its name is the same for all
/// inputs but for a number, so that errors do not differ by it.
fn with_file(bytes: &[u8], kind: &str, look: impl FnOnce(&PathBuf) -> Outcome) -> Outcome {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let file = folder.join(format!("mistralrs-fuzz-{}.{kind}", std::process::id()));
    std::fs::write(&file, bytes).unwrap();
    let outcome = look(&file);
    std::fs::remove_file(&file).unwrap();
    outcome
}

/// Header, all tensors, the config it stands for, what follows an encoder, the tokenizer.
pub fn gguf(bytes: &[u8]) -> Outcome {
    with_file(bytes, "gguf", |file| match GgufFile::open(std::slice::from_ref(file)) {
        Ok(gguf) => look_through(&gguf, file),
        Err(error) => kind_of(error),
    })
}

fn look_through(gguf: &GgufFile, file: &Path) -> Outcome {
    read_all(gguf);
    let config = gguf_config::config_from_gguf(gguf.metadata());
    let mut all = match config {
        Err(error) => kind_of(error),
        Ok(config) => {
            let name = config["architectures"][0].as_str().unwrap_or_default();
            let text = models::find(name).map(|row| failure((row.shape)(file, &config)));
            let encoder = encoders::find(name).map(|row| failure((row.shape)(file, &config)));
            text.unwrap_or_default() + &encoder.unwrap_or_default()
        }
    };
    all += &look_at_tower(gguf, file);
    all += &failure(SentenceConfig::from_gguf(gguf));
    all += &match gguf_tokenizer::from_gguf(gguf.metadata(), file) {
        Err(error) => kind_of(error),
        Ok((tokenizer, _)) => match tokenizer.encode("Grüße, 12 ships\n <s>", true) {
            Err(error) => kind_of(error),
            Ok(ids) => failure(tokenizer.decode(&ids, false)),
        },
    };
    all
}

/// What a tower's file says, beside text models that it may be for.
fn look_at_tower(tower: &GgufFile, file: &Path) -> Outcome {
    let mut all = Outcome::new();
    for (name, text, width) in [
        ("Qwen2ForCausalLM", "qwen2vl", 24),
        ("Qwen3ForCausalLM", "qwen3vl", 24),
        ("Gemma3ForCausalLM", "gemma3", 36),
    ] {
        let config = json!({
            "architectures": [name], "model_type": text, "hidden_size": width, "intermediate_size": 20,
            "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 12, "vocab_size": 308,
        });
        let seeing = gguf_config::with_tower(&config, file, tower, file);
        all += &match seeing {
            Err(error) => kind_of(error),
            Ok(seeing) => {
                let row = models::find(seeing.architecture).unwrap();
                failure((row.shape)(file, &seeing.config))
            }
        };
    }
    all
}

/// Nothing where it went well.
fn failure<T, E: ToString>(result: Result<T, E>) -> Outcome {
    result.err().map_or(Outcome::new(), kind_of)
}

pub fn safetensors(bytes: &[u8]) -> Outcome {
    with_file(bytes, "safetensors", |file| match open_safetensors(std::slice::from_ref(file)) {
        Ok(checkpoint) => {
            read_all(&*checkpoint);
            Outcome::new()
        }
        Err(error) => kind_of(error),
    })
}

fn read_all(checkpoint: &dyn Checkpoint) {
    for name in checkpoint.names() {
        let (info, bytes) = (checkpoint.info(name).unwrap(), checkpoint.read(name).unwrap());
        drop(mistralrs_quant::dense(info, bytes));
    }
}

/// Every architecture and every encoder reads it, whichever it names.
pub fn config(bytes: &[u8]) -> Outcome {
    let json = match serde_json::from_slice(bytes) {
        Ok(json) => json,
        Err(error) => return kind_of(error),
    };
    let file = Path::new("config.json");
    let text = ARCHITECTURES.iter().map(|row| failure((row.shape)(file, &json)));
    let encoders = encoders::ENCODERS.iter().map(|row| failure((row.shape)(file, &json)));
    text.chain(encoders).map(|failure| failure + "\n").collect()
}
