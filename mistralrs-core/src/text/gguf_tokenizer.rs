//! Rebuilds a tokenizer from what a GGUF file says about it: byte-level BPE (`gpt2`), SentencePiece
//! BPE (`llama`), and in `encoders` what only encoders have. Knows GGUF metadata and the `tokenizers`
//! crate, no templates.
//! Source: the `tokenizer.ggml.*` keys of the GGUF specification; SentencePiece models become
//! BPE with merges in the order of the merged pieces' scores, as Hugging Face converts them.

mod encoders;

use super::pre_tokenizers::{self, PreTokenizer};
use super::token_table::byte_token;
use super::tokenizer::Tokenizer;
use crate::error::LoadError;
use mistralrs_quant::gguf::Metadata;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::Path;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as DecoderSequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence as NormalizerSequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizerSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// SentencePiece's spelling of a space.
const SPACE: &str = "\u{2581}";

/// `tokenizer.ggml.token_type`.
mod token_type {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const UNUSED: i32 = 5;
    pub(super) const BYTE: i32 = 6;
}

/// The special tokens a GGUF file names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what cannot be written.
    pub unk: Option<u32>,
    /// Further ids that end an answer: end of turn, end of message.
    pub end_of_turn: Vec<u32>,
}

/// The vocabulary of a GGUF file, its lists checked to be of one length.
struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    scores: Vec<f32>,
    types: Vec<i32>,
    merges: Vec<&'a str>,
    special: SpecialIds,
}

/// Rebuilds the tokenizer of a GGUF file; `file` is only named in errors.
///
/// # Errors
/// [`LoadError::BadFile`] when keys are missing or contradict each other, or the kind of
/// tokenizer is not known.
pub fn from_gguf(metadata: &Metadata, file: &Path) -> Result<(Tokenizer, SpecialIds), LoadError> {
    let bad = |reason: String| LoadError::BadFile { file: file.to_path_buf(), reason };
    let vocabulary = Vocabulary::read(metadata).map_err(bad)?;
    let kind = metadata
        .get_str("tokenizer.ggml.model")
        .ok_or_else(|| bad("the key `tokenizer.ggml.model` is missing".to_owned()))?;
    let model = match kind {
        "gpt2" => byte_level(&vocabulary, metadata),
        "llama" => sentence_piece(&vocabulary, metadata),
        "bert" => encoders::word_piece(&vocabulary, metadata),
        "t5" => encoders::unigram(&vocabulary, metadata),
        other => Err(format!(
            "tokenizer.ggml.model `{other}` is not supported (known: gpt2, llama, bert, t5); \
             give the model's tokenizer.json with --tokenizer-json"
        )),
    };
    let tokenizer = Tokenizer::new(model.map_err(bad)?, file)?;
    Ok((tokenizer, vocabulary.special))
}

