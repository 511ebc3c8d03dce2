//! The documents hold: links lead somewhere, commands and files they name exist, lists agree with the code.

use crate::makefile::targets;
use crate::sources::{CRATES, Source, all_files, expect_none, read};
use mistralrs_testkit::{HF_MODELS, fixture, read_json, workspace};
use std::path::Path;

/// Rows of the list of required behaviors: letter and how many.
const ROWS: [(char, usize); 14] = [
    ('A', 11),
    ('B', 3),
    ('C', 8),
    ('D', 6),
    ('E', 5),
    ('F', 5),
    ('G', 13),
    ('H', 5),
    ('I', 2),
    ('J', 5),
    ('K', 4),
    ('L', 5),
    ('M', 13),
    ('N', 7),
];

fn documents() -> Vec<Source> {
    all_files().into_iter().filter(|source| source.path.ends_with(".md")).collect()
}

/// What stands between backquotes, in lines and in blocks.
fn code_spans(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push(line.trim());
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let mut found = Vec::new();
    for document in documents() {
        for link in document.text.split("](").skip(1) {
            let target = link.split([')', ' ']).next().unwrap_or_default();
            if target.starts_with("http") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = workspace().join(&document.path).parent().unwrap().to_path_buf();
            let path =
                if file.is_empty() { workspace().join(&document.path) } else { folder.join(file) };
            if !path.exists() || !anchor.is_empty() && !has_heading(&path, anchor) {
                found.push(format!("{}: {target}", document.path));
            }
        }
    }
    expect_none("links to nowhere", &found);
}

fn has_heading(path: &Path, anchor: &str) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('#')).any(|line| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let slug: String = line.trim_start_matches('#').trim().chars().filter(kept).collect();
        slug.to_lowercase().replace(' ', "-") == anchor
    })
}

#[test]
fn commands_in_the_documents_exist() {
    let menu = targets(&read("Makefile"));
    let mut found = Vec::new();
    for document in documents() {
        for span in code_spans(&document.text) {
            let words: Vec<_> = span.split_whitespace().collect();
            if words.first() == Some(&"make") {
                let named =
                    words.iter().skip(1).filter(|w| !w.contains('=') && !w.starts_with('-'));
                let unknown = named.filter(|w| !menu.contains(&(**w).to_owned()));
                found.extend(unknown.map(|w| format!("{}: make {w}", document.path)));
            }
            for pair in words.windows(2).filter(|pair| pair[0] == "-p" && words[0] == "cargo") {
                let package = pair[1].replace("mistralrs-examples", "examples");
                if package != "CRATE" && !CRATES.contains(&package.as_str()) {
                    found.push(format!("{}: {span}", document.path));
                }
            }
            let files = words.iter().filter(|w| w.starts_with("scripts/") || w.starts_with(".ci/"));
            let absent = files.filter(|w| !workspace().join(w).exists());
            found.extend(absent.map(|w| format!("{}: {w}", document.path)));
        }
    }
    expect_none("commands and scripts that do not exist", &found);
}

/// The code map of ARCHITECTURE.md names files that are there, in no more than 200 lines.
#[test]
fn the_architecture_page_is_short_and_true() {
    let page = read("docs/ARCHITECTURE.md");
    assert!(page.lines().count() <= 200, "{} lines", page.lines().count());
    let files = all_files();
    let named = code_spans(&page)
        .into_iter()
        .filter(|span| span.ends_with(".rs") && !span.contains("NAME") && !span.contains(' '));
    let absent = named.filter(|name| {
        let end = format!("/{name}");
        !files.iter().any(|file| file.path.ends_with(&end))
    });
    expect_none("files that are not there", &absent.map(str::to_owned).collect::<Vec<_>>());
}

