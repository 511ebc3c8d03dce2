//! [`Llm`]: the one object a program holds. The only file that sees both text and tokens.

mod dialect;
mod form;
mod generation;
mod media;
mod placeholders;
mod places;
mod senses;
mod truncation;
mod written;

pub use dialect::Capabilities;
pub(crate) use dialect::ChatDialect;
pub use generation::Generation;
pub use senses::Look;
use senses::Use;
pub(crate) use senses::{Preparation, Senses};

use form::FormPlan;
use generation::{AnswerPlan, Reading};

use crate::engine::{EngineHandle, EngineStats, GenerationRequest};
use crate::error::{LoadError, RequestError};
use crate::forward::{MediaItem, Modality};
use crate::loading::cost::TokenCost;
use crate::loading::{self, LoadOptions, Loaded};
use crate::request::{ChatRequest, CompletionRequest, GenerateOptions, Image, Prompt};
use crate::sampling::{GrammarCompiler, Sampler, SamplingParams, ThinkingLimit, breaker_ids};
use crate::text::{TextPipeline, check_bytes};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A loaded model and its engine. Cheap to clone; the last clone to go ends the engine.
#[derive(Clone)]
pub struct Llm {
    parts: Arc<LlmParts>,
}

/// What [`loading`] hands over.
pub(crate) struct LlmParts {
    pub engine: EngineHandle,
    pub text: TextPipeline,
    /// Of models that take more than text.
    pub senses: Option<Senses>,
    pub dialect: ChatDialect,
    /// Built when first needed; a reason if it cannot be.
    pub grammars: OnceLock<Result<GrammarCompiler, String>>,
    pub info: ModelInfo,
    /// The model's `generation_config.json`.
    pub defaults: SamplingParams,
    /// Seeds of requests that bring none: a base and a counter.
    pub seed: u64,
    pub requests: AtomicU64,
}

/// A prompt and what is to become of it.
struct Asked {
    tokens: Vec<u32>,
    /// What some of the tokens stand for.
    media: Vec<MediaItem>,
    /// The field that the prompt came from.
    field: &'static str,
    options: GenerateOptions,
    form: Option<FormPlan>,
    thinking: Option<ThinkingLimit>,
    reading: Option<Reading>,
}

/// A conversation as the model reads it.
struct Conversation {
    prompt: String,
    tokens: Vec<u32>,
    /// What some of the tokens stand for.
    media: Vec<MediaItem>,
}

/// Facts about the loaded model.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// What the model was asked for by: hub id, folder or file name.
    pub id: String,
    /// `Qwen2ForCausalLM` and the like.
    pub architecture: String,
    /// Most tokens of prompt and answer together (row P-A5).
    pub max_sequence_length: usize,
    /// Number of logits.
    pub vocab_size: usize,
    /// Number of weights.
    pub num_parameters: u64,
    /// Bytes of weights in memory.
    pub weight_bytes: u64,
    /// The types the weights are stored in with the number of tensors, most frequent first: `Q4_K ×140, F32 ×73`.
    pub weight_types: String,
    /// What a token costs at least.
    pub cost: TokenCost,
    /// Whether the model came with a chat template.
    pub has_chat_template: bool,
    /// End-of-sequence ids.
    pub eos_token_ids: Vec<u32>,
}

impl std::fmt::Debug for Llm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Llm").field("info", &self.parts.info).finish_non_exhaustive()
    }
}

