//! [`Embedder`]: the object a program holds for encoders. Beside `llm`, the only place that sees both
//! text and tokens of them.

use crate::engine::encoding::{EncodingHandle, EncodingResult};
use crate::engine::{EngineStats, FailureKind};
use crate::error::{LoadError, RequestError};
use crate::forward::EncoderInput;
use crate::llm::ModelInfo;
use crate::loading::{self, LoadOptions, Loaded};
use crate::request::Prompt;
use crate::search::Vectors;
use crate::sentence::{cosine, shorten};
use crate::text::{TextPipeline, check_bytes};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Names that models give to the prompt of what is searched with, and of what is searched.
const QUERY_PROMPTS: [&str; 2] = ["query", "search_query"];
const DOCUMENT_PROMPTS: [&str; 3] = ["document", "passage", "search_document"];

/// A loaded encoder and its thread. Cheap to clone; the last clone to go ends the thread.
#[derive(Clone)]
pub struct Embedder {
    parts: Arc<EmbedderParts>,
}

/// What [`loading`] hands over.
pub(crate) struct EmbedderParts {
    pub engine: EncodingHandle,
    pub text: TextPipeline,
    pub info: EmbedderInfo,
    pub lower_case: bool,
}

/// What an encoder gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbedderKind {
    /// A vector per text.
    Embedding,
    /// A score per pair of texts.
    CrossEncoder,
}

/// Facts about the loaded encoder.
#[derive(Debug, Clone)]
pub struct EmbedderInfo {
    /// As of any model; it has no chat template and no end of sequence.
    pub model: ModelInfo,
    /// What it gives.
    pub kind: EmbedderKind,
    /// Numbers per vector.
    pub dimensions: usize,
    /// What is put before a text, by the name of the task.
    pub prompts: BTreeMap<String, String>,
    /// The prompt of texts whose task is not told.
    pub default_prompt: Option<String>,
}

/// Texts to be turned into vectors.
#[derive(Debug, Clone, Default)]
pub struct EmbeddingRequest {
    /// Texts, or their token ids, special ones included.
    pub inputs: Vec<Prompt>,
    /// Which of the model's prompts is put before texts.
    pub prompt_name: Option<String>,
    /// Cut vectors to so many numbers and give them length 1 again.
    pub dimensions: Option<usize>,
    /// Cut texts that are too long; else they are refused.
    pub truncate: bool,
}

/// Documents to be ranked by a query.
#[derive(Debug, Clone, Default)]
pub struct RerankRequest {
    /// What is searched.
    pub query: String,
    /// Where.
    pub documents: Vec<String>,
    /// Cut texts that are too long; else they are refused.
    pub truncate: bool,
}

/// Vectors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embeddings {
    /// One per input, in order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs, special ones included.
    pub prompt_tokens: usize,
    /// Tokens that were cut.
    pub truncated_tokens: usize,
}

/// How well documents answer a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// One per document, in order: 0 to 1 of a cross-encoder, else the cosine.
    pub scores: Vec<f32>,
    /// Tokens of all texts, special ones included.
    pub prompt_tokens: usize,
    /// Tokens that were cut.
    pub truncated_tokens: usize,
}

/// An answer on its way; dropping it cancels the request.
#[derive(Debug)]
pub struct Pending<T> {
    receiver: oneshot::Receiver<EncodingResult>,
    prompt_tokens: usize,
    truncated_tokens: usize,
    finish: fn(Finish) -> T,
    dimensions: Option<usize>,
}

/// What an answer is made of.
struct Finish {
    vectors: Vec<Vec<f32>>,
    prompt_tokens: usize,
    truncated_tokens: usize,
    dimensions: Option<usize>,
}

