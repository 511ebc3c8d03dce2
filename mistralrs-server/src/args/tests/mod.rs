//! Unit tests of [`super`]: spellings, orders, refusals. The environment is left alone.

use super::*;
use crate::app::Origins;
use crate::demo;
use clap::CommandFactory;
use mistralrs_core::LayerMap;
use mistralrs_core::Purpose;
use mistralrs_core::QuantType;
use mistralrs_core::loading::source::TokenSource;
use std::time::Duration;

fn plan(line: &str) -> Result<Plan, Refusal> {
    let words = ["mistralrs-server"].into_iter().chain(line.split_whitespace()).map(OsString::from);
    Cli::parse_words(words.collect()).and_then(Plan::try_from)
}

fn refused(line: &str) -> String {
    plan(line).map(|plan| format!("{plan:?}")).expect_err(line).text()
}

fn server(plan: Plan) -> ServerPlan {
    match plan.mode {
        Mode::Serve(server) => server,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn options_stand_before_or_after_the_selector() {
    let orders = [
        "--port 8080 gguf -m dir -f a.gguf --max-seqs 4",
        "gguf -m dir -f a.gguf --port 8080 --max-seqs 4",
        "-m dir --max-seqs 4 -f a.gguf gguf -p 8080",
        "--max-seqs 4 -p 8080 -m dir --quantized-filename a.gguf gguf",
    ];
    for order in orders {
        let plan = plan(order).unwrap_or_else(|refusal| panic!("{order}: {}", refusal.text()));
        assert_eq!(
            (plan.load.model.as_str(), plan.load.gguf_files.as_slice()),
            ("dir", ["a.gguf".to_owned()].as_slice())
        );
        assert_eq!(plan.load.max_seqs, 4);
        assert_eq!(server(plan).serve.address, "127.0.0.1:8080".parse().unwrap());
    }
}

#[test]
fn defaults() {
    let plan = plan("-m some/model").unwrap();
    assert_eq!((plan.load.max_seqs, plan.load.max_queue, plan.load.block_size), (16, 256, 32));
    assert!(plan.load.prefix_cache && plan.threads.is_none() && plan.load.kv_numbers.is_none());
    let server = server(plan);
    assert_eq!(server.serve.address, "127.0.0.1:1234".parse().unwrap());
    assert_eq!(server.config.max_body_bytes, 50_000_000);
    assert_eq!((server.config.max_n, server.config.origins), (16, Origins::Localhost));
    assert_eq!(server.serve.drain, Duration::from_secs(30));
}

#[test]
fn every_option_arrives() {
    let plan = plan(
        "-m x --isq 4 --max-seq-len 100 -s 7 --threads 2 --token-source none --silent --max-queue 3 \
         --prefill-chunk 64 --prefix-cache-n 0 --pa-ctxt-len 999 --pa-blk-size 16 --pa-cache-type F32 --serve-ip 0.0.0.0 --api-key a --api-key b \
         --cors-origin https://a.b --strict --max-body-mb 1 --max-n 2 --drain-timeout 5 --served-model-name nick --enable-thinking",
    )
    .unwrap();
    assert_eq!(plan.load.isq, QuantType::from_name("Q4_K"));
    assert_eq!(
        (plan.load.max_seq_len, plan.load.seed, plan.threads),
        (Some(100), Some(7), Some(2))
    );
    assert_eq!(
        (plan.load.max_queue, plan.load.prefill_chunk, plan.load.prefix_cache),
        (3, 64, false)
    );
    assert_eq!((plan.load.kv_cache_tokens, plan.load.block_size), (Some(999), 16));
    assert_eq!(plan.load.kv_numbers, Some(mistralrs_core::kv_cache::KvNumbers::F32));
    assert_eq!(plan.load.hub.token_source, TokenSource::None);
    let server = server(plan);
    assert!(server.serve.address.ip().is_unspecified());
    assert_eq!(format!("{:?}", server.config.api_keys), "2 API keys");
    assert_eq!(server.config.origins, Origins::List(vec!["https://a.b".into()]));
    assert!(server.config.strict && server.config.enable_thinking == Some(true));
    assert_eq!((server.config.max_body_bytes, server.config.max_n), (1_000_000, 2));
    assert_eq!(server.config.model_name.as_deref(), Some("nick"));
    assert_eq!(server.serve.drain, Duration::from_secs(5));
}

#[test]
fn names_of_in_situ_types() {
    let names = [
        ("2", "Q2_K"),
        ("3", "Q3_K"),
        ("4", "Q4_K"),
        ("5", "Q5_K"),
        ("6", "Q6_K"),
        ("8", "Q8_0"),
        ("q4_0", "Q4_0"),
        ("Q4_1", "Q4_1"),
        ("q5_0", "Q5_0"),
        ("q5_1", "Q5_1"),
        ("q8_0", "Q8_0"),
        ("q2k", "Q2_K"),
        ("Q3K", "Q3_K"),
        ("q4k", "Q4_K"),
        ("q5k", "Q5_K"),
        ("q6k", "Q6_K"),
        ("iq4_nl", "IQ4_NL"),
        ("iq4xs", "IQ4_XS"),
    ];
    for (name, full) in names {
        let isq = plan(&format!("-m x --isq {name}")).unwrap().load.isq;
        assert_eq!(isq.map(QuantType::name), Some(full), "{name}");
    }
    for name in ["q8_1", "q8k", "hqq4", "HQQ8", "fp8", "afq2", "afq8"] {
        assert!(refused(&format!("-m x --isq {name}")).contains("not built yet"), "{name}");
    }
    assert!(refused("-m x --isq iq2_xs").contains("nothing is quantized to it"));
    assert!(refused("-m x --isq q9").contains("no such type"));
}

#[test]
fn what_is_not_built_says_so_before_loading() {
    for line in [
        "-m x --pa-gpu-mem 100",
        "-m x --pa-cache-type f8e4m3",
        "-m x -w out.uqff",
        "-m x --from-uqff a",
        "-m x -o moqe",
        "vision-plain -m x",
        "x-lora -m x -x y -o z",
        "lora -m x -a y",
        "--port 5 multi-model -c c.json",
        "diffusion -m x -a flux",
        "speech -m x -a dia",
        "ggml -m x -f y -g 1",
        "lora-gguf -m x",
    ] {
        assert!(refused(line).contains("not built yet"), "{line}: {}", refused(line));
    }
    assert!(plan("-m x --pa-cache-type auto -o default").is_ok());
}

#[test]
fn kinds_of_numbers_in_the_cache() {
    use mistralrs_core::kv_cache::KvNumbers::{F16, F32, Q8};
    let kinds = [("auto", None), ("f32", Some(F32)), ("F16", Some(F16)), ("q8_0", Some(Q8))];
    for (name, kind) in kinds.into_iter().chain([("Q8", Some(Q8))]) {
        let plan = plan(&format!("-m x --pa-cache-type {name}")).unwrap();
        assert_eq!(plan.load.kv_numbers, kind, "{name}");
    }
    assert!(refused("-m x --pa-cache-type q4_0").contains("auto, f32, f16 and q8_0"));
}

#[test]
fn a_search_needs_an_engine() {
    let search = |line: &str| match plan(line).unwrap().mode {
        Mode::Serve(server) => server.config.search,
        _ => None,
    };
    assert_eq!(search("-m x"), None);
    let found = search("-m x --enable-search --search-url http://localhost:8888/search").unwrap();
    assert_eq!((found.url.as_str(), found.encoder), ("http://localhost:8888/search", None));
    let line = "-m x --enable-search --search-url http://h/ --search-embedding-model";
    let named = search(&format!("{line} Embedding_Gemma")).unwrap();
    assert_eq!(named.encoder.as_deref(), Some("google/embeddinggemma-300m"));
    assert!(refused(&format!("{line} bert")).contains("one of embedding_gemma"));
    assert!(refused("-m x --enable-search").contains("--search-url"));
    assert!(refused("-m x --enable-search --search-url file:///x").contains("http://"));
    assert!(refused("-m x --search-url http://h/").contains("--enable-search"));
    assert!(refused("-m x --allowed-page-host h").contains("--enable-search"));
    let pages = "-m x --enable-search --search-url http://h/ --allowed-page-host a.org --allowed-page-host b.org";
    assert_eq!(search(pages).unwrap().page_hosts, ["a.org", "b.org"]);
}

#[test]
fn what_has_no_effect_is_told() {
    let notes =
        plan("-m x -n 0:10;1:5 --paged-attn --no-kv-cache --dtype bf16 -a qwen2 --system s")
            .unwrap()
            .notes;
    for option in
        ["--num-device-layers", "--paged-attn", "--no-kv-cache", "--dtype", "--arch", "--system"]
    {
        assert!(
            notes.iter().any(|note| note.starts_with(&format!("{option} has no effect"))),
            "{option}: {notes:?}"
        );
    }
}

#[test]
fn layers_are_put_on_devices_that_are_named() {
    for (spec, named) in [("ten", "`ten`"), ("0:1;0:2", "twice"), ("3;4", "`3`")] {
        let error = refused(&format!("-m x -n {spec}"));
        assert!(error.contains("--num-device-layers") && error.contains(named), "{error}");
    }
    assert!(plan("-m x --cpu -n 3").is_err());
    let LayerMap::Places(places) = plan("-m x --cpu").unwrap().load.layers else { panic!() };
    assert!(places.are_all_here());
}

#[test]
fn without_a_model_the_built_in_one_is_loaded() {
    for line in ["", "run", "--port 8080", "-i", "--isq q4k", "bench"] {
        let load = plan(line).unwrap().load;
        assert_eq!(load.model, demo::NAME, "{line}");
        assert!(load.embedded.is_some(), "{line}");
    }
    assert!(plan("-m x").unwrap().load.embedded.is_none());
    let Mode::Chat(chat) = plan("-i").unwrap().mode else { panic!() };
    assert_eq!(chat.opening, Some(demo::OPENING));
}

#[test]
fn impossible_command_lines() {
    let table = [
        ("plain", "needs a model"),
        ("gguf -f x.gguf", "needs a model"),
        ("gguf -m dir", "needs a file"),
        ("plain -m a.gguf", "reads safetensors"),
        ("toml", "needs one file"),
        ("toml -f /nonexistent.toml", "nonexistent"),
        ("-m x --max-seqs 0", "--max-seqs"),
        ("-m x --pa-blk-size 7", "--pa-blk-size"),
        ("-m x --threads 0", "--threads"),
        ("-m x --token-source file", "--token-source"),
        ("-m x --token-source env:MISTRALRS_TEST_UNSET", "not set"),
        ("-m x --chat-template /nonexistent", "--chat-template"),
        ("-m x --api-key-file /dev/null", "no key"),
        ("-m x --cors-origin example.com", "--cors-origin"),
        ("-m x --port 70000", "70000"),
        ("-m x --no-paged-attn --paged-attn", "cannot be used with"),
        ("-m x --frobnicate", "--frobnicate"),
        ("-m x gguff", "gguff"),
    ];
    for (line, says) in table {
        assert!(refused(line).contains(says), "{line}: {}", refused(line));
    }
}

#[test]
fn chat_and_bench() {
    let chat =
        plan("-m x -i --system s --temperature 0 --top-k 5 --max-tokens 9 --enable-thinking")
            .unwrap();
    assert_eq!(chat.log_filter, "warn");
    let Mode::Chat(options) = chat.mode else { panic!("{:?}", chat.mode) };
    assert_eq!(
        (options.system.as_deref(), options.sampling.temperature, options.max_tokens),
        (Some("s"), Some(0.0), Some(9))
    );
    assert_eq!(options.template_kwargs["enable_thinking"], true);
    let Mode::Chat(once) = plan("-m x --prompt hello").unwrap().mode else { panic!() };
    assert_eq!(once.prompt.as_deref(), Some("hello"));
    for line in [
        "-m d -f a.gguf --max-seqs 4 bench gguf -p 16,32 -g 8 -c 1,2",
        "bench -m d gguf -f a.gguf -p 16,32 -g 8 --max-seqs 4 -c 1,2",
    ] {
        let plan = plan(line).unwrap_or_else(|refusal| panic!("{line}: {}", refusal.text()));
        assert_eq!((plan.load.model.as_str(), plan.load.max_seqs), ("d", 4));
        let Mode::Bench(bench) = plan.mode else { panic!("{line}") };
        assert_eq!((bench.prompt_tokens, bench.concurrency), (vec![16, 32], vec![1, 2]));
    }
}

#[test]
fn a_file_names_the_model_and_the_command_line_wins() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[model]\nmodel_id = \"a/b\"\nisq = \"q8_0\"\narch = \"llama\"\n")
        .unwrap();
    let line = format!("toml -f {} --isq q4k", file.path().display());
    let plan = plan(&line).unwrap();
    assert_eq!((plan.load.model.as_str(), plan.load.gguf_files.len()), ("a/b", 0));
    assert_eq!(plan.load.isq.map(QuantType::name), Some("Q4_K"));
    assert!(plan.notes.iter().any(|note| note.contains("arch")));
}

