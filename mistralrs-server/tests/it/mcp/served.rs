//! The HTTP server with MCP servers behind it, and as an MCP server itself.

use super::fake::entry;
use super::{client, names, with as with_keys};
use crate::support::{
    CHAT, COMPLETIONS, Client, MESSAGES, RESPONSES, Server, chat_body, completion_body, shared,
    stories, streamed_text, with,
};
use mistralrs_core::agent::ToolHost;
use mistralrs_server::app::ServerConfig;
use mistralrs_server::auth::ApiKeys;
use mistralrs_server::mcp::McpConfig;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn server_with(servers: Value) -> Server {
    let file = json!({ "mcpServers": servers }).to_string();
    let mcp = Some(McpConfig::parse(&file, &|_| None).unwrap());
    Server::start(ServerConfig { mcp, ..ServerConfig::default() }, stories())
}

/// One small tool, a few large ones that no chat asks for by accident, and a server that is not there.
fn helped() -> Server {
    server_with(json!({
        "small": with_keys(entry(&[("FAKE_SMALL", "1")]), json!({"allowedTools": ["echo"]})),
        "gone": {"command": "no-such-program-anywhere"},
    }))
}

fn prompt_tokens(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens"].as_u64().unwrap()
}

fn text(answer: &Value) -> &Value {
    &answer["choices"][0]["message"]["content"]
}

