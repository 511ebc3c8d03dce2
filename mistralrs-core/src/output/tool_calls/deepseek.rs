//! DeepSeek: `<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME` and the arguments in a JSON block (V3, R1),
//! or `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}` (V3.1). Source: the chat templates.

use super::names::Names;
use super::section::{Body, Head, Marks, Sections};
use super::{CallText, Format};

const SEPARATOR: &str = "<｜tool▁sep｜>";

const MARKS: Marks = Marks {
    begin: &["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"],
    end: &["<｜tool▁calls▁end｜>", "<｜end▁of▁sentence｜>"],
    skip: &["<｜tool▁call▁end｜>", "```"],
    body: Body::Named(head),
    code: &[],
};

fn head(text: &str) -> Option<Head<'_>> {
    if !text.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let Some((before, after)) = text.split_once(SEPARATOR) else {
        return Some(Head::Incomplete);
    };
    let name = after.trim_start().split(['\n', '`', ' ']).next().unwrap_or_default();
    Some(Head::Name(if name.is_empty() { before.trim() } else { name }))
}

/// The row of the table for arguments in a block.
pub(super) const FORMAT: Format = Format {
    name: "deepseek",
    detect: |template| template.contains("<｜tool▁calls▁begin｜>"),
    parser: |_| Box::new(Sections::new(MARKS, Names::Any)),
    markers: &[
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        SEPARATOR,
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ],
    always: false,
    call: CallText {
        open: "<｜tool▁calls▁begin｜>",
        before_name: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        before_arguments: "\n```json\n",
        after_arguments: "\n```<｜tool▁call▁end｜>",
        separator: "\n",
        close: "<｜tool▁calls▁end｜>",
    },
};

/// The row of the table for bare arguments.
pub(super) const V31: Format = Format {
    name: "deepseek-v3.1",
    detect: |template| template.contains("<｜tool▁calls▁begin｜>") && !template.contains("```json"),
    call: CallText {
        open: "<｜tool▁calls▁begin｜>",
        before_name: "<｜tool▁call▁begin｜>",
        before_arguments: SEPARATOR,
        after_arguments: "<｜tool▁call▁end｜>",
        separator: "",
        close: "<｜tool▁calls▁end｜>",
    },
    ..FORMAT
};
