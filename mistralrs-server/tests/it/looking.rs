//! Requests with media that are unusual and right, or usual and wrong, on every route that takes them.

use crate::support::{CHAT, Client, MESSAGES, PATIENCE, RESPONSES, Server, streamed_text, with};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;
use mistralrs_server::app::ServerConfig;
use mistralrs_testkit::fixture;
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// A server with a tiny model that takes media.
fn server(model: &str) -> Server {
    let load = LoadOptions {
        progress: Progress::silent(),
        warm_up: false,
        block_size: 8,
        ..LoadOptions::new(fixture(model).to_string_lossy())
    };
    Server::start(ServerConfig::default(), load)
}

fn base64(model: &str, file: &str) -> String {
    STANDARD.encode(std::fs::read(fixture(model).join(file)).unwrap())
}

fn picture(model: &str, number: usize) -> Value {
    let url = format!("data:image/png;base64,{}", base64(model, &format!("images/{number}.png")));
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn said(content: Value) -> Value {
    json!([{"role": "user", "content": content}])
}

fn body(messages: Value) -> Value {
    json!({"messages": messages, "max_tokens": 6, "temperature": 0, "ignore_eos": true})
}

fn prompt_tokens(server: &Client, content: Value) -> u64 {
    server.post(CHAT, &body(said(content))).ok()["usage"]["prompt_tokens"].as_u64().unwrap()
}

#[test]
fn detail_decides_what_a_picture_costs() {
    let model = "smolvlm";
    let server = server(model);
    let tokens = |detail: Option<&str>| {
        let mut picture = picture(model, 0);
        picture["image_url"]["detail"] = json!(detail);
        prompt_tokens(&server, json!([picture, text("What is it?")]))
    };
    let (low, high) = (tokens(Some("low")), tokens(Some("high")));
    // One square of four tokens; or four tiles and the square.
    assert!(low + 4 * 4 <= high, "{low} {high}");
    assert_eq!((tokens(Some("auto")), tokens(None)), (high, high));
}

#[test]
fn a_stream_about_pictures_says_what_the_whole_answer_says() {
    let model = "qwen3-vl";
    let server = server(model);
    let content = json!([picture(model, 0), text("or"), picture(model, 1), text("?")]);
    let request = with(body(said(content)), json!({"max_tokens": 20}));
    let whole = server.post(CHAT, &request).ok();
    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = server.stream(CHAT, &with(request.clone(), asked));
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(streamed_text(&events, 0), text);
    let usage = &events.last().unwrap()["usage"];
    assert_eq!(usage["prompt_tokens"], whole["usage"]["prompt_tokens"]);
    assert!(usage["prompt_tokens"].as_u64().unwrap() > 15 + 8);
    // Several answers are about the same pictures, which are looked at once.
    let several = server.post(CHAT, &with(request, json!({"n": 3}))).ok();
    for choice in several["choices"].as_array().unwrap() {
        assert_eq!(choice["message"]["content"].as_str().unwrap(), text);
    }
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 2.0);
}

#[test]
fn pictures_may_stand_anywhere_in_what_a_user_says() {
    let model = "qwen3-vl";
    let server = server(model);
    let picture = || picture(model, 0);
    let without = prompt_tokens(&server, json!([text("a")]));
    let alone = prompt_tokens(&server, json!([picture()]));
    // The picture's tokens, and a mark on each side.
    assert_eq!(alone + 1, without + 15 + 2, "the text was one token");
    for content in [json!([picture(), text("a")]), json!([text("a"), picture()])] {
        assert_eq!(prompt_tokens(&server, content), alone + 1);
    }
    let thrice = json!([picture(), picture(), text("a"), picture()]);
    assert_eq!(prompt_tokens(&server, thrice), without + 3 * 17);
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 1.0, "one picture all along");
    // In an earlier turn.
    let turns = json!([
        {"role": "user", "content": [picture(), text("What?")]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Sure?"},
    ]);
    let answer = server.post(CHAT, &body(turns)).ok();
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > alone);
    server.wait_until_idle();
}

#[test]
fn pictures_that_tools_gave_are_seen_where_they_stand() {
    let model = "qwen3-vl";
    let server = server(model);
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}});
    let result = |id: &str, content: Value| json!({"role": "tool", "tool_call_id": id, "name": "look", "content": content});
    let turns = |first: Value, second: Value| {
        json!([
            {"role": "user", "content": "What is there?"},
            {"role": "assistant", "content": null, "tool_calls": [call("1"), call("2")]},
            result("1", first),
            result("2", second),
        ])
    };
    let answer = |first: Value, second: Value| {
        let request = with(body(turns(first, second)), json!({"logprobs": true}));
        let answer = server.post(CHAT, &request).ok();
        let tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap();
        (tokens, answer["choices"][0]["logprobs"].clone())
    };
    let (words, _) = answer(json!("a"), json!([text("b")]));
    let (with_one, about_one) = answer(json!([text("a"), picture(model, 0)]), json!("b"));
    assert_eq!(with_one, words + 15 + 2, "the picture's tokens, and a mark on each side");
    let (_, about_another) = answer(json!([text("a"), picture(model, 1)]), json!("b"));
    assert_ne!(about_one, about_another);
    let both = turns(json!([text("a"), picture(model, 0)]), json!([picture(model, 1), text("b")]));
    let prompt = server.post("/apply-template", &json!({"messages": both})).ok()["prompt"].clone();
    let mark = "<|vision_start|><|image_pad|><|vision_end|>";
    let told = format!("The result of look:\na{mark}\n\nThe result of look:\n{mark}b<|im_end|>");
    assert!(prompt.as_str().unwrap().contains(&told), "{prompt}");
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 2.0);
}