/// Row G11: which slice is known, or refused, before anything is loaded.
#[test]
fn a_slice_is_read_with_its_name_before_anything_is_loaded() {
    let words = |words: &[&str]| {
        let words = ["mistralrs-server", "-m", "x"].iter().chain(words).map(OsString::from);
        Cli::parse_words(words.collect()).and_then(Plan::try_from)
    };
    let file = mistralrs_testkit::fixture("matformer.csv");
    let table = ["--matformer-config-path", file.to_str().unwrap()];
    let named =
        |name: &'static str| words(&[&table[..], &["--matformer-slice-name", name]].concat());
    let slice = named("Config for media").unwrap().load.matformer.unwrap();
    assert_eq!((slice.name.as_str(), slice.widths.as_slice()), ("Config for media", &[19, 11][..]));
    assert_eq!(slice.skipped.into_iter().collect::<Vec<_>>(), [1]);
    assert!(words(&[]).unwrap().load.matformer.is_none());
    let refused = |plan: Result<Plan, Refusal>| plan.map(|plan| plan.load).unwrap_err().text();
    let unknown = refused(named("E2B"));
    assert!(unknown.contains("no slice is called `E2B`; there are `Main model`,"), "{unknown}");
    assert!(refused(words(&table)).contains("needs --matformer-slice-name"));
    let lone = refused(words(&["--matformer-slice-name", "E2B"]));
    assert!(lone.contains("needs --matformer-config-path"), "{lone}");
    let absent =
        refused(words(&["--matformer-config-path", "/no.csv", "--matformer-slice-name", "a"]));
    assert!(absent.contains("--matformer-config-path: there is no file /no.csv"), "{absent}");
    let toml = tempfile::NamedTempFile::new().unwrap();
    let keys = format!(
        "[model]\nmodel_id = \"x\"\nmatformer_config_path = \"{}\"\nmatformer_slice_name = \"Main model\"\n",
        file.display()
    );
    std::fs::write(toml.path(), keys).unwrap();
    let plan = plan(&format!("toml -f {}", toml.path().display())).unwrap();
    assert_eq!(plan.load.matformer.unwrap().widths.len(), 5);
}

