//! Tools through the whole of core: what templates make of offered tools, of calls and of results.

use crate::answers::load;
use mistralrs_core::{
    Capabilities, ChatRequest, Content, Llm, Message, Part, Role, ToolCall, ToolChoice,
};
use mistralrs_testkit::{fixture, workspace};
use serde_json::{Value, json};

/// A tiny model with the chat template of another.
fn with_template(name: &str) -> Llm {
    let file = workspace().join(format!("mistralrs-core/tests/data/templates/{name}.jinja"));
    assert!(file.exists(), "{}", file.display());
    load(&fixture("llama-plain"), |o| o.jinja_explicit = Some(file))
}

fn weather() -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!({"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": parameters}})
}

fn call() -> ToolCall {
    ToolCall {
        id: "call_Ab0Cd1Ef2Gh3Ij4Kl5Mn6Op7".to_owned(),
        name: "get_weather".to_owned(),
        arguments: "{\"city\": \"Oslo\"}".to_owned(),
    }
}

/// Template, format, tools in the template, round trip, reasoning.
const TABLE: [(&str, &str, bool, bool, bool); 12] = [
    ("Qwen-Qwen2.5-7B-Instruct", "hermes", true, true, false),
    ("Qwen-Qwen3-0.6B", "hermes", true, true, true),
    ("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "hermes", true, true, false),
    ("meta-llama-Llama-3.1-8B-Instruct", "llama3", true, true, false),
    ("mistralai-Mistral-Nemo-Instruct-2407", "mistral", true, true, false),
    ("openai-gpt-oss-120b", "harmony", true, true, true),
    ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek", false, true, true),
    ("HuggingFaceTB-SmolLM3-3B", "smollm3", false, true, true),
    ("gemma-3-it", "gemma", false, true, false),
    ("google-gemma-2-2b-it", "gemma", false, true, false),
    ("microsoft-Phi-3.5-mini-instruct", "json", false, true, false),
    ("qwen2-vl", "json", false, true, false),
];

#[test]
fn calls_make_the_round_trip_through_every_template() {
    for (name, tool_format, tools_in_template, tool_round_trip, reasoning) in TABLE {
        let reasoning_effort = name.starts_with("openai-gpt-oss");
        let expected = Capabilities {
            tool_format,
            tools_in_template,
            tool_round_trip,
            reasoning,
            reasoning_effort,
        };
        assert_eq!(with_template(name).capabilities(), expected, "{name}");
    }
}

#[test]
fn a_conversation_with_tools_renders_with_every_template() {
    for (name, ..) in TABLE {
        let llm = with_template(name);
        let mut request = ChatRequest {
            messages: vec![Message::text(Role::User, "Weather in Oslo?")],
            tools: vec![weather()],
            ..ChatRequest::default()
        };
        let offered = llm.apply_template(&request).unwrap();
        assert!(offered.contains("get_weather") && offered.contains("city"), "{name}: {offered}");
        request.messages.push(Message::calling("", &[call()]));
        let mut result = Message::tool_result(&call(), "rain");
        result.content =
            Content::Parts(vec![Part::Text("rain".to_owned()), Part::Text("3 degrees".to_owned())]);
        request.messages.push(result);
        let answered =
            llm.apply_template(&request).unwrap_or_else(|error| panic!("{name}: {error}"));
        for text in ["Oslo", "get_weather", "rain", "3 degrees"] {
            assert!(answered.contains(text), "{name} without {text}: {answered}");
        }
        request.tool_choice = ToolChoice::None;
        request.messages.truncate(1);
        let refused = llm.apply_template(&request).unwrap();
        assert!(!refused.contains("get_weather"), "{name}: {refused}");
    }
}
