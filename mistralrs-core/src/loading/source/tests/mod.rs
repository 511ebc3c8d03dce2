//! `resolve` on folders, and on a hub on the loopback with a cache in a temporary folder.

mod stub_hub;

use super::hub::{Pace, RepoId, resolve_at};
use super::*;
use crate::loading::progress::{Progress, Unit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stub_hub::{COMMIT, Fault, StubHub};

const ID: &str = "org/model";
const PACE: Pace = Pace { patience: Duration::from_secs(20), pause: Duration::from_millis(1) };

fn write(folder: &Path, names: &[&str]) {
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name.as_bytes()).unwrap();
    }
}

fn load(model: &Path) -> Result<ModelFiles, String> {
    resolve(&LoadOptions::new(model.to_str().unwrap())).map_err(|error| error.to_string())
}

#[test]
fn a_folder_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(folder.path(), &["config.json", "tokenizer.json", "model.safetensors"]);
    let bare = ModelFiles::HuggingFace {
        config: at("config.json"),
        weights: vec![at("model.safetensors")],
        tokenizer: at("tokenizer.json"),
        tokenizer_config: None,
        generation_config: None,
        chat_template: None,
        processors: Vec::new(),
    };
    assert_eq!(load(folder.path()), Ok(bare));
    write(
        folder.path(),
        &["tokenizer_config.json", "generation_config.json", "chat_template.json"],
    );
    write(folder.path(), &["processor_config.json", "preprocessor_config.json"]);
    let template = |found: Result<ModelFiles, String>| match found.unwrap() {
        ModelFiles::HuggingFace {
            chat_template,
            tokenizer_config,
            generation_config,
            processors,
            ..
        } => {
            let both = ["preprocessor_config.json", "processor_config.json"].map(at);
            assert_eq!(processors, both);
            assert_eq!(tokenizer_config, Some(at("tokenizer_config.json")));
            assert_eq!(generation_config, Some(at("generation_config.json")));
            chat_template
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(template(load(folder.path())), Some(at("chat_template.json")));
    write(folder.path(), &["chat_template.jinja"]);
    assert_eq!(template(load(folder.path())), Some(at("chat_template.jinja")));
}

#[test]
fn a_folder_with_an_index() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["config.json", "tokenizer.json", "b.safetensors", "unused.safetensors"]);
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}}"#)
        .unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(error.contains("`a.safetensors` is missing"), "{error}");
    write(folder.path(), &["a.safetensors"]);
    let ModelFiles::HuggingFace { weights, .. } = load(folder.path()).unwrap() else { panic!() };
    assert_eq!(weights, [folder.path().join("a.safetensors"), folder.path().join("b.safetensors")]);
    std::fs::write(&index, "not json").unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(error.contains("model.safetensors.index.json"), "{error}");
}

#[test]
fn another_tokenizer_replaces_the_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["config.json", "model.safetensors"]);
    let mut options = LoadOptions::new(folder.path().to_str().unwrap());
    assert!(resolve(&options).is_err());
    options.tokenizer_json = Some("elsewhere/t.json".into());
    let ModelFiles::HuggingFace { tokenizer, .. } = resolve(&options).unwrap() else { panic!() };
    assert_eq!(tokenizer, Path::new("elsewhere/t.json"));
}

#[test]
fn gguf_by_path_by_folder_and_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let gguf = |names: &[&str]| {
        Ok(ModelFiles::Gguf { files: names.iter().map(|n| at(n)).collect(), tower: None })
    };
    write(folder.path(), &["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
    let both = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    assert_eq!(load(folder.path()), gguf(&both));
    assert_eq!(load(&at(both[0])), gguf(&both));
    assert_eq!(load(&at(both[1])), gguf(&both));
    write(folder.path(), &["a.GGUF", "sub/b.gguf"]);
    assert_eq!(load(&at("a.GGUF")), gguf(&["a.GGUF"]));
    let mut options = LoadOptions::new(folder.path().to_str().unwrap());
    options.gguf_files = vec!["sub/b.gguf".into()];
    assert_eq!(resolve(&options).map_err(|error| error.to_string()), gguf(&["sub/b.gguf"]));
    options.gguf_files = vec!["c.gguf".into()];
    let error = resolve(&options).unwrap_err().to_string();
    assert!(error.contains("there is no `c.gguf`"), "{error}");
    std::fs::remove_file(at(both[1])).unwrap();
    assert!(load(&at(both[0])).unwrap_err().contains(both[1]));
}

#[test]
fn arguments_that_lead_nowhere_are_not_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &["weights.bin", "model.safetensors"]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (model, text) in [
        (String::new(), "no model was named"),
        (path("nothing"), "no such file or folder"),
        (path("model.safetensors"), "name the folder"),
        ("./org/model".into(), "no such file or folder"),
        ("~/model".into(), "`~` is expanded by shells only"),
        ("org/model.gguf".into(), "no such file or folder"),
        ("a/b/c".into(), "no such file or folder"),
        ("gpt2".into(), "`org/name`"),
        ("https://huggingface.co/org/model".into(), "give the id alone"),
    ] {
        let error = resolve(&LoadOptions::new(model.clone())).unwrap_err();
        assert!(matches!(error, LoadError::NotFound { .. }), "{model}: {error:?}");
        assert!(error.to_string().contains(text), "{model}: {error}");
    }
}

