//! JSON, one character at a time: says where keys and values begin and end, and refuses at the first
//! character that cannot be JSON. Raw control characters within strings are let through and pointed
//! out: models write line breaks there. Source: RFC 8259.

/// Deeper nesting is refused; serde_json's own limit is 128.
const MAX_DEPTH: usize = 100;

/// What a character did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The opening quote of a key.
    KeyStarts,
    /// The closing quote of a key.
    KeyEnds,
    /// The first character of a value.
    ValueStarts,
    /// The last character of a value that shows its end (of a number the next one does).
    ValueEnds,
    /// A control character that JSON wants escaped.
    RawControl,
    /// Anything else.
    Other,
}

/// The character cannot stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Object,
    Array,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    FirstItem,
    FirstKey,
    Key,
    Colon,
    AfterValue,
    String {
        key: bool,
        at: InString,
    },
    Number(Number),
    /// What is left of `true`, `false` or `null`.
    Literal(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InString {
    Plain,
    Backslash,
    /// Hexadecimal digits left, and those read; `low` = the second half of a surrogate pair.
    Hex {
        left: u8,
        code: u32,
        low: bool,
    },
    /// The second half of a pair has to follow: its backslash, its `u`.
    LowBackslash,
    LowU,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    fn is_complete(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::ExponentDigits)
    }

    fn next(self, c: char) -> Option<Self> {
        Some(match (self, c) {
            (Self::Minus, '0') => Self::Zero,
            (Self::Minus, '1'..='9') | (Self::Whole, '0'..='9') => Self::Whole,
            (Self::Zero | Self::Whole, '.') => Self::Point,
            (Self::Point | Self::Fraction, '0'..='9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, 'e' | 'E') => Self::Exponent,
            (Self::Exponent, '+' | '-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, '0'..='9') => {
                Self::ExponentDigits
            }
            _ => return None,
        })
    }
}

/// Reads one JSON value.
#[derive(Debug)]
pub(super) struct JsonMachine {
    stack: Vec<Frame>,
    state: State,
}

impl JsonMachine {
    pub(super) fn new() -> Self {
        Self { stack: Vec::new(), state: State::Value }
    }

    /// How many objects and arrays are open.
    pub(super) fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char) -> Result<Event, Malformed> {
        match self.state {
            State::String { key, at } => self.in_string(key, at, c),
            State::Number(number) => match number.next(c) {
                Some(next) => {
                    self.state = State::Number(next);
                    Ok(Event::Other)
                }
                None if number.is_complete() => {
                    self.state = State::AfterValue;
                    self.between(c)
                }
                None => Err(Malformed),
            },
            State::Literal(rest) => match rest.strip_prefix(c) {
                Some("") => {
                    self.state = State::AfterValue;
                    Ok(Event::ValueEnds)
                }
                Some(rest) => {
                    self.state = State::Literal(rest);
                    Ok(Event::Other)
                }
                None => Err(Malformed),
            },
            _ => self.between(c),
        }
    }

    fn between(&mut self, c: char) -> Result<Event, Malformed> {
        if matches!(c, ' ' | '\n' | '\r' | '\t') {
            return Ok(Event::Other);
        }
        match (self.state, c) {
            (State::Value | State::FirstItem, ']') if self.state == State::FirstItem => {
                self.close(Frame::Array)
            }
            (State::Value | State::FirstItem, _) => self.value(c),
            (State::FirstKey, '}') => self.close(Frame::Object),
            (State::FirstKey | State::Key, '"') => {
                self.state = State::String { key: true, at: InString::Plain };
                Ok(Event::KeyStarts)
            }
            (State::Colon, ':') => {
                self.state = State::Value;
                Ok(Event::Other)
            }
            (State::AfterValue, ',') => {
                self.state = match self.stack.last().ok_or(Malformed)? {
                    Frame::Object => State::Key,
                    Frame::Array => State::Value,
                };
                Ok(Event::Other)
            }
            (State::AfterValue, '}') => self.close(Frame::Object),
            (State::AfterValue, ']') => self.close(Frame::Array),
            _ => Err(Malformed),
        }
    }

    fn value(&mut self, c: char) -> Result<Event, Malformed> {
        self.state = match c {
            '{' => self.open(Frame::Object, State::FirstKey)?,
            '[' => self.open(Frame::Array, State::FirstItem)?,
            '"' => State::String { key: false, at: InString::Plain },
            '-' => State::Number(Number::Minus),
            '0' => State::Number(Number::Zero),
            '1'..='9' => State::Number(Number::Whole),
            't' => State::Literal("rue"),
            'f' => State::Literal("alse"),
            'n' => State::Literal("ull"),
            _ => return Err(Malformed),
        };
        Ok(Event::ValueStarts)
    }

    fn open(&mut self, frame: Frame, then: State) -> Result<State, Malformed> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Malformed);
        }
        self.stack.push(frame);
        Ok(then)
    }

    fn close(&mut self, frame: Frame) -> Result<Event, Malformed> {
        if self.stack.pop() != Some(frame) {
            return Err(Malformed);
        }
        self.state = State::AfterValue;
        Ok(Event::ValueEnds)
    }

    fn in_string(&mut self, key: bool, at: InString, c: char) -> Result<Event, Malformed> {
        let next = match (at, c) {
            (InString::Plain, '"') => {
                self.state = if key { State::Colon } else { State::AfterValue };
                return Ok(if key { Event::KeyEnds } else { Event::ValueEnds });
            }
            (InString::Plain, '\\') => InString::Backslash,
            (InString::Plain, '\0'..='\x1f') => return Ok(Event::RawControl),
            (InString::Plain, _) => InString::Plain,
            (InString::Backslash, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                InString::Plain
            }
            (InString::Backslash, 'u') => InString::Hex { left: 4, code: 0, low: false },
            (InString::LowBackslash, '\\') => InString::LowU,
            (InString::LowU, 'u') => InString::Hex { left: 4, code: 0, low: true },
            (InString::Hex { left, code, low }, _) => {
                let code = code * 16 + c.to_digit(16).ok_or(Malformed)?;
                match (left, low, code) {
                    (2.., ..) => InString::Hex { left: left - 1, code, low },
                    (_, false, 0xD800..=0xDBFF) => InString::LowBackslash,
                    (_, true, 0xDC00..=0xDFFF) => InString::Plain,
                    (_, false, 0xDC00..=0xDFFF) | (_, true, _) => return Err(Malformed),
                    _ => InString::Plain,
                }
            }
            _ => return Err(Malformed),
        };
        self.state = State::String { key, at: next };
        Ok(Event::Other)
    }
}