impl<T> Pending<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`RequestError::Internal`] and [`RequestError::Shutdown`].
    pub async fn wait(mut self) -> Result<T, RequestError> {
        let result = (&mut self.receiver).await.ok();
        self.end(result)
    }

    /// Waits for the answer; not on a thread that runs async code.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub fn blocking_wait(mut self) -> Result<T, RequestError> {
        let (_, empty) = oneshot::channel();
        let result = std::mem::replace(&mut self.receiver, empty).blocking_recv().ok();
        self.end(result)
    }

    fn end(self, result: Option<EncodingResult>) -> Result<T, RequestError> {
        let Self { prompt_tokens, truncated_tokens, dimensions, .. } = self;
        match result {
            Some(Ok(vectors)) => {
                Ok((self.finish)(Finish { vectors, prompt_tokens, truncated_tokens, dimensions }))
            }
            Some(Err(FailureKind::Internal(id))) => Err(RequestError::Internal { id }),
            // Without a word the thread is gone. Numbers have no form that could be broken.
            Some(Err(FailureKind::Shutdown | FailureKind::Timeout | FailureKind::Form)) | None => {
                Err(RequestError::Shutdown)
            }
        }
    }
}

fn to_embeddings(answer: Finish) -> Embeddings {
    let Finish { mut vectors, prompt_tokens, truncated_tokens, dimensions } = answer;
    if let Some(dimensions) = dimensions {
        vectors.iter_mut().for_each(|vector| shorten(vector, dimensions));
    }
    Embeddings { vectors, prompt_tokens, truncated_tokens }
}

/// The logit of each pair, as a probability.
fn to_probabilities(answer: Finish) -> Scores {
    let probability = |vector: &Vec<f32>| {
        let logit = vector.first().copied().unwrap_or(f32::NEG_INFINITY);
        1.0 / (1.0 + (-logit).exp())
    };
    let Finish { vectors, prompt_tokens, truncated_tokens, .. } = answer;
    let scores = vectors.iter().map(probability).collect();
    Scores { scores, prompt_tokens, truncated_tokens }
}

/// The first vector is the query's.
fn to_cosines(answer: Finish) -> Scores {
    let Finish { vectors, prompt_tokens, truncated_tokens, .. } = answer;
    let scores = match vectors.split_first() {
        Some((query, documents)) => documents.iter().map(|doc| cosine(query, doc)).collect(),
        None => Vec::new(),
    };
    Scores { scores, prompt_tokens, truncated_tokens }
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("info", &self.parts.info).finish_non_exhaustive()
    }
}

impl Embedder {
    /// Loads an encoder; blocks until it can answer.
    ///
    /// ```no_run
    /// use mistralrs_core::{Embedder, EmbeddingRequest, LoadOptions, Prompt};
    ///
    /// let encoder = Embedder::load(LoadOptions::new("sentence-transformers/all-MiniLM-L6-v2"))?;
    /// let inputs = ["A cat.", "A dog."].map(|text| Prompt::Text(text.into())).to_vec();
    /// let answer = encoder.embed(EmbeddingRequest { inputs, ..Default::default() })?;
    /// println!("{:?}", answer.blocking_wait()?.vectors);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`LoadError`] says what is missing or wrong, and what to do.
    pub fn load(options: LoadOptions) -> Result<Self, LoadError> {
        match loading::load_any(options)? {
            Loaded::Embedder(embedder) => Ok(embedder),
            Loaded::Llm(llm) => Err(LoadError::WrongKind {
                model: llm.info().id.clone(),
                found: "a text model: it gives answers, no vectors",
                remedy: "an encoder has files of sentence-transformers beside config.json",
            }),
        }
    }

