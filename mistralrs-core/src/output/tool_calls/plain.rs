//! Models without a format of their own: the answer is `{"name": …, "arguments": {…}}`, one or several,
//! in a list, in a JSON block or bare. Only names that were offered make a call of it.

use super::names::Names;
use super::section::{Body, Marks, Sections};
use super::{CallText, Format};

const MARKS: Marks = Marks {
    begin: &[],
    end: &[],
    skip: &["```json", "```tool_call", "```"],
    body: Body::Objects,
    code: &[],
};

/// The row of the table: what everybody else gets.
pub(super) const FORMAT: Format = Format {
    name: "json",
    detect: |_| true,
    parser: |names| Box::new(Sections::begun(MARKS, Names::only(names))),
    markers: &[],
    always: false,
    call: CallText {
        open: "",
        before_name: "{\"name\": \"",
        before_arguments: "\", \"arguments\": ",
        after_arguments: "}",
        separator: "\n",
        close: "",
    },
};
