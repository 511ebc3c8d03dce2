//! The field tables of docs/http-api.md are the doc comments of the wire types.
//! `UPDATE_DOCS=1 cargo test -p mistralrs-testkit --test tidy field_tables` writes them anew.

use crate::sources::read;
use mistralrs_testkit::workspace;

const PAGE: &str = "docs/http-api.md";
const BEGIN: &str = "<!-- fields: ";
const END: &str = "<!-- /fields -->";

#[test]
fn field_tables_are_the_wire_types() {
    let page = read(PAGE);
    let mut wanted = String::new();
    let mut rest = page.as_str();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (mark, after) = after.split_once(" -->").unwrap();
        let (path, name) = mark.split_once(' ').unwrap();
        let table = field_table(&read(path), name);
        wanted += &format!("{before}{BEGIN}{mark} -->\n{table}{END}");
        rest = after.split_once(END).unwrap().1;
    }
    wanted += rest;
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(workspace().join(PAGE), &wanted).unwrap();
    } else {
        assert!(page == wanted, "{PAGE} is out of date: run this test with UPDATE_DOCS=1");
    }
}

/// One row per public field of a struct: name and aliases, and its doc comment.
fn field_table(source: &str, name: &str) -> String {
    let body = source.split_once(&format!("pub struct {name} {{\n")).unwrap().1;
    let body = body.split_once("\n}").unwrap().0;
    let mut table = String::from("| field | what |\n|---|---|\n");
    let (mut names, mut doc) = (String::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            doc.push(text);
        } else if line.starts_with("#[serde(") {
            for alias in line.split("alias = \"").skip(1) {
                names += &format!(", `{}`", alias.split('"').next().unwrap());
            }
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|l| l.split_once(':')) {
            assert!(!doc.is_empty(), "{name}.{field} has no doc comment");
            table += &format!("| `{field}`{names} | {} |\n", doc.join(" ").replace('|', "\\|"));
            names.clear();
            doc.clear();
        }
    }
    table
}

#[test]
fn the_reader_of_structs_sees_fields_and_aliases() {
    let source = "/// S.\npub struct S {\n    /// One\n    /// two.\n    #[serde(alias = \"c\")]\n    pub b: X,\n}\n";
    assert_eq!(field_table(source, "S"), "| field | what |\n|---|---|\n| `b`, `c` | One two. |\n");
}
