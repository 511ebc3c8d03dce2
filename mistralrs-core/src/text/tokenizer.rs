//! Text ⇄ token ids, over the `tokenizers` crate: what is added to it is that broken files and
//! untrusted text are errors, and that every token's exact bytes are known.
//! Knows no template, no model and no GGUF (see `gguf_tokenizer` for that door).

use super::token_table::{DecodeRule, TokenTable};
use crate::error::{LoadError, RequestError};
use std::path::Path;
use tokenizers::{Encoding, PostProcessor, TruncationParams, TruncationStrategy};

/// A loaded tokenizer. Immutable; share it in an `Arc`.
pub struct Tokenizer {
    model: tokenizers::Tokenizer,
    table: TokenTable,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`LoadError::Io`] when it cannot be read, [`LoadError::BadFile`] when it is no tokenizer.
    pub fn from_file(file: &Path) -> Result<Self, LoadError> {
        let bytes = std::fs::read(file)
            .map_err(|source| LoadError::Io { file: file.to_path_buf(), source })?;
        Self::from_bytes(&bytes, file)
    }

    /// Takes the contents of a `tokenizer.json`; `file` is only named in errors.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] when the bytes are no tokenizer.
    pub fn from_bytes(bytes: &[u8], file: &Path) -> Result<Self, LoadError> {
        // The crate panics on some syntax errors deep inside; this pass turns them into errors.
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
            .map_err(|e| bad_file(file, format!("not valid JSON: {e}")))?;
        let model = guarded(|| tokenizers::Tokenizer::from_bytes(bytes))
            .map_err(|e| bad_file(file, format!("not a usable tokenizer.json: {e}")))?;
        Self::new(model, file)
    }

    /// Wraps a tokenizer made elsewhere; `file` is only named in errors.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] when the vocabulary cannot be tabulated.
    pub fn new(mut model: tokenizers::Tokenizer, file: &Path) -> Result<Self, LoadError> {
        // Both may be stored in the file from training; a prompt must be neither cut nor padded.
        model.with_truncation(None).map_err(|e| bad_file(file, e.to_string()))?;
        model.with_padding(None);
        let table = TokenTable::build(&model).map_err(|reason| bad_file(file, reason))?;
        Ok(Self { model, table })
    }

    /// Text to ids. Special tokens spelled out in the text are recognized; with
    /// `add_special_tokens` the usual ones (such as BOS) are added around it.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when the tokenizer has no way to write the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, RequestError> {
        guarded(|| self.model.encode_fast(text, add_special_tokens))
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|e| RequestError::invalid("prompt", format!("cannot be tokenized: {e}")))
    }

    /// Where the tokens of a text begin and end, in bytes of the text; nothing if it cannot be written.
    pub fn offsets(&self, text: &str) -> Vec<(usize, usize)> {
        let offsets = guarded(|| self.model.encode(text, false));
        offsets.map(|encoding| encoding.get_offsets().to_vec()).unwrap_or_default()
    }

    /// A text, or a pair of texts, as an encoder reads it: with the special tokens around it, and
    /// for each token which text of the pair it is of. With a `limit`, the longer text is cut at its
    /// end until all of it fits.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when the tokenizer has no way to write the text, or the limit
    /// leaves no room beside the special tokens.
    pub fn encode_whole(
        &self,
        text: &str,
        second: Option<&str>,
        limit: Option<usize>,
    ) -> Result<WholeText, RequestError> {
        let refuse =
            |e: String| RequestError::invalid("input", format!("cannot be tokenized: {e}"));
        let added = || {
            let post = self.model.get_post_processor();
            post.map_or(0, |post| post.added_tokens(second.is_some()))
        };
        let encode = || {
            let first = self.model.encode_fast(text, false)?;
            let second = second.map(|second| self.model.encode_fast(second, false)).transpose()?;
            let before = first.len() + second.as_ref().map_or(0, Encoding::len);
            let (first, second) = match limit {
                None => (first, second),
                Some(limit) => {
                    let max_length = limit.saturating_sub(added());
                    let strategy = TruncationStrategy::LongestFirst;
                    let params = TruncationParams { max_length, strategy, ..Default::default() };
                    tokenizers::truncate_encodings(first, second, &params)?
                }
            };
            let after = first.len() + second.as_ref().map_or(0, Encoding::len);
            Ok((self.model.post_process(first, second, true)?, before - after))
        };
        if limit.is_some_and(|limit| limit <= added()) {
            return Err(refuse(format!("{} special tokens leave it no room", added())));
        }
        let (encoding, cut_tokens) = guarded(encode).map_err(refuse)?;
        Ok(WholeText {
            token_ids: encoding.get_ids().to_vec(),
            token_types: encoding.get_type_ids().to_vec(),
            cut_tokens,
        })
    }

    /// Ids to text. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for an id outside the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, RequestError> {
        if let Some(id) = ids.iter().find(|&&id| !self.table.contains(id)) {
            return Err(RequestError::invalid(
                "tokens",
                format!("token id {id} is not in the vocabulary of {} ids", self.vocab_size()),
            ));
        }
        self.decode_known(ids, skip_special_tokens)
            .map_err(|e| RequestError::invalid("tokens", format!("cannot be decoded: {e}")))
    }

    /// Ids to text, unknown ids skipped.
    pub(super) fn decode_known(&self, ids: &[u32], skip_special: bool) -> Result<String, String> {
        let shown = |&id: &u32| self.table.contains(id) && !(skip_special && self.is_special(id));
        // Some decoders cannot bear an empty list.
        if !ids.iter().any(shown) {
            return Ok(String::new());
        }
        guarded(|| self.model.decode(ids, skip_special))
    }

    /// The bytes a token stands for; a token may be a part of a character. Empty for an id
    /// outside the vocabulary. Special tokens give their name.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        match self.table.rule() {
            DecodeRule::Whole => self.decode_known(&[id], false).unwrap_or_default().into_bytes(),
            _ => self.table.bytes(id).to_vec(),
        }
    }

    /// The id of a token by its exact spelling in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.model.token_to_id(token)
    }

    /// The spelling of a token in the vocabulary.
    pub fn token_name(&self, id: u32) -> Option<String> {
        self.model.id_to_token(id)
    }

    /// One more than the highest id. The model may have more logits than that.
    pub fn vocab_size(&self) -> usize {
        self.table.len()
    }

    /// Whether the id is a special token: one that is not part of the answer's text.
    pub fn is_special(&self, id: u32) -> bool {
        self.table.is_special(id)
    }

    /// Whether the tokens of a text do not depend on what stands before it, and all bytes of a text
    /// are those of its tokens.
    pub fn is_byte_level(&self) -> bool {
        *self.table.rule() == DecodeRule::ByteLevel
    }

    pub(super) fn table(&self) -> &TokenTable {
        &self.table
    }
}

/// A text as an encoder reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeText {
    /// `[tokens]`
    pub token_ids: Vec<u32>,
    /// `[tokens]`: 0 or 1, which text of a pair each token is of.
    pub token_types: Vec<u32>,
    /// How many tokens were cut.
    pub cut_tokens: usize,
}

/// Runs a call of the crate. Odd tokenizer files lead it into panics (an empty token before a
/// `Strip` decoder, for one); the file and the text come from outside, so that is an error.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("the tokenizer failed on this input".to_owned()),
    }
}

fn bad_file(file: &Path, reason: String) -> LoadError {
    LoadError::BadFile { file: file.to_path_buf(), reason }
}

#[cfg(test)]
mod tests;
