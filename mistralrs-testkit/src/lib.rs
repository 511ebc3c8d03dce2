//! What tests stand on: tiny models, reference values, and the data folder beside the project.
//!
//! Knows files and numbers only; no crate of the workspace. The models are written by
//! `scripts/make_fixtures.py`, the reference values by the transformers implementation.
//! Everything here panics on a missing file: a test without its fixture is a broken checkout.
#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "a test helper has nobody to return an error to")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod bfloat16;
pub mod encoders;
pub mod matformer;
pub mod media;

pub use bfloat16::in_bfloat16;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The Hugging Face folders with a golden, family by family as in `scripts/fixtures`.
/// `qwen2-untied` comes in three shards.
pub const HF_MODELS: &[&str] = &[
    "llama-plain",
    "llama-rope-llama3",
    "llama-rope-linear",
    "llama-rope-dynamic",
    "qwen2-tied",
    "qwen2-untied",
    "mistral",
    "qwen3",
    "gemma2",
    "gemma3",
    "phi3",
    "smollm3",
    "granite",
    "olmo2",
    "glm4",
    "starcoder2",
    "seed-oss",
    "mixtral",
    "mixtral-window",
    "qwen2-moe",
    "qwen2-moe-plain",
    "qwen3-moe",
    "qwen3-moe-plain",
    "deepseek-v2-lite",
    "deepseek-v2",
    "deepseek-v3",
    "deepseek-v3-halves",
    "gemma3n",
    "gemma3n-nested",
    "gemma3n-media",
    "gemma3-vision",
    "idefics3",
    "smolvlm",
    "qwen2-vl",
    "qwen2.5-vl",
    "qwen3-vl",
    "qwen3-vl-moe",
];

/// The GGUF files with a golden, by the name [`fixture`] takes.
pub const GGUF_MODELS: &[&str] = &[
    "llama-plain-f32.gguf",
    "llama-plain-q8_0.gguf",
    "llama-rope-llama3-bf16.gguf",
    "llama-rope-linear-f32.gguf",
    "llama-mixed.gguf",
    "qwen2-tied-f32.gguf",
    "qwen2-tied-q8_0.gguf",
    "mistral-f32.gguf",
    "qwen3-f32.gguf",
    "gemma2-f32.gguf",
    "gemma3-f32.gguf",
    "phi3-f32.gguf",
    "smollm3-f32.gguf",
    "granite-f32.gguf",
    "olmo2-f32.gguf",
    "glm4-f32.gguf",
    "starcoder2-f32.gguf",
    "seed-oss-f32.gguf",
    "mixtral-f32.gguf",
    "mixtral-window-f32.gguf",
    "qwen2-moe-plain-f32.gguf",
    "qwen3-moe-plain-f32.gguf",
    "deepseek-v2-lite-f32.gguf",
    "deepseek-v2-f32.gguf",
    "deepseek-v3-f32.gguf",
    "gemma3n-f32.gguf",
    "qwen2-vl-gguf/qwen2-vl-f32.gguf",
    "qwen2.5-vl-gguf/qwen2.5-vl-f32.gguf",
    "qwen3-vl-gguf/qwen3-vl-f32.gguf",
    "gemma3-vision-gguf/gemma3-vision-f32.gguf",
];

/// Those of [`GGUF_MODELS`] that see: beside each lies its tower, under the same name behind `mmproj-`.
pub const GGUF_THAT_SEE: [&str; 4] = [
    "qwen2-vl-gguf/qwen2-vl-f32.gguf",
    "qwen2.5-vl-gguf/qwen2.5-vl-f32.gguf",
    "qwen3-vl-gguf/qwen3-vl-f32.gguf",
    "gemma3-vision-gguf/gemma3-vision-f32.gguf",
];

/// Number of logits of every random fixture; ids from 303 on are not in the tokenizer.
pub const VOCAB_SIZE: usize = 308;

/// Reference log-probabilities of one model.
#[derive(Debug, Clone, Deserialize)]
pub struct Golden {
    /// One entry per prompt: 40 tokens and 7 tokens.
    pub cases: Vec<GoldenCase>,
}

/// One prompt and its greedy continuation.
#[derive(Debug, Clone, Deserialize)]
pub struct GoldenCase {
    /// Token ids.
    pub prompt: Vec<u32>,
    /// Entry `i` is about the token at prompt position `i + 1`: one fewer than the prompt has.
    pub prompt_logprobs: Vec<GoldenStep>,
    /// The greedy steps after the prompt, in order.
    pub greedy: Vec<GoldenStep>,
}

