//! Calls between marks: `<tool_call>{…}</tool_call>`, `[TOOL_CALLS][{…}, {…}]` and the like. One
//! engine for all formats that are made of a beginning, calls and an end; the formats are data.
//! Calls in JSON are shown as they come, calls in code when their section is complete.

use super::super::fragments::Fragments;
use super::super::tags::{self, Found, Start};
use super::ToolCallParser;
use super::call::{JsonArguments, JsonCall, Progress};
use super::names::Names;
use super::snippet;

/// Longest text before the arguments of a call that names its function there.
const MAX_HEAD_BYTES: usize = 512;
/// What a JSON object begins with.
const OPEN: char = '{';

/// How calls are written between the marks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// As objects with name and arguments.
    Objects,
    /// As a name, something after it, and an object of arguments.
    Named(ReadHead),
    /// Either way.
    Both(ReadHead),
}

/// Reads a function's name from the text before the `{` of its arguments, which may still be
/// incomplete: `None` = no such text begins like that.
type ReadHead = fn(&str) -> Option<Head<'_>>;

/// What stands before the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// Not the whole yet.
    Incomplete,
    /// A name.
    Name(&'a str),
}

/// What a format is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    /// Any of these begins calls. No mark may be the beginning of another.
    pub begin: &'static [&'static str],
    /// Any of these ends them; content follows.
    pub end: &'static [&'static str],
    /// Decoration between calls, without meaning.
    pub skip: &'static [&'static str],
    /// How calls are written.
    pub body: Body,
    /// Beginnings and ends of calls that are written as code (see [`snippet`]).
    pub code: &'static [(&'static str, &'static str)],
}

enum State {
    Content,
    /// Within the marks, outside a call. `calls` = some have been complete.
    Between {
        calls: bool,
    },
    /// The name before the arguments.
    Head,
    Object(JsonCall),
    Arguments(JsonArguments),
    /// Up to this mark.
    Code(&'static str),
}

/// Reads one format.
pub(super) struct Sections {
    marks: Marks,
    names: Names,
    state: State,
    /// Not looked at yet, or undecided.
    held: String,
    /// The text since the last mark or call, to be given back if it is no call.
    raw: String,
}

impl Sections {
    pub(super) fn new(marks: Marks, names: Names) -> Self {
        Self { marks, names, state: State::Content, held: String::new(), raw: String::new() }
    }

    /// As if a mark had just been read; for formats whose calls may begin an answer unmarked.
    pub(super) fn begun(marks: Marks, names: Names) -> Self {
        Self { state: State::Between { calls: false }, ..Self::new(marks, names) }
    }

    /// One move; false if more text is needed first.
    fn advance(&mut self, out: &mut Fragments) -> bool {
        if self.held.is_empty() {
            return false;
        }
        match &self.state {
            State::Content => self.content(out),
            State::Between { calls } => {
                let calls = *calls;
                self.between(calls, out)
            }
            State::Head => self.head(out),
            State::Code(end) => {
                let end = *end;
                self.code(end, out)
            }
            State::Object(_) | State::Arguments(_) => {
                self.call(out);
                true
            }
        }
    }

    fn content(&mut self, out: &mut Fragments) -> bool {
        let code = self.marks.code.iter().map(|(begin, _)| *begin);
        let begins: Vec<&str> = self.marks.begin.iter().copied().chain(code).collect();
        match tags::find(&self.held, &begins) {
            Found::At(at, len) => {
                let rest = self.held.split_off(at + len);
                let before = std::mem::replace(&mut self.held, rest);
                out.content(before.get(..at).unwrap_or_default());
                self.raw = before.get(at..).unwrap_or_default().to_owned();
                let code = self.marks.code.iter().find(|(begin, _)| *begin == self.raw);
                self.state = match code {
                    Some((_, end)) => State::Code(end),
                    None => State::Between { calls: false },
                };
                true
            }
            Found::Maybe(at) => {
                let rest = self.held.split_off(at);
                out.content(&std::mem::replace(&mut self.held, rest));
                false
            }
        }
    }

    fn between(&mut self, calls: bool, out: &mut Fragments) -> bool {
        let blank = self.held.len() - self.held.trim_start().len();
        self.take(blank);
        let Some(first) = self.held.chars().next() else { return false };
        match tags::start(&self.held, self.marks.end) {
            Start::Maybe => return false,
            Start::Tag(len) => {
                self.take(len);
                self.leave(calls, out);
                return true;
            }
            Start::No => {}
        }
        for more in [self.marks.begin, self.marks.skip] {
            match tags::start(&self.held, more) {
                Start::Maybe => return false,
                Start::Tag(len) => {
                    self.take(len);
                    return true;
                }
                Start::No => {}
            }
        }
        match first {
            '[' | ']' | ',' | ';' => self.take(1),
            OPEN if matches!(self.marks.body, Body::Objects | Body::Both(_)) => {
                self.enter(State::Object(JsonCall::new(self.names.clone())), calls);
            }
            _ => match self.marks.body {
                Body::Named(read) | Body::Both(read) if read(&first.to_string()).is_some() => {
                    self.enter(State::Head, calls);
                }
                _ => self.leave(calls, out),
            },
        }
        true
    }

