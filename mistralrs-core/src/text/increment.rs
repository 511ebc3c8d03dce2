//! Token by token decoding: each token gives the text that no later token can change, so that
//! the pieces together are what decoding all ids at once would give. Knows no stop strings.
//!
//! The answer continues a prompt: its text is decode(prompt + answer) without decode(prompt).
//! That decides about a leading space and about a character begun in the prompt.

use super::token_table::{DecodeRule, TokenKind};
use super::tokenizer::Tokenizer;
use std::sync::Arc;

/// Enough of a prompt's end to hold every byte of an unfinished character.
const LONGEST_CHARACTER_BYTES: usize = 4;
/// Tokens of context that `Whole` decoders see before a new token.
const WHOLE_CONTEXT_TOKENS: usize = 8;
/// After so many tokens without a clean end the text is given as it is.
const WHOLE_HELD_TOKENS: usize = 16;

/// The state of decoding one answer.
#[derive(Debug)]
pub(super) struct Increment {
    tokenizer: Arc<Tokenizer>,
    state: State,
    /// Special tokens that are text all the same.
    shown: Arc<[u32]>,
}

#[derive(Debug)]
enum State {
    ByteLevel(ByteStream),
    SentencePiece(PieceStream),
    Whole(WholeStream),
}

impl Increment {
    pub(super) fn new(tokenizer: Arc<Tokenizer>, prompt: &[u32]) -> Self {
        let state = match *tokenizer.table().rule() {
            DecodeRule::ByteLevel => State::ByteLevel(ByteStream::after(&tokenizer, prompt)),
            DecodeRule::SentencePiece { strip, strip_count } => {
                let start = PieceStream { strip, strip_left: strip_count, ..Default::default() };
                State::SentencePiece(start.after(&tokenizer, prompt))
            }
            DecodeRule::Whole => State::Whole(WholeStream::after(&tokenizer, prompt)),
        };
        Self { tokenizer, state, shown: Arc::new([]) }
    }

    /// These special tokens are text from now on.
    pub(super) fn show(&mut self, special: Arc<[u32]>) {
        self.shown = special;
    }

    /// Appends to `text` what the token settles. Special and unknown tokens give nothing, but for
    /// those that are shown.
    pub(super) fn push(&mut self, id: u32, text: &mut String) {
        let table = self.tokenizer.table();
        let kind = table.kind(id);
        if kind == TokenKind::Special && self.shown.contains(&id) {
            self.finish(text);
            text.push_str(&self.tokenizer.token_name(id).unwrap_or_default());
            return;
        }
        if matches!(kind, TokenKind::Special | TokenKind::Missing) {
            return;
        }
        match &mut self.state {
            State::ByteLevel(stream) => stream.push(table.bytes(id), text),
            State::SentencePiece(stream) => stream.push(kind, table.bytes(id), text),
            State::Whole(stream) => stream.push(&self.tokenizer, id, text),
        }
    }

    /// No more tokens: appends what was unsettled.
    pub(super) fn finish(&mut self, text: &mut String) {
        match &mut self.state {
            State::ByteLevel(stream) => stream.finish(text),
            State::SentencePiece(stream) => stream.end_run(text),
            State::Whole(stream) => stream.finish(&self.tokenizer, text),
        }
    }
}

/// Bytes read as UTF-8 across tokens; each maximal wrong sequence is one U+FFFD, as
/// `String::from_utf8_lossy` has it.
#[derive(Debug, Default)]
struct ByteStream {
    unsettled: Vec<u8>,
    /// How many of the unsettled bytes came with the prompt: decode(prompt) shows them as one
    /// U+FFFD already.
    from_prompt: usize,
}

impl ByteStream {
    fn after(tokenizer: &Tokenizer, prompt: &[u32]) -> Self {
        let table = tokenizer.table();
        let visible = prompt.iter().rev().filter(|&&id| !table.is_special(id));
        let mut tail: Vec<&[u8]> = Vec::new();
        let mut len = 0;
        for &id in visible {
            if len >= LONGEST_CHARACTER_BYTES {
                break;
            }
            len += table.bytes(id).len();
            tail.push(table.bytes(id));
        }
        tail.reverse();
        let mut stream = Self::default();
        stream.push(&tail.concat(), &mut String::new());
        stream.from_prompt = stream.unsettled.len();
        stream
    }

    fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.unsettled.extend_from_slice(bytes);
        let mut rest = self.unsettled.as_slice();
        while !rest.is_empty() {
            let (valid, wrong) = match std::str::from_utf8(rest) {
                Ok(valid) => (valid.len(), None),
                Err(e) => (e.valid_up_to(), Some(e.error_len())),
            };
            let (head, tail) = rest.split_at(valid);
            text.push_str(&String::from_utf8_lossy(head));
            if valid > 0 {
                self.from_prompt = 0;
            }
            rest = match wrong {
                None => tail,
                Some(Some(len)) => {
                    if self.from_prompt == 0 {
                        text.push(char::REPLACEMENT_CHARACTER);
                    }
                    self.from_prompt = 0;
                    tail.split_at(len).1
                }
                // The beginning of a character: the next token decides.
                Some(None) => {
                    self.unsettled = tail.to_vec();
                    return;
                }
            };
        }
        self.unsettled.clear();
    }

    fn finish(&mut self, text: &mut String) {
        if !self.unsettled.is_empty() && self.from_prompt == 0 {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        self.unsettled.clear();
    }
}

