//! All formats by the same tests: what the writer writes the parser reads; cuts do not matter; no text
//! makes a parser fail; what looked like a call and was none is given back.

use super::*;
use crate::request::ToolCallDelta;
use proptest::prelude::*;
use serde_json::{Value, json};

const NAMES: [&str; 3] = ["get_weather", "f", "now"];

/// One answer, put together again.
#[derive(Debug, Default, Clone, PartialEq)]
struct Read {
    content: String,
    reasoning: String,
    calls: Vec<Call>,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Call {
    name: String,
    arguments: String,
    complete: bool,
    aborted: bool,
}

fn parser(format: &Format, thinking: Thinking) -> OutputParser {
    OutputParser::new(thinking, Some((format, NAMES.map(String::from).to_vec())))
}

fn read_pieces<'a>(mut parser: OutputParser, pieces: impl IntoIterator<Item = &'a str>) -> Read {
    let mut fragments = Vec::new();
    for piece in pieces {
        fragments.extend(parser.push(piece));
    }
    fragments.extend(parser.finish());
    let mut read = Read::default();
    for fragment in fragments {
        match fragment {
            Fragment::Content(text) => read.content += &text,
            Fragment::Reasoning(text) => read.reasoning += &text,
            Fragment::ToolCall { index, delta: ToolCallDelta::Start { id, name } } => {
                assert_eq!(index, read.calls.len());
                assert!(id.starts_with("call_") && id.len() == 29, "{id}");
                read.calls.push(Call { name, ..Call::default() });
            }
            Fragment::ToolCall { index, delta } => {
                assert_eq!(index + 1, read.calls.len());
                let call = read.calls.last_mut().unwrap();
                assert!(!call.complete && !call.aborted, "nothing may follow the end");
                match delta {
                    ToolCallDelta::Arguments(text) => call.arguments += &text,
                    ToolCallDelta::End => call.complete = true,
                    ToolCallDelta::Abort => call.aborted = true,
                    ToolCallDelta::Start { .. } => panic!("a call inside a call"),
                }
            }
        }
    }
    for call in read.calls.iter().filter(|call| call.complete) {
        let arguments: Value = serde_json::from_str(&call.arguments).expect(&call.arguments);
        assert!(arguments.is_object(), "{}", call.arguments);
    }
    assert_eq!(parser.has_calls(), read.calls.iter().any(|call| call.complete));
    read
}

fn read(format: &Format, text: &str) -> Read {
    read_pieces(parser(format, Thinking::Absent), [text])
}

fn letters(text: &str) -> Vec<&str> {
    text.split_inclusive(|_| true).collect()
}

fn calls_of(read: &Read) -> Vec<(String, Value)> {
    let whole = read.calls.iter().filter(|call| call.complete);
    whole.map(|c| (c.name.clone(), serde_json::from_str(&c.arguments).unwrap())).collect()
}

#[test]
fn what_the_writer_writes_the_parser_reads() {
    let weather = json!({"city": "São \"Paulo\"\n{x}</tool_call>[]", "n": [1, -2.5e3, {"a": null}], "t": true});
    let arguments = weather.to_string();
    for format in &FORMATS {
        for calls in
            [vec![("get_weather", &*arguments)], vec![("f", "{}"), ("get_weather", &*arguments)]]
        {
            let text = format.call.write(&calls);
            let read = read(format, &text);
            let expected: Vec<(String, Value)> = calls
                .iter()
                .map(|(name, text)| ((*name).to_owned(), serde_json::from_str(text).unwrap()))
                .collect();
            assert_eq!(calls_of(&read), expected, "{}: {text}", format.name);
            assert_eq!(
                (read.content.as_str(), read.reasoning.as_str()),
                ("", ""),
                "{}: {text}",
                format.name
            );
        }
    }
}

/// Format, text, names with arguments, content.
type Sample = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

