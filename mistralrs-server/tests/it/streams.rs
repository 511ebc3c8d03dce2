//! Server-sent events: their order, comments, errors in the middle, clients that leave.

use crate::support::{
    CHAT, COMPLETIONS, PATIENCE, Server, chat_body, completion_body, shared, stories,
    streamed_text, with,
};
use mistralrs_server::app::ServerConfig;
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn chunks_come_in_the_order_clients_expect() {
    let body = with(
        chat_body("Once upon a time", 12),
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let events = shared().stream(CHAT, &body);
    let whole = shared().post(CHAT, &chat_body("Once upon a time", 12)).ok();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 12);
    let finish = &events[events.len() - 2]["choices"][0];
    assert_eq!((&finish["finish_reason"], &finish["delta"]), (&json!("length"), &json!({})));
    for event in &events[..events.len() - 2] {
        assert_eq!(event["choices"][0]["finish_reason"], Value::Null);
    }
    for event in &events {
        for key in ["id", "created", "model", "system_fingerprint"] {
            assert_eq!(event[key], events[0][key]);
        }
        assert_eq!(event["object"], "chat.completion.chunk");
    }
    assert_eq!(
        streamed_text(&events, 0),
        whole["choices"][0]["message"]["content"].as_str().unwrap()
    );
}

#[test]
fn without_being_asked_no_chunk_has_usage() {
    for (path, body) in [(CHAT, chat_body("A", 3)), (COMPLETIONS, completion_body("A", 3))] {
        let events = shared().stream(path, &with(body, json!({"stream": true})));
        assert!(events.iter().all(|event| event.get("usage").is_none()), "{events:?}");
    }
}

#[test]
fn several_answers_are_told_apart_by_index() {
    let body = with(
        chat_body("One day", 16),
        json!({"stream": true, "n": 3, "seed": 5, "temperature": 1.0, "logprobs": true}),
    );
    let events = shared().stream(CHAT, &body);
    let whole = shared().post(CHAT, &with(body, json!({"stream": false}))).ok();
    for index in 0..3 {
        let expected = &whole["choices"][index];
        assert_eq!(streamed_text(&events, index), expected["message"]["content"].as_str().unwrap());
        let own = || {
            events
                .iter()
                .flat_map(|e| e["choices"].as_array().unwrap())
                .filter(move |c| c["index"] == index)
        };
        assert_eq!(own().filter(|choice| !choice["finish_reason"].is_null()).count(), 1);
        let tokens: Vec<_> = own()
            .filter_map(|choice| choice["logprobs"]["content"].as_array())
            .flatten()
            .map(|token| token["bytes"].clone())
            .collect();
        let expected = expected["logprobs"]["content"].as_array().unwrap();
        assert_eq!(tokens, expected.iter().map(|token| token["bytes"].clone()).collect::<Vec<_>>());
    }
}

#[test]
fn a_refusal_before_the_first_event_is_a_status() {
    let long = "the dog and the cat and ".repeat(200);
    for stream in [true, false] {
        let body = with(chat_body(&long, 8), json!({"stream": stream}));
        assert_eq!(shared().post(CHAT, &body).error(400)["code"], "context_length_exceeded");
    }
}

#[test]
fn an_error_in_the_middle_is_one_event_and_done() {
    let body = with(
        chat_body("Once upon a time", 400),
        json!({"stream": true, "timeout_ms": 30, "n": 8, "ignore_eos": true}),
    );
    let reply = shared().post(CHAT, &body);
    if reply.status == 408 {
        return; // Slow machine: it was over before the first event, which is right too.
    }
    let events = reply.events();
    let errors: Vec<_> = events.iter().filter(|event| event.get("error").is_some()).collect();
    assert_eq!(errors.len(), 1, "{events:?}");
    assert_eq!(errors[0]["error"]["code"], "timeout");
    assert!(events.last().unwrap().get("error").is_some());
    shared().wait_until_idle();
}

#[test]
fn a_silent_stream_is_kept_alive() {
    let config = ServerConfig { keep_alive: Duration::from_millis(1), ..Default::default() };
    let server = Server::start(config, mistralrs_core::LoadOptions { max_seqs: 1, ..stories() });
    let body = with(
        chat_body("Once upon a time", 200),
        json!({"stream": true, "n": 4, "ignore_eos": true}),
    );
    let reply = server.post(CHAT, &body);
    assert!(reply.body.contains(": keep-alive\n"), "{}", &reply.body[..reply.body.len().min(500)]);
    assert!(reply.events().len() > 100);
}

/// A client that leaves ends the work, streaming or not.
#[test]
fn leaving_frees_the_blocks() {
    let server = Server::start(ServerConfig::default(), stories());
    for stream in [true, false] {
        let body = with(
            chat_body("Once upon a time", 480),
            json!({"stream": stream, "n": 4, "ignore_eos": true}),
        );
        let bytes = body.to_string();
        let before = server.metric("mistralrs_generated_tokens_total");
        if stream {
            let mut reply = server.open(
                "POST",
                CHAT,
                &[("content-type", "application/json")],
                bytes.as_bytes(),
            );
            assert!(!reply.chunk().is_empty());
        } else {
            use std::io::Write;
            let mut socket = std::net::TcpStream::connect(server.address).unwrap();
            let head = format!(
                "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{bytes}",
                bytes.len()
            );
            socket.write_all(head.as_bytes()).unwrap();
            let start = std::time::Instant::now();
            while server.metric("mistralrs_requests_running") == 0.0 {
                let done = server.metric("mistralrs_generated_tokens_total") - before;
                assert!(start.elapsed() < PATIENCE && done < 4.0 * 480.0, "never seen running");
            }
        }
        server.wait_until_idle();
        let generated = server.metric("mistralrs_generated_tokens_total") - before;
        assert!(generated < 4.0 * 480.0, "stream {stream}: went on to the end");
    }
    assert!(
        server.get("/metrics").body.contains("mistralrs_requests_total{outcome=\"cancelled\"} 2\n")
    );
}
