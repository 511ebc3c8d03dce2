//! Models that see from two GGUF files, the text model's and that of its tower (`mmproj`). They hold the very numbers
//! of the folders they were made from, so they have to answer as those do, to the bit; the folders themselves are
//! held to transformers elsewhere.

use crate::answers::{self, load, options};
use crate::media::conversation;
use mistralrs_core::{ChatRequest, Llm, Modality};
use mistralrs_testkit::media::{MediaCase, media_golden};
use mistralrs_testkit::{GGUF_THAT_SEE, copy_of, fixture};
use std::path::{Path, PathBuf};

/// `gemma3-vision-gguf/gemma3-vision-f32.gguf` → the folder it was made from.
fn folder_of(file: &str) -> &str {
    file.split_once("-gguf/").unwrap().0
}

fn tower_of(file: &str) -> PathBuf {
    let (folder, name) = file.split_once('/').unwrap();
    fixture(folder).join(format!("mmproj-{name}"))
}

/// The conversations that the file's model is prepared for as its folder's is: none says how Gemma 3 cuts long
/// pictures into pieces (published models do not), nor how large the clips of Qwen3-VL are.
fn cases(file: &str) -> Vec<MediaCase> {
    let knows_clips = !file.starts_with("qwen3");
    let cases = media_golden(folder_of(file)).cases.into_iter();
    cases.filter(|it| it.processor.is_empty() && (knows_clips || it.videos.is_empty())).collect()
}

fn scored(file: &str, case: &MediaCase) -> ChatRequest {
    let mut request = conversation(folder_of(file), case);
    request.options.prompt_logprobs = request.options.logprobs;
    request
}

#[test]
fn two_gguf_files_answer_as_the_folder_does() {
    for file in GGUF_THAT_SEE {
        let [pair, folder] = [file, folder_of(file)].map(|name| {
            load(&fixture(name), |options| {
                options.block_size = 8;
                options.kv_numbers = None;
            })
        });
        assert!(pair.takes(Modality::Image), "{file}: the tower beside it was found");
        assert_eq!(pair.info().architecture, folder.info().architecture);
        assert_eq!(pair.info().num_parameters, folder.info().num_parameters);
        let cases = cases(file);
        let pictures: Vec<_> = cases.iter().map(|case| case.images.len()).take(4).collect();
        assert_eq!(pictures, [0, 1, 2, 3]);
        assert_eq!(cases.iter().any(|case| !case.videos.is_empty()), file.starts_with("qwen2"));
        for case in cases {
            let request = scored(file, &case);
            let [pair, folder] = [&pair, &folder].map(|llm| answers::chat(llm, &request));
            assert_eq!(pair.usage.prompt_tokens, case.text.prompt.len(), "{file}");
            assert_eq!(pair.token_ids, case.text.greedy_ids(), "{file}");
            assert_eq!(pair.all_bits(), folder.all_bits(), "{file}");
        }
    }
}

/// Whether it sees, and what it answers to the first picture.
fn look(llm: &Llm, file: &str) -> (bool, Vec<(u32, u32)>) {
    let sees = llm.takes(Modality::Image);
    let case = &media_golden(folder_of(file)).cases[usize::from(sees)];
    (sees, answers::chat(llm, &conversation(folder_of(file), case)).bits())
}

