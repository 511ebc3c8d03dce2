//! Child processes that log, flood, mix up, refuse, hang, die; and everybody else, who must not notice.

use super::fake::{TOOLS, entry};
use super::{call, client, client_of, failure, names, text, with};
use futures::future::join_all;
use mistralrs_core::Image;
use mistralrs_core::agent::ToolHost;
use mistralrs_server::mcp::server::Phase;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noisy_child_is_understood() {
    let switches = [("FAKE_NOISE", "1"), ("FAKE_STDERR", "1000000"), ("FAKE_PAGE", "5")];
    let client = client(json!({ "noisy": entry(&switches) }));
    assert_eq!(names(&client).await, TOOLS);
    let specs = client.list().await;
    let schema = &specs[0].parameters;
    assert_eq!(schema["required"], json!(["text"]));
    assert_eq!(
        (&schema["type"], &schema["additionalProperties"]),
        (&json!("object"), &json!(false))
    );
    assert!(schema["$defs"].is_object(), "{schema}");
    assert_eq!(specs[0].description.as_deref(), Some("does echo"));
    assert_eq!(text(&client, "echo", "hé \n \"x\"").await, "hé \n \"x\"");
    assert_eq!(failure(&client, "fail", "").await, "it did not work");
    let refused = failure(&client, "refuse", "").await;
    assert!(refused.contains("no such thing") && refused.contains("-32602"), "{refused}");
    let image = call(&client, "image", "").await;
    assert_eq!(image.text, "[Image: image/png]\ninside");
    assert_eq!(image.images, [Image::new(vec![0; 3])]);
    assert!(failure(&client, "no_such_tool", "").await.contains("there is no tool"));
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_out_of_order_find_their_calls() {
    let client = client(json!({ "a": entry(&[]) }));
    names(&client).await;
    let (first, second) =
        tokio::join!(text(&client, "pair", "first"), text(&client, "pair", "second"));
    assert_eq!((first.as_str(), second.as_str()), ("first", "second"));
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_never_answers_is_given_up_and_told_so() {
    let slow = with(entry(&[]), json!({"tool_timeout_secs": 1}));
    let client = client(json!({ "a": slow, "b": with(entry(&[]), json!({"tool_prefix": "b"})) }));
    names(&client).await;
    let (hung, other, same) = tokio::join!(
        failure(&client, "hang", ""),
        text(&client, "b_echo", "other"),
        text(&client, "echo", "same"),
    );
    assert!(hung.contains("`hang` did not answer within 1 s"), "{hung}");
    assert_eq!((other.as_str(), same.as_str()), ("other", "same"));
    // The notice goes out beside the next messages.
    let start = Instant::now();
    while text(&client, "cancelled", "").await != "1" {
        assert!(start.elapsed() < Duration::from_secs(20), "the server was not told");
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_in_a_call_is_an_error_and_comes_back() {
    let client =
        client(json!({ "a": entry(&[]), "b": with(entry(&[]), json!({"tool_prefix": "b"})) }));
    names(&client).await;
    for round in 0..2 {
        let died = failure(&client, "die", "").await;
        assert!(died.contains("went away") && died.contains("exit status: 3"), "{round}: {died}");
        assert_eq!(text(&client, "b_echo", "still here").await, "still here");
        if round == 0 {
            assert_eq!(text(&client, "echo", "again").await, "again");
        }
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_results_are_cut_and_impossible_ones_refused() {
    let client = client(json!({ "a": entry(&[]) }));
    let cut = text(&client, "huge", "3000000").await;
    assert!(cut.ends_with("\n[cut off: 100000 of 3000000 bytes]") && cut.len() < 100_100);
    let (refused, other) =
        tokio::join!(failure(&client, "huge", "50000000"), text(&client, "echo", "fine"));
    assert!(refused.contains("larger than 16 MiB"), "{refused}");
    assert_eq!(other, "fine");
    assert_eq!(text(&client, "echo", "and on").await, "and on");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_calls_run_at_once_than_allowed() {
    let client = client(json!({ "a": with(entry(&[]), json!({"max_concurrent_calls": 3})) }));
    names(&client).await;
    let peaks = join_all((0..20).map(|_| text(&client, "slow", ""))).await;
    let highest = peaks.iter().map(|peak| peak.parse::<usize>().unwrap()).max().unwrap();
    assert_eq!((peaks.len(), highest), (20, 3));
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_cannot_be_used_leave_the_others_alone() {
    let client = client(json!({
        "missing": {"command": "no-such-program-anywhere"},
        "crashes": entry(&[("FAKE_EXIT", "1")]),
        "unset": {"command": "x", "args": ["${NOT_SET_ANYWHERE}"]},
        "closed": {"url": "http://127.0.0.1:9/mcp"},
        "silent": with(entry(&[("FAKE_SILENT", "1")]), json!({"connect_timeout_secs": 1})),
        "off": with(entry(&[]), json!({"disabled": true})),
        "good": entry(&[]),
    }));
    assert_eq!(names(&client).await, TOOLS);
    assert_eq!(text(&client, "echo", "x").await, "x");
    let states: Vec<_> = client
        .servers()
        .iter()
        .map(|server| {
            let state = server.state();
            (
                server.spec.id.as_str(),
                state.phase,
                state.error.map(|it| it.to_string()).unwrap_or_default(),
            )
        })
        .collect();
    let expected = [
        ("missing", Phase::Failed, "there is no program `no-such-program-anywhere`"),
        ("crashes", Phase::Failed, "the last words"),
        ("unset", Phase::Failed, "NOT_SET_ANYWHERE is not set"),
        ("closed", Phase::Failed, "cannot connect"),
        ("silent", Phase::Failed, "not ready within 1 s"),
        ("off", Phase::Disabled, ""),
        ("good", Phase::Ready, ""),
    ];
    for ((id, phase, error), found) in expected.into_iter().zip(&states) {
        assert!((id, phase) == (found.0, found.1) && found.2.contains(error), "{found:?}");
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_unique_and_filters_hold() {
    let few = |keys: Value| with(with(entry(&[]), json!({"allowedTools": ["echo", "f*"]})), keys);
    let client = client(json!({
        "one": few(json!({})),
        "two": few(json!({"denied_tools": ["fail"]})),
        "three": few(json!({"tool_prefix": "p"})),
    }));
    let expected = ["one_echo", "fail", "two_echo", "p_echo", "p_fail"];
    assert_eq!(names(&client).await, expected);
    assert_eq!(text(&client, "two_echo", "x").await, "x");
    assert_eq!(failure(&client, "one_fail", "").await, "it did not work", "also by its full name");
    assert!(failure(&client, "refuse", "").await.contains("there is no tool"));
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_that_appear_later_are_seen() {
    let client = client(json!({ "a": entry(&[]) }));
    assert!(!names(&client).await.contains(&"grown".to_owned()));
    text(&client, "grow", "").await;
    let start = Instant::now();
    while !names(&client).await.contains(&"grown".to_owned()) {
        assert!(start.elapsed() < Duration::from_secs(20), "the change was not noticed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_inherit_the_environment_and_get_their_own() {
    let own = [("FAKE_OWN", "mine")];
    let client = client(json!({ "a": entry(&own) }));
    assert_eq!(text(&client, "env", "FAKE_OWN").await, "mine");
    assert_ne!(text(&client, "env", "PATH").await, "unset");
    assert_eq!(text(&client, "env", "HF_TOKEN").await, "unset");
    client.shutdown().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_and_theirs_end_with_us() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (stopped, dropped) = (file("stopped"), file("dropped"));
    let stubborn = |file: &str| entry(&[("FAKE_FAMILY", file), ("FAKE_STUBBORN", "1")]);
    let first = client(json!({ "a": stubborn(&stopped) }));
    names(&first).await;
    first.shutdown().await;
    gone(&stopped);
    let second = client(json!({ "a": stubborn(&dropped) }));
    names(&second).await;
    drop(second);
    gone(&dropped);
}

/// Waits until the processes whose ids are in the file have ended; a zombie has.
#[cfg(target_os = "linux")]
pub fn gone(file: &str) {
    let ids = std::fs::read_to_string(file).unwrap();
    let start = Instant::now();
    for id in ids.split(' ') {
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
        };
        while alive() {
            assert!(start.elapsed() < Duration::from_secs(30), "{id} is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_started_before_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("family");
    let server = entry(&[("FAKE_FAMILY", &file.to_string_lossy())]);
    let client = client_of(json!({"mcpServers": { "a": server }, "auto_register_tools": false}));
    assert!(!client.auto_register_tools());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!file.exists() && client.servers()[0].state().phase == Phase::Idle);
    names(&client).await;
    assert!(file.exists());
    client.shutdown().await;
}

/// Row K2: nine stand-ins under the names of the older line's configuration, which gives neither ids nor prefixes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_servers_in_the_older_form_and_one_may_be_missing() {
    const NAMES: [&str; 9] = [
        "Memory",
        "Filesystem",
        "Sequential Thinking",
        "GitHub",
        "Fetch",
        "Time",
        "Serena Claude",
        "Python FileOps Enhanced",
        "RAG Redis",
    ];
    for missing in [None, Some(3)] {
        let server = |(i, name): (usize, &&str)| {
            let mut source = entry(&[]);
            source["type"] = "Process".into();
            if missing == Some(i) {
                source["command"] = "no-such-program-anywhere".into();
            }
            json!({"name": name, "source": source, "allowed_tools": ["echo", "slow"]})
        };
        let servers: Vec<Value> = NAMES.iter().enumerate().map(server).collect();
        let client = client_of(json!({
            "servers": servers, "auto_register_tools": true, "tool_timeout_secs": 180, "max_concurrent_calls": 3,
        }));
        let offered = names(&client).await;
        let there = NAMES.iter().enumerate().filter(|(i, _)| missing != Some(*i));
        let expected: Vec<String> = there
            .flat_map(|(_, name)| {
                ["echo", "slow"].map(|tool| format!("{}_{tool}", name.replace(' ', "_")))
            })
            .collect();
        assert_eq!(offered, expected);
        let echoes = offered.iter().filter(|name| name.ends_with("_echo"));
        let answers = join_all(echoes.map(|name| text(&client, name, name))).await;
        assert_eq!(answers.len(), if missing.is_some() { 8 } else { 9 });
        let failed: Vec<_> = client
            .servers()
            .iter()
            .filter(|server| server.state().phase == Phase::Failed)
            .collect();
        assert_eq!(failed.len(), usize::from(missing.is_some()));
        assert!(failed.iter().all(|server| server.spec.name == "GitHub"));
        client.shutdown().await;
    }
}
