//! Rows M1, M2 and M4: the Makefile on three platforms, by `make -n`. Skips where there is no make.

use crate::sources::read;
use mistralrs_testkit::workspace;
use std::process::Command;

/// What `make ARGS` prints and whether it succeeds. The platform and the CUDA compiler are faked by variables
/// that the Makefile would otherwise find out by `uname`, `$OS` and a look at the PATH.
fn make(arguments: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new("make");
    command.arg("--no-print-directory").args(arguments).current_dir(workspace());
    for name in ["OS", "NVCC_CCBIN", "CUDA_HOME", "CUDA_PATH", "MAKEFLAGS", "MAKELEVEL"] {
        command.env_remove(name);
    }
    let Ok(output) = command.output() else {
        eprintln!("skipped: no make");
        return None;
    };
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Some((output.status.success(), text))
}

#[test]
fn each_platform_gets_its_features() {
    for (platform, wanted) in [
        (["UNAME=Linux", "NVCC="], ""),
        (["UNAME=Linux", "NVCC=/opt/cuda/bin/nvcc"], "--features mistralrs-server/cuda"),
        (["UNAME=MINGW64_NT", "NVCC="], ""),
        (["OS=Windows_NT", "NVCC=nvcc.exe"], "--features mistralrs-server/cuda"),
        (["UNAME=Darwin", "NVCC="], "--features mistralrs-server/metal"),
    ] {
        let Some((success, text)) = make(&["-n", "build", platform[0], platform[1]]) else {
            return;
        };
        assert!(success, "{platform:?}: {text}");
        assert!(text.contains("cargo build"), "{platform:?}: {text}");
        assert!(text.contains(wanted), "{platform:?}: {text}");
        assert_eq!(text.contains("--features"), !wanted.is_empty(), "{platform:?}: {text}");
        assert!(!text.contains("--all-features"), "{platform:?}: {text}");
    }
}

#[test]
fn the_host_compiler_of_nvcc_is_named_on_windows_only() {
    let Some((_, linux)) = make(&["print-env", "UNAME=Linux"]) else {
        return;
    };
    assert!(!linux.contains("NVCC_CCBIN"), "{linux}");
    let (_, windows) = make(&["print-env", "OS=Windows_NT"]).unwrap();
    assert!(windows.contains("NVCC_CCBIN=") && windows.contains("cl"), "{windows}");
    let (_, chosen) = make(&["print-env", "OS=Windows_NT", "NVCC_CCBIN=clang-cl"]).unwrap();
    assert!(chosen.contains("NVCC_CCBIN=clang-cl"), "{chosen}");
}

#[test]
fn help_lists_every_target() {
    let Some((success, help)) = make(&["help"]) else {
        return;
    };
    assert!(success);
    let targets = targets(&read("Makefile"));
    for name in [
        "help",
        "check",
        "lint",
        "lint-fix",
        "fmt",
        "fmt-check",
        "test",
        "test-core",
        "test-server",
        "test-quant",
        "test-vision",
        "test-all",
        "test-clients",
        "build",
        "build-server",
        "build-cuda-full",
        "build-metal",
        "run-server",
        "run-tui",
        "run-with-mcp",
        "bench",
        "ci",
        "clean",
        "check-env",
    ] {
        assert!(targets.contains(&name.to_owned()), "no target `{name}`");
    }
    for name in targets {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "{name}:\n{help}"
        );
    }
}

#[test]
fn builds_for_absent_devices_fail() {
    let Some((success, text)) = make(&["build-metal", "UNAME=Linux"]) else {
        return;
    };
    assert!(!success && text.contains("macOS"), "{text}");
    let (success, text) = make(&["build-cuda-full", "UNAME=Linux", "NVCC="]).unwrap();
    assert!(!success && text.contains("nvcc"), "{text}");
}

/// The names that stand before a colon at the start of a line.
pub fn targets(makefile: &str) -> Vec<String> {
    let rules = makefile.lines().filter(|line| !line.starts_with(['\t', '#', ' ', '.']));
    rules
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, rest)| !rest.starts_with('=') && !name.contains(['$', ' ', '=']))
        .map(|(name, _)| name.to_owned())
        .collect()
}
