//! Granite 3: `<|tool_call|>[{"name": …, "arguments": {…}}]`, also behind `<tool_call>`. Granite 4
//! writes as Hermes does. Source: IBM's chat templates.

use super::names::Names;
use super::section::{Body, Marks, Sections};
use super::{CallText, Format};

const MARKS: Marks = Marks {
    begin: &["<|tool_call|>", "<tool_call>"],
    end: &["</tool_call>", "<|end_of_text|>"],
    skip: &[],
    body: Body::Objects,
    code: &[],
};

/// The row of the table.
pub(super) const FORMAT: Format = Format {
    name: "granite",
    detect: |template| template.contains("<|start_of_role|>") && !template.contains("</tool_call>"),
    parser: |_| Box::new(Sections::new(MARKS, Names::Any)),
    markers: &["<|tool_call|>", "<tool_call>", "</tool_call>"],
    always: false,
    call: CallText {
        open: "<|tool_call|>[",
        before_name: "{\"name\": \"",
        before_arguments: "\", \"arguments\": ",
        after_arguments: "}",
        separator: ", ",
        close: "]",
    },
};
