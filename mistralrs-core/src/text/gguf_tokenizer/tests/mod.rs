//! Rebuilt tokenizers against the originals and against llama.cpp's own expectations.

mod encoders;

use super::*;
use crate::text::pre_tokenizers::PRE_TOKENIZERS;
use crate::text::tests::{Fixture, expectation_lines, llama_cpp_cases, shared};
use mistralrs_quant::gguf::{Array, Value};
use serde_json::Value as Json;
use tokenizers::PreTokenizer as _;

fn read(path: &str) -> Option<(Tokenizer, SpecialIds)> {
    let file = shared(path)?;
    Some(from_gguf(&Metadata::read(&file).unwrap(), &file).unwrap())
}

fn set(metadata: &mut Metadata, key: &str, value: Value) {
    metadata.insert(format!("tokenizer.ggml.{key}"), value);
}

fn strings<'a>(list: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(Array::String(list.into_iter().collect()))
}

/// The texts that all comparisons use.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "a",
        "Hello  world\n\n",
        "l'été 2024, 1234567890!",
        "don't DON'T 你好世界 \u{1F999}\t\r\n x",
    ]
    .map(String::from)
    .to_vec();
    for set in ["small", "mixed", "utf8"] {
        if let Some(file) = shared(&format!("tokenizer-expect/{set}_input.txt")) {
            texts.extend(std::fs::read_to_string(file).unwrap().lines().map(String::from));
        }
    }
    texts
}

fn assert_same(rebuilt: &Tokenizer, original: &Tokenizer) {
    for text in texts() {
        for special in [true, false] {
            let ids = original.encode(&text, special).unwrap();
            assert_eq!(rebuilt.encode(&text, special).unwrap(), ids, "{text:?}");
            assert_eq!(rebuilt.decode(&ids, true).unwrap(), original.decode(&ids, true).unwrap());
        }
    }
}

#[test]
fn llama_cpp_expectations_hold() {
    for name in ["gpt-2", "llama-spm"] {
        let path = |extension| format!("gguf-vocab/ggml-vocab-{name}.gguf{extension}");
        let (Some((tokenizer, _)), Some(inp), Some(out)) =
            (read(&path("")), shared(&path(".inp")), shared(&path(".out")))
        else {
            return;
        };
        let cases = llama_cpp_cases(&inp, &out);
        assert!(cases.len() > 40);
        for (text, ids) in cases {
            assert_eq!(tokenizer.encode(&text, false).unwrap(), ids, "{name} {text:?}");
        }
    }
}

#[test]
fn kitoken_expectations_hold() {
    for (vocabulary, name) in [("gpt-2", "gpt2"), ("llama-spm", "llama2")] {
        let Some((tokenizer, _)) = read(&format!("gguf-vocab/ggml-vocab-{vocabulary}.gguf")) else {
            return;
        };
        for set in ["small", "mixed", "utf8"] {
            let Some((inputs, ids, outputs)) = expectation_lines(set, name) else {
                return;
            };
            for ((input, ids), output) in inputs.iter().zip(&ids).zip(&outputs) {
                assert_eq!(&tokenizer.encode(input, false).unwrap(), ids, "{name} {set} {input:?}");
                assert_eq!(&tokenizer.decode(ids, false).unwrap(), output, "{name} {set}");
            }
        }
    }
}

#[test]
fn the_rebuilt_stories_tokenizer_is_the_original() {
    let Some((rebuilt, special)) = read("models/stories260K-f32.gguf") else {
        return;
    };
    let Some(original) = Fixture::Stories.load() else {
        return;
    };
    assert_same(&rebuilt, &original);
    assert_eq!((special.bos, special.eos, special.unk), (Some(1), Some(2), Some(0)));
}

#[test]
fn the_rebuilt_llama_tokenizer_equals_phi_3() {
    // Phi-3 has Llama 2's vocabulary and a few tokens more.
    let Some((rebuilt, _)) = read("gguf-vocab/ggml-vocab-llama-spm.gguf") else {
        return;
    };
    let Some(original) = Fixture::Phi3.load() else {
        return;
    };
    for text in texts().iter().filter(|text| !text.contains('<')) {
        let ids = original.encode(text, false).unwrap();
        assert_eq!(rebuilt.encode(text, false).unwrap(), ids, "{text:?}");
        assert_eq!(rebuilt.decode(&ids, true).unwrap(), original.decode(&ids, true).unwrap());
    }
}