/// The special tokens of a GGUF file whose tokenizer comes from elsewhere.
///
/// # Errors
/// [`LoadError::BadFile`] when the vocabulary is missing.
pub fn special_ids(metadata: &Metadata, file: &Path) -> Result<SpecialIds, LoadError> {
    let vocabulary = Vocabulary::read(metadata);
    vocabulary
        .map(|vocabulary| vocabulary.special)
        .map_err(|reason| LoadError::BadFile { file: file.to_path_buf(), reason })
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata) -> Result<Self, String> {
        let tokens = metadata
            .get_strs("tokenizer.ggml.tokens")
            .filter(|tokens| !tokens.is_empty())
            .ok_or("the key `tokenizer.ggml.tokens` is missing or empty")?;
        let scores = metadata.get_f32s("tokenizer.ggml.scores");
        let types = metadata.get_i32s("tokenizer.ggml.token_type");
        let lengths = [
            ("scores", scores.as_ref().map(Vec::len)),
            ("token_type", types.as_ref().map(Vec::len)),
        ];
        for (name, len) in lengths {
            if len.is_some_and(|len| len != tokens.len()) {
                return Err(format!(
                    "tokenizer.ggml.{name} has {} entries, tokenizer.ggml.tokens has {}",
                    len.unwrap_or_default(),
                    tokens.len()
                ));
            }
        }
        let mut vocabulary = Self {
            scores: scores.unwrap_or_default(),
            types: types.unwrap_or_default(),
            merges: metadata.get_strs("tokenizer.ggml.merges").unwrap_or_default(),
            special: SpecialIds::default(),
            tokens,
        };
        vocabulary.special = vocabulary.special_ids(metadata);
        Ok(vocabulary)
    }

    fn special_ids(&self, metadata: &Metadata) -> SpecialIds {
        let id = |key: &str| {
            let id = metadata.get_u64(&format!("tokenizer.ggml.{key}_token_id"))?;
            u32::try_from(id).ok().filter(|&id| (id as usize) < self.tokens.len())
        };
        let mut end_of_turn: Vec<u32> = ["eot", "eom"].into_iter().filter_map(id).collect();
        let harmony = self.tokens.contains(&"<|return|>");
        for (index, token) in (0u32..).zip(&self.tokens) {
            // In gpt-oss's format `<|end|>` ends a message, not the turn.
            let ends = END_OF_TURN.contains(token) && !(harmony && *token == "<|end|>");
            if ends && !end_of_turn.contains(&index) {
                end_of_turn.push(index);
            }
        }
        // SentencePiece vocabularies always have these three places; others need not.
        let usual = |index: u32, name: &str| {
            (self.tokens.get(index as usize) == Some(&name)).then_some(index)
        };
        // Those of encoders have them anywhere.
        let encodes = matches!(metadata.get_str("tokenizer.ggml.model"), Some("bert" | "t5"));
        let named = |names: [&str; 2]| {
            let mut tokens = (0u32..).zip(&self.tokens);
            tokens.find(|(_, token)| encodes && names.contains(token)).map(|(id, _)| id)
        };
        SpecialIds {
            bos: id("bos").or_else(|| usual(1, "<s>")).or_else(|| named(["[CLS]", "<s>"])),
            eos: id("eos").or_else(|| usual(2, "</s>")).or_else(|| named(["[SEP]", "</s>"])),
            unk: id("unknown").or_else(|| usual(0, "<unk>")).or_else(|| named(["[UNK]", "<unk>"])),
            end_of_turn,
        }
    }

    fn token_type(&self, index: usize) -> i32 {
        self.types.get(index).copied().unwrap_or(token_type::NORMAL)
    }

    fn name(&self, id: Option<u32>) -> Option<&'a str> {
        self.tokens.get(id? as usize).copied()
    }

    /// Token → id. Of tokens spelled alike the last counts, an empty one gets a name.
    fn ids(&self) -> Vocab {
        (0u32..)
            .zip(&self.tokens)
            .map(|(id, &token)| match token {
                "" => (format!("[EMPTY_{id}]"), id),
                _ => (token.to_owned(), id),
            })
            .collect()
    }

    /// Tokens that are found in a text before anything else is done with it.
    fn added(&self) -> Vec<AddedToken> {
        let is_special = |id: u32| {
            let SpecialIds { bos, eos, unk, end_of_turn } = &self.special;
            [bos, eos, unk].into_iter().any(|special| *special == Some(id))
                || end_of_turn.contains(&id)
        };
        (0u32..)
            .zip(&self.tokens)
            .filter(|(_, token)| !token.is_empty())
            .filter_map(|(id, token)| match self.token_type(id as usize) {
                token_type::CONTROL | token_type::UNKNOWN => Some((token, true)),
                token_type::USER_DEFINED => Some((token, is_special(id))),
                _ => is_special(id).then_some((token, true)),
            })
            .map(|(token, special)| AddedToken::from(*token, special).normalized(false))
            .collect()
    }
}

/// Tokens that end an answer wherever they are in a vocabulary.
const END_OF_TURN: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
];