const SAMPLES: [Sample; 27] = [
    (
        "hermes",
        "Sure.\n<tool_call>\n{\"arguments\": {\"a\": 1}, \"name\": \"f\"}\n</tool_call>",
        &[("f", "{\"a\": 1}")],
        "Sure.\n",
    ),
    (
        "hermes",
        "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>\n<tool_call>{\"name\": \"now\"}",
        &[("f", "{\"a\":1}"), ("now", "{}")],
        "",
    ),
    (
        "hermes",
        "\n\n<tool_call>[{\"name\": \"f\", \"arguments\": null}]</tool_call> done",
        &[("f", "{}")],
        " done",
    ),
    (
        "hermes",
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": }}\n</tool_call>",
        &[],
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": }}\n</tool_call>",
    ),
    ("hermes", "<tool_call>no</tool_call> a < b", &[], "<tool_call>no</tool_call> a < b"),
    (
        "hermes",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"a\nb\"}}</tool_call>",
        &[("f", "{\"s\": \"a\\nb\"}")],
        "",
    ),
    (
        "llama3",
        "{\"name\": \"f\", \"parameters\": {\"a\": 1}}; {\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}",
        &[("f", "{\"a\": 1}"), ("now", "{}")],
        "",
    ),
    (
        "llama3",
        "<|python_tag|>get_weather.call(city=\"Oslo\")",
        &[("get_weather", "{\"city\":\"Oslo\"}")],
        "",
    ),
    (
        "llama3",
        "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}<|eom_id|>",
        &[("f", "{\"a\":1}")],
        "",
    ),
    (
        "llama3",
        "{\"name\": \"nobody\", \"parameters\": {}}",
        &[],
        "{\"name\": \"nobody\", \"parameters\": {}}",
    ),
    ("llama3", "{\"answer\": 42}", &[], "{\"answer\": 42}"),
    (
        "mistral",
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcdef123\"}, {\"name\": \"now\", \"arguments\": {}}]</s>",
        &[("f", "{\"a\": 1}"), ("now", "{}")],
        "",
    ),
    (
        "mistral",
        "[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{\"a\": 1}[TOOL_CALLS]now{}",
        &[("f", "{\"a\": 1}"), ("now", "{}")],
        "",
    ),
    (
        "gemma",
        "Here:\n```tool_code\nprint(get_weather(city='Rome'))\n```\nok",
        &[("get_weather", "{\"city\":\"Rome\"}")],
        "Here:\n\nok",
    ),
    ("gemma", "```tool_code\nimport os\n```", &[], "```tool_code\nimport os\n```"),
    (
        "function-gemma",
        "<start_function_call>call:f{a:<escape>x<escape>}<end_function_call>",
        &[("f", "{\"a\":\"x\"}")],
        "",
    ),
    ("phi4", "functools[{\"name\": \"f\", \"arguments\": {}}]", &[("f", "{}")], ""),
    ("granite", "<|tool_call|> [{\"name\": \"f\", \"arguments\": {}}]", &[("f", "{}")], ""),
    (
        "deepseek",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        &[("f", "{\"a\": 1}"), ("now", "{}")],
        "",
    ),
    (
        "harmony",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>",
        &[("f", "{\"a\": 1}")],
        "",
    ),
    ("harmony", " to=functions.f<|channel|>commentary json<|message|>{}", &[("f", "{}")], ""),
    ("harmony", "<|channel|>final<|message|>Hi.<|return|>", &[], "Hi."),
    ("harmony", "Hi.", &[], "Hi."),
    ("smollm3", "<code>\nf(a=1)\nnow()\n</code>", &[("f", "{\"a\":1}"), ("now", "{}")], ""),
    (
        "command-r",
        "Action: ```json\n[{\"tool_name\": \"f\", \"parameters\": {\"a\": 1}}]\n```",
        &[("f", "{\"a\": 1}")],
        "",
    ),
    ("json", "```json\n[{\"name\": \"f\", \"arguments\": {}}]\n```", &[("f", "{}")], ""),
    ("json", " [1] is a footnote", &[], " [1] is a footnote"),
];

#[test]
fn samples_as_models_write_them() {
    for (name, text, calls, content) in SAMPLES {
        let format = tool_calls::find(name).unwrap();
        for pieces in [vec![text], letters(text)] {
            let read = read_pieces(parser(format, Thinking::Absent), pieces);
            let whole = read.calls.iter().filter(|call| call.complete);
            let found: Vec<(&str, &str)> =
                whole.map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
            assert_eq!(
                (found.as_slice(), read.content.as_str()),
                (calls, content),
                "{name}: {text}"
            );
        }
    }
    let format = tool_calls::find("harmony").unwrap();
    assert_eq!(read(format, SAMPLES[19].1).reasoning, "Hm.");
}

