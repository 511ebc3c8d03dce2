//! Phi-4-mini: `<|tool_call|>[{"name": …, "arguments": {…}}]<|/tool_call|>`; older versions write
//! `functools[…]`. Source: the model card and the chat template.

use super::names::Names;
use super::section::{Body, Marks, Sections};
use super::{CallText, Format};

const MARKS: Marks = Marks {
    begin: &["<|tool_call|>", "functools["],
    end: &["<|/tool_call|>"],
    skip: &[],
    body: Body::Objects,
    code: &[],
};

/// The row of the table.
pub(super) const FORMAT: Format = Format {
    name: "phi4",
    detect: |template| template.contains("<|tool|>") || template.contains("functools"),
    parser: |_| Box::new(Sections::new(MARKS, Names::Any)),
    markers: &["<|tool_call|>", "<|/tool_call|>"],
    always: false,
    call: CallText {
        open: "<|tool_call|>[",
        before_name: "{\"name\": \"",
        before_arguments: "\", \"arguments\": ",
        after_arguments: "}",
        separator: ", ",
        close: "]<|/tool_call|>",
    },
};