fn byte_level(
    vocabulary: &Vocabulary<'_>,
    metadata: &Metadata,
) -> Result<tokenizers::Tokenizer, String> {
    let name = metadata.get_str("tokenizer.ggml.pre").unwrap_or("default");
    let row = pre_tokenizers::find(name).ok_or_else(|| {
        format!(
            "the pre-tokenizer `{name}` (tokenizer.ggml.pre) is not known; known: {}; \
             give the model's tokenizer.json with --tokenizer-json",
            pre_tokenizers::known_names()
        )
    })?;
    if vocabulary.merges.is_empty() {
        return Err("the key `tokenizer.ggml.merges` is missing or empty".to_owned());
    }
    let ids = vocabulary.ids();
    let merges = vocabulary.merges.iter().enumerate().map(|(index, merge)| {
        // A token may contain spaces only in its SentencePiece or byte spelling: one separates.
        let (left, right) = merge
            .split_once(' ')
            .ok_or_else(|| format!("tokenizer.ggml.merges[{index}] is no pair: {merge:?}"))?;
        Ok((left.to_owned(), right.to_owned()))
    });
    let merges = merges.collect::<Result<Vec<_>, String>>()?;
    let merges = usable_merges(merges, &ids);
    let bpe = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(row.ignore_merges)
        .build()
        .map_err(|e| e.to_string())?;
    let mut model = tokenizers::Tokenizer::new(bpe);
    if row.nfc {
        model.with_normalizer(Some(NFC)).map_err(|e| e.to_string())?;
    }
    model.with_pre_tokenizer(Some(splits(row)?));
    model.with_decoder(Some(ByteLevel::new(false, false, false)));
    // An encoder reads its texts between two special tokens.
    let encodes = metadata
        .get_str("general.architecture")
        .is_some_and(|name| name == "bert" || name == "modern-bert");
    finish(model, vocabulary, metadata, Ends { bos: row.add_bos || encodes, eos: encodes })
}

fn splits(row: &PreTokenizer) -> Result<PreTokenizerSequence, String> {
    let mut steps = Vec::new();
    for pattern in row.patterns {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        steps.push(split.map_err(|e| e.to_string())?.into());
    }
    steps.push(ByteLevel::new(false, false, false).into());
    Ok(PreTokenizerSequence::new(steps))
}

/// Without the merges that lead out of the vocabulary: files have been seen that keep the
/// merges of tokens they dropped, and those can never apply.
fn usable_merges(merges: Vec<(String, String)>, ids: &Vocab) -> Vec<(String, String)> {
    let known = |(left, right): &(String, String)| {
        ids.contains_key(left)
            && ids.contains_key(right)
            && ids.contains_key(&format!("{left}{right}"))
    };
    let (usable, dropped): (Vec<_>, Vec<_>) = merges.into_iter().partition(known);
    if !dropped.is_empty() {
        tracing::warn!(count = dropped.len(), "merges outside the vocabulary are ignored");
    }
    usable
}

