//! Splits what the model thinks from what it says: `<think>…</think>` and its relatives.
//! Source: the chat templates of the models; which pair a model uses is read from its template.

use super::fragments::Fragments;
use super::tags::{self, Found, Start};

/// The strings around a model's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinkTags {
    /// Before it.
    pub open: &'static str,
    /// After it.
    pub close: &'static str,
}

/// One line per pair; the first whose tags stand in the template counts.
pub const THINK_TAGS: [ThinkTags; 4] = [
    ThinkTags { open: "<think>", close: "</think>" },
    ThinkTags { open: "[THINK]", close: "[/THINK]" },
    ThinkTags { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
    ThinkTags { open: "<seed:think>", close: "</seed:think>" },
];

impl ThinkTags {
    /// The pair that a chat template speaks of.
    pub fn detect(template: &str) -> Option<&'static Self> {
        THINK_TAGS.iter().find(|tags| template.contains(tags.close) || template.contains(tags.open))
    }
}

/// Whether an answer thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// It does not, or the format of tool calls has channels of its own.
    Absent,
    /// It may begin with it.
    Possible(&'static ThinkTags),
    /// The prompt ends inside it.
    Begun(&'static ThinkTags),
}

impl Thinking {
    /// What the end of a prompt says: it may open the reasoning, or open and close it at once.
    pub fn after(prompt: &str, tags: Option<&'static ThinkTags>) -> Self {
        let Some(tags) = tags else { return Self::Absent };
        let prompt = prompt.trim_end();
        if prompt.ends_with(tags.open) {
            Self::Begun(tags)
        } else if prompt.ends_with(tags.close) {
            Self::Absent
        } else {
            Self::Possible(tags)
        }
    }
}

enum State {
    /// Nothing but white space so far. `begun` = within the reasoning already.
    Start { begun: bool },
    /// `spoken` = it has said something: white space before that is not shown.
    Inside { spoken: bool },
    /// `fresh` = right after the reasoning: white space is not shown.
    Outside { fresh: bool },
}

/// Splits one answer.
pub(super) struct ThinkSplitter {
    tags: &'static ThinkTags,
    state: State,
    /// Undecided: white space, or the beginning of a tag.
    held: String,
}

impl ThinkSplitter {
    pub(super) fn new(thinking: Thinking) -> Option<Self> {
        let (tags, begun) = match thinking {
            Thinking::Absent => return None,
            Thinking::Possible(tags) => (tags, false),
            Thinking::Begun(tags) => (tags, true),
        };
        Some(Self { tags, state: State::Start { begun }, held: String::new() })
    }

    /// Writes reasoning to `out`; returns what is not reasoning.
    pub(super) fn push(&mut self, text: &str, out: &mut Fragments) -> String {
        self.held.push_str(text);
        if let State::Start { begun } = self.state {
            let seen = self.held.trim_start();
            match tags::start(seen, &[self.tags.open]) {
                Start::Maybe => return String::new(),
                Start::Tag(len) => {
                    self.held = seen.get(len..).unwrap_or_default().to_owned();
                    self.state = State::Inside { spoken: false };
                }
                Start::No if begun => self.state = State::Inside { spoken: false },
                Start::No => self.state = State::Outside { fresh: false },
            }
        }
        match self.state {
            State::Inside { spoken } => self.think(spoken, out),
            State::Outside { .. } | State::Start { .. } => self.speak(),
        }
    }

    fn speak(&mut self) -> String {
        let text = std::mem::take(&mut self.held);
        match self.state {
            State::Outside { fresh: true } => {
                let text = text.trim_start();
                self.state = State::Outside { fresh: text.is_empty() };
                text.to_owned()
            }
            _ => text,
        }
    }

    fn think(&mut self, spoken: bool, out: &mut Fragments) -> String {
        if !spoken {
            self.held = self.held.trim_start().to_owned();
        }
        match tags::find(&self.held, &[self.tags.close]) {
            Found::At(at, len) => {
                let held = std::mem::take(&mut self.held);
                out.reasoning(held.get(..at).unwrap_or_default().trim_end());
                out.skip_space();
                self.state = State::Outside { fresh: true };
                self.held = held.get(at + len..).unwrap_or_default().to_owned();
                self.speak()
            }
            Found::Maybe(at) => {
                // White space before the closing tag is not shown.
                let settled = self.held.get(..at).unwrap_or_default().trim_end().len();
                let kept = self.held.split_off(settled);
                let shown = std::mem::replace(&mut self.held, kept);
                self.state = State::Inside { spoken: spoken || !shown.is_empty() };
                out.reasoning(&shown);
                String::new()
            }
        }
    }

    /// The end of the text: as [`ThinkSplitter::push`] for what was held back.
    pub(super) fn finish(&mut self, out: &mut Fragments) -> String {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Inside { .. } | State::Start { begun: true } => {
                out.reasoning(held.trim_end());
                String::new()
            }
            State::Start { begun: false } | State::Outside { .. } => held,
        }
    }
}
