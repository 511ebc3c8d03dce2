//! The command line. The only file that reads the environment; everything leaves it as a [`Plan`].
//!
//! Every option may stand before or after the selector, which is a positional word and says how `-m` is meant.

mod errand;
mod not_built;
mod plan;
mod toml_file;

pub use errand::Errand;
pub use plan::{Mode, Plan, ServerPlan};

use crate::bench::{self, BenchArgs};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  mistralrs-server                                            serve the small built-in demo model on http://127.0.0.1:1234
  mistralrs-server -m Qwen/Qwen2.5-0.5B-Instruct              serve a model of the hub on http://127.0.0.1:1234
  mistralrs-server -m ./models/qwen2.5-0.5b-instruct-q4.gguf  serve one GGUF file
  mistralrs-server gguf -m ./models -f qwen2.5-0.5b-q4.gguf   the same, in the older spelling
  mistralrs-server -m ./models/Qwen2.5 --isq q4k --port 8080  quantize while loading, another port
  mistralrs-server -m ./models/Qwen2.5 --topology isq.yml     some layers to other types
  mistralrs-server -m MODEL -i                                chat in the terminal
  mistralrs-server -m MODEL --prompt \"Name a color.\"          one answer, then exit
  mistralrs-server -m MODEL bench --n-prompt 512 --n-gen 128  measure
  mistralrs-server -m MODEL --mcp-config mcp.json             let chats use the tools of MCP servers
  mistralrs-server mcp check mcp.json                         reach these servers, list their tools

  curl http://127.0.0.1:1234/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}],\"stream\":true}'

Environment:
  MISTRALRS_API_KEY    key(s) that requests must bring, comma-separated (--api-key)
  MCP_CONFIG_PATH      MCP servers (--mcp-config)
  KEEP_ALIVE_INTERVAL  milliseconds between comments of a silent stream (10000)
  RUST_LOG             what is logged (info)
  HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_ENDPOINT   how the hub is reached

Exit codes: 0 done, 1 loading or serving failed, 2 the command line cannot be followed (nothing was loaded).";