fn sentence_piece(
    vocabulary: &Vocabulary<'_>,
    metadata: &Metadata,
) -> Result<tokenizers::Tokenizer, String> {
    if vocabulary.scores.is_empty() {
        return Err("the key `tokenizer.ggml.scores` is missing or empty".to_owned());
    }
    let ids = vocabulary.ids();
    let byte_fallback = vocabulary.tokens.iter().any(|token| byte_token(token).is_some());
    let merges = merges_by_score(vocabulary, &ids);
    let mut builder =
        BPE::builder().vocab_and_merges(ids, merges).byte_fallback(byte_fallback).fuse_unk(true);
    if let Some(unk) = vocabulary.name(vocabulary.special.unk) {
        builder = builder.unk_token(unk.to_owned());
    }
    let mut model = tokenizers::Tokenizer::new(builder.build().map_err(|e| e.to_string())?);
    let space_prefix = metadata.get_bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let mut normalizers = Vec::new();
    if space_prefix {
        normalizers.push(Prepend::new(SPACE.to_owned()).into());
    }
    normalizers.push(Replace::new(" ", SPACE).map_err(|e| e.to_string())?.into());
    model.with_normalizer(Some(NormalizerSequence::new(normalizers))).map_err(|e| e.to_string())?;
    let mut decoders = vec![
        Replace::new(SPACE, " ").map_err(|e| e.to_string())?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if space_prefix {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    model.with_decoder(Some(DecoderSequence::new(decoders)));
    finish(model, vocabulary, metadata, Ends { bos: true, eos: false })
}

/// Every way to put a piece together from two others, best score of the result first; of equal
/// scores the longer parts first, then in the order of the vocabulary.
fn merges_by_score(vocabulary: &Vocabulary<'_>, ids: &Vocab) -> Vec<(String, String)> {
    let unmergeable: HashSet<&str> = (vocabulary.tokens.iter().enumerate())
        .filter(|(index, _)| {
            let kind = vocabulary.token_type(*index);
            matches!(
                kind,
                token_type::UNKNOWN | token_type::CONTROL | token_type::UNUSED | token_type::BYTE
            )
        })
        .map(|(_, token)| *token)
        .collect();
    let mergeable = |piece: &str| ids.get(piece).filter(|_| !unmergeable.contains(piece)).copied();
    let mut merges: Vec<(f32, &str, &str)> = Vec::new();
    for (token, &score) in vocabulary.tokens.iter().zip(&vocabulary.scores) {
        if unmergeable.contains(token) {
            continue;
        }
        let mut ways: Vec<(u32, u32, &str, &str)> = (token.char_indices().skip(1))
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some((mergeable(left)?, mergeable(right)?, left, right))
            })
            .collect();
        ways.sort_unstable();
        merges.extend(ways.into_iter().map(|(_, _, left, right)| (score, left, right)));
    }
    let chars = |text: &str| text.chars().count();
    merges.sort_by(|a, b| {
        b.0.partial_cmp(&a.0)
            .unwrap_or(Ordering::Equal)
            .then_with(|| chars(b.1).cmp(&chars(a.1)))
            .then_with(|| chars(b.2).cmp(&chars(a.2)))
    });
    merges.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// Whether a text gets BOS before it and EOS behind it when the file does not say.
struct Ends {
    bos: bool,
    eos: bool,
}

/// Adds what all kinds have in common: added tokens, and BOS and EOS around a text. Of a pair the
/// second text begins behind the first one's EOS, where the file says so behind another.
fn finish(
    mut model: tokenizers::Tokenizer,
    vocabulary: &Vocabulary<'_>,
    metadata: &Metadata,
    ends: Ends,
) -> Result<tokenizers::Tokenizer, String> {
    model.add_tokens(vocabulary.added()).map_err(|e| e.to_string())?;
    let flag = |key: &str| metadata.get_bool(&format!("tokenizer.ggml.{key}"));
    let bos = flag("add_bos_token").unwrap_or(ends.bos).then_some(vocabulary.special.bos);
    let eos = flag("add_eos_token").unwrap_or(ends.eos).then_some(vocabulary.special.eos);
    let (bos, eos) = (bos.flatten(), eos.flatten());
    if bos.is_none() && eos.is_none() {
        return Ok(model);
    }
    let has_types = metadata.get_str("tokenizer.ggml.model") == Some("bert");
    let is_roberta = metadata.get_str("general.architecture") == Some("bert") && !has_types;
    let twice = flag("add_sep_token").unwrap_or(is_roberta);
    let second = if has_types { 1 } else { 0 };
    // The template knows tokens by name; any two different names do.
    let piece = |id: Option<u32>, name: &str| id.map(|_| name.to_owned());
    let pieces = |list: &[Option<String>]| list.iter().flatten().cloned().collect::<Vec<_>>();
    let (first, last) = (piece(bos, "bos"), piece(eos, "eos"));
    let single = pieces(&[first.clone(), Some("$A".to_owned()), last.clone()]);
    let pair = pieces(&[
        first,
        Some("$A".to_owned()),
        last.clone(),
        last.clone().filter(|_| twice),
        Some(format!("$B:{second}")),
        last.map(|last| format!("{last}:{second}")),
    ]);
    let special: Vec<(String, u32)> =
        [bos.map(|id| ("bos".to_owned(), id)), eos.map(|id| ("eos".to_owned(), id))]
            .into_iter()
            .flatten()
            .collect();
    let template = TemplateProcessing::builder()
        .try_single(single)
        .map_err(|e| e.to_string())?
        .try_pair(pair)
        .map_err(|e| e.to_string())?
        .special_tokens(special)
        .build()
        .map_err(|e| e.to_string())?;
    model.with_post_processor(Some(template));
    Ok(model)
}

#[cfg(test)]
mod tests;