impl Llm {
    /// Loads a model; blocks until it can answer.
    ///
    /// ```no_run
    /// use mistralrs_core::{ChatRequest, Delta, Llm, LoadOptions, Message, Role};
    ///
    /// let llm = Llm::load(LoadOptions::new("Qwen/Qwen2.5-0.5B-Instruct"))?;
    /// let messages = vec![Message::text(Role::User, "Name a colour.")];
    /// let mut answer = llm.chat(ChatRequest { messages, ..ChatRequest::default() })?;
    /// while let Some(delta) = answer.blocking_next() {
    ///     if let Delta::Text { text, .. } = delta? {
    ///         print!("{text}");
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`LoadError`] says what is missing or wrong, and what to do.
    pub fn load(options: LoadOptions) -> Result<Self, LoadError> {
        match loading::load_any(options)? {
            Loaded::Llm(llm) => Ok(llm),
            Loaded::Embedder(embedder) => Err(LoadError::WrongKind {
                model: embedder.info().model.id.clone(),
                found: "an encoder: it gives vectors or scores, no answers",
                remedy: "serve it and ask /v1/embeddings or /v1/rerank, or use `Embedder`",
            }),
        }
    }

    pub(crate) fn new(parts: LlmParts, warm_up: bool) -> Self {
        let llm = Self { parts: Arc::new(parts) };
        if warm_up {
            llm.warm_up();
        }
        llm
    }

    /// One token of "hello", read until the channel closes (row A3).
    fn warm_up(&self) {
        let start = std::time::Instant::now();
        tracing::info!("warm-up begins");
        let sampling = SamplingParams { temperature: Some(0.), ..SamplingParams::default() };
        let options = GenerateOptions { max_tokens: Some(1), sampling, ..Default::default() };
        let prompt = Prompt::Text("hello".into());
        let answered = match self.complete(CompletionRequest { prompt, options }) {
            Ok(mut generation) => std::iter::from_fn(|| generation.blocking_next())
                .fold(false, |ok, d| ok | d.is_ok()),
            Err(_) => false,
        };
        match answered {
            true => tracing::info!("warm-up completed in {:.2} s", start.elapsed().as_secs_f64()),
            false => tracing::warn!("warm-up failed"),
        }
    }

    /// Continues a conversation. CPU work (template, tokenizer, pictures) happens here, before it returns:
    /// call it from a blocking thread.
    ///
    /// # Errors
    /// [`RequestError`] by kind.
    pub fn chat(&self, request: ChatRequest) -> Result<Generation, RequestError> {
        let options = request.options.clone();
        self.answer(&self.conversation(&request)?, &request, options)
    }

    /// Continues a conversation in several ways, one for each of `options`, which differ in nothing but how tokens
    /// are drawn. As [`Llm::chat`], but the conversation is read once, its pictures too.
    ///
    /// # Errors
    /// As [`Llm::chat`].
    pub fn answers(
        &self,
        request: &ChatRequest,
        options: Vec<GenerateOptions>,
    ) -> Result<Vec<Generation>, RequestError> {
        let conversation = self.conversation(request)?;
        let answer = |options| self.answer(&conversation, request, options);
        options.into_iter().map(answer).collect()
    }

    fn conversation(&self, request: &ChatRequest) -> Result<Conversation, RequestError> {
        let limit = self.parts.info.max_sequence_length;
        let prompt = self.render(request)?;
        tracing::debug!(prompt, "the conversation as the model reads it");
        check_bytes(&prompt, limit)?;
        let wanted = Use::Seen { most_tokens: limit, cut: request.options.truncate_sequence };
        // The template writes its own special tokens.
        let (tokens, media) = self.encode(&prompt, request, wanted, false)?;
        Ok(Conversation { prompt, tokens, media })
    }

    fn answer(
        &self,
        conversation: &Conversation,
        request: &ChatRequest,
        mut options: GenerateOptions,
    ) -> Result<Generation, RequestError> {
        let parts = &self.parts;
        let Conversation { prompt, tokens, media } = conversation;
        let form = FormPlan::for_chat(&parts.dialect, parts.text.tokenizer(), request, prompt)?;
        let parser = parts.dialect.parser(dialect::offered(request), prompt);
        let single_call = request.single_tool_call;
        let reading = parser.map(|parser| Reading { parser, single_call });
        options.form = None;
        let budget = options.thinking_budget;
        let thinking = budget.and_then(|budget| {
            parts.dialect.thinking_limit(parts.text.tokenizer(), prompt, budget)
        });
        let (tokens, media, field) = (tokens.clone(), media.clone(), "messages");
        self.generate(Asked { tokens, media, field, options, form, thinking, reading })
    }

    /// The prompt of a conversation, whose media the model takes.
    fn render(&self, request: &ChatRequest) -> Result<String, RequestError> {
        media::check(&request.messages, |modality| self.takes(modality))?;
        self.apply_template(request)
    }

    /// A rendered conversation in tokens, and the media that some of them stand for.
    fn encode(
        &self,
        prompt: &str,
        request: &ChatRequest,
        wanted: Use,
        add_special_tokens: bool,
    ) -> Result<(Vec<u32>, Vec<MediaItem>), RequestError> {
        let tokenizer = self.parts.text.tokenizer();
        let Some(senses) = &self.parts.senses else {
            return Ok((tokenizer.encode(prompt, add_special_tokens)?, Vec::new()));
        };
        let media = senses.prepare(&request.messages, wanted)?;
        let tokens = tokenizer.encode(&senses.write(prompt, &media)?, add_special_tokens)?;
        senses.expand(&tokens, &media)
    }

    /// What a picture will be to the model; `None` if it takes none.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when it cannot be read.
    pub fn look(&self, image: &Image) -> Result<Option<Look>, RequestError> {
        self.parts.senses.as_ref().map(|senses| senses.look(image)).transpose()
    }

    /// Whether messages may hold this kind of media.
    pub fn takes(&self, modality: Modality) -> bool {
        self.parts.senses.as_ref().is_some_and(|senses| senses.takes(modality))
    }

    /// Continues a text.
    ///
    /// # Errors
    /// [`RequestError`] by kind.
    pub fn complete(&self, request: CompletionRequest) -> Result<Generation, RequestError> {
        let tokens = match request.prompt {
            Prompt::Text(text) => {
                check_bytes(&text, self.parts.info.max_sequence_length)?;
                self.parts.text.tokenizer().encode(&text, true)?
            }
            Prompt::Tokens(ids) => ids,
        };
        let mut options = request.options;
        let form = options.form.take().map(FormPlan::at_once);
        let (media, thinking, reading) = (Vec::new(), None, None);
        self.generate(Asked { tokens, media, field: "prompt", options, form, thinking, reading })
    }

    /// The model's vocabulary as grammars see it, built when the first form is asked for.
    fn grammars(&self) -> Result<&GrammarCompiler, RequestError> {
        let parts = &self.parts;
        let build = || {
            let eos = parts.info.eos_token_ids.clone();
            GrammarCompiler::new(form::vocabulary(parts.text.tokenizer(), eos))
        };
        let compiler = parts.grammars.get_or_init(build);
        compiler.as_ref().map_err(|reason| RequestError::invalid("response_format", &**reason))
    }

    fn generate(&self, asked: Asked) -> Result<Generation, RequestError> {
        let parts = &self.parts;
        let Asked { mut tokens, mut media, field: param, options, form, thinking, reading } = asked;
        if tokens.is_empty() {
            return Err(RequestError::invalid(param, "the prompt is empty: it has no tokens"));
        }
        self.check_ids(param, &tokens)?;
        self.check_ids("stop_token_ids", &options.stop_token_ids)?;
        let sampling = options.sampling.clone().or(&parts.defaults);
        sampling.validate(parts.info.vocab_size)?;
        let limit = parts.info.max_sequence_length;
        let truncated = truncation::tokens_to_cut(tokens.len(), limit, &options)?;
        if truncated > 0 {
            let total = tokens.len();
            tracing::warn!(
                "prompt of {total} tokens is {} over the limit: cut the first {truncated}",
                total - limit
            );
            media = placeholders::after_cut(media, truncated)?;
            tokens.drain(..truncated);
        }
        let room = limit - tokens.len();
        let mut stop_token_ids = options.stop_token_ids;
        if !options.ignore_eos {
            stop_token_ids.extend_from_slice(&parts.info.eos_token_ids);
        }
        let number = parts.requests.fetch_add(1, Ordering::Relaxed);
        let seed = sampling.seed.unwrap_or_else(|| parts.seed.wrapping_add(number));
        let breakers = self.dry_breakers(&sampling)?;
        let constraint = form.map(|form| form.compile(self.grammars()?)).transpose()?;
        let max_tokens = options.max_tokens.unwrap_or(room).min(room);
        tracing::debug!(number, prompt_tokens = tokens.len(), max_tokens, seed, "request");
        let plan = AnswerPlan {
            prompt: tokens.clone(),
            truncated_tokens: truncated,
            stop: options.stop,
            timeout: options.timeout,
            reading,
        };
        let receiver = parts.engine.submit(GenerationRequest {
            prompt: tokens,
            media,
            max_tokens,
            min_tokens: options.min_tokens,
            stop_token_ids,
            sampler: Sampler::new(&sampling, breakers, seed)
                .constrained(constraint)
                .thinking(thinking),
            logprobs: options.logprobs,
            prompt_logprobs: options.prompt_logprobs,
            timeout: options.timeout,
        })?;
        Ok(Generation::new(receiver, Arc::clone(parts), plan))
    }

    fn check_ids(&self, param: &str, ids: &[u32]) -> Result<(), RequestError> {
        let vocab = self.parts.info.vocab_size;
        match ids.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(RequestError::invalid(
                param,
                format!("token id {id} is outside the vocabulary of {vocab} tokens"),
            )),
            None => Ok(()),
        }
    }

    /// The tokens that no DRY match crosses; none while DRY is off.
    fn dry_breakers(&self, sampling: &SamplingParams) -> Result<HashSet<u32>, RequestError> {
        match sampling.dry.as_ref().filter(|dry| dry.multiplier != 0.) {
            Some(dry) => breaker_ids(&dry.sequence_breakers, |text| self.tokenize(text, false)),
            None => Ok(HashSet::new()),
        }
    }

    /// Text to token ids.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when the tokenizer refuses the text.
    pub fn tokenize(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, RequestError> {
        self.parts.text.tokenizer().encode(text, add_special_tokens)
    }

    /// The tokens that [`Llm::chat`] would compute, those that stand for media among them; special ones are the
    /// template's, and the tokenizer's if asked. CPU work, as there.
    ///
    /// # Errors
    /// As [`Llm::chat`], but no conversation is too long.
    pub fn tokenize_chat(
        &self,
        request: &ChatRequest,
        add_special_tokens: bool,
    ) -> Result<Vec<u32>, RequestError> {
        let prompt = self.render(request)?;
        let (tokens, _) = self.encode(&prompt, request, Use::Counted, add_special_tokens)?;
        Ok(tokens)
    }

    /// Where the tokens of a text begin and end, in bytes of the text.
    pub fn token_offsets(&self, text: &str) -> Vec<(usize, usize)> {
        self.parts.text.tokenizer().offsets(text)
    }

    /// Token ids to text.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for an id outside the vocabulary.
    pub fn detokenize(
        &self,
        ids: &[u32],
        skip_special_tokens: bool,
    ) -> Result<String, RequestError> {
        self.check_ids("tokens", ids)?;
        self.parts.text.tokenizer().decode(ids, skip_special_tokens)
    }

    /// The bytes of one token (for `logprobs`).
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.parts.text.tokenizer().token_bytes(id)
    }

    /// The prompt that [`Llm::chat`] would compute.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when the template refuses the conversation.
    pub fn apply_template(&self, request: &ChatRequest) -> Result<String, RequestError> {
        self.parts.text.render(&self.parts.dialect.prepare(request.clone()))
    }

    /// How the model's files let it use tools and think.
    pub fn capabilities(&self) -> Capabilities {
        self.parts.dialect.capabilities()
    }

    /// Facts about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.parts.info
    }

    /// The model's own sampling defaults (`generation_config.json`).
    pub fn sampling_defaults(&self) -> &SamplingParams {
        &self.parts.defaults
    }

    /// Counters and gauges of this moment.
    pub fn stats(&self) -> EngineStats {
        self.parts.engine.stats()
    }

    /// Ends the engine: running requests get [`RequestError::Shutdown`]. Waits for the thread.
    pub fn shutdown(&self) {
        self.parts.engine.shutdown();
    }
}
