//! Both forms of the file, what is filled in, and what is refused.

use super::*;

fn lookup(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "secret".to_owned())
}

fn read(text: &str) -> McpConfig {
    McpConfig::parse(text, &lookup).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refused(text: &str) -> String {
    McpConfig::parse(text, &lookup).map(|config| panic!("{config:?}")).unwrap_err().to_string()
}

fn process(spec: &ServerSpec) -> &ProcessSource {
    match &spec.source {
        Ok(Source::Process(process)) => process,
        other => panic!("{other:?}"),
    }
}

fn endpoint(spec: &ServerSpec) -> &Endpoint {
    match &spec.source {
        Ok(Source::Http(it) | Source::Sse(it) | Source::WebSocket(it)) => it,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_older_form() {
    let config = read(
        r#"{"servers": [
            {"id": "fs", "name": "Files", "source": {"type": "Process", "command": "npx", "args": ["-y", "x", "${TOKEN}"],
             "work_dir": "/tmp", "env": {"A": "${TOKEN}", "B": "${env:TOKEN}!"}}, "tool_prefix": "file", "resources": ["file://**"]},
            {"name": "My Web!", "source": {"type": "Http", "url": "https://x.org/mcp", "timeout_secs": 7, "headers": {"X-A": "1"}},
             "bearer_token": "${TOKEN}", "enabled": false},
            {"name": "My Web!", "source": {"type": "WebSocket", "url": "wss://x.org/mcp"}, "tool_prefix": null}
        ], "tool_timeout_secs": 180, "max_concurrent_calls": 3}"#,
    );
    assert!(config.auto_register_tools && config.warnings.is_empty(), "{:?}", config.warnings);
    let [files, web, socket] = config.servers.as_slice() else { panic!("{config:?}") };
    assert_eq!((files.id.as_str(), files.name.as_str(), files.enabled), ("fs", "Files", true));
    assert_eq!(process(files).args, ["-y", "x", "secret"]);
    let env: Vec<_> = process(files).env.iter().map(|(k, v)| (k.as_str(), v.0.as_str())).collect();
    assert_eq!(env, [("A", "secret"), ("B", "secret!")]);
    assert_eq!(process(files).work_dir.as_deref(), Some(std::path::Path::new("/tmp")));
    assert_eq!(files.prefix, Prefix::Fixed("file".into()));
    assert_eq!((files.limits.call.as_secs(), files.limits.max_concurrent), (180, 3));
    assert_eq!((web.id.as_str(), web.enabled, web.limits.call.as_secs()), ("My_Web_", false, 7));
    let headers: Vec<_> =
        endpoint(web).headers.iter().map(|(k, v)| (k.as_str(), v.0.as_str())).collect();
    assert_eq!(headers, [("X-A", "1"), ("Authorization", "Bearer secret")]);
    assert_eq!((socket.id.as_str(), &socket.prefix), ("My_Web__2", &Prefix::WhereNeeded));
    assert!(!format!("{config:?}").contains("Bearer"), "secrets are not printed");
}

#[test]
fn the_map_of_desktop_clients() {
    let config = read(
        r#"{"mcpServers": {
            "time": {"command": "uvx", "args": ["mcp-server-time"], "autoApprove": ["x"]},
            "a/b": {"type": "streamable-http", "url": "http://localhost:1/mcp", "allowedTools": ["read_*"], "excludeTools": ["read_all"]},
            "old": {"url": "http://localhost:1/sse"},
            "off": {"command": "x", "disabled": true, "require_approval": "always"}
        }, "auto_register_tools": false}"#,
    );
    assert!(!config.auto_register_tools);
    assert_eq!(config.warnings, ["server `time`: the unknown key `autoApprove` was ignored"]);
    let kinds: Vec<_> = config
        .servers
        .iter()
        .map(|server| (server.id.as_str(), server.source.as_ref().unwrap().kind(), server.enabled))
        .collect();
    let expected = [
        ("time", "stdio", true),
        ("a_b", "http", true),
        ("old", "sse", true),
        ("off", "stdio", false),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(config.servers[0].limits, Limits::default());
    assert_eq!(config.servers[3].approval, Approval::Always);
    let filter = &config.servers[1].filter;
    assert!(filter.allows("read_one") && !filter.allows("read_all") && !filter.allows("write"));
    let spelled =
        read(r#"{"servers": {"a": {"command": "x"}}, "mcpServers": {"b": {"command": "y"}}}"#);
    assert_eq!(spelled.servers.len(), 2);
}

#[test]
fn concurrency_left_out_null_and_given() {
    let limit = |rest: &str| {
        let text = format!(
            r#"{{"servers": [{{"name": "a", "source": {{"type": "Process", "command": "x"}}}}]{rest}}}"#
        );
        read(&text).servers[0].limits.max_concurrent
    };
    assert_eq!(
        (
            limit(""),
            limit(r#","max_concurrent_calls":null"#),
            limit(r#","max_concurrent_calls":4"#)
        ),
        (1, 10, 4)
    );
}

#[test]
fn a_missing_variable_stops_one_server() {
    let config = read(
        r#"{"mcpServers": {"a": {"command": "x", "env": {"K": "${NOT_SET}"}}, "b": {"command": "x", "env": {"K": "${NOT_SET:-}"}}}}"#,
    );
    assert_eq!(config.servers[0].source, Err(UnsetVariable("NOT_SET".into())));
    assert_eq!(process(&config.servers[1]).env, [("K".to_owned(), Secret(String::new()))]);
}

#[test]
fn patterns() {
    for (pattern, yes, no) in [
        ("abc", "abc", "abcd"),
        ("a*", "a", "ba"),
        ("*c", "abc", "cb"),
        ("a*b*c", "a-b-b-c", "a-c-b"),
        ("*", "", "never"),
        ("a*a", "aa", "a"),
        ("é*", "éa", "e"),
    ] {
        assert!(matches(pattern, yes), "{pattern} {yes}");
        assert!(pattern == "*" || !matches(pattern, no), "{pattern} {no}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let one = |server: &str| refused(&format!(r#"{{"servers": [{server}]}}"#));
    for (found, expected) in [
        (refused("{"), "EOF"),
        (refused("[]"), "invalid length"),
        (refused("{}"), "neither `servers` nor `mcpServers`"),
        (refused(r#"{"servers": 1}"#), "`servers` has to be a list"),
        (refused(r#"{"servers": [], "max_concurrent_calls": 0}"#), "1 or more"),
        (refused(r#"{"servers": [], "tool_timeout_secs": 0}"#), "1 or more"),
        (one("{}"), "server `number 1`"),
        (one(r#"{"name": "x"}"#), "there is no `command` and no `url`"),
        (one(r#"{"id": "a b", "source": {"type": "Process", "command": "x"}}"#), "the id `a b`"),
        (
            one(r#"{"id": "a", "source": {"type": "Process", "command": " "}}"#),
            "`command` is empty",
        ),
        (
            one(r#"{"id": "a", "source": {"type": "Http", "url": "ftp://x.org"}}"#),
            "http:// or https://",
        ),
        (one(r#"{"id": "a", "source": {"type": "Http", "url": "nonsense"}}"#), "no address"),
        (
            one(r#"{"id": "a", "source": {"type": "WebSocket", "url": "https://x.org"}}"#),
            "ws:// or wss://",
        ),
        (
            one(r#"{"id": "a", "source": {"type": "Carrier", "url": "https://x.org"}}"#),
            "none of Process",
        ),
        (
            one(r#"{"id": "a", "source": {"type": "Process", "command": "x", "env": {"A": []}}}"#),
            "`env.A`",
        ),
        (
            one(
                r#"{"id": "a", "source": {"type": "Process", "command": "x"}, "max_result_bytes": 0}"#,
            ),
            "1 or more",
        ),
        (
            one(
                r#"{"id": "a", "source": {"type": "Process", "command": "x"}, "tool_prefix": "é"}"#,
            ),
            "tool_prefix",
        ),
        (
            one(
                r#"{"id":"a","source":{"type":"Process","command":"x"}},{"id":"a","source":{"type":"Process","command":"x"}}"#,
            ),
            "the id `a`",
        ),
    ] {
        assert!(found.contains(expected), "{found} / {expected}");
    }
    assert!(refused(&" ".repeat(2 << 20)).contains("larger than"));
}
