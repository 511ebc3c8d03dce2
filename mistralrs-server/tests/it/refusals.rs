//! Routes, methods, keys, origins, sizes: what is refused before a request is looked into.

use crate::support::{CHAT, Reply, Server, chat_body, shared, stories, with};
use mistralrs_core::LoadOptions;
use mistralrs_server::app::{Origins, ServerConfig};
use mistralrs_server::auth::ApiKeys;
use serde_json::{Value, json};
use std::io::{Read, Write};

const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn unknown_routes_and_wrong_methods() {
    for path in ["/nowhere", "/v1", "/v1/chat", "/v1/embed", "/%00", "//", "/v1/chat/completions/"]
    {
        assert_eq!(shared().get(path).error(404)["code"], "unknown_url", "{path}");
    }
    for (method, path) in
        [("GET", CHAT), ("PUT", CHAT), ("DELETE", "/v1/models"), ("POST", "/health")]
    {
        let reply = shared().send(method, path, &[], b"");
        assert_eq!(reply.error(405)["code"], "method_not_allowed");
        assert!(reply.headers.contains_key("allow"), "{:?}", reply.headers);
    }
}

#[test]
fn keys_open_all_but_the_open_routes() {
    let api_keys = ApiKeys::new(["first".to_owned(), "second".to_owned()]);
    let server = Server::start(ServerConfig { api_keys, ..Default::default() }, stories());
    let body = chat_body("A", 1).to_string();
    let ask = |headers: &[(&str, &str)]| {
        let headers = [&[JSON], headers].concat();
        server.send("POST", CHAT, &headers, body.as_bytes())
    };
    for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "first")]] {
        let reply = ask(headers);
        assert_eq!(reply.error(401)["code"], "invalid_api_key");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
    }
    for key in ["Bearer first", "Bearer second"] {
        ask(&[("authorization", key)]).ok();
    }
    for path in ["/", "/health", "/docs", "/openapi.json"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/v1/models", "/metrics"] {
        server.get(path).error(401);
    }
    // Without a key nothing is said about the body.
    server.post_bytes("/tokenize", b"{").error(401);
}

#[test]
fn bodies_have_a_limit_a_type_and_an_encoding() {
    let config = ServerConfig { max_body_bytes: 100_000, ..Default::default() };
    let server = Server::start(config, stories());
    let large = chat_body(&"x".repeat(200_000), 1).to_string();
    assert_eq!(server.post_bytes(CHAT, large.as_bytes()).error(413)["code"], "request_too_large");
    let fits = chat_body(&"x".repeat(50_000), 1);
    assert_eq!(server.post(CHAT, &fits).error(400)["code"], "context_length_exceeded");
    let body = chat_body("A", 1).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let reply = server.send("POST", CHAT, &[("content-type", kind)], body.as_bytes());
        assert_eq!(reply.error(415)["code"], "unsupported_media_type", "{kind}");
    }
    server.send("POST", CHAT, &[], body.as_bytes()).error(415);
    // Packed bytes are no broken JSON: the client is told what is wrong.
    for (coding, status) in [("gzip", 415), ("br", 415), ("identity", 200)] {
        let reply =
            server.send("POST", CHAT, &[JSON, ("content-encoding", coding)], body.as_bytes());
        assert_eq!(reply.status, status, "{}", reply.body);
        assert_eq!(reply.body.contains(&format!("`Content-Encoding: {coding}`")), status == 415);
    }
    server
        .send("POST", CHAT, &[("content-type", "application/json; charset=utf-8")], body.as_bytes())
        .ok();
}

#[test]
fn a_prompt_beyond_any_context_is_refused_by_its_bytes() {
    let server = Server::start(ServerConfig::default(), stories());
    let long = "x".repeat(1_100_000);
    for (path, body) in
        [(CHAT, chat_body(&long, 1)), ("/v1/completions", json!({"prompt": long, "max_tokens": 1}))]
    {
        let error = server.post(path, &body).error(400);
        assert_eq!(error["code"], "context_length_exceeded", "{path}");
        let said = error["message"].as_str().unwrap();
        assert!(said.contains("1048576") && said.contains("bytes"), "{said}");
    }
}

#[test]
fn pages_of_this_machine_may_read_answers() {
    let ask = |server: &Server, origin: &str| -> Reply {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        server.send("OPTIONS", CHAT, &headers, b"")
    };
    let allowed = |reply: &Reply| reply.headers.get("access-control-allow-origin").cloned();
    let local = ask(shared(), "http://localhost:5173");
    assert_eq!(allowed(&local).as_deref(), Some("http://localhost:5173"));
    assert!(local.headers["access-control-allow-headers"].contains("authorization"));
    assert_eq!(allowed(&ask(shared(), "https://evil.example")), None);
    let origins = Origins::List(vec!["https://good.example".to_owned()]);
    let server = Server::start(ServerConfig { origins, ..Default::default() }, stories());
    assert!(allowed(&ask(&server, "https://good.example")).is_some());
    assert_eq!(allowed(&ask(&server, "http://localhost")), None);
    let server =
        Server::start(ServerConfig { origins: Origins::Any, ..Default::default() }, stories());
    assert_eq!(allowed(&ask(&server, "https://any.example")).as_deref(), Some("*"));
}

