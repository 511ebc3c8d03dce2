//! The three kinds of failure: loading (the operator reads it), a request (the caller's fault),
//! the engine (ours). Variants are situations, fields are data; nobody matches on a text.

use std::path::PathBuf;

/// Why a model could not be loaded. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The id or path leads to nothing that can be loaded.
    #[error("cannot find a model at `{model}`: {reason}")]
    NotFound {
        /// What was asked for.
        model: String,
        /// Where we looked and what was missing.
        reason: String,
    },
    /// The hub refused, was unreachable, or we are offline. A full sentence with the remedy.
    #[error("{0}")]
    Hub(String),
    /// A file of the model is there but cannot be used.
    #[error("{}: {reason}", file.display())]
    BadFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and where (key, byte, line).
        reason: String,
    },
    /// `config.json` names an architecture that is not in the registry.
    #[error("the architecture `{found}` is not supported; supported: {supported}")]
    UnknownArchitecture {
        /// The name in the file.
        found: String,
        /// Comma-separated list of the names in the registry.
        supported: String,
    },
    /// The model is of the other kind: text or encoder.
    #[error("`{model}` is {found}; {remedy}")]
    WrongKind {
        /// The model.
        model: String,
        /// What it is.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The model and its cache do not fit in memory.
    #[error("{0}")]
    OutOfMemory(String),
    /// A combination of options that makes no sense.
    #[error("option {option}: {reason}")]
    Option {
        /// The option's name as the command line spells it.
        option: &'static str,
        /// Why it was refused.
        reason: String,
    },
    /// A tensor is missing, surplus or misshapen, or a type is not supported.
    #[error(transparent)]
    Weights(#[from] mistralrs_quant::Error),
    /// Tensor arithmetic failed while loading.
    #[error("while loading: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A file could not be read.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Why a request was refused or ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestError {
    /// A parameter has an impossible value. `param` is the OpenAI name of the field.
    #[error("{message}")]
    Invalid {
        /// The field, as the client spells it.
        param: String,
        /// What is wrong and what would be right, with the limit.
        message: String,
    },
    /// The prompt does not fit into the context.
    #[error(
        "the prompt has {prompt_tokens} tokens, the model's context is {limit} tokens; \
         shorten it or set `truncate_sequence` to true"
    )]
    TooLong {
        /// Length of the prompt in tokens.
        prompt_tokens: usize,
        /// The model's context in tokens.
        limit: usize,
    },
    /// The prompt is so long that it is not even tokenized.
    #[error(
        "the prompt has {bytes} bytes; for the model's context of {tokens} tokens at most {limit} are read; \
         shorten it"
    )]
    TooManyBytes {
        /// Length of the prompt in bytes.
        bytes: usize,
        /// The most that is tokenized.
        limit: usize,
        /// The model's context in tokens.
        tokens: usize,
    },
    /// Pictures, clips and sounds that do not fit into the context, before all of them were prepared.
    #[error(
        "the pictures, clips and sounds of the conversation have more than {tokens} tokens, the model's context \
         is {limit} tokens; send fewer or smaller ones"
    )]
    TooMuchMedia {
        /// Tokens that stand for those that were prepared.
        tokens: usize,
        /// The model's context in tokens.
        limit: usize,
    },
    /// Pictures, clips and sounds of other requests take all the memory there is for them.
    #[error(
        "the server is busy: pictures, clips and sounds of other requests take {bytes} bytes (the limit is \
         {limit}); try again later"
    )]
    MediaInFlight {
        /// What they take.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The queue is full.
    #[error("the server is busy: {queued} requests are waiting (the limit); try again later")]
    Overloaded {
        /// Requests waiting at that moment.
        queued: usize,
    },
    /// The request's own deadline passed.
    #[error("the request ran longer than its `timeout_ms` of {timeout_ms} ms")]
    Timeout {
        /// The deadline the caller set, in milliseconds.
        timeout_ms: u64,
    },
    /// The engine is shutting down.
    #[error("the server is shutting down")]
    Shutdown,
    /// Something of ours failed. The details are in the log under the id.
    #[error("internal error (id {id}); the details are in the server's log")]
    Internal {
        /// Identifies the log line.
        id: u64,
    },
}

/// The branches a caller of the library has to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestErrorKind {
    /// The caller's fault.
    Invalid,
    /// The caller's fault: too many tokens, or bytes.
    TooLong,
    /// Try again later.
    Overloaded,
    /// The caller's own deadline.
    Timeout,
    /// The engine ends.
    Shutdown,
    /// Our fault.
    Internal,
}

impl RequestError {
    /// The branch this error belongs to.
    pub fn kind(&self) -> RequestErrorKind {
        match self {
            Self::Invalid { .. } => RequestErrorKind::Invalid,
            Self::TooLong { .. } | Self::TooManyBytes { .. } | Self::TooMuchMedia { .. } => {
                RequestErrorKind::TooLong
            }
            Self::Overloaded { .. } | Self::MediaInFlight { .. } => RequestErrorKind::Overloaded,
            Self::Timeout { .. } => RequestErrorKind::Timeout,
            Self::Shutdown => RequestErrorKind::Shutdown,
            Self::Internal { .. } => RequestErrorKind::Internal,
        }
    }

    /// Shorthand for [`RequestError::Invalid`].
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { param: param.into(), message: message.into() }
    }
}

/// What went wrong inside a step. Callers see [`RequestError::Internal`]; the log sees this.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Tensor arithmetic failed.
    #[error("the forward pass failed: {0}")]
    Forward(#[from] candle_core::Error),
    /// The step panicked.
    #[error("the step panicked: {0}")]
    Panic(String),
    /// A state that should be impossible.
    #[error("bug: {0}")]
    Bug(&'static str),
}
