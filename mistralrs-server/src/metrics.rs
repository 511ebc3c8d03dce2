//! Counters of the server, and the Prometheus text of them and of the engine's. Atomics only; every name is in [`Metrics::render`].
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use mistralrs_core::Delta;
use mistralrs_core::EngineStats;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Routes that are counted by name; everything else is `other`.
const ROUTES: [&str; 20] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/responses/{id}",
    "/v1/responses/{id}/cancel",
    "/v1/responses/{id}/input_items",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/models",
    "/v1/models/{*id}",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/health",
    "/metrics",
    "/openapi.json",
    "/docs",
    "other",
];
/// Statuses that are counted by number; everything else is `0`.
const STATUSES: [u16; 14] = [200, 204, 400, 401, 404, 405, 408, 413, 415, 422, 429, 500, 503, 0];

/// Upper bounds in seconds.
const TTFT_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
const INTER_TOKEN_BOUNDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0];
const REQUEST_BOUNDS: [f64; 12] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// How a request to the model went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All answers were finished.
    Answered,
    /// An error ended it.
    Failed,
    /// The client left.
    Cancelled,
    /// It was not taken: impossible, or no place in the queue.
    Refused,
}

const OUTCOMES: [(&str, Outcome); 4] = [
    ("answered", Outcome::Answered),
    ("failed", Outcome::Failed),
    ("cancelled", Outcome::Cancelled),
    ("refused", Outcome::Refused),
];

/// Durations by size.
#[derive(Debug)]
struct Histogram<const N: usize> {
    bounds: [f64; N],
    counts: [AtomicU64; N],
    all: AtomicU64,
    sum_micros: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [f64; N]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; N],
            all: AtomicU64::new(0),
            sum_micros: AtomicU64::new(0),
        }
    }

    fn observe(&self, time: Duration, times: u64) {
        let seconds = time.as_secs_f64();
        let place = self.bounds.iter().zip(&self.counts).find(|(bound, _)| seconds <= **bound);
        if let Some((_, count)) = place {
            count.fetch_add(times, Ordering::Relaxed);
        }
        self.all.fetch_add(times, Ordering::Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros.saturating_mul(times), Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus has floats only")]
    fn render(&self, out: &mut Page, name: &str, help: &str) {
        out.describe(name, "histogram", help);
        let mut below = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            below += count.load(Ordering::Relaxed);
            out.line(name, "_bucket", &format!("{{le=\"{bound}\"}}"), below);
        }
        // Read after the buckets: it can only be larger than their sum, as it must be.
        let all = self.all.load(Ordering::Relaxed).max(below);
        out.line(name, "_bucket", "{le=\"+Inf\"}", all);
        out.line(name, "_sum", "", self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6);
        out.line(name, "_count", "", all);
    }
}

/// The server's counters.
#[derive(Debug)]
pub struct Metrics {
    http: [[AtomicU64; STATUSES.len()]; ROUTES.len()],
    outcomes: [AtomicU64; OUTCOMES.len()],
    time_to_first_token: Histogram<{ TTFT_BOUNDS.len() }>,
    inter_token: Histogram<{ INTER_TOKEN_BOUNDS.len() }>,
    request: Histogram<{ REQUEST_BOUNDS.len() }>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            http: [const { [const { AtomicU64::new(0) }; STATUSES.len()] }; ROUTES.len()],
            outcomes: [const { AtomicU64::new(0) }; OUTCOMES.len()],
            time_to_first_token: Histogram::new(TTFT_BOUNDS),
            inter_token: Histogram::new(INTER_TOKEN_BOUNDS),
            request: Histogram::new(REQUEST_BOUNDS),
        }
    }
}