/// Row E3: what is wrong with a topology is told before anything is loaded.
#[test]
fn a_topology_is_read_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = file("good.yml", "0-4: {isq: q6k}\n/q_proj/:\n  device: cpu\n");
    let types = |plan: Plan| {
        let topology = plan.load.topology.unwrap();
        [3, 4].map(|layer| topology.layer(layer).and_then(|it| it.isq).map(QuantType::name))
    };
    assert_eq!(
        types(plan(&format!("plain -m x --topology {good}")).unwrap()),
        [Some("Q6_K"), None]
    );
    assert!(plan("-m x").unwrap().load.topology.is_none());
    assert!(refused("-m x --topology /no.yml").contains("--topology: there is no file /no.yml"));
    for (text, parts) in [
        ("0-4: {isq: q9}", ["--topology ", "bad.yml", "selector `0-4`", "no such type"]),
        ("0: {device: gpu0}", ["--topology ", "bad.yml", "selector `0`", "cuda[0]"]),
        ("0: {device: 'cuda[0]'}", ["--topology ", "selector `0`", "`cuda[0]`", "no such device"]),
    ] {
        let told = refused(&format!("-m x --topology {}", file("bad.yml", text)));
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    }
    let toml = file("m.toml", &format!("[model]\nmodel_id = \"x\"\ntopology = \"{good}\"\n"));
    assert_eq!(types(plan(&format!("toml -f {toml}")).unwrap()), [Some("Q6_K"), None]);
    let other = file("other.yml", "4: {isq: q4k}\n");
    let both = plan(&format!("toml -f {toml} --topology {other}")).unwrap();
    assert_eq!(types(both), [None, Some("Q4_K")]);
}