/// Appends a character, escaped if JSON wants it so.
pub(super) fn push_clean(json: &mut String, c: char, event: Event) {
    use std::fmt::Write as _;
    match (event, c) {
        (Event::RawControl, '\n') => json.push_str("\\n"),
        (Event::RawControl, '\r') => json.push_str("\\r"),
        (Event::RawControl, '\t') => json.push_str("\\t"),
        // Writing to a string does not fail.
        (Event::RawControl, _) => drop(write!(json, "\\u{:04x}", u32::from(c))),
        _ => json.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The length of the JSON value at the start of a text; `None` if it is not complete.
    fn read(text: &str) -> Result<Option<usize>, Malformed> {
        let mut machine = JsonMachine::new();
        for (at, c) in text.char_indices() {
            let event = machine.push(c)?;
            assert_ne!(event, Event::RawControl);
            if event == Event::ValueEnds && machine.depth() == 0 {
                return Ok(Some(at + c.len_utf8()));
            }
        }
        Ok(None)
    }

    #[test]
    fn agrees_with_serde_on_hand_picked_texts() {
        for inside in [
            "1",
            "-0",
            "01",
            "1.",
            "1.5e-3",
            "1e",
            ".5",
            "+1",
            "true",
            "tru",
            "nul l",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\x\"",
            "[]",
            "[1,]",
            "[,1]",
            "{}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "[1 2]",
            "{\"a\":[{\"b\":null}]}",
            "[}",
            "{]",
            "-",
        ] {
            let text = format!("{{\"k\": {inside}}}");
            let ours = read(&text) == Ok(Some(text.len()));
            let serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            assert_eq!(ours, serde, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(read(&"[".repeat(MAX_DEPTH)), Ok(None));
        assert_eq!(read(&"[".repeat(MAX_DEPTH + 1)), Err(Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn agrees_with_serde(parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "1", "0", "-", ".", "e", "true", "null", "\\", "\\n", "u00e9", " ", "é",
        ]), 0..14)) {
            let text = format!("[{}]", parts.concat());
            let ours = read(&text) == Ok(Some(text.len()));
            prop_assert_eq!(ours, serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
        }
    }
}
