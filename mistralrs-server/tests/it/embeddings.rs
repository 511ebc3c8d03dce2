//! `/v1/embeddings` and `/v1/rerank` over HTTP, with the small encoders.

use crate::support::{CHAT, COMPLETIONS, Client, Server, chat_body, completion_body, shared};
use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;
use mistralrs_server::app::ServerConfig;
use mistralrs_testkit::encoders::encoder_golden;
use mistralrs_testkit::fixture;
use serde_json::{Value, json};
use std::sync::LazyLock;

const EMBEDDINGS: &str = "/v1/embeddings";
const RERANK: &str = "/v1/rerank";

fn start(name: &str) -> Server {
    start_with(ServerConfig::default(), name)
}

fn start_with(config: ServerConfig, name: &str) -> Server {
    let load = LoadOptions {
        progress: Progress::silent(),
        ..LoadOptions::new(fixture(name).to_string_lossy())
    };
    Server::start(config, load)
}

/// One embedding model for all tests that need nothing else.
fn bert() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(|| start("bert-cls-dense"));
    &SERVER
}

fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    let data = answer["data"].as_array().unwrap();
    data.iter()
        .enumerate()
        .map(|(i, item)| {
            assert_eq!((&item["object"], &item["index"]), (&json!("embedding"), &json!(i)));
            let numbers = item["embedding"].as_array().unwrap();
            numbers.iter().map(|x| x.as_f64().unwrap() as f32).collect()
        })
        .collect()
}

fn ask(client: &Client, body: Value) -> Value {
    client.post(EMBEDDINGS, &body).ok()
}