/// A page that pretends to be on this machine is not.
#[test]
fn other_host_names_are_refused_on_loopback() {
    let body = request(1, "tools/list", json!({})).to_string();
    let ask = |host: &str| {
        let mut socket = TcpStream::connect(shared().mcp.address).unwrap();
        let length = body.len();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!((ask("localhost").as_str(), ask("evil.example").as_str()), ("200", "403"));
}

/// Row A1: what asks for no tool behaves as if there were none; nothing hangs.
#[test]
fn with_tools_around_everything_else_is_as_before() {
    let server = helped();
    let body = completion_body("Once upon a time", 8);
    let plain = shared().post(COMPLETIONS, &body).ok();
    let found = server.post(COMPLETIONS, &body).ok();
    assert_eq!(found["choices"][0]["text"], plain["choices"][0]["text"]);
    let body = chat_body("Once upon a time", 8);
    let plain = shared().post(CHAT, &body).ok();
    let nothing = json!({"allowed_tools": []});
    for change in [json!({"mcp": false}), json!({"tool_choice": "none"}), json!({"mcp": nothing})] {
        let found = server.post(CHAT, &with(body.clone(), change.clone())).ok();
        assert_eq!(
            (text(&found), prompt_tokens(&found)),
            (text(&plain), prompt_tokens(&plain)),
            "{change}"
        );
    }
    server.post("/tokenize", &json!({"text": "a"})).ok();
    // The other dialects likewise: without tools as before, and with them they answer.
    let asked = json!({"input": "Once upon a time", "max_output_tokens": 8, "temperature": 0, "store": false});
    let plain = shared().post(RESPONSES, &asked).ok();
    let found = server.post(RESPONSES, &with(asked.clone(), json!({"mcp": false}))).ok();
    assert_eq!(found["output"][0]["content"], plain["output"][0]["content"]);
    assert_eq!(found["usage"]["input_tokens"], plain["usage"]["input_tokens"]);
    let offered = server.post(RESPONSES, &asked).ok();
    assert!(offered["usage"]["input_tokens"].as_u64() > plain["usage"]["input_tokens"].as_u64());
    let asked = with(body, json!({"max_tokens": 8}));
    let plain = shared().post(MESSAGES, &asked).ok();
    let found =
        server.post(MESSAGES, &with(asked.clone(), json!({"tool_choice": {"type": "none"}}))).ok();
    assert_eq!(found["content"], plain["content"]);
    server.post(MESSAGES, &asked).ok();
    let count = json!({"messages": asked["messages"]});
    let [plain, found] =
        [shared(), &server].map(|it| it.post("/v1/messages/count_tokens", &count).ok());
    assert_eq!(found, plain, "what is counted is what the client sent");
    // An error in the loop is told, not waited for.
    let long = "word ".repeat(2000);
    server.post(RESPONSES, &json!({"input": long, "store": false})).error(400);
    assert_eq!(
        server
            .post(MESSAGES, &with(asked, json!({"messages": [{"role": "user", "content": long}]})))
            .status,
        400
    );
}

#[test]
fn chats_are_offered_the_tools_and_answer() {
    let server = helped();
    let body = chat_body("Hi", 6);
    let plain = prompt_tokens(&shared().post(CHAT, &body).ok());
    let whole = server.post(CHAT, &body).ok();
    assert!(prompt_tokens(&whole) > plain + 20, "{whole}");
    let events = server.stream(CHAT, &with(body.clone(), json!({"stream": true})));
    assert_eq!(Value::from(streamed_text(&events, 0)), *text(&whole));
    let two = server.post(CHAT, &with(body, json!({"n": 2}))).ok();
    assert_eq!(two["choices"].as_array().unwrap().len(), 2);
    for stream in [false, true] {
        let long = with(chat_body(&"word ".repeat(2000), 5), json!({ "stream": stream }));
        assert_eq!(server.post(CHAT, &long).error(400)["code"], "context_length_exceeded");
    }
}

#[test]
fn servers_are_listed_with_their_state() {
    let server = helped();
    let start = Instant::now();
    let list = loop {
        let list = server.get("/v1/mcp/servers").ok();
        let settled = ["connecting", "idle"].iter().all(|state| list["data"][0]["state"] != *state);
        if settled && list["data"][1]["state"] == "failed" {
            break list;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{list}");
        std::thread::sleep(Duration::from_millis(10));
    };
    let (small, gone) = (&list["data"][0], &list["data"][1]);
    assert_eq!(
        (&small["id"], &small["state"], &small["transport"]),
        (&json!("small"), &json!("ready"), &json!("stdio"))
    );
    assert_eq!(
        small["tools"],
        json!([{"name": "echo", "description": "does echo", "parameters": {"type": "object"}}])
    );
    assert_eq!((&small["implementation"], &small["last_error"]), (&json!("fake 1"), &Value::Null));
    assert!(gone["last_error"].as_str().unwrap().contains("there is no program"), "{gone}");
    assert_eq!(shared().get("/v1/mcp/servers").ok()["data"], json!([]));
}

#[test]
fn children_end_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("family");
    let server = server_with(json!({ "a": entry(&[("FAKE_FAMILY", &file.to_string_lossy())]) }));
    let start = Instant::now();
    while server.get("/v1/mcp/servers").ok()["data"][0]["state"] != "ready" {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    server.stop().unwrap();
    #[cfg(target_os = "linux")]
    super::stdio::gone(&file.to_string_lossy());
}

/// One message to the model as an MCP server.
fn rpc(client: &Client, message: &Value) -> Value {
    client.post("/mcp", message).json()
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn chat_call(arguments: Value) -> Value {
    request(3, "tools/call", json!({"name": "chat", "arguments": arguments}))
}

#[test]
fn the_model_is_a_tool() {
    let mcp = &shared().mcp;
    let hello = json!({"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let begun = rpc(mcp, &request(1, "initialize", hello));
    assert_eq!(begun["result"]["serverInfo"]["name"], "mistralrs-server", "{begun}");
    assert!(begun["result"]["capabilities"]["tools"].is_object(), "{begun}");
    let notice = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let silence = mcp.post("/mcp", &notice);
    assert_eq!((silence.status, silence.body.as_str()), (202, ""));
    let list = rpc(mcp, &request(2, "tools/list", json!({})));
    let tool = &list["result"]["tools"][0];
    assert_eq!(
        (&tool["name"], &tool["inputSchema"]["required"]),
        (&json!("chat"), &json!(["messages"]))
    );
    assert!(tool["inputSchema"]["properties"]["maxTokens"].is_object(), "{tool}");

    let messages = json!([{"role": "user", "content": "Once upon a time"}]);
    let expected = shared().post(CHAT, &chat_body("Once upon a time", 3)).ok();
    for key in ["maxTokens", "max_tokens"] {
        let mut arguments = json!({"messages": messages, "temperature": 0});
        arguments[key] = 3.into();
        let answer = rpc(mcp, &chat_call(arguments));
        assert_eq!(answer["result"]["content"][0]["text"], *text(&expected), "{key}: {answer}");
        assert_ne!(answer["result"]["isError"], true);
    }
}

#[test]
fn faults_have_json_rpcs_numbers() {
    let mcp = &shared().mcp;
    let messages = json!([{"role": "user", "content": "x"}]);
    for (message, code) in [
        (json!({"jsonrpc": "1.0", "id": 1, "method": "ping"}), -32600),
        (json!({"jsonrpc": "2.0", "id": 1}), -32600),
        (request(1, "no/such", json!({})), -32601),
        (request(1, "tools/call", json!({"name": "dance", "arguments": {}})), -32602),
        (chat_call(json!({})), -32602),
        (chat_call(json!({"messages": []})), -32602),
        (chat_call(json!({"messages": [["user", "x"]]})), -32602),
        (chat_call(json!({"messages": messages, "maxTokens": 0})), -32602),
        (chat_call(json!({"messages": messages, "maxTokens": "3"})), -32602),
        (chat_call(json!({"messages": messages, "maxToken": 3})), -32602),
        (chat_call(json!({"messages": messages, "temperature": -1})), -32602),
    ] {
        assert_eq!(rpc(mcp, &message)["error"]["code"], code, "{message}");
    }
    let garbage = mcp.post_bytes("/mcp", b"{").json();
    assert_eq!((&garbage["error"]["code"], &garbage["id"]), (&json!(-32700), &Value::Null));
    let long = chat_call(json!({"messages": [{"role": "user", "content": "word ".repeat(2000)}]}));
    let answer = rpc(mcp, &long);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(
        answer["result"]["content"][0]["text"].as_str().unwrap().contains("512 tokens"),
        "{answer}"
    );
}

#[test]
fn keys_guard_the_tool_too() {
    let api_keys = ApiKeys::new(["secret".to_owned()]);
    let server = Server::start(ServerConfig { api_keys, ..ServerConfig::default() }, stories());
    let list = request(1, "tools/list", json!({})).to_string();
    let json = ("content-type", "application/json");
    let ask = |headers: &[(&str, &str)]| server.mcp.send("POST", "/mcp", headers, list.as_bytes());
    assert_eq!(ask(&[json]).status, 401);
    assert_eq!(ask(&[json, ("authorization", "Bearer secret")]).status, 200);
}

#[test]
fn our_client_understands_our_server() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let address = shared().mcp.address;
    runtime.block_on(async {
        let client = client(json!({ "model": {"url": format!("http://{address}/mcp")} }));
        assert_eq!(names(&client).await, ["chat"]);
        let mut arguments = Map::new();
        arguments
            .insert("messages".into(), json!([{"role": "user", "content": "Once upon a time"}]));
        arguments.insert("maxTokens".into(), 3.into());
        arguments.insert("temperature".into(), 0.into());
        let output = client.call("chat", arguments).await;
        let expected = shared().post(CHAT, &chat_body("Once upon a time", 3)).ok();
        assert_eq!((output.text.into(), output.is_error), (text(&expected).clone(), false));
        client.shutdown().await;
    });
}
