//! The `bench` subcommand as a program: what it writes, and what it refuses.

use serde_json::Value;
use std::process::{Command, Output};

fn bench(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mistralrs-server"));
    command.env_remove("RUST_LOG").arg("bench").args(words).output().unwrap()
}

/// Row M6: a tiny model, everything that can be measured, written as JSON.
#[test]
fn everything_is_measured_and_held_against_the_machine() {
    let model = mistralrs_testkit::stories260k();
    let model = model.to_str().unwrap();
    let asked = "-p 16 -g 4 -d 0,8 -c 1,3 -r 2 --serve 2 --serve-tokens 24,6 --json -";
    let words: Vec<_> = ["-m", model].into_iter().chain(asked.split(' ')).collect();
    let output = bench(&words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 8);
    for row in report["rows"].as_array().unwrap() {
        let median = row["tokens_per_second"]["median"].as_f64().unwrap();
        let share = row["roofline"]["share"].as_f64().unwrap();
        let most = row["roofline"]["tokens_per_second"].as_f64().unwrap();
        assert!(median > 0.0 && share > 0.0, "{row}");
        assert!((share - median / most).abs() < 1e-9, "{row}");
    }
    assert!(report["machine"]["f32_gflop"].as_f64().unwrap() > 0.0);
    let served = &report["served"][0];
    assert_eq!((&served["requests"], &served["failed"]), (&4.into(), &0.into()));
    let (load, first) = (&report["load_s"], &report["start_to_first_token_s"]);
    assert!(load.as_f64().unwrap() < first.as_f64().unwrap());
    if cfg!(target_os = "linux") {
        assert!(report["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_loaded() {
    for (words, reason) in [
        (&["-m", "nowhere", "-p", "0", "-g", "0"][..], "nothing to measure"),
        (&["-m", "nowhere", "--serve", "2", "--url", "http://127.0.0.1:1"], "leave -m out"),
        (&["--url", "http://127.0.0.1:1"], "--serve"),
        (&["--url", "http://127.0.0.1:1", "--serve", "1", "-p", "9"], "cannot be used with"),
        (&["--serve", "0"], "1 to 512 streams"),
    ] {
        let output = bench(words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {told}");
        assert!(told.contains(reason), "{words:?}: {told}");
    }
    let nobody = bench(&["--url", "http://127.0.0.1:1", "--serve", "1"]);
    assert_eq!(nobody.status.code(), Some(1), "nobody answers there");
}