type Reports = Arc<Mutex<BTreeMap<String, Vec<(u64, u64)>>>>;

/// A hub, an empty cache, and options that lead to both.
struct Scene {
    hub: Option<StubHub>,
    folder: tempfile::TempDir,
    options: LoadOptions,
    reports: Reports,
}

impl Scene {
    fn new() -> Self {
        let hub = StubHub::start();
        let folder = tempfile::tempdir().unwrap();
        let reports = Reports::default();
        let mut options = LoadOptions::new(ID);
        options.hub.endpoint = Some(hub.endpoint());
        options.hub.cache_dir = Some(folder.path().join("hub"));
        let seen = Arc::clone(&reports);
        options.progress = Progress::callback(move |event| {
            assert_eq!(event.unit, Unit::Bytes);
            let mut seen = seen.lock().unwrap();
            seen.entry(event.stage.clone()).or_default().push((event.done, event.total));
        });
        Self { hub: Some(hub), folder, options, reports }
    }

    /// A hub that has a small complete model.
    fn with_model() -> Self {
        let scene = Self::new();
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "README.md"] {
            scene.hub().put(ID, name, name);
        }
        scene.hub().put(ID, "model.safetensors", weights());
        scene
    }

    fn hub(&self) -> &StubHub {
        self.hub.as_ref().unwrap()
    }

    fn load(&self) -> Result<ModelFiles, String> {
        self.load_at(PACE)
    }

    fn load_at(&self, pace: Pace) -> Result<ModelFiles, String> {
        let id = RepoId::parse(&self.options.model).unwrap();
        let files = resolve_at(&id, &Wanted::of(&self.options), &self.options, pace);
        files.map_err(|error| error.to_string())
    }

    /// Loads, and fails with a text that holds all the words.
    fn refused(&self, words: &[&str]) {
        let error = self.load().unwrap_err();
        for word in words {
            assert!(error.contains(word), "no `{word}` in: {error}");
        }
    }

    fn repo(&self) -> PathBuf {
        self.folder.path().join("hub/models--org--model")
    }
}

fn weights() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

fn only_weights(files: ModelFiles) -> Vec<PathBuf> {
    match files {
        ModelFiles::HuggingFace { weights, .. } => weights,
        ModelFiles::Gguf { files, .. } => files,
        ModelFiles::Embedded { name, .. } => vec![name],
    }
}

fn file_names(files: ModelFiles) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    only_weights(files).into_iter().map(name).collect()
}