    /// A call begins: after the first one only its own text is given back if it is none.
    fn enter(&mut self, state: State, calls: bool) {
        if calls {
            self.raw.clear();
        }
        self.state = state;
    }

    fn head(&mut self, out: &mut Fragments) -> bool {
        let end = self.held.find(OPEN);
        let head = self.held.get(..end.unwrap_or(self.held.len())).unwrap_or_default();
        let (Body::Named(read) | Body::Both(read)) = self.marks.body else {
            self.give_back(out);
            return true;
        };
        let name = match (read(head), end) {
            (Some(_), None) if head.len() <= MAX_HEAD_BYTES => return false,
            (Some(Head::Name(name)), Some(_)) if head.len() <= MAX_HEAD_BYTES => name,
            _ => {
                self.give_back(out);
                return true;
            }
        };
        if !self.names.allow(name) {
            self.give_back(out);
            return true;
        }
        out.start(name);
        self.take(end.unwrap_or(0));
        self.state = State::Arguments(JsonArguments::new());
        true
    }

    fn call(&mut self, out: &mut Fragments) {
        let held = std::mem::take(&mut self.held);
        for (at, c) in held.char_indices() {
            let (progress, started) = match &mut self.state {
                State::Object(call) => {
                    let progress = call.push(c, out);
                    (progress, call.started)
                }
                State::Arguments(arguments) => (arguments.push(c, out), true),
                State::Content | State::Between { .. } | State::Head | State::Code(_) => return,
            };
            match progress {
                Progress::More => self.raw.push(c),
                Progress::Done => {
                    self.raw.clear();
                    self.state = State::Between { calls: true };
                    self.held = held.get(at + c.len_utf8()..).unwrap_or_default().to_owned();
                    return;
                }
                Progress::Malformed => {
                    if started {
                        out.abort();
                    }
                    self.held = held.get(at..).unwrap_or_default().to_owned();
                    return self.give_back(out);
                }
            }
        }
    }

    fn code(&mut self, end: &'static str, out: &mut Fragments) -> bool {
        match tags::find(&self.held, &[end]) {
            Found::At(at, len) => {
                let rest = self.held.split_off(at + len);
                let code = std::mem::replace(&mut self.held, rest);
                self.run(code.get(..at).unwrap_or_default(), end, out);
                true
            }
            Found::Maybe(_) => false,
        }
    }

    /// A section of code is complete.
    fn run(&mut self, code: &str, end: &str, out: &mut Fragments) {
        let calls = snippet::calls(code).filter(|calls| {
            !calls.is_empty() && calls.iter().all(|(name, _)| self.names.allow(name))
        });
        match calls.or_else(|| self.names.interpreter(code)) {
            Some(calls) => {
                self.raw.clear();
                self.state = State::Content;
                calls.iter().for_each(|(name, arguments)| out.call(name, arguments));
                out.skip_space();
            }
            None => {
                self.raw.push_str(code);
                self.raw.push_str(end);
                self.give_back(out);
            }
        }
    }

    fn take(&mut self, len: usize) {
        let rest = self.held.split_off(len);
        self.raw.push_str(&std::mem::replace(&mut self.held, rest));
    }

    /// What looked like a call was content.
    fn give_back(&mut self, out: &mut Fragments) {
        out.content(&std::mem::take(&mut self.raw));
        self.state = State::Content;
    }

    fn leave(&mut self, calls: bool, out: &mut Fragments) {
        if calls {
            self.raw.clear();
            self.state = State::Content;
            out.skip_space();
        } else {
            self.give_back(out);
        }
    }
}

impl ToolCallParser for Sections {
    fn push(&mut self, text: &str, out: &mut Fragments) {
        self.held.push_str(text);
        while self.advance(out) {}
    }

    fn finish(&mut self, out: &mut Fragments) {
        let held = std::mem::take(&mut self.held);
        match &self.state {
            State::Content => out.content(&held),
            State::Between { calls: true } => {}
            State::Code(_) => self.run(&held, "", out),
            State::Object(JsonCall { started: true, .. }) | State::Arguments(_) => {}
            State::Between { calls: false } | State::Head | State::Object(_) => {
                self.raw.push_str(&held);
                self.give_back(out);
            }
        }
    }
}
