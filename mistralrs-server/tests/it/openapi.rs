//! Answers and chunks against OpenAI's published document; our own document against itself.

use crate::support::{CHAT, COMPLETIONS, RESPONSES, chat_body, completion_body, shared, with};
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

/// The published document in JSON, with `nullable: true` in the spelling of the draft that 3.1 uses.
fn document() -> Option<Value> {
    let path = mistralrs_testkit::shared("openapi/openai.openapi.yaml")?;
    let text = std::fs::read_to_string(path).unwrap();
    // Two bounds of `seed` are integers beyond 64 bits.
    let text = text.replace("9223372036854776000", "9223372036854776000.0");
    let mut document: Value = serde_yaml_ng::from_str(&text).unwrap();
    let mut schemas = document["components"]["schemas"].take();
    spell_null(&mut schemas);
    Some(schemas)
}

fn spell_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(spell_null),
        Value::Object(map) => {
            map.values_mut().for_each(spell_null);
            if map.remove("nullable") == Some(Value::Bool(true)) {
                let own = std::mem::take(map);
                map.insert("anyOf".to_owned(), json!([Value::Object(own), {"type": "null"}]));
            }
        }
        _ => {}
    }
}

fn validator(schemas: &Value, name: &str) -> Validator {
    let mut root = Map::new();
    root.insert("$ref".to_owned(), format!("#/components/schemas/{name}").into());
    root.insert("components".to_owned(), json!({ "schemas": schemas }));
    jsonschema::options().with_draft(Draft::Draft202012).build(&Value::Object(root)).unwrap()
}

fn check(validator: &Validator, value: &Value) {
    let faults: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?} in {value:#}");
}

#[test]
fn answers_are_of_the_published_shape() {
    let Some(schemas) = document() else { return };
    let whole = validator(&schemas, "CreateChatCompletionResponse");
    let chunk = validator(&schemas, "CreateChatCompletionStreamResponse");
    let completion = validator(&schemas, "CreateCompletionResponse");
    check(&validator(&schemas, "ListModelsResponse"), &shared().get("/v1/models").ok());
    check(&validator(&schemas, "Model"), &shared().get("/v1/models/default").ok());
    let variants = [
        json!({}),
        json!({"n": 2, "seed": 1, "temperature": 1.0}),
        json!({"logprobs": true, "top_logprobs": 3}),
        json!({"stop": "e"}),
        json!({"user": "warned"}),
    ];
    for changes in variants {
        let body = with(chat_body("Once upon a time", 8), changes);
        check(&whole, &shared().post(CHAT, &body).ok());
        for options in [json!({}), json!({"include_usage": true})] {
            let body = with(body.clone(), json!({"stream": true, "stream_options": options}));
            let events = shared().stream(CHAT, &body);
            events.iter().for_each(|event| check(&chunk, event));
        }
    }
    for changes in [json!({}), json!({"logprobs": 3}), json!({"echo": true}), json!({"n": 2})] {
        let body = with(completion_body("Once upon a time", 8), changes);
        check(&completion, &shared().post(COMPLETIONS, &body).ok());
        // The document gives streamed completions the type of whole ones; clients read `null` there.
        for event in shared().stream(COMPLETIONS, &with(body, json!({"stream": true}))) {
            let mut event = event;
            for choice in event["choices"].as_array_mut().unwrap() {
                if choice["finish_reason"].is_null() {
                    choice["finish_reason"] = "stop".into();
                }
            }
            check(&completion, &event);
        }
    }
}

#[test]
fn responses_are_of_the_published_shape() {
    let Some(schemas) = document() else { return };
    let whole = validator(&schemas, "Response");
    let event = validator(&schemas, "ResponseStreamEvent");
    let tool = json!({"type": "function", "name": "say", "parameters": {"type": "object",
        "properties": {"word": {"enum": ["yes", "no"]}}, "required": ["word"]}});
    let include = json!(["message.output_text.logprobs"]);
    let variants = [
        json!({"store": false}),
        json!({"include": include, "top_logprobs": 2, "metadata": {"a": "b"}}),
        json!({"instructions": "Be brief.", "temperature": 1, "top_p": 0.9, "user": "warned"}),
        json!({"tools": [tool], "tool_choice": "required", "max_output_tokens": 200}),
        json!({"text": {"format": {"type": "json_schema", "name": "x", "schema": tool["parameters"]}}, "max_output_tokens": 100}),
    ];
    for changes in variants {
        let body = json!({"input": "Once upon a time", "max_output_tokens": 8, "temperature": 0});
        let body = with(body, changes);
        check(&whole, &shared().post(RESPONSES, &body).ok());
        let events = shared().events(RESPONSES, &with(body, json!({"stream": true})));
        assert!(events.len() > 6);
        events.iter().for_each(|told| check(&event, told));
    }
    let body = json!({"input": [{"role": "user", "content": "Hi"}], "max_output_tokens": 4});
    let id = shared().post(RESPONSES, &body).ok()["id"].as_str().unwrap().to_owned();
    let list = shared().get(&format!("{RESPONSES}/{id}/input_items")).ok();
    check(&validator(&schemas, "ResponseItemList"), &list);
    let mut broken = shared().post(RESPONSES, &body).ok();
    broken["output"][0]["role"] = "robot".into();
    assert!(!whole.is_valid(&broken), "a validator that accepts everything would prove nothing");
}

#[test]
fn errors_are_of_the_published_shape() {
    let Some(schemas) = document() else { return };
    let error = validator(&schemas, "ErrorResponse");
    for reply in [
        shared().post(CHAT, &json!({})),
        shared().post(CHAT, &with(chat_body("A", 1), json!({"model": "x"}))),
        shared().get("/nowhere"),
        shared().get(CHAT),
    ] {
        assert!(reply.status >= 400);
        check(&error, &reply.json());
    }
}

/// A validator that accepts everything would prove nothing.
#[test]
fn the_published_shape_refuses_what_is_wrong() {
    let Some(schemas) = document() else { return };
    let whole = validator(&schemas, "CreateChatCompletionResponse");
    let good = shared().post(CHAT, &chat_body("A", 2)).ok();
    assert!(whole.is_valid(&good));
    for broken in [json!({"choices": 5}), json!({"object": "chat"}), json!({"created": "now"})] {
        assert!(!whole.is_valid(&with(good.clone(), broken)));
    }
}

#[test]
fn our_own_document_is_complete() {
    let document = shared().get("/openapi.json").ok();
    assert_eq!(shared().get("/api-doc/openapi.json").ok(), document);
    for path in [
        CHAT,
        COMPLETIONS,
        "/v1/models",
        "/v1/models/{id}",
        RESPONSES,
        "/v1/responses/{id}",
        "/v1/messages",
        "/tokenize",
        "/detokenize",
        "/apply-template",
        "/health",
        "/metrics",
    ] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let text = document.to_string();
    for field in [
        "dry_multiplier",
        "include_usage",
        "logit_bias",
        "truncate_sequence",
        "echo",
        "cached_tokens",
    ] {
        assert!(text.contains(&format!("\"{field}\"")), "{field}");
    }
    let page = shared().get("/docs");
    assert_eq!(page.status, 200);
    assert!(
        !page.body.contains("http://") && !page.body.contains("https://"),
        "loads from elsewhere"
    );
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                found.push(reference.to_owned());
            }
            map.values().for_each(|item| collect_references(item, found));
        }
        _ => {}
    }
}
