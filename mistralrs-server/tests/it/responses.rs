//! The Responses API over HTTP: answered, kept, continued, canceled, forgotten.

use crate::support::{CHAT, PATIENCE, RESPONSES, Server, chat_body, shared, stories, with};
use mistralrs_server::app::ServerConfig;
use mistralrs_server::responses::store::StoreLimits;
use serde_json::{Value, json};
use std::time::Instant;

fn body(input: impl Into<Value>, max: usize) -> Value {
    json!({"input": input.into(), "max_output_tokens": max, "temperature": 0})
}

fn text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"))
}

fn at(response: &Value) -> String {
    format!("{RESPONSES}/{}", response["id"].as_str().unwrap())
}

fn say() -> Value {
    json!({"type": "function", "name": "say", "parameters": {"type": "object",
        "properties": {"word": {"enum": ["yes", "no"]}}, "required": ["word"], "additionalProperties": false}})
}

#[test]
fn a_response_says_what_a_chat_says() {
    let chat = shared().post(CHAT, &chat_body("Once upon a time", 12)).ok();
    let response = shared().post(RESPONSES, &body("Once upon a time", 12)).ok();
    assert_eq!(chat["choices"][0]["message"]["content"], text(&response));
    assert_eq!(response["status"], "incomplete");
    assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(response["usage"]["input_tokens"], chat["usage"]["prompt_tokens"]);
    let events =
        shared().events(RESPONSES, &with(body("Once upon a time", 12), json!({"stream": true})));
    let told = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let told: String = told.map(|event| event["delta"].as_str().unwrap()).collect();
    assert_eq!(told, text(&response));
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..events.len() as u64).map(Some).collect::<Vec<_>>());
    let stopped = with(body("Once upon a time", 50), json!({"stop": "."}));
    assert_eq!(shared().post(RESPONSES, &stopped).ok()["status"], "completed");
}

#[test]
fn what_is_kept_can_be_read_continued_and_deleted() {
    let server = shared();
    let first =
        server.post(RESPONSES, &with(body("A dog", 6), json!({"instructions": "Hm."}))).ok();
    assert_eq!(server.get(&at(&first)).ok(), first);
    let next = with(body("And then?", 6), json!({"previous_response_id": first["id"]}));
    let second = server.post(RESPONSES, &next).ok();
    let everything = body(
        json!([{"role": "user", "content": "A dog"}, first["output"][0], {"role": "user", "content": "And then?"}]),
        6,
    );
    let sent_again = server.post(RESPONSES, &everything).ok();
    assert_eq!(text(&second), text(&sent_again));
    assert_eq!(second["usage"]["input_tokens"], sent_again["usage"]["input_tokens"]);

    let list = server.get(&format!("{}/input_items?order=asc&limit=2", at(&second))).ok();
    assert_eq!((&list["data"][0]["role"], &list["has_more"]), (&json!("user"), &json!(true)));
    let rest = format!(
        "{}/input_items?order=asc&after={}",
        at(&second),
        list["last_id"].as_str().unwrap()
    );
    assert_eq!(server.get(&rest).ok()["data"][0]["content"][0]["text"], "And then?");
    for query in ["limit=0", "limit=x", "order=up", "after=nothing"] {
        server.get(&format!("{}/input_items?{query}", at(&second))).error(400);
    }

    let gone = server.send("DELETE", &at(&first), &[], b"").ok();
    assert_eq!((&gone["deleted"], &gone["id"]), (&json!(true), &first["id"]));
    server.get(&at(&first)).error(404);
    server.send("DELETE", &at(&first), &[], b"").error(404);
    assert_eq!(server.post(RESPONSES, &next).error(404)["code"], "response_not_found");
    assert_eq!(server.get(&at(&second)).ok()["id"], second["id"], "it has its own copy");

    let secret = server.post(RESPONSES, &with(body("A dog", 2), json!({"store": false}))).ok();
    server.get(&at(&secret)).error(404);
    let streamed = server.events(RESPONSES, &with(body("A dog", 6), json!({"stream": true})));
    let last = &streamed.last().unwrap()["response"];
    assert_eq!(server.get(&at(last)).ok(), *last);
}

