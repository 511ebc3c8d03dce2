//! Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, and since tekken's version 11
//! `[TOOL_CALLS]NAME[ARGS]{…}` once per call. Source: the chat templates and mistral-common.

use super::names::Names;
use super::section::{Body, Head, Marks, Sections};
use super::{CallText, Format};

const MARKER: &str = "[TOOL_CALLS]";

const MARKS: Marks =
    Marks { begin: &[MARKER], end: &["</s>"], skip: &[], body: Body::Both(head), code: &[] };

/// `NAME`, `NAME[ARGS]` or `NAME[CALL_ID]123456789[ARGS]`.
fn head(text: &str) -> Option<Head<'_>> {
    let name = text.split('[').next().unwrap_or_default();
    let fits = |c: char| c.is_alphanumeric() || "_-.[]".contains(c);
    let begins = name.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (begins && text.chars().all(fits)).then_some(Head::Name(name))
}

/// The row of the table for lists of objects.
pub(super) const FORMAT: Format = Format {
    name: "mistral",
    detect: |template| template.contains(MARKER),
    parser: |_| Box::new(Sections::new(MARKS, Names::Any)),
    markers: &[MARKER, "[ARGS]", "[CALL_ID]"],
    always: false,
    call: CallText {
        open: "[TOOL_CALLS][",
        before_name: "{\"name\": \"",
        before_arguments: "\", \"arguments\": ",
        after_arguments: "}",
        separator: ", ",
        close: "]",
    },
};

/// The row of the table for a marker per call.
pub(super) const TEKKEN: Format = Format {
    name: "mistral-tekken",
    detect: |template| template.contains(MARKER) && template.contains("[ARGS]"),
    call: CallText {
        open: "",
        before_name: MARKER,
        before_arguments: "[ARGS]",
        after_arguments: "",
        separator: "",
        close: "",
    },
    ..FORMAT
};
