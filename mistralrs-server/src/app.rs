//! Every route on one screen, the layers around them, and what handlers share.

use crate::auth::{self, ApiKeys};
use crate::error::ApiError;
use crate::mcp::{McpClient, McpConfig};
use crate::media::MediaConfig;
use crate::metrics::Metrics;
use crate::model::ModelSlot;
use crate::request_log::{self, RequestLog};
use crate::responses::store::{ResponseStore, StoreLimits};
use crate::routes::{
    chat, completions, embeddings, health, mcp, messages, models, responses, tokenize,
};
use crate::search::SearchService;
use crate::{anthropic, openai, openapi};
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::any::Any;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::timeout::{RequestBodyDeadlineLayer, RequestBodyTimeoutLayer};

/// A body that is not complete by then is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(300);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which web pages may read our answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages served from this machine, whatever their port.
    #[default]
    Localhost,
    /// Any page.
    Any,
    /// These, spelled as browsers do: `https://example.com`.
    List(Vec<String>),
}

/// How the server treats requests.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Keys that are accepted; none = everybody.
    pub api_keys: ApiKeys,
    /// Which web pages may read our answers.
    pub origins: Origins,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// A body that stands still this long is given up.
    pub body_idle: Duration,
    /// Most answers to one prompt.
    pub max_n: usize,
    /// Most answers to all prompts of one request.
    pub max_choices: usize,
    /// Most requests read and answered at once; more are told to come back.
    pub max_in_flight: usize,
    /// A warning is an error.
    pub strict: bool,
    /// Between comments of a silent stream.
    pub keep_alive: Duration,
    /// The name of the model, if it is not to be derived.
    pub model_name: Option<String>,
    /// The template variable `enable_thinking` of requests that do not set it.
    pub enable_thinking: Option<bool>,
    /// Servers whose tools chats may use.
    pub mcp: Option<McpConfig>,
    /// How the web is searched, if it is.
    pub search: Option<SearchConfig>,
    /// How many responses are kept, and how long.
    pub responses: StoreLimits,
    /// What pictures, videos and sounds requests may refer to.
    pub media: MediaConfig,
}

/// How the web is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchConfig {
    /// The search engine's address.
    pub url: String,
    /// Hosts whose pages chats may read, as [`FetchRules::hosts`](crate::fetch::FetchRules::hosts).
    pub page_hosts: Vec<String>,
    /// The folder or hub id of the encoder that ranks what was found.
    pub encoder: Option<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            api_keys: ApiKeys::default(),
            origins: Origins::default(),
            max_body_bytes: 50_000_000,
            body_idle: Duration::from_secs(30),
            max_n: 16,
            max_choices: 256,
            max_in_flight: 512,
            strict: false,
            keep_alive: Duration::from_secs(10),
            model_name: None,
            enable_thinking: None,
            mcp: None,
            search: None,
            responses: StoreLimits::default(),
            media: MediaConfig::default(),
        }
    }
}

/// What handlers share.
pub struct AppState {
    /// The model.
    pub model: ModelSlot,
    /// How requests are treated.
    pub config: ServerConfig,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where requests and answers are written, if they are.
    pub log: Option<RequestLog>,
    /// One permit per request to the model.
    pub in_flight: Arc<Semaphore>,
    /// Responses that are kept.
    pub responses: ResponseStore,
    /// The tools of MCP servers, from the moment the service runs.
    mcp: OnceLock<Arc<McpClient>>,
    /// What the web is searched with, if it is.
    search: OnceLock<SearchService>,
}

impl AppState {
    /// Nothing loaded yet.
    pub fn new(config: ServerConfig, log: Option<RequestLog>) -> Self {
        let in_flight = Arc::new(Semaphore::new(config.max_in_flight));
        let responses = ResponseStore::new(config.responses);
        Self {
            model: ModelSlot::default(),
            config,
            metrics: Arc::new(Metrics::default()),
            log,
            in_flight,
            responses,
            mcp: OnceLock::new(),
            search: OnceLock::new(),
        }
    }

    /// Gets the configured MCP servers ready. Only inside a runtime.
    pub fn start_mcp(&self) {
        if let Some(config) = &self.config.mcp {
            self.mcp.get_or_init(|| Arc::new(McpClient::start(config.clone())));
        }
    }

    /// The tools of MCP servers, if any are configured.
    pub fn mcp(&self) -> Option<&Arc<McpClient>> {
        self.mcp.get()
    }

    /// Lets chats search the web with this from now on. A second one is not taken.
    pub fn set_search(&self, service: SearchService) {
        let _ = self.search.set(service);
    }

    /// What the web is searched with, if it is.
    pub fn search(&self) -> Option<&SearchService> {
        self.search.get()
    }

