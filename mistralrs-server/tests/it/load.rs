//! Must-show 3: many at once, some leave; the others are undisturbed and nothing is lost.

use crate::binary::start;
use crate::support::{COMPLETIONS, Client, completion_body, streamed_text, with};
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

fn ask(server: &Client, i: usize) -> Option<String> {
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

#[test]
fn sixty_four_streams_of_which_sixteen_leave() {
    let program = start(&["--silent", "--max-queue", "128", "--pa-ctxt-len", "8192"]);
    let server = &program.client;
    let solo: Vec<_> =
        (0..REQUESTS).map(|i| (!leaves(i)).then(|| ask(server, i)).flatten()).collect();
    assert_eq!(solo.iter().flatten().count(), 48);
    let mut memory = Vec::new();
    for round in 0..ROUNDS {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..REQUESTS).map(|i| scope.spawn(move || ask(server, i))).collect();
            for (i, thread) in threads.into_iter().enumerate() {
                assert_eq!(thread.join().unwrap(), solo[i], "request {i} in round {round}");
            }
        });
        server.wait_until_idle();
        memory.extend(program.resident_kb());
    }
    println!("resident memory by round, kB: {memory:?}");
    // What grows for a while is the allocator's and the cache's own (pages of KV blocks are touched as they are
    // first used); it levels out after some hundred rounds. 640 requests that each lost a block of the cache, or
    // their prompt, answer and channel, would show.
    if let (Some(first), Some(last)) = (memory.first(), memory.last()) {
        assert!(*last < first + 16 * 1024, "memory grows: {memory:?}");
    }
    let page = server.get("/metrics").body;
    assert!(page.contains("mistralrs_requests_total{outcome=\"failed\"} 0\n"), "{page}");
}