    pub(crate) fn new(parts: EmbedderParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// One short text, so that the first request does not wait for pages to be read.
    pub(crate) fn warm_up(&self) {
        let inputs = vec![Prompt::Text("hello".into())];
        let answer = match self.parts.info.kind {
            EmbedderKind::Embedding => {
                let request = EmbeddingRequest { inputs, ..EmbeddingRequest::default() };
                self.embed(request).and_then(|pending| pending.blocking_wait().map(|_| ()))
            }
            EmbedderKind::CrossEncoder => {
                let (query, documents) = ("hello".to_owned(), vec!["world".to_owned()]);
                let request = RerankRequest { query, documents, truncate: false };
                self.rerank(&request).and_then(|pending| pending.blocking_wait().map(|_| ()))
            }
        };
        if let Err(error) = answer {
            tracing::warn!("warm-up failed: {error}");
        }
    }

    /// Turns texts into vectors. CPU work (the tokenizer) happens here, before it returns: call it
    /// from a blocking thread.
    ///
    /// # Errors
    /// [`RequestError`] by kind.
    pub fn embed(&self, request: EmbeddingRequest) -> Result<Pending<Embeddings>, RequestError> {
        let info = &self.parts.info;
        if info.kind == EmbedderKind::CrossEncoder {
            return Err(RequestError::invalid(
                "model",
                "the loaded model is a cross-encoder: it ranks (/v1/rerank) and gives no vectors",
            ));
        }
        if let Some(dimensions) = request.dimensions
            && !(1..=info.dimensions).contains(&dimensions)
        {
            let message =
                format!("`dimensions` is {dimensions}; it has to be 1 to {}", info.dimensions);
            return Err(RequestError::invalid("dimensions", message));
        }
        if request.inputs.is_empty() {
            return Err(RequestError::invalid("input", "`input` is empty"));
        }
        let name = request.prompt_name.as_ref().or(info.default_prompt.as_ref());
        let before = self.prompt(name.map(String::as_str))?;
        let mut texts = Texts::default();
        for input in &request.inputs {
            match input {
                Prompt::Text(text) => {
                    self.add(&mut texts, before, (text, None), request.truncate)?
                }
                Prompt::Tokens(ids) => self.add_ids(&mut texts, ids, request.truncate)?,
            }
        }
        // Of the full length, a vector is as the model made it.
        let dimensions = request.dimensions.filter(|n| *n < info.dimensions);
        self.submit(texts, dimensions, to_embeddings)
    }

    /// Ranks documents: a cross-encoder reads each with the query, another encoder compares vectors.
    /// As [`Embedder::embed`], for a blocking thread.
    ///
    /// # Errors
    /// [`RequestError`] by kind.
    pub fn rerank(&self, request: &RerankRequest) -> Result<Pending<Scores>, RequestError> {
        if request.documents.is_empty() {
            return Err(RequestError::invalid("documents", "`documents` is empty"));
        }
        let mut texts = Texts::default();
        if self.parts.info.kind == EmbedderKind::CrossEncoder {
            for document in &request.documents {
                let pair = (request.query.as_str(), Some(document.as_str()));
                self.add(&mut texts, "", pair, request.truncate)?;
            }
            return self.submit(texts, None, to_probabilities);
        }
        let prompts = &self.parts.info.prompts;
        let first = |names: &[&str]| {
            let found = names.iter().find_map(|name| prompts.get(*name));
            found.map_or("", String::as_str)
        };
        let (query, document) = (first(&QUERY_PROMPTS), first(&DOCUMENT_PROMPTS));
        self.add(&mut texts, query, (&request.query, None), request.truncate)?;
        for text in &request.documents {
            self.add(&mut texts, document, (text, None), request.truncate)?;
        }
        self.submit(texts, None, to_cosines)
    }

    fn prompt(&self, name: Option<&str>) -> Result<&str, RequestError> {
        let prompts = &self.parts.info.prompts;
        match name {
            None => Ok(""),
            Some(name) => prompts.get(name).map(String::as_str).ok_or_else(|| {
                let known: Vec<_> = prompts.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!("the model has no prompt of this name; it has: {known}");
                RequestError::invalid("prompt_name", message)
            }),
        }
    }

    fn submit<T>(
        &self,
        texts: Texts,
        dimensions: Option<usize>,
        finish: fn(Finish) -> T,
    ) -> Result<Pending<T>, RequestError> {
        let Texts { inputs, prompt_tokens, truncated_tokens } = texts;
        let receiver = self.parts.engine.submit(inputs)?;
        Ok(Pending { receiver, prompt_tokens, truncated_tokens, finish, dimensions })
    }

    fn add(
        &self,
        texts: &mut Texts,
        before: &str,
        (text, second): (&str, Option<&str>),
        truncate: bool,
    ) -> Result<(), RequestError> {
        let limit = self.parts.info.model.max_sequence_length;
        check_bytes(text, limit)?;
        second.map_or(Ok(()), |second| check_bytes(second, limit))?;
        let text = self.as_read(before, text);
        let second = second.map(|second| self.as_read("", second));
        let tokenizer = self.parts.text.tokenizer();
        let whole = tokenizer.encode_whole(&text, second.as_deref(), truncate.then_some(limit))?;
        texts.truncated_tokens += whole.cut_tokens;
        texts
            .add(EncoderInput { token_ids: whole.token_ids, token_types: whole.token_types }, limit)
    }

    /// With what stands before it, in lower case where the model reads nothing else.
    fn as_read<'a>(&self, before: &str, text: &'a str) -> Cow<'a, str> {
        match (before.is_empty(), self.parts.lower_case) {
            (true, false) => Cow::Borrowed(text),
            (_, false) => Cow::Owned(format!("{before}{text}")),
            (_, true) => Cow::Owned(format!("{before}{text}").to_lowercase()),
        }
    }

    fn add_ids(&self, texts: &mut Texts, ids: &[u32], truncate: bool) -> Result<(), RequestError> {
        let info = &self.parts.info.model;
        let limit = info.max_sequence_length;
        if let Some(id) = ids.iter().find(|id| **id as usize >= info.vocab_size) {
            let message =
                format!("token id {id} is outside the vocabulary of {} tokens", info.vocab_size);
            return Err(RequestError::invalid("input", message));
        }
        let kept = if truncate { ids.len().min(limit) } else { ids.len() };
        texts.truncated_tokens += ids.len() - kept;
        let token_ids: Vec<u32> = ids.iter().take(kept).copied().collect();
        texts.add(EncoderInput { token_types: vec![0; kept], token_ids }, limit)
    }

    /// Text to token ids.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when the tokenizer refuses the text.
    pub fn tokenize(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, RequestError> {
        self.parts.text.tokenizer().encode(text, add_special_tokens)
    }

    /// Facts about the model.
    pub fn info(&self) -> &EmbedderInfo {
        &self.parts.info
    }

    /// Counters and gauges of this moment; those of a cache are 0.
    pub fn stats(&self) -> EngineStats {
        self.parts.engine.stats()
    }

    /// Ends the thread: running requests get [`RequestError::Shutdown`]. Waits for it.
    pub fn shutdown(&self) {
        self.parts.engine.shutdown();
    }
}