#[test]
fn what_cannot_be_seen_is_refused_by_its_place() {
    let model = "qwen3-vl";
    let server = server(model);
    let picture = || picture(model, 0);
    let refused = |messages: Value, param: &str, word: &str| {
        let error = server.post(CHAT, &body(messages)).error(400);
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    };
    for role in ["system", "assistant"] {
        let messages = json!([
            {"role": "user", "content": "Hello."},
            {"role": role, "content": [text("Look: "), picture()], "tool_call_id": "1"},
            {"role": "user", "content": "And?"},
        ]);
        refused(messages, "messages[1].content[1]", "of a tool");
    }
    let sound =
        json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}});
    refused(said(json!([picture(), sound])), "messages[0].content[1]", "images and text only");
    // Twenty pictures of fifteen tokens, for a context of 256.
    let many: Vec<Value> = (0..20).map(|_| picture()).collect();
    let error = server.post(CHAT, &body(said(many.into()))).error(400);
    assert_eq!(error["code"], "context_length_exceeded", "{error}");
    assert!(error["message"].as_str().unwrap().contains("256 tokens"), "{error}");
    assert!(prompt_tokens(&server, json!([picture()])) > 15);
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 1.0);
}

#[test]
fn the_other_routes_see_the_same() {
    let model = "qwen3-vl";
    let server = server(model);
    let url = &picture(model, 1)["image_url"]["url"];
    let chat = prompt_tokens(&server, json!([text("Who?"), picture(model, 1)]));
    let content = json!([
        {"type": "input_text", "text": "Who?"},
        {"type": "input_image", "image_url": url, "detail": "high"},
    ]);
    let request = json!({"input": said(content), "max_output_tokens": 6, "temperature": 0});
    let first = server.post(RESPONSES, &request).ok();
    assert_eq!(first["usage"]["input_tokens"], chat);
    let next = json!({"input": "And now?", "previous_response_id": first["id"],
        "max_output_tokens": 6, "temperature": 0});
    let next = server.post(RESPONSES, &next).ok();
    assert!(next["usage"]["input_tokens"].as_u64().unwrap() > chat + 3, "{next}");
    let events = server.events(RESPONSES, &with(request, json!({"stream": true})));
    assert_eq!(events.last().unwrap()["response"]["usage"]["input_tokens"], chat);

    let data = base64(model, "images/1.png");
    let source = json!({"type": "base64", "media_type": "image/png", "data": data});
    let content = json!([text("Who?"), {"type": "image", "source": source}]);
    let request = json!({"messages": said(content), "max_tokens": 6, "temperature": 0});
    // Here cached tokens are told beside the others.
    let usage = server.post(MESSAGES, &request).ok()["usage"].clone();
    let told = ["input_tokens", "cache_read_input_tokens"].map(|key| usage[key].as_u64().unwrap());
    assert_eq!(told.iter().sum::<u64>(), chat);
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 1.0);
}

#[test]
fn who_hears_may_see_beside_it() {
    let model = "gemma3n-media";
    let server = server(model);
    let sound = || {
        let data = base64(model, "sounds/0.wav");
        json!({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
    };
    let nothing = prompt_tokens(&server, json!([text("a")]));
    let seen = prompt_tokens(&server, json!([picture(model, 0), text("a")])) - nothing;
    let heard = prompt_tokens(&server, json!([sound(), text("a")])) - nothing;
    assert!(seen >= 4 && heard >= 6, "{seen} {heard}");
    for content in [
        json!([sound(), picture(model, 0), text("a")]),
        json!([picture(model, 0), text("a"), sound()]),
    ] {
        let both = prompt_tokens(&server, content) - nothing;
        // Newlines around them may become one token.
        assert!((seen + heard).abs_diff(both) <= 2, "{seen} {heard} {both}");
    }
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 2.0);
    let card = server.get("/v1/models").ok();
    let takes = &card["data"][0]["meta"]["capabilities"]["input"];
    assert_eq!(*takes, json!(["text", "image", "audio"]));
}

#[test]
fn who_hangs_up_leaves_nothing_behind() {
    let model = "qwen3-vl";
    let server = server(model);
    let request = body(said(json!([picture(model, 0), picture(model, 1), text("What?")])));
    let request = with(request, json!({"max_tokens": 150})).to_string();
    let send = |bytes: usize| {
        let mut socket = std::net::TcpStream::connect(server.address).unwrap();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            request.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(&request.as_bytes()[..bytes]).unwrap();
        socket
    };
    drop(send(request.len() / 2));
    let sockets: Vec<_> = (0..4).map(|_| send(request.len())).collect();
    let start = Instant::now();
    while server.metric("mistralrs_media_encoded_total") == 0.0 {
        assert!(start.elapsed() < PATIENCE, "nothing is looked at");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(sockets);
    server.wait_until_idle();
    assert!(prompt_tokens(&server, json!([picture(model, 0)])) > 15);
}
