//! Command line → [`Plan`]: what to load, and what to do with it. Refuses before anything is loaded.

use super::{
    Cli, Command, McpArgs, ModelArgs, Refusal, Selector, ServerArgs, errand, toml_file, variable,
};
use crate::app::{Origins, SearchConfig, ServerConfig};
use crate::auth::ApiKeys;
use crate::bench::BenchArgs;
use crate::chat::{self, ChatOptions};
use crate::demo;
use crate::mcp::McpConfig;
use crate::media::MediaConfig;
use crate::responses::store::StoreLimits;
use crate::search::MetaSearch;
use crate::serve::ServeOptions;
use mistralrs_core::kv_cache::KvNumbers;
use mistralrs_core::loading::progress::Progress;
use mistralrs_core::loading::source::{HubOptions, TokenSource};
use mistralrs_core::{
    LayerMap, LoadError, LoadOptions, MatformerSlice, Purpose, QuantType, SamplingParams, Topology,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NO_MODEL: &str = "this needs a model, and none was named. Give one with -m:
  mistralrs-server -m Qwen/Qwen2.5-0.5B-Instruct     a model of the hub
  mistralrs-server -m ./folder                       a folder with config.json and safetensors
  mistralrs-server -m ./model.gguf                   one GGUF file";

/// Whether this build can compute elsewhere than on the CPU.
const HAS_DEVICES: bool = cfg!(any(feature = "cuda", feature = "metal"));

/// More threads than any processor has cores. The system may refuse to start them in a way that ends the
/// program, so it is not left to it.
const MAX_THREADS: usize = 1024;

/// What the command line asks for.
#[derive(Debug)]
pub struct Plan {
    /// The model.
    pub load: LoadOptions,
    /// What to do with it.
    pub mode: Mode,
    /// Threads that compute, if not all.
    pub threads: Option<usize>,
    /// Whether each has a core of its own.
    pub pin_threads: bool,
    /// The instruction set to compute with, if not the best.
    pub instruction_set: Option<String>,
    /// What is logged.
    pub log_filter: String,
    /// What has no effect; told when there is a log.
    pub notes: Vec<String>,
}

/// What to do with the model.
#[derive(Debug)]
pub enum Mode {
    /// Answer requests.
    Serve(ServerPlan),
    /// Chat in the terminal, or answer once.
    Chat(ChatOptions),
    /// Measure.
    Bench(BenchArgs),
}

/// How to answer requests.
#[derive(Debug)]
pub struct ServerPlan {
    /// How requests are treated.
    pub config: ServerConfig,
    /// Where and how long.
    pub serve: ServeOptions,
    /// Where requests and answers are written.
    pub log: Option<PathBuf>,
}

fn told(text: impl Into<String>) -> Refusal {
    Refusal::Told(text.into())
}

impl TryFrom<Cli> for Plan {
    type Error = Refusal;

    fn try_from(mut cli: Cli) -> Result<Self, Refusal> {
        if let Some(option) = cli.not_built.first() {
            return Err(told(format!("{option} is not built yet")));
        }
        let (selector, bench) = match cli.command.take() {
            Some(Command::Bench { selector, bench }) => (selector.or(cli.selector), Some(bench)),
            Some(Command::Mcp { .. }) | None => (cli.selector, None),
        };
        let mut notes = notes(&cli, selector);
        apply_toml(&mut cli, selector, &mut notes)?;
        let load = load_options(&cli, selector)?;
        let (threads, pin_threads) = (cli.model.threads, cli.model.pin_threads);
        let instruction_set = cli.model.instruction_set.clone();
        if threads.is_some_and(|threads| !(1..=MAX_THREADS).contains(&threads)) {
            return Err(told(format!("--threads has to be 1 to {MAX_THREADS}")));
        }
        let chats = cli.chat.interactive_mode || cli.chat.prompt.is_some();
        let quiet = chats || bench.is_some();
        let log_filter = cli
            .model
            .log_filter
            .clone()
            .unwrap_or_else(|| if quiet { "warn" } else { "info,rmcp=warn" }.to_owned());
        let mcp = cli.mcp.mcp_config.as_deref().map(errand::mcp_config).transpose()?;
        let mode = match bench {
            Some(bench) => Mode::Bench(bench),
            None if chats => Mode::Chat(chat_options(&cli, &load, mcp)?),
            None => Mode::Serve(server_plan(&cli, &load, mcp, &mut notes)?),
        };
        Ok(Self { load, mode, threads, pin_threads, instruction_set, log_filter, notes })
    }
}

/// Where the layers are to be. A build that has only the CPU takes the options of others, and [`notes`] tells so.
fn layers(model: &ModelArgs) -> Result<LayerMap, Refusal> {
    let spec = model.num_device_layers.as_deref();
    let map = spec.map(LayerMap::from_spec).transpose();
    let map = map.map_err(|reason| told(format!("--num-device-layers: {reason}")))?;
    Ok(match map {
        _ if model.cpu || !HAS_DEVICES => LayerMap::cpu(),
        Some(map) => map,
        None => LayerMap::Automatic,
    })
}

/// What becomes of options that have no effect.
fn notes(cli: &Cli, selector: Option<Selector>) -> Vec<String> {
    const ONLY_CACHE: &str = "the paged KV cache is the only cache, it stays on";
    const ONLY_CPU: &str = "the CPU is the only device of this build";
    let accepted = &cli.accepted;
    let arch_is_idle = accepted.arch.is_some() && selector != Some(Selector::Embedding);
    let given = [
        ("--cpu", cli.model.cpu && !HAS_DEVICES, ONLY_CPU),
        ("--num-device-layers", cli.model.num_device_layers.is_some() && !HAS_DEVICES, ONLY_CPU),
        ("--no-paged-attn", accepted.no_paged_attn, ONLY_CACHE),
        ("--paged-attn", accepted.paged_attn, ONLY_CACHE),
        ("--no-kv-cache", accepted.no_kv_cache, ONLY_CACHE),
        ("--pa-gpu-mem-usage", accepted.pa_gpu_mem_usage.is_some(), ONLY_CPU),
        ("--arch", arch_is_idle, "the architecture is read from the model"),
        (
            "--dtype",
            accepted.dtype.is_some(),
            "weights stay as stored (or become --isq), arithmetic is in f32",
        ),
        (
            "--max-batch-size",
            accepted.max_batch_size.is_some(),
            "--max-seqs says how many run together",
        ),
    ];
    let given = given.iter().filter(|(_, given, _)| *given);
    given.map(|(option, _, why)| format!("{option} has no effect: {why}")).collect()
}

/// `toml -f FILE` fills what the command line left open.
fn apply_toml(
    cli: &mut Cli,
    selector: Option<Selector>,
    notes: &mut Vec<String>,
) -> Result<(), Refusal> {
    if selector != Some(Selector::Toml) {
        return Ok(());
    }
    let [file] = cli.model.file.as_slice() else {
        return Err(told("the selector `toml` needs one file: toml -f FILE"));
    };
    let file = toml_file::read(Path::new(file)).map_err(told)?;
    let model = file.model;
    let ignored = [
        ("arch", model.arch.is_some()),
        ("dtype", model.dtype.is_some()),
        ("max_batch_size", model.max_batch_size.is_some()),
    ];
    notes.extend(
        ignored
            .iter()
            .filter(|(_, given)| *given)
            .map(|(key, _)| format!("`{key}` in the file has no effect")),
    );
    cli.model.file = model.quantized_filename.map(toml_file::Files::into_list).unwrap_or_default();
    cli.model.model = cli.model.model.take().or(model.model_id);
    cli.model.mmproj = cli.model.mmproj.take().or(model.mmproj);
    cli.model.isq = cli.model.isq.take().or(model.isq);
    cli.model.topology = cli.model.topology.take().or(model.topology);
    cli.model.max_seq_len = cli.model.max_seq_len.or(model.max_seq_len);
    cli.model.matformer_config_path =
        cli.model.matformer_config_path.take().or(model.matformer_config_path);
    cli.model.matformer_slice_name =
        cli.model.matformer_slice_name.take().or(model.matformer_slice_name);
    cli.model.tokenizer_json =
        cli.model.tokenizer_json.take().or(model.tokenizer_json).or(file.tokenizer_json);
    cli.template.chat_template = cli.template.chat_template.take().or(model.chat_template);
    cli.template.jinja_explicit = cli.template.jinja_explicit.take().or(model.jinja_explicit);
    Ok(())
}

fn load_options(cli: &Cli, selector: Option<Selector>) -> Result<LoadOptions, Refusal> {
    let source = model(cli, selector)?;
    let positive = [
        ("--max-seqs", Some(cli.cache.max_seqs)),
        ("--max-queue", Some(cli.cache.max_queue)),
        ("--prefill-chunk", Some(cli.cache.prefill_chunk)),
        ("--max-seq-len", cli.model.max_seq_len),
        ("--pa-ctxt-len", cli.cache.pa_ctxt_len),
    ];
    if let Some((option, _)) = positive.iter().find(|(_, value)| *value == Some(0)) {
        return Err(told(format!("{option} has to be 1 or more")));
    }
    if ![8, 16, 32].contains(&cli.cache.pa_blk_size) {
        return Err(told("--pa-blk-size has to be 8, 16 or 32"));
    }
    Ok(LoadOptions {
        gguf_files: cli.model.file.clone(),
        mmproj: cli.model.mmproj.clone(),
        purpose: purpose(cli, selector)?,
        tokenizer_json: cli.model.tokenizer_json.as_deref().map(tokenizer_file).transpose()?,
        chat_template: cli
            .template
            .chat_template
            .as_deref()
            .map(|path| existing("--chat-template", path))
            .transpose()?,
        jinja_explicit: cli
            .template
            .jinja_explicit
            .as_deref()
            .map(|path| existing("--jinja-explicit", path))
            .transpose()?,
        matformer: matformer(&cli.model)?,
        isq: cli.model.isq.as_deref().map(isq).transpose()?,
        topology: cli.model.topology.as_deref().map(topology).transpose()?,
        layers: layers(&cli.model)?,
        max_seqs: cli.cache.max_seqs,
        max_queue: cli.cache.max_queue,
        max_seq_len: cli.model.max_seq_len,
        kv_cache_tokens: cli.cache.pa_ctxt_len,
        kv_numbers: kv_numbers(&cli.cache.pa_cache_type)?,
        block_size: cli.cache.pa_blk_size,
        prefill_chunk: cli.cache.prefill_chunk,
        prefix_cache: cli.cache.prefix_cache_n > 0,
        seed: cli.model.seed,
        hub: hub_options(&cli.model)?,
        progress: if cli.model.silent { Progress::silent() } else { Progress::terminal() },
        ..source
    })
}

/// The slice, read here: a name that is not in the table is told before anything is loaded.
fn matformer(model: &ModelArgs) -> Result<Option<MatformerSlice>, Refusal> {
    let (file, name) = match (&model.matformer_config_path, &model.matformer_slice_name) {
        (None, None) => return Ok(None),
        (Some(file), Some(name)) => (existing("--matformer-config-path", file)?, name),
        (Some(_), None) => {
            return Err(told("--matformer-config-path needs --matformer-slice-name, too"));
        }
        (None, Some(_)) => {
            return Err(told("--matformer-slice-name needs --matformer-config-path, too"));
        }
    };
    MatformerSlice::read(&file, name).map(Some).map_err(|error| told(error.to_string()))
}

fn kv_numbers(name: &str) -> Result<Option<KvNumbers>, Refusal> {
    if name.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    KvNumbers::from_name(name).map(Some).ok_or_else(|| {
        told(format!("--pa-cache-type {name} is not built yet: there are auto, f32, f16 and q8_0"))
    })
}

/// With the selector `embedding`, `-a` names the architecture: by its class, or as the 0.6 line did.
fn purpose(cli: &Cli, selector: Option<Selector>) -> Result<Purpose, Refusal> {
    if selector != Some(Selector::Embedding) {
        return Ok(Purpose::Detect);
    }
    let encoder = |name: &String| {
        mistralrs_core::models::encoders::by_option(name).map(str::to_owned).ok_or_else(|| {
            let known = mistralrs_core::models::encoders::option_names().join(", ");
            told(format!("--arch {name}: there is no such encoder; there are {known}"))
        })
    };
    Ok(Purpose::Encode(cli.accepted.arch.as_ref().map(encoder).transpose()?))
}

/// The model that is named, or the one inside the program.
fn model(cli: &Cli, selector: Option<Selector>) -> Result<LoadOptions, Refusal> {
    let named = cli.model.model.as_ref().filter(|model| !model.trim().is_empty());
    let Some(model) = named else {
        let any = matches!(selector, None | Some(Selector::Run)) && cli.model.file.is_empty();
        return if any { Ok(demo::load_options()) } else { Err(told(NO_MODEL)) };
    };
    let is_file = model.to_ascii_lowercase().ends_with(".gguf");
    match selector {
        Some(Selector::Gguf) if !is_file && cli.model.file.is_empty() => Err(told(format!(
            "the selector `gguf` needs a file: gguf -m {model} -f FILE, or -m {model}/FILE.gguf"
        ))),
        Some(Selector::Plain) if is_file || !cli.model.file.is_empty() => Err(told(
            "the selector `plain` reads safetensors; for a GGUF file leave it out or say `gguf`",
        )),
        _ => Ok(LoadOptions::new(model)),
    }
}

fn existing(option: &str, path: &Path) -> Result<PathBuf, Refusal> {
    if path.is_file() {
        Ok(path.to_owned())
    } else {
        Err(told(format!("{option}: there is no file {}", path.display())))
    }
}

fn tokenizer_file(path: &Path) -> Result<PathBuf, Refusal> {
    let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
    existing("--tokenizer-json (a local file or folder)", &path)
}

fn isq(name: &str) -> Result<QuantType, Refusal> {
    mistralrs_core::isq_type(name).map_err(|error| told(format!("--isq {error}")))
}

/// The topology, read here: what is wrong with it, or for other devices, is told before anything is loaded.
fn topology(path: &Path) -> Result<Topology, Refusal> {
    let file = existing("--topology", path)?;
    let wrong = |error: LoadError| told(format!("--topology {error}"));
    let topology = Topology::read(&file).map_err(wrong)?;
    topology.check_devices().map_err(wrong)?;
    Ok(topology)
}

fn hub_options(model: &ModelArgs) -> Result<HubOptions, Refusal> {
    let (kind, value) = model.token_source.split_once(':').unwrap_or((&model.token_source, ""));
    let token_source = match (kind, value) {
        ("literal", token) if !token.is_empty() => TokenSource::Literal(token.to_owned()),
        ("env", name) if !name.is_empty() => match variable(name) {
            Some(token) => TokenSource::Literal(token),
            None => {
                return Err(told(format!("--token-source env:{name}: the variable is not set")));
            }
        },
        ("path", path) if !path.is_empty() => {
            TokenSource::Path(existing("--token-source path", Path::new(path))?)
        }
        ("cache", "") => model
            .hf_token
            .clone()
            .filter(|token| !token.is_empty())
            .map_or(TokenSource::Cache, TokenSource::Literal),
        ("none", "") => TokenSource::None,
        _ => {
            return Err(told(
                "--token-source has to be literal:TOKEN, env:NAME, path:FILE, cache or none",
            ));
        }
    };
    let in_home = model.hf_home.as_ref().map(|home| home.join("hub"));
    Ok(HubOptions {
        token_source,
        endpoint: model.hf_endpoint.clone().filter(|endpoint| !endpoint.is_empty()),
        offline: model.offline,
        cache_dir: model.hf_cache_path.clone().or(in_home),
    })
}

fn chat_options(
    cli: &Cli,
    load: &LoadOptions,
    mcp: Option<McpConfig>,
) -> Result<ChatOptions, Refusal> {
    let mut template_kwargs = serde_json::Map::new();
    if cli.template.enable_thinking {
        template_kwargs.insert("enable_thinking".to_owned(), true.into());
    }
    let sampling = SamplingParams {
        temperature: cli.chat.temperature,
        top_k: cli.chat.top_k,
        top_p: cli.chat.top_p,
        ..SamplingParams::default()
    };
    // Nothing here names a token, so any vocabulary will do.
    sampling.validate(usize::MAX).map_err(|error| told(error.to_string()))?;
    if cli.chat.max_tokens == Some(0) {
        return Err(told("--max-tokens has to be 1 or more"));
    }
    Ok(ChatOptions {
        prompt: cli.chat.prompt.clone(),
        opening: load.embedded.map(|_| demo::OPENING),
        system: cli.chat.system.clone(),
        sampling,
        max_tokens: cli.chat.max_tokens,
        template_kwargs,
        history_file: chat::history_path(variable),
        plain: cli.chat.term.as_deref() == Some("dumb"),
        mcp,
    })
}

fn server_plan(
    cli: &Cli,
    load: &LoadOptions,
    mcp: Option<McpConfig>,
    notes: &mut Vec<String>,
) -> Result<ServerPlan, Refusal> {
    let server = &cli.server;
    let chat_only = [
        ("--system", cli.chat.system.is_some()),
        ("--temperature", cli.chat.temperature.is_some()),
        ("--top-k", cli.chat.top_k.is_some()),
        ("--top-p", cli.chat.top_p.is_some()),
        ("--max-tokens", cli.chat.max_tokens.is_some()),
    ];
    let given = chat_only.iter().filter(|(_, given)| *given);
    notes.extend(given.map(|(option, _)| format!("{option} has no effect without -i or --prompt")));
    if server.max_n == 0 || server.max_body_mb == 0 {
        return Err(told("--max-n and --max-body-mb have to be 1 or more"));
    }
    if server.served_model_name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(told("--served-model-name: there is no name in it"));
    }
    let config = ServerConfig {
        api_keys: api_keys(server)?,
        origins: origins(&server.cors_origins)?,
        max_body_bytes: server.max_body_mb.saturating_mul(1_000_000),
        body_idle: ServerConfig::default().body_idle,
        max_n: server.max_n,
        max_choices: load.max_queue.saturating_add(load.max_seqs),
        max_in_flight: load.max_queue.saturating_add(load.max_seqs).saturating_add(64).min(1 << 20),
        strict: server.strict,
        keep_alive: keep_alive(server.keep_alive_interval.as_deref(), notes),
        model_name: server.served_model_name.clone(),
        enable_thinking: cli.template.enable_thinking.then_some(true),
        mcp,
        search: search(&cli.mcp)?,
        responses: StoreLimits {
            count: server.keep_responses,
            bytes: server.keep_responses_mb.saturating_mul(1_000_000),
            age: Duration::from_secs(server.keep_responses_hours.saturating_mul(3600)),
        },
        media: media(server)?,
    };
    if !server.serve_ip.is_loopback() && config.api_keys.is_empty() {
        notes.push(format!(
            "everybody who can reach {} may use this server: consider --api-key",
            server.serve_ip
        ));
    }
    let serve = ServeOptions {
        address: SocketAddr::new(server.serve_ip, server.port),
        mcp_address: cli.mcp.mcp_port.map(|port| SocketAddr::new(server.serve_ip, port)),
        drain: Duration::from_secs(server.drain_timeout),
    };
    Ok(ServerPlan { config, serve, log: server.log.clone() })
}