#[test]
fn requests_have_an_id() {
    let reply = shared().send("GET", "/health", &[("x-request-id", "my-id.1")], b"");
    assert_eq!(reply.headers["x-request-id"], "my-id.1");
    let strange = shared().send("GET", "/nowhere", &[("x-request-id", "a b<script>")], b"");
    let made = &strange.headers["x-request-id"];
    assert!(made.len() == 36 && !made.contains('<'), "{made}");
}

/// One place to compute and one to wait: the others are told to come back, and then they may.
#[test]
fn overload_is_429_and_passes() {
    let load = LoadOptions { max_seqs: 1, max_queue: 1, ..stories() };
    let server = Server::start(ServerConfig::default(), load);
    let body = with(chat_body("Once upon a time", 400), json!({"ignore_eos": true}));
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let ask = || server.post(CHAT, &body);
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    let answered = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(refused.len() + answered, 12);
    assert!(!refused.is_empty() && answered >= 1, "{answered} answered");
    for reply in refused {
        assert_eq!(reply.error(429)["type"], "rate_limit_error");
        assert!(reply.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    }
    server.wait_until_idle();
    server.post(CHAT, &chat_body("A", 2)).ok();
    let too_many = with(chat_body("A", 2), json!({"n": 5}));
    server.post(CHAT, &too_many).error(429);
    server.wait_until_idle();
}

#[test]
fn requests_in_flight_are_bounded() {
    let config = ServerConfig { max_in_flight: 1, ..Default::default() };
    let server = Server::start(config, stories());
    let held = server.app.in_flight.clone().try_acquire_owned().unwrap();
    server.post(CHAT, &chat_body("A", 1)).error(429);
    assert_eq!(server.get("/health").status, 200);
    drop(held);
    server.post(CHAT, &chat_body("A", 1)).ok();
}

/// With `--log`, the log reads the body: it has no more time for it than a handler has.
#[test]
fn a_body_that_stands_still_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    for logged in [false, true] {
        let log = logged.then(|| mistralrs_server::request_log::RequestLog::open(&path).unwrap());
        let body_idle = std::time::Duration::from_millis(200);
        let config = ServerConfig { body_idle, max_body_bytes: 100_000, ..Default::default() };
        let server = Server::start_unready(config, stories(), log, std::time::Duration::ZERO);
        server.wait_until_ready();
        let mut socket = std::net::TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let begun = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: 50\r\n\r\n{{\"messages\":"
        );
        socket.write_all(begun.as_bytes()).unwrap();
        let mut told = String::new();
        socket.read_to_string(&mut told).unwrap();
        assert!(told.starts_with("HTTP/1.1 408"), "with a log {logged}: {told}");
        assert!(told.contains("request_timeout"), "{told}");
        let large = chat_body(&"x".repeat(200_000), 1).to_string();
        assert_eq!(
            server.post_bytes(CHAT, large.as_bytes()).error(413)["code"],
            "request_too_large"
        );
        server.stop().unwrap();
    }
}

#[test]
fn requests_are_logged_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    let log = mistralrs_server::request_log::RequestLog::open(&path).unwrap();
    let api_keys = ApiKeys::new(["a-secret-key".to_owned()]);
    let config = ServerConfig { api_keys, ..Default::default() };
    let server =
        Server::start_unready(config, stories(), Some(log), std::time::Duration::from_secs(5));
    server.wait_until_ready();
    let key = ("authorization", "Bearer a-secret-key");
    let bodies = [
        chat_body("A", 2).to_string(),
        with(chat_body("A", 2), json!({"stream": true})).to_string(),
        "{nonsense".to_owned(),
    ];
    for body in &bodies {
        server.send("POST", CHAT, &[JSON, key, ("x-request-id", "id-1")], body.as_bytes());
    }
    // Kept as long as the server's threads would keep it when the process ends: it is not dropped then.
    let app = std::sync::Arc::clone(&server.app);
    server.stop().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    drop(app);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["request"], chat_body("A", 2));
    assert_eq!(lines[0]["response"]["object"], "chat.completion");
    assert!(lines[1]["response"].as_str().unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!((&lines[2]["request"], &lines[2]["status"]), (&json!("{nonsense"), &json!(400)));
    assert!(lines.iter().all(|line| line["complete"] == true && line["id"] == "id-1"));
    assert!(!text.contains("a-secret-key"));
}