impl GoldenCase {
    /// The ids of the greedy continuation.
    pub fn greedy_ids(&self) -> Vec<u32> {
        self.greedy.iter().map(|step| step.token).collect()
    }
}

/// The distribution at one position: natural logs, before temperature and filters.
#[derive(Debug, Clone, Deserialize)]
pub struct GoldenStep {
    /// The token that stands there.
    pub token: u32,
    /// Its ln p.
    pub logprob: f32,
    /// The five best, best first.
    pub top: Vec<(u32, f32)>,
}

impl GoldenStep {
    /// The largest distance between these values and those of `logprob`, which is asked for
    /// the token and for the five best.
    pub fn distance(&self, logprob: impl Fn(u32) -> f32) -> f32 {
        let pairs = self.top.iter().copied().chain([(self.token, self.logprob)]);
        let worst = |worst: f32, (token, wanted): (u32, f32)| {
            let distance = (logprob(token) - wanted).abs();
            if distance.is_nan() { f32::INFINITY } else { worst.max(distance) }
        };
        pairs.fold(0.0, worst)
    }
}

/// What the tokenizer of the random fixtures and its chat template must give.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenizerGolden {
    /// Texts and their ids, without added special tokens.
    pub encodings: Vec<EncodingGolden>,
    /// Conversations and the prompt the template makes of them, with the generation prompt.
    pub conversations: Vec<ConversationGolden>,
}

/// A text and its ids.
#[derive(Debug, Clone, Deserialize)]
pub struct EncodingGolden {
    /// The text.
    pub text: String,
    /// Its ids.
    pub ids: Vec<u32>,
}

/// A conversation and its prompt.
#[derive(Debug, Clone, Deserialize)]
pub struct ConversationGolden {
    /// Maps with `role` and `content`.
    pub messages: Vec<serde_json::Value>,
    /// The rendered prompt.
    pub rendered: String,
}

/// The reference run of stories260K.
#[derive(Debug, Clone, Deserialize)]
pub struct StoriesReference {
    /// The text of 200 greedy steps from BOS.
    pub expected_stdout: String,
    /// Runs in float32 from the safetensors weights; the first has no prompt but BOS.
    pub cases: Vec<StoriesCase>,
    /// Runs in float32 from the dequantised weights of each GGUF file.
    #[serde(rename = "gguf_dequantised_in_f32_from_BOS")]
    pub gguf: StoriesGguf,
}

/// One prompt and 200 greedy steps.
#[derive(Debug, Clone, Deserialize)]
pub struct StoriesCase {
    /// Ids of the prompt, BOS included.
    pub prompt_ids: Vec<u32>,
    /// Ids of the continuation.
    pub greedy_200_ids: Vec<u32>,
    /// Text of the continuation.
    pub text: String,
}

/// The runs of the quantised files.
#[derive(Debug, Clone, Deserialize)]
pub struct StoriesGguf {
    /// `stories260K-q8_0.gguf`.
    pub q8_0: StoriesGgufRun,
    /// `stories260K-q4_0.gguf`.
    pub q4_0: StoriesGgufRun,
}

/// Sixty greedy steps from BOS.
#[derive(Debug, Clone, Deserialize)]
pub struct StoriesGgufRun {
    /// Ids of the continuation.
    pub greedy_60_ids: Vec<u32>,
}

/// The workspace's root folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").components().collect()
}

/// A folder or file of the fixtures: `"llama-plain"`, `"qwen2-tied-q8_0.gguf"`.
///
/// # Panics
/// When it is not there.
pub fn fixture(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    assert!(path.exists(), "no fixture `{name}`: run scripts/make_fixtures.py");
    path
}

/// The reference values of an entry of [`HF_MODELS`] or [`GGUF_MODELS`].
///
/// # Panics
/// When there are none.
pub fn golden(name: &str) -> Golden {
    // Those of a pair are in a folder of their own.
    let name = name.rsplit('/').next().unwrap_or(name);
    let stem = name.strip_suffix(".gguf").unwrap_or(name);
    // Twins with the very same values share the reference of the folder they were made from.
    let twin = stem.strip_suffix("-f32").or_else(|| stem.strip_suffix("-bf16")).unwrap_or(stem);
    let file = match HF_MODELS.contains(&twin) {
        true => format!("{twin}/golden.json"),
        false => format!("{stem}.golden.json"),
    };
    read_json(&fixture(&file))
}

