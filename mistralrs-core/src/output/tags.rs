//! Looks for fixed strings in a text that comes in pieces. Knows nothing of what they mean.

/// What is found in the text at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A tag stands at this byte and has this many bytes.
    At(usize, usize),
    /// No tag; from this byte on one may be beginning (the text's length if none is).
    Maybe(usize),
}

/// The first of `tags` in `text`; of those that begin at one place the longest.
pub(super) fn find(text: &str, tags: &[&str]) -> Found {
    let hits = tags.iter().filter_map(|tag| text.find(tag).map(|at| (at, tag.len())));
    let first = hits.min_by_key(|&(at, len)| (at, std::cmp::Reverse(len)));
    let open = beginning(text, tags);
    match first {
        // Else one that begins earlier, or a longer one, may still be coming.
        Some((at, len)) if at < open => Found::At(at, len),
        _ => Found::Maybe(open),
    }
}

/// Where the longest end of `text` begins that is a proper beginning of a tag.
fn beginning(text: &str, tags: &[&str]) -> usize {
    let longest = tags.iter().map(|tag| tag.len().saturating_sub(1)).max().unwrap_or(0);
    let from = text.len().saturating_sub(longest);
    let mut starts = (from..text.len()).filter(|&at| text.is_char_boundary(at));
    let may_begin = |at: usize| {
        text.get(at..)
            .is_some_and(|end| tags.iter().any(|tag| tag.len() > end.len() && tag.starts_with(end)))
    };
    starts.find(|&at| may_begin(at)).unwrap_or(text.len())
}

/// Whether one of `tags` stands at the very start, may be about to, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It does, with this many bytes.
    Tag(usize),
    /// The text is the proper beginning of one.
    Maybe,
    /// None does.
    No,
}

/// See [`Start`]. The longest tag wins.
pub(super) fn start(text: &str, tags: &[&str]) -> Start {
    if tags.iter().any(|tag| tag.len() > text.len() && tag.starts_with(text)) {
        return Start::Maybe;
    }
    let whole = tags.iter().filter(|tag| text.starts_with(**tag)).map(|tag| tag.len()).max();
    whole.map_or(Start::No, Start::Tag)
}