/// What a converter writes for a byte-level `tokenizer.json`.
fn converted(file: &Path, pre: &str) -> Metadata {
    let json: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let added = json["added_tokens"].as_array().unwrap();
    let id = |value: &Json| usize::try_from(value.as_u64().unwrap()).unwrap();
    let most = vocab.values().map(id).chain(added.iter().map(|t| id(&t["id"]))).max().unwrap();
    let mut tokens: Vec<String> = (0..=most).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![token_type::UNUSED; tokens.len()];
    for (token, at) in vocab {
        tokens[id(at)].clone_from(token);
        types[id(at)] = 1;
    }
    for token in added {
        tokens[id(&token["id"])] = token["content"].as_str().unwrap().to_owned();
        let special = token["special"].as_bool().unwrap();
        types[id(&token["id"])] =
            if special { token_type::CONTROL } else { token_type::USER_DEFINED };
    }
    let merges = json["model"]["merges"].as_array().unwrap().iter().map(|merge| match merge {
        Json::String(merge) => merge.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    });
    let merges: Vec<String> = merges.collect();
    let mut metadata = Metadata::default();
    set(&mut metadata, "model", Value::String("gpt2".into()));
    set(&mut metadata, "pre", Value::String(pre.into()));
    set(&mut metadata, "tokens", strings(tokens.iter().map(String::as_str)));
    set(&mut metadata, "token_type", Value::Array(Array::I32(types)));
    set(&mut metadata, "merges", strings(merges.iter().map(String::as_str)));
    if let Some(bos) = tokens.iter().position(|token| token == "<|begin_of_text|>") {
        set(&mut metadata, "bos_token_id", Value::U32(u32::try_from(bos).unwrap()));
    }
    metadata
}

#[test]
fn converted_tokenizers_are_the_originals() {
    for (fixture, pre) in [(Fixture::Qwen25, "qwen2"), (Fixture::Llama3, "llama-bpe")] {
        let Some(file) = fixture.file() else { return };
        let (rebuilt, _) = from_gguf(&converted(&file, pre), &file).unwrap();
        assert_same(&rebuilt, &fixture.load().unwrap());
    }
}

#[test]
fn every_row_of_the_table_cuts_text_without_losing_any() {
    let mut names: Vec<&str> = PRE_TOKENIZERS.iter().flat_map(|row| row.names).copied().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands in two rows");
    let text = "Hello  don't 12345 été你好 _x++;\r\n\n  \u{1F999}. ";
    for row in PRE_TOKENIZERS {
        assert_eq!(pieces(row.names[0], text).concat(), text, "{:?}", row.names);
    }
}

/// `scripts/make_pre_tokenizers.py` asked the families' own packages.
#[test]
fn texts_are_cut_as_the_families_own_packages_cut_them() {
    let file = std::fs::read(mistralrs_testkit::fixture("pre_tokenizers.golden.json")).unwrap();
    let golden: Json = serde_json::from_slice(&file).unwrap();
    let names = golden["pieces"].as_object().unwrap();
    assert_eq!(names.len(), 13);
    for (name, wanted) in names {
        for (text, wanted) in
            golden["texts"].as_array().unwrap().iter().zip(wanted.as_array().unwrap())
        {
            let found = pieces(name, text.as_str().unwrap());
            assert_eq!(Json::from(found), *wanted, "{name}: {text}");
        }
    }
}

fn pieces(name: &str, text: &str) -> Vec<String> {
    let mut cut = tokenizers::PreTokenizedString::from(text);
    splits(pre_tokenizers::find(name).unwrap()).unwrap().pre_tokenize(&mut cut).unwrap();
    let splits =
        cut.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
    splits.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect()
}