#[test]
fn a_model_comes_from_the_hub_once_and_from_the_cache_ever_after() {
    let mut scene = Scene::with_model();
    let files = scene.load().unwrap();
    let ModelFiles::HuggingFace { config, weights: found, tokenizer_config, chat_template, .. } =
        &files
    else {
        panic!()
    };
    assert_eq!(std::fs::read(&found[0]).unwrap(), weights());
    assert_eq!(std::fs::read_to_string(config).unwrap(), "config.json");
    assert!(tokenizer_config.is_some() && chat_template.is_none());
    assert!(found[0].starts_with(scene.repo().join("snapshots").join(COMMIT)));
    let log = scene.hub().take_log();
    assert!(!log.iter().any(|request| request.path.contains("README")), "{log:?}");
    for (stage, reports) in &*scene.reports.lock().unwrap() {
        assert!(stage.starts_with("download "));
        assert!(reports.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{stage}: {reports:?}");
        assert_eq!(reports.last().unwrap().0, reports.last().unwrap().1, "{stage}");
    }
    assert_eq!(
        scene.reports.lock().unwrap()["download model.safetensors"].last(),
        Some(&(1_200_000, 1_200_000))
    );
    // Complete in the cache: nobody is asked.
    assert_eq!(scene.load().as_ref(), Ok(&files));
    assert!(scene.hub().take_log().is_empty());
    // And with the hub gone, offline or not.
    scene.hub = None;
    assert_eq!(scene.load().as_ref(), Ok(&files));
    scene.options.hub.offline = true;
    assert_eq!(scene.load().as_ref(), Ok(&files));
    scene.options.model = "org/model@v1".into();
    scene.refused(&[
        "`org/model` (revision `v1`) cannot be loaded offline",
        "not been downloaded",
        "HF_HUB_OFFLINE",
    ]);
    scene.options.model = format!("org/model@{COMMIT}");
    assert_eq!(scene.load().as_ref(), Ok(&files));
}

#[test]
fn shards_and_redirects() {
    let scene = Scene::with_model();
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    scene.hub().put(ID, "model.safetensors.index.json", index);
    scene.hub().put(ID, "model-00001-of-00002.safetensors", "one");
    scene.refused(&["org/model", "`model-00002-of-00002.safetensors`, which it does not have"]);
    scene.hub().put(ID, "model-00002-of-00002.safetensors", "two");
    scene.hub().fault("model-00002-of-00002.safetensors", Fault::Redirect);
    let found = only_weights(scene.load().unwrap());
    let texts: Vec<String> =
        found.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts, ["one", "two"]);
    assert!(scene.hub().take_log().iter().any(|request| request.path.starts_with("/cdn/")));
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let scene = Scene::with_model();
    scene.hub().fault("model.safetensors", Fault::Drop(3));
    let found = only_weights(scene.load().unwrap());
    assert_eq!(std::fs::read(&found[0]).unwrap(), weights());
    let starts: Vec<String> = scene
        .hub()
        .take_log()
        .into_iter()
        .filter(|request| request.path.ends_with("model.safetensors"))
        .filter_map(|request| request.range.filter(|range| range != "bytes=0-0"))
        .collect();
    assert_eq!(starts, ["bytes=0-", "bytes=600000-", "bytes=900000-", "bytes=1050000-"]);
}

#[test]
fn an_endless_breaking_is_given_up_and_the_next_run_goes_on() {
    let scene = Scene::with_model();
    scene.hub().fault("model.safetensors", Fault::Drop(6));
    scene.refused(&["`model.safetensors` of `org/model`", "broke off", "run again"]);
    assert!(!scene.repo().join("refs/main").exists(), "an incomplete model counts as cached");
    scene.hub().take_log();
    let found = only_weights(scene.load().unwrap());
    assert_eq!(std::fs::read(&found[0]).unwrap(), weights());
    let log = scene.hub().take_log();
    assert!(!log.iter().any(|request| request.path.ends_with("/config.json")), "{log:?}");
    assert!(!log.iter().any(|request| request.range.as_deref() == Some("bytes=0-")), "{log:?}");
}

/// The partial file of the weights, as a broken download would leave it.
fn partial(scene: &Scene, body: &[u8]) -> PathBuf {
    scene.hub().fault("model.safetensors", Fault::Drop(6));
    scene.load().unwrap_err();
    scene.hub().fault("model.safetensors", Fault::Drop(0));
    let blobs = std::fs::read_dir(scene.repo().join("blobs")).unwrap();
    let part = blobs
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "part"))
        .unwrap();
    std::fs::write(&part, body).unwrap();
    part
}

#[test]
fn partial_files_that_are_complete_or_too_long_do_no_harm() {
    for more in [0, 1] {
        let scene = Scene::with_model();
        let mut body = weights();
        body.resize(body.len() + more, 7);
        let part = partial(&scene, &body);
        let found = only_weights(scene.load().unwrap());
        assert_eq!(std::fs::read(&found[0]).unwrap(), weights());
        assert!(!part.exists());
    }
}

#[test]
fn a_server_that_starts_over_instead_of_resuming_does_no_harm() {
    for silent in [false, true] {
        let scene = Scene::with_model();
        if silent {
            scene.hub().forget_sizes();
        }
        partial(&scene, &weights()[..1000]);
        scene.hub().fault("model.safetensors", Fault::IgnoreRange(1));
        let found = only_weights(scene.load().unwrap());
        assert_eq!(std::fs::read(&found[0]).unwrap(), weights());
    }
}

