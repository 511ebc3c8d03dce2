//! Loading with the port open, failing to load, stopping.

use crate::support::{CHAT, PATIENCE, Server, chat_body, shared, stories, with};
use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;
use mistralrs_server::app::ServerConfig;
use serde_json::json;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Holds loading at its first report until opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self) {
        let open = self.open.lock().unwrap();
        drop(self.changed.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

#[test]
fn while_loading_the_port_answers() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let progress = Progress::callback(move |_| held.wait());
    let load = LoadOptions { progress, ..stories() };
    let server = Server::start_unready(ServerConfig::default(), load, None, Duration::from_secs(5));
    let health = server.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("loading")));
    assert!(health.json()["progress"]["stage"].is_string());
    assert_eq!(server.get("/").body, "OK");
    assert_eq!(server.get("/docs").status, 200);
    assert!(server.get("/metrics").body.contains("mistralrs_model_ready 0\n"));
    for reply in [
        server.post(CHAT, &chat_body("A", 1)),
        server.get("/v1/models"),
        server.post("/tokenize", &json!({"content": "a"})),
    ] {
        assert_eq!(reply.error(503)["code"], "model_loading");
        assert!(reply.headers.contains_key("retry-after"));
    }
    server.get("/nowhere").error(404);
    gate.open();
    server.wait_until_ready();
    assert_eq!(server.get("/health").ok(), json!({"status": "ok", "model": "stories260K"}));
    server.post(CHAT, &chat_body("A", 1)).ok();
}

#[test]
fn a_model_that_cannot_be_loaded_ends_the_server() {
    let load = LoadOptions { progress: Progress::silent(), ..LoadOptions::new("./no-such-model") };
    let server = Server::start_unready(ServerConfig::default(), load, None, Duration::from_secs(5));
    let start = Instant::now();
    while !server.app.model.has_failed() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = format!("{:#}", server.stop().unwrap_err());
    assert!(error.contains("./no-such-model"), "{error}");
}

#[test]
fn stopping_lets_running_requests_finish() {
    let mut server = Server::start(ServerConfig::default(), stories());
    let body =
        with(chat_body("Once upon a time", 300), json!({"stream": true, "ignore_eos": true}));
    let reply = server.open(
        "POST",
        CHAT,
        &[("content-type", "application/json")],
        body.to_string().as_bytes(),
    );
    server.tell_to_stop();
    let reply = reply.read();
    let events = reply.events();
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "length");
    let address = server.address;
    server.stop().unwrap();
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
}

#[test]
fn what_does_not_finish_in_time_is_told() {
    let mut server = Server::start_unready(
        ServerConfig::default(),
        LoadOptions { max_seqs: 1, ..stories() },
        None,
        Duration::ZERO,
    );
    server.wait_until_ready();
    let body = with(
        chat_body("Once upon a time", 480),
        json!({"stream": true, "ignore_eos": true, "n": 16}),
    );
    let mut reply = server.open(
        "POST",
        CHAT,
        &[("content-type", "application/json")],
        body.to_string().as_bytes(),
    );
    assert!(!reply.chunk().is_empty());
    server.tell_to_stop();
    let events = reply.read().events();
    assert_eq!(events.last().unwrap()["error"]["code"], "shutdown", "{:?}", events.last());
    server.stop().unwrap();
}

#[test]
fn an_idle_connection_does_not_hold_the_server() {
    let server = Server::start(ServerConfig::default(), stories());
    let _idle = TcpStream::connect(server.address).unwrap();
    let start = Instant::now();
    server.stop().unwrap();
    assert!(start.elapsed() < Duration::from_secs(25), "waited for a connection without a request");
}

#[test]
fn health_and_root() {
    assert_eq!(shared().get("/").body, "OK");
    assert_eq!(shared().get("/health").ok()["status"], "ok");
}
