//! The tokenizers that only encoders have: WordPiece (`bert`) and Unigram (`t5`, which XLM-RoBERTa's
//! files have). Source: arXiv 1810.04805, 1804.10959; what llama.cpp's converter writes of them.

use super::{Ends, SPACE, Vocabulary, finish, token_type};
use crate::text::token_table::byte_token;
use mistralrs_quant::gguf::{Array, Metadata};
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{BertNormalizer, Precompiled, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

/// Before the tokens that go on with a word.
const CONTINUES: &str = "##";
/// Longer words are unknown.
const MOST_CHARS_PER_WORD: usize = 100;

/// Files mark the beginning of a word; BERT marks that a word goes on.
pub(super) fn word_piece(
    vocabulary: &Vocabulary<'_>,
    metadata: &Metadata,
) -> Result<tokenizers::Tokenizer, String> {
    let unknown = vocabulary.name(vocabulary.special.unk).unwrap_or("[UNK]").to_owned();
    let ids: Vocab = (0u32..)
        .zip(&vocabulary.tokens)
        .map(|(id, token)| (bert_token(vocabulary, id, token), id))
        .collect();
    let model = WordPiece::builder()
        .vocab(ids)
        .unk_token(unknown)
        .continuing_subword_prefix(CONTINUES.to_owned())
        .max_input_chars_per_word(MOST_CHARS_PER_WORD)
        .build()
        .map_err(|e| e.to_string())?;
    let mut model = tokenizers::Tokenizer::new(model);
    // Files do not say; a vocabulary without a capital can only have been made of small letters.
    let lower_case = !has_capitals(vocabulary);
    let normalizer = BertNormalizer::new(true, true, None, lower_case);
    model.with_normalizer(Some(normalizer)).map_err(|e| e.to_string())?;
    model.with_pre_tokenizer(Some(BertPreTokenizer));
    model.with_decoder(Some(WordPieceDecoder::default()));
    finish(model, vocabulary, metadata, Ends { bos: true, eos: true })
}

fn is_word(vocabulary: &Vocabulary<'_>, id: u32) -> bool {
    vocabulary.token_type(id as usize) == token_type::NORMAL
}

fn bert_token(vocabulary: &Vocabulary<'_>, id: u32, token: &str) -> String {
    let in_brackets = token.starts_with('[') && token.ends_with(']') && token.len() > 1;
    match token.strip_prefix(SPACE).filter(|rest| !rest.is_empty()) {
        Some(word) => word.to_owned(),
        None if in_brackets || !is_word(vocabulary, id) => token.to_owned(),
        None => format!("{CONTINUES}{token}"),
    }
}

/// Whether a token has a letter that is another in lower case; ℝ, in vocabularies of small letters too,
/// is not.
fn has_capitals(vocabulary: &Vocabulary<'_>) -> bool {
    let capital = |c: char| !c.to_lowercase().eq([c]);
    (0u32..).zip(&vocabulary.tokens).any(|(id, token)| {
        let marked = token.starts_with('[');
        is_word(vocabulary, id) && !marked && token.chars().any(capital)
    })
}

/// The likeliest pieces of a text by their scores.
pub(super) fn unigram(
    vocabulary: &Vocabulary<'_>,
    metadata: &Metadata,
) -> Result<tokenizers::Tokenizer, String> {
    if vocabulary.scores.is_empty() {
        return Err("the key `tokenizer.ggml.scores` is missing or empty".to_owned());
    }
    let scores = vocabulary.scores.iter().map(|score| f64::from(*score));
    let pieces = vocabulary.tokens.iter().map(|token| (*token).to_owned()).zip(scores).collect();
    let unknown = vocabulary.special.unk;
    let byte_fallback = vocabulary.tokens.iter().any(|token| byte_token(token).is_some());
    let model = Unigram::from(pieces, unknown.map(|id| id as usize), byte_fallback)
        .map_err(|e| e.to_string())?;
    let mut model = tokenizers::Tokenizer::new(model);
    let flag = |key: &str| metadata.get_bool(&format!("tokenizer.ggml.{key}"));
    let mut normalizers = Vec::new();
    if let Some(charsmap) = charsmap(metadata)? {
        normalizers.push(Precompiled::from(&charsmap).map_err(|e| e.to_string())?.into());
    }
    if flag("remove_extra_whitespaces").unwrap_or(false) {
        let many = ReplacePattern::Regex(" {2,}".to_owned());
        normalizers.push(Strip::new(true, true).into());
        normalizers.push(Replace::new(many, " ").map_err(|e| e.to_string())?.into());
    }
    model.with_normalizer(Some(Sequence::new(normalizers))).map_err(|e| e.to_string())?;
    let scheme = match flag("add_space_prefix").unwrap_or(true) {
        true => PrependScheme::Always,
        false => PrependScheme::Never,
    };
    model.with_pre_tokenizer(Some(Metaspace::new('\u{2581}', scheme, true)));
    model.with_decoder(Some(Metaspace::new('\u{2581}', scheme, true)));
    finish(model, vocabulary, metadata, Ends { bos: true, eos: true })
}

/// What characters become before anything else, as SentencePiece stores it: the length of a table,
/// the table, texts.
fn charsmap(metadata: &Metadata) -> Result<Option<Vec<u8>>, String> {
    const KEY: &str = "tokenizer.ggml.precompiled_charsmap";
    let bytes: Vec<u8> = match metadata.get_array(KEY) {
        None => return Ok(None),
        Some(Array::U8(bytes)) => bytes.clone(),
        Some(Array::I8(bytes)) => bytes.iter().map(|byte| byte.cast_unsigned()).collect(),
        Some(_) => return Err(format!("{KEY} is no array of bytes")),
    };
    let Some((table, rest)) = bytes.split_first_chunk::<4>() else {
        return if bytes.is_empty() { Ok(None) } else { Err(format!("{KEY} is cut off")) };
    };
    // The crate believes this length and makes room for it.
    match u32::from_le_bytes(*table) as usize {
        len if (4..=rest.len()).contains(&len) => Ok(Some(bytes)),
        len => Err(format!("{KEY}: a table of {len} bytes in {}", rest.len())),
    }
}
