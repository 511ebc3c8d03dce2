//! Servers nobody here wrote. `make test-mcp` installs them and names their folder in MCP_SERVERS; without it the
//! test is ignored.

use super::{client, names};
use crate::support::{CHAT, Server, chat_body, streamed_text, with};
use axum::Router;
use axum::routing::get;
use mistralrs_core::LoadOptions;
use mistralrs_core::agent::{ToolHost, ToolOutput};
use mistralrs_server::app::ServerConfig;
use mistralrs_server::demo;
use mistralrs_server::mcp::{McpClient, McpConfig};
use mistralrs_testkit::workspace;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn folder() -> PathBuf {
    let folder = std::env::var_os("MCP_SERVERS");
    folder.unwrap_or_else(|| panic!("MCP_SERVERS names the folder of the servers")).into()
}

fn program(name: &str) -> String {
    folder().join("bin").join(name).to_string_lossy().into_owned()
}

async fn call(client: &McpClient, tool: &str, arguments: Value) -> ToolOutput {
    let Value::Object(arguments) = arguments else { panic!("{arguments}") };
    client.call(tool, arguments).await
}

/// A call whose result has to contain something.
async fn check(client: &McpClient, tool: &str, arguments: Value, expected: &str) {
    let output = call(client, tool, arguments).await;
    assert!(!output.is_error && output.text.contains(expected), "{tool}: {output:?}");
}

/// A repository with one commit.
fn repository(place: &Path) -> String {
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(words).current_dir(place);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    std::fs::create_dir(place).unwrap();
    std::fs::write(place.join("a.txt"), "a").unwrap();
    git(&["init", "--quiet"]);
    git(&["add", "a.txt"]);
    git(&["commit", "--quiet", "-m", "the first commit"]);
    place.to_string_lossy().into_owned()
}

/// A page to be fetched: nothing here goes to the network.
async fn page() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/page", get(|| async { "a page of plain text" }));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/page")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make test-mcp installs what it needs"]
async fn nine_servers_at_once() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    std::fs::create_dir(place.path().join("files")).unwrap();
    std::fs::write(place.path().join("files/note.txt"), "what the note says").unwrap();
    let repo = repository(&place.path().join("repo"));
    let local = |name: &str, args: Value, env: Value| json!({"command": program(name), "args": args, "env": env});
    let client = client(json!({
        "everything": local("mcp-server-everything", json!([]), json!({})),
        "filesystem": local("mcp-server-filesystem", json!([path("files")]), json!({})),
        "memory": local("mcp-server-memory", json!([]), json!({"MEMORY_FILE_PATH": path("memory.json")})),
        "thinking": local("mcp-server-sequential-thinking", json!([]), json!({})),
        "github": local("mcp-server-github", json!([]), json!({"GITHUB_PERSONAL_ACCESS_TOKEN": "none"})),
        "time": local("mcp-server-time", json!(["--local-timezone", "UTC"]), json!({})),
        "fetch": local("mcp-server-fetch", json!(["--ignore-robots-txt", "--allow-private-ips"]), json!({})),
        "git": local("mcp-server-git", json!(["--repository", repo]), json!({})),
        "sqlite": local("mcp-server-sqlite", json!(["--db-path", path("base.db")]), json!({})),
    }));
    // They start slowly, all at once on a small machine.
    let union = client.offers(Duration::from_secs(300)).await;
    for server in client.servers() {
        let state = server.state();
        assert!(
            state.error.is_none() && !state.tools.is_empty(),
            "{}: {:?}",
            server.spec.id,
            state.error
        );
    }
    let sum: usize = client.servers().iter().map(|server| server.state().tools.len()).sum();
    assert_eq!(union.len(), sum, "every tool has a name of its own");
    assert!(union.iter().any(|offer| offer.name == "search_repositories"));

    check(&client, "echo", json!({"message": "hello"}), "hello").await;
    let image = call(&client, "get-tiny-image", json!({})).await;
    assert!(image.text.contains("[Image: image/png]") && image.images.len() == 1, "{image:?}");
    check(&client, "read_text_file", json!({"path": path("files/note.txt")}), "what the note says")
        .await;
    let outside = call(&client, "read_text_file", json!({"path": "/etc/hostname"})).await;
    assert!(outside.is_error, "{outside:?}");
    let entity = json!({"name": "Ada", "entityType": "person", "observations": ["likes engines"]});
    check(&client, "create_entities", json!({"entities": [entity]}), "Ada").await;
    check(&client, "search_nodes", json!({"query": "engines"}), "Ada").await;
    let thought = json!({"thought": "one", "nextThoughtNeeded": false, "thoughtNumber": 1, "totalThoughts": 1});
    check(&client, "sequentialthinking", thought, "thoughtNumber").await;
    let noon = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    check(&client, "convert_time", noon, "21:00").await;
    check(&client, "fetch", json!({"url": page().await}), "a page of plain text").await;
    check(&client, "git_log", json!({"repo_path": repo}), "the first commit").await;
    check(&client, "create_table", json!({"query": "CREATE TABLE t (a INTEGER)"}), "").await;
    check(&client, "write_query", json!({"query": "INSERT INTO t VALUES (42)"}), "1").await;
    check(&client, "read_query", json!({"query": "SELECT a FROM t"}), "42").await;
    client.shutdown().await;
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// server-everything on a free port, once it can be reached.
fn everything(transport: &str) -> (Running, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program("mcp-server-everything"));
    command
        .arg(transport)
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = Running(command.spawn().unwrap());
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(120), "{transport} did not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    (child, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make test-mcp installs what it needs"]
async fn everything_over_http_and_events() {
    for (transport, route) in [("streamableHttp", "mcp"), ("sse", "sse")] {
        let (_child, port) = everything(transport);
        let client =
            client(json!({ "remote": {"url": format!("http://localhost:{port}/{route}")} }));
        let tools = names(&client).await;
        assert!(
            tools.contains(&"echo".to_owned()),
            "{transport}: {tools:?} {:?}",
            client.servers()[0].state().error
        );
        check(&client, "echo", json!({"message": transport}), transport).await;
        check(&client, "get-sum", json!({"a": 2, "b": 3}), "5").await;
        client.shutdown().await;
    }
}

