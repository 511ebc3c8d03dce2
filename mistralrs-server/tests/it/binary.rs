//! The program itself: exit codes, start, SIGTERM, an idle server that sleeps.

use crate::support::Client;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

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
    let nothing = run(&["plain"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(told(&nothing).contains("needs a model"), "{}", told(&nothing));
    for words in [
        &["-m", "x", "--enable-search"][..],
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
pub struct Running {
    child: Child,
    /// Reads on, so that the program never waits for its log; gives what was said after the start.
    log: Option<JoinHandle<String>>,
    pub client: Client,
}

impl Running {
    /// Resident memory in kB, where the system tells.
    pub fn resident_kb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the program with the small model and waits until it is ready.
pub fn start(words: &[&str]) -> Running {
    let model = mistralrs_testkit::stories260k();
    let mut command = program();
    command.arg("-m").arg(model).args(["--port", "0"]).args(words).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut running = Running { child, log: None, client: Client { address } };
    let mut seen = String::new();
    while !seen.contains("try: curl") {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "ended early: {seen}");
        if let Some((_, rest)) = line.split_once("listening on http://127.0.0.1:") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            running.client.address.set_port(digits.parse().unwrap());
        }
        seen += &line;
    }
    running.log = Some(std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = log.read_to_string(&mut rest);
        rest
    }));
    running
}

#[cfg(unix)]
#[test]
fn sigterm_ends_in_peace() {
    let mut running = start(&["--silent"]);
    assert_eq!(running.client.get("/health").status, 200);
    let ended = Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    assert!(ended.success());
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    let rest = running.log.take().unwrap().join().unwrap();
    assert!(!rest.contains("panicked"), "{rest}");
    assert!(!rest.contains("waiting"), "there was nobody to wait for: {rest}");
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
