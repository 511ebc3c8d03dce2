//! Rules about the `Cargo.toml`s, the lock file and the toolchain file.

use crate::sources::{CRATES, expect_none, read};
use toml::Table;

fn manifest(folder: &str) -> Table {
    read(&format!("{folder}/Cargo.toml")).parse().unwrap()
}

/// The names in one dependency table of a crate.
pub fn dependencies(folder: &str, table: &str) -> Vec<String> {
    let manifest = manifest(folder);
    let entries = manifest.get(table).and_then(|t| t.as_table());
    entries.map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn members_take_versions_and_lints_from_the_workspace() {
    let mut found = Vec::new();
    for folder in CRATES {
        let manifest = manifest(folder);
        if manifest["lints"]["workspace"].as_bool() != Some(true) {
            found.push(format!("{folder}: no `[lints] workspace = true`"));
        }
        for table in ["dependencies", "dev-dependencies"] {
            let Some(entries) = manifest.get(table).and_then(|t| t.as_table()) else {
                continue;
            };
            for (name, value) in entries {
                if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    found.push(format!("{folder}: `{name}` is not from the workspace's table"));
                }
            }
        }
    }
    let root: Table = read("Cargo.toml").parse().unwrap();
    let members = root["workspace"]["members"].as_array().unwrap();
    assert_eq!(members.len(), CRATES.len(), "the tidy test does not know every crate");
    expect_none("one dependency table, one lint table", &found);
}

/// Row M7: a single candle, from the registry. Row A8: the standard library's lazy cells.
#[test]
fn one_candle_no_git_no_once_cell() {
    let lock: Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let named = |name: &str| packages.iter().filter(|p| p["name"].as_str() == Some(name)).count();
    assert_eq!(named("candle-core"), 1);
    assert_eq!(named("tokenizers"), 1);
    let git: Vec<_> = packages
        .iter()
        .filter(|p| p.get("source").is_some_and(|s| s.as_str().unwrap().starts_with("git+")))
        .map(|p| p["name"].to_string())
        .collect();
    expect_none("git dependencies", &git);
    for folder in CRATES {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            assert!(!dependencies(folder, table).contains(&"once_cell".to_owned()), "{folder}");
        }
    }
}

/// Rows A9, L1 and D2: nothing prints and nothing panics, by lint.
#[test]
fn the_lint_table_holds_the_rules() {
    let root: Table = read("Cargo.toml").parse().unwrap();
    let lints = &root["workspace"]["lints"]["clippy"];
    for lint in [
        "unwrap_used",
        "expect_used",
        "panic",
        "todo",
        "unimplemented",
        "unreachable",
        "dbg_macro",
        "print_stdout",
        "print_stderr",
        "too_many_lines",
        "too_many_arguments",
        "undocumented_unsafe_blocks",
        "allow_attributes_without_reason",
    ] {
        let level = lints.get(lint).and_then(toml::Value::as_str);
        assert!(matches!(level, Some("warn" | "deny")), "clippy::{lint} is {level:?}");
    }
    assert!(read("Makefile").contains("clippy --workspace --all-targets -- -D warnings"));
}

/// Row M10: one toolchain, named once for rustup and once for cargo.
#[test]
fn the_toolchain_and_the_minimum_version_agree() {
    let toolchain: Table = read("rust-toolchain.toml").parse().unwrap();
    let root: Table = read("Cargo.toml").parse().unwrap();
    let minimum = root["workspace"]["package"]["rust-version"].as_str().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert!(channel.starts_with(minimum), "{channel} is not {minimum}");
}

/// Row M3: a binary built here starts on the machine next door, and no path of one machine is
/// forced on the others.
#[test]
fn the_cargo_config_forces_nothing() {
    let config: Table = read(".cargo/config.toml").parse().unwrap();
    for key in ["build", "target"] {
        let flags = config.get(key).map(ToString::to_string).unwrap_or_default();
        assert!(!flags.contains("target-cpu"), "{key}: {flags}");
    }
    if let Some(env) = config.get("env").and_then(|e| e.as_table()) {
        for (name, value) in env {
            let forced = value.get("force").and_then(toml::Value::as_bool);
            assert_ne!(forced, Some(true), "{name} overrides the user's environment");
        }
    }
}
