//! Renderings against transformers' (made by scripts/make_template_goldens.py), byte for byte.

use super::*;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/templates")
}

fn goldens() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("goldens.json")).unwrap()).unwrap()
}

fn load(name: &str, goldens: &Value) -> ChatTemplate {
    let now = goldens["now"].as_str().unwrap().parse().unwrap();
    let source = TemplateSource::from_file(&folder().join(format!("{name}.jinja"))).unwrap();
    let special = json!({"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"});
    ChatTemplate::new(source, special.as_object().unwrap().clone(), Clock::Fixed(now)).unwrap()
}

fn compile(source: &str) -> ChatTemplate {
    let source = TemplateSource { default: source.to_owned(), tool_use: None };
    ChatTemplate::new(source, Map::new(), Clock::Local).unwrap()
}

fn assert_outcome(outcome: &Value, rendered: Result<String, String>, what: &str) {
    match (outcome.get("text").and_then(Value::as_str), rendered) {
        (Some(text), rendered) => assert_eq!(rendered.as_deref(), Ok(text), "{what}"),
        (None, rendered) => match outcome.get("raised").and_then(Value::as_str) {
            Some(raised) => assert_eq!(rendered, Err(raised.to_owned()), "{what}"),
            // Python failed within the template, such as by iterating over None; there is no
            // rendering to be equal to.
            None => assert_eq!(outcome["failed"], true),
        },
    }
}

#[test]
fn templates_render_as_in_transformers() {
    let goldens = goldens();
    let cases = goldens["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let (name, key) = (case["template"].as_str().unwrap(), case["context"].as_str().unwrap());
        let context = goldens["contexts"][key].as_object().unwrap().clone();
        let rendered = load(name, &goldens).render_context(DEFAULT, context);
        assert_outcome(&case["as_given"], rendered, &format!("{name} {key}"));
    }
}

/// A context in OpenAI's form as a request.
fn request(context: &Value) -> ChatRequest {
    let mut request = ChatRequest::default();
    for message in context["messages"].as_array().unwrap() {
        let mut extra = message.as_object().unwrap().clone();
        let role = match extra.remove("role").unwrap().as_str().unwrap() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => panic!("{other}"),
        };
        let content = match extra.remove("content").unwrap() {
            Value::Array(parts) => Content::Parts(
                parts
                    .iter()
                    .map(|part| Part::Text(part["text"].as_str().unwrap().to_owned()))
                    .collect(),
            ),
            text => Content::Text(text.as_str().unwrap().to_owned()),
        };
        request.messages.push(Message { role, content, extra });
    }
    for (key, value) in context.as_object().unwrap() {
        match key.as_str() {
            "messages" | "bos_token" | "eos_token" => {}
            "tools" => request.tools = value.as_array().unwrap().clone(),
            _ => drop(request.template_kwargs.insert(key.clone(), value.clone())),
        }
    }
    request
}

#[test]
fn requests_take_the_form_that_each_template_wants() {
    let goldens = goldens();
    for case in goldens["cases"].as_array().unwrap() {
        let (name, key) = (case["template"].as_str().unwrap(), case["context"].as_str().unwrap());
        let template = load(name, &goldens);
        let rendered = template.render(&request(&goldens["contexts"][key]));
        let outcome = case.get("with_objects").unwrap_or(&case["as_given"]);
        if key == "parts" && !template.default.parts {
            // Parts are not for this template: it gets their text.
            let flat = json!({"messages": [{"role": "user", "content": "Hello\nthere"}]});
            assert_eq!(rendered.unwrap(), template.render(&request(&flat)).unwrap(), "{name}");
            continue;
        }
        let rendered = rendered.map_err(|e| e.to_string());
        assert_outcome(outcome, rendered, &format!("{name} {key} as a request"));
    }
}

