//! The pieces that parsers produce, joined while they wait to be taken. Counts the calls and gives
//! them their ids.

use crate::request::ToolCallDelta;
use rand::Rng as _;
use rand::distr::Alphanumeric;

/// Random characters of an id, as many as OpenAI's have.
const ID_CHARS: usize = 24;

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fragment {
    /// Text for the reader.
    Content(String),
    /// What the model thinks before it speaks.
    Reasoning(String),
    /// Something about a call.
    ToolCall {
        /// Its place among the calls of the answer, from 0.
        index: usize,
        /// What.
        delta: ToolCallDelta,
    },
}

/// Where parsers write. Neighbors of the same kind are joined.
#[derive(Debug, Default)]
pub struct Fragments {
    waiting: Vec<Fragment>,
    started: usize,
    completed: usize,
    /// White space at the start of the content: shown once there is other content, and never
    /// beside calls alone.
    space: String,
    holds_space: bool,
    drops_space: bool,
}

impl Fragments {
    pub(super) fn new(holds_space: bool) -> Self {
        Self { holds_space, ..Self::default() }
    }

    /// Text for the reader.
    pub fn content(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut text = text;
        if self.holds_space {
            let blank = text.len() - text.trim_start().len();
            let (space, rest) = text.split_at(blank);
            self.space.push_str(space);
            if rest.is_empty() {
                return;
            }
            self.holds_space = false;
            text = rest;
        }
        let space = std::mem::take(&mut self.space);
        match self.waiting.last_mut() {
            Some(Fragment::Content(last)) => {
                last.push_str(&space);
                last.push_str(text);
            }
            _ => self.waiting.push(Fragment::Content(space + text)),
        }
    }

    /// What the model thinks. White space between it and the content is dropped.
    pub fn reasoning(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.waiting.last_mut() {
            Some(Fragment::Reasoning(last)) => last.push_str(text),
            _ => self.waiting.push(Fragment::Reasoning(text.to_owned())),
        }
    }

    /// From here on white space is shown only if content follows it, and dropped at the front.
    pub fn skip_space(&mut self) {
        self.space.clear();
        self.holds_space = true;
        self.drops_space = true;
    }

    /// A call begins.
    pub fn start(&mut self, name: &str) {
        self.started += 1;
        let random = rand::rng().sample_iter(Alphanumeric).take(ID_CHARS).map(char::from);
        let id = "call_".chars().chain(random).collect();
        self.event(ToolCallDelta::Start { id, name: name.to_owned() });
    }

    /// More of the arguments of the call that was begun last.
    pub fn arguments(&mut self, json: &str) {
        let index = self.started.saturating_sub(1);
        match self.waiting.last_mut() {
            Some(Fragment::ToolCall { index: last, delta: ToolCallDelta::Arguments(text) })
                if *last == index =>
            {
                text.push_str(json);
            }
            _ => self.event(ToolCallDelta::Arguments(json.to_owned())),
        }
    }

    /// The call that was begun last is complete.
    pub fn end(&mut self) {
        self.completed += 1;
        self.event(ToolCallDelta::End);
    }

    /// The call that was begun last was none.
    pub fn abort(&mut self) {
        self.event(ToolCallDelta::Abort);
    }

    /// A whole call.
    pub fn call(&mut self, name: &str, arguments: &str) {
        self.start(name);
        self.arguments(arguments);
        self.end();
    }

    fn event(&mut self, delta: ToolCallDelta) {
        self.waiting.push(Fragment::ToolCall { index: self.started.saturating_sub(1), delta });
    }

    pub(super) fn completed(&self) -> usize {
        self.completed
    }

    /// The end: white space is content unless it stands beside calls.
    pub(super) fn finish(&mut self) {
        let space = std::mem::take(&mut self.space);
        if self.started == 0 && !self.drops_space && !space.is_empty() {
            self.holds_space = false;
            self.content(&space);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Fragment> {
        std::mem::take(&mut self.waiting)
    }
}
