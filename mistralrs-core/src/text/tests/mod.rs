//! The pipeline from files, and what the tests of this room share: small tokenizers made here,
//! large ones from the data folder beside the project (skipped with a message if absent).

use super::*;
use crate::request::Message;
use crate::request::Role;
use mistralrs_quant::gguf::{Array, Value as GgufValue};
use serde_json::json;
use std::path::PathBuf;
use std::sync::OnceLock;

/// A file of the data folder beside the project.
pub(super) fn shared(path: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(path);
    if file.exists() {
        return Some(file);
    }
    println!("skipped: ../shared/{path} is not there");
    None
}

/// Real tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fixture {
    GptNeox,
    Llama3,
    Mistral,
    Phi3,
    Qwen25,
    Qwen3,
    Stories,
}

impl Fixture {
    pub(super) const ALL: [Self; 7] = [
        Self::GptNeox,
        Self::Llama3,
        Self::Mistral,
        Self::Phi3,
        Self::Qwen25,
        Self::Qwen3,
        Self::Stories,
    ];

    pub(super) fn file(self) -> Option<PathBuf> {
        shared(match self {
            Self::GptNeox => "tokenizers/gpt-neox/tokenizer.json",
            Self::Llama3 => "tokenizers/llama3/tokenizer.json",
            Self::Mistral => "tokenizers/mistral-v0.3/tokenizer.json",
            Self::Phi3 => "tokenizers/phi-3/tokenizer.json",
            Self::Qwen25 => "tokenizers/qwen2.5/tokenizer.json",
            Self::Qwen3 => "tokenizers/qwen3/tokenizer.json",
            Self::Stories => "models/stories260K/tokenizer.json",
        })
    }

    /// Loaded once for all tests: the large ones take seconds in a debug build.
    pub(super) fn load(self) -> Option<Arc<Tokenizer>> {
        static LOADED: [OnceLock<Arc<Tokenizer>>; Fixture::ALL.len()] =
            [const { OnceLock::new() }; Fixture::ALL.len()];
        let file = self.file()?;
        let load = || Arc::new(Tokenizer::from_file(&file).unwrap());
        Some(Arc::clone(LOADED[self as usize].get_or_init(load)))
    }
}

/// llama.cpp's `.inp` and `.out`: texts with a line between them, ids with one line each.
pub(super) fn llama_cpp_cases(inp: &Path, out: &Path) -> Vec<(String, Vec<u32>)> {
    let (inp, out) = (std::fs::read_to_string(inp).unwrap(), std::fs::read_to_string(out).unwrap());
    let texts: Vec<&str> = inp.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<Vec<u32>> = out
        .lines()
        .map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect())
        .collect();
    // The last text may be followed by the separator.
    assert!(texts.len() - ids.len() <= 1, "{} texts, {} lines of ids", texts.len(), ids.len());
    texts.into_iter().map(str::to_owned).zip(ids).collect()
}

type Expectations = (Vec<String>, Vec<Vec<u32>>, Vec<String>);

/// kitoken's texts, ids and decoded texts, one per line; `\n` in a text is a line break, `\s` a space. The
/// `utf8` set is one text. Without a file of decoded texts the inputs are expected.
pub(super) fn expectation_lines(set: &str, name: &str) -> Option<Expectations> {
    let read = |path: String| {
        let file = shared(&path)?;
        Some(std::fs::read_to_string(file).unwrap())
    };
    let texts = |text: String| match set {
        "utf8" => vec![text],
        _ => text.split('\n').map(|line| line.replace("\\n", "\n").replace("\\s", " ")).collect(),
    };
    let inputs = texts(read(format!("tokenizer-expect/{set}_input.txt"))?);
    let ids = read(format!("tokenizer-expect/tokenizers/{set}_tokens_{name}.txt"))?;
    let ids = ids.split('\n').map(|line| {
        line.split(", ").filter(|id| !id.is_empty()).map(|id| id.trim().parse().unwrap()).collect()
    });
    let outputs = format!("tokenizer-expect/tokenizers/{set}_output_{name}.txt");
    let outputs = match read(outputs) {
        Some(outputs) => texts(outputs),
        None => inputs.clone(),
    };
    Some((inputs, ids.collect(), outputs))
}

fn build(json: &Value) -> Tokenizer {
    Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new("test")).unwrap()
}

