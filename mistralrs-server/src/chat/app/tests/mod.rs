//! The chat as keys in, rows out. The rows are snapshots; times are cut out of them.

use super::*;
use crate::chat::dialog::ModelFacts;
use crate::chat::session::Session;
use expect_test::{Expect, expect};
use mistralrs_core::{Delta, FinishReason, SamplingParams, Usage};

fn app() -> App {
    let model =
        ModelFacts { name: "tiny".into(), context_tokens: 100, has_template: true, opening: None };
    let dialog = Dialog::new(model, Session::new(true, None, SamplingParams::default()));
    App::new(dialog, History::default(), None, 40)
}

fn press(app: &mut App, code: KeyCode, modifiers: KeyModifiers) -> Action {
    app.key(KeyEvent::new(code, modifiers))
}

fn control(app: &mut App, c: char) -> Action {
    press(app, KeyCode::Char(c), KeyModifiers::CONTROL)
}

fn enter(app: &mut App, text: &str) -> Action {
    for c in text.chars() {
        press(app, KeyCode::Char(c), KeyModifiers::NONE);
    }
    press(app, KeyCode::Enter, KeyModifiers::NONE)
}

fn text(text: &str) -> News {
    News::Delta(Delta::Text { text: text.into(), token_ids: vec![1], logprobs: Vec::new() })
}

/// Finished rows behind `|`, live rows as they are, `█` after the cursor's cell.
fn check(app: &mut App, width: usize, height: usize, expected: Expect) {
    let frame = app.frame(width, height);
    let mut shown = String::new();
    for line in &frame.finished {
        assert!(line.width() <= width.max(40), "{line}");
        shown.push_str(format!("|{line}").trim_end());
        shown.push('\n');
    }
    assert!(frame.live.len() <= height);
    for (i, line) in frame.live.iter().enumerate() {
        assert!(line.width() <= width, "{line}");
        let mut row = line.to_string();
        // How fast this machine is today does not belong into a snapshot.
        row.truncate(row.find(" · TTFT").unwrap_or(row.len()));
        if i == frame.cursor.1 {
            row.push('█');
        }
        shown.push_str(row.trim_end());
        shown.push('\n');
    }
    expected.assert_eq(&shown);
}

