//! Answers that must have a form, from models that know nothing: whatever is reported as complete has
//! it. The JSON-Schema-Test-Suite and BFCL samples stand in the data folder beside the project; a few of
//! our own are here. `FORMS=all` runs all of them, with 20 samples each: 69 schemas were accepted and 3
//! refused, 1122 answers were complete.

use crate::answers::{Answer, chat, collect, load};
use mistralrs_core::{
    ChatRequest, CompletionRequest, FinishReason, Form, GenerateOptions, Grammar, Llm, Message,
    Prompt, RequestError, Role, SamplingParams, ToolChoice,
};
use mistralrs_testkit::{copy_of, read_json, shared, workspace};
use serde_json::{Value, json};

/// A random model with room for long answers, and the chat template of another.
fn roomy(template: &str) -> Llm {
    let folder = copy_of("llama-plain");
    let file = folder.path().join("config.json");
    let mut config: Value = read_json(&file);
    config["max_position_embeddings"] = json!(8192);
    std::fs::write(&file, config.to_string()).unwrap();
    let template =
        workspace().join(format!("mistralrs-core/tests/data/templates/{template}.jinja"));
    load(folder.path(), |o| o.jinja_explicit = Some(template))
}

fn all() -> bool {
    std::env::var("FORMS").is_ok_and(|forms| forms == "all")
}

/// Random, but fond of closing what is open.
fn options(llm: &Llm, seed: u64, max_tokens: usize) -> GenerateOptions {
    let mut logit_bias = Vec::new();
    for text in ["\"", "}", "]", ",", "\"}", "</tool_call>"] {
        if let [id] = llm.tokenize(text, false).unwrap()[..] {
            logit_bias.push((id, 4.0));
        }
    }
    let temperature = Some(1.0);
    let sampling =
        SamplingParams { temperature, seed: Some(seed), logit_bias, ..Default::default() };
    GenerateOptions { max_tokens: Some(max_tokens), sampling, ..GenerateOptions::default() }
}

fn complete(llm: &Llm, grammar: Grammar, options: GenerateOptions) -> Result<Answer, RequestError> {
    let form = Some(Form { grammar, field: "grammar".to_owned() });
    let options = GenerateOptions { form, ..options };
    let prompt = Prompt::Text("Once upon a time".to_owned());
    collect(llm.complete(CompletionRequest { prompt, options })?)
}

/// Whether a schema is accepted; then all answers that are complete are checked.
fn check_schema(llm: &Llm, schema: &Value, samples: u64) -> Option<usize> {
    let validator = jsonschema::validator_for(schema).unwrap();
    let mut whole = 0;
    for seed in 0..samples {
        let grammar = Grammar::JsonSchema(schema.clone());
        let answer = match complete(llm, grammar, options(llm, seed, 150)) {
            Ok(answer) => answer,
            Err(error) => {
                let RequestError::Invalid { param, message } = error else { panic!("{error}") };
                assert_eq!(param, "grammar");
                assert!(message.len() > 30, "{message}");
                return None;
            }
        };
        let value = serde_json::from_str::<Value>(&answer.text);
        match answer.reason {
            // JSON has numbers that no machine number holds.
            FinishReason::Stop if is_beyond_numbers(&value) => {}
            FinishReason::Stop => {
                let value =
                    value.unwrap_or_else(|error| panic!("{schema}: {error}: {}", answer.text));
                assert!(validator.is_valid(&value), "{schema}: {value}");
                whole += 1;
            }
            // Cut off, and told so.
            FinishReason::Length => assert_eq!(answer.token_ids.len(), 150),
            FinishReason::ToolCalls => panic!("no tools were offered"),
        }
    }
    Some(whole)
}

fn is_beyond_numbers(value: &serde_json::Result<Value>) -> bool {
    value.as_ref().is_err_and(|error| error.to_string().starts_with("number out of range"))
}