#[test]
fn an_announced_length_that_is_wrong_matters_only_where_nothing_else_is_known() {
    let scene = Scene::with_model();
    scene.hub().fault("model.safetensors", Fault::Understate);
    partial(&scene, &weights()[..700_000]);
    scene.hub().fault("model.safetensors", Fault::Understate);
    let found = only_weights(scene.load().unwrap());
    assert_eq!(std::fs::read(&found[0]).unwrap(), weights());
    let scene = Scene::with_model();
    scene.hub().forget_sizes();
    scene.hub().fault("model.safetensors", Fault::Understate);
    scene.refused(&["`model.safetensors`", "(1200000 and 600000 bytes)"]);
    assert!(!scene.repo().join("refs/main").exists());
}

#[test]
fn a_new_commit_is_fetched_when_asked_for_and_old_weights_are_not_fetched_again() {
    let mut scene = Scene::with_model();
    let first = scene.load().unwrap();
    let commit = "fedcba9876543210fedcba9876543210fedcba98";
    scene.hub().move_to_commit(commit);
    scene.hub().put(ID, "config.json", "a new configuration");
    assert_eq!(scene.load(), Ok(first), "what is cached stays until asked otherwise");
    scene.hub().take_log();
    scene.options.model = format!("org/model@{commit}");
    let ModelFiles::HuggingFace { config, weights: found, .. } = scene.load().unwrap() else {
        panic!()
    };
    assert_eq!(std::fs::read_to_string(config).unwrap(), "a new configuration");
    assert_eq!(std::fs::read(&found[0]).unwrap(), weights());
    let log = scene.hub().take_log();
    let fetched = |name: &str| {
        log.iter().any(|r| r.path.ends_with(name) && r.range.as_deref() == Some("bytes=0-"))
    };
    assert!(fetched("/config.json") && !fetched("/model.safetensors"), "{log:?}");
}

#[test]
fn gguf_repositories() {
    let mut scene = Scene::new();
    for name in [
        "m-Q8_0.gguf",
        "m-Q4_K_M.gguf",
        "mmproj.gguf",
        "big/m-00001-of-00002.gguf",
        "big/m-00002-of-00002.gguf",
    ] {
        scene.hub().put(ID, name, name);
    }
    let files = scene.load().unwrap();
    let ModelFiles::Gguf { tower: Some(tower), .. } = &files else { panic!("{files:?}") };
    assert_eq!(std::fs::read_to_string(&tower.file).unwrap(), "mmproj.gguf", "it came along");
    assert!(!tower.named);
    assert_eq!(file_names(files), ["m-Q4_K_M.gguf"]);
    scene.options.gguf_files = vec!["m-Q8_0.gguf".into()];
    assert_eq!(file_names(scene.load().unwrap()), ["m-Q8_0.gguf"]);
    scene.options.gguf_files = vec!["big/m-00001-of-00002.gguf".into()];
    assert_eq!(
        file_names(scene.load().unwrap()),
        ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    );
    scene.options.gguf_files = vec!["m-Q2_K.gguf".into()];
    scene.refused(&["there is no `m-Q2_K.gguf`", "`m-Q8_0.gguf`"]);
    // Unnamed again: the list decides, and without a list the cache.
    scene.options.gguf_files.clear();
    scene.hub().take_log();
    assert_eq!(file_names(scene.load().unwrap()), ["m-Q4_K_M.gguf"]);
    assert_eq!(scene.hub().take_log().len(), 1);
    scene.hub = None;
    assert_eq!(file_names(scene.load().unwrap()), ["m-Q4_K_M.gguf"]);
}

#[test]
fn several_gguf_files_without_the_middle_one_are_listed() {
    let scene = Scene::new();
    scene.hub().put(ID, "a-Q8_0.gguf", "a");
    scene.hub().put(ID, "b-Q2_K.gguf", "b");
    scene.refused(&["`org/model`", "2 GGUF files", "`a-Q8_0.gguf`", "`b-Q2_K.gguf`"]);
}

