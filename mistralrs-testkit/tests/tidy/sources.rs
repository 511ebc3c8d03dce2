//! Finds and reads the project's files. Knows what is built or downloaded and leaves that out.

use mistralrs_testkit::workspace;
use std::path::Path;

/// The crates, by folder.
pub const CRATES: [&str; 7] = [
    "mistralrs-kernels",
    "mistralrs-quant",
    "mistralrs-vision",
    "mistralrs-core",
    "mistralrs-server",
    "mistralrs-testkit",
    "examples",
];

/// A text file with its path from the workspace root, `/` between the parts.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// The lines outside comments and outside in-file test modules, with their numbers.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = without_tests(&self.text).lines().enumerate();
        lines.map(|(index, line)| (index + 1, before_comment(line)))
    }

    /// Whether the file holds tests only.
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.starts_with("mistralrs-testkit/")
    }
}

/// The text up to the in-file test module.
pub fn without_tests(text: &str) -> &str {
    let end = text.match_indices("#[cfg(test)]").find(|(at, mark)| {
        let rest = text[at + mark.len()..].trim_start();
        rest.starts_with("mod ") && rest.lines().next().is_some_and(|line| line.ends_with('{'))
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// The line without its `//` comment (a `//` inside an address such as `http://` is none).
fn before_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Every Rust file of the crates' `src` folders and of the examples.
pub fn rust_sources() -> Vec<Source> {
    let all = all_files().into_iter();
    all.filter(|source| source.path.ends_with(".rs") && !source.path.contains("/tests/")).collect()
}

/// Every text file of the project.
pub fn all_files() -> Vec<Source> {
    const SKIPPED: [&str; 6] = ["target", ".git", "node_modules", "__pycache__", ".venv", ".idea"];
    let root = workspace();
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // In a second working tree of the repository `.git` is a file.
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                files.push(Source { path: relative(&root, &path), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 40, "found only {} files", files.len());
    files
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/")
}

/// A file of the workspace by its path from the root.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with the list, one per line, unless it is empty.
pub fn expect_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn comments_and_tests_are_not_code() {
    let text = "use a; // unsafe\nlet u = \"http://x\";\n#[cfg(test)]\nmod tests {\n unsafe\n}\n";
    let source = Source { path: "x/src/y.rs".into(), text: text.into() };
    let code: Vec<_> = source.code().map(|(_, line)| line).collect();
    assert_eq!(code, ["use a; ", "let u = \"http://x\";"]);
    let outside = Source { path: "x".into(), text: "#[cfg(test)]\nmod tests;\nfn f() {}\n".into() };
    assert_eq!(outside.code().count(), 3);
}