/// What requests may refer to besides the bytes they bring.
fn media(server: &ServerArgs) -> Result<MediaConfig, Refusal> {
    if let Some(folder) = server.allowed_media_path.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(told(format!("--allowed-media-path: there is no folder {}", folder.display())));
    }
    Ok(MediaConfig {
        folder: server.allowed_media_path.clone(),
        hosts: server.allowed_media_hosts.clone(),
        ..MediaConfig::default()
    })
}

/// The encoders that search knows by name.
const SEARCH_ENCODERS: [(&str, &str); 1] = [("embedding_gemma", "google/embeddinggemma-300m")];

fn search(args: &McpArgs) -> Result<Option<SearchConfig>, Refusal> {
    if !args.enable_search {
        let given = args.search_url.is_some()
            || args.search_embedding_model.is_some()
            || !args.allowed_page_hosts.is_empty();
        let needs =
            "--search-url, --search-embedding-model and --allowed-page-host need --enable-search";
        return if given { Err(told(needs)) } else { Ok(None) };
    }
    let Some(url) = args.search_url.clone() else {
        return Err(told("--enable-search needs a search engine: --search-url http://HOST/search"));
    };
    let page_hosts = args.allowed_page_hosts.clone();
    MetaSearch::new(&url, page_hosts.clone()).map_err(|why| told(format!("--search-url {why}")))?;
    let encoder = |name: &String| {
        let wanted = name.trim().to_ascii_lowercase();
        let known = SEARCH_ENCODERS.iter().find(|(known, _)| *known == wanted);
        match known {
            Some((_, id)) => Ok((*id).to_owned()),
            None if Path::new(name.trim()).is_dir() => Ok(name.trim().to_owned()),
            None => {
                let known = SEARCH_ENCODERS.map(|(name, _)| name).join(", ");
                Err(told(format!("--search-embedding-model {name}: one of {known}, or a folder")))
            }
        }
    };
    let encoder = args.search_embedding_model.as_ref().map(encoder).transpose()?;
    Ok(Some(SearchConfig { url, page_hosts, encoder }))
}

