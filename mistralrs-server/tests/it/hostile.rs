//! Must-show 5: more than 200 malformed or hostile requests. Each is refused in OpenAI's shape, none harms the next.

use crate::support::{
    CHAT, COMPLETIONS, Client, MESSAGES, RESPONSES, chat_body, completion_body, shared, with,
};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A path and a body that has to be refused with 400 (or the status given).
struct Case {
    path: &'static str,
    body: Vec<u8>,
    status: u16,
}

fn case(path: &'static str, body: impl Into<Vec<u8>>) -> Case {
    Case { path, body: body.into(), status: 400 }
}

/// Values of every wrong kind for fields of one kind each.
fn wrong_values() -> Vec<(&'static str, Vec<&'static str>)> {
    let number =
        || vec!["\"1\"", "true", "[1]", "{}", "1e999", "-1e999", "NaN", "Infinity", "1e39"];
    let count =
        || vec!["\"1\"", "true", "[1]", "{}", "-1", "1.5", "1e300", "NaN", "18446744073709551616"];
    vec![
        ("temperature", [number(), vec!["-0.1", "1e9"]].concat()),
        ("top_p", [number(), vec!["-0.1", "1.1"]].concat()),
        ("min_p", [number(), vec!["-0.1", "1.1"]].concat()),
        ("typical_p", [number(), vec!["-0.1", "1.1"]].concat()),
        ("repetition_penalty", [number(), vec!["0", "-1"]].concat()),
        ("frequency_penalty", [number(), vec!["99"]].concat()),
        ("presence_penalty", [number(), vec!["-99"]].concat()),
        ("dry_multiplier", [number(), vec!["-1"]].concat()),
        ("xtc_probability", [number(), vec!["2"]].concat()),
        ("max_tokens", [count(), vec!["0", "513", "9007199254740993"]].concat()),
        ("max_completion_tokens", vec!["0", "\"x\"", "4000000000"]),
        ("min_tokens", [count(), vec!["600"]].concat()),
        ("n", [count(), vec!["0", "17", "1000000000"]].concat()),
        ("top_k", vec!["\"1\"", "true", "-2", "1.5", "{}"]),
        ("seed", vec!["\"1\"", "1.5", "true", "99999999999999999999", "{}"]),
        ("mirostat", vec!["1", "3", "\"2\"", "2.5"]),
        ("timeout_ms", vec!["0", "-1", "\"1\"", "1.5"]),
        ("stop", vec!["5", "[5]", "\"\"", "[\"\"]", "{}", "[null]", "[[\"a\"]]", "true"]),
        ("stop_token_ids", vec!["5", "[-1]", "[512]", "[\"a\"]", "[1.5]", "{}"]),
        (
            "logit_bias",
            vec![
                "5",
                "[]",
                "{\"x\":1}",
                "{\"-1\":1}",
                "{\"512\":1}",
                "{\"1\":\"a\"}",
                "{\"1\":1e999}",
                "{\"1\":null}",
            ],
        ),
        ("stream", vec!["\"true\"", "1", "[]"]),
        ("stream_options", vec!["5", "\"x\"", "{\"include_usage\":5}"]),
        ("ignore_eos", vec!["\"yes\"", "1"]),
        ("truncate_sequence", vec!["\"yes\"", "1"]),
        ("model", vec!["5", "[]", "{}", "true"]),
        ("grammar", vec!["{}", "5"]),
    ]
}

fn field_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (field, values) in wrong_values() {
        for value in values {
            let chat = format!("{{\"messages\":\"A\",\"{field}\":{value}}}");
            cases.push(case(CHAT, chat));
            let completion = format!("{{\"prompt\":\"A\",\"{field}\":{value}}}");
            cases.push(case(COMPLETIONS, completion));
        }
    }
    cases
}

