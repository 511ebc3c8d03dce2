//! What only encoders have: WordPiece and Unigram, pairs of texts. Whole texts are compared with the
//! originals where the fixtures are loaded.

use super::*;

fn whole(metadata: &Metadata, text: &str, second: Option<&str>) -> (Vec<u32>, Vec<u32>) {
    let (tokenizer, _) = from_gguf(metadata, Path::new("m.gguf")).unwrap();
    let whole = tokenizer.encode_whole(text, second, None).unwrap();
    (whole.token_ids, whole.token_types)
}

fn ids(metadata: &Metadata, text: &str) -> Vec<u32> {
    from_gguf(metadata, Path::new("m.gguf")).unwrap().0.encode(text, false).unwrap()
}

fn bert(last: &str) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.insert("general.architecture", Value::String("bert".into()));
    set(&mut metadata, "model", Value::String("bert".into()));
    let tokens =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u{2581}sea", "side", "\u{2581}[", "]", last];
    set(&mut metadata, "tokens", strings(tokens));
    let types = [5, 3, 3, 3, 1, 1, 1, 1, 1];
    set(&mut metadata, "token_type", Value::Array(Array::I32(types.to_vec())));
    metadata
}

#[test]
fn word_pieces_begin_and_go_on_and_the_special_ones_need_no_key() {
    let small = bert("\u{2581}a");
    assert_eq!(whole(&small, "SeaSide [a]", None).0, [2, 4, 5, 6, 8, 1, 3]);
    assert_eq!(ids(&small, "side"), [1], "no word begins with what goes on with one");
    let sign = bert("\u{2581}ℝ");
    assert_eq!(ids(&sign, "Sea ℝ"), [4, 8], "no small letter is meant by that");
    // A capital in the vocabulary: then small letters are others.
    let cased = bert("\u{2581}A");
    assert_eq!(ids(&cased, "sea Sea A a"), [4, 1, 8, 1]);
    assert_eq!(whole(&small, "sea", Some("a a")), (vec![2, 4, 3, 8, 8, 3], vec![0, 0, 0, 1, 1, 1]));
}

fn t5() -> Metadata {
    let mut metadata = Metadata::default();
    metadata.insert("general.architecture", Value::String("bert".into()));
    set(&mut metadata, "model", Value::String("t5".into()));
    let tokens = ["<s>", "<pad>", "</s>", "<unk>", "\u{2581}", "a", "b", "ab", "\u{2581}a"];
    set(&mut metadata, "tokens", strings(tokens));
    let scores = [0., 0., 0., 0., -2., -3., -3., -4., -2.5];
    set(&mut metadata, "scores", Value::Array(Array::F32(scores.to_vec())));
    let types = [3, 3, 3, 2, 1, 1, 1, 1, 1];
    set(&mut metadata, "token_type", Value::Array(Array::I32(types.to_vec())));
    metadata
}

#[test]
fn unigram_takes_the_likeliest_pieces() {
    // ▁a + b: -5.5; ▁ + ab: -6.
    assert_eq!(ids(&t5(), "ab"), [8, 6]);
    assert_eq!(whole(&t5(), "ab", None).0, [0, 8, 6, 2]);
    // RoBERTa's pairs have two separators and one type.
    assert_eq!(whole(&t5(), "a", Some("b")), (vec![0, 8, 2, 2, 4, 6, 2], vec![0; 7]));
    let mut once = t5();
    set(&mut once, "add_sep_token", Value::Bool(false));
    assert_eq!(whole(&once, "a", Some("b")).0, [0, 8, 2, 4, 6, 2]);
}

#[test]
fn spaces_are_kept_or_removed_as_the_file_says() {
    // The space before a text is put there only if it has none.
    assert_eq!(ids(&t5(), " a  b"), [8, 4, 4, 6]);
    let mut less = t5();
    set(&mut less, "remove_extra_whitespaces", Value::Bool(true));
    assert_eq!(ids(&less, " a  b "), [8, 4, 6]);
    set(&mut less, "add_space_prefix", Value::Bool(false));
    assert_eq!(ids(&less, "b a"), [6, 8]);
}

/// The crate would make room for as much as the first four bytes say.
#[test]
fn a_charsmap_that_lies_about_its_length_is_refused() {
    for bytes in [&[1, 2][..], &[255; 4], &[8, 0, 0, 0, 1, 2, 3, 4], &[0, 0, 0, 0]] {
        let mut metadata = t5();
        set(&mut metadata, "precompiled_charsmap", Value::Array(Array::U8(bytes.to_vec())));
        assert!(reason(&metadata).contains("precompiled_charsmap"), "{bytes:?}");
    }
    let mut metadata = t5();
    set(&mut metadata, "precompiled_charsmap", Value::Array(Array::U8(Vec::new())));
    assert_eq!(ids(&metadata, "ab"), [8, 6]);
}
