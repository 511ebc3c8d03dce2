//! `/v1/chat/completions`, whole answers.

use crate::support::{CHAT, Server, chat_body, shared, stories, with};
use mistralrs_server::app::ServerConfig;
use serde_json::{Value, json};

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn a_whole_answer() {
    let answer = shared().post(CHAT, &chat_body("Once upon a time", 12)).ok();
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(answer["created"].as_u64().unwrap() > 1_600_000_000);
    assert!(answer["created"].as_u64().unwrap() < 100_000_000_000, "seconds, not milliseconds");
    assert_eq!(answer["model"], "stories260K");
    let choice = &answer["choices"][0];
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("length")));
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(!text(&answer).is_empty());
    let usage = &answer["usage"];
    assert_eq!(usage["completion_tokens"], 12);
    assert_eq!(usage["total_tokens"].as_u64(), Some(12 + usage["prompt_tokens"].as_u64().unwrap()));
    assert!(answer.get("warnings").is_none(), "{answer}");
}

#[test]
fn all_forms_of_a_message_read_the_same() {
    let plain = shared().post(CHAT, &chat_body("The dog", 8)).ok();
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "The dog"}]}]);
    for messages in [json!("The dog"), parts] {
        let answer =
            shared().post(CHAT, &with(chat_body("", 8), json!({"messages": messages}))).ok();
        assert_eq!(text(&answer), text(&plain));
    }
}

#[test]
fn the_model_has_its_name_its_path_and_default() {
    let path = mistralrs_testkit::stories260k().to_string_lossy().into_owned();
    for name in ["default", "stories260K", path.as_str()] {
        let answer = shared().post(CHAT, &with(chat_body("A", 1), json!({"model": name}))).ok();
        assert_eq!(answer["model"], "stories260K");
    }
    let error = shared().post(CHAT, &with(chat_body("A", 1), json!({"model": "gpt-5"}))).error(404);
    assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
}

#[test]
fn same_seed_same_answer_and_n_answers_differ() {
    let warm = with(chat_body("One day", 16), json!({"temperature": 1.2, "seed": 7, "n": 3}));
    let first = shared().post(CHAT, &warm).ok();
    let second = shared().post(CHAT, &warm).ok();
    assert_eq!(first["choices"], second["choices"]);
    let texts: std::collections::BTreeSet<_> = first["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["message"]["content"].as_str().unwrap())
        .collect();
    assert!(texts.len() > 1, "{texts:?}");
    assert_eq!(first["choices"][2]["index"], 2);
    assert_eq!(first["usage"]["completion_tokens"], 48);
    let alone = shared().post(CHAT, &with(warm.clone(), json!({"n": 1}))).ok();
    assert_eq!(alone["choices"][0], first["choices"][0], "who shares the batch does not matter");
    let unseeded = with(chat_body("One day", 16), json!({"temperature": 1.2, "n": 4}));
    let answer = shared().post(CHAT, &unseeded).ok();
    let texts: std::collections::BTreeSet<_> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["message"]["content"].to_string())
        .collect();
    assert!(texts.len() > 1, "{texts:?}");
}

#[test]
fn a_stop_string_ends_the_text_before_itself() {
    let whole = shared().post(CHAT, &chat_body("Once upon a time", 40)).ok();
    let whole = text(&whole);
    let middle = whole.char_indices().nth(whole.chars().count() / 2).unwrap().0;
    let stop: String = whole[middle..].chars().take(5).collect();
    let cut =
        shared().post(CHAT, &with(chat_body("Once upon a time", 40), json!({"stop": stop}))).ok();
    assert_eq!(text(&cut), &whole[..whole.find(&stop).unwrap()]);
    assert_eq!(cut["choices"][0]["finish_reason"], "stop");
}

#[test]
fn log_probabilities_are_natural_and_in_order() {
    let body = with(chat_body("Once upon a time", 8), json!({"logprobs": true, "top_logprobs": 4}));
    let answer = shared().post(CHAT, &body).ok();
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 8);
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 4);
        let values: Vec<f64> = top.iter().map(|t| t["logprob"].as_f64().unwrap()).collect();
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]), "{values:?}");
        assert!(values.iter().map(|v| v.exp()).sum::<f64>() <= 1.0001);
        assert_eq!(top[0]["token"], token["token"], "greedy takes the best");
        assert_eq!(top[0]["logprob"], token["logprob"]);
    }
    let plain = shared().post(CHAT, &chat_body("Once upon a time", 8)).ok();
    assert_eq!(plain["choices"][0]["logprobs"], Value::Null);
    assert_eq!(text(&plain), text(&answer));
}

