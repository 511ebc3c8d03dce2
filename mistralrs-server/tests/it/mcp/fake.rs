//! MCP servers that misbehave on purpose. As a child process the test program starts itself again with one
//! ignored test, which is the server; its switches are environment variables. Written against the protocol's
//! text, without the SDK.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The entry of a configuration for a child with these switches.
pub fn entry(switches: &[(&str, &str)]) -> Value {
    let mut env: Map<String, Value> =
        switches.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    env.insert("FAKE_MCP".to_owned(), "1".into());
    json!({
        "command": std::env::current_exe().unwrap(),
        "args": ["mcp::fake::speak", "--exact", "--ignored", "--nocapture", "--test-threads=1"],
        "env": env,
    })
}

/// What all calls to one server share.
#[derive(Default)]
pub struct Fake {
    running: AtomicUsize,
    most: AtomicUsize,
    cancelled: AtomicUsize,
    /// Arguments of the calls to `pair` that wait for their partner.
    pairs: Mutex<usize>,
    paired: Condvar,
    extra: Mutex<bool>,
    page_size: usize,
}

pub const TOOLS: [&str; 12] = [
    "echo",
    "fail",
    "refuse",
    "hang",
    "die",
    "huge",
    "image",
    "slow",
    "pair",
    "cancelled",
    "grow",
    "env",
];

impl Fake {
    pub fn new(page_size: usize) -> Self {
        Self { page_size, ..Self::default() }
    }

    /// The answer to a message; `None` for notifications and for what is never answered. May take a while.
    pub fn answer(&self, message: &Value) -> Option<Value> {
        let id = message.get("id").cloned();
        let params = &message["params"];
        let result = match message["method"].as_str()? {
            "initialize" => {
                assert_eq!(message["jsonrpc"], "2.0");
                json!({
                    "protocolVersion": "2025-03-26",
                    "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": "fake", "version": "1"},
                })
            }
            "tools/list" => self.tools(params["cursor"].as_str()),
            "tools/call" => {
                assert!(params["arguments"].is_object());
                match self.call(params["name"].as_str()?, &params["arguments"])? {
                    Ok(result) => result,
                    Err(error) => {
                        return Some(json!({"jsonrpc": "2.0", "id": id?, "error": error}));
                    }
                }
            }
            "ping" => json!({}),
            "notifications/cancelled" => {
                self.cancelled.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            _ => return None,
        };
        // The id last, as some servers have it.
        Some(json!({"result": result, "jsonrpc": "2.0", "id": id?}))
    }

    fn tools(&self, cursor: Option<&str>) -> Value {
        let small = std::env::var_os("FAKE_SMALL").is_some();
        let schema = json!({
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": false,
            "$defs": {"unused": {"type": "null"}},
        });
        let schema = if small { json!({"type": "object"}) } else { schema };
        let mut names = TOOLS.to_vec();
        if *self.extra.lock().unwrap() {
            names.push("grown");
        }
        let from: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let size = if self.page_size == 0 { names.len() } else { self.page_size };
        let page: Vec<_> = names
            .iter()
            .skip(from)
            .take(size)
            .map(|name| json!({"name": name, "description": format!("does {name}"), "inputSchema": schema}))
            .collect();
        let mut result = json!({ "tools": page });
        if from + size < names.len() {
            result["nextCursor"] = (from + size).to_string().into();
        }
        result
    }

    fn call(&self, name: &str, arguments: &Value) -> Option<Result<Value, Value>> {
        let text = |text: String| json!({"content": [{"type": "text", "text": text}]});
        let given = arguments["text"].as_str().unwrap_or_default();
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let result = match name {
            "echo" => text(given.to_owned()),
            "fail" => {
                json!({"content": [{"type": "text", "text": "it did not work"}], "isError": true})
            }
            "refuse" => {
                self.running.fetch_sub(1, Ordering::SeqCst);
                return Some(Err(json!({"code": -32602, "message": "no such thing"})));
            }
            "hang" => return None,
            "die" => std::process::exit(3),
            "huge" => text("x".repeat(given.parse().unwrap())),
            "image" => json!({"content": [
                {"type": "image", "data": "AAAA", "mimeType": "image/png"},
                {"type": "resource", "resource": {"uri": "file:///a.txt", "mimeType": "text/plain", "text": "inside"}},
            ]}),
            "slow" => {
                std::thread::sleep(Duration::from_millis(30));
                text(self.most.load(Ordering::SeqCst).to_string())
            }
            "pair" => {
                self.wait_for_partner(given);
                text(given.to_owned())
            }
            "cancelled" => text(self.cancelled.load(Ordering::SeqCst).to_string()),
            "grow" => {
                *self.extra.lock().unwrap() = true;
                text("grown".to_owned())
            }
            "env" => text(std::env::var(given).unwrap_or_else(|_| "unset".to_owned())),
            _ => text("?".to_owned()),
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        Some(Ok(result))
    }

    /// The call with the text `first` is answered after the other one.
    fn wait_for_partner(&self, text: &str) {
        let mut seen = self.pairs.lock().unwrap();
        *seen += 1;
        self.paired.notify_all();
        while *seen < 2 {
            seen = self.paired.wait(seen).unwrap();
        }
        drop(seen);
        if text == "first" {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn switch(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn write_line(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The server itself. Does nothing when it is run as a test by accident.
#[test]
#[ignore = "the child process of other tests"]
fn speak() {
    if switch("FAKE_MCP").is_none() {
        return;
    }
    // The test harness has begun a line.
    write_line("");
    if switch("FAKE_EXIT").is_some() {
        eprintln!("the last words");
        std::process::exit(7);
    }
    if let Some(bytes) = switch("FAKE_STDERR") {
        let line = format!("{}\n", "e".repeat(999));
        for _ in 0..bytes.parse::<usize>().unwrap() / line.len() {
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
        std::io::stderr().write_all("e".repeat(100_000).as_bytes()).unwrap();
    }
    if let Some(file) = switch("FAKE_FAMILY") {
        #[expect(clippy::zombie_processes, reason = "that nobody looks after it is the point")]
        let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(file, format!("{} {}", std::process::id(), child.id())).unwrap();
    }
    let noise = switch("FAKE_NOISE").is_some();
    let page_size = switch("FAKE_PAGE").map_or(0, |size| size.parse().unwrap());
    let fake = Arc::new(Fake::new(page_size));
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        if switch("FAKE_SILENT").is_some() {
            continue;
        }
        let fake = Arc::clone(&fake);
        std::thread::spawn(move || {
            let answer = fake.answer(&message);
            if noise {
                write_line("a line of the program's own log");
                write_line(r#"{"level": "info", "msg": "a log line in JSON"}"#);
                write_line(
                    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hello"}}"#,
                );
                write_line(r#"{"jsonrpc":"2.0","method":"roots/list","id":99}"#);
            }
            if message["params"]["name"] == "grow" {
                write_line(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
            }
            if let Some(answer) = answer {
                write_line(&answer.to_string());
            }
        });
    }
    while switch("FAKE_STUBBORN").is_some() {
        std::thread::sleep(Duration::from_secs(1));
    }
    std::process::exit(0);
}

/// Whether `name` is among the fake's tools: keeps the list and the calls together.
#[test]
fn every_tool_of_the_fake_is_listed_once() {
    assert_eq!(BTreeSet::from(TOOLS).len(), TOOLS.len());
    let listed = Fake::new(5).tools(Some("10"));
    assert_eq!((listed["tools"].as_array().unwrap().len(), listed.get("nextCursor")), (2, None));
}