    /// What a request is checked against.
    ///
    /// # Errors
    /// 503 while the model is being loaded.
    pub fn limits(&self) -> Result<openai::Limits, ApiError> {
        let info = self.model.get()?.llm.info();
        Ok(openai::Limits {
            max_n: self.config.max_n,
            max_choices: self.config.max_choices,
            context_tokens: info.max_sequence_length,
            vocab_size: info.vocab_size,
        })
    }
}

/// The whole service.
pub fn router(app: Arc<AppState>) -> Router {
    let model_routes = Router::new()
        .route("/v1/chat/completions", post(chat::chat_completions))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/rerank", post(embeddings::rerank))
        .route("/v1/responses", post(responses::create))
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/apply-template", post(tokenize::apply_template))
        .layer(from_fn_with_state(Arc::clone(&app), limit_in_flight));
    let closed = model_routes
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/responses/{id}", get(responses::read).delete(responses::delete))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/v1/responses/{id}/input_items", get(responses::input_items))
        .route("/v1/mcp/servers", get(mcp::servers))
        .route("/metrics", get(health::metrics))
        .route_layer(from_fn_with_state(Arc::clone(&app), auth::require_key));
    let open = Router::new()
        .route("/", get(health::root))
        .route("/health", get(health::health))
        .route("/openapi.json", get(openapi::document))
        .route("/api-doc/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page));
    open.merge(closed)
        .fallback(|uri: Uri| async move { ApiError::no_route(uri.path()) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            ApiError::method_not_allowed(method.as_str(), uri.path())
        })
        // It reads the whole body itself, so it stands within the limits of size and time.
        .layer(from_fn_with_state(Arc::clone(&app), request_log::record))
        .layer(DefaultBodyLimit::max(app.config.max_body_bytes))
        .layer(RequestBodyTimeoutLayer::new(app.config.body_idle))
        .layer(RequestBodyDeadlineLayer::new(BODY_DEADLINE))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(anthropic::error::translate))
        .layer(cors(&app.config.origins))
        .layer(from_fn_with_state(Arc::clone(&app), observe))
        .with_state(app)
}

fn cors(origins: &Origins) -> CorsLayer {
    let allowed = match origins {
        Origins::Any => AllowOrigin::any(),
        Origins::Localhost => AllowOrigin::predicate(|origin, _| is_local(origin)),
        Origins::List(list) => {
            AllowOrigin::list(list.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID, header::RETRY_AFTER])
        .max_age(Duration::from_secs(600))
}

fn is_local(origin: &HeaderValue) -> bool {
    let Ok(uri) = origin.to_str().unwrap_or_default().parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    ["localhost", "127.0.0.1", "[::1]"].contains(&host) || host.ends_with(".localhost")
}

/// Holds a place for the whole time the handler runs; a stream's engine queue is bounded on its own.
async fn limit_in_flight(
    State(app): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    match Arc::clone(&app.in_flight).try_acquire_owned() {
        Err(_) => ApiError::too_many_requests(app.config.max_in_flight).into_response(),
        Ok(_permit) => next.run(request).await,
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!("a request handler panicked: {text}");
    ApiError::internal().into_response()
}

/// The id under which a request is logged.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Takes the client's id if it is a sane one.
fn request_id(request: &Request) -> RequestId {
    let sane = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b))
    };
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
    RequestId(given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned))
}

/// The outermost layer: request id in and out, one log line, one count. No bodies, no keys.
async fn observe(State(app): State<Arc<AppState>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    let route = route.as_ref().map(MatchedPath::as_str);
    app.metrics.http(route, status);
    let millis = started.elapsed().as_millis();
    if matches!(route, Some("/health" | "/metrics" | "/")) {
        tracing::debug!("{method} {path:.100} {status} {millis} ms id={}", id.0);
    } else {
        tracing::info!("{method} {path:.100} {status} {millis} ms id={}", id.0);
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_ours_and_says_nothing() {
        async fn broken() -> &'static str {
            panic!("the secret reason")
        }
        let router: Router =
            Router::new().route("/", get(broken)).layer(CatchPanicLayer::custom(panicked));
        let request = Request::new(axum::body::Body::empty());
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: crate::error::ErrorResponse = serde_json::from_slice(&body).unwrap();
        assert_eq!(body.error.code.as_deref(), Some("internal_error"));
        assert!(!body.error.message.contains("secret"));
    }

    #[test]
    fn only_pages_of_this_machine_are_local() {
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "https://127.0.0.1:8",
            "http://[::1]:5",
            "http://a.localhost",
        ] {
            assert!(is_local(&HeaderValue::from_static(origin)), "{origin}");
        }
        for origin in [
            "http://localhost.evil.com",
            "https://example.com",
            "null",
            "",
            "http://127.0.0.1.evil.com",
            "file://",
        ] {
            assert!(!is_local(&HeaderValue::from_static(origin)), "{origin}");
        }
    }
}