fn own_schemas() -> Vec<Value> {
    let person = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 130}},
        "required": ["name", "age"], "additionalProperties": false});
    vec![
        json!({"enum": ["a", 1, null, {"b": [true]}]}),
        json!({"type": "array", "items": person, "minItems": 1, "maxItems": 2}),
        person,
        json!({"type": "string", "pattern": "^[a-f]{3}-[0-9]+$", "maxLength": 8}),
        json!({"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}, "maxItems": 1}}, "required": ["kids"], "additionalProperties": false}),
        json!({"type": ["number", "boolean"], "exclusiveMinimum": -2, "maximum": 1000}),
        json!({"anyOf": [{"const": "x"}, {"type": "object", "properties": {"y": {"type": "null"}}, "required": ["y"], "additionalProperties": false}]}),
        json!({"type": "string", "format": "date"}),
    ]
}

#[test]
fn what_is_complete_validates() {
    let llm = roomy("Qwen-Qwen2.5-7B-Instruct");
    let samples = if all() { 20 } else { 4 };
    for schema in own_schemas() {
        let whole = check_schema(&llm, &schema, samples);
        assert!(whole.is_some_and(|whole| whole > 0), "{schema}: {whole:?}");
    }
}

#[test]
fn the_schema_suite_validates_or_is_refused() {
    let Some(folder) = shared("json-schema/suite") else { return };
    let llm = roomy("Qwen-Qwen2.5-7B-Instruct");
    let (mut accepted, mut refused, mut whole) = (0, 0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let groups: Vec<Value> = read_json(&entry.unwrap().path());
        let some = if all() { groups.len() } else { 3 };
        for group in groups.iter().take(some).filter(|group| group["schema"].is_object()) {
            match check_schema(&llm, &group["schema"], if all() { 20 } else { 1 }) {
                Some(found) => {
                    accepted += 1;
                    whole += found;
                }
                None => refused += 1,
            }
        }
    }
    println!("{accepted} schemas accepted, {refused} refused, {whole} answers complete");
    assert!(accepted > 10 && whole > 5, "{accepted} {refused} {whole}");
}

#[test]
fn grammars_of_every_kind_hold() {
    let llm = roomy("Qwen-Qwen2.5-7B-Instruct");
    let list = json!({"grammars": [{"lark_grammar": "start: \"x\" \"y\"{2}"}]}).to_string();
    let table = [
        (Grammar::Regex("(yes|no)!{1,3}".into()), "yes!", "no!"),
        (Grammar::Lark("start: a+ \".\"\na: \"ba\" | \"du\"".into()), "ba", "du"),
        (Grammar::Llguidance(list), "xyy", "xyy"),
    ];
    for (grammar, one, other) in table {
        for seed in 0..5 {
            let answer = complete(&llm, grammar.clone(), options(&llm, seed, 60)).unwrap();
            let text = &answer.text;
            assert!(text.starts_with(one) || text.starts_with(other), "{grammar:?}: {text}");
            assert!(answer.reason == FinishReason::Stop || answer.token_ids.len() == 60);
        }
    }
    let answer = complete(&llm, Grammar::Regex("abc".into()), options(&llm, 1, 60)).unwrap();
    assert_eq!((answer.text.as_str(), answer.reason), ("abc", FinishReason::Stop));
    // Exactly as many tokens as are needed: complete, not cut off.
    let tokens = answer.token_ids.len();
    let exact = complete(&llm, Grammar::Regex("abc".into()), options(&llm, 1, tokens)).unwrap();
    assert_eq!(exact.reason, FinishReason::Stop);
    let cut = complete(&llm, Grammar::Regex("abc".into()), options(&llm, 1, tokens - 1)).unwrap();
    assert_eq!(cut.reason, FinishReason::Length);
}

/// With log-probabilities every token is computed, without them some are forced: the same answer.
#[test]
fn forced_tokens_change_nothing() {
    let llm = roomy("Qwen-Qwen2.5-7B-Instruct");
    for (seed, schema) in (0..).zip(own_schemas()) {
        let ask = |logprobs| {
            let options = GenerateOptions { logprobs, ..options(&llm, seed, 80) };
            let greedy = SamplingParams { temperature: Some(0.0), ..options.sampling.clone() };
            let options = GenerateOptions { sampling: greedy, ..options };
            complete(&llm, Grammar::JsonSchema(schema.clone()), options).unwrap()
        };
        let (fast, slow) = (ask(None), ask(Some(0)));
        assert_eq!((&fast.text, fast.reason), (&slow.text, slow.reason), "{schema}");
        assert_eq!(fast.token_ids, slow.token_ids);
        assert_eq!(slow.logprobs.len(), slow.token_ids.len());
    }
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

fn tools_of(functions: &[Value]) -> Vec<Value> {
    let tool = |function: &Value| {
        let mut function = function.clone();
        json_types(&mut function["parameters"]);
        json!({"type": "function", "function": function})
    };
    functions.iter().map(tool).collect()
}

/// Every complete call is of an offered function and its arguments fit.
fn check_calls(answer: &Answer, tools: &[Value]) {
    for call in &answer.calls {
        let tool = tools.iter().find(|tool| tool["function"]["name"] == call.name);
        let tool = tool.unwrap_or_else(|| panic!("{} was not offered", call.name));
        let arguments = serde_json::from_str::<Value>(&call.arguments);
        if is_beyond_numbers(&arguments) {
            continue;
        }
        let arguments = arguments.unwrap();
        let validator = jsonschema::validator_for(&tool["function"]["parameters"]).unwrap();
        assert!(validator.is_valid(&arguments), "{}: {arguments}", tool["function"]["parameters"]);
    }
    match answer.reason {
        FinishReason::ToolCalls => assert!(!answer.calls.is_empty() && answer.open_call.is_none()),
        FinishReason::Length => {}
        FinishReason::Stop => panic!("an answer without a call: {:?}", answer.text),
    }
    assert!(answer.reason == FinishReason::Length || answer.text.is_empty(), "{:?}", answer.text);
}

fn required(llm: &Llm, question: &str, tools: &[Value], seed: u64) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::text(Role::User, question)],
        tools: tools.to_vec(),
        tool_choice: ToolChoice::Required,
        options: options(llm, seed, 400),
        ..ChatRequest::default()
    }
}

