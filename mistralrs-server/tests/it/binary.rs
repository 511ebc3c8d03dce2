//! The program itself: exit codes, start, SIGTERM, an idle server that sleeps.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mistralrs-server"));
    command
        .env_remove("RUST_LOG")
        .env_remove("MISTRALRS_API_KEY")
        .env_remove("KEEP_ALIVE_INTERVAL");
    command
}

fn run(words: &[&str]) -> Output {
    program().args(words).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn exit_codes() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Examples:"));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
    let nothing = run(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(told(&nothing).contains("no model was named"), "{}", told(&nothing));
    for words in [
        &["-m", "x", "--mcp-port", "5"][..],
        &["x-lora", "-m", "x", "-x", "y"],
        &["-m", "x", "--frob"],
    ] {
        assert_eq!(run(words).status.code(), Some(2), "{words:?}");
    }
    let missing = run(&["-m", "./no-such-model", "-p", "0"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        told(&missing).contains("no-such-model") && !told(&missing).contains("panicked"),
        "{}",
        told(&missing)
    );
}

/// A started program, killed if the test fails.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(words: &[&str]) -> Running {
    let model = mistralrs_testkit::stories260k();
    let mut command = program();
    command.arg("-m").arg(model).args(["--port", "0"]).args(words).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut port = None;
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "ended early: {seen}");
        seen += &line;
        if let Some((_, rest)) = line.split_once("listening on http://127.0.0.1:") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            port = digits.parse().ok();
        }
        if line.contains("try: curl") {
            return Running { child, log, port: port.unwrap() };
        }
    }
}

#[cfg(unix)]
#[test]
fn sigterm_ends_in_peace() {
    let mut running = start(&["--silent"]);
    let answer = ureq::get(format!("http://127.0.0.1:{}/health", running.port)).call().unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    let ended = Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    assert!(ended.success());
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    running.log.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("panicked"), "{rest}");
}

/// Must-show 6: processor time, not wall time, so a busy machine does not matter.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_server_sleeps() {
    let running = start(&["--silent"]);
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    std::thread::sleep(std::time::Duration::from_millis(500));
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_secs(4));
    let used = ticks() - before;
    assert!(used <= 2, "{used} hundredths of a second of processor time in 4 s");
}
