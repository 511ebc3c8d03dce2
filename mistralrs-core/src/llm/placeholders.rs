//! Media in a prompt: the marks that chat templates write for them, what stands there instead in each
//! family, and the tokens that stand for each. Knows texts and tokens; no pixels.
//! Source: the processors of Hugging Face transformers (`processing_*.py`).

use crate::error::RequestError;
use crate::forward::{Media, MediaItem, Modality};
use std::ops::Range;
use std::sync::Arc;

/// What one medium of a conversation has become.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its kind.
    pub modality: Modality,
    /// What stands for it in the prompt, with one placeholder for each piece.
    pub text: String,
    /// What the encoder takes, piece by piece, each with its number of tokens.
    pub pieces: Vec<(Arc<Media>, usize)>,
}

impl Prepared {
    /// What stands before the place where a prompt is cut: nothing is written for it.
    pub fn cut_off(modality: Modality) -> Self {
        Self { modality, text: String::new(), pieces: Vec::new() }
    }

    /// Tokens of all its pieces.
    pub fn num_tokens(&self) -> usize {
        self.pieces.iter().map(|(_, tokens)| tokens).sum()
    }

    /// What its numbers take.
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(|(media, _)| media.bytes()).sum()
    }
}

/// How a kind of media is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The kind.
    pub modality: Modality,
    /// What chat templates write for one medium.
    pub template: &'static str,
    /// The token that stands for media once they are written out.
    pub placeholder: &'static str,
}

/// Writes each medium in the place of its mark: the first picture for the first picture's mark, and so on.
///
/// # Errors
/// [`RequestError::Invalid`] when there are not as many marks as media of a kind.
pub fn write_media(
    prompt: &str,
    marks: &[Mark],
    media: &[Prepared],
) -> Result<String, RequestError> {
    let of = |modality| media.iter().filter(move |medium| medium.modality == modality);
    for mark in marks {
        let (written, sent) = (prompt.matches(mark.template).count(), of(mark.modality).count());
        if written != sent {
            return Err(mismatch(mark, written, sent));
        }
    }
    let mut next: Vec<_> = marks.iter().map(|mark| (mark, of(mark.modality))).collect();
    let (mut out, mut rest) = (String::with_capacity(prompt.len()), prompt);
    loop {
        let places = next.iter_mut().filter_map(|(mark, media)| {
            rest.find(mark.template).map(|at| (at, mark.template, media))
        });
        let Some((at, template, media)) = places.min_by_key(|(at, ..)| *at) else { break };
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out += before;
        out += media.next().map_or("", |medium| &medium.text);
        rest = after.strip_prefix(template).unwrap_or_default();
    }
    out += rest;
    Ok(out)
}

fn mismatch(mark: &Mark, written: usize, sent: usize) -> RequestError {
    let (mark, kind) = (mark.template, kind(mark.modality));
    RequestError::invalid(
        "messages",
        format!(
            "the conversation has {sent} of {kind}, and `{mark}`, which stands for one, is written \
             {written} times; take the mark out of the text, or see what the chat template makes of it"
        ),
    )
}

fn kind(modality: Modality) -> &'static str {
    match modality {
        Modality::Image => "image",
        Modality::Video => "video",
        Modality::Audio => "audio",
    }
}

/// Repeats each placeholder as often as its piece has tokens; says which tokens stand for which piece.
/// `placeholders` are the tokens and their kinds.
///
/// # Errors
/// [`RequestError::Invalid`] when there are not as many placeholders as pieces of a kind.
pub fn expand(
    tokens: &[u32],
    placeholders: &[(u32, Modality)],
    media: &[Prepared],
) -> Result<(Vec<u32>, Vec<MediaItem>), RequestError> {
    // The kind of a piece: frames of a video may be pictures to a model.
    let all = media.iter().flat_map(|m| &m.pieces).map(|piece| (piece.0.modality(), piece));
    let mut waiting: Vec<_> = all.collect();
    let (mut out, mut items) =
        (Vec::with_capacity(tokens.len()), Vec::with_capacity(waiting.len()));
    for &token in tokens {
        let Some((_, modality)) = placeholders.iter().find(|(id, _)| *id == token) else {
            out.push(token);
            continue;
        };
        let Some(at) = waiting.iter().position(|(kind, _)| kind == modality) else {
            return Err(left_over(*modality, "more"));
        };
        let (_, (media, count)) = waiting.remove(at);
        let start = out.len();
        out.extend(std::iter::repeat_n(token, *count));
        items.push(MediaItem { tokens: start..out.len(), media: Arc::clone(media) });
    }
    match waiting.first() {
        Some((modality, _)) => Err(left_over(*modality, "fewer")),
        None => Ok((out, items)),
    }
}

fn left_over(modality: Modality, how: &str) -> RequestError {
    let kind = kind(modality);
    let message = format!("the prompt has {how} places for {kind} than there is of it");
    RequestError::invalid("messages", message)
}

