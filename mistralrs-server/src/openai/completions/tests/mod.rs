//! Unit tests of [`super`]: forms of a prompt, refusals, the columns of log-probabilities.

use super::*;
use mistralrs_core::FinishReason;
use mistralrs_core::request::Candidate;
use serde_json::{Value, json};

const LIMITS: Limits = Limits { max_n: 4, max_choices: 8, context_tokens: 100, vocab_size: 50 };

fn read(body: Value) -> Result<Completion, ApiError> {
    let malformed = |error: serde_json::Error| ApiError::malformed("", error.to_string());
    let generate = serde_json::from_value(body.clone()).map_err(malformed)?;
    let completion: CompletionBody = serde_json::from_value(body).map_err(malformed)?;
    completion.into_core(generate, &LIMITS, &mut Vec::new())
}

#[test]
fn every_form_of_a_prompt() {
    let prompts = |prompt: Value| -> Vec<String> {
        let completion = read(json!({ "prompt": prompt })).unwrap();
        completion.prompts.iter().map(|prompt| format!("{prompt:?}")).collect()
    };
    assert_eq!(prompts(json!("a")), ["Text(\"a\")"]);
    assert_eq!(prompts(json!(["a", "b"])), ["Text(\"a\")", "Text(\"b\")"]);
    assert_eq!(prompts(json!([1, 2])), ["Tokens([1, 2])"]);
    assert_eq!(prompts(json!([[1, 2], [3]])), ["Tokens([1, 2])", "Tokens([3])"]);
    assert_eq!(prompts(json!(["a", [3]])), ["Text(\"a\")", "Tokens([3])"]);
}

#[test]
fn impossible_prompts_are_refused() {
    let table = [
        (json!([]), Some("prompt")),
        (json!([[]]), Some("prompt")),
        (json!([[1], []]), Some("prompt[1]")),
        (json!([[1], [2, 50]]), Some("prompt[1][1]")),
        (json!([1, "a"]), None),
        (json!([1.5]), None),
        (json!([-1]), None),
        (json!([[[1]]]), None),
        (json!({}), None),
        (json!(null), None),
        (json!(["a", "a", "a", "a", "a", "a", "a", "a", "a"]), Some("prompt")),
    ];
    for (prompt, param) in table {
        let error = read(json!({ "prompt": prompt })).map(|_| ()).expect_err(&prompt.to_string());
        assert_eq!((error.status().as_u16(), error.field()), (400, param), "{prompt}");
    }
}

#[test]
fn suffix_best_of_and_too_many_logprobs_are_refused() {
    for (field, value) in [("suffix", json!("x")), ("best_of", json!(2)), ("logprobs", json!(21))] {
        let error = read(json!({"prompt": "a", field: value})).map(|_| ()).unwrap_err();
        assert_eq!(error.field(), Some(field));
    }
    assert!(
        read(json!({"prompt": "a", "suffix": "", "best_of": 2, "n": 2, "logprobs": 20})).is_ok()
    );
}

#[test]
fn scoring_a_prompt_needs_no_answer() {
    let completion =
        read(json!({"prompt": "a", "echo": true, "max_tokens": 0, "logprobs": 1})).unwrap();
    assert!(completion.prompt_only);
    assert_eq!(completion.generate.options.max_tokens, Some(1));
    assert_eq!(completion.generate.options.prompt_logprobs, Some(1));
    assert_eq!(
        read(json!({"prompt": "a", "max_tokens": 0})).map(|_| ()).unwrap_err().field(),
        Some("max_tokens")
    );
}

#[test]
fn columns_of_an_echoed_answer() {
    let candidate =
        |text: &str, logprob| Candidate { token_id: 0, bytes: text.as_bytes().to_vec(), logprob };
    let token = |text: &str, logprob| TokenLogprobs {
        chosen: candidate(text, logprob),
        top: vec![candidate("z", -0.5)],
    };
    let completion = read(json!({"prompt": "hé", "echo": true, "logprobs": 1})).unwrap();
    let echo = Echo { text: "hé".to_owned(), first_token: b"<s>".to_vec() };
    let head = Head::new("cmpl", "m", "f", false);
    let dialect = CompletionDialect::new(head, &completion, vec![echo]);
    let answer = ChoiceAnswer {
        first_of_prompt: true,
        prompt_logprobs: vec![None, Some(token("h", -1.0)), Some(token("é", -2.0))],
        reasoning: String::new(),
        calls: Vec::new(),
        tool_runs: Vec::new(),
        text: "yo".to_owned(),
        tokens: vec![token("y", -3.0), token("o", f32::NEG_INFINITY)],
        reason: FinishReason::Length,
        usage: mistralrs_core::Usage {
            prompt_tokens: 3,
            completion_tokens: 2,
            ..Default::default()
        },
    };
    let response = dialect.response(Answer { choices: vec![answer] }, Vec::new());
    let body = serde_json::to_value(&response).unwrap();
    assert_eq!(body["choices"][0]["text"], "héyo");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["<s>", "h", "é", "y", "o"]));
    assert_eq!(logprobs["token_logprobs"], json!([null, -1.0, -2.0, -3.0, -9999.0]));
    assert_eq!(logprobs["text_offset"], json!([0, 0, 1, 2, 3]));
    assert_eq!(logprobs["top_logprobs"][1], json!({"h": -1.0, "z": -0.5}));
    assert_eq!(body["usage"]["total_tokens"], 5);
}