#[test]
fn refusals_of_the_list_are_sentences() {
    let mut scene = Scene::new();
    scene.refused(&[
        "no `org/model`",
        "(404)",
        "misspelt",
        "folder of that name",
        "--token-source",
    ]);
    scene.hub().gate(401, "RepoNotFound");
    scene.refused(&["`org/model`", "(401)", "misspelt", "licence", "--token-source"]);
    scene.hub().gate(403, "GatedRepo");
    scene.refused(&[
        "`org/model`",
        "(403)",
        "gated",
        "accept its licence at http://127.0.0.1",
        "--token-source",
    ]);
    scene.hub().gate(401, "GatedRepo");
    scene.refused(&["gated", "accept its licence"]);
    scene.hub().gate(429, "");
    scene.refused(&["too many requests"]);
    scene.hub().gate(503, "");
    scene.refused(&["(503)", "later"]);
    let scene_with_model = Scene::with_model();
    scene = scene_with_model;
    scene.options.model = "org/model@v9".into();
    scene.refused(&["`org/model` has no revision `v9`"]);
}

#[test]
fn refusals_of_a_file_are_sentences_that_name_it() {
    for (status, words) in [
        (401, ["licence", "--token-source"]),
        (403, ["accept", "--token-source"]),
        (404, ["listed", "run again"]),
        (500, ["(500)", "later"]),
    ] {
        let scene = Scene::with_model();
        scene.hub().fault("model.safetensors", Fault::Status(status));
        scene.refused(&["`model.safetensors` of `org/model`"]);
        scene.refused(&words);
    }
}

#[test]
fn odd_answers_are_sentences_and_leave_the_cache_alone() {
    let scene = Scene::with_model();
    scene.hub().fault("config.json", Fault::EvilEtag);
    scene.refused(&["`config.json`", "etag", "HF_ENDPOINT"]);
    assert!(!scene.folder.path().join("evil").exists());
    scene.hub().fault("config.json", Fault::EmptyRedirect);
    scene.refused(&["`config.json`"]);
    let index = r#"{"weight_map": {"a": "../../../x.safetensors"}}"#;
    scene.hub().fault("config.json", Fault::Drop(0));
    scene.hub().put(ID, "model.safetensors.index.json", index);
    scene.refused(&["leads out of the folder"]);
}

#[test]
fn silence_and_an_unreachable_hub_are_sentences() {
    let mut scene = Scene::with_model();
    // The small files come first and unhurried; then the weights are given little time.
    scene.hub().fault("model.safetensors", Fault::Status(403));
    scene.load().unwrap_err();
    scene.hub().fault("model.safetensors", Fault::Hang);
    let pace = Pace { patience: Duration::from_secs(2), ..PACE };
    let error = scene.load_at(pace).unwrap_err();
    assert!(error.contains("sent nothing of `model.safetensors`"), "{error}");
    scene.hub = None;
    scene.refused(&["`org/model`", "not in the cache", "cannot be reached", "HF_ENDPOINT"]);
    scene.options.hub.endpoint = Some("ftp://somewhere".into());
    scene.refused(&["`ftp://somewhere`", "HF_ENDPOINT"]);
    scene.options.hub.endpoint = Some("http://".into());
    scene.refused(&["HF_ENDPOINT"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_a_sentence() {
    let mut scene = Scene::with_model();
    let file = scene.folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    scene.options.hub.cache_dir = Some(file);
    scene.refused(&["cannot write", "--hf-cache-path"]);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let mut scene = Scene::with_model();
    scene.options.hub.token_source = TokenSource::Literal("hf_secret".into());
    scene.hub().fault("model.safetensors", Fault::Status(403));
    let error = scene.load().unwrap_err();
    assert!(error.contains("the token that was given does not open it"), "{error}");
    assert!(!error.contains("hf_secret"), "{error}");
    assert!(!format!("{:?}", scene.options).contains("hf_secret"));
    let log = scene.hub().take_log();
    assert!(log.iter().all(|request| request.authorization.as_deref() == Some("Bearer hf_secret")));
    // The login's token lies beside the cache folder.
    std::fs::write(scene.folder.path().join("token"), "hf_cached\n").unwrap();
    scene.options.hub.token_source = TokenSource::Cache;
    scene.load().unwrap_err();
    let log = scene.hub().take_log();
    assert!(!log.is_empty());
    assert!(log.iter().all(|request| request.authorization.as_deref() == Some("Bearer hf_cached")));
    scene.options.hub.token_source = TokenSource::None;
    scene.load().unwrap_err();
    assert!(scene.hub().take_log().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn two_loads_at_once_of_different_models() {
    let first = Scene::with_model();
    let second = Scene::with_model();
    std::thread::scope(|scope| {
        let loads = [&first, &second].map(|scene| scope.spawn(|| scene.load()));
        for load in loads {
            let found = only_weights(load.join().unwrap().unwrap());
            assert_eq!(std::fs::read(&found[0]).unwrap(), weights());
        }
    });
}