/// Something that only a tool can know.
struct Question {
    /// The server whose tool is offered.
    server: &'static str,
    text: &'static str,
    tool: &'static str,
    /// What the answer has to contain.
    expected: String,
}

/// The day it is in a zone, as that server's tool itself says.
async fn today(config: &Value, zone: &str) -> String {
    let client = client(config["mcpServers"].clone());
    let now = call(&client, "get_current_time", json!({ "timezone": zone })).await;
    client.shutdown().await;
    let now: Value = serde_json::from_str(&now.text).unwrap();
    now["datetime"].as_str().unwrap().split('T').next().unwrap().to_owned()
}

/// Asked over HTTP, whole and streamed.
fn over_http(server: &Server, question: &Question) {
    let body = with(chat_body(question.text, 100), json!({"mcp": {"servers": [question.server]}}));
    let answer = server.post(CHAT, &body).ok();
    let choice = &answer["choices"][0];
    assert_eq!(choice["tool_runs"][0]["name"], question.tool, "{answer}");
    let content = choice["message"]["content"].as_str().unwrap();
    assert!(content.contains(&question.expected), "{answer}");
    let events = server.stream(CHAT, &with(body, json!({"stream": true})));
    let ran = events.iter().any(|event| event["tool_progress"]["status"] == "finished");
    assert!(ran && streamed_text(&events, 0).contains(&question.expected), "{events:?}");
}

/// Asked with the official Python client, whole and streamed.
fn with_python(server: &Server, question: &Question) {
    let mut command = Command::new(folder().join("python/bin/python"));
    command.arg(workspace().join("tests/mcp/ask.py"));
    command.args([&format!("http://{}/v1", server.address), question.server, question.text]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let [whole, streamed]: [String; 2] = serde_json::from_slice(&output.stdout).unwrap();
    assert!(whole.contains(&question.expected), "{whole}");
    assert!(streamed.contains(&question.expected), "{streamed}");
}

/// Asked in the terminal chat, which asks back before it runs the tool.
fn in_the_terminal(config: &Value, model: Option<&str>, question: &Question) {
    let server = &config["mcpServers"][question.server];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({"mcpServers": {"one": server}}).to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mistralrs-server"));
    command.args(["-i", "--temperature", "0", "--mcp-config"]).arg(file.path());
    command.args(model.into_iter().flat_map(|model| ["-m", model]));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut chat = command.spawn().unwrap();
    let mut input = chat.stdin.take().unwrap();
    writeln!(input, "{}\ny", question.text).unwrap();
    drop(input);
    let output = chat.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(question.tool), "{said}");
    // The result is shown, and said again in the answer.
    assert!(said.matches(&question.expected).count() >= 2, "{said}");
}

/// The demo model, or the one that TOOL_MODEL names, reads a file, recalls a memory and looks at the clock: over HTTP,
/// with OpenAI's Python client, and in the terminal. Each question offers the tool of one server and
/// speaks in its words: the demo model is too small for other ones.
#[test]
#[ignore = "make test-mcp installs what it needs"]
fn a_model_uses_real_tools() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    std::fs::write(place.path().join("note.txt"), "The secret word is marzipan.").unwrap();
    let memory = json!({"type": "entity", "name": "Ada", "entityType": "person", "observations": ["lives in Lisbon"]});
    std::fs::write(place.path().join("memory.json"), memory.to_string()).unwrap();
    let local = |name: &str, args: Value, tools: Value, env: Value| json!({"command": program(name), "args": args, "env": env, "allowed_tools": tools, "cwd": path("")});
    let file = json!({"mcpServers": {
        "filesystem": local("mcp-server-filesystem", json!([path("")]), json!(["read_text_file"]), json!({})),
        "memory": local("mcp-server-memory", json!([]), json!(["search_nodes"]), json!({"MEMORY_FILE_PATH": path("memory.json")})),
        "time": local("mcp-server-time", json!(["--local-timezone", "UTC"]), json!(["get_current_time"]), json!({})),
    }});
    let mcp = Some(McpConfig::parse(&file.to_string(), &|_| None).unwrap());
    let model = std::env::var("TOOL_MODEL").ok();
    let load = model.as_deref().map_or_else(demo::load_options, LoadOptions::new);
    let server = Server::start(ServerConfig { mcp, ..ServerConfig::default() }, load);
    let today = tokio::runtime::Runtime::new().unwrap().block_on(today(&file, "Asia/Tokyo"));
    let question = |server, text, tool, expected: &str| Question {
        server,
        text,
        tool,
        expected: expected.to_owned(),
    };
    let questions = [
        question(
            "filesystem",
            "Read the text file note.txt and tell me the secret word.",
            "read_text_file",
            "marzipan",
        ),
        question(
            "memory",
            "Search the nodes for Ada: where does she live?",
            "search_nodes",
            "Lisbon",
        ),
        question("time", "What is the current time in Asia/Tokyo?", "get_current_time", &today),
    ];
    for question in &questions {
        over_http(&server, question);
        with_python(&server, question);
        in_the_terminal(&file, model.as_deref(), question);
    }
}