#[test]
fn a_tower_is_found_or_named() {
    let file = GGUF_THAT_SEE[0];
    let (folder, name) = file.split_once('/').unwrap();
    let wanted = look(&load(&fixture(file), |_| ()), file);
    assert!(wanted.0);
    let named = |model: &Path, mmproj: Option<&Path>| {
        let llm = load(model, |options| {
            options.gguf_files = Vec::from_iter(model.is_dir().then(|| name.to_owned()));
            options.mmproj = mmproj.map(Path::to_owned);
        });
        look(&llm, file)
    };
    assert_eq!(named(&fixture(folder), None), wanted, "found in the folder");
    // Two of them: none is taken that nobody named.
    let copy = copy_of(folder);
    let text = copy.path().join(name);
    let tower = format!("mmproj-{name}");
    std::fs::copy(tower_of(file), copy.path().join("another-mmproj.gguf")).unwrap();
    assert!(!named(&text, None).0);
    for model in [copy.path(), &text] {
        assert_eq!(named(model, Some(Path::new(&tower))), wanted, "by its name beside the model");
        assert_eq!(named(model, Some(&tower_of(file))), wanted, "by its path");
    }
    let missing =
        |options: &mut mistralrs_core::LoadOptions| options.mmproj = Some("no.gguf".into());
    let mut options = options(&text);
    missing(&mut options);
    let error = Llm::load(options).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`no.gguf` (--mmproj) is no file"), "{error}");
}

/// Some GGUF files of Gemma 3 end with the text model's vocabulary, one token before the one that stands for pictures.
#[test]
fn a_vocabulary_without_a_token_for_pictures_sees_all_the_same() {
    let copy = copy_of("gemma3-vision");
    let case = &media_golden("gemma3-vision").cases[2];
    let answer = || {
        let llm = load(copy.path(), |_| ());
        answers::chat(&llm, &conversation("gemma3-vision", case)).bits()
    };
    let wanted = answer();
    let file = copy.path().join("tokenizer.json");
    let names = std::fs::read_to_string(&file).unwrap();
    assert!(names.contains("<image_soft_token>") && !names.contains("<unused0>"));
    std::fs::write(&file, names.replace("<image_soft_token>", "<unused0>")).unwrap();
    assert_eq!(answer(), wanted);
}

fn refusal(model: &Path, mmproj: Option<PathBuf>) -> String {
    let mut options = options(model);
    options.mmproj = mmproj;
    Llm::load(options).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_tower_of_another_model_is_refused_by_both_their_names() {
    let file = GGUF_THAT_SEE[0];
    let text = fixture("gemma3-f32.gguf");
    let error = refusal(&text, Some(tower_of(file)));
    for part in [
        "--mmproj",
        "mmproj-qwen2-vl-f32.gguf",
        "`qwen2vl_merger`",
        "a qwen2vl of width 24",
        "gemma3-f32.gguf` is a gemma3 of width",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // Another width.
    let copy = copy_of(file.split_once('/').unwrap().0);
    let (text, tower) =
        (copy.path().join("qwen2-vl-f32.gguf"), copy.path().join("mmproj-qwen2-vl-f32.gguf"));
    with_number(&tower, "clip.vision.projection_dim", 32);
    let error = refusal(&text, Some(tower.clone()));
    assert!(
        error.contains("for a qwen2vl of width 32; ") && error.contains("is a qwen2vl of width 24"),
        "{error}"
    );
    // Where nobody asked for it, it is left where it is.
    assert!(!load(&text, |_| ()).takes(Modality::Image));
    // What is no tower, and a tower where a model belongs.
    let error = refusal(&text, Some(text.clone()));
    assert!(error.contains("is no vision tower"), "{error}");
    let error = refusal(&tower, None);
    assert!(error.contains("--mmproj") && error.contains("text model's file"), "{error}");
    let error = refusal(&fixture("qwen2-vl"), Some(tower));
    assert!(error.contains("only GGUF files"), "{error}");
}

/// Another number in the metadata of a GGUF file.
fn with_number(file: &Path, key: &str, number: u32) {
    let mut bytes = std::fs::read(file).unwrap();
    let key = bytes.windows(key.len()).position(|at| at == key.as_bytes()).unwrap() + key.len();
    // Behind the key stands the type of its value, here u32.
    assert_eq!(bytes[key..key + 4], 4u32.to_le_bytes());
    bytes[key + 4..key + 8].copy_from_slice(&number.to_le_bytes());
    std::fs::write(file, bytes).unwrap();
}
