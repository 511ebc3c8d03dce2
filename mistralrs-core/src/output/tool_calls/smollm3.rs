//! SmolLM3: as Hermes writes, or Python calls in `<code>…</code>`. Source: the chat template.

use super::Format;
use super::hermes;
use super::names::Names;
use super::section::{Marks, Sections};

const MARKS: Marks = Marks { code: &[("<code>", "</code>")], ..hermes::MARKS };

/// The row of the table. Code is a call only if it calls what was offered.
pub(super) const FORMAT: Format = Format {
    name: "smollm3",
    detect: |template| template.contains("SmolLM") || template.contains("xml_tools"),
    parser: |names| Box::new(Sections::new(MARKS, Names::only(names))),
    ..hermes::FORMAT
};
