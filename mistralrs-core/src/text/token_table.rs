//! What each token stands for, tabulated once at load: its bytes, and the rule by which the
//! tokenizer's own decoder joins tokens to text. The detokenizer works from this table alone.
//! Source of the rules: the `decoder` section of tokenizer.json.

use serde_json::Value;
use std::collections::HashMap;

/// Highest id a file may use; keeps a broken file from allocating without bound.
const MAX_ID: u32 = 1 << 24;

/// How tokens become text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DecodeRule {
    /// Tokens are bytes in the GPT-2 alphabet; all bytes together are read as UTF-8.
    ByteLevel,
    /// Tokens are text with `▁` for a space; `<0xNN>` tokens are bytes, and a run of them is
    /// read as UTF-8 by itself. Up to `strip_count` of `strip` are cut from the text's start.
    SentencePiece {
        /// The character cut from the start.
        strip: char,
        /// At most so many.
        strip_count: usize,
    },
    /// Anything else: only the decoder itself knows.
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Text,
    /// One byte of a SentencePiece byte run.
    Byte,
    Special,
    /// No token has this id.
    Missing,
}

/// Bytes and kind of every id.
#[derive(Debug)]
pub(super) struct TokenTable {
    rule: DecodeRule,
    bytes: Vec<u8>,
    /// End of each token's bytes; it starts where the one before ends.
    ends: Vec<usize>,
    kinds: Vec<TokenKind>,
}

impl TokenTable {
    pub(super) fn build(model: &tokenizers::Tokenizer) -> Result<Self, String> {
        let decoder = match model.get_decoder() {
            Some(decoder) => serde_json::to_value(decoder).map_err(|e| e.to_string())?,
            None => Value::Null,
        };
        let reading = Reading::of(&decoder);
        let added = model.get_added_tokens_decoder();
        let vocabulary = model.get_vocab(true);
        let max_id = vocabulary.values().copied().max().ok_or("the vocabulary is empty")?;
        if max_id >= MAX_ID {
            return Err(format!("token id {max_id} is too large; the limit is {MAX_ID}"));
        }
        let alphabet = byte_level_alphabet();
        let mut table = Self {
            rule: reading.rule.clone(),
            bytes: Vec::new(),
            ends: Vec::with_capacity(max_id as usize + 1),
            kinds: Vec::with_capacity(max_id as usize + 1),
        };
        for id in 0..=max_id {
            let Some(name) = model.id_to_token(id) else {
                table.push(&[], TokenKind::Missing);
                continue;
            };
            let (bytes, is_byte) = reading.bytes_of(name, &alphabet);
            let kind = match added.get(&id) {
                Some(token) if token.special => TokenKind::Special,
                _ if is_byte => TokenKind::Byte,
                _ => TokenKind::Text,
            };
            table.push(&bytes, kind);
        }
        Ok(table)
    }

    fn push(&mut self, bytes: &[u8], kind: TokenKind) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        self.kinds.push(kind);
    }

    pub(super) fn rule(&self) -> &DecodeRule {
        &self.rule
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn kind(&self, id: u32) -> TokenKind {
        self.kinds.get(id as usize).copied().unwrap_or(TokenKind::Missing)
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.kind(id) != TokenKind::Missing
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.kind(id) == TokenKind::Special
    }

    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = id.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        match self.ends.get(id) {
            Some(&end) => self.bytes.get(start.unwrap_or(0)..end).unwrap_or_default(),
            None => &[],
        }
    }
}

/// The decoder section, understood.
struct Reading {
    rule: DecodeRule,
    replace: Vec<(String, String)>,
    byte_fallback: bool,
}

impl Reading {
    fn of(decoder: &Value) -> Self {
        if type_of(decoder) == "ByteLevel" {
            return Self { rule: DecodeRule::ByteLevel, replace: vec![], byte_fallback: false };
        }
        let steps = decoder.get("decoders").and_then(Value::as_array);
        steps.and_then(|steps| Self::of_sequence(steps)).unwrap_or(Self {
            rule: DecodeRule::Whole,
            replace: vec![],
            byte_fallback: false,
        })
    }

    /// Understands `Replace* ByteFallback? Fuse Strip?`, the shape that SentencePiece models
    /// are converted to; `None` for any other sequence.
    fn of_sequence(steps: &[Value]) -> Option<Self> {
        let mut replace = Vec::new();
        let (mut byte_fallback, mut fused, mut strip, mut strip_count) = (false, false, ' ', 0);
        for step in steps {
            match (type_of(step), byte_fallback || fused, fused) {
                ("Replace", false, _) => {
                    let from = step.get("pattern")?.get("String")?.as_str()?;
                    replace.push((from.to_owned(), step.get("content")?.as_str()?.to_owned()));
                }
                ("ByteFallback", false, _) => byte_fallback = true,
                ("Fuse", _, false) => fused = true,
                ("Strip", _, true) if strip_count == 0 => {
                    if step.get("stop")?.as_u64()? != 0 {
                        return None;
                    }
                    strip = step.get("content")?.as_str()?.chars().next()?;
                    strip_count = usize::try_from(step.get("start")?.as_u64()?).ok()?;
                }
                _ => return None,
            }
        }
        let rule = DecodeRule::SentencePiece { strip, strip_count };
        fused.then_some(Self { rule, replace, byte_fallback })
    }

    fn bytes_of(&self, name: String, alphabet: &HashMap<char, u8>) -> (Vec<u8>, bool) {
        match self.rule {
            DecodeRule::ByteLevel => {
                let bytes = name.chars().map(|c| alphabet.get(&c).copied()).collect();
                // A token with a character outside the alphabet is plain text.
                (Option::unwrap_or(bytes, name.into_bytes()), false)
            }
            DecodeRule::SentencePiece { .. } => {
                let text =
                    self.replace.iter().fold(name, |text, (from, to)| text.replace(from, to));
                match byte_token(&text).filter(|_| self.byte_fallback) {
                    Some(byte) => (vec![byte], true),
                    None => (text.into_bytes(), false),
                }
            }
            DecodeRule::Whole => (Vec::new(), false),
        }
    }
}

fn type_of(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// `<0x0A>` → 10.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// GPT-2's spelling of bytes as printable characters: printable Latin-1 stands for itself, the
/// other bytes, in order, are U+0100, U+0101, …
fn byte_level_alphabet() -> HashMap<char, u8> {
    let mut spare = 0x100..;
    (0..=255u8)
        .filter_map(|byte| {
            let itself = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            let code = if itself { u32::from(byte) } else { spare.next()? };
            Some((char::from_u32(code)?, byte))
        })
        .collect()
}
