//! Token ids of an answer → text that can no longer change: characters are whole, spaces are
//! settled, and nothing of a stop string (or of what may become one) is shown.
//! Knows the tokenizer; knows no engine and no request.

use super::increment::Increment;
use super::stop::StopMatcher;
use super::tokenizer::Tokenizer;
use std::sync::Arc;

/// What a token settled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// Text that can no longer change; often empty.
    pub text: String,
    /// Index of the stop string that has just been completed. The text ends before it, and
    /// nothing follows.
    pub stop: Option<usize>,
}

/// Turns one answer into text, token by token.
#[derive(Debug)]
pub struct Detokenizer {
    increment: Increment,
    stop: StopMatcher,
    stopped: bool,
}

impl Detokenizer {
    /// For an answer to `prompt`. The text of all pieces is decode(prompt + answer) without
    /// decode(prompt), special tokens skipped, cut before the first of the `stop` strings.
    pub fn new(tokenizer: Arc<Tokenizer>, prompt: &[u32], stop: &[String]) -> Self {
        Self {
            increment: Increment::new(tokenizer, prompt),
            stop: StopMatcher::new(stop),
            stopped: false,
        }
    }

    /// Shows these special tokens by their names: marks that whoever reads the text looks for.
    pub fn showing(mut self, special: Arc<[u32]>) -> Self {
        self.increment.show(special);
        self
    }

    /// Takes the next token. After a stop string there is no more text.
    pub fn push(&mut self, token_id: u32) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        let mut settled = String::new();
        self.increment.push(token_id, &mut settled);
        self.show(&settled)
    }

    /// The end of the answer: gives what was held back. A stop string may still be found in it.
    pub fn finish(&mut self) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        let mut settled = String::new();
        self.increment.finish(&mut settled);
        let mut piece = self.show(&settled);
        if piece.stop.is_none() {
            piece.text.push_str(&self.stop.finish());
        }
        self.stopped = true;
        piece
    }

    fn show(&mut self, settled: &str) -> Piece {
        let (text, stop) = self.stop.push(settled);
        self.stopped = stop.is_some();
        Piece { text, stop }
    }
}

#[cfg(test)]
mod tests;