/// What the fixtures' tokenizer and chat template must give.
pub fn tokenizer_golden() -> TokenizerGolden {
    read_json(&fixture("tokenizer.golden.json"))
}

/// A real trained Llama of 260 thousand weights, as a Hugging Face folder.
pub fn stories260k() -> PathBuf {
    fixture("stories260K")
}

/// The reference run of [`stories260k`].
pub fn stories260k_reference() -> StoriesReference {
    read_json(&fixture("stories260K.reference.json"))
}

/// A copy of a Hugging Face fixture whose `config.json` is in the spelling of transformers 4.
///
/// # Panics
/// When the fixture has no `config.old.json` or the copy fails.
pub fn with_old_config(name: &str) -> tempfile::TempDir {
    let copy = copy_of(name);
    let (old, new) = (copy.path().join("config.old.json"), copy.path().join("config.json"));
    if let Err(error) = std::fs::rename(&old, &new) {
        panic!("{}: {error}", old.display());
    }
    copy
}

/// A copy of a folder of the fixtures, for tests that break something in it.
///
/// # Panics
/// When the copy fails.
pub fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = || -> std::io::Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        copy_files(&fixture(name), folder.path())?;
        Ok(folder)
    };
    copy().unwrap_or_else(|error| panic!("cannot copy fixture `{name}`: {error}"))
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target)?;
            copy_files(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A path inside the data folder `../shared` beside the project, or `None` with a message:
/// the test then has nothing to do.
pub fn shared(path: &str) -> Option<PathBuf> {
    let full = workspace().join("..").join("shared").join(path);
    if full.exists() {
        return Some(full);
    }
    eprintln!("skipped: there is no ../shared/{path} beside the project");
    None
}

/// Reads a JSON file into a type.
///
/// # Panics
/// When the file is missing or of another form.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> T {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_golden_is_complete() {
        for name in HF_MODELS.iter().chain(GGUF_MODELS) {
            assert!(fixture(name).exists());
            let lengths: Vec<_> = golden(name).cases.iter().map(|case| case.prompt.len()).collect();
            assert_eq!(lengths, [40, 7], "{name}");
            for case in golden(name).cases {
                assert_eq!(case.prompt_logprobs.len() + 1, case.prompt.len(), "{name}");
                assert_eq!(case.greedy.len(), 24, "{name}");
                for (step, token) in case.prompt_logprobs.iter().zip(&case.prompt[1..]) {
                    assert_eq!(step.token, *token, "{name}");
                }
                assert!(case.greedy.iter().all(|step| step.top[0].0 == step.token), "{name}");
                for step in case.prompt_logprobs.iter().chain(&case.greedy) {
                    assert!(step.top.is_sorted_by(|a, b| a.1 >= b.1), "{name}");
                    assert!(step.logprob <= step.top[0].1 && step.top[0].1 < 0.0, "{name}");
                }
            }
        }
    }

    #[test]
    fn distance_sees_the_worst_value_and_nan() {
        let step = GoldenStep { token: 3, logprob: -2.0, top: vec![(1, -0.5), (2, -1.0)] };
        let near = |token| match token {
            1 => -0.5,
            2 => -1.25,
            _ => -2.125,
        };
        assert_eq!(step.distance(near), 0.25);
        assert_eq!(step.distance(|_| f32::NAN), f32::INFINITY);
    }

    #[test]
    fn the_old_config_replaces_the_new_one() {
        let folder = with_old_config("llama-rope-linear");
        let config: serde_json::Value = read_json(&folder.path().join("config.json"));
        assert_eq!(config["rope_scaling"]["type"], "linear");
        assert!(config.get("rope_parameters").is_none());
    }

    #[test]
    fn the_reference_of_stories260k_is_whole() {
        let reference = stories260k_reference();
        assert_eq!(reference.cases[0].greedy_200_ids.len(), 200);
        assert_eq!(reference.cases[0].text, reference.expected_stdout);
        assert_eq!(reference.gguf.q8_0.greedy_60_ids.len(), 60);
    }

    #[test]
    fn random_fixtures_stay_small() {
        let mut folders = vec![fixture("llama-plain").join("..")];
        let mut total = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("stories260K") {
                    continue;
                }
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    let bytes = entry.metadata().unwrap().len();
                    assert!(bytes < 300_000, "{name} has {bytes} bytes");
                    total += bytes;
                }
            }
        }
        assert!(total < 12_300_000, "{total} bytes of fixtures");
    }
}
