//! Demanded calls of BFCL's functions from a model that knows nothing, in three dialects: every call that is
//! complete fits its function's schema, streamed pieces join to the same text, and all dialects say the same.
//! `FORMS=all` runs every sample.

use crate::support::{CHAT, MESSAGES, RESPONSES, Server, with};
use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;
use mistralrs_server::app::ServerConfig;
use mistralrs_testkit::{copy_of, read_json, shared, workspace};
use serde_json::{Map, Value, json};

/// A random model with room for long answers.
fn server() -> (Server, tempfile::TempDir) {
    let folder = copy_of("llama-plain");
    let file = folder.path().join("config.json");
    let mut config: Value = read_json(&file);
    config["max_position_embeddings"] = json!(8192);
    std::fs::write(&file, config.to_string()).unwrap();
    let template = "mistralrs-core/tests/data/templates/Qwen-Qwen2.5-7B-Instruct.jinja";
    let load = LoadOptions {
        progress: Progress::silent(),
        warm_up: false,
        jinja_explicit: Some(workspace().join(template)),
        ..LoadOptions::new(folder.path().to_string_lossy())
    };
    (Server::start(ServerConfig::default(), load), folder)
}

/// BFCL's types are those of Python.
fn json_types(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let renamed = match map.get("type").and_then(Value::as_str) {
                Some("dict") => Some("object"),
                Some("float") => Some("number"),
                Some("tuple") => Some("array"),
                _ => None,
            };
            if let Some(renamed) = renamed {
                map.insert("type".to_owned(), renamed.into());
            }
            if map.get("type").is_some_and(|kind| kind == "any") {
                map.remove("type");
            }
            map.values_mut().for_each(json_types);
        }
        Value::Array(list) => list.iter_mut().for_each(json_types),
        _ => {}
    }
}

/// A call: name and the text of its arguments.
type Call = (String, String);

