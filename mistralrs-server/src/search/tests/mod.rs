//! Unit tests of [`super`]: a stub searches, the small model's tokenizer counts; an engine on this machine.

use super::*;
use mistralrs_core::LoadOptions;
use mistralrs_core::loading::progress::Progress;

/// Finds three pages; reads one.
struct Stub;

fn page(title: &str, content: String) -> Found {
    let description = "what it is about".to_owned();
    Found { title: title.to_owned(), description, url: format!("http://{title}"), content }
}

impl WebSearch for Stub {
    fn search<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<Vec<Found>, String>> {
        let found = match query {
            "broken" => Err("no network".to_owned()),
            _ => Ok(vec![
                page("boats", "boats on a lake ".repeat(4)),
                page("rain", "rain and rain again in the town ".repeat(6)),
                page("empty", String::new()),
                page("long", "a story about nothing at all ".repeat(2000)),
            ]),
        };
        Box::pin(std::future::ready(found))
    }

    fn can_read(&self) -> bool {
        true
    }

    fn read<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Found, String>> {
        Box::pin(std::future::ready(Ok(page(url, "the text of the page".to_owned()))))
    }
}

fn llm() -> Llm {
    let folder = mistralrs_testkit::stories260k();
    let quiet = LoadOptions {
        progress: Progress::silent(),
        warm_up: false,
        ..LoadOptions::new(folder.to_string_lossy())
    };
    Llm::load(quiet).unwrap()
}

fn tools(options: SearchOptions) -> SearchTools {
    SearchService { web: Arc::new(Stub), encoder: None }.tools(llm(), options)
}

async fn call(tools: &SearchTools, name: &str, arguments: Value) -> ToolOutput {
    let Value::Object(arguments) = arguments else { panic!("{arguments}") };
    tools.call(name, arguments).await
}

#[tokio::test]
async fn the_best_page_comes_first_and_the_budget_holds() {
    let tools = tools(SearchOptions::default());
    let output = call(&tools, SEARCH, json!({"query": "rain in town"})).await;
    assert!(!output.is_error, "{output:?}");
    let told: Value = serde_json::from_str(&output.text).unwrap();
    assert_eq!(told["output"][0]["title"], "rain");
    assert_eq!(told["output"][0]["url"], "http://rain");
    let contents = told["output"].as_array().unwrap().iter();
    let used: usize =
        contents.map(|it| tools.llm.token_offsets(it["content"].as_str().unwrap()).len()).sum();
    let context = tools.llm.info().max_sequence_length;
    assert!(used > 0 && used <= context / 2, "{used} of {context}");
    let output = call(&tools, READ, json!({"url": "http://x"})).await;
    assert!(output.text.contains("the text of the page"), "{output:?}");
}

#[tokio::test]
async fn faults_are_told_to_the_model() {
    let tools = tools(SearchOptions::default());
    for (name, arguments, expected) in [
        (SEARCH, json!({}), "`query`"),
        (SEARCH, json!({"query": 3}), "`query`"),
        (SEARCH, json!({"query": "broken"}), "no network"),
        ("dance", json!({}), "no tool"),
    ] {
        let output = call(&tools, name, arguments).await;
        assert!(output.is_error && output.text.contains(expected), "{output:?}");
    }
    assert!(!call(&tools, SEARCH, json!({"query": "rain"})).await.is_error);
}

#[tokio::test]
async fn the_description_says_where_the_user_is() {
    let location = Some("Lisbon, PT".to_owned());
    let list = tools(SearchOptions { location, ..SearchOptions::default() }).list().await;
    assert_eq!(list.len(), 2);
    assert!(list[0].description.as_ref().unwrap().contains("near Lisbon, PT"));
}

#[tokio::test]
async fn an_engine_with_json_answers() {
    use axum::extract::Query;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |Query(query): Query<std::collections::BTreeMap<String, String>>| async move {
        match query["q"].as_str() {
            "garbage" => "<html>".to_owned(),
            text => json!({"query": text, "results": [
                {"title": "T", "url": "http://t", "content": format!("about {text}"), "score": 1},
                {"title": null, "url": "http://u"}]})
            .to_string(),
        }
    };
    let router = axum::Router::new().route("/search", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let engine =
        MetaSearch::new(&format!("http://{address}/search?language=en"), Vec::new()).unwrap();
    let found = engine.search("cats & dogs").await.unwrap();
    assert_eq!((found.len(), found[0].content.as_str()), (2, "about cats & dogs"));
    assert!(engine.search("garbage").await.unwrap_err().contains("not JSON"));
    let nowhere = MetaSearch::new(&format!("http://{address}/nowhere"), Vec::new()).unwrap();
    assert!(nowhere.search("x").await.unwrap_err().contains("404"));
    for wrong in ["file:///etc/passwd", "nothing", "ftp://x"] {
        assert!(MetaSearch::new(wrong, Vec::new()).is_err(), "{wrong}");
    }
    assert!(!engine.can_read());
}

#[tokio::test]
async fn pages_are_read_from_allowed_hosts_only() {
    use axum::http::header::CONTENT_TYPE;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let html = "<title>Menu</title><p>fish and chips</p>";
    let large = "x".repeat(5 << 20);
    let router = axum::Router::new()
        .route(
            "/menu",
            axum::routing::get(move || async move { ([(CONTENT_TYPE, "text/html")], html) }),
        )
        .route("/large", axum::routing::get(move || async move { large }))
        .route(
            "/away",
            axum::routing::get(|| async { axum::response::Redirect::to("http://localhost:1/") }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let named = MetaSearch::new("http://engine/", vec![address.to_string()]).unwrap();
    let service = SearchService { web: Arc::new(named), encoder: None };
    let tools = service.tools(llm(), SearchOptions::default());
    assert_eq!(tools.list().await.len(), 2);
    let read = |path: &str| json!({"url": format!("http://{address}/{path}")});
    let output = call(&tools, READ, read("menu")).await;
    let told: Value = serde_json::from_str(&output.text).unwrap();
    assert_eq!(told["output"][0]["title"], "Menu");
    assert_eq!(told["output"][0]["content"].as_str().unwrap().trim(), "fish and chips");
    for (path, expected) in [("large", "4194304 bytes"), ("away", "not allowed"), ("none", "404")] {
        let output = call(&tools, READ, read(path)).await;
        assert!(output.is_error && output.text.contains(expected), "{path}: {output:?}");
    }
    // A star stands for public addresses only.
    let public = MetaSearch::new("http://engine/", vec!["*".to_owned()]).unwrap();
    let refused = public.read(&format!("http://{address}/menu")).await.unwrap_err();
    assert!(refused.contains("private"), "{refused}");
}