fn special(id: u64, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true})
}

pub(super) fn tiny_byte_level_json() -> Value {
    // Every byte in GPT-2's spelling, a few merges, among them of halves of 🦙 (F0 9F A6 99).
    let mut spare = 0x100..;
    let mut letters: Vec<String> = (0..=255u8)
        .map(|byte| match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => char::from_u32(spare.next().unwrap()).unwrap(),
        })
        .map(String::from)
        .collect();
    let merges = [["a", "b"], ["Ġ", "a"], ["ab", "c"]];
    letters.extend(merges.iter().map(|pair| pair.concat()));
    let end = letters.len() as u64;
    let vocab: Map<String, Value> =
        (0u64..).zip(letters).map(|(id, letter)| (letter, id.into())).collect();
    json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(end, "<|end|>")], "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges}})
}

pub(super) fn tiny_byte_level() -> Tokenizer {
    build(&tiny_byte_level_json())
}

pub(super) fn tiny_sentence_piece_json() -> Value {
    let mut pieces = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    pieces.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend(["▁", "a", "b", "c", "é", "ab", "▁ab", "▁▁"].map(String::from));
    let vocab: Map<String, Value> =
        (0u64..).zip(pieces).map(|(id, piece)| (piece, id.into())).collect();
    json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": [["a", "b"], ["▁", "ab"], ["▁", "▁"]]}})
}

pub(super) fn tiny_sentence_piece() -> Tokenizer {
    build(&tiny_sentence_piece_json())
}

pub(super) fn tiny_metaspace() -> Tokenizer {
    let mut json = tiny_sentence_piece_json();
    json["decoder"] =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    build(&json)
}

pub(super) fn tiny_word_piece() -> Tokenizer {
    let words = ["[UNK]", "ab", "##c", "##é", "x", "[CLS]"];
    let vocab: Map<String, Value> =
        (0u64..).zip(words).map(|(id, word)| (word.to_owned(), id.into())).collect();
    build(&json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(5, "[CLS]")], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab}}))
}

/// A folder with a tokenizer and whatever else is given.
fn folder(files: &[(&str, Value)]) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec![("tokenizer.json", tiny_byte_level_json()), ("config.json", json!({}))];
    all.extend(files.iter().cloned());
    for (name, content) in &all {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let present = |name: &str| Some(folder.path().join(name)).filter(|file| file.exists());
    let files = ModelFiles::HuggingFace {
        config: folder.path().join("config.json"),
        weights: vec![],
        tokenizer: folder.path().join("tokenizer.json"),
        tokenizer_config: present("tokenizer_config.json"),
        generation_config: present("generation_config.json"),
        chat_template: present("chat_template.jinja").or_else(|| present("chat_template.json")),
        processors: vec![],
    };
    (folder, files)
}

fn hello() -> ChatRequest {
    ChatRequest { messages: vec![Message::text(Role::User, "hello")], ..ChatRequest::default() }
}

#[test]
fn eos_ids_come_from_three_files() {
    let end = tiny_byte_level().token_id("<|end|>").unwrap();
    let (_folder, files) = folder(&[
        ("config.json", json!({"eos_token_id": 7})),
        ("generation_config.json", json!({"eos_token_id": [3, 7]})),
        ("tokenizer_config.json", json!({"eos_token": {"content": "<|end|>"}})),
    ]);
    let text = TextPipeline::from_huggingface(&files, &LoadOptions::new("m")).unwrap();
    assert_eq!(text.eos_token_ids(), [3, 7, end]);
    let (_folder, files) = folder(&[("config.json", json!({"eos_token_id": null}))]);
    let text = TextPipeline::from_huggingface(&files, &LoadOptions::new("m")).unwrap();
    assert_eq!(text.eos_token_ids(), [0; 0]);
}

