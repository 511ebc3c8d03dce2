//! Must-show 3: many at once, some leave; the others are undisturbed and nothing is lost.

use crate::support::{COMPLETIONS, Server, completion_body, stories, streamed_text, with};
use mistralrs_core::LoadOptions;
use mistralrs_server::app::ServerConfig;
use serde_json::{Value, json};

const REQUESTS: usize = 64;
const ROUNDS: usize = 10;

/// Mixed lengths of prompt and answer, greedy and seeded.
fn body(i: usize) -> Value {
    let prompt =
        format!("{}One day, {}", "Once upon a time. ".repeat(i % 5), "the dog and ".repeat(i % 7));
    let body = completion_body(prompt, 4 + (i * 7) % 60);
    let temperature = if i.is_multiple_of(2) { 0.0 } else { 0.9 };
    with(body, json!({"temperature": temperature, "seed": i, "ignore_eos": true}))
}

fn leaves(i: usize) -> bool {
    i % 4 == 3
}

fn ask(server: &Server, i: usize) -> Option<String> {
    let body = with(body(i), json!({"stream": true}));
    if leaves(i) {
        let body = with(body, json!({"max_tokens": 300})).to_string();
        let headers = [("content-type", "application/json")];
        let mut reply = server.open("POST", COMPLETIONS, &headers, body.as_bytes());
        assert_eq!(reply.status, 200);
        assert!(!reply.chunk().is_empty());
        return None;
    }
    Some(streamed_text(&server.stream(COMPLETIONS, &body), 0))
}

/// Resident memory of this process in kB.
fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn sixty_four_streams_of_which_sixteen_leave() {
    let load = LoadOptions { max_queue: 128, kv_cache_tokens: Some(8192), ..stories() };
    let server = Server::start(ServerConfig::default(), load);
    let solo: Vec<_> =
        (0..REQUESTS).map(|i| (!leaves(i)).then(|| ask(&server, i).unwrap())).collect();
    assert_eq!(solo.iter().flatten().count(), 48);
    let mut memory = Vec::new();
    for round in 0..ROUNDS {
        std::thread::scope(|scope| {
            let server = &server;
            let threads: Vec<_> =
                (0..REQUESTS).map(|i| scope.spawn(move || ask(server, i))).collect();
            for (i, thread) in threads.into_iter().enumerate() {
                assert_eq!(thread.join().unwrap(), solo[i], "request {i} in round {round}");
            }
        });
        server.wait_until_idle();
        memory.extend(resident_kb());
    }
    println!("resident memory by round, kB: {memory:?}");
    // Other tests share the process; a leak of one KV block per request would still be far more.
    if let (Some(second), Some(last)) = (memory.get(1), memory.last()) {
        assert!(*last < second + 64 * 1024, "memory grows: {memory:?}");
    }
    let total = server.metric("mistralrs_kv_blocks_total");
    assert!(server.metric("mistralrs_kv_blocks_cached") <= total);
    let page = server.get("/metrics").body;
    assert!(page.contains("mistralrs_requests_total{outcome=\"failed\"} 0\n"), "{page}");
}