#[test]
fn the_tower_of_a_gguf_model_is_named_by_option_or_file() {
    let named = |line: &str| plan(line).unwrap().load.mmproj;
    assert_eq!(named("-m a.gguf"), None);
    // A name beside the model or a path: whether it is there, is seen where the model is looked for.
    assert_eq!(named("-m dir -f a.gguf --mmproj mmproj.gguf"), Some("mmproj.gguf".into()));
    let toml = tempfile::NamedTempFile::new().unwrap();
    let keys =
        "[model]\nmodel_id = \"dir\"\nquantized_filename = \"a.gguf\"\nmmproj = \"b.gguf\"\n";
    std::fs::write(toml.path(), keys).unwrap();
    let line = format!("toml -f {}", toml.path().display());
    assert_eq!(named(&line), Some("b.gguf".into()));
    assert_eq!(named(&format!("--mmproj c.gguf {line}")), Some("c.gguf".into()));
}

#[test]
fn rubbish_in_the_keep_alive_interval_warns() {
    let words = |value: &str| {
        ["mistralrs-server", "-m", "x", "--keep-alive-interval", value].map(OsString::from).to_vec()
    };
    let of = |value| Cli::parse_words(words(value)).and_then(Plan::try_from).unwrap();
    let good = of("250");
    assert!(good.notes.is_empty());
    assert_eq!(server(good).config.keep_alive, Duration::from_millis(250));
    for rubbish in ["abc", "", "0", "-5", "1.5"] {
        let words =
            [words("1")[..3].to_vec(), vec![format!("--keep-alive-interval={rubbish}").into()]]
                .concat();
        let plan = Cli::parse_words(words).and_then(Plan::try_from).unwrap();
        assert!(plan.notes.iter().any(|note| note.contains("KEEP_ALIVE_INTERVAL")), "{rubbish}");
        assert_eq!(server(plan).config.keep_alive, Duration::from_secs(10));
    }
}