fn api_keys(server: &ServerArgs) -> Result<ApiKeys, Refusal> {
    let mut keys = server.api_keys.clone();
    if let Some(path) = &server.api_key_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| told(format!("--api-key-file {}: {error}", path.display())))?;
        keys.extend(text.lines().map(str::to_owned));
    }
    let asked = server.api_key_file.is_some() || !server.api_keys.is_empty();
    let keys = ApiKeys::new(keys);
    // An empty file must not mean that everybody may come in.
    if asked && keys.is_empty() {
        Err(told("--api-key/--api-key-file: there is no key in it"))
    } else {
        Ok(keys)
    }
}

fn origins(list: &[String]) -> Result<Origins, Refusal> {
    if list.is_empty() {
        return Ok(Origins::Localhost);
    }
    if list.iter().any(|origin| origin == "*") {
        return Ok(Origins::Any);
    }
    let wrong =
        |origin: &&String| !origin.contains("://") || origin.ends_with('/') || !origin.is_ascii();
    match list.iter().find(wrong) {
        Some(origin) => Err(told(format!(
            "--cors-origin {origin}: an origin is a scheme and a host without a slash at the end, such as https://example.com"
        ))),
        None => Ok(Origins::List(list.to_vec())),
    }
}

fn keep_alive(value: Option<&str>, notes: &mut Vec<String>) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(10);
    let Some(text) = value else { return DEFAULT };
    match text.trim().parse::<u64>() {
        Ok(millis) if millis > 0 => Duration::from_millis(millis),
        _ => {
            notes.push(format!(
                "KEEP_ALIVE_INTERVAL is `{text}`, not a number of milliseconds; 10000 is used"
            ));
            DEFAULT
        }
    }
}