#[test]
fn a_call_cut_off_anywhere_is_text_or_has_no_end() {
    for format in &FORMATS {
        let text = format.call.write(&[("f", "{\"a\": [1, \"é\"]}"), ("now", "{\"b\": {}}")]);
        let whole = read(format, &text);
        for at in (0..text.len()).filter(|&at| text.is_char_boundary(at)) {
            let cut = read(format, &text[..at]);
            for (call, expected) in cut.calls.iter().zip(&whole.calls) {
                assert_eq!(call.name, expected.name);
                assert!(expected.arguments.starts_with(&call.arguments));
                assert!(!call.complete || call == expected);
            }
            let open = cut.calls.iter().filter(|call| !call.complete).count();
            assert!(open <= 1, "{}: {}", format.name, &text[..at]);
        }
    }
}

#[test]
fn plain_text_stays_as_it_is() {
    for text in [
        "Hello, world.",
        " leading",
        "a < b [ c { d",
        "",
        "\n",
        "{",
        "```rust\nfn f() {}\n```",
        "Action: none",
    ] {
        for format in &FORMATS {
            let read = read_pieces(parser(format, Thinking::Absent), letters(text));
            assert_eq!((read.content.as_str(), read.calls.len()), (text, 0), "{}", format.name);
        }
    }
}

#[test]
fn templates_ask_for_their_format() {
    let table = [
        ("{{ '<tool_call>' }}", "hermes"),
        ("<|start_header_id|> \"parameters\"", "llama3"),
        ("[TOOL_CALLS] ", "mistral"),
        ("[TOOL_CALLS] [ARGS]", "mistral-tekken"),
        ("<start_of_turn>", "gemma"),
        ("<start_function_call> <start_of_turn>", "function-gemma"),
        ("<|tool|>", "phi4"),
        ("<|start_of_role|> <|tool_call|>", "granite"),
        ("<|start_of_role|> <tool_call> </tool_call>", "hermes"),
        ("<｜tool▁calls▁begin｜> ```json", "deepseek"),
        ("<｜tool▁calls▁begin｜>", "deepseek-v3.1"),
        ("<|channel|>", "harmony"),
        ("xml_tools <tool_call>", "smollm3"),
        ("<|START_ACTION|>", "command-r"),
        ("<|CHATBOT_TOKEN|> Action:", "command-r-block"),
        ("", "json"),
    ];
    for (template, name) in table {
        assert_eq!(tool_calls::detect(template).name, name, "{template}");
    }
    let names: std::collections::BTreeSet<_> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(names.len(), FORMATS.len());
    for format in &FORMATS {
        assert!(table.iter().any(|(_, name)| *name == format.name), "{}", format.name);
    }
}

const THINK: &ThinkTags = &reasoning::THINK_TAGS[0];

#[test]
fn reasoning_is_split_off() {
    let table = [
        (Thinking::Possible(THINK), "<think>\nHm. a < b\n</think>\n\nYes.", "Hm. a < b", "Yes."),
        (Thinking::Possible(THINK), "\n<think>Hm", "Hm", ""),
        (Thinking::Possible(THINK), "Yes. <think>no</think>", "", "Yes. <think>no</think>"),
        (Thinking::Possible(THINK), " Yes", "", " Yes"),
        (Thinking::Begun(THINK), "Hm. \n </think> Yes", "Hm.", "Yes"),
        (Thinking::Begun(THINK), "<think>Hm.</think>Yes", "Hm.", "Yes"),
        (Thinking::Begun(THINK), "Hm </thin", "Hm </thin", ""),
        (Thinking::Begun(THINK), "</think>\n\n", "", ""),
    ];
    for (thinking, text, reasoning, content) in table {
        for pieces in [vec![text], letters(text)] {
            let read = read_pieces(OutputParser::new(thinking, None), pieces);
            assert_eq!((&*read.reasoning, &*read.content), (reasoning, content), "{text}");
        }
    }
}

