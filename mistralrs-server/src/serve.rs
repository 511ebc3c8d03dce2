//! Port, connections, loading in the background, and the way out: the life of the server.

use crate::app::{self, AppState, SearchConfig};
use crate::mcp;
use crate::model::{LoadedEmbedder, LoadedModel};
use crate::search::{MetaSearch, SearchService};
use anyhow::Context;
use axum::Router;
use axum::extract::Request;
use axum::http::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use mistralrs_core::loading::source::HubOptions;
use mistralrs_core::{Embedder, EmbedderKind, LoadOptions, Loaded, Purpose};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

/// A client has this long for a request's head, and may keep an idle connection this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Connections beyond this many wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// After the engine has ended, what is left to write gets this long.
const FLUSH: Duration = Duration::from_secs(2);
/// Connections without a request, and the tasks that accept them, go within this; nobody is told to wait for them.
const MOMENT: Duration = Duration::from_secs(1);

/// Where and how long.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Address and port; port 0 = any free one.
    pub address: SocketAddr,
    /// Where the model is offered as an MCP server, if it is.
    pub mcp_address: Option<SocketAddr>,
    /// How long running requests may take to finish once the server is told to stop.
    pub drain: Duration,
}

/// Open ports.
pub struct Doors {
    /// The HTTP API.
    pub http: TcpListener,
    /// The model as an MCP server.
    pub mcp: Option<TcpListener>,
}

impl From<TcpListener> for Doors {
    fn from(http: TcpListener) -> Self {
        Self { http, mcp: None }
    }
}

/// Opens the port.
///
/// # Errors
/// When it cannot be opened.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address} (--serve-ip, --port, --mcp-port)"))
}

/// Loads the model while the port is already open, answers until `stop` completes, then drains.
///
/// # Errors
/// When the model cannot be loaded.
pub async fn run(
    app: Arc<AppState>,
    load: LoadOptions,
    doors: impl Into<Doors>,
    drain_limit: Duration,
    stop: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let doors = doors.into();
    let address = doors.http.local_addr()?;
    tracing::info!("listening on http://{address}; loading {}", load.model);
    app.start_mcp();
    if let Some(mcp) = app.mcp().filter(|mcp| mcp.auto_register_tools()) {
        mcp.wake();
    }
    let (close, closing) = watch::channel(false);
    if let Some(listener) = doors.mcp {
        let address = listener.local_addr()?;
        tracing::info!("the model as an MCP server: http://{address}/mcp");
        let router = mcp::serve::router(Arc::clone(&app), address.ip().is_loopback());
        tokio::spawn(accept(listener, router, closing.clone()));
    }
    let accepting = tokio::spawn(accept(doors.http, app::router(Arc::clone(&app)), closing));
    tokio::pin!(stop);
    let loaded = tokio::select! {
        () = &mut stop => None,
        loaded = load_model(Arc::clone(&app), load) => Some(loaded),
    };
    let outcome = match loaded {
        None => Ok(()),
        Some(Err(error)) => Err(error),
        Some(Ok(())) => {
            announce(&app, address);
            stop.await;
            Ok(())
        }
    };
    drain(&app, &close, drain_limit).await;
    accepting.abort();
    if let Some(mcp) = app.mcp() {
        mcp.shutdown().await;
    }
    // The lines of the last requests: the process may end as soon as this returns.
    let settle = move || app.log.iter().for_each(|log| log.settle(FLUSH));
    let _ = tokio::task::spawn_blocking(settle).await;
    outcome
}

/// Answers with the model that `app` has already, until `stop` completes, then drains.
pub async fn run_loaded(
    app: Arc<AppState>,
    http: TcpListener,
    drain_limit: Duration,
    stop: impl Future<Output = ()> + Send,
) {
    let (close, closing) = watch::channel(false);
    let accepting = tokio::spawn(accept(http, app::router(Arc::clone(&app)), closing));
    stop.await;
    drain(&app, &close, drain_limit).await;
    accepting.abort();
}

/// Blocks a thread of its own, not one that serves.
async fn load_model(app: Arc<AppState>, mut load: LoadOptions) -> anyhow::Result<()> {
    let watched = Arc::clone(&app);
    let report = mistralrs_core::loading::progress::Progress::callback(move |event| {
        watched.model.report(event)
    });
    load.progress = load.progress.and(report);
    let name = app.config.model_name.clone();
    let hub = load.hub.clone();
    let model = load.model.clone();
    let loading =
        tokio::task::spawn_blocking(|| crate::load_to_stay(load, mistralrs_core::load_any));
    let loaded = match loading.await {
        Ok(loaded) => loaded.map_err(anyhow::Error::new),
        Err(panic) => Err(anyhow::Error::new(panic)),
    };
    let loaded = loaded.with_context(|| format!("cannot load `{model}`"));
    match loaded {
        Ok(Loaded::Llm(llm)) => {
            if let Some(search) = &app.config.search {
                match search_service(search, hub).await {
                    Ok(service) => app.set_search(service),
                    Err(error) => {
                        app.model.set_failed();
                        return Err(error);
                    }
                }
            }
            app.model.set_ready(LoadedModel::new(llm, model, name));
            Ok(())
        }
        Ok(Loaded::Embedder(embedder)) => {
            app.model.set_embedder(LoadedEmbedder::new(embedder, model, name));
            Ok(())
        }
        Err(error) => {
            app.model.set_failed();
            Err(error)
        }
    }
}

