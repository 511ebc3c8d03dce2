//! The file's JSON as it is written, both forms, and its translation. What nobody knows becomes a warning.

use super::{
    ConfigError, Endpoint, Limits, McpConfig, Prefix, ProcessSource, Secret, ServerSpec, Source,
    ToolFilter, UnsetVariable, expand,
};
use mistralrs_core::agent::Approval;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::{Map, Value};
use std::time::Duration;

/// The 0.6 line's number when its `max_concurrent_calls` is left out, and when it is `null`.
const CONCURRENT_LEFT_OUT: usize = 1;
const CONCURRENT_NULL: usize = 10;

/// A key that may be left out, be `null`, or have a value.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct FileBody {
    servers: Option<Value>,
    #[serde(rename = "mcpServers")]
    mcp_servers: Option<Map<String, Value>>,
    auto_register_tools: Option<bool>,
    tool_timeout_secs: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    max_concurrent_calls: Option<Option<usize>>,
    #[serde(rename = "$schema")]
    _schema: Option<IgnoredAny>,
}

/// A server in either form: the first has a `source`, the second the source's keys in its place.
#[derive(Deserialize)]
struct ServerBody {
    id: Option<String>,
    name: Option<String>,
    enabled: Option<bool>,
    disabled: Option<bool>,
    source: Option<SourceBody>,
    #[serde(flatten)]
    own: SourceBody,
    #[serde(default, deserialize_with = "given")]
    tool_prefix: Option<Option<String>>,
    bearer_token: Option<String>,
    #[serde(alias = "allowedTools", alias = "includeTools")]
    allowed_tools: Option<Vec<String>>,
    #[serde(alias = "deniedTools", alias = "excludeTools", alias = "disabledTools", default)]
    denied_tools: Vec<String>,
    require_approval: Option<ApprovalBody>,
    tool_timeout_secs: Option<u64>,
    connect_timeout_secs: Option<u64>,
    max_concurrent_calls: Option<usize>,
    max_result_bytes: Option<usize>,
    /// Understood; every resource of a server can be linked to, none is read unasked.
    #[serde(rename = "resources")]
    _resources: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ApprovalBody {
    Never,
    Always,
}

#[derive(Deserialize, Default)]
struct SourceBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(alias = "cwd")]
    work_dir: Option<String>,
    env: Option<Map<String, Value>>,
    #[serde(alias = "serverUrl", alias = "httpUrl")]
    url: Option<String>,
    headers: Option<Map<String, Value>>,
    timeout_secs: Option<u64>,
}

const KNOWN: [&str; 32] = [
    "id",
    "name",
    "enabled",
    "disabled",
    "source",
    "tool_prefix",
    "bearer_token",
    "allowed_tools",
    "allowedTools",
    "includeTools",
    "denied_tools",
    "deniedTools",
    "excludeTools",
    "disabledTools",
    "require_approval",
    "tool_timeout_secs",
    "connect_timeout_secs",
    "max_concurrent_calls",
    "max_result_bytes",
    "resources",
    "type",
    "command",
    "args",
    "work_dir",
    "cwd",
    "env",
    "url",
    "serverUrl",
    "httpUrl",
    "headers",
    "timeout_secs",
    "description",
];

pub(super) fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<McpConfig, ConfigError> {
    let form = |error: serde_json::Error| ConfigError::Form(error.to_string());
    let mut warnings = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let file: FileBody = serde_ignored::deserialize(&mut json, |path| {
        warnings.push(format!("the unknown key `{path}` was ignored"));
    })
    .map_err(form)?;
    json.end().map_err(form)?;
    let mut limits = Limits::default();
    if let Some(seconds) = file.tool_timeout_secs {
        limits.call = positive_seconds("the file", "tool_timeout_secs", seconds)?;
    }
    if file.max_concurrent_calls == Some(Some(0)) {
        return Err(ConfigError::Form("`max_concurrent_calls` has to be 1 or more".to_owned()));
    }
    let concurrent = file.max_concurrent_calls;
    let mut reader = Reader { lookup, limits, warnings, servers: Vec::new() };
    match file.servers {
        Some(Value::Array(list)) => {
            reader.limits.max_concurrent =
                concurrent.map_or(CONCURRENT_LEFT_OUT, |n| n.unwrap_or(CONCURRENT_NULL));
            for (i, server) in list.into_iter().enumerate() {
                reader.server(&format!("number {}", i + 1), None, server)?;
            }
        }
        Some(Value::Object(map)) => reader.map(concurrent, map)?,
        Some(_) => return Err(ConfigError::Form("`servers` has to be a list".to_owned())),
        None if file.mcp_servers.is_none() => {
            return Err(ConfigError::Form("it has neither `servers` nor `mcpServers`".to_owned()));
        }
        None => {}
    }
    reader.map(concurrent, file.mcp_servers.unwrap_or_default())?;
    Ok(McpConfig {
        servers: reader.servers,
        auto_register_tools: file.auto_register_tools.unwrap_or(true),
        warnings: reader.warnings,
    })
}

struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    limits: Limits,
    warnings: Vec<String>,
    servers: Vec<ServerSpec>,
}

impl Reader<'_> {
    fn map(
        &mut self,
        concurrent: Option<Option<usize>>,
        map: Map<String, Value>,
    ) -> Result<(), ConfigError> {
        self.limits.max_concurrent = concurrent.flatten().unwrap_or(CONCURRENT_NULL);
        for (name, server) in map {
            self.server(&name, Some(&name), server)?;
        }
        Ok(())
    }

    /// `label` names the server in errors; `key` is its key in a map.
    fn server(&mut self, label: &str, key: Option<&str>, body: Value) -> Result<(), ConfigError> {
        let wrong = |reason: String| ConfigError::Server { server: label.to_owned(), reason };
        let keys = body.as_object().map(|body| body.keys().cloned().collect::<Vec<_>>());
        for key in keys.unwrap_or_default() {
            if !KNOWN.contains(&key.as_str()) {
                self.warnings
                    .push(format!("server `{label}`: the unknown key `{key}` was ignored"));
            }
        }
        let body: ServerBody =
            serde_json::from_value(body).map_err(|error| wrong(error.to_string()))?;
        let id = match (&body.id, key) {
            (Some(id), _) if !is_id(id) => {
                return Err(wrong(format!(
                    "the id `{id}` has to be made of letters, digits, - and _"
                )));
            }
            (Some(id), _) => id.clone(),
            (None, Some(key)) => self.free_id(key),
            (None, None) => self.free_id(body.name.as_deref().unwrap_or("server")),
        };
        let nameless = body.id.is_none() && body.name.is_none() && key.is_none();
        let label = if nameless { label } else { &id };
        let wrong = |reason: String| ConfigError::Server { server: label.to_owned(), reason };
        let limits = self.limits_of(label, &body)?;
        let prefix = match body.tool_prefix {
            Some(Some(prefix)) if !is_id(&prefix) => {
                return Err(wrong(format!(
                    "tool_prefix `{prefix}` has to be made of letters, digits, - and _"
                )));
            }
            Some(Some(prefix)) => Prefix::Fixed(prefix),
            Some(None) | None => Prefix::WhereNeeded,
        };
        let name = body.name.clone().or(key.map(str::to_owned)).unwrap_or_else(|| id.clone());
        let source = body.source.unwrap_or(body.own);
        let source = self.source(source, body.bearer_token.as_deref()).map_err(wrong)?;
        self.servers.push(ServerSpec {
            name,
            enabled: body.enabled.unwrap_or(true) && !body.disabled.unwrap_or(false),
            source,
            prefix,
            filter: ToolFilter { allow: body.allowed_tools, deny: body.denied_tools },
            limits,
            approval: match body.require_approval {
                None => Approval::Unsaid,
                Some(ApprovalBody::Never) => Approval::Never,
                Some(ApprovalBody::Always) => Approval::Always,
            },
            id,
        });
        Ok(())
    }

    /// An id made of a name, with a number behind it if it is taken.
    fn free_id(&self, name: &str) -> String {
        let letter =
            |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
        let base: String = name.trim().chars().take(60).map(letter).collect();
        let base = if base.is_empty() { "server".to_owned() } else { base };
        let taken = |id: &str| self.servers.iter().any(|server| server.id == id);
        let numbered = (2..).map(|n| format!("{base}_{n}"));
        std::iter::once(base.clone()).chain(numbered).find(|id| !taken(id)).unwrap_or(base)
    }

    fn limits_of(&self, id: &str, body: &ServerBody) -> Result<Limits, ConfigError> {
        let mut limits = self.limits;
        let timeout = body.source.as_ref().unwrap_or(&body.own).timeout_secs;
        if let Some(seconds) = body.tool_timeout_secs.or(timeout) {
            limits.call = positive_seconds(id, "tool_timeout_secs", seconds)?;
        }
        if let Some(seconds) = body.connect_timeout_secs {
            limits.connect = positive_seconds(id, "connect_timeout_secs", seconds)?;
        }
        let counts = [
            ("max_concurrent_calls", body.max_concurrent_calls, &mut limits.max_concurrent),
            ("max_result_bytes", body.max_result_bytes, &mut limits.max_result_bytes),
        ];
        for (key, value, place) in counts {
            match value {
                Some(0) => {
                    let reason = format!("`{key}` has to be 1 or more");
                    return Err(ConfigError::Server { server: id.to_owned(), reason });
                }
                Some(value) => *place = value,
                None => {}
            }
        }
        Ok(limits)
    }

    /// The outer error is the file's, the inner one a variable that is missing.
    fn source(
        &self,
        body: SourceBody,
        bearer_token: Option<&str>,
    ) -> Result<Result<Source, UnsetVariable>, String> {
        let kind = kind_of(&body)?;
        if kind == Kind::Process {
            let process = match self.process(body)? {
                Ok(process) => process,
                Err(unset) => return Ok(Err(unset)),
            };
            return match process.command.trim() {
                "" => Err("`command` is empty".to_owned()),
                _ => Ok(Ok(Source::Process(process))),
            };
        }
        let endpoint = match self.endpoint(body, bearer_token)? {
            Ok(endpoint) => endpoint,
            Err(unset) => return Ok(Err(unset)),
        };
        let schemes: &[&str] =
            if kind == Kind::WebSocket { &["ws", "wss"] } else { &["http", "https"] };
        let url = reqwest::Url::parse(&endpoint.url)
            .map_err(|error| format!("`url` is no address: {error}"))?;
        if !schemes.contains(&url.scheme()) || !url.has_host() {
            return Err(format!("`url` has to begin with {}://", schemes.join(":// or ")));
        }
        Ok(Ok(match kind {
            Kind::WebSocket => Source::WebSocket(endpoint),
            Kind::Sse => Source::Sse(endpoint),
            Kind::Process | Kind::Http => Source::Http(endpoint),
        }))
    }

    fn process(&self, body: SourceBody) -> Result<Result<ProcessSource, UnsetVariable>, String> {
        let command = body.command.ok_or("there is no `command` and no `url`")?;
        let env = texts("env", body.env)?;
        let expand = |text: &String| expand(text, self.lookup);
        let read = || {
            Ok(ProcessSource {
                command: expand(&command)?,
                args: body.args.iter().map(expand).collect::<Result<_, _>>()?,
                work_dir: body.work_dir.as_ref().map(expand).transpose()?.map(Into::into),
                env: self.secrets(&env)?,
            })
        };
        Ok(read())
    }

    fn endpoint(
        &self,
        body: SourceBody,
        bearer_token: Option<&str>,
    ) -> Result<Result<Endpoint, UnsetVariable>, String> {
        let url = body.url.ok_or("there is no `url`")?;
        let mut headers = texts("headers", body.headers)?;
        if let Some(token) = bearer_token {
            headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
        }
        let read =
            || Ok(Endpoint { url: expand(&url, self.lookup)?, headers: self.secrets(&headers)? });
        Ok(read())
    }

    fn secrets(&self, pairs: &[(String, String)]) -> Result<Vec<(String, Secret)>, UnsetVariable> {
        let expanded = |(key, value): &(String, String)| {
            Ok((key.clone(), Secret(expand(value, self.lookup)?)))
        };
        pairs.iter().map(expanded).collect()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Process,
    Http,
    Sse,
    WebSocket,
}