impl Vectors for Embedder {
    fn limit(&self) -> usize {
        self.parts.info.model.max_sequence_length
    }

    fn offsets(&self, text: &str) -> Vec<(usize, usize)> {
        self.parts.text.tokenizer().offsets(text)
    }

    /// The texts bring their prompts themselves.
    fn vectors(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, RequestError> {
        let mut request = Texts::default();
        for text in &texts {
            self.add(&mut request, "", (text, None), true)?;
        }
        let pending: Pending<Embeddings> = self.submit(request, None, to_embeddings)?;
        Ok(pending.blocking_wait()?.vectors)
    }
}

/// A request in tokens.
#[derive(Default)]
struct Texts {
    inputs: Vec<EncoderInput>,
    prompt_tokens: usize,
    truncated_tokens: usize,
}

impl Texts {
    fn add(&mut self, text: EncoderInput, limit: usize) -> Result<(), RequestError> {
        match text.token_ids.len() {
            0 => Err(RequestError::invalid("input", "an input is empty: it has no tokens")),
            prompt_tokens if prompt_tokens > limit => {
                Err(RequestError::TooLong { prompt_tokens, limit })
            }
            tokens => {
                self.prompt_tokens += tokens;
                self.inputs.push(text);
                Ok(())
            }
        }
    }
}
