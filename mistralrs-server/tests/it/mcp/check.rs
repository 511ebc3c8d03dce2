//! `mcp check`: the statuses of row K3, the table, the JSON, the exit codes.

use super::fake::entry;
use super::with;
use serde_json::{Value, json};
use std::process::{Command, Output};

fn check(config: &Value, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_mistralrs-server"));
    program
        .args(["mcp", "check"])
        .arg(&file)
        .args(words)
        .env_remove("MCP_CONFIG_PATH")
        .output()
        .unwrap()
}

fn told(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn servers() -> Value {
    let quick =
        |switches: &[(&str, &str)]| with(entry(switches), json!({"connect_timeout_secs": 2}));
    let folder = std::env::temp_dir();
    json!({"mcpServers": {
        "good": entry(&[]),
        "crashes": quick(&[("FAKE_EXIT", "1")]),
        "missing": {"command": "no-such-program-anywhere"},
        "folder": {"command": folder},
        "silent": quick(&[("FAKE_SILENT", "1")]),
        "unset": {"command": "x", "args": ["${NOT_SET_ANYWHERE}"]},
        "off": {"command": "x", "disabled": true},
    }})
}

#[test]
fn every_server_gets_its_status_and_a_failure_its_exit_code() {
    let output = check(&servers(), &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<_> = report["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| (server["id"].as_str().unwrap(), server["status"].as_str().unwrap()))
        .collect();
    let expected = [
        ("good", "running"),
        ("crashes", "crashed"),
        ("missing", "command_not_found"),
        ("folder", "failed_to_start"),
        ("silent", "timed_out"),
        ("unset", "error"),
        ("off", "disabled"),
    ];
    assert_eq!(found, expected);
    assert_eq!(report["servers"][0]["tools"][0], "echo");
    assert!(report["servers"][1]["error"].as_str().unwrap().contains("the last words"));
}

#[test]
fn one_good_server_is_a_success_with_a_table() {
    let output = check(&servers(), &["--server", "good", "--verbose"]);
    let table = told(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}{}", told(&output.stderr));
    assert!(
        table.contains("running") && table.contains("fake 1") && table.contains("does echo"),
        "{table}"
    );
    assert!(table.ends_with("1 of 1 servers are running, with 12 tools\n"), "{table}");
}

#[test]
fn a_bad_configuration_is_told_before_anything_starts() {
    let twice = json!({"servers": [
        {"id": "a", "source": {"type": "Process", "command": "x"}},
        {"id": "a", "source": {"type": "Process", "command": "x"}},
    ]});
    let output = check(&twice, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        told(&output.stderr).contains("two servers have the id `a`"),
        "{}",
        told(&output.stderr)
    );
    let output = check(&servers(), &["--server", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output.stderr).contains("no server `nobody`"), "{}", told(&output.stderr));
}
