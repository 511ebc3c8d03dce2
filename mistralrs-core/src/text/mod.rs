//! Text at the rim: tokenizer, chat template, detokenizer. Knows no engine and no tensor.
//! [`TextPipeline`] puts together what a model's files say about text.

pub mod chat_template;
pub mod detokenizer;
pub mod gguf_tokenizer;
mod increment;
mod jinja;
mod pre_tokenizers;
mod stop;
pub mod template_source;
mod token_table;
pub mod tokenizer;

pub use chat_template::ChatTemplate;
pub use detokenizer::{Detokenizer, Piece};
pub use jinja::Clock;
pub use template_source::TemplateSource;
pub use tokenizer::{Tokenizer, WholeText};

use crate::error::{LoadError, RequestError};
use crate::loading::LoadOptions;
use crate::loading::source::ModelFiles;
use crate::request::ChatRequest;
use gguf_tokenizer::SpecialIds;
use mistralrs_quant::gguf::Metadata;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// No usual vocabulary has a longer token than runs of so many spaces.
const LONGEST_TOKEN: usize = 128;
/// Whatever the context is, so many bytes are read: a text may be cut to fit.
const READ_ANYWAY: usize = 1 << 20;

/// Refuses a prompt that is longer than any text of `tokens` tokens, before it is tokenized.
///
/// # Errors
/// [`RequestError::TooManyBytes`].
pub fn check_bytes(text: &str, tokens: usize) -> Result<(), RequestError> {
    let limit = tokens.saturating_mul(LONGEST_TOKEN).max(READ_ANYWAY);
    match text.len() {
        bytes if bytes > limit => Err(RequestError::TooManyBytes { bytes, limit, tokens }),
        _ => Ok(()),
    }
}

/// Everything about a model's text: immutable, shared by all requests.
#[derive(Debug)]
pub struct TextPipeline {
    tokenizer: Arc<Tokenizer>,
    chat_template: Template,
    eos_token_ids: Vec<u32>,
}

/// A template that came with the model but cannot be compiled leaves everything else usable.
#[derive(Debug)]
enum Template {
    Missing,
    Broken(String),
    Compiled(Box<ChatTemplate>),
}

impl TextPipeline {
    /// From the files of a Hugging Face folder and the overrides in `options`.
    ///
    /// # Errors
    /// [`LoadError`] names the file that is missing or wrong.
    pub fn from_huggingface(files: &ModelFiles, options: &LoadOptions) -> Result<Self, LoadError> {
        let ModelFiles::HuggingFace {
            config,
            tokenizer,
            tokenizer_config,
            generation_config,
            chat_template,
            ..
        } = files
        else {
            return Err(LoadError::NotFound {
                model: options.model.clone(),
                reason: "a Hugging Face folder was expected, this is GGUF".to_owned(),
            });
        };
        let read = |file: Option<&std::path::PathBuf>| {
            file.map_or_else(|| Ok(Map::new()), |file| template_source::read_json(file))
        };
        let tokenizer_config = read(tokenizer_config.as_ref())?;
        let tokenizer = Tokenizer::from_file(options.tokenizer_json.as_ref().unwrap_or(tokenizer))?;
        let special_tokens = template_source::special_tokens(&tokenizer_config);

        let mut eos_token_ids = Vec::new();
        add_eos_of(&read(generation_config.as_ref())?, &mut eos_token_ids);
        add_eos_of(&read(Some(config))?, &mut eos_token_ids);
        let eos = special_tokens.get("eos_token").and_then(Value::as_str);
        add_new(eos.and_then(|eos| tokenizer.token_id(eos)), &mut eos_token_ids);

        let own = match chat_template {
            Some(file) => Some(TemplateSource::from_file(file)?),
            None => TemplateSource::from_config(&tokenizer_config),
        };
        let chat_template = choose_template(own, special_tokens, options)?;
        Ok(Self { tokenizer: Arc::new(tokenizer), chat_template, eos_token_ids })
    }