#[test]
fn what_has_no_effect_is_listed() {
    let body = with(
        chat_body("A", 1),
        json!({"user": "me", "frobnicate": 1, "messages": [{"role": "user", "content": "A", "mood": "x"}]}),
    );
    let answer = shared().post(CHAT, &body).ok();
    let warnings: Vec<_> =
        answer["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for field in ["`user`", "`frobnicate`", "`messages[0].mood`"] {
        assert!(warnings.iter().any(|warning| warning.contains(field)), "{field}: {warnings:?}");
    }
}

#[test]
fn strict_turns_warnings_into_errors() {
    let server = Server::start(ServerConfig { strict: true, ..Default::default() }, stories());
    server.post(CHAT, &chat_body("A", 1)).ok();
    for changes in [json!({"user": "me"}), json!({"frobnicate": 1}), json!({"dry_base": 2})] {
        let error = server.post(CHAT, &with(chat_body("A", 1), changes)).error(400);
        assert_eq!(error["code"], "strict");
    }
    // Found out only when the prompt has been computed: still a status, also for a stream.
    for stream in [false, true] {
        let body = with(chat_body("A", 512), json!({"stream": stream}));
        let error = server.post(CHAT, &body).error(400);
        assert!(error["message"].as_str().unwrap().contains("clamped"), "{error}");
    }
}

#[test]
fn truncation_is_asked_for_and_told() {
    let long = "the dog and the cat and ".repeat(200);
    let error = shared().post(CHAT, &chat_body(&long, 8)).error(400);
    assert_eq!(error["code"], "context_length_exceeded");
    assert!(error["message"].as_str().unwrap().contains("512"), "names the limit: {error}");
    let body = with(chat_body(&long, 8), json!({"truncate_sequence": true}));
    let answer = shared().post(CHAT, &body).ok();
    assert_eq!(answer["usage"]["prompt_tokens"], 504);
    assert!(answer["warnings"][0].as_str().unwrap().contains("were cut"), "{answer}");
}

/// Must-show 6: the prefix of an earlier request is not computed again, and changes nothing.
#[test]
fn a_shared_prefix_is_computed_once() {
    let server = Server::start(ServerConfig::default(), stories());
    let cold = Server::start(
        ServerConfig::default(),
        mistralrs_core::LoadOptions { prefix_cache: false, ..stories() },
    );
    let story = "One day a big dog saw a red ball and wanted to play with it. ".repeat(16);
    let body = |end: &str| chat_body(&format!("{story}{end}"), 16);
    let first = server.post(CHAT, &body("The dog")).ok();
    let second = server.post(CHAT, &body("Then Lily")).ok();
    let uncached = cold.post(CHAT, &body("Then Lily")).ok();
    let cached = |answer: &Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert!(second["usage"]["prompt_tokens"].as_u64().unwrap() > 300, "{}", second["usage"]);
    assert_eq!((cached(&first), cached(&uncached)), (0, 0));
    assert!(cached(&second) >= 288, "{}", second["usage"]);
    assert_eq!(text(&second), text(&uncached));
    let hits = server.metric("mistralrs_prefix_hit_tokens_total");
    assert_eq!(hits as u64, cached(&second));
    let time = |answer: &Value| answer["usage"]["timings"]["time_to_first_token_ms"].to_string();
    println!("time to first token: {} ms, with the prefix {} ms", time(&first), time(&second));
}

#[test]
fn a_deadline_ends_the_request() {
    let body = with(chat_body("Once upon a time", 400), json!({"timeout_ms": 1, "n": 8}));
    let error = shared().post(CHAT, &body).error(408);
    assert_eq!((&error["code"], &error["param"]), (&json!("timeout"), &json!("timeout_ms")));
    shared().wait_until_idle();
}
