//! How much of a conversation's media is prepared: no more than there is room for, in the context and in memory.

use super::*;
use crate::loading::{LoadOptions, source};
use crate::request::Role;
use crate::text::TextPipeline;
use mistralrs_testkit::{fixture, read_json};

const MODEL: &str = "qwen3-vl";
/// What stands for the first picture of the fixture.
const TOKENS: usize = 15;

fn senses(most_live_bytes: usize) -> Senses {
    let options = LoadOptions::new(fixture(MODEL).to_string_lossy());
    let files = source::resolve(&options).unwrap();
    let config: Value = read_json(&fixture(MODEL).join("config.json"));
    let preparation = Preparation::read(&files, Family::Qwen3Vl, &config).unwrap();
    let text = TextPipeline::from_huggingface(&files, &options).unwrap();
    Senses::new(preparation, text.tokenizer(), most_live_bytes).unwrap()
}

fn picture() -> Part {
    Part::Image(Image::new(std::fs::read(fixture(MODEL).join("images/0.png")).unwrap()))
}

fn broken() -> Part {
    Part::Image(Image::new(b"no picture".to_vec()))
}

/// A message of each part.
fn conversation(parts: Vec<Part>) -> Vec<Message> {
    let said = |part| {
        let content = Content::Parts(vec![Part::Text("See: ".to_owned()), part]);
        Message { content, ..Message::text(Role::User, "") }
    };
    parts.into_iter().map(said).collect()
}

fn seen(most_tokens: usize, cut: bool) -> Use {
    Use::Seen { most_tokens, cut }
}

#[test]
fn what_has_no_room_in_the_context_is_not_even_read() {
    let senses = senses(usize::MAX);
    let conversation = conversation(vec![broken(), picture(), picture(), picture()]);
    let prepare = |most_tokens, cut| senses.prepare(&conversation, seen(most_tokens, cut));
    match prepare(3 * TOKENS - 1, false).unwrap_err() {
        RequestError::TooMuchMedia { tokens, limit } => assert_eq!((tokens, limit), (45, 44)),
        other => panic!("{other}"),
    }
    let tokens = |most_tokens| -> Vec<usize> {
        let prepared = prepare(most_tokens, true).unwrap();
        assert!(prepared.iter().all(|made| made.modality == Modality::Image));
        prepared.iter().map(Prepared::num_tokens).collect()
    };
    assert_eq!(tokens(3 * TOKENS - 1), [0, TOKENS, TOKENS, TOKENS]);
    assert_eq!(tokens(TOKENS), [0, 0, TOKENS, TOKENS], "one that is cut in two is needed");
    assert_eq!(tokens(0), [0, 0, 0, TOKENS]);
    for cut in [false, true] {
        match prepare(3 * TOKENS, cut).unwrap_err() {
            RequestError::Invalid { param, .. } => assert_eq!(param, "messages[0].content[1]"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_is_only_counted_takes_no_memory() {
    let senses = senses(0);
    let conversation = conversation(vec![picture(); 3]);
    let counted = senses.prepare(&conversation, Use::Counted).unwrap();
    assert_eq!(counted.iter().map(Prepared::num_tokens).sum::<usize>(), 3 * TOKENS);
    assert_eq!((senses.live.now(), counted[0].bytes()), (0, 0));
}

#[test]
fn other_requests_wait_while_too_much_is_in_memory() {
    let senses = senses(0);
    // Who is alone may have what it needs.
    let conversation = conversation(vec![picture(); 3]);
    let prepared = senses.prepare(&conversation, seen(100, false)).unwrap();
    let bytes: usize = prepared.iter().map(Prepared::bytes).sum();
    assert_eq!((senses.live.now(), bytes > 0), (bytes, true));
    match senses.prepare(&conversation, seen(100, false)).unwrap_err() {
        RequestError::MediaInFlight { bytes: found, limit: 0 } => assert_eq!(found, bytes),
        other => panic!("{other}"),
    }
    assert!(senses.prepare(&[Message::text(Role::User, "text")], seen(100, false)).is_ok());
    drop(prepared);
    assert_eq!(senses.live.now(), 0);
    assert!(senses.prepare(&conversation, seen(100, false)).is_ok());
}