/// Serve a large language model over an OpenAI-compatible API, or chat with it in the terminal.
#[derive(Debug, Parser)]
#[command(name = "mistralrs-server", version, after_help = EXAMPLES, subcommand_precedence_over_arg = true)]
pub struct Cli {
    /// How -m is meant: `run` (or nothing) detects it, `plain` = safetensors, `gguf`, `embedding`, `toml` = all from a file
    #[arg(value_enum, value_name = "SELECTOR", hide_possible_values = true)]
    selector: Option<Selector>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    mcp: McpArgs,
    #[command(flatten)]
    chat: ChatArgs,
    #[command(flatten)]
    accepted: AcceptedArgs,
    #[command(flatten)]
    not_built: not_built::NotBuiltArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// How `-m` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Selector {
    /// Detect
    Run,
    /// A folder or hub id with safetensors
    Plain,
    /// An encoder: vectors or scores instead of text
    Embedding,
    /// A GGUF file, or `-f FILE` in a folder or hub id
    Gguf,
    /// Options from the file given by `-f`
    Toml,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure prompt and generation speed, and the server under load
    #[command(after_help = bench::HELP)]
    Bench {
        /// How -m is meant
        #[arg(value_enum, value_name = "SELECTOR", hide_possible_values = true)]
        selector: Option<Selector>,
        #[command(flatten)]
        bench: BenchArgs,
    },
    /// MCP servers without a model
    Mcp {
        #[command(subcommand)]
        command: McpCommand,
    },
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// Start or reach every server of a configuration, list its tools, and say what is wrong
    Check {
        /// The configuration file [default: --mcp-config]
        #[arg(value_name = "CONFIG")]
        config: Option<PathBuf>,
        /// Only this server
        #[arg(long, value_name = "ID")]
        server: Option<String>,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Print every tool with its description
        #[arg(short, long)]
        verbose: bool,
    },
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
struct ModelArgs {
    /// A folder, a .gguf file, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct (ID@REVISION picks a revision)
    /// [default: a small model inside the program, for demonstration]
    #[arg(
        short = 'm',
        long = "model",
        visible_alias = "model-id",
        alias = "quantized-model-id",
        global = true
    )]
    model: Option<String>,
    /// The GGUF file(s) in the folder or hub id; with `toml`, the file to read
    #[arg(
        short = 'f',
        long = "file",
        visible_alias = "quantized-filename",
        value_delimiter = ' ',
        global = true
    )]
    file: Vec<String>,
    /// With a GGUF model that sees: the file with its eyes (mmproj), a path or a name beside the model
    /// [default: the only mmproj file beside the model, if it fits]
    #[arg(long, value_name = "FILE", global = true)]
    mmproj: Option<PathBuf>,
    /// Another tokenizer.json, or a folder that has one
    #[arg(short = 't', long, alias = "tok-model-id", value_name = "PATH", global = true)]
    tokenizer_json: Option<PathBuf>,
    /// Quantize plain weights while loading: 2 3 4 5 6 8 q4_0 q4_1 q5_0 q5_1 q8_0 q2k q3k q4k q5k q6k
    /// iq4_nl iq4_xs
    #[arg(long, value_name = "TYPE", global = true)]
    isq: Option<String>,
    /// Quantize some layers, or tensors of some names, to other types than --isq: a YAML file with entries such as
    /// `0-8: {isq: q6k}` (layers 0 to 7) or `/down_proj/: {isq: q8_0}`; see examples/topologies
    #[arg(long, value_name = "FILE", global = true)]
    topology: Option<PathBuf>,
    /// With Gemma 3n: the table of its slices (CSV, as in google/gemma3n-slicing-configs)
    #[arg(long, value_name = "FILE", global = true)]
    matformer_config_path: Option<PathBuf>,
    /// With Gemma 3n: load this slice of the table, a smaller model that is a part of it
    #[arg(long, value_name = "NAME", global = true)]
    matformer_slice_name: Option<String>,
    /// Context in tokens [default: what the model was made for, less if memory does not allow it]
    #[arg(long, value_name = "TOKENS", global = true)]
    max_seq_len: Option<usize>,
    /// Compute everything on the CPU, whatever other devices there are
    #[arg(long, global = true, conflicts_with = "num_device_layers")]
    cpu: bool,
    /// In builds for CUDA or Metal: how many layers each device gets, the CPU the rest: NUM for device 0, or ORD:NUM;ORD:NUM
    /// [default: as many as fit, in order]
    #[arg(short = 'n', long, value_name = "SPEC", global = true)]
    num_device_layers: Option<String>,
    /// Seed of requests that bring none
    #[arg(short = 's', long, global = true)]
    seed: Option<u64>,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", global = true)]
    threads: Option<usize>,
    /// Keep each computing thread on a core of its own
    #[arg(long, global = true)]
    pin_threads: bool,
    /// Instruction set to compute with, for bug reports: amx, avx512bf16, avx512vnni, avx512, avxvnni, avx2 or scalar [default: the best]
    #[arg(long, global = true, env = "MISTRALRS_CPU", hide_env_values = true, value_name = "NAME")]
    instruction_set: Option<String>,
    /// Where the hub's token comes from: literal:V, env:V, path:V, cache, none
    #[arg(long, value_name = "SOURCE", default_value = "cache", global = true)]
    token_source: String,
    /// Never go to the network
    #[arg(long, env = "HF_HUB_OFFLINE", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue, hide_env = true, global = true)]
    offline: bool,
    /// Where downloaded models are kept
    #[arg(long, env = "HF_HUB_CACHE", hide_env = true, value_name = "FOLDER", global = true)]
    hf_cache_path: Option<PathBuf>,
    /// The hub's address
    #[arg(long, env = "HF_ENDPOINT", hide_env = true, value_name = "URL", global = true)]
    hf_endpoint: Option<String>,
    #[arg(long, env = "HF_TOKEN", hide = true, hide_env_values = true, global = true)]
    hf_token: Option<String>,
    #[arg(long, env = "HF_HOME", hide = true, global = true)]
    hf_home: Option<PathBuf>,
    /// No progress bars
    #[arg(long, global = true)]
    silent: bool,
    #[arg(long, env = "RUST_LOG", hide = true, global = true)]
    log_filter: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Chat template")]
