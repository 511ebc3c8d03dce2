use super::client::Answered;
use super::figures::{ServedRow, Spread};
use super::*;
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A stream whose pieces come at these milliseconds after the start.
fn answered(start: Instant, sent: u64, pieces: &[u64]) -> Answered {
    let at = |ms: u64| start + Duration::from_millis(ms);
    Answered {
        sent: at(sent),
        pieces: pieces.iter().map(|ms| at(*ms)).collect(),
        ended: at(*pieces.last().unwrap()),
        prompt_tokens: 10,
        completion_tokens: pieces.len(),
    }
}

#[test]
fn rates_waits_and_the_slowest_stream() {
    let start = Instant::now();
    let first = vec![
        Ok(answered(start, 0, &[100, 150, 200, 250])),
        Ok(answered(start, 50, &[200, 300, 400, 500])),
        Err(anyhow::anyhow!("refused")),
    ];
    let second = vec![Ok(answered(start, 0, &[100, 200])), Ok(answered(start, 0, &[100, 300]))];
    let row = ServedRow::new(3, &[first, second]);
    assert_eq!((row.streams, row.requests, row.failed), (3, 5, 1));
    assert_eq!(row.error.as_deref(), Some("refused"));
    assert_eq!((row.prompt_tokens, row.answer_tokens), (10, 4));
    // Eight tokens in 500 ms, four in 300.
    assert_eq!(row.tokens_per_second.max.round(), 16.0);
    assert_eq!((row.tokens_per_second.min * 3.0).round(), 40.0);
    let first = row.time_to_first_token_ms;
    assert_eq!((first.p50, first.max), (100.0, 150.0));
    // 50 ×3, 100 ×4, 200: the median is 100, the last twentieth between 100 and 200.
    let gaps = row.inter_token_ms;
    assert_eq!((gaps.p50, gaps.p95.round(), gaps.max), (100.0, 165.0, 200.0));
    assert_eq!(row.finish_ratio, 2.0);
}

#[test]
fn nothing_answered_is_no_panic() {
    let row = ServedRow::new(1, &[vec![Err(anyhow::anyhow!("no"))]]);
    assert_eq!((row.failed, row.finish_ratio), (1, 1.0));
    assert_eq!(row.inter_token_ms, Spread { p50: 0.0, p95: 0.0, max: 0.0 });
}

fn load(streams: &[usize]) -> Load {
    Load { streams: streams.to_vec(), prompt_tokens: 40, answer_tokens: 8, rounds: 2 }
}

/// A server of two tokens per answer that counts syllables and 3 more, and does what `answer` says to the rest.
fn somebody(answer: fn(usize) -> Option<&'static str>) -> Router {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let completions = move |body: axum::Json<serde_json::Value>| async move {
        let words = body["prompt"].as_str().unwrap().split(' ').count();
        if body["max_tokens"] == 2 {
            let usage = format!(r#"{{"prompt_tokens":{},"completion_tokens":2}}"#, words + 3);
            return format!(
                "data: {{\"choices\":[{{\"text\":\"a\"}}]}}\n\n: silence\n\ndata: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n"
            )
            .into_response();
        }
        assert_eq!((words, body["ignore_eos"].clone()), (37, true.into()));
        match answer(ASKED.fetch_add(1, Ordering::Relaxed)) {
            Some(text) => text.into_response(),
            None => (StatusCode::TOO_MANY_REQUESTS, "come back").into_response(),
        }
    };
    let models = || async { r#"{"data":[{"id":"theirs"}]}"# };
    Router::new().route("/v1/models", get(models)).route("/v1/completions", post(completions))
}

fn load_somebody(answer: fn(usize) -> Option<&'static str>) -> anyhow::Result<Vec<ServedRow>> {
    let runtime = crate::runtime().unwrap();
    let listener = runtime.block_on(serve::bind("127.0.0.1:0".parse().unwrap())).unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, somebody(answer)).await });
    let (model, rows) = running(&url, &load(&[1, 4]))?;
    assert_eq!(model, "theirs");
    Ok(rows)
}

#[test]
fn another_server_and_its_failures() {
    const TWO: &str =
        "data: {\"choices\":[{\"text\":\"a\"}]}\r\n\r\ndata: {\"choices\":[{\"text\":\"b\"}]}\n\n";
    let rows = load_somebody(|number| match number % 5 {
        3 => None,
        4 => Some("data: {\"error\":{\"message\":\"out of memory\"}}\n\n"),
        _ => Some(TWO),
    })
    .unwrap();
    let counts: Vec<_> = rows.iter().map(|row| (row.streams, row.requests, row.failed)).collect();
    assert_eq!(counts.iter().map(|it| it.1).collect::<Vec<_>>(), [2, 8]);
    assert_eq!(counts.iter().map(|it| it.2).sum::<usize>(), 4, "{counts:?}");
    let told = rows[1].error.as_ref().unwrap();
    assert!(told.contains("429") || told.contains("out of memory"), "{told}");
    assert_eq!(rows[0].answer_tokens, 2);
}

#[test]
fn no_server_and_no_answers_are_told() {
    let nobody = running("http://127.0.0.1:1", &load(&[1])).unwrap_err();
    assert!(format!("{nobody:#}").contains("127.0.0.1:1"), "{nobody:#}");
    assert!(running("no address", &load(&[1])).is_err());
}

/// The real thing: every request is answered, in full, and prompts are as long as they should be.
#[test]
fn our_own_server_under_load() {
    let llm = Llm::load(LoadOptions {
        progress: Progress::silent(),
        warm_up: false,
        ..LoadOptions::new(mistralrs_testkit::stories260k().to_string_lossy())
    });
    let rows = in_process(llm.unwrap(), &load(&[1, 3])).unwrap();
    for (row, streams) in rows.iter().zip([1, 3]) {
        assert_eq!((row.streams, row.requests, row.failed), (streams, 2 * streams, 0), "{row:?}");
        assert_eq!(row.answer_tokens, 8);
        // The syllables are random, and so is what the length was measured with: some tokens more or less.
        assert!(row.prompt_tokens.abs_diff(40) <= 20, "{row:?}");
        assert!(row.time_to_first_token_ms.p50 > 0.0 && row.finish_ratio >= 1.0);
    }
}