#[test]
fn a_conversation_on_the_screen() {
    let mut app = app();
    check(
        &mut app,
        40,
        12,
        expect![[r#"
        |tiny · context 100 tokens · /help lists
        |the commands
        |
        ────────────────────────────────────────
        ❯ █
        ────────────────────────────────────────
        tiny · context 0/100
    "#]],
    );
    assert!(matches!(enter(&mut app, "hello"), Action::Ask(_)));
    check(
        &mut app,
        40,
        12,
        expect![[r#"
        |❯ hello
        |
        …

        ────────────────────────────────────────
        ❯ █
        ────────────────────────────────────────
        tiny · context 0/100
    "#]],
    );
    news_and_figures(&mut app);
}

fn news_and_figures(app: &mut App) {
    let start = Instant::now();
    app.news(text("# Hi\n\nfirst *par"), start);
    check(
        app,
        40,
        12,
        expect![[r#"
        Hi

        first *par

        ────────────────────────────────────────
        ❯ █
        ────────────────────────────────────────
        tiny · context 1/100
    "#]],
    );
    app.news(text("agraph*\n\n1. one\n2. t"), start);
    check(
        app,
        40,
        12,
        expect![[r#"
        |Hi
        |
        |first paragraph

        1. one
        2. t

        ────────────────────────────────────────
        ❯ █
        ────────────────────────────────────────
        tiny · context 2/100
    "#]],
    );
    let usage = Usage { prompt_tokens: 5, completion_tokens: 9, ..Usage::default() };
    app.news(
        News::Delta(Delta::Finished { reason: FinishReason::Stop, stop_string: None, usage }),
        start,
    );
    assert!(matches!(app.news(News::Closed, start), Action::Stop));
    check(
        app,
        40,
        12,
        expect![[r#"
        |
        |1. one
        |2. t
        |
        ────────────────────────────────────────
        ❯ █
        ────────────────────────────────────────
        tiny · context 14/100
    "#]],
    );
}

#[test]
fn ctrl_c_by_situation() {
    let mut app = app();
    app.frame(40, 12);
    enter(&mut app, "question");
    assert!(matches!(control(&mut app, 'c'), Action::Stop));
    assert_eq!(app.editor.text(), "question", "an unanswered question comes back");
    assert!(matches!(control(&mut app, 'c'), Action::Draw));
    assert!(app.editor.is_empty());
    assert!(matches!(control(&mut app, 'c'), Action::Draw));
    assert!(app.hint.as_deref().unwrap().contains("again"));
    press(&mut app, KeyCode::Left, KeyModifiers::NONE);
    assert!(matches!(control(&mut app, 'c'), Action::Draw), "another key in between disarms");
    assert!(matches!(control(&mut app, 'c'), Action::Leave));
    assert!(matches!(control(&mut app, 'd'), Action::Leave));
    enter(&mut app, "more");
    app.news(text("half"), Instant::now());
    assert!(matches!(control(&mut app, 'd'), Action::Draw));
    assert!(matches!(control(&mut app, 'c'), Action::Stop));
    assert!(app.editor.is_empty(), "an answered question does not");
}

#[test]
fn several_lines_and_history() {
    let mut app = app();
    app.frame(30, 12);
    enter(&mut app, "one\\");
    press(&mut app, KeyCode::Char('2'), KeyModifiers::NONE);
    press(&mut app, KeyCode::Enter, KeyModifiers::ALT);
    control(&mut app, 'j');
    app.paste("x\r\ny");
    assert_eq!(app.editor.text(), "one\n2\n\nx\ny");
    check(
        &mut app,
        30,
        12,
        expect![[r#"
        ──────────────────────────────
          2

          x
          y█
        ──────────────────────────────
        tiny · context 0/100
    "#]],
    );
    assert!(matches!(enter(&mut app, ""), Action::Ask(_)));
    assert!(matches!(enter(&mut app, "early"), Action::Draw), "not while an answer is coming");
    control(&mut app, 'c');
    app.editor.take();
    enter(&mut app, "/topk 3");
    press(&mut app, KeyCode::Char('z'), KeyModifiers::NONE);
    press(&mut app, KeyCode::Up, KeyModifiers::NONE);
    assert_eq!(app.editor.text(), "/topk 3");
    press(&mut app, KeyCode::Up, KeyModifiers::NONE);
    assert_eq!(app.editor.text(), "one\n2\n\nx\ny");
    for _ in 0..2 {
        control(&mut app, 'n');
    }
    assert_eq!(app.editor.text(), "z");
}

#[test]
fn commands_complete_and_show_their_answer() {
    let mut app = app();
    app.frame(30, 12);
    app.editor.set("/te");
    press(&mut app, KeyCode::Tab, KeyModifiers::NONE);
    assert_eq!(app.editor.text(), "/temperature ");
    app.editor.set("/s");
    press(&mut app, KeyCode::Tab, KeyModifiers::NONE);
    check(
        &mut app,
        30,
        12,
        expect![[r#"
        ──────────────────────────────
        ❯ /s█
        ──────────────────────────────
        tiny · context 0/100
        system save stats
    "#]],
    );
    app.editor.take();
    enter(&mut app, "/topp 2");
    check(
        &mut app,
        30,
        12,
        expect![[r#"
        |❯ /topp 2
        |Format: /topp F, a number, 0 <
        |F <= 1.
        |
        ──────────────────────────────
        ❯ █
        ──────────────────────────────
        tiny · context 0/100
    "#]],
    );
    assert!(matches!(enter(&mut app, "\\exit"), Action::Leave));
}

#[test]
fn long_answers_and_long_inputs_fit_any_screen() {
    for (width, height) in [(8, 5), (20, 6), (40, 12), (200, 50)] {
        let mut app = app();
        app.frame(width, height);
        enter(&mut app, "q");
        let mut all = Vec::new();
        for i in 0..60 {
            app.news(text(&format!("* item {i} with some words\n")), Instant::now());
            let frame = app.frame(width, height);
            assert!(frame.live.len() <= height, "{} rows on {width}x{height}", frame.live.len());
            assert!(frame.cursor.1 < frame.live.len() && frame.cursor.0 < width);
            all.extend(frame.finished);
        }
        app.editor.set(&"long input 漢字 ".repeat(40));
        let frame = app.frame(width, height);
        assert!(frame.live.len() <= height);
        all.extend(frame.finished);
        app.news(News::Closed, Instant::now());
        all.extend(app.frame(width, height).finished);
        let shown: String = all.iter().map(|line| line.to_string()).collect();
        assert_eq!(shown.matches("item").count(), 60, "{width}x{height}");
    }
}

#[test]
fn a_tool_asks_and_keys_answer() {
    use crate::chat::consent::Consent;
    use mistralrs_core::ToolCall;
    use mistralrs_core::agent::{Approval, ToolOutput, ToolProgress, ToolSpec, Verdict};
    let tool = ToolSpec {
        name: "now".into(),
        description: None,
        parameters: serde_json::json!({}),
        origin: "clock".into(),
        approval: Approval::Unsaid,
    };
    let call = ToolCall { id: "1".into(), name: "now".into(), arguments: "{}".into() };
    let mut app = app();
    app.frame(40, 12);
    assert!(matches!(enter(&mut app, "time?"), Action::Ask(_)));
    let (consent, mut reply) = Consent::new(&tool, &call);
    app.news(text("Wait."), Instant::now());
    app.news(News::Consent(Box::new(consent)), Instant::now());
    check(
        &mut app,
        40,
        12,
        expect![[r#"
            |❯ time?
            |
            |Wait.
            |Run now of clock with {} ? y = yes, a =
            |always, n = no
            …

            ────────────────────────────────────────
            ❯ █
            ────────────────────────────────────────
            tiny · context 1/100
            y = yes, a = always, n = no, Ctrl-C sto…
        "#]],
    );
    press(&mut app, KeyCode::Char('x'), KeyModifiers::NONE);
    assert!(reply.try_recv().is_err() && app.editor.is_empty(), "another key is no reply");
    press(&mut app, KeyCode::Char('a'), KeyModifiers::NONE);
    assert_eq!(reply.try_recv().unwrap(), Verdict::Allow);
    let (again, mut reply) = Consent::new(&tool, &call);
    app.news(News::Consent(Box::new(again)), Instant::now());
    assert_eq!(reply.try_recv().unwrap(), Verdict::Allow, "always is always");
    let output = ToolOutput { text: "12:30".into(), ..ToolOutput::default() };
    let ran = Delta::ToolProgress(ToolProgress::Finished { call, output });
    app.news(News::Delta(ran), Instant::now());
    app.news(text("Half past."), Instant::now());
    app.news(News::Closed, Instant::now());
    check(
        &mut app,
        40,
        12,
        expect![[r#"
            |← now: 12:30
            |Half past.
            |
            ────────────────────────────────────────
            ❯ █
            ────────────────────────────────────────
            tiny · context 0/100
        "#]],
    );
}
