//! This model as an MCP server: one tool, `chat`, over streamable HTTP without sessions.
//!
//! The protocol is the SDK's. In front of it stands what plain callers need: the `Accept` header they forget,
//! and JSON-RPC errors for what is no JSON-RPC.

use crate::app::AppState;
use crate::auth;
use crate::extract::Objects;
use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use mistralrs_core::{
    ChatRequest, Delta, GenerateOptions, Message, RequestError, Role, SamplingParams,
};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A conversation larger than this is none.
const MAX_BODY_BYTES: usize = 4 << 20;
/// JSON-RPC: not JSON; not a message.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;

/// The service at `/mcp`. `local` = only reachable from this machine, so that other names for it are refused.
pub fn router(app: Arc<AppState>, local: bool) -> Router {
    let mut config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_BODY_BYTES);
    if !local {
        config = config.disable_allowed_hosts();
    }
    let handler = ModelAsTool { app: Arc::clone(&app) };
    let service: StreamableHttpService<ModelAsTool, NeverSessionManager> =
        StreamableHttpService::new(move || Ok(handler.clone()), Arc::default(), config);
    Router::new()
        .route_service("/mcp", service)
        .layer(from_fn(plain_callers))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route_layer(from_fn_with_state(Arc::clone(&app), auth::require_key))
        .with_state(app)
}

/// Answers what is no JSON-RPC, and adds to the rest the header that the SDK insists on.
async fn plain_callers(request: Request, next: Next) -> Response {
    if request.method() != axum::http::Method::POST {
        return next.run(request).await;
    }
    let (mut head, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if let Some(error) = fault(&bytes) {
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let both = HeaderValue::from_static("application/json, text/event-stream");
    head.headers.insert(header::ACCEPT, both);
    next.run(Request::from_parts(head, Body::from(bytes))).await
}

/// The JSON-RPC error for a body that is no message.
fn fault(bytes: &Bytes) -> Option<Value> {
    let error = |id: Value, code: i32, message: &str| {
        Some(json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}))
    };
    let Ok(body) = serde_json::from_slice::<Value>(bytes) else {
        return error(Value::Null, PARSE_ERROR, "the body is not JSON");
    };
    let id = match body.get("id") {
        Some(id @ (Value::String(_) | Value::Number(_))) => id.clone(),
        _ => Value::Null,
    };
    if body.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return error(id, INVALID_REQUEST, "`jsonrpc` has to be \"2.0\"");
    }
    let answers = body.get("result").is_some() || body.get("error").is_some();
    if !answers && !body.get("method").is_some_and(Value::is_string) {
        return error(id, INVALID_REQUEST, "there is no `method`");
    }
    None
}

/// The model, seen as a tool.
#[derive(Clone)]
struct ModelAsTool {
    app: Arc<AppState>,
}

/// The arguments of `chat`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatArguments {
    messages: Vec<ChatMessage>,
    #[serde(rename = "maxTokens", alias = "max_tokens")]
    max_tokens: Option<usize>,
    temperature: Option<f32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatMessage {
    role: ChatRole,
    content: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChatRole {
    System,
    User,
    Assistant,
}

/// What `chat` takes; the names are those of [`ChatArguments`].
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "messages": {
                "type": "array",
                "minItems": 1,
                "description": "The conversation so far",
                "items": {
                    "type": "object",
                    "properties": {
                        "role": {"type": "string", "enum": ["system", "user", "assistant"]},
                        "content": {"type": "string"},
                    },
                    "required": ["role", "content"],
                    "additionalProperties": false,
                },
            },
            "maxTokens": {"type": "integer", "minimum": 1, "description": "Most tokens of the answer"},
            "temperature": {"type": "number", "minimum": 0, "description": "0 = always the most likely answer"},
        },
        "required": ["messages"],
        "additionalProperties": false,
    })
}

impl ChatArguments {
    fn into_core(self) -> Result<ChatRequest, ErrorData> {
        if self.messages.is_empty() || self.max_tokens == Some(0) {
            let text = "`messages` needs at least one message, `maxTokens` at least 1";
            return Err(ErrorData::invalid_params(text, None));
        }
        let message = |message: ChatMessage| {
            let role = match message.role {
                ChatRole::System => Role::System,
                ChatRole::User => Role::User,
                ChatRole::Assistant => Role::Assistant,
            };
            Message::text(role, message.content)
        };
        let sampling =
            SamplingParams { temperature: self.temperature, ..SamplingParams::default() };
        let options =
            GenerateOptions { max_tokens: self.max_tokens, sampling, ..GenerateOptions::default() };
        let messages = self.messages.into_iter().map(message).collect();
        Ok(ChatRequest { messages, options, ..ChatRequest::default() })
    }
}

impl ModelAsTool {
    /// The tool, for a model that can chat.
    fn tool(&self) -> Option<Tool> {
        let model = self.app.model.loaded()?;
        let Value::Object(schema) = schema() else { return None };
        let text = format!("Continues a conversation with the language model {}.", model.name);
        model.llm.info().has_chat_template.then(|| Tool::new("chat", text, schema))
    }

    async fn answer(&self, request: ChatRequest) -> Result<String, RequestError> {
        let Some(model) = self.app.model.loaded() else {
            return Err(RequestError::invalid("", "the model is still being loaded"));
        };
        let llm = model.llm.clone();
        let started = tokio::task::spawn_blocking(move || llm.chat(request)).await;
        let mut generation = started.unwrap_or(Err(RequestError::Internal { id: 0 }))?;
        let mut answer = String::new();
        while let Some(delta) = generation.next().await {
            if let Delta::Text { text, .. } = delta? {
                answer.push_str(&text);
            }
        }
        Ok(answer)
    }
}

impl ServerHandler for ModelAsTool {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("mistralrs-server", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tool().into_iter().collect()))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if params.name != "chat" {
            let text = format!("there is no tool `{}`; there is `chat`", params.name);
            return Err(ErrorData::invalid_params(text, None));
        }
        let arguments = Value::Object(params.arguments.unwrap_or_default());
        let arguments = ChatArguments::deserialize(Objects(arguments))
            .map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
        let request = arguments.into_core()?;
        let answer = tokio::select! {
            answer = self.answer(request) => answer,
            () = context.ct.cancelled() => Err(RequestError::Shutdown),
        };
        let result = match answer {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(error @ RequestError::Invalid { .. }) => {
                return Err(ErrorData::invalid_params(error.to_string(), None));
            }
            Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
        };
        Ok(CallToolResponse::Complete(result))
    }
}