#[test]
fn probes_find_what_a_template_wants() {
    let goldens = goldens();
    for (name, arguments) in goldens["arguments"].as_object().unwrap() {
        let wishes = load(name, &goldens).default;
        assert_eq!(wishes.argument_objects, arguments == "object", "{name}");
        let parts = ["gemma-3-it", "gemma3n", "qwen2-vl", "meta-llama-Llama-3.1-8B-Instruct"];
        if wishes.parts {
            assert!(parts.contains(&name.as_str()) || name.contains("SmolLM3"), "{name}");
        }
        assert_eq!(wishes.developer, name.contains("gpt-oss"), "{name}");
    }
    let only_parts = compile(
        "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
    );
    assert!(only_parts.default.parts && !only_parts.default.text);
    let said =
        only_parts.render(&request(&json!({"messages": [{"role": "user", "content": "x"}]})));
    assert_eq!(said.unwrap(), "x");
}

fn tool_conversation() -> ChatRequest {
    let arguments = "{\"city\": \"Bern\"}";
    let call = json!([{"id": "1", "type": "function",
        "function": {"name": "weather", "arguments": arguments}}]);
    let mut called = Message::text(Role::Assistant, "");
    called.content = Content::None;
    called.extra.insert("tool_calls".to_owned(), call);
    let mut result = Message::text(Role::Tool, "sunny");
    result.extra.insert("tool_call_id".to_owned(), json!("1"));
    ChatRequest {
        messages: vec![Message::text(Role::User, "weather?"), called, result],
        ..ChatRequest::default()
    }
}

#[test]
fn tool_calls_survive_every_mode() {
    for name in ["Qwen-Qwen2.5-7B-Instruct", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"] {
        let prompt = load(name, &goldens()).render(&tool_conversation()).unwrap();
        assert!(prompt.contains("weather") && prompt.contains("{\"city\": \"Bern\"}"), "{prompt}");
        assert!(prompt.contains("sunny") && !prompt.contains("None"), "{prompt}");
    }
    let flat = compile(
        "{% for m in messages %}{{ m.role + ':' + m.content }}{% for c in m.tool_calls %}\
         {{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %};{% endfor %}",
    );
    let prompt = flat.render(&tool_conversation()).unwrap();
    assert_eq!(prompt, "user:weather?;assistant:weather{\"city\": \"Bern\"};tool:sunny;");
}

#[test]
fn arguments_that_are_no_object_stay_as_they_are() {
    let parsed = |arguments: &str| {
        let calls = json!([{"function": {"arguments": arguments}}]);
        with_argument_objects(&calls).pointer("/0/function/arguments").unwrap().clone()
    };
    assert_eq!(parsed("{\"b\": 1, \"a\": 2}").to_string(), "{\"b\":1,\"a\":2}");
    assert_eq!(parsed(" "), json!({}));
    for text in ["[1]", "{broken", "3"] {
        assert_eq!(parsed(text), json!(text));
    }
    for odd in [json!(null), json!([1]), json!([{"function": 1}]), json!({"a": 1})] {
        assert_eq!(with_argument_objects(&odd), odd);
    }
}

#[test]
fn a_content_without_text_keeps_its_message() {
    let template = compile("{% for m in messages %}[{{ m.role + m.content }}]{% endfor %}");
    let mut request = tool_conversation();
    request.messages.truncate(1);
    for content in [Content::Parts(vec![]), Content::None] {
        request.messages[0].content = content;
        assert_eq!(template.render(&request).unwrap(), "[user]");
    }
    let parts = ["a", "b"].map(|text| Part::Text(text.to_owned())).to_vec();
    request.messages[0].content = Content::Parts(parts);
    assert_eq!(template.render(&request).unwrap(), "[usera\nb]");
}

