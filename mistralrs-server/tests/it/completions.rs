//! `/v1/completions`, whole answers.

use crate::support::{COMPLETIONS, completion_body, shared, streamed_text, with};
use serde_json::{Value, json};

fn texts(answer: &Value) -> Vec<&str> {
    let choices = answer["choices"].as_array().unwrap();
    choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect()
}

/// Must-show 1, over HTTP: 200 greedy tokens from BOS are the reference text.
#[test]
fn the_reference_story() {
    let reference = mistralrs_testkit::stories260k_reference();
    let body = completion_body(json!([1]), 200);
    let answer = shared().post(COMPLETIONS, &body).ok();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(texts(&answer)[0].trim_start(), reference.expected_stdout.trim());
    assert_eq!(answer["usage"]["completion_tokens"], 200);
    assert_eq!(answer["usage"]["prompt_tokens"], 1);
    let streamed = shared().stream(COMPLETIONS, &with(body, json!({"stream": true})));
    assert_eq!(streamed_text(&streamed, 0), texts(&answer)[0]);
    for case in reference.cases {
        let ids = &case.prompt_ids;
        let answer = shared().post(COMPLETIONS, &completion_body(json!(ids), 200)).ok();
        let prompt =
            shared().post("/detokenize", &json!({"tokens": ids, "skip_special_tokens": true})).ok();
        let whole = format!("{}{}", prompt["content"].as_str().unwrap(), texts(&answer)[0]);
        assert_eq!(whole.trim_start(), case.text.trim_start(), "{ids:?}");
    }
}

#[test]
fn every_form_of_a_prompt() {
    let one = shared().post(COMPLETIONS, &completion_body("Once upon", 8)).ok();
    let other = shared().post(COMPLETIONS, &completion_body("The dog", 8)).ok();
    let ids =
        |text: &str| shared().post("/tokenize", &json!({"content": text})).ok()["tokens"].clone();
    let lists = [
        json!(["Once upon", "The dog"]),
        json!([ids("Once upon"), ids("The dog")]),
        json!(["Once upon", ids("The dog")]),
    ];
    for prompt in lists {
        let answer = shared().post(COMPLETIONS, &completion_body(prompt, 8)).ok();
        assert_eq!(texts(&answer), [texts(&one)[0], texts(&other)[0]]);
        assert_eq!(
            answer["usage"]["prompt_tokens"].as_u64().unwrap(),
            one["usage"]["prompt_tokens"].as_u64().unwrap()
                + other["usage"]["prompt_tokens"].as_u64().unwrap()
        );
    }
    let answer = shared().post(COMPLETIONS, &completion_body(ids("The dog"), 8)).ok();
    assert_eq!(texts(&answer), texts(&other));
}

#[test]
fn n_answers_to_each_prompt_in_order() {
    let body =
        with(completion_body(json!(["Once upon", "The dog"]), 6), json!({"n": 2, "best_of": 2}));
    let answer = shared().post(COMPLETIONS, &body).ok();
    let texts = texts(&answer);
    assert_eq!(texts.len(), 4);
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[2], texts[3]);
    assert_ne!(texts[0], texts[2]);
    let indexes: Vec<_> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
}

#[test]
fn echo_repeats_the_prompt_with_its_log_probabilities() {
    let plain = shared().post(COMPLETIONS, &completion_body("Once upon a time", 5)).ok();
    let body = with(completion_body("Once upon a time", 5), json!({"echo": true, "logprobs": 2}));
    let answer = shared().post(COMPLETIONS, &body).ok();
    assert_eq!(texts(&answer)[0], format!("Once upon a time{}", texts(&plain)[0]));
    let logprobs = &answer["choices"][0]["logprobs"];
    let total = answer["usage"]["total_tokens"].as_u64().unwrap() as usize;
    for column in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[column].as_array().unwrap().len(), total, "{column}");
    }
    assert!(logprobs["token_logprobs"][0].is_null());
    assert!(logprobs["token_logprobs"][1].as_f64().unwrap() <= 0.0);
    // The same numbers, whether the token was drawn or given.
    let given: Vec<_> = logprobs["tokens"].as_array().unwrap().clone();
    let prompt_only = with(body.clone(), json!({"max_tokens": 0}));
    let scored = shared().post(COMPLETIONS, &prompt_only).ok();
    assert_eq!(texts(&scored)[0], "Once upon a time");
    assert_eq!(scored["usage"]["completion_tokens"], 0);
    let scored_tokens = scored["choices"][0]["logprobs"]["tokens"].as_array().unwrap();
    assert_eq!(scored_tokens.as_slice(), &given[..scored_tokens.len()]);

    let streamed = shared().stream(COMPLETIONS, &with(body, json!({"stream": true})));
    assert_eq!(streamed_text(&streamed, 0), texts(&answer)[0]);
    let columns = streamed.iter().filter_map(|e| e["choices"][0]["logprobs"]["tokens"].as_array());
    let tokens: Vec<Value> = columns.flatten().cloned().collect();
    assert_eq!(tokens, given);
    let offsets =
        streamed.iter().filter_map(|e| e["choices"][0]["logprobs"]["text_offset"].as_array());
    let offsets: Vec<Value> = offsets.flatten().cloned().collect();
    assert_eq!(Value::Array(offsets), logprobs["text_offset"]);
}

#[test]
fn min_tokens_ignore_eos_and_stop_ids() {
    let body = completion_body("Once upon a time", 12);
    let whole = shared().post(COMPLETIONS, &with(body.clone(), json!({"logprobs": 0}))).ok();
    let text = texts(&whole)[0].to_owned();
    let ids =
        shared().post("/tokenize", &json!({"content": format!("Once upon a time{text}")})).ok();
    let prompt = shared().post("/tokenize", &json!({"content": "Once upon a time"})).ok();
    let after = prompt["count"].as_u64().unwrap() as usize;
    let third = ids["tokens"][after + 2].as_u64().unwrap();
    let stopped =
        shared().post(COMPLETIONS, &with(body.clone(), json!({"stop_token_ids": [third]}))).ok();
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    assert!(stopped["usage"]["completion_tokens"].as_u64().unwrap() <= 3, "{stopped}");
    let forced = with(body, json!({"stop_token_ids": [third], "min_tokens": 8}));
    let forced = shared().post(COMPLETIONS, &forced).ok();
    assert!(forced["usage"]["completion_tokens"].as_u64().unwrap() >= 8, "{forced}");
    let never = with(completion_body("Once", 300), json!({"ignore_eos": true}));
    assert_eq!(shared().post(COMPLETIONS, &never).ok()["usage"]["completion_tokens"], 300);
}

#[test]
fn a_bias_forces_a_token() {
    let body = with(completion_body("Once", 3), json!({"logit_bias": {"300": 100}}));
    let answer = shared().post(COMPLETIONS, &body).ok();
    let piece = shared().post("/detokenize", &json!({"tokens": [300, 300, 300]})).ok();
    assert_eq!(texts(&answer)[0].trim_start(), piece["content"].as_str().unwrap().trim_start());
}