fn chat_cases() -> Vec<Case> {
    let messages = [
        json!([]),
        json!({}),
        json!(5),
        json!(null),
        json!([5]),
        json!(["hello"]),
        json!([null]),
        json!([[]]),
        json!([{}]),
        json!([{"role": "user"}]),
        json!([{"role": "user", "content": null}]),
        json!([{"role": "user", "content": 5}]),
        json!([{"role": "user", "content": {}}]),
        json!([{"role": "user", "content": [5]}]),
        json!([{"role": "user", "content": [{}]}]),
        json!([{"role": "user", "content": [{"type": "text"}]}]),
        json!([{"role": "user", "content": [{"type": "text", "text": 5}]}]),
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}]}]),
        json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]),
        json!([{"role": "user", "content": [{"type": 5}]}]),
        json!([{"role": "nobody", "content": "x"}]),
        json!([{"role": "", "content": "x"}]),
        json!([{"role": 5, "content": "x"}]),
        json!([{"role": null, "content": "x"}]),
        json!([{"content": "x"}]),
        json!([{"role": "user", "content": "x", "name": 5}]),
        json!([{"role": "user", "content": "x", "tool_calls": [{}]}]),
        json!([{"role": "assistant", "content": "x", "tool_calls": "x"}]),
        json!([{"role": "assistant", "content": "x", "tool_calls": ["x"]}]),
    ];
    let fields = [
        json!({"tools": [{"type": "web_search"}]}),
        json!({"tools": "x"}),
        json!({"tool_choice": "required"}),
        json!({"tool_choice": {"type": "function"}}),
        json!({"response_format": {"type": "xml"}}),
        json!({"response_format": {"type": "json_schema", "json_schema": {}}}),
        json!({"response_format": 5}),
        json!({"functions": [{}]}),
        json!({"modalities": ["audio"]}),
        json!({"audio": {}}),
        json!({"web_search_options": {}}),
        json!({"logprobs": 5}),
        json!({"logprobs": "true"}),
        json!({"top_logprobs": 3}),
        json!({"logprobs": true, "top_logprobs": 21}),
        json!({"logprobs": true, "top_logprobs": -1}),
        json!({"chat_template_kwargs": 5}),
        json!({"chat_template_kwargs": []}),
        json!({"enable_thinking": "yes"}),
        json!({"stop": vec!["x"; 17]}),
        json!({"stop": "x".repeat(5000)}),
        json!({"stop_token_ids": vec![1; 1000]}),
        json!({"dry_multiplier": 1, "dry_sequence_breakers": [""]}),
        json!({"max_tokens": 5, "min_tokens": 6}),
    ];
    let of = |changes: Value| case(CHAT, with(chat_body("A", 1), changes).to_string());
    let messages = messages.into_iter().map(|messages| of(json!({ "messages": messages })));
    messages.chain(fields.into_iter().map(of)).collect()
}

fn completion_cases() -> Vec<Case> {
    let prompts = [
        json!(null),
        json!(5),
        json!({}),
        json!([]),
        json!([[]]),
        json!([null]),
        json!([true]),
        json!([1.5]),
        json!([-1]),
        json!([512]),
        json!([4_294_967_296_u64]),
        json!([1, "a"]),
        json!(["a", 1]),
        json!([[1], 1]),
        json!([[512]]),
        json!([["a"]]),
        json!([[[1]]]),
        json!(vec!["a"; 1000]),
        json!(vec![1; 600]),
    ];
    let fields = [
        json!({"suffix": "x"}),
        json!({"suffix": 5}),
        json!({"best_of": 2}),
        json!({"best_of": "x"}),
        json!({"logprobs": 21}),
        json!({"logprobs": true}),
        json!({"logprobs": -1}),
        json!({"echo": "yes"}),
        json!({"echo": 1}),
    ];
    let of = |changes: Value| case(COMPLETIONS, with(completion_body("A", 1), changes).to_string());
    let prompts = prompts.into_iter().map(|prompt| of(json!({ "prompt": prompt })));
    prompts.chain(fields.into_iter().map(of)).collect()
}

/// Bodies that are no request of any kind.
fn body_cases() -> Vec<Case> {
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let ten_megabytes = "x".repeat(10_000_000);
    let keys: String = (0..100_000).map(|i| format!(",\"k{i}\":0")).collect();
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b"null".to_vec(),
        b"true".to_vec(),
        b"5".to_vec(),
        b"\"text\"".to_vec(),
        b"[]".to_vec(),
        b"[{}]".to_vec(),
        b"{}".to_vec(),
        b"{".to_vec(),
        b"}".to_vec(),
        b"{\"messages\"".to_vec(),
        b"{\"messages\":".to_vec(),
        b"{\"messages\":\"A\",\"prompt\":\"A\"".to_vec(),
        b"{\"messages\":\"A\",\"prompt\":\"A\"}}".to_vec(),
        b"{\"messages\":\"A\",\"prompt\":\"A\"} trailing".to_vec(),
        b"{'messages':'A','prompt':'A'}".to_vec(),
        b"{messages:\"A\",prompt:\"A\"}".to_vec(),
        b"{\"messages\":\"A\",\"prompt\":\"A\",}".to_vec(),
        b"{\"messages\":\"A\",\"messages\":\"B\",\"prompt\":\"A\",\"prompt\":\"B\"}".to_vec(),
        b"\xef\xbb\xbf{\"messages\":\"A\",\"prompt\":\"A\"}".to_vec(),
        b"{\"messages\":\"\xff\xfe\",\"prompt\":\"\xff\xfe\"}".to_vec(),
        b"{\"messages\":\"\xed\xa0\x80\",\"prompt\":\"\xed\xa0\x80\"}".to_vec(),
        b"{\"messages\":\"\\ud800\",\"prompt\":\"\\ud800\"}".to_vec(),
        b"{\"messages\":\"\x01\",\"prompt\":\"\x01\"}".to_vec(),
        b"\x00\x01\x02\x03".to_vec(),
        b"messages=A&prompt=A".to_vec(),
        b"<xml/>".to_vec(),
        deep("[", "]").into_bytes(),
        deep("{\"a\":", "}").into_bytes(),
        "[".repeat(1_000_000).into_bytes(),
        format!("{{\"messages\":{0},\"prompt\":{0}}}", deep("[", "]")).into_bytes(),
        format!("{{\"x\":{},\"messages\":\"A\",\"prompt\":\"A\"", deep("[", "]")).into_bytes(),
        format!("{{\"metadata\":{},\"messages\":5,\"prompt\":5}}", deep("[", "]")).into_bytes(),
        format!("{{\"messages\":\"{ten_megabytes}\",\"prompt\":\"{ten_megabytes}\"}}").into_bytes(),
        format!("{{\"messages\":\"A\",\"prompt\":\"A\",\"temperature\":\"{ten_megabytes}\"}}")
            .into_bytes(),
        format!("{{\"messages\":\"A\",\"prompt\":\"A\",\"stop\":\"{ten_megabytes}\"}}")
            .into_bytes(),
        format!("{{\"messages\":\"A\",\"prompt\":\"A\",\"temperature\":1{}}}", "0".repeat(100_000))
            .into_bytes(),
        format!("{{\"messages\":\"A\",\"prompt\":\"A\"{keys}}}").into_bytes(),
    ];
    let on = |path: &'static str| bodies.clone().into_iter().map(move |body| case(path, body));
    on(CHAT).chain(on(COMPLETIONS)).collect()
}