/// The media of a prompt whose first `cut` tokens go.
///
/// # Errors
/// [`RequestError::Invalid`] when that would cut one in half.
pub fn after_cut(items: Vec<MediaItem>, cut: usize) -> Result<Vec<MediaItem>, RequestError> {
    let mut kept = Vec::with_capacity(items.len());
    for MediaItem { tokens: Range { start, end }, media } in items {
        match (start.checked_sub(cut), end.checked_sub(cut)) {
            (Some(start), Some(end)) => kept.push(MediaItem { tokens: start..end, media }),
            (None, Some(rest)) if rest > 0 => {
                let kind = kind(media.modality());
                return Err(RequestError::invalid(
                    "truncate_sequence",
                    format!(
                        "`truncate_sequence` would cut {kind} of {} tokens in two; shorten the \
                         conversation or leave it out",
                        end - start
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: [Mark; 2] = [
        Mark { modality: Modality::Image, template: "<img>", placeholder: "<i>" },
        Mark { modality: Modality::Audio, template: "<snd>", placeholder: "<a>" },
    ];

    fn media(modality: Modality, seed: f32) -> Arc<Media> {
        Arc::new(Media::new(modality, vec![seed], &[1], [1; 3]).unwrap())
    }

    fn prepared(modality: Modality, text: &str, counts: &[usize]) -> Prepared {
        let piece = |(i, count): (usize, &usize)| (media(modality, i as f32), *count);
        let pieces = counts.iter().enumerate().map(piece).collect();
        Prepared { modality, text: text.to_owned(), pieces }
    }

    fn conversation() -> [Prepared; 3] {
        [
            prepared(Modality::Image, "[<i>]", &[2]),
            prepared(Modality::Audio, "{<a>}", &[1]),
            prepared(Modality::Image, "[<i>|<i>]", &[1, 3]),
        ]
    }

    #[test]
    fn each_kind_is_written_in_its_own_order() {
        let written = write_media("a <img> b <img><snd> ü", &MARKS, &conversation()).unwrap();
        assert_eq!(written, "a [<i>] b [<i>|<i>]{<a>} ü");
        // What a medium's text holds is not read again.
        let nested = [prepared(Modality::Image, "<img>", &[1])];
        assert_eq!(write_media("<img>!", &MARKS, &nested).unwrap(), "<img>!");
        assert_eq!(write_media("text", &MARKS, &[]).unwrap(), "text");
    }

    #[test]
    fn marks_that_nobody_sent_are_refused_with_both_numbers() {
        for (prompt, numbers) in [("a <img>", "2 of image"), ("<img><img><img><snd>", "3 times")] {
            match write_media(prompt, &MARKS, &conversation()).unwrap_err() {
                RequestError::Invalid { param, message } => {
                    assert_eq!(param, "messages");
                    assert!(message.contains(numbers), "{message}");
                }
                other => panic!("{other}"),
            }
        }
        let error = write_media("I write <snd> myself", &MARKS, &[]).unwrap_err().to_string();
        assert!(error.contains("0 of audio") && error.contains("1 times"), "{error}");
    }

    #[test]
    fn placeholders_become_as_many_tokens_as_their_pieces_have() {
        let ids = [(9, Modality::Image), (8, Modality::Audio)];
        let (tokens, items) = expand(&[1, 9, 2, 8, 9, 3, 9], &ids, &conversation()).unwrap();
        assert_eq!(tokens, [1, 9, 9, 2, 8, 9, 3, 9, 9, 9]);
        let ranges: Vec<_> = items.iter().map(|item| item.tokens.clone()).collect();
        assert_eq!(ranges, [1..3, 4..5, 5..6, 7..10]);
        assert_eq!(items[1].media.modality(), Modality::Audio);
        assert!(expand(&[1, 9, 8], &ids, &conversation()).is_err(), "fewer places");
        assert!(expand(&[9], &ids, &[]).is_err(), "more places");
    }

    #[test]
    fn a_cut_drops_whole_media_and_refuses_half_of_one() {
        let items = || {
            let item = |tokens| MediaItem { tokens, media: media(Modality::Image, 1.0) };
            vec![item(2..5), item(8..10)]
        };
        let ranges = |cut| -> Result<Vec<Range<usize>>, String> {
            let kept = after_cut(items(), cut).map_err(|error| error.to_string())?;
            Ok(kept.into_iter().map(|item| item.tokens).collect())
        };
        assert_eq!(ranges(0).unwrap(), [2..5, 8..10]);
        assert_eq!(ranges(2).unwrap(), [0..3, 6..8]);
        assert!(ranges(5).unwrap().into_iter().eq(std::iter::once(3..5)));
        assert!(ranges(10).unwrap().is_empty());
        for cut in [3, 4, 9] {
            assert!(ranges(cut).unwrap_err().contains("in two"), "{cut}");
        }
    }
}