#[test]
fn vectors_are_those_of_sentence_transformers() {
    let cases = encoder_golden("bert-cls-dense").texts;
    let plain: Vec<_> =
        cases.iter().filter(|case| case.prompt_name.is_none() && !case.truncated).collect();
    let texts: Vec<_> = plain.iter().map(|case| case.text.as_str()).collect();
    let answer = ask(bert(), json!({"model": "bert-cls-dense", "input": texts}));
    assert_eq!(answer["object"], "list");
    assert_eq!(answer["model"], "bert-cls-dense");
    let tokens: usize = plain.iter().map(|case| case.ids.len()).sum();
    assert_eq!(answer["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
    assert!(answer.get("warnings").is_none());
    let found = vectors(&answer);
    assert_eq!(found.len(), plain.len());
    for (found, case) in found.iter().zip(&plain) {
        for (x, wanted) in found.iter().zip(&case.vector) {
            assert!((x - wanted).abs() < 2e-5, "{}", case.text);
        }
    }
    // The same in token ids, one text and several.
    let ids: Vec<_> = plain.iter().map(|case| case.ids.clone()).collect();
    assert_eq!(vectors(&ask(bert(), json!({"input": ids}))), found);
    assert_eq!(vectors(&ask(bert(), json!({"input": ids[0]}))), found[..1]);
    assert_eq!(vectors(&ask(bert(), json!({"input": texts[0]}))), found[..1]);
    // With the prompt of a task.
    let case = cases.iter().find(|case| case.prompt_name.is_some() && !case.truncated).unwrap();
    let body = json!({"input": case.text, "prompt_name": case.prompt_name});
    let prompted = vectors(&ask(bert(), body)).remove(0);
    assert!(prompted.iter().zip(&case.vector).all(|(x, wanted)| (x - wanted).abs() < 2e-5));
}

#[test]
fn base64_says_the_same_as_numbers() {
    use base64::Engine;
    let input = ["seven ships", "rain"];
    let numbers = vectors(&ask(bert(), json!({"input": input})));
    let answer = ask(bert(), json!({"input": input, "encoding_format": "base64"}));
    for (item, numbers) in answer["data"].as_array().unwrap().iter().zip(&numbers) {
        let text = item["embedding"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let (chunks, rest) = bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        let read: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(&read, numbers);
    }
}

#[test]
fn dimensions_are_cut_and_long_texts_too() {
    let whole = vectors(&ask(bert(), json!({"input": "seven ships"}))).remove(0);
    let cut = vectors(&ask(bert(), json!({"input": "seven ships", "dimensions": 5}))).remove(0);
    assert_eq!((whole.len(), cut.len()), (20, 5));
    let length: f32 = cut.iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5);
    let ratio = whole[0] / cut[0];
    assert!(cut.iter().zip(&whole).all(|(cut, whole)| (cut * ratio - whole).abs() < 1e-5));

    let long = "ships and rain ".repeat(50);
    let refused = bert().post(EMBEDDINGS, &json!({"input": long})).error(400);
    assert_eq!(refused["code"], "context_length_exceeded");
    for field in ["truncate", "truncate_sequence"] {
        let answer = ask(bert(), json!({"input": long, field: true}));
        assert_eq!(answer["usage"]["prompt_tokens"], 48);
        assert!(answer["warnings"][0].as_str().unwrap().contains("were cut"), "{answer}");
    }
}

#[test]
fn impossible_requests_are_told_what_is_wrong() {
    let table = [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": null}), "input"),
        (json!({"input": [[]]}), "no tokens"),
        (json!({"input": [1, "a"]}), "one list"),
        (json!({"input": [[1, 99999]]}), "99999"),
        (json!({"input": {"text": "x"}}), "input"),
        (json!({"input": "x", "dimensions": 0}), "1 to 20"),
        (json!({"input": "x", "dimensions": 21}), "1 to 20"),
        (json!({"input": "x", "dimensions": -1}), "dimensions"),
        (json!({"input": "x", "encoding_format": "hex"}), "float or base64"),
        (json!({"input": "x", "prompt_name": "ode"}), "document, query"),
        (json!({"input": vec!["x"; 2049]}), "2048"),
    ];
    for (body, word) in table {
        let error = bert().post(EMBEDDINGS, &body).error(400);
        let text = format!("{} {}", error["message"], error["param"]);
        assert!(text.contains(word), "{body:.100}: {text}");
    }
    assert_eq!(
        bert().post(EMBEDDINGS, &json!({"input": "x", "model": "gpt"})).error(404)["code"],
        "model_not_found"
    );
    ask(bert(), json!({"input": "x", "model": "default", "user": "me"}));
    let unknown = ask(bert(), json!({"input": "x", "colour": 1}));
    assert!(unknown["warnings"][0].as_str().unwrap().contains("colour"));
}

#[test]
fn many_clients_at_once_get_their_own_vectors() {
    let text = |i: usize| "rain and seven ships in the night ".repeat(i % 4 + 1) + &i.to_string();
    let alone: Vec<_> = (0..24).map(|i| vectors(&ask(bert(), json!({"input": text(i)})))).collect();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..24)
            .map(|i| scope.spawn(move || vectors(&ask(bert(), json!({"input": text(i)})))))
            .collect();
        for (asked, alone) in asked.into_iter().zip(&alone) {
            assert_eq!(&asked.join().unwrap(), alone);
        }
    });
    assert_eq!(bert().metric("mistralrs_requests_running"), 0.0);
    assert!(bert().metric("mistralrs_prompt_tokens_total") > 0.0);
}

/// Row D3: there is no KV cache to page.
#[test]
fn an_encoder_says_what_it_is() {
    let card = bert().get("/v1/models/default").ok();
    assert_eq!(card["id"], "bert-cls-dense");
    assert_eq!(
        (&card["meta"]["kind"], &card["meta"]["dimensions"]),
        (&json!("embedding"), &json!(20))
    );
    assert_eq!(card["max_model_len"], 48);
    assert_eq!(bert().get("/health").ok()["model"], "bert-cls-dense");
    assert_eq!(bert().metric("mistralrs_kv_blocks_total"), 0.0);
    let text = shared().get("/v1/models/default").ok();
    assert_eq!(text["meta"]["kind"], "text");
    assert!(text["meta"].get("dimensions").is_none());
}