#[test]
fn help_teaches() {
    let help = Cli::command().render_long_help().to_string();
    for word in [
        "Examples:",
        "Environment:",
        "MISTRALRS_API_KEY",
        "KEEP_ALIVE_INTERVAL",
        "Server:",
        "Engine:",
        "bench",
        "--cors-origin",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

/// Row D6.
#[test]
fn the_selector_embedding_takes_both_lines_names() {
    let purpose = |line: &str| plan(line).unwrap().load.purpose;
    assert_eq!(purpose("-m x"), Purpose::Detect);
    assert_eq!(purpose("embedding -m x"), Purpose::Encode(None));
    let qwen = Purpose::Encode(Some("Qwen3ForCausalLM".to_owned()));
    assert_eq!(purpose("embedding -m x -a qwen3embedding"), qwen);
    assert_eq!(purpose("-m x -a Qwen3ForCausalLM embedding"), qwen);
    assert!(plan("embedding -m x -a qwen3embedding").unwrap().notes.is_empty());
    let unknown = refused("embedding -m x -a word2vec");
    assert!(unknown.contains("qwen3embedding") && unknown.contains("BertModel"), "{unknown}");
}

#[test]
fn mcp_servers_are_read_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    let line = format!("-m x --mcp-port 4321 --mcp-config {}", file.display());
    assert!(refused(&line).contains("--mcp-config"));
    std::fs::write(&file, "{").unwrap();
    assert!(refused(&line).contains("EOF"));
    std::fs::write(&file, r#"{"mcpServers": {"a": {"command": "x"}}}"#).unwrap();
    let server = server(plan(&line).unwrap());
    assert_eq!(server.serve.mcp_address, Some("127.0.0.1:4321".parse().unwrap()));
    assert_eq!(server.config.mcp.unwrap().servers[0].id, "a");
    let Mode::Chat(chat) = plan(&format!("{line} -i")).unwrap().mode else { panic!() };
    assert!(chat.mcp.is_some());
}

#[test]
fn what_no_model_can_change_is_refused_before_one_is_loaded() {
    for (line, reason) in [
        ("--threads 0", "--threads has to be 1 to 1024"),
        ("--threads 100000", "--threads has to be 1 to 1024"),
        ("--prompt hi --temperature -1", "`temperature` must be at least 0"),
        ("-i --temperature nan", "`temperature` must be at least 0"),
        ("-i --top-p 5", "`top_p` must be at least 0"),
        ("--prompt hi --max-tokens 0", "--max-tokens has to be 1 or more"),
        ("--served-model-name=", "--served-model-name: there is no name in it"),
    ] {
        let told = refused(line);
        assert!(told.starts_with(reason), "{line}: {told}");
    }
    assert_eq!(plan("--threads 1024").unwrap().threads, Some(1024));
}

/// The core knows no command line, but its errors name the options that help.
#[test]
fn errors_of_the_core_name_options_that_exist() {
    fn read(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else if path.extension().is_some_and(|it| it == "rs") {
                *text += &std::fs::read_to_string(&path).unwrap();
            }
        }
    }
    let command = Cli::command();
    let known: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let mut text = String::new();
    read(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../mistralrs-core/src"),
        &mut text,
    );
    let mut named = 0;
    for quote in ["\"--", "`--"] {
        for rest in text.split(quote).skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-');
            let name = &rest[..end.unwrap_or(rest.len())];
            assert!(known.contains(&name), "there is no option --{name}");
            named += 1;
        }
    }
    assert!(named > 10, "only {named} options are named: are they spelled otherwise now?");
}