#[test]
fn families_cut_numbers_words_and_line_breaks_in_their_way() {
    let text = "abc 12345\n\nIt's";
    for (name, expected) in [
        ("gpt-2", vec!["abc", " 12345", "\n", "\n", "It", "'s"]),
        ("llama-bpe", vec!["abc", " ", "123", "45", "\n\n", "It", "'s"]),
        ("qwen2", vec!["abc", " ", "1", "2", "3", "4", "5", "\n\n", "It", "'s"]),
        ("starcoder", vec!["abc", " ", "1", "2", "3", "4", "5", "\n", "\n", "It", "'s"]),
        ("gpt-4o", vec!["abc", " ", "123", "45", "\n\n", "It's"]),
        ("tekken", vec!["abc", " ", "1", "2", "3", "4", "5", "\n\n", "It", "'s"]),
        ("deepseek-v3", vec!["abc", " ", "123", "45", "\n\n", "It", "'s"]),
        ("deepseek-llm", vec!["abc", " ", "1", "2", "3", "4", "5", "\n", "\n", "It", "'", "s"]),
        ("deepseek-coder", vec!["abc", " ", "1", "2", "3", "4", "5", "\n", "\n", "It", "'", "s"]),
    ] {
        assert_eq!(pieces(name, text), expected, "{name}");
    }
}

fn minimal() -> Metadata {
    let mut metadata = Metadata::default();
    set(&mut metadata, "model", Value::String("gpt2".into()));
    set(&mut metadata, "pre", Value::String("gpt-2".into()));
    set(&mut metadata, "tokens", strings(["a", "b", "ab", "", "<|endoftext|>"]));
    set(&mut metadata, "merges", strings(["a b"]));
    metadata
}

fn reason(metadata: &Metadata) -> String {
    from_gguf(metadata, Path::new("m.gguf")).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_named() {
    assert!(from_gguf(&minimal(), Path::new("m.gguf")).is_ok());
    let changed = |key: &str, value: Value| {
        let mut metadata = minimal();
        set(&mut metadata, key, value);
        reason(&metadata)
    };
    let unknown = changed("pre", Value::String("new-kind".into()));
    assert!(unknown.contains("new-kind") && unknown.contains("qwen2"), "{unknown}");
    assert!(
        changed("model", Value::String("rwkv".into())).contains("known: gpt2, llama, bert, t5")
    );
    assert!(changed("model", Value::String("t5".into())).contains("tokenizer.ggml.scores"));
    assert!(changed("model", Value::String("llama".into())).contains("tokenizer.ggml.scores"));
    assert!(changed("tokens", strings([])).contains("tokenizer.ggml.tokens"));
    assert!(changed("merges", strings([])).contains("tokenizer.ggml.merges"));
    assert!(changed("merges", strings(["ab"])).contains("merges[0]"));
    let short = changed("token_type", Value::Array(Array::I32(vec![1])));
    assert!(short.contains("token_type has 1 entries") && short.contains("has 5"), "{short}");
    assert!(reason(&Metadata::default()).contains("tokenizer.ggml.tokens"));
}

#[test]
fn ids_and_merges_outside_the_vocabulary_are_ignored() {
    let mut metadata = minimal();
    set(&mut metadata, "merges", strings(["x y", "a b", "b b"]));
    set(&mut metadata, "eos_token_id", Value::U32(99));
    let (tokenizer, special) = from_gguf(&metadata, Path::new("m.gguf")).unwrap();
    assert_eq!(tokenizer.encode("ab", true).unwrap(), [2]);
    assert_eq!((special.eos, special.end_of_turn), (None, vec![4]));
    assert!(tokenizer.is_special(4));
}

#[test]
fn bos_and_eos_are_added_as_the_file_says() {
    let mut metadata = minimal();
    set(&mut metadata, "bos_token_id", Value::U32(4));
    set(&mut metadata, "eos_token_id", Value::U32(3));
    let encode = |metadata: &Metadata, special| {
        from_gguf(metadata, Path::new("m.gguf")).unwrap().0.encode("ab", special).unwrap()
    };
    assert_eq!(encode(&metadata, true), [2]);
    set(&mut metadata, "add_bos_token", Value::Bool(true));
    assert_eq!(encode(&metadata, true), [4, 2]);
    set(&mut metadata, "add_eos_token", Value::Bool(true));
    assert_eq!(encode(&metadata, true), [4, 2, 3]);
    assert_eq!(encode(&metadata, false), [2]);
}
