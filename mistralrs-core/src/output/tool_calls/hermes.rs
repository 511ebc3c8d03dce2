//! Hermes, Qwen 2.5 and Qwen 3: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, once per call.
//! Source: the models' chat templates.

use super::names::Names;
use super::section::{Body, Marks, Sections};
use super::{CallText, Format};

pub(super) const MARKS: Marks = Marks {
    begin: &["<tool_call>"],
    end: &["</tool_call>"],
    skip: &["```json", "```"],
    body: Body::Objects,
    code: &[],
};

pub(super) const CALL: CallText = CallText {
    open: "",
    before_name: "<tool_call>\n{\"name\": \"",
    before_arguments: "\", \"arguments\": ",
    after_arguments: "}\n</tool_call>",
    separator: "\n",
    close: "",
};

/// The row of the table.
pub(super) const FORMAT: Format = Format {
    name: "hermes",
    detect: |template| template.contains("<tool_call>"),
    parser: |_| Box::new(Sections::new(MARKS, Names::Any)),
    markers: &["<tool_call>", "</tool_call>"],
    always: false,
    call: CALL,
};
