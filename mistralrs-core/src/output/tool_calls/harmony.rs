//! gpt-oss: messages in channels. `<|channel|>analysis<|message|>` is reasoning, `final` is content,
//! a message `to=functions.NAME` is a call. Source: the harmony response format, openai/harmony.

use super::super::fragments::Fragments;
use super::super::tags::{self, Found, Start};
use super::call::{JsonArguments, Progress};
use super::{CallText, Format, ToolCallParser};

const MESSAGE: &str = "<|message|>";
/// Any of these ends a message or begins the head of the next one.
const BORDERS: [&str; 5] = ["<|start|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>"];
/// Longer heads are content that only looks like one.
const MAX_HEAD_BYTES: usize = 512;

/// The row of the table.
pub(super) const FORMAT: Format = Format {
    name: "harmony",
    detect: |template| template.contains("<|channel|>"),
    parser: |_| Box::new(Harmony { state: State::Start, held: String::new(), raw: String::new() }),
    markers: &[
        "<|start|>",
        "<|channel|>",
        MESSAGE,
        "<|constrain|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
    ],
    always: true,
    call: CallText {
        open: "",
        before_name: "<|channel|>commentary to=functions.",
        before_arguments: " <|constrain|>json<|message|>",
        after_arguments: "",
        separator: "<|call|><|start|>assistant",
        close: "",
    },
};

enum State {
    /// The prompt ends within the head of the first message.
    Start,
    /// Role, channel and recipient, up to `<|message|>`.
    Head,
    Reasoning,
    Content,
    Call(JsonArguments),
    /// After a call's object, up to the next border.
    Tail,
}

struct Harmony {
    state: State,
    held: String,
    /// The text of a call, to be given back if it is none.
    raw: String,
}

impl Harmony {
    fn advance(&mut self, out: &mut Fragments, last: bool) -> bool {
        if self.held.is_empty() {
            return false;
        }
        match self.state {
            State::Start => {
                self.state = match tags::start(&self.held, &[" to=", "<|"]) {
                    Start::Maybe if !last => return false,
                    Start::Tag(_) => State::Head,
                    Start::Maybe | Start::No => State::Content,
                };
                true
            }
            State::Head => self.head(out, last),
            State::Reasoning | State::Content | State::Tail => self.body(out, last),
            State::Call(_) => {
                self.call(out);
                true
            }
        }
    }

    fn head(&mut self, out: &mut Fragments, last: bool) -> bool {
        match tags::find(&self.held, &[MESSAGE]) {
            Found::At(at, len) if at <= MAX_HEAD_BYTES => {
                let rest = self.held.split_off(at + len);
                let head = std::mem::replace(&mut self.held, rest);
                self.state = match recipient(&head) {
                    Some(name) => {
                        out.start(name);
                        State::Call(JsonArguments::new())
                    }
                    None if head.contains("analysis") => State::Reasoning,
                    None => State::Content,
                };
                self.raw = head;
                true
            }
            Found::Maybe(at) if at <= MAX_HEAD_BYTES && !last => false,
            Found::Maybe(at) if at <= MAX_HEAD_BYTES => {
                out.content(&std::mem::take(&mut self.held));
                false
            }
            _ => {
                self.state = State::Content;
                true
            }
        }
    }

    fn body(&mut self, out: &mut Fragments, last: bool) -> bool {
        let (at, len) = match tags::find(&self.held, &BORDERS) {
            Found::At(at, len) => (at, len),
            Found::Maybe(_) if last => (self.held.len(), 0),
            Found::Maybe(at) => (at, 0),
        };
        let rest = self.held.split_off(at + len);
        let text = std::mem::replace(&mut self.held, rest);
        let text = text.get(..at).unwrap_or_default();
        match self.state {
            State::Reasoning => out.reasoning(text),
            State::Content => out.content(text),
            _ => {}
        }
        if len > 0 {
            self.state = State::Head;
        }
        len > 0
    }

    fn call(&mut self, out: &mut Fragments) {
        let held = std::mem::take(&mut self.held);
        let State::Call(arguments) = &mut self.state else { return };
        for (at, c) in held.char_indices() {
            match arguments.push(c, out) {
                Progress::More => self.raw.push(c),
                Progress::Done => {
                    self.state = State::Tail;
                    self.held = held.get(at + c.len_utf8()..).unwrap_or_default().to_owned();
                    return;
                }
                Progress::Malformed => {
                    out.abort();
                    out.content(&std::mem::take(&mut self.raw));
                    self.state = State::Content;
                    self.held = held.get(at..).unwrap_or_default().to_owned();
                    return;
                }
            }
        }
    }
}

/// The function a message is addressed to.
fn recipient(head: &str) -> Option<&str> {
    let (_, after) = head.split_once("to=")?;
    let name = after.split(|c: char| c.is_whitespace() || c == '<').next()?;
    let name = name.strip_prefix("functions.").unwrap_or(name);
    (!name.is_empty() && name != "assistant" && name != "user").then_some(name)
}

impl ToolCallParser for Harmony {
    fn push(&mut self, text: &str, out: &mut Fragments) {
        self.held.push_str(text);
        while self.advance(out, false) {}
    }

    fn finish(&mut self, out: &mut Fragments) {
        while self.advance(out, true) {}
    }
}