/// The calls of one answer, and whether it is complete.
type Said = (Vec<Call>, bool);

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn chat(server: &Server, body: &Value) -> (Said, Said) {
    let choice = server.post(CHAT, body).ok()["choices"][0].clone();
    let calls = choice["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
    let call =
        |call: &Value| (owned(&call["function"]["name"]), owned(&call["function"]["arguments"]));
    let whole = (calls.iter().map(call).collect(), choice["finish_reason"] == "tool_calls");
    let mut streamed: Vec<Call> = Vec::new();
    let mut complete = false;
    for event in server.stream(CHAT, &with(body.clone(), json!({"stream": true}))) {
        let choice = &event["choices"][0];
        complete |= choice["finish_reason"] == "tool_calls";
        let Some(piece) = choice["delta"]["tool_calls"].get(0) else { continue };
        if let Some(name) = piece["function"]["name"].as_str() {
            streamed.push((name.to_owned(), String::new()));
        }
        streamed.last_mut().unwrap().1 += &owned(&piece["function"]["arguments"]);
    }
    (whole, (streamed, complete))
}

fn responses(server: &Server, body: &Value) -> (Said, Said) {
    let read = |response: &Value| -> Said {
        let items = response["output"].as_array().unwrap().iter();
        let calls = items.filter(|item| item["type"] == "function_call");
        let calls = calls.map(|call| (owned(&call["name"]), owned(&call["arguments"])));
        (calls.collect(), response["status"] == "completed")
    };
    let whole = read(&server.post(RESPONSES, body).ok());
    let mut streamed: Vec<Call> = Vec::new();
    let mut complete = false;
    for event in server.events(RESPONSES, &with(body.clone(), json!({"stream": true}))) {
        match event["type"].as_str().unwrap() {
            "response.output_item.added" if event["item"]["type"] == "function_call" => {
                streamed.push((owned(&event["item"]["name"]), String::new()));
            }
            "response.function_call_arguments.delta" => {
                streamed.last_mut().unwrap().1 += &owned(&event["delta"]);
            }
            "response.completed" => complete = true,
            _ => {}
        }
    }
    (whole, (streamed, complete))
}

fn messages(server: &Server, body: &Value) -> (Said, Said) {
    let message = server.post(MESSAGES, body).ok();
    let blocks = message["content"].as_array().unwrap().iter();
    let calls = blocks.filter(|block| block["type"] == "tool_use");
    let calls = calls.map(|call| (owned(&call["name"]), call["input"].to_string()));
    let whole = (calls.collect(), message["stop_reason"] == "tool_use");
    let mut streamed: Vec<Call> = Vec::new();
    let mut complete = false;
    for event in server.events(MESSAGES, &with(body.clone(), json!({"stream": true}))) {
        if let Some(name) = event["content_block"]["name"].as_str() {
            streamed.push((name.to_owned(), String::new()));
        }
        if let Some(text) = event["delta"]["partial_json"].as_str() {
            streamed.last_mut().unwrap().1 += text;
        }
        complete |= event["delta"]["stop_reason"] == "tool_use";
    }
    (whole, (streamed, complete))
}

fn is_beyond_numbers(text: &str) -> bool {
    let read = serde_json::from_str::<Value>(text);
    read.is_err_and(|error| error.to_string().starts_with("number out of range"))
}

fn check(calls: &[Call], functions: &[Value]) {
    for (name, arguments) in calls.iter().filter(|(_, arguments)| !is_beyond_numbers(arguments)) {
        let function = functions.iter().find(|function| function["name"] == **name);
        let schema = &function.unwrap_or_else(|| panic!("{name} was not offered"))["parameters"];
        let arguments =
            serde_json::from_str(arguments).unwrap_or_else(|e| panic!("{e}: {arguments}"));
        let validator = jsonschema::validator_for(schema).unwrap();
        assert!(validator.is_valid(&arguments), "{schema}: {arguments}");
    }
}

/// What the dialects have in common.
fn common(server: &Server, seed: usize) -> Value {
    let mut bias = Map::new();
    for text in ["\"", "}", "]", ",", "\"}", "</tool_call>"] {
        let body = json!({"content": text, "add_special": false});
        let tokens = server.post("/tokenize", &body).ok()["tokens"].clone();
        if let [id] = &tokens.as_array().unwrap()[..] {
            bias.insert(id.to_string(), json!(4));
        }
    }
    json!({"temperature": 1, "seed": seed, "logit_bias": bias, "max_tokens": 400})
}

fn as_values(calls: &[Call]) -> Vec<(String, Value)> {
    let read = |(name, text): &Call| (name.clone(), serde_json::from_str(text).unwrap_or_default());
    calls.iter().map(read).collect()
}

#[test]
fn demanded_calls_fit_in_three_dialects() {
    if shared("bfcl").is_none() {
        return;
    }
    let (server, _folder) = server();
    let some = if std::env::var("FORMS").is_ok_and(|it| it == "all") { usize::MAX } else { 2 };
    let (mut complete, mut cut, mut count) = (0, 0, 0);
    for name in ["simple_python", "multiple", "parallel", "parallel_multiple"] {
        let file = shared(&format!("bfcl/BFCL_v4_{name}.jsonl")).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        for (i, line) in text.lines().take(some).enumerate() {
            let case: Value = serde_json::from_str(line).unwrap();
            let mut functions = case["function"].as_array().unwrap().clone();
            functions.iter_mut().for_each(|function| json_types(&mut function["parameters"]));
            let asked = json!([{"role": "user", "content": case["question"][0][0]["content"]}]);
            let common = common(&server, i);
            let nested = functions.iter().map(|it| json!({"type": "function", "function": it}));
            let body = json!({"messages": asked, "tools": nested.collect::<Vec<_>>(), "tool_choice": "required"});
            let (chat, chat_streamed) = chat(&server, &with(body, common.clone()));
            let flat = functions.iter().map(|it| with(it.clone(), json!({"type": "function"})));
            let body = json!({"input": asked, "tools": flat.collect::<Vec<_>>(), "tool_choice": "required", "store": false});
            let (responses, responses_streamed) = responses(&server, &with(body, common.clone()));
            let own = functions.iter().map(|it| {
                json!({"name": it["name"], "description": it["description"], "input_schema": it["parameters"]})
            });
            let body = json!({"messages": asked, "tools": own.collect::<Vec<_>>(), "tool_choice": {"type": "any"}});
            let (messages, messages_streamed) = messages(&server, &with(body, common));

            assert_eq!(chat, chat_streamed, "{line}");
            assert_eq!(responses, responses_streamed, "{line}");
            assert_eq!(chat, responses, "{line}");
            assert_eq!(chat.1, messages.1, "{line}");
            assert_eq!(chat.0, messages_streamed.0, "{line}");
            assert_eq!(chat.1, messages_streamed.1, "{line}");
            if chat.1 {
                complete += 1;
                count += chat.0.len();
                check(&chat.0, &functions);
                if !chat.0.iter().any(|(_, text)| is_beyond_numbers(text)) {
                    assert_eq!(as_values(&chat.0), as_values(&messages.0), "{line}");
                }
            } else {
                cut += 1;
                let whole = &chat.0[..chat.0.len().saturating_sub(1)];
                check(whole, &functions);
            }
        }
    }
    println!("{complete} answers complete with {count} calls, {cut} cut off, in each dialect");
    assert!(complete > 0);
}