#[test]
fn a_demanded_call_and_its_result() {
    let server = shared();
    let asked = with(
        body("Say it", 200),
        json!({"tools": [say()], "tool_choice": "required", "parallel_tool_calls": false}),
    );
    let response = server.post(RESPONSES, &asked).ok();
    let call = &response["output"][0];
    assert_eq!(
        (&call["type"], &call["name"], &call["status"]),
        (&json!("function_call"), &json!("say"), &json!("completed"))
    );
    let events = server.events(RESPONSES, &with(asked, json!({"stream": true})));
    let told =
        events.iter().filter(|event| event["type"] == "response.function_call_arguments.delta");
    let told: String = told.map(|event| event["delta"].as_str().unwrap()).collect();
    assert_eq!(call["arguments"], told);
    let result =
        json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "said"}]);
    let next =
        with(body(result, 4), json!({"previous_response_id": response["id"], "tools": [say()]}));
    let after = server.post(RESPONSES, &next).ok();
    assert!(after["usage"]["input_tokens"].as_u64() > response["usage"]["input_tokens"].as_u64());
}

#[test]
fn the_form_of_the_text_is_held() {
    let schema = say()["parameters"].clone();
    let form = |schema: &Value| json!({"text": {"format": {"type": "json_schema", "name": "x", "strict": true, "schema": schema}}});
    let response = shared().post(RESPONSES, &with(body("Hi", 60), form(&schema))).ok();
    let value: Value = serde_json::from_str(text(&response)).unwrap();
    assert!(value["word"].is_string(), "{response}");
    let unusable = form(&json!({"type": "array", "uniqueItems": true}));
    let error = shared().post(RESPONSES, &with(body("Hi", 9), unusable)).error(400);
    assert_eq!(error["param"], "text.format.schema");
    let strict =
        json!({"tools": [with(say(), json!({"parameters": {"not": {}}, "strict": true}))]});
    let error = shared().post(RESPONSES, &with(body("Hi", 9), strict)).error(400);
    assert_eq!(error["param"], "tools[0].parameters");
}

#[test]
fn the_background_works_and_can_be_canceled() {
    let server = shared();
    let begun = server.post(RESPONSES, &with(body("A dog", 8), json!({"background": true}))).ok();
    assert_eq!((&begun["status"], &begun["output"]), (&json!("in_progress"), &json!([])));
    let start = Instant::now();
    let done = loop {
        let now = server.get(&at(&begun)).ok();
        if now["status"] != "in_progress" {
            break now;
        }
        assert!(start.elapsed() < PATIENCE, "{now}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let whole = server.post(RESPONSES, &body("A dog", 8)).ok();
    assert_eq!((text(&done), &done["status"]), (text(&whole), &json!("incomplete")));
    assert_eq!(server.post(&format!("{}/cancel", at(&done)), &json!({})).ok(), done, "too late");
    server.post(&format!("{}/cancel", at(&whole)), &json!({})).error(400);
    server.post(&format!("{RESPONSES}/resp_x/cancel"), &json!({})).error(404);
    let both = with(body("A dog", 8), json!({"background": true, "stream": true}));
    assert_eq!(server.post(RESPONSES, &both).error(400)["param"], "background");

    let long = with(body("A dog", 450), json!({"background": true, "ignore_eos": true}));
    let begun = server.post(RESPONSES, &long).ok();
    let ended = server.post(&format!("{}/cancel", at(&begun)), &json!({})).ok();
    assert!(ended["status"] == "cancelled" || ended["status"] == "incomplete", "{ended}");
    assert_eq!(server.get(&at(&begun)).ok(), ended);
}

#[test]
fn a_server_may_keep_little_or_nothing() {
    let responses = StoreLimits { count: 1, ..StoreLimits::default() };
    let server = Server::start(ServerConfig { responses, ..ServerConfig::default() }, stories());
    let first = server.post(RESPONSES, &body("A dog", 2)).ok();
    let second = server.post(RESPONSES, &body("A cat", 2)).ok();
    server.get(&at(&first)).error(404);
    server.get(&at(&second)).ok();
    let responses = StoreLimits { count: 0, ..StoreLimits::default() };
    let server = Server::start(ServerConfig { responses, ..ServerConfig::default() }, stories());
    let only = server.post(RESPONSES, &body("A dog", 2)).ok();
    assert_eq!(only["store"], false);
    server.get(&at(&only)).error(404);
    let background = with(body("A dog", 2), json!({"background": true}));
    assert_eq!(server.post(RESPONSES, &background).error(400)["param"], "background");
}

#[test]
fn unknown_fields_are_told() {
    let asked = with(body("Hi", 2), json!({"who": 1, "user": "me"}));
    let warnings = shared().post(RESPONSES, &asked).ok()["warnings"].to_string();
    assert!(warnings.contains("`who`") && warnings.contains("`user`"), "{warnings}");
}