impl Metrics {
    /// Counts an answered HTTP request; `route` is the pattern it matched.
    pub fn http(&self, route: Option<&str>, status: u16) {
        let of = |wanted: Option<&str>| ROUTES.iter().position(|known| Some(*known) == wanted);
        let row = of(route).unwrap_or(ROUTES.len() - 1);
        let column =
            STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        if let Some(count) = self.http.get(row).and_then(|row| row.get(column)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The page that Prometheus reads. `engine` is absent while the model is being loaded.
    pub fn render(&self, engine: Option<&EngineStats>) -> String {
        let mut out = Page::default();
        let page = &mut out;
        page.describe("http_requests_total", "counter", "HTTP requests by route and status.");
        for (route, row) in ROUTES.iter().zip(&self.http) {
            for (status, count) in STATUSES.iter().zip(row) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = format!("{{route=\"{route}\",status=\"{status}\"}}");
                    page.line("http_requests_total", "", &labels, count);
                }
            }
        }
        page.describe("mistralrs_requests_total", "counter", "Requests to the model by outcome.");
        for ((name, _), count) in OUTCOMES.iter().zip(&self.outcomes) {
            let labels = format!("{{outcome=\"{name}\"}}");
            page.line("mistralrs_requests_total", "", &labels, count.load(Ordering::Relaxed));
        }
        self.time_to_first_token.render(
            page,
            "mistralrs_time_to_first_token_seconds",
            "From the request to the first token of an answer.",
        );
        self.inter_token.render(
            page,
            "mistralrs_inter_token_seconds",
            "From one token of an answer to the next.",
        );
        self.request.render(
            page,
            "mistralrs_request_seconds",
            "From the request to the end of its answers.",
        );
        page.gauge("mistralrs_model_ready", "1 when the model is loaded.", engine.is_some().into());
        if let Some(stats) = engine {
            page.engine(stats);
        }
        out.0
    }
}

/// A page in the making.
#[derive(Default)]
struct Page(String);

impl Page {
    fn describe(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{suffix}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.describe(name, "gauge", help);
        self.line(name, "", "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.describe(name, "counter", help);
        self.line(name, "", "", value);
    }

    fn engine(&mut self, stats: &EngineStats) {
        let gauges = [
            ("mistralrs_requests_waiting", "Requests in the queue.", stats.waiting_requests),
            ("mistralrs_requests_running", "Requests being computed.", stats.running_requests),
            ("mistralrs_kv_blocks_total", "Blocks of the KV cache.", stats.kv_blocks_total),
            (
                "mistralrs_kv_blocks_used",
                "Blocks that running requests hold.",
                stats.kv_blocks_used,
            ),
            (
                "mistralrs_kv_blocks_cached",
                "Free blocks that hold a prefix for reuse.",
                stats.kv_blocks_cached,
            ),
            (
                "mistralrs_kv_window_blocks_total",
                "Of all blocks, those of layers with a window.",
                stats.kv_window_blocks_total,
            ),
            (
                "mistralrs_kv_window_blocks_used",
                "Blocks of layers with a window that running requests hold.",
                stats.kv_window_blocks_used,
            ),
            (
                "mistralrs_kv_window_blocks_cached",
                "Free blocks of layers with a window that hold a prefix for reuse.",
                stats.kv_window_blocks_cached,
            ),
            ("mistralrs_kv_block_size_tokens", "Tokens per block.", stats.block_size_tokens),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help, value as u64);
        }
        let counters = [
            ("mistralrs_prompt_tokens_total", "Tokens of prompts.", stats.prompt_tokens_total),
            (
                "mistralrs_prefix_hit_tokens_total",
                "Tokens of prompts found in the prefix cache.",
                stats.cached_tokens_total,
            ),
            ("mistralrs_generated_tokens_total", "Tokens generated.", stats.generated_tokens_total),
            (
                "mistralrs_preemptions_total",
                "Requests set back because blocks ran out.",
                stats.preemptions_total,
            ),
            ("mistralrs_engine_steps_total", "Steps of the engine.", stats.steps_total),
            ("mistralrs_engine_failed_steps_total", "Steps that failed.", stats.failed_steps_total),
            (
                "mistralrs_media_encoded_total",
                "Pictures and sounds that the model's encoder computed.",
                stats.media_encoded_total,
            ),
            (
                "mistralrs_media_found_total",
                "Pictures and sounds that had been encoded before.",
                stats.media_found_total,
            ),
        ];
        for (name, help, value) in counters {
            self.counter(name, help, value);
        }
    }
}