struct TemplateArgs {
    /// Used when the model brings no chat template: a .jinja or .json file
    #[arg(short = 'c', long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Overrides the model's chat template
    #[arg(short = 'j', long, value_name = "FILE")]
    jinja_explicit: Option<PathBuf>,
    /// Set the template variable `enable_thinking` for requests that do not say
    #[arg(long)]
    enable_thinking: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
struct CacheArgs {
    /// Most requests computed together
    #[arg(long, default_value_t = 16, value_name = "N", global = true)]
    max_seqs: usize,
    /// Most requests waiting; more are answered with 429
    #[arg(long, default_value_t = 256, value_name = "N", global = true)]
    max_queue: usize,
    /// Most prompt tokens computed in one step
    #[arg(long, default_value_t = 512, value_name = "TOKENS", global = true)]
    prefill_chunk: usize,
    /// 0 = do not reuse the KV cache of earlier prompts with the same beginning
    #[arg(long, default_value_t = 16, value_name = "N", global = true)]
    prefix_cache_n: usize,
    /// Tokens the KV cache can hold in all, layers with a window fewer [default: enough for --max-seqs within free memory]
    #[arg(long, alias = "kv-cache-tokens", value_name = "TOKENS", global = true)]
    pa_ctxt_len: Option<usize>,
    /// Tokens per block of the KV cache: 8, 16 or 32
    #[arg(long, default_value_t = 32, value_name = "TOKENS", global = true)]
    pa_blk_size: usize,
    /// How the KV cache keeps numbers: f32, f16, q8_0 (half of f16) or auto (f16 for quantized weights)
    #[arg(long, default_value = "auto", value_name = "TYPE", global = true)]
    pa_cache_type: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
struct ServerArgs {
    /// Address to listen on; 0.0.0.0 = reachable from other machines
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    serve_ip: IpAddr,
    /// Port to listen on; 0 = any free one
    #[arg(short = 'p', long, default_value_t = 1234, value_name = "N")]
    port: u16,
    /// Key that requests must bring (may be repeated)
    #[arg(
        long = "api-key",
        env = "MISTRALRS_API_KEY",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "KEY"
    )]
    api_keys: Vec<String>,
    /// File with one key per line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Web pages that may read answers, such as `https://example.com`, or * (may be repeated) [default: pages of this machine]
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    cors_origins: Vec<String>,
    /// Refuse requests with fields that have no effect, instead of answering with `warnings`
    #[arg(long)]
    strict: bool,
    /// Largest request body
    #[arg(long, default_value_t = 50, value_name = "MB")]
    max_body_mb: usize,
    /// Most answers to one prompt (`n`)
    #[arg(long, default_value_t = 16, value_name = "N")]
    max_n: usize,
    /// Most responses of /v1/responses that are kept, to be read and continued; 0 = none
    #[arg(long, default_value_t = 1000, value_name = "N")]
    keep_responses: usize,
    /// Most megabytes of kept responses
    #[arg(long, default_value_t = 256, value_name = "MB")]
    keep_responses_mb: usize,
    /// How long responses are kept
    #[arg(long, default_value_t = 24, value_name = "HOURS")]
    keep_responses_hours: u64,
    /// How long running requests may take to finish when the server is stopped
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    drain_timeout: u64,
    /// The name requests use for the model [default: its hub id, folder or file name]
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,
    /// Append every request and answer to this file, as JSON lines
    #[arg(short = 'l', long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Folder whose files requests may name as `file:` URLs [default: none]
    #[arg(long, value_name = "FOLDER")]
    allowed_media_path: Option<PathBuf>,
    /// Host that media are fetched from, such as example.com or 10.0.0.7:8000; * = every public one (may be repeated) [default: none]
    #[arg(long = "allowed-media-host", value_name = "HOST")]
    allowed_media_hosts: Vec<String>,
    #[arg(long, env = "KEEP_ALIVE_INTERVAL", hide = true)]
    keep_alive_interval: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Tools")]
struct McpArgs {
    /// MCP servers whose tools chats may use: a JSON file with `servers` or `mcpServers`
    #[arg(
        long,
        value_name = "FILE",
        env = "MCP_CONFIG_PATH",
        hide_env_values = true,
        global = true
    )]
    mcp_config: Option<PathBuf>,
    /// Let chats with `web_search_options` search the web, with the engine of --search-url
    #[arg(long)]
    enable_search: bool,
    /// A search engine with JSON answers, such as SearXNG: http://HOST/search
    #[arg(long, value_name = "URL")]
    search_url: Option<String>,
    /// Ranks what a search found: embedding_gemma, or a folder with an encoder [default: words decide]
    #[arg(long, value_name = "NAME")]
    search_embedding_model: Option<String>,
    /// Host whose pages such chats may read, such as example.com; * = every public one (may be repeated) [default: none]
    #[arg(long = "allowed-page-host", value_name = "HOST")]
    allowed_page_hosts: Vec<String>,
    /// Offer this model to others as an MCP server, at http://IP:N/mcp
    #[arg(long, value_name = "N", global = true)]
    mcp_port: Option<u16>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Terminal")]
