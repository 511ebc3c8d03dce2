//! Pieces against decoding everything at once, with random ids: most of them are no text.

use super::*;
use crate::text::tests::{
    Fixture, tiny_byte_level, tiny_metaspace, tiny_sentence_piece, tiny_word_piece,
};
use proptest::prelude::*;

fn in_pieces(
    tokenizer: &Arc<Tokenizer>,
    prompt: &[u32],
    answer: &[u32],
    stop: &[String],
) -> (String, Option<usize>) {
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer), prompt, stop);
    let mut shown = String::new();
    for &id in answer {
        let piece = detokenizer.push(id);
        shown.push_str(&piece.text);
        if piece.stop.is_some() {
            assert_eq!(detokenizer.push(id), Piece::default());
            assert_eq!(detokenizer.finish(), Piece::default());
            return (shown, piece.stop);
        }
    }
    let last = detokenizer.finish();
    shown.push_str(&last.text);
    (shown, last.stop)
}

/// decode(prompt + answer) without decode(prompt), where that is defined.
fn at_once(tokenizer: &Tokenizer, prompt: &[u32], answer: &[u32]) -> Option<String> {
    let all = [prompt, answer].concat();
    let all = tokenizer.decode(&all, true).unwrap();
    let before = tokenizer.decode(prompt, true).unwrap();
    all.strip_prefix(&before).map(str::to_owned)
}

/// Random ids, every second one from those that are bytes or parts of characters.
fn ids(tokenizer: &Tokenizer, draws: &[(bool, u32)]) -> Vec<u32> {
    let vocabulary = u32::try_from(tokenizer.vocab_size()).unwrap();
    let parts: Vec<u32> = (0..vocabulary)
        .filter(|&id| {
            tokenizer.table().bytes(id).len() == 1
                || std::str::from_utf8(tokenizer.table().bytes(id)).is_err()
        })
        .collect();
    let draw = |&(part, n): &(bool, u32)| match parts.len() {
        0 => n % vocabulary,
        len if part => parts[n as usize % len],
        _ => n % vocabulary,
    };
    draws.iter().map(draw).filter(|&id| tokenizer.table().contains(id)).collect()
}

