//! `/tokenize`, `/detokenize`, `/apply-template`, `/v1/models`.

use crate::support::{chat_body, shared, with};
use serde_json::{Value, json};

#[test]
fn tokens_and_back() {
    let text = "Once upon a time, there was a café.";
    let both = [json!({"content": text}), json!({"prompt": text, "add_special_tokens": true})];
    for body in both {
        let tokens = shared().post("/tokenize", &body).ok();
        assert_eq!(tokens["tokens"][0], 1, "begins with BOS");
        assert_eq!(tokens["count"].as_u64(), tokens["tokens"].as_array().map(|t| t.len() as u64));
        assert_eq!(tokens["max_model_len"], 512);
    }
    let bare = shared().post("/tokenize", &json!({"content": text, "add_special": false})).ok();
    assert_ne!(bare["tokens"][0], 1);
    let back = shared().post("/detokenize", &json!({"tokens": bare["tokens"]})).ok();
    assert_eq!(back["content"].as_str().unwrap().trim_start(), text);
    assert_eq!(back["prompt"], back["content"]);
}

#[test]
fn pieces_join_to_the_text() {
    let body = json!({"content": "a café", "with_pieces": true, "add_special": false});
    let tokens = shared().post("/tokenize", &body).ok();
    let pieces = tokens["tokens"].as_array().unwrap();
    let joined: String = pieces.iter().map(|t| t["piece"].as_str().unwrap()).collect();
    assert_eq!(joined.trim_start().replace("bytes:", ""), "a café");
    assert!(pieces.iter().all(|token| token["id"].is_u64()));
}

#[test]
fn the_template_shows_what_the_model_reads() {
    let body = chat_body("Hello", 5);
    let rendered = shared().post("/apply-template", &body).ok()["prompt"].clone();
    assert_eq!(rendered, "<s>Hello");
    let from_chat = shared().post("/tokenize", &json!({"messages": body["messages"]})).ok();
    let usage = shared().post("/v1/chat/completions", &with(body, json!({"max_tokens": 1}))).ok();
    assert_eq!(from_chat["count"], usage["usage"]["prompt_tokens"]);
}

#[test]
fn impossible_texts_are_refused() {
    let table = [
        ("/tokenize", json!({}), 400),
        ("/tokenize", json!({"content": "a", "messages": "b"}), 400),
        ("/tokenize", json!({"content": 5}), 400),
        ("/tokenize", json!({"content": "a", "model": "other"}), 404),
        ("/detokenize", json!({}), 400),
        ("/detokenize", json!({"tokens": [512]}), 400),
        ("/detokenize", json!({"tokens": [-1]}), 400),
        ("/detokenize", json!({"tokens": "a"}), 400),
        ("/apply-template", json!({"messages": []}), 400),
        ("/apply-template", json!({}), 400),
    ];
    for (path, body, status) in table {
        shared().post(path, &body).error(status);
    }
}

#[test]
fn the_model_is_listed_and_found() {
    let list = shared().get("/v1/models").ok();
    assert_eq!(list["object"], "list");
    let card: &Value = &list["data"][0];
    assert_eq!((&card["id"], &card["object"]), (&json!("stories260K"), &json!("model")));
    assert_eq!((&card["max_model_len"], &card["meta"]["n_vocab"]), (&json!(512), &json!(512)));
    for id in ["stories260K", "default"] {
        assert_eq!(shared().get(&format!("/v1/models/{id}")).ok(), *card);
    }
    let error = shared().get("/v1/models/some/other").error(404);
    assert_eq!(error["code"], "model_not_found");
    shared().get("/v1/models/%ff").error(404);
}