const TEMPLATES: [&str; 8] = [
    "Qwen-Qwen2.5-7B-Instruct",
    "meta-llama-Llama-3.1-8B-Instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
    "openai-gpt-oss-120b",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "gemma-3-it",
    "HuggingFaceTB-SmolLM3-3B",
    "microsoft-Phi-3.5-mini-instruct",
];

#[test]
fn a_required_call_is_made_in_every_format() {
    let parameters = json!({"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "n": {"type": "integer"}}, "required": ["a", "n"]});
    let function = |name: &str| json!({"name": name, "parameters": parameters});
    let tools = tools_of(&[function("first"), function("second.one")]);
    for template in TEMPLATES {
        let llm = roomy(template);
        let mut request = required(&llm, "Call!", &tools, 1);
        // The thinking of a random model has no end.
        request.template_kwargs.insert("enable_thinking".to_owned(), false.into());
        if template.contains("R1") {
            request.options.max_tokens = Some(20);
            let answer = chat(&llm, &request);
            assert_eq!((answer.reason, answer.calls.len()), (FinishReason::Length, 0));
            continue;
        }
        let answer = chat(&llm, &request);
        check_calls(&answer, &tools);
        assert!(!answer.calls.is_empty(), "{template}: {answer:?}");
        request.tool_choice = ToolChoice::Named("second.one".to_owned());
        let answer = chat(&llm, &request);
        check_calls(&answer, &tools);
        let names: Vec<&str> = answer.calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["second.one"], "{template}");
    }
}

#[test]
fn calls_of_bfcl_are_complete_and_valid() {
    let llms = TEMPLATES[..3].iter().map(|template| roomy(template)).collect::<Vec<_>>();
    let (mut whole, mut calls, mut cut) = (0, 0, 0);
    for name in ["simple_python", "multiple", "parallel", "parallel_multiple"] {
        let Some(file) = shared(&format!("bfcl/BFCL_v4_{name}.jsonl")) else { return };
        let text = std::fs::read_to_string(file).unwrap();
        let some = if all() { usize::MAX } else { 2 };
        for (i, line) in text.lines().take(some).enumerate() {
            let case: Value = serde_json::from_str(line).unwrap();
            let tools = tools_of(case["function"].as_array().unwrap());
            let question = case["question"][0][0]["content"].as_str().unwrap();
            let llm = &llms[i % llms.len()];
            let answer = llm.chat(required(llm, question, &tools, i as u64));
            let answer = collect(answer.unwrap_or_else(|error| panic!("{line}: {error}"))).unwrap();
            check_calls(&answer, &tools);
            calls += answer.calls.len();
            match answer.reason {
                FinishReason::ToolCalls => whole += 1,
                _ => cut += 1,
            }
        }
    }
    println!("{whole} answers complete with {calls} calls, {cut} cut off");
    assert!(whole > 0 && calls >= whole);
}

#[test]
fn strict_arguments_beside_free_text() {
    let llm = roomy("Qwen-Qwen2.5-7B-Instruct");
    let mut tools = tools_of(&[
        json!({"name": "f", "parameters": {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}}),
    ]);
    tools[0]["function"]["strict"] = json!(true);
    let mut request = required(&llm, "Hi", &tools, 3);
    request.tool_choice = ToolChoice::Auto;
    request.options.max_tokens = Some(30);
    // A random model does not call; what it says is free.
    let answer = chat(&llm, &request);
    assert!(answer.calls.is_empty() && !answer.text.is_empty());
    tools[0]["function"]["parameters"] = json!({"type": "object", "not": {}});
    request.tools = tools;
    let error = llm.chat(request).map(|_| ()).unwrap_err();
    let RequestError::Invalid { param, message } = error else { panic!("{error}") };
    assert_eq!(param, "tools[0].function.parameters");
    assert!(message.contains("\"not\""), "{message}");
}

/// A random model would think for ever; its template begins the thoughts for it.
#[test]
fn thoughts_end_with_their_budget_and_the_form_follows() {
    let llm = roomy("deepseek-ai-DeepSeek-R1-Distill-Llama-8B");
    for (budget, seed) in [(0, 1), (1, 2), (9, 3), (40, 4)] {
        let form = Form { grammar: Grammar::Regex("(yes|no)".into()), field: "grammar".to_owned() };
        let request = ChatRequest {
            messages: vec![Message::text(Role::User, "Hi")],
            options: GenerateOptions {
                form: Some(form),
                thinking_budget: Some(budget),
                ..options(&llm, seed, 100)
            },
            ..ChatRequest::default()
        };
        let answer = chat(&llm, &request);
        assert!(["yes", "no"].contains(&&*answer.text), "{answer:?}");
        assert_eq!(answer.reason, FinishReason::Stop);
        assert!(!answer.reasoning.contains("think>"), "{answer:?}");
        // Tokens without text of their own are told with the next text.
        let used = answer.usage.reasoning_tokens;
        assert!(used <= budget && used + 4 >= budget, "{used} of {budget}");
        let endless = GenerateOptions { thinking_budget: None, ..request.options.clone() };
        let endless = ChatRequest { options: endless, ..request };
        let answer = chat(&llm, &endless);
        assert_eq!((answer.reason, answer.text.as_str()), (FinishReason::Length, ""));
    }
}

#[test]
fn a_form_in_a_chat_comes_after_the_reasoning() {
    let llm = roomy("Qwen-Qwen3-0.6B");
    let form = |grammar| Some(Form { grammar, field: "response_format".to_owned() });
    let mut request = ChatRequest {
        messages: vec![Message::text(Role::User, "Hi")],
        options: GenerateOptions {
            form: form(Grammar::Regex("(a|b)c".into())),
            ..options(&llm, 1, 40)
        },
        ..ChatRequest::default()
    };
    request.template_kwargs.insert("enable_thinking".to_owned(), false.into());
    let answer = chat(&llm, &request);
    assert!(["ac", "bc"].contains(&&*answer.text), "{}", answer.text);
    assert_eq!(answer.reason, FinishReason::Stop);
    request.options.form = form(Grammar::JsonSchema(json!({"type": "object", "if": {}})));
    let error = llm.chat(request).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("\"if\""), "{error}");
}
