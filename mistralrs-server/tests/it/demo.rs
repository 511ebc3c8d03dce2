//! The model inside the program, end to end: what a newcomer sees first. Answers are greedy.

use crate::support::{CHAT, Client, Server, streamed_text, with};
use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;
use mistralrs_server::app::ServerConfig;
use mistralrs_server::demo;
use serde_json::{Value, json};
use std::sync::LazyLock;

fn server() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        let load = LoadOptions { progress: Progress::silent(), ..demo::load_options() };
        Server::start(ServerConfig::default(), load)
    });
    &SERVER
}

fn body(messages: &[Value]) -> Value {
    json!({"model": demo::NAME, "messages": messages, "temperature": 0, "max_tokens": 100})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// Asks for the next turn, adds it to the conversation and returns its text.
fn say(client: &Client, conversation: &mut Vec<Value>, text: &str) -> String {
    conversation.push(user(text));
    let answer = client.post(CHAT, &body(conversation)).ok();
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    conversation.push(json!({"role": "assistant", "content": said}));
    said
}

fn ask(text: &str) -> String {
    say(server(), &mut Vec::new(), text)
}

#[test]
fn it_is_listed_and_greets() {
    let models = server().get("/v1/models").ok();
    assert_eq!(models["data"][0]["id"], demo::NAME);
    let whole = ask("Hello");
    assert!(whole.starts_with("Hello!"), "{whole}");
    let streamed = with(body(&[user("Hello")]), json!({"stream": true}));
    let events = server().stream(CHAT, &streamed);
    assert!(events.len() > 3, "it comes in pieces");
    assert_eq!(streamed_text(&events, 0), whole);
}

#[test]
fn it_answers_and_obeys() {
    for (question, part) in [
        ("What is the capital of Norway?", "Oslo"),
        ("What is the opposite of hot?", "cold"),
        ("Which port do you use?", "1234"),
        ("Repeat after me: green apple", "green apple"),
        ("How do I load another model?", "-m"),
    ] {
        let answer = ask(question);
        assert!(answer.contains(part), "{question} {answer}");
    }
    let system = json!({"role": "system", "content": "You are a pirate."});
    let answer = say(server(), &mut vec![system], "What is the capital of France?");
    assert!(answer.starts_with("Arr!") && answer.contains("Paris"), "{answer}");
    let object = ask("Write a JSON object with name Ada, age 36.");
    assert_eq!(serde_json::from_str::<Value>(&object).unwrap(), json!({"name": "Ada", "age": 36}));
}

/// Eight conversations at once, each with its own name; the second turn finds the first in the cache.
#[test]
fn it_remembers_each_conversation() {
    let names = ["Ada", "Ben", "Clara", "Felix", "Hugo", "Lena", "Oscar", "Zoe"];
    std::thread::scope(|scope| {
        for name in names {
            scope.spawn(move || {
                let mut conversation = Vec::new();
                let met = say(server(), &mut conversation, &format!("My name is {name}."));
                assert!(met.contains(name), "{met}");
                let recalled = say(server(), &mut conversation, "What is my name?");
                assert_eq!(recalled, format!("Your name is {name}."));
            });
        }
    });
    let mut conversation = vec![user("My favorite color is blue.")];
    conversation.push(json!({"role": "assistant", "content": "I will remember that."}));
    conversation.push(user("Which color do I like best?"));
    let again = |_| server().post(CHAT, &body(&conversation)).ok();
    let [first, second] = [0, 1].map(again);
    assert_eq!(first["choices"][0]["message"], second["choices"][0]["message"]);
    let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached >= 32, "{second}");
}

fn weather() -> Value {
    json!([{"type": "function", "function": {
        "name": "get_weather",
        "description": "Get the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"]
        }
    }}])
}

/// The model chooses the function, its argument comes from the question, its result is in the answer.
#[test]
fn it_calls_a_tool_and_tells_the_result() {
    let tools = json!({"tools": weather()});
    let mut conversation = vec![user("What is the weather in Oslo?")];
    let called = server().post(CHAT, &with(body(&conversation), tools.clone())).ok();
    let choice = &called["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{called}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "get_weather");
    let arguments = call["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"city": "Oslo"}));

    conversation.push(choice["message"].clone());
    let result = r#"{"status": "sunny"}"#;
    conversation.push(json!({"role": "tool", "tool_call_id": call["id"], "content": result}));
    let told = server().post(CHAT, &with(body(&conversation), tools.clone())).ok();
    let text = told["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("sunny"), "{text}");

    let plain = with(body(&[user("What is the capital of Norway?")]), tools);
    let answer = server().post(CHAT, &plain).ok();
    assert!(answer["choices"][0]["message"].get("tool_calls").is_none(), "{answer}");
}

/// Two things asked for in one message are two calls, in their order.
#[test]
fn it_calls_twice_for_two_things() {
    let question = user("Get the weather in Rome and the weather in Oslo.");
    let asked = with(body(&[question]), json!({"tools": weather()}));
    let called = server().post(CHAT, &asked).ok();
    let calls = called["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    let cities = calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap());
    assert_eq!(cities.collect::<Vec<_>>(), [r#"{"city": "Rome"}"#, r#"{"city": "Oslo"}"#]);
}

fn read_text_file() -> Value {
    json!([{"type": "function", "function": {
        "name": "read_text_file",
        "description": "Read a text file",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    }}])
}

/// One request, with a function for it and without: it calls the one, and does not speak of tools that are not there.
#[test]
fn it_knows_whether_it_has_a_tool() {
    let asked = body(&[user("Read the file note.txt and tell me the secret word.")]);
    let called = server().post(CHAT, &with(asked.clone(), json!({"tools": read_text_file()}))).ok();
    let call = &called["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["arguments"], r#"{"path": "note.txt"}"#, "{called}");
    let plain = server().post(CHAT, &asked).ok();
    let answer = plain["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(answer.contains("tool") && !answer.contains("none of my tools"), "{answer}");
}