fn other_cases() -> Vec<Case> {
    let long = "the dog and the cat and ".repeat(2000);
    let mut cases = vec![
        case("/tokenize", "{}"),
        case("/tokenize", "{\"content\":[]}"),
        case("/tokenize", "{\"messages\":[]}"),
        case("/detokenize", "{\"tokens\":[99999999999]}"),
        case("/detokenize", "{\"tokens\":[1e999]}"),
        case("/detokenize", "[]"),
        case("/apply-template", "{\"messages\":[{\"role\":\"x\"}]}"),
        case(CHAT, chat_body(&long, 1).to_string()),
        case(COMPLETIONS, completion_body(long, 1).to_string()),
    ];
    let name = "x".repeat(10_000);
    for model in ["gpt-4o", "../../etc/passwd", "\u{0}", "'; DROP TABLE models; --", name.as_str()]
    {
        let body = with(chat_body("A", 1), json!({"model": model})).to_string();
        cases.push(Case { path: CHAT, body: body.into_bytes(), status: 404 });
    }
    cases
}

fn still_answers(server: &Client) {
    let answer = server.post(CHAT, &chat_body("Once upon a time", 2)).ok();
    assert_eq!(answer["usage"]["completion_tokens"], 2);
}

#[test]
fn two_hundred_hostile_requests() {
    let groups = [field_cases(), chat_cases(), completion_cases(), body_cases(), other_cases()];
    let cases: Vec<Case> = groups.into_iter().flatten().collect();
    assert!(cases.len() >= 200, "{}", cases.len());
    for (i, case) in cases.iter().enumerate() {
        let reply = shared().post_bytes(case.path, &case.body);
        let shown = String::from_utf8_lossy(&case.body[..case.body.len().min(200)]);
        assert_eq!(reply.status, case.status, "case {i}: {} {shown}: {}", case.path, reply.body);
        let error = reply.error(case.status);
        assert_eq!(error["type"], "invalid_request_error", "{shown}");
        assert!(
            reply.body.len() < 2500,
            "an error is no echo: {} bytes for {shown}",
            reply.body.len()
        );
        if i % 100 == 99 {
            still_answers(shared());
        }
    }
    still_answers(shared());
    println!("{} hostile requests refused", cases.len());
    shared().wait_until_idle();
}

type ListCase = (&'static str, Value, Value, &'static str);

