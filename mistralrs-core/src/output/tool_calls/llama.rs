//! Llama 3.1 to 3.3: the answer is `{"name": …, "parameters": {…}}`, or after `<|python_tag|>` a call
//! of a built-in tool (`brave_search.call(query="…")`) or code for the interpreter.
//! Source: Meta's prompt format documents and the chat templates.

use super::names::Names;
use super::section::{Body, Marks, Sections};
use super::{CallText, Format};

const MARKS: Marks = Marks {
    begin: &[],
    end: &["<|eom_id|>", "<|eot_id|>"],
    skip: &[],
    body: Body::Objects,
    code: &[("<|python_tag|>", "<|eom_id|>")],
};

/// The row of the table.
pub(super) const FORMAT: Format = Format {
    name: "llama3",
    detect: |template| {
        template.contains("<|python_tag|>")
            || (template.contains("<|start_header_id|>") && template.contains("parameters"))
    },
    parser: |names| Box::new(Sections::begun(MARKS, Names::only(names))),
    markers: &["<|python_tag|>", "<|eom_id|>"],
    always: false,
    call: CallText {
        open: "",
        before_name: "{\"name\": \"",
        before_arguments: "\", \"parameters\": ",
        after_arguments: "}",
        separator: "; ",
        close: "",
    },
};
