//! Command-R: `<|START_ACTION|>[{"tool_name": …, "parameters": {…}}]<|END_ACTION|>`; the first
//! generation writes the list in a JSON block after `Action:`. Source: Cohere's chat templates.

use super::names::Names;
use super::section::{Body, Marks, Sections};
use super::{CallText, Format};

const MARKS: Marks = Marks {
    begin: &["<|START_ACTION|>", "Action: ```json", "Action:```json", "Action:\n```json"],
    end: &["<|END_ACTION|>", "```"],
    skip: &[],
    body: Body::Objects,
    code: &[],
};

/// The row of the table.
pub(super) const FORMAT: Format = Format {
    name: "command-r",
    detect: |template| template.contains("<|START_ACTION|>"),
    parser: |_| Box::new(Sections::new(MARKS, Names::Any)),
    markers: &["<|START_ACTION|>", "<|END_ACTION|>"],
    always: false,
    call: CallText {
        open: "<|START_ACTION|>[",
        before_name: "{\"tool_name\": \"",
        before_arguments: "\", \"parameters\": ",
        after_arguments: "}",
        separator: ", ",
        close: "]<|END_ACTION|>",
    },
};

/// The row of the table for the first generation.
pub(super) const BLOCK: Format = Format {
    name: "command-r-block",
    detect: |template| template.contains("<|CHATBOT_TOKEN|>"),
    call: CallText { open: "Action: ```json\n[", close: "]\n```", ..FORMAT.call },
    ..FORMAT
};
