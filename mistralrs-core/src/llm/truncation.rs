//! What happens to a prompt that is longer than the context (row A2, decisions 1 and 2).

use crate::error::RequestError;
use crate::request::GenerateOptions;

/// How many tokens to cut off the front of a prompt of `prompt_tokens` for a context of `limit`.
/// Room is left for `max_tokens`, or for one token; at least one token of the prompt stays.
///
/// # Errors
/// [`RequestError::TooLong`] when it does not fit and truncation was not asked for.
pub fn tokens_to_cut(
    prompt_tokens: usize,
    limit: usize,
    options: &GenerateOptions,
) -> Result<usize, RequestError> {
    if prompt_tokens <= limit {
        return Ok(0);
    }
    if !options.truncate_sequence {
        return Err(RequestError::TooLong { prompt_tokens, limit });
    }
    let reserve = options.max_tokens.map_or(1, |tokens| tokens.min(limit));
    let keep = limit.saturating_sub(reserve).max(1);
    Ok(prompt_tokens - keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(prompt: usize, limit: usize, max_tokens: Option<usize>) -> usize {
        let options =
            GenerateOptions { truncate_sequence: true, max_tokens, ..GenerateOptions::default() };
        prompt - tokens_to_cut(prompt, limit, &options).unwrap()
    }

    #[test]
    fn the_row_s_table() {
        assert_eq!(kept(100, 5, Some(10)), 1);
        assert_eq!(kept(5000, 4096, None), 4095);
        assert_eq!(kept(5000, 4096, Some(512)), 3584);
        assert_eq!(kept(4096, 4096, Some(512)), 4096, "what fits is left alone");
    }

    #[test]
    fn kept_is_never_empty_and_always_fits() {
        for prompt in 1..40 {
            for limit in 1..20 {
                for max in [None, Some(0), Some(1), Some(5), Some(usize::MAX)] {
                    let kept = kept(prompt, limit, max);
                    assert!((1..=limit.max(1)).contains(&kept), "{prompt} {limit} {max:?}: {kept}");
                }
            }
        }
    }

    #[test]
    fn without_truncation_it_is_refused_with_both_numbers() {
        let error = tokens_to_cut(11, 10, &GenerateOptions::default()).unwrap_err();
        assert!(matches!(error, RequestError::TooLong { prompt_tokens: 11, limit: 10 }));
        assert!(error.to_string().contains("10 tokens"));
        assert!(error.to_string().contains("truncate_sequence"));
    }
}