/// Watches the answers of one request go by. Dropped before its end, the client has left.
#[derive(Debug)]
pub struct Meter {
    metrics: Arc<Metrics>,
    started: Instant,
    last_token: BTreeMap<usize, Instant>,
    ended: bool,
}

impl Meter {
    /// Starts the clock.
    pub fn start(metrics: Arc<Metrics>) -> Self {
        Self { metrics, started: Instant::now(), last_token: BTreeMap::new(), ended: false }
    }

    /// Takes the time of a piece.
    pub fn observe(&mut self, choice: usize, delta: &Delta) {
        let token_ids = match delta {
            Delta::Text { token_ids, .. }
            | Delta::Reasoning { token_ids, .. }
            | Delta::ToolCall { token_ids, .. } => token_ids,
            // By the engine's clock: the reader may be late.
            Delta::Finished { usage, .. } if usage.completion_tokens > 0 => {
                return self.metrics.time_to_first_token.observe(usage.time_to_first_token, 1);
            }
            _ => return,
        };
        let tokens = token_ids.len() as u64;
        if tokens == 0 {
            return;
        }
        let now = Instant::now();
        if let Some(last) = self.last_token.insert(choice, now) {
            let share = (now - last) / u32::try_from(tokens).unwrap_or(u32::MAX);
            self.metrics.inter_token.observe(share, tokens);
        }
    }

    /// Counts the request; the first call decides.
    pub fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let place = OUTCOMES.iter().position(|(_, known)| *known == outcome);
        if let Some(count) = place.and_then(|place| self.metrics.outcomes.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.metrics.request.observe(self.started.elapsed(), 1);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_in_the_count() {
        let histogram = Histogram::new([0.1, 1.0]);
        histogram.observe(Duration::from_millis(50), 2);
        histogram.observe(Duration::from_millis(100), 1);
        histogram.observe(Duration::from_millis(500), 1);
        histogram.observe(Duration::from_secs(9), 1);
        let mut page = Page::default();
        histogram.render(&mut page, "x", "X.");
        let expected = "# HELP x X.\n# TYPE x histogram\nx_bucket{le=\"0.1\"} 3\nx_bucket{le=\"1\"} 4\n\
                        x_bucket{le=\"+Inf\"} 5\nx_sum 9.7\nx_count 5\n";
        assert_eq!(page.0, expected);
    }

    #[test]
    fn a_request_counts_once() {
        let metrics = Arc::new(Metrics::default());
        let mut meter = Meter::start(Arc::clone(&metrics));
        meter.end(Outcome::Failed);
        meter.end(Outcome::Answered);
        let page = metrics.render(None);
        assert!(page.contains("mistralrs_requests_total{outcome=\"failed\"} 1\n"), "{page}");
        assert!(page.contains("mistralrs_requests_total{outcome=\"answered\"} 0\n"), "{page}");
        assert!(
            page.contains("mistralrs_model_ready 0\n") && !page.contains("kv_blocks"),
            "{page}"
        );
    }

    #[test]
    fn http_requests_by_route_and_status() {
        let metrics = Metrics::default();
        metrics.http(Some("/health"), 200);
        metrics.http(Some("/nowhere"), 418);
        metrics.http(None, 404);
        let page =
            metrics.render(Some(&EngineStats { kv_blocks_total: 7, ..EngineStats::default() }));
        for line in [
            "http_requests_total{route=\"/health\",status=\"200\"} 1\n",
            "http_requests_total{route=\"other\",status=\"0\"} 1\n",
            "http_requests_total{route=\"other\",status=\"404\"} 1\n",
            "mistralrs_kv_blocks_total 7\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
