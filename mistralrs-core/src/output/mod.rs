//! The text of an answer, taken apart as it comes: reasoning, content, tool calls. Pure functions of
//! text; knows no tokens, no engine, no wire format. However the text is cut into pieces, the
//! fragments, joined, are the same.

mod fragments;
pub mod reasoning;
mod tags;
pub mod tool_calls;

pub use fragments::{Fragment, Fragments};
pub use reasoning::{ThinkTags, Thinking};
pub use tool_calls::{CallText, FORMATS, Format, ToolCallParser};

use reasoning::ThinkSplitter;

/// Takes one answer apart.
///
/// ```
/// use mistralrs_core::output::{Fragment, OutputParser, Thinking, tool_calls};
///
/// let format = tool_calls::find("hermes").unwrap();
/// let mut parser = OutputParser::new(Thinking::Absent, Some((format, vec!["now".to_owned()])));
/// let mut fragments = parser.push("One moment. <tool_call>{\"name\": \"now\", ");
/// fragments.extend(parser.push("\"arguments\": {}}</tool_call>"));
/// fragments.extend(parser.finish());
/// assert_eq!(fragments[0], Fragment::Content("One moment. ".to_owned()));
/// assert!(parser.has_calls());
/// ```
pub struct OutputParser {
    think: Option<ThinkSplitter>,
    tools: Option<Box<dyn ToolCallParser>>,
    out: Fragments,
}

impl OutputParser {
    /// `thinking`: how reasoning is marked and whether the prompt has begun it. `tools`: the format of
    /// calls and the names of the functions that were offered.
    pub fn new(thinking: Thinking, tools: Option<(&Format, Vec<String>)>) -> Self {
        let think = ThinkSplitter::new(thinking);
        let tools = tools.map(|(format, names)| (format.parser)(names));
        let out = Fragments::new(think.is_some() || tools.is_some());
        Self { think, tools, out }
    }

    /// Takes more text; gives what is settled by it.
    pub fn push(&mut self, text: &str) -> Vec<Fragment> {
        let content = match &mut self.think {
            Some(think) => think.push(text, &mut self.out),
            None => text.to_owned(),
        };
        self.content(&content);
        self.out.take()
    }

    /// The end of the text: gives what was held back. A call that was begun and not completed has no
    /// [`crate::request::ToolCallDelta::End`].
    pub fn finish(&mut self) -> Vec<Fragment> {
        let content = match &mut self.think {
            Some(think) => think.finish(&mut self.out),
            None => String::new(),
        };
        self.content(&content);
        if let Some(tools) = &mut self.tools {
            tools.finish(&mut self.out);
        }
        self.out.finish();
        self.out.take()
    }

    /// Whether at least one call was completed.
    pub fn has_calls(&self) -> bool {
        self.out.completed() > 0
    }

    fn content(&mut self, text: &str) {
        match &mut self.tools {
            _ if text.is_empty() => {}
            Some(tools) => tools.push(text, &mut self.out),
            None => self.out.content(text),
        }
    }
}

#[cfg(test)]
mod tests;
