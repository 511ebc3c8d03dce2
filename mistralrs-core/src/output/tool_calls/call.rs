//! One call, read as it comes: as a JSON object with name and arguments, or as arguments alone after
//! a name that stood before them. What is sure is written to the fragments at once.

use super::super::fragments::Fragments;
use super::json::{Event, JsonMachine, Malformed, push_clean};
use super::names::Names;
use std::ops::Range;

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    More,
    /// It is complete.
    Done,
    /// It is no call.
    Malformed,
}

/// What a JSON object begins with.
const OPEN: char = '{';
/// Keys under which models write the name of a function.
const NAME_KEYS: [&str; 2] = ["name", "tool_name"];
/// Keys under which models write its arguments.
const ARGUMENT_KEYS: [&str; 2] = ["arguments", "parameters"];
/// What else may stand in a call that is not marked as one.
const OTHER_KEYS: [&str; 3] = ["type", "id", "tool_call_id"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Arguments {
    Missing,
    /// An object is being read.
    Open,
    /// Complete, in this part of the JSON; not yet shown, for want of a name.
    Held(Range<usize>),
    Shown,
}

/// A call as a JSON object, keys in any order.
#[derive(Debug)]
pub(super) struct JsonCall {
    machine: JsonMachine,
    names: Names,
    json: String,
    /// Where the outermost key or value that is being read begins.
    mark: usize,
    field: Field,
    name: Option<String>,
    arguments: Arguments,
    /// Up to here the JSON of the arguments has been shown.
    shown: usize,
    /// Whether [`Fragments::start`] was called.
    pub(super) started: bool,
}

impl JsonCall {
    pub(super) fn new(names: Names) -> Self {
        Self {
            machine: JsonMachine::new(),
            names,
            json: String::new(),
            mark: 0,
            field: Field::Other,
            name: None,
            arguments: Arguments::Missing,
            shown: 0,
            started: false,
        }
    }

    pub(super) fn push(&mut self, c: char, out: &mut Fragments) -> Progress {
        match self.step(c, out) {
            Ok(true) => Progress::Done,
            Ok(false) => Progress::More,
            Err(Malformed) => Progress::Malformed,
        }
    }

    /// True at the end of the object.
    fn step(&mut self, c: char, out: &mut Fragments) -> Result<bool, Malformed> {
        let outer = self.machine.depth();
        let event = self.machine.push(c)?;
        let start = self.json.len();
        push_clean(&mut self.json, c, event);
        match (event, outer, self.machine.depth()) {
            (Event::KeyStarts, 1, _) => self.mark = start,
            (Event::KeyEnds, _, 1) => self.field = self.classify()?,
            (Event::ValueStarts, 1, _) => {
                self.mark = start;
                if self.field == Field::Arguments && c == OPEN {
                    self.arguments = Arguments::Open;
                    self.shown = start;
                }
            }
            (Event::ValueEnds, _, 1) => self.value_ends(out)?,
            (Event::ValueEnds, _, 0) => return self.ends(out).map(|()| true),
            _ => {}
        }
        if self.arguments == Arguments::Open && self.started {
            out.arguments(self.json.get(self.shown..).unwrap_or_default());
            self.shown = self.json.len();
        }
        Ok(false)
    }

    fn classify(&self) -> Result<Field, Malformed> {
        let key: String = self.marked().unwrap_or_default();
        let unmarked = matches!(self.names, Names::Only(_));
        Ok(if self.name.is_none() && NAME_KEYS.contains(&key.as_str()) {
            Field::Name
        } else if self.arguments == Arguments::Missing && ARGUMENT_KEYS.contains(&key.as_str()) {
            Field::Arguments
        } else if unmarked && !OTHER_KEYS.contains(&key.as_str()) {
            // An answer in JSON, which the reader should not have to wait for.
            return Err(Malformed);
        } else {
            Field::Other
        })
    }

    /// The key or string that has just ended.
    fn marked(&self) -> Option<String> {
        serde_json::from_str(self.json.get(self.mark..)?).ok()
    }

    fn value_ends(&mut self, out: &mut Fragments) -> Result<(), Malformed> {
        match self.field {
            Field::Name => {
                let name = self.marked().filter(|name| self.names.allow(name)).ok_or(Malformed)?;
                self.name = Some(name);
                self.show(out);
            }
            Field::Arguments => {
                let text = self.json.get(self.mark..).unwrap_or_default();
                self.arguments = match text.chars().next() {
                    Some(OPEN) if self.started => {
                        out.arguments(self.json.get(self.shown..).unwrap_or_default());
                        Arguments::Shown
                    }
                    Some(OPEN) => Arguments::Held(self.mark..self.json.len()),
                    // The object as a string, or nothing at all.
                    Some('"') => {
                        let inner = object_text(&self.marked().unwrap_or_default())?;
                        let start = self.json.len();
                        self.json.push_str(&inner);
                        Arguments::Held(start..self.json.len())
                    }
                    Some('n') => Arguments::Missing,
                    _ => return Err(Malformed),
                };
                self.show(out);
            }
            Field::Other => {}
        }
        self.field = Field::Other;
        Ok(())
    }

    /// Shows what can be shown: the name first, for it has to be known.
    fn show(&mut self, out: &mut Fragments) {
        let Some(name) = &self.name else { return };
        if !self.started {
            self.started = true;
            out.start(name);
        }
        if let Arguments::Held(range) = self.arguments.clone() {
            out.arguments(self.json.get(range).unwrap_or_default());
            self.arguments = Arguments::Shown;
        }
    }

    fn ends(&mut self, out: &mut Fragments) -> Result<(), Malformed> {
        if self.name.is_none() {
            return Err(Malformed);
        }
        if self.arguments == Arguments::Missing {
            out.arguments("{}");
        }
        out.end();
        Ok(())
    }
}

/// The JSON text of an object; nothing stands for an empty one.
fn object_text(text: &str) -> Result<String, Malformed> {
    if text.trim().is_empty() {
        return Ok("{}".to_owned());
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| Malformed)?;
    if value.is_object() { Ok(value.to_string()) } else { Err(Malformed) }
}

/// The arguments of a call whose name is known: one JSON object.
#[derive(Debug)]
pub(super) struct JsonArguments {
    machine: JsonMachine,
    begun: bool,
}

impl JsonArguments {
    pub(super) fn new() -> Self {
        Self { machine: JsonMachine::new(), begun: false }
    }

    pub(super) fn push(&mut self, c: char, out: &mut Fragments) -> Progress {
        let Ok(event) = self.machine.push(c) else { return Progress::Malformed };
        if event == Event::ValueStarts && !self.begun {
            if c != OPEN {
                return Progress::Malformed;
            }
            self.begun = true;
        }
        if self.begun {
            let mut clean = String::new();
            push_clean(&mut clean, c, event);
            out.arguments(&clean);
        }
        if event == Event::ValueEnds && self.machine.depth() == 0 {
            out.end();
            return Progress::Done;
        }
        Progress::More
    }
}