#[test]
fn calls_after_reasoning() {
    let text = "<think>\n<tool_call>{\"name\": \"f\"}</tool_call>?\n</think>\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    let format = tool_calls::find("hermes").unwrap();
    for pieces in [vec![text], letters(text)] {
        let read = read_pieces(parser(format, Thinking::Possible(THINK)), pieces);
        assert_eq!(read.content, "");
        assert!(read.reasoning.contains("</tool_call>?"));
        assert_eq!(calls_of(&read), [("now".to_owned(), json!({}))]);
    }
}

#[test]
fn the_prompt_decides_about_reasoning() {
    let tags = Some(THINK);
    assert_eq!(Thinking::after("<|im_start|>assistant\n", tags), Thinking::Possible(THINK));
    assert_eq!(Thinking::after("assistant\n<think>\n", tags), Thinking::Begun(THINK));
    assert_eq!(Thinking::after("<think>\n\n</think>\n\n", tags), Thinking::Absent);
    assert_eq!(Thinking::after("<think>\n", None), Thinking::Absent);
}

/// Pieces of calls, whole and broken, and of everything around them.
fn chaos() -> impl Strategy<Value = (usize, String)> {
    let common = [
        "{\"name\": \"",
        "f",
        "now",
        "\", \"arguments\": ",
        "\", \"parameters\": ",
        "{\"a\": 1}",
        "{}",
        "}",
        "{",
        "]",
        "[",
        "\"",
        ",",
        ";",
        " ",
        "\n",
        "```",
        "```json",
        "<think>",
        "</think>",
        "word",
        "é",
        "<",
        "(a=1)",
        ":",
        "\\u00",
        "null",
        "1e5",
    ];
    (0..FORMATS.len()).prop_flat_map(move |at| {
        let call = FORMATS[at].call;
        let whole = call.write(&[("f", "{\"a\": \"b\"}")]);
        let mut parts: Vec<String> = common.map(String::from).to_vec();
        parts.extend(FORMATS[at].markers.iter().map(|mark| (*mark).to_owned()));
        let own = [
            call.open,
            call.before_name,
            call.before_arguments,
            call.after_arguments,
            call.separator,
            call.close,
        ];
        parts.extend(own.map(String::from));
        let half = (0..=whole.len() / 2).rev().find(|&i| whole.is_char_boundary(i)).unwrap();
        parts.extend([whole[..half].to_owned(), whole[half..].to_owned(), whole.clone(), whole]);
        let text = prop::collection::vec(prop::sample::select(parts), 0..14);
        text.prop_map(move |parts| (at, parts.concat()))
    })
}

/// What is cut off or broken anywhere is text or an open call, never a call that nobody made.
#[test]
fn a_call_that_is_cut_or_broken_is_no_other_call() {
    let arguments = json!({"a": "b \"c\"", "n": [1, {"x": null}], "e": {}});
    let expected = ("f".to_owned(), arguments.clone());
    for format in &FORMATS {
        let text = format.call.write(&[("f", &arguments.to_string())]);
        let borders = (0..text.len()).filter(|&i| text.is_char_boundary(i));
        for border in borders {
            let (before, after) = text.split_at(border);
            for found in calls_of(&read(format, before)) {
                assert_eq!(found, expected, "{}: {before}", format.name);
            }
            // Without this character, with another in its place, with one more: nothing panics or hangs, and what
            // counts as a complete call has an object for arguments (`read` checks it).
            let rest: String = after.chars().skip(1).collect();
            for junk in ["", "}", "\"", "\\", "<", "é", "\u{0}"] {
                for broken in [format!("{before}{junk}{rest}"), format!("{before}{junk}{after}")] {
                    let whole = read(format, &broken);
                    let pieces = read_pieces(parser(format, Thinking::Absent), letters(&broken));
                    assert_eq!(whole, pieces, "{}: {broken}", format.name);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn cuts_do_not_matter((at, text) in chaos(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6), think in 0..3) {
        let thinking = [Thinking::Absent, Thinking::Possible(THINK), Thinking::Begun(THINK)][think as usize];
        let format = &FORMATS[at];
        let whole = read_pieces(parser(format, thinking), [text.as_str()]);
        prop_assert_eq!(&read_pieces(parser(format, thinking), letters(&text)), &whole);
        let borders: Vec<usize> = (0..=text.len()).filter(|&i| text.is_char_boundary(i)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| borders[cut.index(borders.len())]).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&read_pieces(parser(format, thinking), pieces), &whole);
    }
}