/// Lists with the fields of an object in their order: a path, a body, what of it is such a list, how the error names it.
fn chat_lists() -> Vec<ListCase> {
    let said = |content: Value| json!([{"role": "user", "content": content}]);
    let tool = || json!([{"type": "function", "function": {"name": "f"}}]);
    let chat = |changes: Value, named| (CHAT, chat_body("A", 1), changes, named);
    let message = json!(["user", "hi", null, null, null, null, null]);
    let part = json!(["text", "hi", null, null, null, null, null, null]);
    let call = json!(["c", "function", {"name": "f", "arguments": "{}"}]);
    let schema = json!({"type": "json_schema", "json_schema": ["x", {}]});
    let counted = || json!({"stream": true, "stream_options": [true, null]});
    vec![
        chat(json!({"messages": [message]}), "messages[0]"),
        chat(json!({"messages": [{"role": "user", "content": "A"}, message]}), "messages[1]"),
        chat(json!({"messages": said(json!([part]))}), "messages[0].content[0]"),
        chat(
            json!({"messages": [{"role": "assistant", "tool_calls": [call]}]}),
            "messages[0].tool_calls[0]",
        ),
        chat(counted(), "stream_options"),
        chat(json!({"mcp": [["server"], null, [], null]}), "mcp"),
        chat(json!({"tools": [["function", {"name": "f"}]]}), "tools[0].type"),
        chat(json!({"tools": [{"type": "function", "function": ["f"]}]}), "tools[0].function"),
        chat(json!({"tools": tool(), "tool_choice": ["function", {"name": "f"}]}), "tool_choice"),
        chat(json!({"response_format": ["json_object"]}), "response_format.type"),
        chat(json!({"response_format": schema}), "response_format.json_schema.schema"),
        chat(json!({"grammar": ["regex", "a"]}), "grammar.type"),
        (COMPLETIONS, completion_body("A", 1), counted(), "stream_options"),
        ("/tokenize", json!({}), json!({"messages": [message]}), "messages[0]"),
        ("/apply-template", json!({}), json!({"messages": [message]}), "messages[0]"),
    ]
}

/// The same for the other dialects.
fn other_lists() -> Vec<ListCase> {
    let said = |content: Value| json!([{"role": "user", "content": [content]}]);
    let ask = json!({"input": "A", "max_output_tokens": 1});
    let response = |changes: Value, named| (RESPONSES, ask.clone(), changes, named);
    let turn = json!({"messages": said(json!({"type": "text", "text": "A"})), "max_tokens": 1});
    let message = |changes: Value, named| (MESSAGES, turn.clone(), changes, named);
    let part = json!(["input_text", "hi", null, null, null, null, null, null]);
    let mut item = vec![Value::Null; 14];
    (item[2], item[3]) = ("user".into(), "hi".into());
    let image =
        json!({"type": "image", "source": ["url", null, null, "data:image/png;base64,AA=="]});
    vec![
        response(json!({"input": [item]}), "input[0]"),
        response(json!({"input": said(part)}), "input[0].content[0]"),
        response(json!({"text": [{"type": "text"}, null]}), "text"),
        response(json!({"reasoning": ["low", null, null]}), "reasoning"),
        message(json!({"messages": [["user", "hi"]]}), "messages[0]"),
        message(json!({"messages": said(json!(["text", "hi"]))}), "messages[0].content[0]"),
        message(json!({"messages": said(image)}), "messages[0].content[0].source"),
        message(json!({"system": [["text", "hi"]]}), "system[0]"),
        message(json!({"thinking": ["disabled", null, null]}), "thinking"),
        message(json!({"tool_choice": ["none", null, null]}), "tool_choice"),
        message(json!({"output_config": [null, "low"]}), "output_config"),
    ]
}

#[test]
fn a_list_is_no_object_within_a_body_either() {
    for (path, body, list, named) in [chat_lists(), other_lists()].concat() {
        let reply = shared().post(path, &with(body, list.clone()));
        let error = match path {
            MESSAGES => reply.json()["error"].clone(),
            _ => reply.error(400),
        };
        let shown = format!("{path} {list}: {error}");
        assert_eq!(
            (reply.status, &error["type"]),
            (400, &json!("invalid_request_error")),
            "{shown}"
        );
        assert!(error["message"].as_str().unwrap().contains(&format!("`{named}`")), "{shown}");
        assert!(path == MESSAGES || error["param"] == named, "{shown}");
    }
    still_answers(shared());
}

/// What is not even HTTP gets no answer of ours, but it harms nobody.
#[test]
fn broken_connections_harm_nobody() {
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    let many_headers: String = (0..500).map(|i| format!("x-{i}: y\r\n")).collect();
    let broken = [
        "\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}".to_owned(),
        format!("{head}content-length: 1000\r\n\r\n{{"),
        format!("{head}content-length: -1\r\n\r\n"),
        format!("{head}content-length: 5\r\ncontent-length: 6\r\n\r\n{{}}"),
        format!("{head}content-length: 99999999999999999999\r\n\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000)),
        format!("GET / HTTP/1.1\r\n{many_headers}\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    for text in broken {
        let mut socket = TcpStream::connect(shared().address).unwrap();
        let _ = socket.write_all(text.as_bytes());
        let _ = socket.shutdown(std::net::Shutdown::Write);
        socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let first = String::from_utf8_lossy(&answer[..answer.len().min(15)]).into_owned();
        assert!(first.is_empty() || first.starts_with("HTTP/1.1 4"), "{first} to {:.60}", text);
    }
    still_answers(shared());
}