/// Row N3: the README's list of models is the registry, and every registry row has a fixture.
#[test]
fn the_model_list_is_the_registry() {
    let registry = read("mistralrs-core/src/models/mod.rs");
    let rows: Vec<_> = registry
        .split("row::<")
        .skip(1)
        .filter_map(|row| {
            row.split_once(">(\"")?.1.split_once('"').map(|(name, _)| name.to_owned())
        })
        .collect();
    assert!(!rows.is_empty());
    let readme = read("README.md");
    let list =
        readme.split("<!-- models -->").nth(1).and_then(|r| r.split("<!-- /models -->").next());
    let listed: Vec<_> = code_spans(list.unwrap()).into_iter().map(str::to_owned).collect();
    assert_eq!(listed, rows);
    let with_golden: Vec<String> = HF_MODELS
        .iter()
        .map(|name| {
            let config: serde_json::Value = read_json(&fixture(name).join("config.json"));
            config["architectures"][0].as_str().unwrap().to_owned()
        })
        .collect();
    let without: Vec<_> = rows.into_iter().filter(|row| !with_golden.contains(row)).collect();
    expect_none("architectures without reference values", &without);
}

/// Row N5: every row is there, and a row that is called done names tests that exist.
#[test]
fn carried_fixes_name_their_tests() {
    let page = read("docs/carried-fixes.md");
    let files = all_files();
    let mut rows: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [row, state, .., tests] = cells.as_slice() else {
            continue;
        };
        if !row.starts_with(char::is_uppercase)
            || !row[1..].chars().all(|c| c.is_ascii_digit())
            || row.len() < 2
        {
            continue;
        }
        rows.push((*row).to_owned());
        let names = code_spans(tests);
        match *state {
            "done" | "partly" if names.is_empty() => {
                found.push(format!("{row}: {state} without a test"))
            }
            "done" | "partly" | "not yet" | "no" => {}
            _ => found
                .push(format!("{row}: the state `{state}` is none of done, partly, not yet, no")),
        }
        let absent = names.into_iter().filter(|name| !test_exists(&files, name));
        found.extend(absent.map(|name| format!("{row}: there is no test `{name}`")));
    }
    expect_none("docs/carried-fixes.md", &found);
    let all: Vec<_> = ROWS
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |n| format!("{letter}{n}")))
        .collect();
    assert_eq!(rows, all);
}

/// A test function in Rust or Python, a test of the JavaScript client, a script, or a make target.
fn test_exists(files: &[Source], name: &str) -> bool {
    if name.starts_with("scripts/") || name.starts_with(".ci/") {
        return workspace().join(name).exists();
    }
    if let Some(target) = name.strip_prefix("make ") {
        return targets(&read("Makefile")).contains(&target.to_owned());
    }
    let function = name.rsplit("::").next().unwrap_or_default();
    let folder = name.split("::").next().unwrap_or_default().to_owned() + "/";
    let marks =
        [format!("fn {function}("), format!("def {function}("), format!("async {function}(")];
    files
        .iter()
        .filter(|file| file.path.starts_with(&folder))
        .any(|file| marks.iter().any(|mark| file.text.contains(mark.as_str())))
}

/// Row N6: each example says how it is run, by its own name, and stays short.
#[test]
fn examples_say_how_they_are_run() {
    let files = all_files();
    let examples: Vec<_> =
        files.iter().filter(|f| f.path.starts_with("examples/examples/")).collect();
    for name in ["chat", "streaming", "batch", "custom_logging"] {
        assert!(examples.iter().any(|e| e.path.ends_with(&format!("/{name}.rs"))), "{name}");
    }
    for example in examples {
        let name = example.path.trim_start_matches("examples/examples/").trim_end_matches(".rs");
        assert!(example.text.contains(&format!("--example {name} -- ")), "{name}");
        assert!(example.text.lines().count() <= 50, "{name}");
    }
}

#[test]
fn the_pages_of_the_house_are_there() {
    for page in [
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "TODO.md",
        "AGENTS.md",
        "CLAUDE.md",
        "docs/STYLE.md",
    ] {
        assert!(!read(page).is_empty(), "{page}");
    }
    assert!(read("CLAUDE.md").contains("AGENTS.md"));
    assert!(read("LICENSE").starts_with("MIT License"));
    let readme = read("README.md");
    for mark in ["run", "test", "chat", "stream", "completion"] {
        assert!(readme.contains(&format!("<!-- ci: {mark} -->")), "the CI does not find `{mark}`");
    }
}
