//! The MCP configuration file: which servers there are, how each is reached, what of it may be used.
//!
//! Two forms are read, also side by side: a list `servers` with `source.type` (the 0.6 line's), and the map
//! `mcpServers` of desktop clients. Pure: knows no process, no network, no environment but through a function.

mod body;
mod expand;

pub use expand::{UnsetVariable, expand};

use mistralrs_core::agent::Approval;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A bigger file is no configuration.
const MAX_FILE_BYTES: usize = 1 << 20;

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct McpConfig {
    /// In the order of the file, switched-off ones included.
    pub servers: Vec<ServerSpec>,
    /// Offer the tools in every chat that does not say otherwise.
    pub auto_register_tools: bool,
    /// What in the file has no effect.
    pub warnings: Vec<String>,
}

/// One server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSpec {
    /// Letters, digits, `-` and `_`; unique.
    pub id: String,
    /// For people.
    pub name: String,
    /// Switched off servers are listed and never reached.
    pub enabled: bool,
    /// How it is reached, or the variable that is missing for it.
    pub source: Result<Source, UnsetVariable>,
    /// What is put before its tools' names, with a `_`.
    pub prefix: Prefix,
    /// Which of its tools may be used.
    pub filter: ToolFilter,
    /// Bounds of time and size.
    pub limits: Limits,
    /// Who has to agree to a call.
    pub approval: Approval,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A child process that speaks over its standard input and output.
    Process(ProcessSource),
    /// Streamable HTTP.
    Http(Endpoint),
    /// The older HTTP with server-sent events.
    Sse(Endpoint),
    /// WebSocket.
    WebSocket(Endpoint),
}

impl Source {
    /// The transport's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Process(_) => "stdio",
            Self::Http(_) => "http",
            Self::Sse(_) => "sse",
            Self::WebSocket(_) => "websocket",
        }
    }
}

/// A program to start.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSource {
    /// Found on the PATH if it has no slash.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it runs.
    pub work_dir: Option<PathBuf>,
    /// Variables beside those it inherits.
    pub env: Vec<(String, Secret)>,
}

/// An address.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// With its scheme.
    pub url: String,
    /// Sent with every request.
    pub headers: Vec<(String, Secret)>,
}

/// A text that is never printed.
#[derive(Clone, PartialEq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What is put before a tool's name.
#[derive(Debug, Clone, PartialEq)]
pub enum Prefix {
    /// Nothing, but the server's id where two servers have a tool of the same name.
    WhereNeeded,
    /// Always this.
    Fixed(String),
}

/// Which tools of a server may be used. A pattern is a name in which `*` stands for anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolFilter {
    /// Only these, if given.
    pub allow: Option<Vec<String>>,
    /// Never these; stronger than `allow`.
    pub deny: Vec<String>,
}

impl ToolFilter {
    /// Whether a tool may be used; `name` as its server spells it.
    pub fn allows(&self, name: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|pattern| matches(pattern, name));
        self.allow.as_deref().is_none_or(listed) && !listed(&self.deny)
    }
}

/// Whether `name` is of the form `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = name.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    name.ends_with(tail)
}

/// Bounds of time and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest call, and longest wait for a place.
    pub call: Duration,
    /// Longest start, handshake and list of tools together.
    pub connect: Duration,
    /// Most calls to one server at once.
    pub max_concurrent: usize,
    /// Longest text of a result; the rest is cut off and the model told so.
    pub max_result_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(30),
            connect: Duration::from_secs(60),
            max_concurrent: 10,
            max_result_bytes: 100_000,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is too large, or no JSON of the right form.
    #[error("{0}")]
    Form(String),
    /// A value makes no sense.
    #[error("server `{server}`: {reason}")]
    Server {
        /// Its id, or its place in the list.
        server: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Two servers have the same id.
    #[error("two servers have the id `{0}`")]
    DuplicateId(String),
}

impl McpConfig {
    /// Reads a file's text; `lookup` finds environment variables.
    ///
    /// # Errors
    /// [`ConfigError`]. A variable that is not set is the failure of one server only.
    pub fn parse(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(ConfigError::Form(format!("it is larger than {MAX_FILE_BYTES} bytes")));
        }
        let config = body::parse(text, lookup)?;
        let mut ids = BTreeSet::new();
        match config.servers.iter().find(|server| !ids.insert(server.id.clone())) {
            Some(server) => Err(ConfigError::DuplicateId(server.id.clone())),
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests;