fn check(tokenizer: &Arc<Tokenizer>, cases: u32) {
    let draws = || prop::collection::vec(any::<(bool, u32)>(), 0..24);
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        ProptestConfig::with_cases(cases),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    runner
        .run(&(draws(), draws()), |(prompt, answer)| {
            let (prompt, answer) = (ids(tokenizer, &prompt), ids(tokenizer, &answer));
            let whole = at_once(tokenizer, &[], &answer).unwrap();
            prop_assert_eq!(in_pieces(tokenizer, &[], &answer, &[]), (whole, None));
            if let Some(expected) = at_once(tokenizer, &prompt, &answer) {
                let pieces = in_pieces(tokenizer, &prompt, &answer, &[]);
                prop_assert_eq!(pieces, (expected, None), "{:?} {:?}", prompt, answer);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn pieces_equal_the_whole() {
    for tokenizer in [tiny_byte_level(), tiny_sentence_piece()] {
        check(&Arc::new(tokenizer), 3000);
    }
    for fixture in Fixture::ALL {
        if let Some(tokenizer) = fixture.load() {
            check(&tokenizer, 40);
        }
    }
}

#[test]
fn pieces_equal_the_whole_for_other_decoders() {
    for tokenizer in [tiny_metaspace(), tiny_word_piece()] {
        assert_eq!(tokenizer.table().rule(), &crate::text::token_table::DecodeRule::Whole);
        check(&Arc::new(tokenizer), 300);
    }
}

#[test]
fn characters_are_shown_when_they_are_whole() {
    let tokenizer = Arc::new(tiny_byte_level());
    let llama = tokenizer.encode("🦙", false).unwrap();
    assert_eq!(llama.len(), 4);
    let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), &[], &[]);
    let texts: Vec<String> = llama.iter().map(|&id| detokenizer.push(id).text).collect();
    assert_eq!(texts, ["", "", "", "🦙"]);
    // Cut off in the middle of a character.
    assert_eq!(detokenizer.push(llama[0]).text, "");
    assert_eq!(detokenizer.finish().text, "\u{fffd}");
    // Begun in the prompt.
    let mut detokenizer = Detokenizer::new(tokenizer, &llama[..2], &[]);
    assert_eq!(detokenizer.push(llama[2]).text, "");
    assert_eq!(detokenizer.push(llama[3]).text, "🦙");
}

#[test]
fn the_leading_space_belongs_to_the_prompt() {
    let tokenizer = Arc::new(tiny_sentence_piece());
    let bos = tokenizer.token_id("<s>").unwrap();
    let word = tokenizer.token_id("▁ab").unwrap();
    let newline = tokenizer.token_id("<0x0A>").unwrap();
    for (prompt, expected) in [
        (vec![], "ab ab"),
        (vec![bos], "ab ab"),
        (vec![bos, word], " ab ab"),
        (vec![bos, newline], " ab ab"),
    ] {
        assert_eq!(in_pieces(&tokenizer, &prompt, &[word, word], &[]).0, expected, "{prompt:?}");
    }
}

#[test]
fn special_and_unknown_tokens_give_nothing() {
    let tokenizer = Arc::new(tiny_byte_level());
    let end = tokenizer.token_id("<|end|>").unwrap();
    let a = tokenizer.encode("a", false).unwrap();
    let answer = [a[0], end, u32::MAX, a[0]];
    assert_eq!(in_pieces(&tokenizer, &[end, u32::MAX], &answer, &[]).0, "aa");
}

#[test]
fn stop_strings_cross_tokens_and_characters() {
    for tokenizer in [tiny_byte_level(), tiny_sentence_piece()] {
        let tokenizer = Arc::new(tokenizer);
        let prompt = tokenizer.encode("abc", false).unwrap();
        let answer = tokenizer.encode("abc 🦙🦘 cab", false).unwrap();
        for (stop, expected, found) in [
            (vec!["🦙🦘"], "abc ", Some(0)),
            (vec!["🦘", "c 🦙"], "ab", Some(1)),
            (vec!["zebra", "b c"], "abc 🦙🦘 cab", None),
            (vec!["🦘 cab!", "cab"], "abc 🦙🦘 ", Some(1)),
            (vec!["", "abc"], "", Some(1)),
        ] {
            let stop: Vec<String> = stop.into_iter().map(String::from).collect();
            let (text, index) = in_pieces(&tokenizer, &prompt, &answer, &stop);
            assert_eq!((text.trim_start(), index), (expected, found), "{stop:?}");
        }
    }
}

#[test]
fn a_stop_string_may_complete_at_the_end() {
    // A run of bytes is not settled before something follows it.
    let tokenizer = Arc::new(tiny_sentence_piece());
    let answer = tokenizer.encode("ab🦙", false).unwrap();
    let stop = ["🦙".to_owned()];
    assert_eq!(in_pieces(&tokenizer, &answer, &answer, &stop), (" ab".to_owned(), Some(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn stop_strings_equal_brute_force(
        draws in prop::collection::vec(any::<(bool, u32)>(), 1..24),
        from in 0..40usize,
        len in 1..6usize,
    ) {
        for tokenizer in [tiny_byte_level(), tiny_sentence_piece()] {
            let tokenizer = Arc::new(tokenizer);
            let answer = ids(&tokenizer, &draws);
            let whole = at_once(&tokenizer, &[], &answer).unwrap();
            // A stop string taken from the text is in it; the first place counts.
            let stop: String = whole.chars().skip(from).take(len).collect();
            let expected = match whole.find(&stop).filter(|_| !stop.is_empty()) {
                Some(at) => (whole[..at].to_owned(), Some(0)),
                None => (whole, None),
            };
            prop_assert_eq!(in_pieces(&tokenizer, &[], &answer, &[stop]), expected);
        }
    }
}
