//! Reference values of slices of Gemma 3n: what transformers makes of a checkpoint that was cut.

use crate::media::media_golden;
use crate::{fixture, golden, read_json};
use serde::Deserialize;

/// One prompt to one slice, and its greedy continuation.
#[derive(Debug, Clone, Deserialize)]
pub struct SliceCase {
    /// The model that is cut.
    pub fixture: String,
    /// The slice, by its name in `matformer.csv`.
    pub slice: String,
    /// Which of the cases of [`golden`] has the prompt.
    pub text: Option<usize>,
    /// Or which conversation of [`media_golden`].
    pub conversation: Option<usize>,
    /// Ids of the continuation.
    pub greedy: Vec<u32>,
    /// ln p of each token from the second of the prompt on.
    pub logprobs: Vec<f32>,
}

impl SliceCase {
    /// Token ids.
    pub fn prompt(&self) -> Vec<u32> {
        let text = self.text.map(|number| golden(&self.fixture).cases.swap_remove(number).prompt);
        let media =
            |number: usize| media_golden(&self.fixture).cases.swap_remove(number).text.prompt;
        text.or_else(|| self.conversation.map(media)).unwrap_or_default()
    }
}

/// All of them.
///
/// # Panics
/// When there are none.
pub fn slice_cases() -> Vec<SliceCase> {
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<SliceCase>,
    }
    read_json::<Golden>(&fixture("matformer.golden.json")).cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_behind_the_first_has_a_value() {
        let cases = slice_cases();
        assert!(cases.iter().any(|case| case.conversation.is_some()) && cases.len() >= 4);
        for case in cases {
            assert_eq!(case.logprobs.len(), case.prompt().len() - 1 + case.greedy.len());
            assert!(case.prompt().len() > 6 && case.logprobs.iter().all(|p| *p < 0.));
        }
    }
}
