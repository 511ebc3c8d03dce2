//! How models write tool calls: one file per format, one line per format in [`FORMATS`], picked by the
//! chat template's text. Knows text and names; no tokens.

mod call;
mod command_r;
mod deepseek;
mod gemma;
mod granite;
mod harmony;
mod hermes;
mod json;
mod llama;
mod mistral;
mod names;
mod phi4;
mod plain;
mod section;
mod smollm3;
mod snippet;

use super::fragments::Fragments;

/// Reads the calls of one answer.
pub trait ToolCallParser: Send {
    /// Takes more text and writes what is settled by it.
    fn push(&mut self, text: &str, out: &mut Fragments);
    /// The end of the text: writes what was held back.
    fn finish(&mut self, out: &mut Fragments);
}

/// One way to write calls.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// What it is called in capabilities and logs.
    pub name: &'static str,
    /// Whether a chat template asks for this format.
    pub detect: fn(&str) -> bool,
    /// A parser for one answer; takes the names of the functions that were offered.
    pub parser: fn(Vec<String>) -> Box<dyn ToolCallParser>,
    /// Marks that are special tokens in the vocabularies of these models: the parser wants to see
    /// them as text.
    pub markers: &'static [&'static str],
    /// Whether answers have to be parsed although no tools were offered.
    pub always: bool,
    /// The same as the parser, from the writer's side.
    pub call: CallText,
}

/// The text around the name and the arguments of calls, in the form that constrained answers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "read in this order, they are the text")]
pub struct CallText {
    pub open: &'static str,
    pub before_name: &'static str,
    pub before_arguments: &'static str,
    pub after_arguments: &'static str,
    pub separator: &'static str,
    pub close: &'static str,
}

impl CallText {
    /// The text that shows that a call begins: the first mark, or all up to the name if there is
    /// none.
    pub fn trigger(&self) -> &'static str {
        let text = if self.open.is_empty() { self.before_name } else { self.open };
        let end = |(at, c): (usize, char)| (at > 0 && matches!(c, '>' | ']')).then_some(at + 1);
        let marked = text.starts_with(['<', '[']);
        let mark = text.char_indices().find_map(end).filter(|_| marked);
        text.get(..mark.unwrap_or(text.len())).unwrap_or(text)
    }

    /// An answer that makes these calls: names, and arguments as JSON text.
    pub fn write(&self, calls: &[(&str, &str)]) -> String {
        let call = |(name, arguments): &(&str, &str)| {
            let Self { before_name, before_arguments, after_arguments, .. } = self;
            format!("{before_name}{name}{before_arguments}{arguments}{after_arguments}")
        };
        let calls: Vec<String> = calls.iter().map(call).collect();
        format!("{}{}{}", self.open, calls.join(self.separator), self.close)
    }
}

/// All formats; the first that a template asks for counts.
pub static FORMATS: [Format; 15] = [
    harmony::FORMAT,
    deepseek::V31,
    deepseek::FORMAT,
    mistral::TEKKEN,
    mistral::FORMAT,
    phi4::FORMAT,
    granite::FORMAT,
    gemma::FUNCTION,
    gemma::FORMAT,
    command_r::FORMAT,
    command_r::BLOCK,
    smollm3::FORMAT,
    hermes::FORMAT,
    llama::FORMAT,
    plain::FORMAT,
];

/// The format that a chat template asks for; plain JSON if it asks for none.
pub fn detect(template: &str) -> &'static Format {
    const PLAIN: &Format = &plain::FORMAT;
    FORMATS.iter().find(|format| (format.detect)(template)).unwrap_or(PLAIN)
}

/// A format by its name.
pub fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}