/// What the web is searched with; its encoder is loaded like a model, from the same hub.
async fn search_service(config: &SearchConfig, hub: HubOptions) -> anyhow::Result<SearchService> {
    let web =
        MetaSearch::new(&config.url, config.page_hosts.clone()).map_err(anyhow::Error::msg)?;
    let Some(name) = config.encoder.clone() else {
        tracing::warn!("without --search-embedding-model, what a search finds is ranked by words");
        return Ok(SearchService { web: Arc::new(web), encoder: None });
    };
    let load = LoadOptions {
        hub,
        progress: mistralrs_core::loading::progress::Progress::silent(),
        purpose: Purpose::Encode(None),
        ..LoadOptions::new(name.clone())
    };
    let loaded = tokio::task::spawn_blocking(move || Embedder::load(load)).await?;
    let encoder =
        loaded.with_context(|| format!("--search-embedding-model: cannot load `{name}`"))?;
    Ok(SearchService { web: Arc::new(web), encoder: Some(encoder) })
}

fn announce(app: &AppState, address: SocketAddr) {
    if let Some(model) = app.model.loaded_embedder() {
        return announce_embedder(model, address);
    }
    let Some(model) = app.model.loaded() else {
        return;
    };
    let info = model.llm.info();
    tracing::info!(
        "ready: {} ({}, {:.1} M weights as {}, {:.1} MB, context {} tokens)",
        model.name,
        info.architecture,
        millions(info.num_parameters),
        info.weight_types,
        millions(info.weight_bytes),
        info.max_sequence_length
    );
    let (route, body) = if info.has_chat_template {
        ("chat/completions", r#"{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":64}"#)
    } else {
        tracing::info!(
            "this model has no chat template: use /v1/completions, or give one with --chat-template"
        );
        ("completions", r#"{"prompt":"Once upon a time","max_tokens":64}"#)
    };
    let key = if app.config.api_keys.is_empty() { "" } else { " -H 'Authorization: Bearer KEY'" };
    tracing::info!(
        "try: curl http://{address}/v1/{route} -H 'Content-Type: application/json'{key} -d '{body}'  (docs: http://{address}/docs)"
    );
}

fn announce_embedder(model: &LoadedEmbedder, address: SocketAddr) {
    let info = model.embedder.info();
    let (gives, route, body) = match info.kind {
        EmbedderKind::Embedding => (
            format!("vectors of {} numbers", info.dimensions),
            "embeddings",
            r#"{"input":"Hello!"}"#,
        ),
        EmbedderKind::CrossEncoder => {
            ("scores".to_owned(), "rerank", r#"{"query":"color","documents":["red","seven"]}"#)
        }
    };
    tracing::info!(
        "ready: {} ({}, {:.1} M weights as {}, texts of {} tokens → {gives})",
        model.card.name,
        info.model.architecture,
        millions(info.model.num_parameters),
        info.model.weight_types,
        info.model.max_sequence_length
    );
    tracing::info!(
        "try: curl http://{address}/v1/{route} -H 'Content-Type: application/json' -d '{body}'"
    );
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn millions(n: u64) -> f64 {
    n as f64 / 1e6
}

/// Accepts until told to close; then every connection finishes its request and goes.
async fn accept(listener: TcpListener, router: Router, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|close| *close) => return,
        };
        match accepted {
            Ok((socket, _)) => {
                let (router, closing) = (router.clone(), closing.clone());
                tokio::spawn(async move {
                    connection(socket, router, closing).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, router: Router, mut closing: watch::Receiver<bool>) {
    // Small events have to leave at once.
    let _ = socket.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move { router.oneshot(request).await as Result<Response<_>, Infallible> }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let serving = http.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        _ = closing.wait_for(|close| *close) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection: {error}");
    }
}

/// No new connections; running requests may finish; then the engine ends.
async fn drain(app: &Arc<AppState>, close: &watch::Sender<bool>, limit: Duration) {
    let _ = close.send(true);
    if !app.model.is_ready() {
        return;
    }
    let gone = || async { close.closed().await };
    let moment = MOMENT.min(limit);
    if tokio::time::timeout(moment, gone()).await.is_err() {
        tracing::info!(
            "stopping: waiting up to {} s for running requests (again Ctrl-C: at once)",
            limit.as_secs()
        );
        if tokio::time::timeout(limit.saturating_sub(moment), gone()).await.is_err() {
            tracing::warn!("running requests were ended after {} s", limit.as_secs());
        }
    }
    let (llm, embedder) = (
        app.model.loaded().map(|model| model.llm.clone()),
        app.model.loaded_embedder().map(|model| model.embedder.clone()),
    );
    let end = move || {
        llm.iter().for_each(mistralrs_core::Llm::shutdown);
        embedder.iter().for_each(Embedder::shutdown);
    };
    let _ = tokio::task::spawn_blocking(end).await;
    let _ = tokio::time::timeout(FLUSH, gone()).await;
}

/// Completes at the first SIGTERM or Ctrl-C; the second one ends the process.
pub async fn stop_signal() {
    signal().await;
    tokio::spawn(async {
        signal().await;
        std::process::exit(130);
    });
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}
