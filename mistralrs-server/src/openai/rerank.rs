//! `/v1/rerank` in the shape that Jina and Cohere share.

use super::embeddings::{EmbeddingUsage, MAX_INPUTS, cut_warning};
use super::values::Count;
use crate::error::ApiError;
use mistralrs_core::{RerankRequest, Scores};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Documents to be ranked by a query.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct RerankBody {
    /// The loaded model's id, or `default`; absent = the loaded model.
    pub model: Option<String>,
    /// What is searched.
    pub query: String,
    /// Where: strings, or objects with a `text`; at most 2048.
    pub documents: Vec<DocumentBody>,
    /// Give only this many, the best.
    pub top_n: Option<Count>,
    /// Give the documents with the scores (default: false).
    pub return_documents: Option<bool>,
    /// Keep the beginning of texts that are too long instead of refusing them (default: false).
    #[serde(alias = "truncate_sequence")]
    pub truncate: Option<bool>,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string, or an object with a string `text`")]
pub enum DocumentBody {
    /// Its text.
    Text(String),
    /// Its text in an object.
    Object {
        /// Its text.
        text: String,
    },
}

impl DocumentBody {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

/// What is to be answered besides scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RerankForm {
    top_n: usize,
    return_documents: bool,
}

impl RerankForm {
    /// Whether the documents come with the scores.
    pub fn wants_documents(self) -> bool {
        self.return_documents
    }
}

impl RerankBody {
    /// Checks the form and translates.
    ///
    /// # Errors
    /// [`ApiError`] naming the field.
    pub fn into_core(self) -> Result<(RerankRequest, RerankForm), ApiError> {
        let count = self.documents.len();
        if !(1..=MAX_INPUTS).contains(&count) {
            let message = format!("`documents` has {count}; it has to be 1 to {MAX_INPUTS}");
            return Err(ApiError::invalid("documents", message));
        }
        if self.query.is_empty() {
            return Err(ApiError::invalid("query", "`query` is empty"));
        }
        if self.top_n == Some(Count(0)) {
            return Err(ApiError::invalid("top_n", "`top_n` is 0; it has to be 1 or more"));
        }
        let form = RerankForm {
            top_n: self.top_n.map_or(count, |n| n.0.min(count)),
            return_documents: self.return_documents.unwrap_or(false),
        };
        let request = RerankRequest {
            query: self.query,
            documents: self.documents.into_iter().map(DocumentBody::into_text).collect(),
            truncate: self.truncate.unwrap_or(false),
        };
        Ok((request, form))
    }
}

/// A ranking.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RerankResponse {
    /// Identifies the answer.
    pub id: String,
    /// `list`
    pub object: &'static str,
    /// The model that answered.
    pub model: String,
    /// Token counts.
    pub usage: EmbeddingUsage,
    /// Best first.
    pub results: Vec<RankedBody>,
    /// What was ignored or cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A document and its score.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RankedBody {
    /// Its place in the request.
    pub index: usize,
    /// 0 to 1 from a cross-encoder, the cosine (-1 to 1) from another encoder.
    pub relevance_score: f32,
    /// If asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentText>,
}

/// A document in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DocumentText {
    /// Its text.
    pub text: String,
}

impl RerankResponse {
    /// The wire form; `documents` are those of the request, none if they are not wanted.
    pub fn from_core(
        model: &str,
        answer: &Scores,
        documents: Vec<String>,
        form: RerankForm,
        mut warnings: Vec<String>,
    ) -> Self {
        warnings.extend(cut_warning(answer.truncated_tokens));
        let mut texts = documents.into_iter();
        let ranked = |(index, score): (usize, &f32)| RankedBody {
            index,
            relevance_score: *score,
            document: texts.next().map(|text| DocumentText { text }),
        };
        let mut results: Vec<_> = answer.scores.iter().enumerate().map(ranked).collect();
        // Of equals, the first stays first.
        results.sort_by(|a, b| b.relevance_score.total_cmp(&a.relevance_score));
        results.truncate(form.top_n);
        Self {
            id: format!("rerank-{}", uuid::Uuid::new_v4().simple()),
            object: "list",
            model: model.to_owned(),
            usage: EmbeddingUsage::new(answer.prompt_tokens),
            results,
            warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(json: Value) -> Result<(RerankRequest, RerankForm), String> {
        let body: RerankBody = serde_json::from_value(json).map_err(|error| error.to_string())?;
        body.into_core().map_err(|error| error.message().to_owned())
    }

    #[test]
    fn the_best_stand_first_and_equals_in_order() {
        let documents = json!(["a", {"text": "b"}, "c", "d"]);
        let (request, form) = read(
            json!({"query": "q", "documents": documents, "top_n": 3, "return_documents": true}),
        )
        .unwrap();
        assert_eq!(request.documents, ["a", "b", "c", "d"]);
        let scores =
            Scores { scores: vec![0.5, 0.9, 0.5, 0.1], prompt_tokens: 7, truncated_tokens: 0 };
        let answer = RerankResponse::from_core("m", &scores, request.documents, form, Vec::new());
        let order: Vec<_> = answer.results.iter().map(|ranked| ranked.index).collect();
        assert_eq!(order, [1, 0, 2]);
        assert_eq!(answer.results[0].document.as_ref().unwrap().text, "b");
        assert_eq!(answer.usage.total_tokens, 7);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (body, word) in [
            (json!({"query": "q"}), "documents"),
            (json!({"documents": ["a"]}), "query"),
            (json!({"query": "q", "documents": []}), "documents"),
            (json!({"query": "q", "documents": [5]}), "a string"),
            (json!({"query": "q", "documents": [{"body": "x"}]}), "text"),
            (json!({"query": "", "documents": ["a"]}), "query"),
            (json!({"query": "q", "documents": ["a"], "top_n": 0}), "top_n"),
            (json!({"query": ["q"], "documents": ["a"]}), "string"),
        ] {
            let error = read(body.clone()).unwrap_err();
            assert!(error.contains(word), "{body}: {error}");
        }
    }
}
