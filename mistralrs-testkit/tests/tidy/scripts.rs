//! Rows M5 and M11: the launcher and the commit hook, run. Skips where there is no bash or git.

use mistralrs_testkit::{fixture, workspace};
use std::path::Path;
use std::process::{Command, Output};

fn run(program: &str, folder: &Path, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    if output.is_err() {
        eprintln!("skipped: no {program}");
    }
    output.ok()
}

fn launch(arguments: &[&str]) -> Option<(bool, String)> {
    let all = [&["scripts/launch_qwen.sh"], arguments].concat();
    let output = run("bash", &workspace(), &all)?;
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn the_launcher_names_what_is_missing() {
    let Some((success, text)) = launch(&["--binary", "/nowhere/server"]) else {
        return;
    };
    assert!(!success && text.contains("[ERROR] no server at /nowhere/server"), "{text}");
    let (success, text) = launch(&["--binary", "/bin/echo", "--model", "/nowhere/m.gguf"]).unwrap();
    assert!(!success && text.contains("[ERROR] no model at /nowhere/m.gguf"), "{text}");
    let (success, text) = launch(&["--binary", "/bin/echo", "--port"]).unwrap();
    assert!(!success && text.contains("[ERROR] --port needs a value"), "{text}");
}

/// `echo` in the server's place shows the call: folder and file each behind its own option.
#[test]
fn the_launcher_passes_folder_and_file() {
    let model = fixture("stories260K-q8_0.gguf");
    let arguments = ["--binary", "/bin/echo", "--port", "4321", "--model", model.to_str().unwrap()];
    let Some((success, text)) = launch(&arguments) else {
        return;
    };
    let folder = model.parent().unwrap().display();
    assert!(success);
    assert_eq!(text.trim(), format!("--port 4321 gguf -m {folder} -f stories260K-q8_0.gguf"));
}

#[test]
fn the_commit_hook_finds_trailing_space_and_changes_nothing() {
    let hook = workspace().join(".githooks/pre-commit");
    let folder = tempfile::tempdir().unwrap();
    let Some(_) = run("git", folder.path(), &["init", "-q"]) else {
        return;
    };
    std::fs::write(
        folder.path().join("Cargo.toml"),
        "[package]\nname = \"x\"\nversion = \"0.1.0\"\n",
    )
    .unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/lib.rs"), "//! x\n").unwrap();
    run("git", folder.path(), &["add", "."]).unwrap();
    for _ in 0..2 {
        let clean = run(hook.to_str().unwrap(), folder.path(), &[]).unwrap();
        assert!(clean.status.success(), "{}", String::from_utf8_lossy(&clean.stderr));
    }
    std::fs::write(folder.path().join("a.txt"), "space \n").unwrap();
    run("git", folder.path(), &["add", "."]).unwrap();
    let dirty = run(hook.to_str().unwrap(), folder.path(), &[]).unwrap();
    assert!(!dirty.status.success());
    assert_eq!(std::fs::read_to_string(folder.path().join("a.txt")).unwrap(), "space \n");
}