#[test]
fn each_kind_of_model_refuses_the_routes_of_the_other() {
    let refused = [
        (CHAT, chat_body("Hello", 4)),
        (COMPLETIONS, completion_body("Hello", 4)),
        ("/apply-template", chat_body("Hello", 4)),
    ];
    for (path, body) in refused {
        let error = bert().post(path, &body).error(400);
        assert_eq!(error["code"], "model_not_suitable");
        assert!(error["message"].as_str().unwrap().contains("/v1/embeddings"), "{error}");
    }
    for (path, body) in
        [(EMBEDDINGS, json!({"input": "x"})), (RERANK, json!({"query": "q", "documents": ["x"]}))]
    {
        let error = shared().post(path, &body).error(400);
        assert_eq!(error["code"], "model_not_suitable");
        assert!(error["message"].as_str().unwrap().contains("text model"), "{error}");
    }
}

fn ranking(client: &Client, body: &Value) -> Vec<(usize, f32)> {
    let answer = client.post(RERANK, body).ok();
    let results = answer["results"].as_array().unwrap();
    let one = |item: &Value| {
        (item["index"].as_u64().unwrap() as usize, item["relevance_score"].as_f64().unwrap() as f32)
    };
    results.iter().map(one).collect()
}

#[test]
fn a_cross_encoder_ranks_pairs() {
    let server = start("modernbert-rerank");
    assert_eq!(server.get("/v1/models/default").ok()["meta"]["kind"], "reranker");
    for pair in encoder_golden("modernbert-rerank").pairs {
        let body = json!({"query": pair.query, "documents": [pair.document]});
        let wanted = 1.0 / (1.0 + (-pair.logit).exp());
        assert!((ranking(&server, &body)[0].1 - wanted).abs() < 2e-5);
    }
    let documents = json!(["beans", {"text": "The rain came."}, "ships in the night", "beans"]);
    let body = json!({"query": "rain", "documents": documents});
    let all = ranking(&server, &body);
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted_by(|a, b| a.1 >= b.1));
    let places: Vec<_> = all.iter().filter(|(i, _)| [0, 3].contains(i)).map(|(i, _)| *i).collect();
    assert_eq!(places, [0, 3], "equals stay in order");
    let mut best = body;
    best["top_n"] = 2.into();
    best["return_documents"] = true.into();
    assert_eq!(ranking(&server, &best), all[..2]);
    let first = &server.post(RERANK, &best).ok()["results"][0];
    let text = ["beans", "The rain came.", "ships in the night", "beans"][all[0].0];
    assert_eq!(first["document"]["text"], text);
    let error = server.post(EMBEDDINGS, &json!({"input": "x"})).error(400);
    assert!(error["message"].as_str().unwrap().contains("cross-encoder"));
    for (body, word) in [
        (json!({"query": "q", "documents": []}), "documents"),
        (json!({"query": "", "documents": ["a"]}), "query"),
        (json!({"query": "q", "documents": [7]}), "documents"),
        (json!({"query": "q", "documents": [["a"]]}), "documents"),
        (json!({"query": "q", "documents": ["a"], "top_n": 0}), "top_n"),
    ] {
        let error = server.post(RERANK, &body).error(400);
        assert!(format!("{} {}", error["message"], error["param"]).contains(word), "{error}");
    }
}

#[test]
fn an_embedding_model_ranks_by_cosine() {
    let documents = ["The old lighthouse keeper.", "beans", "seven ships in the night"];
    let body = json!({"query": "ships at night", "documents": documents});
    let mut found = ranking(bert(), &body);
    found.sort_by_key(|(i, _)| *i);
    let query = json!({"input": "ships at night", "prompt_name": "query"});
    let query = vectors(&ask(bert(), query)).remove(0);
    let of_documents = vectors(&ask(bert(), json!({"input": documents})));
    for ((_, score), document) in found.iter().zip(of_documents) {
        let cosine: f32 = query.iter().zip(&document).map(|(a, b)| a * b).sum();
        assert!((score - cosine).abs() < 1e-5, "{score} {cosine}");
    }
}

#[test]
fn a_key_is_wanted_here_too() {
    use mistralrs_server::auth::ApiKeys;
    let api_keys = ApiKeys::new(["key".to_owned()]);
    let server = start_with(ServerConfig { api_keys, ..ServerConfig::default() }, "bert-plain");
    server.post(EMBEDDINGS, &json!({"input": "x"})).error(401);
    server.post(RERANK, &json!({"query": "q", "documents": ["x"]})).error(401);
}