/// What `type` says, in anybody's spelling; without it, what the other keys tell.
fn kind_of(body: &SourceBody) -> Result<Kind, String> {
    let url = body.url.as_deref().unwrap_or_default();
    let Some(kind) = &body.kind else {
        return Ok(match body.command {
            Some(_) => Kind::Process,
            None if url.starts_with("ws") => Kind::WebSocket,
            None if url.split('?').next().unwrap_or_default().ends_with("/sse") => Kind::Sse,
            None if body.url.is_some() => Kind::Http,
            None => return Err("there is no `command` and no `url`".to_owned()),
        });
    };
    match kind.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "process" | "stdio" | "local" => Ok(Kind::Process),
        "http" | "streamablehttp" | "remote" => Ok(Kind::Http),
        "sse" => Ok(Kind::Sse),
        "websocket" | "ws" => Ok(Kind::WebSocket),
        _ => Err(format!("the type `{kind}` is none of Process, Http, Sse, WebSocket")),
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn positive_seconds(server: &str, key: &str, seconds: u64) -> Result<Duration, ConfigError> {
    if seconds == 0 {
        let reason = format!("`{key}` has to be 1 or more");
        return Err(ConfigError::Server { server: server.to_owned(), reason });
    }
    Ok(Duration::from_secs(seconds.min(86_400)))
}

/// Values that are texts, or numbers and switches that stand for their spelling.
fn texts(key: &str, map: Option<Map<String, Value>>) -> Result<Vec<(String, String)>, String> {
    let text = |(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
        _ => Err(format!("`{key}.{name}` has to be a string")),
    };
    map.unwrap_or_default().into_iter().map(text).collect()
}
