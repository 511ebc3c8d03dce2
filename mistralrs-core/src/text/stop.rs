//! Finds stop strings in a growing text and holds back what may be the beginning of one.
//! Knows text only. The first string to be complete wins; of several complete at the same
//! character, the longest. So the result does not depend on how the text is cut into pieces.

/// One Knuth–Morris–Pratt automaton.
#[derive(Debug)]
struct Pattern {
    /// Index in the caller's list.
    index: usize,
    text: Vec<u8>,
    /// Length of the longest proper border of each prefix of length 1, 2, …
    borders: Vec<usize>,
    matched: usize,
}

impl Pattern {
    fn new(index: usize, text: &str) -> Self {
        let mut pattern =
            Self { index, text: text.as_bytes().to_vec(), borders: vec![0], matched: 0 };
        // The border of a prefix is the state after feeding the pattern to itself.
        for &byte in text.as_bytes().iter().skip(1) {
            let border = pattern.next_state(pattern.matched, byte);
            pattern.matched = border;
            pattern.borders.push(border);
        }
        pattern.matched = 0;
        pattern
    }

    /// Length of the longest prefix that ends at the byte after having matched `state` bytes.
    fn next_state(&self, mut state: usize, byte: u8) -> usize {
        loop {
            if self.text.get(state) == Some(&byte) {
                return state + 1;
            }
            match state.checked_sub(1).and_then(|last| self.borders.get(last)) {
                Some(&shorter) => state = shorter,
                None => return 0,
            }
        }
    }
}

/// Watches a text for stop strings.
#[derive(Debug)]
pub(super) struct StopMatcher {
    patterns: Vec<Pattern>,
    held: String,
}

impl StopMatcher {
    /// Empty strings are ignored.
    pub(super) fn new(stop: &[String]) -> Self {
        let patterns = stop.iter().enumerate().filter(|(_, text)| !text.is_empty());
        Self {
            patterns: patterns.map(|(index, text)| Pattern::new(index, text)).collect(),
            held: String::new(),
        }
    }

    /// Takes more text; gives the text that surely stands before any stop string, and the index
    /// of the stop string that is now complete. Nothing may follow after that.
    pub(super) fn push(&mut self, text: &str) -> (String, Option<usize>) {
        if self.patterns.is_empty() {
            return (text.to_owned(), None);
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (offset, &byte) in text.as_bytes().iter().enumerate() {
            let mut found: Option<&Pattern> = None;
            for pattern in &mut self.patterns {
                pattern.matched = pattern.next_state(pattern.matched, byte);
                let complete = pattern.matched == pattern.text.len();
                if complete && found.is_none_or(|best| best.text.len() < pattern.text.len()) {
                    found = Some(pattern);
                }
            }
            if let Some(pattern) = found {
                let index = pattern.index;
                let start = before + offset + 1 - pattern.text.len();
                self.held.truncate(start);
                return (std::mem::take(&mut self.held), Some(index));
            }
        }
        let undecided = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        // Both are whole characters: the held text ends with a prefix of a pattern.
        let kept = self.held.split_off(self.held.len() - undecided);
        (std::mem::replace(&mut self.held, kept), None)
    }

    /// The end: gives what was held back.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The slow, obvious one: grow the text by characters, look for every string at its end.
    fn by_brute_force(text: &str, stop: &[String]) -> (String, Option<usize>) {
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        for end in ends {
            let grown = &text[..end];
            let best = (0..stop.len())
                .filter(|&i| !stop[i].is_empty() && grown.ends_with(&stop[i]))
                .max_by_key(|&i| (stop[i].len(), std::cmp::Reverse(i)));
            if let Some(i) = best {
                return (grown[..end - stop[i].len()].to_owned(), Some(i));
            }
        }
        (text.to_owned(), None)
    }

    fn in_pieces(pieces: &[String], stop: &[String]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stop);
        let mut shown = String::new();
        for piece in pieces {
            let (text, found) = matcher.push(piece);
            shown.push_str(&text);
            if found.is_some() {
                return (shown, found);
            }
        }
        shown.push_str(&matcher.finish());
        (shown, None)
    }

    #[test]
    fn cuts_before_the_stop_string() {
        let stop = ["###".to_owned(), "\nUser:".to_owned()];
        let pieces = ["Hi #", "# there\nUs", "er", ": x"].map(String::from);
        assert_eq!(in_pieces(&pieces, &stop), ("Hi ## there".to_owned(), Some(1)));
    }

    #[test]
    fn holds_back_only_what_may_begin_a_stop_string() {
        let mut matcher = StopMatcher::new(&["abab!".to_owned()]);
        assert_eq!(matcher.push("xabab"), ("x".to_owned(), None));
        assert_eq!(matcher.push("a"), ("ab".to_owned(), None));
        assert_eq!(matcher.push("z"), ("abaz".to_owned(), None));
        assert_eq!(matcher.push("ab"), (String::new(), None));
        assert_eq!(matcher.finish(), "ab");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        // A small alphabet with characters that share bytes, so that borders and ties occur.
        #[test]
        fn equals_brute_force(
            pieces in prop::collection::vec("[abé🦙🦘]{0,4}", 0..12),
            stop in prop::collection::vec("[abé🦙🦘]{0,5}", 0..4),
        ) {
            let whole = pieces.concat();
            let expected = by_brute_force(&whole, &stop);
            prop_assert_eq!(in_pieces(&pieces, &stop), expected.clone());
            let letters: Vec<String> = whole.chars().map(String::from).collect();
            prop_assert_eq!(in_pieces(&letters, &stop), expected.clone());
            prop_assert_eq!(in_pieces(&[whole], &stop), expected);
        }
    }
}
