//! Gemma: code in a block (`tool_code`, as the prompting guide of Gemma 3 has it), or
//! `<start_function_call>call:NAME{…}<end_function_call>` (FunctionGemma) and its short form.
//! Source: Google's prompt guides and the chat templates.

use super::names::Names;
use super::section::{Body, Marks, Sections};
use super::{CallText, Format};

const MARKS: Marks = Marks {
    begin: &[],
    end: &[],
    skip: &[],
    body: Body::Objects,
    code: &[
        ("```tool_code", "```"),
        ("```tool_call", "```"),
        ("<start_function_call>", "<end_function_call>"),
        ("<|tool_call>", "<tool_call|>"),
    ],
};

const SPECIAL: [&str; 5] =
    ["<start_function_call>", "<end_function_call>", "<escape>", "<|tool_call>", "<tool_call|>"];

/// The row of the table for code blocks.
pub(super) const FORMAT: Format = Format {
    name: "gemma",
    detect: |template| template.contains("<start_of_turn>") || template.contains("tool_code"),
    parser: |names| Box::new(Sections::begun(MARKS, Names::only(names))),
    markers: &SPECIAL,
    always: false,
    call: CallText {
        open: "```tool_code\n",
        before_name: "{\"name\": \"",
        before_arguments: "\", \"parameters\": ",
        after_arguments: "}",
        separator: "\n",
        close: "\n```",
    },
};

/// The row of the table for FunctionGemma. Its notation is wide enough to take JSON for arguments.
pub(super) const FUNCTION: Format = Format {
    name: "function-gemma",
    detect: |template| template.contains("<start_function_call>"),
    call: CallText {
        open: "",
        before_name: "<start_function_call>call:",
        before_arguments: "",
        after_arguments: "<end_function_call>",
        separator: "",
        close: "",
    },
    ..FORMAT
};