/// Text tokens, between them runs of byte tokens. A run is UTF-8 as a whole, or each of its
/// bytes is one U+FFFD; so nothing of it is settled before it ends.
#[derive(Debug, Default)]
struct PieceStream {
    run: Vec<u8>,
    /// How many bytes of the run came with the prompt.
    from_prompt: usize,
    strip: char,
    /// How many `strip` characters may still be cut from the start of the text.
    strip_left: usize,
}

impl PieceStream {
    fn after(mut self, tokenizer: &Tokenizer, prompt: &[u32]) -> Self {
        let table = tokenizer.table();
        let mut shown = String::new();
        for &id in prompt.iter().filter(|&&id| !table.is_special(id)) {
            self.push(table.kind(id), table.bytes(id), &mut shown);
            shown.clear();
        }
        match std::str::from_utf8(&self.run) {
            Ok(_) => self.end_run(&mut shown),
            // The prompt ends within a character: what stands before it is the prompt's.
            Err(e) if e.error_len().is_none() => drop(self.run.drain(..e.valid_up_to())),
            Err(_) => {}
        }
        self.from_prompt = self.run.len();
        if self.from_prompt > 0 {
            // Whatever becomes of these bytes, the text does not start with the answer.
            self.strip_left = 0;
        }
        self
    }

    fn push(&mut self, kind: TokenKind, bytes: &[u8], text: &mut String) {
        match kind {
            TokenKind::Byte => self.run.extend_from_slice(bytes),
            _ => {
                self.end_run(text);
                self.show(&String::from_utf8_lossy(bytes), text);
            }
        }
    }

    fn end_run(&mut self, text: &mut String) {
        let run = std::mem::take(&mut self.run);
        let from_prompt = std::mem::take(&mut self.from_prompt);
        match String::from_utf8(run) {
            Ok(run) => self.show(&run, text),
            Err(e) => {
                let wrong = e.as_bytes().len() - from_prompt;
                self.show(&char::REPLACEMENT_CHARACTER.to_string().repeat(wrong), text);
            }
        }
    }

    fn show(&mut self, mut piece: &str, text: &mut String) {
        while self.strip_left > 0 && !piece.is_empty() {
            match piece.strip_prefix(self.strip) {
                Some(rest) => {
                    piece = rest;
                    self.strip_left -= 1;
                }
                None => self.strip_left = 0,
            }
        }
        text.push_str(piece);
    }
}

/// For decoders we have no rule for: decodes a few tokens of context with and without the new
/// ones and gives the difference, once it ends in a whole character.
#[derive(Debug, Default)]
struct WholeStream {
    /// Context first, then the tokens not yet shown.
    ids: Vec<u32>,
    /// How many of them are context.
    context: usize,
}

impl WholeStream {
    fn after(tokenizer: &Tokenizer, prompt: &[u32]) -> Self {
        let table = tokenizer.table();
        let visible = prompt.iter().rev().filter(|&&id| !table.is_special(id));
        let mut ids: Vec<u32> = visible.take(WHOLE_CONTEXT_TOKENS).copied().collect();
        ids.reverse();
        Self { context: ids.len(), ids }
    }

    fn push(&mut self, tokenizer: &Tokenizer, id: u32, text: &mut String) {
        self.ids.push(id);
        let new = self.difference(tokenizer);
        let held = self.ids.len() - self.context;
        if new.ends_with(char::REPLACEMENT_CHARACTER) && held < WHOLE_HELD_TOKENS {
            return;
        }
        text.push_str(&new);
        let surplus = self.ids.len().saturating_sub(WHOLE_CONTEXT_TOKENS);
        self.ids.drain(..surplus);
        self.context = self.ids.len();
    }

    fn finish(&mut self, tokenizer: &Tokenizer, text: &mut String) {
        text.push_str(&self.difference(tokenizer));
        self.context = self.ids.len();
    }

    fn difference(&self, tokenizer: &Tokenizer) -> String {
        let decode = |ids: &[u32]| tokenizer.decode_known(ids, true).unwrap_or_default();
        let before = decode(self.ids.get(..self.context).unwrap_or_default());
        let all = decode(&self.ids);
        let common = before.chars().zip(all.chars()).take_while(|(a, b)| a == b);
        let shared: usize = common.map(|(a, _)| a.len_utf8()).sum();
        all.get(shared..).unwrap_or_default().to_owned()
    }
}
