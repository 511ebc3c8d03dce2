//! `/v1/embeddings`: the request and the answer.

use super::completions::{PromptBody, Prompts};
use super::values::{Count, Present};
use crate::error::ApiError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mistralrs_core::{EmbeddingRequest, Embeddings, Prompt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most texts of one request, as at OpenAI.
pub const MAX_INPUTS: usize = 2048;

/// Texts to be turned into vectors.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct EmbeddingsBody {
    /// The loaded model's id, or `default`; absent = the loaded model.
    pub model: Option<String>,
    /// A string, a list of strings, a list of token ids, or a list of such lists; at most 2048 texts.
    pub input: Prompts,
    /// `float` (default) or `base64`: the numbers as little-endian 32-bit floats.
    pub encoding_format: Option<String>,
    /// Cut vectors to this many numbers and give them length 1 again.
    pub dimensions: Option<Count>,
    /// Which of the model's prompts (`config_sentence_transformers.json`) is put before texts.
    pub prompt_name: Option<String>,
    /// Keep the beginning of texts that are too long instead of refusing them (default: false).
    #[serde(alias = "truncate_sequence")]
    pub truncate: Option<bool>,
    /// Read and ignored.
    pub user: Option<Present>,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Lists of numbers.
    Float,
    /// Base64 of their bytes.
    Base64,
}

impl EmbeddingsBody {
    /// Checks the form and translates.
    ///
    /// # Errors
    /// [`ApiError`] naming the field.
    pub fn into_core(self) -> Result<(EmbeddingRequest, Encoding), ApiError> {
        let encoding = match self.encoding_format.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(other) => {
                let other: String = other.chars().take(40).collect();
                let message =
                    format!("`encoding_format` is `{other}`; it has to be float or base64");
                return Err(ApiError::invalid("encoding_format", message));
            }
        };
        let count = self.input.0.len();
        if !(1..=MAX_INPUTS).contains(&count) {
            let message = format!("`input` has {count} texts; it has to be 1 to {MAX_INPUTS}");
            return Err(ApiError::invalid("input", message));
        }
        let input = |input: PromptBody| match input {
            PromptBody::Text(text) => Prompt::Text(text),
            PromptBody::Tokens(ids) => Prompt::Tokens(ids),
        };
        let request = EmbeddingRequest {
            inputs: self.input.0.into_iter().map(input).collect(),
            prompt_name: self.prompt_name,
            dimensions: self.dimensions.map(|dimensions| dimensions.0),
            truncate: self.truncate.unwrap_or(false),
        };
        Ok((request, encoding))
    }
}

/// Vectors.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EmbeddingsResponse {
    /// `list`
    pub object: &'static str,
    /// One per text, in order.
    pub data: Vec<EmbeddingBody>,
    /// The model that answered.
    pub model: String,
    /// Token counts.
    pub usage: EmbeddingUsage,
    /// What was ignored or cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A text's vector.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EmbeddingBody {
    /// `embedding`
    pub object: &'static str,
    /// The place of its text.
    pub index: usize,
    /// The numbers; a string if `base64` was asked for.
    #[schema(value_type = Vec<f32>)]
    pub embedding: VectorBody,
}

/// The numbers of a vector.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum VectorBody {
    /// As numbers.
    Float(Vec<f32>),
    /// As base64 of little-endian 32-bit floats.
    Base64(String),
}

/// Token counts of a request without an answer in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EmbeddingUsage {
    /// Tokens of all texts, special ones included.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

impl EmbeddingUsage {
    /// Of so many tokens.
    pub fn new(tokens: usize) -> Self {
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}

/// What cutting is told by.
pub(super) fn cut_warning(truncated_tokens: usize) -> Option<String> {
    (truncated_tokens > 0)
        .then(|| format!("{truncated_tokens} tokens were cut: the model reads no more of a text"))
}

impl EmbeddingsResponse {
    /// The wire form.
    pub fn from_core(
        model: &str,
        answer: Embeddings,
        encoding: Encoding,
        mut warnings: Vec<String>,
    ) -> Self {
        warnings.extend(cut_warning(answer.truncated_tokens));
        let body = |(index, vector)| EmbeddingBody {
            object: "embedding",
            index,
            embedding: VectorBody::new(vector, encoding),
        };
        Self {
            object: "list",
            data: answer.vectors.into_iter().enumerate().map(body).collect(),
            model: model.to_owned(),
            usage: EmbeddingUsage::new(answer.prompt_tokens),
            warnings,
        }
    }
}

impl VectorBody {
    fn new(vector: Vec<f32>, encoding: Encoding) -> Self {
        match encoding {
            Encoding::Float => Self::Float(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Self::Base64(STANDARD.encode(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(json: Value) -> Result<(EmbeddingRequest, Encoding), String> {
        let body: EmbeddingsBody =
            serde_json::from_value(json).map_err(|error| error.to_string())?;
        body.into_core().map_err(|error| error.message().to_owned())
    }

    #[test]
    fn every_form_of_input() {
        let inputs = |input: Value| read(json!({ "input": input })).unwrap().0.inputs;
        let text = |text: &str| Prompt::Text(text.to_owned());
        assert_eq!(inputs(json!("a")), [text("a")]);
        assert_eq!(inputs(json!(["a", "b"])), [text("a"), text("b")]);
        assert_eq!(inputs(json!([1, 2])), [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(
            inputs(json!([[1], [2, 3]])),
            [Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])]
        );
        for wrong in
            [json!([]), json!(5), json!({}), json!([1, "a"]), json!([-1]), json!(vec!["x"; 2049])]
        {
            assert!(read(json!({ "input": wrong })).is_err(), "{wrong}");
        }
        assert!(read(json!({})).unwrap_err().contains("input"));
    }

    #[test]
    fn formats_and_options() {
        let (request, encoding) = read(json!({
            "input": "x", "encoding_format": "base64", "dimensions": 8.0, "truncate_sequence": true,
            "user": "me", "prompt_name": "query",
        }))
        .unwrap();
        assert_eq!(
            (request.dimensions, request.truncate, encoding),
            (Some(8), true, Encoding::Base64)
        );
        assert_eq!(request.prompt_name.as_deref(), Some("query"));
        assert!(
            read(json!({"input": "x", "encoding_format": "int8"})).unwrap_err().contains("int8")
        );
    }

    #[test]
    fn base64_is_the_little_endian_bytes() {
        let VectorBody::Base64(text) = VectorBody::new(vec![1.0, -2.5], Encoding::Base64) else {
            panic!("not base64")
        };
        assert_eq!(STANDARD.decode(text).unwrap(), [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
    }
}
