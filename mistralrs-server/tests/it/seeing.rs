//! Conversations about pictures over HTTP, with a tiny Qwen3-VL (row G13): what is counted, what is
//! answered, and that a picture is looked at once.

use crate::support::{CHAT, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;
use mistralrs_server::app::ServerConfig;
use mistralrs_testkit::fixture;
use mistralrs_testkit::media::media_golden;
use serde_json::{Value, json};

const MODEL: &str = "qwen3-vl";

fn server() -> Server {
    let load = LoadOptions {
        progress: Progress::silent(),
        warm_up: false,
        block_size: 8,
        ..LoadOptions::new(fixture(MODEL).to_string_lossy())
    };
    Server::start(ServerConfig::default(), load)
}

fn picture(number: u64) -> Value {
    let file = fixture(MODEL).join("images").join(format!("{number}.png"));
    let bytes = STANDARD.encode(std::fs::read(file).unwrap());
    json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{bytes}")}})
}

/// A golden conversation in OpenAI's words.
fn messages(golden: &[Value]) -> Value {
    let part = |part: &Value| match part["image"].as_u64() {
        Some(number) => picture(number),
        None => part.clone(),
    };
    let message = |message: &Value| {
        let content = match message["content"].as_array() {
            Some(parts) => parts.iter().map(part).collect(),
            None => message["content"].clone(),
        };
        json!({"role": message["role"], "content": content})
    };
    golden.iter().map(message).collect()
}

fn body(messages: Value, max_tokens: usize) -> Value {
    json!({
        "model": "default", "messages": messages, "max_tokens": max_tokens, "temperature": 0,
        "logprobs": true, "top_logprobs": 3,
    })
}

#[test]
fn conversations_about_pictures_are_those_of_the_reference() {
    let server = server();
    for case in media_golden(MODEL).cases {
        let answer =
            server.post(CHAT, &body(messages(&case.messages), case.text.greedy.len())).ok();
        // Text and, for each picture, patches along time, height and width over four.
        assert_eq!(answer["usage"]["prompt_tokens"], case.text.prompt.len());
        let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
        assert_eq!(tokens.len(), case.text.greedy.len());
        for (ours, theirs) in tokens.iter().zip(&case.text.greedy) {
            let distance = (ours["logprob"].as_f64().unwrap() as f32 - theirs.logprob).abs();
            assert!(distance < 2e-3, "{} pictures: {distance}", case.images.len());
        }
    }
    server.wait_until_idle();
}

#[test]
fn the_same_words_about_another_picture_are_answered_anew() {
    let server = server();
    let ask = |number| {
        let content = json!([{"type": "text", "text": "Look: "}, picture(number)]);
        server.post(CHAT, &body(json!([{"role": "user", "content": content}]), 8)).ok()
    };
    let told = |answer: &Value| answer["choices"][0]["logprobs"].clone();
    let cached = |answer: &Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0)
    };
    // The second and the fourth have eight tokens each, but not the same shape.
    let (first, other) = (ask(1), ask(3));
    assert_eq!(first["usage"]["prompt_tokens"], other["usage"]["prompt_tokens"]);
    assert_ne!(told(&first), told(&other));
    assert!(cached(&other) <= 8, "nothing behind the beginning of the picture");
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 2.0);
    let again = ask(1);
    assert_eq!(told(&again), told(&first));
    assert!(cached(&again) > cached(&other));
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 2.0, "looked at once");
}

#[test]
fn what_is_no_picture_is_refused_and_the_server_lives() {
    let server = server();
    let ask =
        |content: Value| server.post(CHAT, &body(json!([{"role": "user", "content": content}]), 4));
    let text = STANDARD.encode("this is text named .png");
    let url = format!("data:image/png;base64,{text}");
    let refused = [
        json!([{"type": "image_url", "image_url": {"url": url}}]),
        json!([picture(0), {"type": "text", "text": "and <|image_pad|>"}]),
    ];
    for content in refused {
        let reply = ask(content);
        assert_eq!(reply.status, 400, "{}", reply.body);
    }
    assert!(ask(json!([picture(0)])).ok()["usage"]["prompt_tokens"].as_u64().unwrap() > 15);
}