#[test]
fn templates_have_an_order_of_precedence() {
    let config = (
        "tokenizer_config.json",
        json!({"chat_template": "config {{ bos_token }}", "bos_token": "<s>"}),
    );
    let other = tempfile::tempdir().unwrap();
    let explicit = other.path().join("explicit.jinja");
    std::fs::write(&explicit, "explicit").unwrap();
    let render = |files: &[(&str, Value)], change: &dyn Fn(&mut LoadOptions)| {
        let (_folder, files) = folder(files);
        let mut options = LoadOptions::new("m");
        change(&mut options);
        TextPipeline::from_huggingface(&files, &options).unwrap().render(&hello())
    };
    let keep = |_: &mut LoadOptions| {};
    let fallback = |options: &mut LoadOptions| options.chat_template = Some(explicit.clone());
    let force = |options: &mut LoadOptions| options.jinja_explicit = Some(explicit.clone());
    let jinja = ("chat_template.jinja", json!("file"));
    let json = ("chat_template.json", json!({"chat_template": "json"}));
    assert_eq!(render(std::slice::from_ref(&config), &keep).unwrap(), "config <s>");
    assert_eq!(render(&[config.clone(), jinja], &keep).unwrap(), "file");
    assert_eq!(render(&[json], &keep).unwrap(), "json");
    assert_eq!(render(std::slice::from_ref(&config), &fallback).unwrap(), "config <s>");
    assert_eq!(render(&[], &fallback).unwrap(), "explicit");
    assert_eq!(render(&[config], &force).unwrap(), "explicit");
    let none = render(&[], &keep).unwrap_err();
    assert!(none.to_string().contains("no chat template"), "{none}");
}

#[test]
fn a_broken_template_breaks_only_chat() {
    let broken = ("chat_template.jinja", json!("{% if %}"));
    let (_folder, files) = folder(&[broken]);
    let mut options = LoadOptions::new("m");
    let text = TextPipeline::from_huggingface(&files, &options).unwrap();
    assert!(text.chat_template().is_none());
    assert!(text.render(&hello()).unwrap_err().to_string().contains("cannot be compiled"));
    // What the operator asked for must work.
    let ModelFiles::HuggingFace { chat_template, .. } = &files else { panic!() };
    options.jinja_explicit = chat_template.clone();
    let error = TextPipeline::from_huggingface(&files, &options).unwrap_err();
    assert!(error.to_string().contains("chat_template.jinja"), "{error}");
}

#[test]
fn gguf_files_carry_everything() {
    let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "ab", "▁ab", "<|im_end|>"];
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value| metadata.insert(key, value);
    set("tokenizer.ggml.model", GgufValue::String("llama".into()));
    set("tokenizer.ggml.tokens", GgufValue::Array(Array::String(tokens.into_iter().collect())));
    let scores = vec![0., 0., 0., 0., -4., -5., -6., -1., -2., 0.];
    set("tokenizer.ggml.scores", GgufValue::Array(Array::F32(scores)));
    let types = vec![2, 3, 3, 6, 1, 1, 1, 1, 1, 4];
    set("tokenizer.ggml.token_type", GgufValue::Array(Array::I32(types)));
    set("tokenizer.ggml.eos_token_id", GgufValue::U32(2));
    let template =
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
    set("tokenizer.chat_template", GgufValue::String(template.into()));
    let text =
        TextPipeline::from_gguf(&metadata, Path::new("m.gguf"), &LoadOptions::new("m")).unwrap();
    assert_eq!(text.eos_token_ids(), [2, 9]);
    assert_eq!(text.render(&hello()).unwrap(), "<s>hello</s>");
    assert_eq!(text.tokenizer().encode("ab ab", true).unwrap(), [1, 8, 8]);
    assert_eq!(text.tokenizer().encode("ab<|im_end|>", false).unwrap(), [8, 9]);
    let mut detokenizer = text.detokenizer(&[1, 8], &[]);
    assert_eq!(detokenizer.push(8).text, " ab");
    assert_eq!(detokenizer.push(9).text, "");
}

#[test]
fn a_prompt_beyond_any_context_is_not_even_tokenized() {
    let text = |bytes| "a".repeat(bytes);
    assert!(check_bytes(&text(1 << 20), 1).is_ok(), "short contexts cut long texts");
    let error = check_bytes(&text((1 << 20) + 1), 512).unwrap_err();
    assert!(matches!(
        error,
        RequestError::TooManyBytes { bytes: 1_048_577, limit: 1_048_576, tokens: 512 }
    ));
    let said = error.to_string();
    assert!(said.contains("1048577") && said.contains("1048576") && said.contains("512"), "{said}");
    assert!(check_bytes(&text(10_000 * 128), 10_000).is_ok());
    assert!(check_bytes(&text(10_000 * 128 + 1), 10_000).is_err());
}
