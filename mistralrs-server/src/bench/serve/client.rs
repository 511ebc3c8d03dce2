//! A client of `/v1/completions`, as OpenAI has it: asks in a stream and notes when each piece comes. Prompts are of
//! random syllables, so that no two begin alike and no server finds one in its cache.

use crate::bench::measure::mix;
use crate::mcp::transport::tls;
use anyhow::{Context, bail};
use futures::StreamExt;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a server that computes.
const SILENCE: Duration = Duration::from_secs(600);
/// No event is longer.
const MAX_LINE_BYTES: usize = 1 << 20;
/// How often the length of a prompt is mended.
const TRIES: usize = 8;

/// A server and its model.
pub struct Target {
    http: Client,
    completions: Url,
    /// The first model it lists.
    pub model: String,
}

/// What a stream was.
#[derive(Debug, Clone)]
pub struct Answered {
    /// When the request was sent.
    pub sent: Instant,
    /// When each piece of text came.
    pub pieces: Vec<Instant>,
    /// When the stream ended.
    pub ended: Instant,
    /// As the server counts them.
    pub prompt_tokens: usize,
    /// As the server counts them; the pieces, if it does not.
    pub completion_tokens: usize,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: usize,
    #[serde(default)]
    completion_tokens: usize,
}

impl Target {
    /// Asks a server for its models and takes the first. `base` is the address, with or without `/v1`.
    ///
    /// # Errors
    /// When it is no address or nobody answers there.
    pub async fn find(base: &str) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/').trim_end_matches("/v1");
        let url = |path: &str| {
            Url::parse(&format!("{base}/v1/{path}")).with_context(|| format!("--url {base}"))
        };
        let models = url("models")?;
        let secure = models.scheme() == "https";
        let http = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // Some servers hang up on a connection that is used again.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("mistralrs/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(secure).map_err(anyhow::Error::msg)?)
            .build()?;
        let listed = http.get(models).send().await?.error_for_status()?.json::<Value>().await?;
        let model = listed.pointer("/data/0/id").and_then(Value::as_str);
        let model = model.with_context(|| format!("{base}/v1/models names no model"))?.to_owned();
        Ok(Self { http, completions: url("completions")?, model })
    }

    /// How many syllables make a prompt of so many tokens, as nearly as the server's own count tells.
    ///
    /// # Errors
    /// When a request fails.
    pub async fn words_for(&self, tokens: usize, prompts: &mut Prompts) -> anyhow::Result<usize> {
        let mut words = (tokens / 2).max(1);
        for _ in 0..TRIES {
            let found = self.ask(prompts.next(words), 2).await?.prompt_tokens;
            if found == 0 {
                bail!("the server does not say how many tokens a prompt has");
            }
            // Whatever a server counts, a prompt stays a prompt.
            let better = ((words * tokens + found / 2) / found).clamp(1, 8 * tokens);
            if better == words {
                break;
            }
            words = better;
        }
        Ok(words)
    }

    /// Asks for so many tokens, always the best, and reads the stream to its end.
    ///
    /// # Errors
    /// When the request is refused, or the stream breaks off or is none.
    pub async fn ask(&self, prompt: String, max_tokens: usize) -> anyhow::Result<Answered> {
        let body = json!({
            "model": self.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0,
            "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true},
        });
        let sent = Instant::now();
        let response = self.http.post(self.completions.clone()).json(&body).send().await?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            bail!("status {}: {:.300}", status.as_u16(), text);
        }
        let mut answered = Answered {
            sent,
            pieces: Vec::new(),
            ended: sent,
            prompt_tokens: 0,
            completion_tokens: 0,
        };
        let (mut bytes, mut line) = (response.bytes_stream(), Vec::new());
        while let Some(piece) = bytes.next().await {
            for byte in piece? {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                answered.read(&line)?;
                line.clear();
            }
            if line.len() > MAX_LINE_BYTES {
                bail!("the server sent a line of more than {MAX_LINE_BYTES} bytes");
            }
        }
        answered.ended = Instant::now();
        if answered.pieces.is_empty() {
            bail!("the stream held no text");
        }
        answered.completion_tokens = answered.completion_tokens.max(answered.pieces.len());
        Ok(answered)
    }
}

impl Answered {
    /// Reads a line of the stream.
    fn read(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else {
            return Ok(());
        };
        if data == b"[DONE]" {
            return Ok(());
        }
        let event: Event =
            serde_json::from_slice(data).context("an event that is no completion")?;
        if let Some(error) = event.error {
            bail!("the server broke off: {:.300}", error.to_string());
        }
        if event.choices.iter().any(|it| it.text.as_ref().is_some_and(|text| !text.is_empty())) {
            self.pieces.push(Instant::now());
        }
        if let Some(usage) = event.usage {
            self.prompt_tokens = usage.prompt_tokens;
            self.completion_tokens = usage.completion_tokens;
        }
        Ok(())
    }
}

/// Prompts that nobody has seen.
pub struct Prompts {
    state: u64,
}

impl Prompts {
    /// Others in every run: a server that goes on running keeps what it has computed.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { state: mix(now.as_nanos() as u64) }
    }

    /// So many syllables.
    pub fn next(&mut self, words: usize) -> String {
        const CONSONANTS: &[u8] = b"bcdfghjklmnpqrstvwz";
        const VOWELS: &[u8] = b"aeiou";
        let mut draw = |from: &[u8]| {
            self.state = mix(self.state);
            let at = self.state % from.len().max(1) as u64;
            from.get(at as usize).copied().map_or('a', char::from)
        };
        let syllables: Vec<_> = (0..words)
            .map(|_| [draw(CONSONANTS), draw(VOWELS)].iter().collect::<String>())
            .collect();
        syllables.join(" ")
    }
}