#[test]
fn templates_see_the_kind_of_a_medium_and_its_place() {
    let bytes = || crate::request::MediaBytes::from(vec![1]);
    let image = Part::Image(crate::request::Image::new(vec![1]));
    let video = Part::Video(crate::request::Video { frames: vec![bytes()], fps: None });
    let audio = Part::Audio(crate::request::Audio { bytes: bytes() });
    let mut request = tool_conversation();
    request.messages.truncate(1);
    let parts = vec![Part::Text("a".into()), image.clone(), Part::Text("b".into()), video, audio];
    request.messages[0].content = Content::Parts(parts);
    let types = "{% for m in messages %}{% for p in m.content %}{{ p.type }}{{ p.text }} {% endfor %}{% endfor %}";
    assert_eq!(compile(types).render(&request).unwrap(), "texta image textb video audio ");
    // Where content is a string, the text is all there is, and a picture alone is an empty message.
    let flat = compile("{% for m in messages %}[{{ m.role + m.content }}]{% endfor %}");
    assert_eq!(flat.render(&request).unwrap(), "[usera\nb]");
    request.messages[0].content = Content::Parts(vec![image.clone()]);
    assert_eq!(flat.render(&request).unwrap(), "[user]");
    let goldens = goldens();
    let marks = [
        ("qwen2-vl", "<|vision_start|><|image_pad|><|vision_end|>b"),
        ("gemma-3-it", "<start_of_image>b"),
    ];
    for (name, mark) in marks {
        request.messages[0].content = Content::Parts(vec![image.clone(), Part::Text("b".into())]);
        let prompt = load(name, &goldens).render(&request).unwrap();
        assert!(prompt.contains(mark), "{name}: {prompt}");
    }
}

#[test]
fn developers_are_systems_where_unknown() {
    let said = |source: &str| {
        let messages = vec![Message::text(Role::Developer, "x")];
        compile(source).render(&ChatRequest { messages, ..ChatRequest::default() }).unwrap()
    };
    assert_eq!(said("{{ messages[0].role }}"), "system");
    assert_eq!(said("{{ messages[0].role }}{# developer #}"), "developer");
}

#[test]
fn errors_are_the_templates_words() {
    let hello = request(&json!({"messages": [{"role": "user", "content": "x"}]}));
    let refused = compile("{{ raise_exception('Only ' ~ messages[0].role ~ 's, please.') }}");
    match refused.render(&hello).unwrap_err() {
        RequestError::Invalid { param, message } => {
            assert_eq!((param.as_str(), message.as_str()), ("messages", "Only users, please."));
        }
        other => panic!("{other}"),
    }
    let inside = compile("{% macro f() %}{{ raise_exception('deep') }}{% endmacro %}{{ f() }}");
    assert_eq!(inside.render(&hello).unwrap_err().to_string(), "deep");
    let wrong = compile("\n{{ messages[0].nothing.more }}").render(&hello).unwrap_err().to_string();
    assert!(wrong.contains("chat template failed") && wrong.contains("line 2"), "{wrong}");
    let endless = compile("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
    assert!(endless.render(&hello).is_err());
}

#[test]
fn kwargs_are_variables_but_cannot_replace_the_request() {
    let template = compile("{{ enable_thinking }} {{ add_generation_prompt }} {{ tools is none }}");
    let mut hello = request(&json!({"messages": [], "enable_thinking": false}));
    assert_eq!(template.render(&hello).unwrap(), "False True True");
    hello.template_kwargs.insert("add_generation_prompt".to_owned(), json!(false));
    assert_eq!(template.render(&hello).unwrap(), "False False True");
    hello.template_kwargs.insert("messages".to_owned(), json!([]));
    match template.render(&hello).unwrap_err() {
        RequestError::Invalid { param, .. } => assert_eq!(param, "chat_template_kwargs"),
        other => panic!("{other}"),
    }
}

#[test]
fn the_template_for_tools_is_used_for_tools() {
    let source = TemplateSource { default: "plain".to_owned(), tool_use: Some("tools".to_owned()) };
    let template = ChatTemplate::new(source, Map::new(), Clock::Local).unwrap();
    let mut hello = ChatRequest::default();
    assert_eq!(template.render(&hello).unwrap(), "plain");
    hello.tools.push(json!({"type": "function", "function": {"name": "f"}}));
    assert_eq!(template.render(&hello).unwrap(), "tools");
}