    /// From the metadata of a GGUF file and the overrides in `options`; `file` is only named in
    /// errors.
    ///
    /// # Errors
    /// [`LoadError`] names the key that is missing or wrong.
    pub fn from_gguf(
        metadata: &Metadata,
        file: &Path,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let (tokenizer, special) = match &options.tokenizer_json {
            None => gguf_tokenizer::from_gguf(metadata, file)?,
            Some(json) => {
                let special = gguf_tokenizer::special_ids(metadata, file)?;
                (Tokenizer::from_file(json)?, special)
            }
        };
        let SpecialIds { bos, eos, unk, end_of_turn } = special;
        let named = [("bos_token", bos), ("eos_token", eos), ("unk_token", unk)];
        let special_tokens = named
            .into_iter()
            .filter_map(|(name, id)| Some((name.to_owned(), tokenizer.token_name(id?)?.into())))
            .collect();
        let mut eos_token_ids = Vec::new();
        add_new(eos.into_iter().chain(end_of_turn), &mut eos_token_ids);

        let text = |key: &str| metadata.get_str(key).map(str::to_owned);
        let own = text("tokenizer.chat_template").map(|default| TemplateSource {
            default,
            tool_use: text("tokenizer.chat_template.tool_use"),
        });
        let chat_template = choose_template(own, special_tokens, options)?;
        Ok(Self { tokenizer: Arc::new(tokenizer), chat_template, eos_token_ids })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The chat template, if the model has a usable one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        match &self.chat_template {
            Template::Compiled(template) => Some(template),
            Template::Missing | Template::Broken(_) => None,
        }
    }

    /// Ids that end an answer.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos_token_ids
    }

    /// The prompt for a conversation. Encode it without adding special tokens: the template
    /// has written them.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when there is no template or it refuses the conversation.
    pub fn render(&self, request: &ChatRequest) -> Result<String, RequestError> {
        match &self.chat_template {
            Template::Compiled(template) => template.render(request),
            Template::Missing => Err(RequestError::invalid(
                "messages",
                "the model has no chat template; start the server with --chat-template FILE, \
                 or use the completions endpoint",
            )),
            Template::Broken(reason) => Err(RequestError::invalid(
                "messages",
                format!("{reason}; start the server with --jinja-explicit FILE to replace it"),
            )),
        }
    }

    /// A detokenizer for an answer to `prompt` that ends before the first of the `stop` strings.
    pub fn detokenizer(&self, prompt: &[u32], stop: &[String]) -> Detokenizer {
        Detokenizer::new(Arc::clone(&self.tokenizer), prompt, stop)
    }
}

/// `jinja_explicit` before the model's own before `chat_template`.
fn choose_template(
    own: Option<TemplateSource>,
    special_tokens: Map<String, Value>,
    options: &LoadOptions,
) -> Result<Template, LoadError> {
    let operators = match (&options.jinja_explicit, &own, &options.chat_template) {
        (Some(file), _, _) | (None, None, Some(file)) => Some(file),
        _ => None,
    };
    if let Some(file) = operators {
        let source = TemplateSource::from_file(file)?;
        let template = ChatTemplate::new(source, special_tokens, Clock::Local)
            .map_err(|reason| LoadError::BadFile { file: file.clone(), reason })?;
        return Ok(Template::Compiled(Box::new(template)));
    }
    Ok(match own.map(|source| ChatTemplate::new(source, special_tokens, Clock::Local)) {
        None => Template::Missing,
        Some(Ok(template)) => Template::Compiled(Box::new(template)),
        Some(Err(reason)) => {
            tracing::warn!(reason, "the model's chat template cannot be used");
            Template::Broken(reason)
        }
    })
}

/// Takes `eos_token_id`, a number or a list of them.
fn add_eos_of(config: &Map<String, Value>, ids: &mut Vec<u32>) {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match config.get("eos_token_id") {
        Some(Value::Array(list)) => add_new(list.iter().filter_map(id), ids),
        Some(value) => add_new(id(value), ids),
        None => {}
    }
}

fn add_new(new: impl IntoIterator<Item = u32>, ids: &mut Vec<u32>) {
    for id in new {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}

#[cfg(test)]
mod tests;