struct ChatArgs {
    /// Chat in the terminal instead of serving
    #[arg(short = 'i', long)]
    interactive_mode: bool,
    /// Answer this once and exit
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The system text of the chat
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Temperature of the chat; 0 = always the best token
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Keep the k best tokens in the chat
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Keep the smallest set of tokens that reaches this probability in the chat
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Most tokens per answer of the chat
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<usize>,
    #[arg(long, env = "TERM", hide = true)]
    term: Option<String>,
}

/// Understood for the sake of older command lines; a note says what becomes of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted without effect")]
struct AcceptedArgs {
    /// The paged KV cache is the only cache
    #[arg(long, global = true, conflicts_with = "paged_attn")]
    no_paged_attn: bool,
    /// The paged KV cache is the only cache
    #[arg(long, global = true)]
    paged_attn: bool,
    /// The paged KV cache is the only cache
    #[arg(long, global = true)]
    no_kv_cache: bool,
    /// Share of the GPU's memory for the KV cache
    #[arg(long, value_name = "F", global = true)]
    pa_gpu_mem_usage: Option<f32>,
    /// With `embedding`: embeddinggemma, qwen3embedding or a class name; else it is read from the model
    #[arg(short = 'a', long, value_name = "NAME", global = true)]
    arch: Option<String>,
    /// Weights stay as stored (or become --isq); arithmetic is in f32
    #[arg(long, value_name = "TYPE", global = true)]
    dtype: Option<String>,
    /// --max-seqs says how many run together
    #[arg(long, value_name = "N", global = true)]
    max_batch_size: Option<usize>,
}

/// A command line that cannot be followed, or one that only asked for help.
#[derive(Debug)]
pub enum Refusal {
    /// Help, version, or a spelling error.
    Clap(clap::Error),
    /// Understood, but impossible.
    Told(String),
}

impl Refusal {
    /// Tells the user; returns the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Clap(error) => {
                let code = if error.use_stderr() { 2 } else { 0 };
                let _ = error.print();
                ExitCode::from(code)
            }
            Self::Told(text) => {
                let _ = writeln!(std::io::stderr(), "error: {text}");
                ExitCode::from(2)
            }
        }
    }

    /// What the user is told.
    pub fn text(&self) -> String {
        match self {
            Self::Clap(error) => error.to_string(),
            Self::Told(text) => text.clone(),
        }
    }
}

impl Cli {
    /// Reads the process's own command line and environment.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn read() -> Result<Self, Refusal> {
        Self::parse_words(std::env::args_os().collect())
    }

    /// Reads a command line; the first word is the program's name.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn parse_words(words: Vec<OsString>) -> Result<Self, Refusal> {
        Self::try_parse_from(&words).map_err(|error| match not_built::selector(&words) {
            Some(text) if error.use_stderr() => Refusal::Told(text),
            _ => Refusal::Clap(error),
        })
    }
}

/// An environment variable, for parts that have to look one up by a name only known here.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
