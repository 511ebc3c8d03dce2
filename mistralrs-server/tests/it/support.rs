//! A server inside the test process, and a client that sees every byte.

use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;
use mistralrs_server::app::{AppState, ServerConfig};
use mistralrs_server::request_log::RequestLog;
use mistralrs_server::serve;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::sync::LazyLock;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longer than anything here takes; a hang is a failure, not a wait.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub const CHAT: &str = "/v1/chat/completions";
pub const COMPLETIONS: &str = "/v1/completions";
pub const RESPONSES: &str = "/v1/responses";
pub const MESSAGES: &str = "/v1/messages";

/// Asks a server, wherever it runs.
pub struct Client {
    pub address: SocketAddr,
}

/// A running server; ends when dropped.
pub struct Server {
    client: Client,
    /// The model as an MCP server.
    pub mcp: Client,
    pub app: Arc<AppState>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

/// The small model that tells stories, quietly.
pub fn stories() -> LoadOptions {
    LoadOptions {
        progress: Progress::silent(),
        warm_up: false,
        ..LoadOptions::new(mistralrs_testkit::stories260k().to_string_lossy())
    }
}

/// One server with default settings for all tests that need nothing else.
pub fn shared() -> &'static Server {
    static SERVER: LazyLock<Server> =
        LazyLock::new(|| Server::start(ServerConfig::default(), stories()));
    &SERVER
}

impl Server {
    /// Starts and waits until the model answers.
    pub fn start(config: ServerConfig, load: LoadOptions) -> Self {
        let server = Self::start_unready(config, load, None, Duration::from_secs(30));
        server.wait_until_ready();
        server
    }

    pub fn start_unready(
        config: ServerConfig,
        load: LoadOptions,
        log: Option<RequestLog>,
        drain: Duration,
    ) -> Self {
        let app = Arc::new(AppState::new(config, log));
        let (address_out, address_in) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&app);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let result = runtime.block_on(async {
                let any = "127.0.0.1:0".parse().unwrap();
                let (http, mcp) = (serve::bind(any).await?, serve::bind(any).await?);
                address_out.send((http.local_addr()?, mcp.local_addr()?)).unwrap();
                let doors = serve::Doors { http, mcp: Some(mcp) };
                let stop = async {
                    let _ = stopped.await;
                };
                serve::run(served, load, doors, drain, stop).await
            });
            runtime.shutdown_background();
            result
        });
        let (http, mcp) = address_in.recv_timeout(PATIENCE).unwrap();
        let (client, mcp) = (Client { address: http }, Client { address: mcp });
        Self { client, mcp, app, stop: Some(stop), thread: Some(thread) }
    }

    pub fn wait_until_ready(&self) {
        let start = Instant::now();
        while !self.app.model.is_ready() {
            assert!(!self.app.model.has_failed(), "the model could not be loaded");
            assert!(start.elapsed() < PATIENCE, "the model is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Tells the server to stop, without waiting.
    pub fn tell_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Stops and returns what `serve::run` returned.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.tell_to_stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Client {
    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    pub fn post_bytes(&self, path: &str, body: &[u8]) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.open(method, path, headers, body).read()
    }

    /// Sends a request and reads only the head of the answer.
    pub fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> OpenReply {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&head(method, path, headers, body.len())).unwrap();
        // A server that refuses by the head may close before the body is through.
        let _ = socket.write_all(body);
        OpenReply::read_head(socket)
    }

    /// A streamed answer, `[DONE]` checked and left out.
    pub fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let reply = self.post(path, body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(reply.headers["content-type"].starts_with("text/event-stream"));
        reply.events()
    }

    /// A streamed answer whose events have names, which have to be their types.
    pub fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let reply = self.post(path, body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(reply.headers["content-type"].starts_with("text/event-stream"));
        let told = reply.body.split("\n\n").filter(|told| told.starts_with("event: "));
        let read = |told: &str| {
            let (name, data) = told["event: ".len()..].split_once("\ndata: ").unwrap();
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(event["type"], name);
            event
        };
        told.map(read).collect()
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").body;
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    /// Waits until no request holds a block.
    pub fn wait_until_idle(&self) {
        let start = Instant::now();
        let busy = || {
            ["mistralrs_requests_running", "mistralrs_requests_waiting", "mistralrs_kv_blocks_used"]
                .iter()
                .any(|name| self.metric(name) != 0.0)
        };
        while busy() {
            assert!(start.elapsed() < PATIENCE, "still busy: {}", self.get("/metrics").body);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if length > 0 || method == "POST" {
        head += &format!("content-length: {length}\r\n");
    }
    (head + "\r\n").into_bytes()
}

/// An answer whose body has not been read.
pub struct OpenReply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    body: BufReader<TcpStream>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl OpenReply {
    fn read_head(socket: TcpStream) -> Self {
        let mut body = BufReader::new(socket);
        let mut line = String::new();
        body.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}"));
        let status = status.parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            body.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Self { status, headers, body }
    }

    fn is_chunked(&self) -> bool {
        self.headers.get("transfer-encoding").is_some_and(|value| value == "chunked")
    }

    /// The next chunk of a chunked body; empty at the end or when the connection broke.
    pub fn chunk(&mut self) -> Vec<u8> {
        let mut line = String::new();
        if self.body.read_line(&mut line).unwrap_or(0) == 0 {
            return Vec::new();
        }
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.body.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        chunk
    }

    /// The rest.
    pub fn read(mut self) -> Reply {
        let mut bytes = Vec::new();
        if self.is_chunked() {
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break;
                }
                bytes.extend(chunk);
            }
        } else {
            let length = self.headers.get("content-length").map(|length| length.parse().unwrap());
            bytes = vec![0; length.unwrap_or(0)];
            self.body.read_exact(&mut bytes).unwrap();
        }
        let body = String::from_utf8(bytes).unwrap();
        Reply { status: self.status, headers: self.headers, body }
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The body of a success.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// Checks status and OpenAI's error shape; returns the error.
    pub fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let error = self.json()["error"].clone();
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        assert!(error["type"].is_string(), "{error}");
        for key in ["param", "code"] {
            let value = error.get(key).unwrap_or_else(|| panic!("no {key} in {error}"));
            assert!(value.is_null() || value.is_string(), "{error}");
        }
        error
    }

    /// The events of a stream, comments left out, `[DONE]` checked and left out.
    pub fn events(&self) -> Vec<Value> {
        let mut data: Vec<&str> =
            self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{}", self.body);
        data.iter().map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

/// A greedy chat request.
pub fn chat_body(text: &str, max_tokens: usize) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, "temperature": 0})
}

/// A greedy completion request.
pub fn completion_body(prompt: impl Into<Value>, max_tokens: usize) -> Value {
    json!({"prompt": prompt.into(), "max_tokens": max_tokens, "temperature": 0})
}

/// `body` with some fields changed.
pub fn with(mut body: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// The text of a streamed chat answer.
pub fn streamed_text(events: &[Value], index: usize) -> String {
    let choices = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
    let own = choices.filter(|choice| choice["index"] == index);
    own.filter_map(|choice| choice["delta"]["content"].as_str().or(choice["text"].as_str()))
        .collect()
}
