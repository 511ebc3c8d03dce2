//! Grammars over a vocabulary of bytes and a few special tokens, with logits that know nothing.

use crate::sampling::grammar::{CompiledGrammar, Vocabulary};
use crate::sampling::{
    Constraint, Grammar, GrammarCompiler, Onset, Sampler, SamplingParams, Standing,
};
use serde_json::json;
use std::collections::HashSet;

const EOS: u32 = 256;
const OTHER_EOS: u32 = 257;
const THINK: u32 = 258;
const TOOL: u32 = 259;
/// An ordinary token of several bytes.
const CLOSE: u32 = 260;
/// More logits than tokens.
const LOGITS: usize = 270;

fn compiler(canonical: bool) -> GrammarCompiler {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    tokens.extend(["<eos>", "<turn>", "<think>", "<tool>", "</think>"].map(|name| name.into()));
    let special = (0..261).map(|id| (256..260).contains(&id)).collect();
    let encode = |text: &str| text.bytes().map(u32::from).collect();
    let encode = canonical.then(|| Box::new(encode) as Box<dyn Fn(&str) -> Vec<u32> + Send + Sync>);
    GrammarCompiler::new(Vocabulary { tokens, special, eos: vec![EOS, OTHER_EOS], encode }).unwrap()
}

fn compile(grammar: Grammar) -> CompiledGrammar {
    compiler(true).compile(grammar).unwrap()
}

fn regex(text: &str) -> CompiledGrammar {
    compile(Grammar::Regex(text.to_owned()))
}

fn sampler(seed: u64, constraint: Constraint) -> Sampler {
    let params = SamplingParams { temperature: Some(1.0), ..SamplingParams::default() };
    Sampler::new(&params, HashSet::new(), seed).constrained(Some(constraint))
}

/// Logits that look random.
fn noise(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 1000) as f32 / 250.0
    };
    (0..LOGITS).map(|_| next()).collect()
}

/// Draws until the form is complete or `most` tokens are there; `wish` are logits by position.
fn draw(sampler: &mut Sampler, most: usize, wish: impl Fn(usize) -> Vec<f32>) -> Vec<u32> {
    let mut tokens = Vec::new();
    while tokens.len() < most && sampler.standing() == Standing::Open {
        let mut logits = wish(tokens.len());
        tokens.push(sampler.sample(&mut logits, &tokens.clone(), &[]));
    }
    tokens
}

