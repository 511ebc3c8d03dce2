//! Tools over HTTP: offered, refused, answered.

use crate::support::{CHAT, chat_body, shared, with};
use serde_json::{Value, json};

fn tools() -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}])
}

#[test]
fn a_conversation_of_two_turns_with_a_tool() {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Oslo\"}"}});
    let text = json!([{"type": "text", "text": "rain"}, {"type": "text", "text": "3 degrees"}]);
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": text},
    ]);
    let body = json!({"messages": messages, "tools": tools(), "max_tokens": 3, "temperature": 0});
    let prompt = shared().post("/apply-template", &body).ok()["prompt"].clone();
    for text in ["get_weather", "Oslo", "rain", "3 degrees"] {
        assert!(prompt.as_str().unwrap().contains(text), "{prompt}");
    }
    let answer = shared().post(CHAT, &body).ok();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(
        shared().stream(CHAT, &with(body, json!({"stream": true}))).last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
}

#[test]
fn no_choice_shows_no_tools() {
    let body = with(chat_body("Hi", 3), json!({"tools": tools(), "tool_choice": "none"}));
    let prompt = shared().post("/apply-template", &body).ok();
    assert!(!prompt["prompt"].as_str().unwrap().contains("get_weather"));
    shared().post(CHAT, &body).ok();
}

#[test]
fn faults_of_tools_are_named() {
    let table = [
        (json!({"tools": {}}), "tools"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}),
            "tools[0].function.name",
        ),
        (
            json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "x"}}}),
            "tool_choice.function.name",
        ),
        (json!({"tool_choice": "required"}), "tool_choice"),
    ];
    for (change, param) in table {
        let error = shared().post(CHAT, &with(chat_body("Hi", 3), change.clone())).error(400);
        assert_eq!(error["param"], param, "{change}");
    }
}

#[test]
fn what_a_model_can_do_is_published() {
    let card = shared().get("/v1/models/default").ok();
    let expected = json!({"tool_format": "json", "tools_in_template": false, "tool_round_trip": true, "reasoning": false});
    assert_eq!(card["meta"]["capabilities"], expected);
}
