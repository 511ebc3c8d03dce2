//! Who may know whom: between the crates, and between the rooms of mistralrs-core.
//!
//! The two tables are the rule; docs/ARCHITECTURE.md draws them.

use crate::manifests::dependencies;
use crate::sources::{CRATES, Source, expect_none, read, rust_sources};

/// crate → the crates of the workspace its sources may use.
const CRATE_EDGES: [(&str, &[&str]); 7] = [
    ("mistralrs-kernels", &[]),
    ("mistralrs-quant", &["mistralrs-kernels"]),
    ("mistralrs-vision", &["mistralrs-kernels"]),
    ("mistralrs-core", &["mistralrs-kernels", "mistralrs-quant", "mistralrs-vision"]),
    ("mistralrs-server", &["mistralrs-core"]),
    ("mistralrs-testkit", &[]),
    ("examples", &["mistralrs-core"]),
];

/// crate → outside crates it may not use, dev-dependencies excepted.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("mistralrs-kernels", &["candle-core", "tokio", "serde", "axum", "tracing"]),
    ("mistralrs-quant", &["tokio", "axum", "clap", "tokenizers"]),
    ("mistralrs-vision", &["tokio", "axum", "clap", "tokenizers", "ureq"]),
    ("mistralrs-core", &["axum", "tower", "tower-http", "clap", "anyhow", "utoipa", "ratatui"]),
    ("mistralrs-server", &["candle-core", "tokenizers", "safetensors"]),
    ("examples", &["candle-core", "axum"]),
];

/// room of core → the rooms it may use. `error` is open to all.
const ROOM_EDGES: [(&str, &[&str]); 17] = [
    ("error", &[]),
    ("slices", &[]),
    ("places", &[]),
    ("request", &["sampling"]),
    ("forward", &[]),
    // Hands out norms and the attention backend; the one pair of rooms that know each other.
    ("weights", &["attention", "places"]),
    ("kv_cache", &["slices", "forward", "places"]),
    ("attention", &["slices", "forward", "kv_cache", "places"]),
    ("layers", &["slices", "places", "forward", "kv_cache", "attention", "weights"]),
    ("models", &["places", "forward", "kv_cache", "attention", "layers", "weights"]),
    ("sentence", &["slices", "forward", "attention", "layers", "models", "weights"]),
    ("search", &["sentence"]),
    ("sampling", &[]),
    // `loading` for plain data only: which files, which options.
    ("text", &["request", "loading"]),
    ("output", &["request"]),
    ("agent", &["request"]),
    ("engine", &["slices", "forward", "kv_cache", "models", "sampling", "sentence", "request"]),
];

/// Rooms that tie the others together and see everything.
const RIM: [&str; 4] = ["lib", "llm", "embedder", "loading"];

#[test]
fn crates_know_only_what_stands_below_them() {
    let mut found = Vec::new();
    for (name, allowed) in CRATE_EDGES {
        for dependency in dependencies(name, "dependencies") {
            if dependency.starts_with("mistralrs-") && !allowed.contains(&dependency.as_str()) {
                found.push(format!("{name} → {dependency}"));
            }
        }
        for dependency in dependencies(name, "dev-dependencies") {
            if dependency.starts_with("mistralrs-")
                && dependency != "mistralrs-testkit"
                && !allowed.contains(&dependency.as_str())
            {
                found.push(format!("{name} → {dependency} (dev)"));
            }
        }
    }
    for (name, forbidden) in FORBIDDEN {
        let uses = dependencies(name, "dependencies").into_iter();
        found.extend(
            uses.filter(|d| forbidden.contains(&d.as_str())).map(|d| format!("{name} → {d}")),
        );
    }
    assert_eq!(CRATE_EDGES.map(|(name, _)| name), CRATES);
    expect_none("edges between crates that the architecture does not have", &found);
}

#[test]
fn rooms_of_core_know_only_what_stands_below_them() {
    let exports = reexports(&read("mistralrs-core/src/lib.rs"));
    let mut found = Vec::new();
    for source in rust_sources().iter().filter(|s| s.path.starts_with("mistralrs-core/src/")) {
        let room = room_of(&source.path);
        if RIM.contains(&room.as_str()) || source.is_test() {
            continue;
        }
        let Some(allowed) = allowed_of(&room) else {
            found.push(format!("{}: the room `{room}` is not in the table", source.path));
            continue;
        };
        for used in used_rooms(source) {
            let room_used =
                exports.iter().find(|(name, _)| *name == used).map_or(&used, |(_, room)| room);
            let first = room_used.split("::").next().unwrap_or_default();
            let own = first == room || first == "error";
            if !own && !allowed.contains(&first) {
                found.push(format!("{}: uses crate::{used}", source.path));
            }
        }
    }
    expect_none("edges between rooms of core that the architecture does not have", &found);
}

fn allowed_of(room: &str) -> Option<&'static [&'static str]> {
    ROOM_EDGES.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed)
}

fn room_of(path: &str) -> String {
    let inside = path.trim_start_matches("mistralrs-core/src/");
    inside.split(['/', '.']).next().unwrap_or_default().to_owned()
}

/// `pub use room::{A, B};` of lib.rs as (name, room).
fn reexports(lib: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for statement in lib.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let (room, names) = statement.split_once("::").unwrap_or((statement, ""));
        for name in names.trim_matches(['{', '}']).split(',') {
            let name = name.trim().rsplit("::").next().unwrap_or_default();
            found.push((name.to_owned(), room.to_owned()));
        }
    }
    found
}

/// What follows each `crate::` in the code: `kv_cache::KvCache` gives `kv_cache::KvCache`,
/// and a group gives each of its members.
fn used_rooms(source: &Source) -> Vec<String> {
    let code: String = source.code().map(|(_, line)| format!("{line}\n")).collect();
    let mut found = Vec::new();
    for (at, mark) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + mark.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(members(group));
        } else {
            found.push(path_prefix(rest));
        }
    }
    found
}

fn path_prefix(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    text[..end.unwrap_or(text.len())].trim_end_matches(':').to_owned()
}

/// The members of a brace group, each by its path, nested groups cut off.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut member, mut found) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(std::mem::take(&mut member)),
            _ if depth == 0 => member.push(c),
            _ => {}
        }
    }
    found.push(member);
    found.iter().map(|m| path_prefix(m.trim())).filter(|m| !m.is_empty()).collect()
}

#[test]
fn the_reader_of_use_lines_reads_groups() {
    let text = "use crate::{engine::{A, B}, text::X,};\nlet x = crate::llm::f(); $crate::no; // crate::no\n";
    let source = Source { path: "x".into(), text: text.into() };
    assert_eq!(used_rooms(&source), ["engine", "text::X", "llm::f"]);
    let exports = reexports("pub use error::{EngineError, LoadError};\npub use llm::Llm;");
    assert_eq!(exports[1], ("LoadError".to_owned(), "error".to_owned()));
    assert_eq!(exports[2], ("Llm".to_owned(), "llm".to_owned()));
}