fn text(tokens: &[u32]) -> String {
    let bytes = tokens.iter().filter(|&&id| id < 256).map(|&id| id as u8).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_draw_fits_the_grammar() {
    let compiled = regex("[a-c]{2,4}x(é|🦙)?");
    let slow = ::regex::Regex::new("^[a-c]{2,4}x(é|🦙)?$").unwrap();
    for seed in 0..200 {
        let mut sampler = sampler(seed, Constraint::new(compiled.clone(), Onset::AtOnce));
        let tokens = draw(&mut sampler, 50, |at| noise(seed * 100 + at as u64));
        assert_eq!(sampler.standing(), Standing::Complete);
        assert!(slow.is_match(&text(&tokens)), "{}", text(&tokens));
    }
}

#[test]
fn both_ends_of_an_answer_end_it_where_the_grammar_allows() {
    for eos in [EOS, OTHER_EOS] {
        let mut sampler = sampler(1, Constraint::new(regex("a+"), Onset::AtOnce));
        let wish = |at: usize| {
            let mut logits = noise(at as u64);
            logits[EOS as usize] = -50.0;
            logits[OTHER_EOS as usize] = -50.0;
            logits[eos as usize] = if at < 3 { -50.0 } else { 50.0 };
            logits
        };
        let tokens = draw(&mut sampler, 50, wish);
        assert_eq!(tokens, [97, 97, 97, eos]);
        assert_eq!(sampler.standing(), Standing::Complete);
    }
}

#[test]
fn the_form_goes_before_bans_minimum_lengths_and_missing_numbers() {
    let compiled = regex("ab");
    let params = SamplingParams { logit_bias: vec![(97, -100.0)], ..SamplingParams::default() };
    let constraint = Constraint::new(compiled.clone(), Onset::AtOnce);
    let mut banned = Sampler::new(&params, HashSet::new(), 1).constrained(Some(constraint));
    assert_eq!(draw(&mut banned, 9, |_| vec![f32::NAN; LOGITS]), [97, 98]);
    // The end is all the grammar allows, so it cannot be suppressed.
    let mut ended = sampler(1, Constraint::new(regex("a{2}"), Onset::AtOnce));
    assert_eq!(draw(&mut ended, 2, |at| noise(at as u64)), [97, 97]);
    let constraint = Constraint::new(compile(Grammar::Lark("start: \"\"".into())), Onset::AtOnce);
    let mut logits = noise(3);
    let id = sampler(1, constraint).sample(&mut logits, &[], &[EOS, OTHER_EOS]);
    assert!([EOS, OTHER_EOS].contains(&id), "{id}");
}

#[test]
fn reasoning_is_free_until_its_end() {
    let constraint = Constraint::new(regex("ok"), Onset::After("</think>".into()));
    let mut begun = sampler(1, constraint);
    let close = b"hm </think>".map(u32::from);
    let wish = |at: usize| {
        let mut logits = noise(at as u64);
        // It would like to end at once, and may not.
        logits[EOS as usize] = 90.0;
        logits[OTHER_EOS as usize] = 90.0;
        if let Some(id) = close.get(at) {
            logits[*id as usize] = 80.0;
        }
        logits
    };
    assert_eq!(text(&draw(&mut begun, 50, wish)), "hm </think>ok");

    let onset = || Onset::Unless(THINK, "</think>".into());
    let thinks = |at: usize| {
        let mut logits = noise(at as u64);
        logits[[THINK, 104, CLOSE, 0][at.min(3)] as usize] = 80.0;
        logits
    };
    let mut thinking = sampler(1, Constraint::new(regex("ok"), onset()));
    assert_eq!(draw(&mut thinking, 50, thinks), [THINK, 104, CLOSE, 111, 107]);
    let mut silent = sampler(1, Constraint::new(regex("ok"), onset()));
    let no_thought = |at: usize| {
        let mut logits = noise(at as u64);
        logits[THINK as usize] = -80.0;
        logits
    };
    assert_eq!(text(&draw(&mut silent, 50, no_thought)), "ok");
}

#[test]
fn a_form_whenever_its_beginning_comes() {
    let constraint = Constraint::new(regex("[0-9]>"), Onset::Whenever("<tool>".into()));
    let mut sampler = sampler(1, constraint);
    let wished: Vec<u32> = [97, TOOL, 98, 98, 97, TOOL, 98, 98, EOS].to_vec();
    let wish = |at: usize| {
        let mut logits = noise(at as u64);
        logits[wished[at.min(8)] as usize] = 80.0;
        logits
    };
    let tokens = draw(&mut sampler, 9, wish);
    assert_eq!((tokens[0], tokens[1], tokens[4], tokens[5], tokens[8]), (97, TOOL, 97, TOOL, EOS));
    for at in [2, 6] {
        assert!((48..58).contains(&tokens[at]) && tokens[at + 1] == 62, "{tokens:?}");
    }
}

#[test]
fn forced_tokens_are_those_that_would_have_been_drawn() {
    let schema = json!({"type": "object", "properties": {"name": {"const": "x"}, "n": {"type": "integer"}}, "required": ["name", "n"], "additionalProperties": false});
    let compiled = compile(Grammar::JsonSchema(schema));
    let mut shortcuts = 0;
    for seed in 0..20 {
        let mut fast = sampler(seed, Constraint::new(compiled.clone(), Onset::AtOnce));
        let mut tokens: Vec<u32> = Vec::new();
        while tokens.len() < 80 && fast.standing() == Standing::Open {
            tokens.push(fast.sample(&mut noise(seed * 1000 + tokens.len() as u64), &[], &[]));
            let forced = fast.forced();
            shortcuts += forced.len();
            tokens.extend(forced);
        }
        // The same tokens, wished for one by one: each is allowed.
        let mut slow = sampler(seed, Constraint::new(compiled.clone(), Onset::AtOnce));
        let wish = |at: usize| {
            let mut logits = vec![0.0; LOGITS];
            logits[tokens[at] as usize] = 90.0;
            logits
        };
        assert_eq!(draw(&mut slow, tokens.len(), wish), tokens);
        assert_eq!(slow.standing(), fast.standing());
    }
    assert!(shortcuts > 200, "{shortcuts}");
    let unsure = compiler(false).compile(Grammar::Regex("abc".into())).unwrap();
    assert!(sampler(1, Constraint::new(unsure, Onset::AtOnce)).forced().is_empty());
}

#[test]
fn unusable_grammars_say_why() {
    let compiler = compiler(true);
    let schema = |value| compiler.compile(Grammar::JsonSchema(value)).map(|_| ());
    let table = [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"if": {"type": "string"}}), "if"),
        (json!({"type": "object", "dependentRequired": {"a": ["b"]}}), "dependentRequired"),
        (json!({"type": "object", "propertyNames": {"maxLength": 2}}), "propertyNames"),
        (json!({"type": "array", "contains": {"type": "string"}}), "contains"),
        (json!({"type": "object", "unevaluatedProperties": false}), "unevaluatedProperties"),
        (json!({"oneOf": [{"type": "string"}, {"minLength": 2}]}), "oneOf"),
        (json!({"type": "string", "format": "moon-phase"}), "moon-phase"),
        (json!({"$ref": "https://example.com/schema"}), "ref"),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), "maximum"),
        (json!({"type": "dict"}), "dict"),
        (json!({"type": 5}), "type"),
        (json!({"properties": 5}), "properties"),
        (json!({"not": {}, "x-guidance": {"lenient": true}}), "not"),
    ];
    for (value, word) in table {
        let reason = schema(value.clone()).expect_err(&value.to_string());
        assert!(reason.contains(word) && !reason.contains('\n'), "{value}: {reason}");
    }
    let others = [
        Grammar::Regex("(".into()),
        Grammar::Lark("nothing".into()),
        Grammar::Lark(String::new()),
        Grammar::Llguidance("{".into()),
        Grammar::Regex("a".repeat(600_000)),
        Grammar::JsonSchema(json!("x")),
        Grammar::JsonSchema(json!({"enum": []})),
    ];
    for grammar in others {
        let shown = format!("{grammar:?}");
        let reason =
            compiler.compile(grammar).map(|_| ()).expect_err(shown.get(..40).unwrap_or("?"));
        assert!(!reason.is_empty() && reason.len() < 1000, "{reason}");
    }
}

#[test]
fn deep_and_circular_schemas_do_not_break_anything() {
    let compiler = compiler(true);
    let mut deep = json!({"type": "object"});
    for _ in 0..60 {
        deep = json!({"type": "object", "properties": {"a": deep}, "required": ["a"]});
    }
    let circular = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
    let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    let endless =
        json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]});
    for schema in [deep, circular, tree, endless] {
        // Either is fine; what matters is that it comes back.
        let _ = compiler.compile(Grammar::JsonSchema(schema));
    }
    let _ = compiler.compile(Grammar::Regex("a{100000}{100000}".into()));
}
