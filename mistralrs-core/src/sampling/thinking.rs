//! Reasoning of bounded length: once it has had its tokens, its closing mark is written for the model.
//! Knows tokens by their bytes; knows no tokenizer and no template.

use std::sync::Arc;

/// The bytes of a token.
pub type TokenBytes = Arc<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

/// Where reasoning begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThinkingStart {
    /// The prompt ends inside it.
    Begun,
    /// With this mark, if nothing but white space stands before it.
    First(String),
    /// With this mark, wherever it stands.
    Anywhere(String),
}

/// How reasoning is bounded.
pub struct ThinkingLimit {
    start: ThinkingStart,
    close: Vec<u8>,
    closing: Vec<u32>,
    budget: usize,
    bytes: TokenBytes,
    /// Tokens of reasoning so far.
    used: usize,
    state: State,
    /// The end of the text, as long as the mark that is looked for may be.
    tail: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Inside,
    /// So many of the closing tokens are written.
    Closing(usize),
    /// There is no more reasoning to bound.
    Over,
}

impl ThinkingLimit {
    /// At most `budget` tokens from `start` to the text `close`; then `closing` is written.
    pub fn new(
        start: ThinkingStart,
        close: &str,
        closing: Vec<u32>,
        budget: usize,
        bytes: TokenBytes,
    ) -> Self {
        let state = if start == ThinkingStart::Begun { State::Inside } else { State::Before };
        let close = close.as_bytes().to_vec();
        Self { start, close, closing, budget, bytes, used: 0, state, tail: Vec::new() }
    }

    /// The token that has to come now, if the time for thinking is over.
    pub(super) fn forced(&self) -> Option<u32> {
        let at = match self.state {
            State::Inside if self.used >= self.budget => 0,
            State::Closing(at) => at,
            State::Before | State::Inside | State::Over => return None,
        };
        self.closing.get(at).copied()
    }

    /// Notes the token that was chosen.
    pub(super) fn take(&mut self, id: u32) {
        match self.state {
            State::Over => {}
            State::Closing(at) => self.close_after(at + 1),
            State::Inside if self.forced() == Some(id) => self.close_after(1),
            State::Inside => {
                self.used += 1;
                let close = self.close.clone();
                if self.sees(id, &close) {
                    self.leave();
                }
            }
            State::Before => self.look_for_start(id),
        }
    }

    fn close_after(&mut self, written: usize) {
        self.state =
            if written < self.closing.len() { State::Closing(written) } else { State::Over };
    }

    /// It has ended by itself.
    fn leave(&mut self) {
        self.tail.clear();
        let again = matches!(self.start, ThinkingStart::Anywhere(_));
        self.state = if again { State::Before } else { State::Over };
    }

    fn look_for_start(&mut self, id: u32) {
        match self.start.clone() {
            ThinkingStart::Begun => self.state = State::Inside,
            ThinkingStart::Anywhere(mark) => {
                if self.sees(id, mark.as_bytes()) {
                    self.tail.clear();
                    self.state = State::Inside;
                }
            }
            ThinkingStart::First(mark) => {
                self.tail.extend((self.bytes)(id));
                let seen = self.tail.trim_ascii_start();
                if seen.starts_with(mark.as_bytes()) {
                    self.tail.clear();
                    self.state = State::Inside;
                } else if !mark.as_bytes().starts_with(seen) {
                    self.state = State::Over;
                }
            }
        }
    }

    /// Whether the text, with this token, has the mark at its end or within the token.
    fn sees(&mut self, id: u32, mark: &[u8]) -> bool {
        self.tail.extend((self.bytes)(id));
        let found = !mark.is_empty() && self.tail.windows(mark.len()).any(|text| text == mark);
        let surplus = self.tail.len().saturating_sub(mark.len());
        self.tail.drain(..surplus);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Token n is the n-th of these texts.
    const TEXTS: [&str; 7] = ["a", "<think>", "</think>", "</th", "ink>", "\n", "b</think>c"];

    fn limit(start: ThinkingStart, budget: usize) -> ThinkingLimit {
        let bytes: TokenBytes = Arc::new(|id| TEXTS[id as usize].as_bytes().to_vec());
        ThinkingLimit::new(start, "</think>", vec![3, 4], budget, bytes)
    }

    /// What comes out when the model wants these tokens.
    fn run(mut limit: ThinkingLimit, wanted: &[u32]) -> Vec<u32> {
        let choose = |&wanted: &u32| {
            let id = limit.forced().unwrap_or(wanted);
            limit.take(id);
            id
        };
        wanted.iter().map(choose).collect()
    }

    fn first() -> ThinkingStart {
        ThinkingStart::First("<think>".to_owned())
    }

    #[test]
    fn the_mark_is_written_when_the_budget_is_used_up() {
        assert_eq!(run(limit(ThinkingStart::Begun, 2), &[0; 6]), [0, 0, 3, 4, 0, 0]);
        assert_eq!(run(limit(ThinkingStart::Begun, 0), &[0; 4]), [3, 4, 0, 0]);
        assert_eq!(run(limit(first(), 1), &[5, 1, 0, 0, 0, 0]), [5, 1, 0, 3, 4, 0]);
    }

    #[test]
    fn who_ends_in_time_is_left_alone() {
        for close in [&[2, 0, 0, 0, 0][..], &[3, 4, 0, 0, 0], &[6, 0, 0, 0, 0]] {
            assert_eq!(run(limit(ThinkingStart::Begun, 3), close), close);
        }
        let no_reasoning = [0, 1, 0, 0, 0, 0];
        assert_eq!(run(limit(first(), 1), &no_reasoning), no_reasoning);
    }

    #[test]
    fn channels_share_one_budget() {
        let anywhere = ThinkingStart::Anywhere("<think>".to_owned());
        // The close itself counts: it is a token the model has drawn.
        let wanted = [1, 0, 2, 0, 1, 0, 0, 0, 0];
        assert_eq!(run(limit(anywhere, 3), &wanted), [1, 0, 2, 0, 1, 0, 3, 4, 0]);
    }
}
