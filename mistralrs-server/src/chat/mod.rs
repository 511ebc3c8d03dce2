//! Terminal chat. Talks to an [`Llm`] and to the terminal; knows no HTTP, no arguments, no environment.

mod answer;
mod app;
mod attach;
mod commands;
mod consent;
mod dialog;
mod editor;
mod history;
mod lines;
mod markdown;
mod session;
mod signals;
mod surface;
mod tools;
mod tui;
mod view;
mod width;

pub use history::history_path;

use crate::mcp::{McpClient, McpConfig};
use answer::Responder;
use app::App;
use dialog::{Dialog, Look, ModelFacts, Outcome, ToolsReport};
use futures::StreamExt as _;
use history::History;
use mistralrs_core::{Delta, Llm, Modality, Part, SamplingParams};
use session::Session;
use signals::Signal;
use std::io::{BufReader, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tools::WithTools;

/// How the chat starts. `ChatOptions::default()` is a fresh conversation in whatever mode fits the terminal.
#[derive(Debug, Clone, Default)]
pub struct ChatOptions {
    /// Answer this once (only the answer on standard output) and return.
    pub prompt: Option<String>,
    /// What the user is told below the first line.
    pub opening: Option<&'static str>,
    /// The system text the conversation starts with.
    pub system: Option<String>,
    /// Sampling asked for on the command line; fields set here win over the model's and the chat's own.
    pub sampling: SamplingParams,
    /// Most tokens per answer; `None` = as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Further variables for the template, such as `enable_thinking`.
    pub template_kwargs: serde_json::Map<String, serde_json::Value>,
    /// Where the input history lives; `None` = it is not kept. See [`history_path`].
    pub history_file: Option<PathBuf>,
    /// Line mode even on a terminal (`TERM=dumb`).
    pub plain: bool,
    /// Servers whose tools the model may use.
    pub mcp: Option<McpConfig>,
}

/// Runs the chat until the user leaves or the input ends. Blocks: call it outside of an async runtime.
/// On a terminal nothing else may write to it meanwhile: keep the log away from standard error.
///
/// # Errors
/// When the terminal cannot be used, and, with [`ChatOptions::prompt`], when there is no answer.
pub fn run(llm: Llm, mut options: ChatOptions) -> anyhow::Result<()> {
    let info = llm.info();
    let model = ModelFacts {
        name: info
            .id
            .rsplit(['/', '\\'])
            .find(|part| !part.is_empty())
            .unwrap_or(&info.id)
            .to_owned(),
        context_tokens: info.max_sequence_length,
        has_template: info.has_chat_template,
        opening: options.opening,
    };
    let sampling = session::start_sampling(&options.sampling, llm.sampling_defaults());
    let session = Session::new(model.has_template, options.system.take(), sampling)
        .with_limits(options.max_tokens, std::mem::take(&mut options.template_kwargs));
    let dialog = Dialog::new(model, session).with_eyes(eyes(&llm));
    let Some(config) = options.mcp.take() else {
        return converse(dialog, Arc::new(llm), options);
    };
    // The servers live on threads of their own, beside those of the answers.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let client = {
        let _inside = runtime.enter();
        Arc::new(McpClient::start(config))
    };
    client.wake();
    let told = Arc::clone(&client);
    let report: ToolsReport = Arc::new(move || tools::report(&told));
    let dialog = dialog.with_tools(Some(report));
    let responder = Arc::new(WithTools { llm, client: Arc::clone(&client) });
    let ended = converse(dialog, responder, options);
    runtime.block_on(client.shutdown());
    runtime.shutdown_background();
    ended
}

/// How the model looks at what is attached; none if it reads text only.
fn eyes(llm: &Llm) -> Option<Look> {
    let takes = |modality| llm.takes(modality);
    if !takes(Modality::Image) && !takes(Modality::Audio) {
        return None;
    }
    let llm = llm.clone();
    Some(Arc::new(move |part: &Part| match part {
        Part::Image(image) if llm.takes(Modality::Image) => {
            let look = llm.look(image).map_err(|error| error.to_string())?;
            let look =
                look.map(|it| format!("{} × {} pixels, {} tokens", it.width, it.height, it.tokens));
            Ok(look.unwrap_or_default())
        }
        Part::Audio(_) if llm.takes(Modality::Audio) => Ok("sound".to_owned()),
        other => Err(format!("this model takes no {}", other.kind())),
    }))
}

/// One question, a conversation in lines, or one on the whole terminal.
fn converse(
    mut dialog: Dialog,
    responder: Arc<dyn Responder>,
    options: ChatOptions,
) -> anyhow::Result<()> {
    if let Some(prompt) = options.prompt {
        let mut out = std::io::stdout();
        let safe = out.is_terminal();
        return once(&mut dialog, &*responder, &prompt, safe, &mut out);
    }
    let stdin = std::io::stdin();
    if options.plain || !stdin.is_terminal() || !std::io::stdout().is_terminal() {
        let channels = lines::read_lines(|| Box::new(BufReader::new(std::io::stdin())))?;
        let sender = channels.0.clone();
        signals::listen(move |signal| {
            sender
                .send(match signal {
                    Signal::Interrupt => lines::Event::Interrupt,
                    Signal::Terminate => lines::Event::Terminate,
                })
                .is_ok()
        })?;
        let quiet_input = !stdin.is_terminal();
        return closed_is_fine(lines::run(
            dialog,
            responder,
            channels,
            &mut std::io::stdout(),
            quiet_input,
        ));
    }
    let (history, warning) = History::open(options.history_file);
    let app = move |width| App::new(dialog, history, warning.as_deref(), width);
    Ok(tui::run(app, responder)?)
}

/// Answers one question; only the answer goes to `out`.
fn once(
    dialog: &mut Dialog,
    responder: &dyn Responder,
    prompt: &str,
    safe: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Outcome::Ask(ask, _) = dialog.say(prompt, Instant::now()) else { return Ok(()) };
    let mut answer = responder.respond(ask, None)?;
    let mut ends_line = false;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    while let Some(delta) = runtime.block_on(answer.next()) {
        let Delta::Text { text, .. } = delta? else { continue };
        if text.is_empty() {
            continue;
        }
        ends_line = text.ends_with('\n');
        let text = if safe { width::harmless(&text) } else { text };
        write!(out, "{text}")?;
        out.flush()?;
    }
    if !ends_line {
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

/// Whoever read our output has gone: an end like any other.
fn closed_is_fine(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use answer::Answer;
    use mistralrs_core::loading::progress::Progress;
    use mistralrs_core::{Audio, Image, LoadOptions, RequestError};
    use mistralrs_testkit::{fixture, stories260k};

    struct Fixed(Vec<Result<&'static str, RequestError>>);

    impl Responder for Fixed {
        fn respond(
            &self,
            _: session::Ask,
            _: Option<consent::Asker>,
        ) -> Result<Answer, RequestError> {
            let deltas: Vec<_> = self
                .0
                .iter()
                .cloned()
                .map(|it| {
                    it.map(|text| Delta::Text {
                        text: text.into(),
                        token_ids: vec![1],
                        logprobs: vec![],
                    })
                })
                .collect();
            Ok(futures::stream::iter(deltas).boxed())
        }
    }

    fn answer(
        pieces: Vec<Result<&'static str, RequestError>>,
        safe: bool,
    ) -> anyhow::Result<String> {
        let model =
            ModelFacts { name: "x".into(), context_tokens: 9, has_template: true, opening: None };
        let mut dialog = Dialog::new(model, Session::new(true, None, SamplingParams::default()));
        let mut out = Vec::new();
        once(&mut dialog, &Fixed(pieces), "/help is only text here", safe, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn one_answer_and_nothing_else() {
        assert_eq!(answer(vec![Ok("a"), Ok(" b")], true).unwrap(), "a b\n");
        assert_eq!(answer(vec![Ok("a\n"), Ok("")], true).unwrap(), "a\n");
        assert_eq!(answer(vec![Ok("\u{1b}[2J")], false).unwrap(), "\u{1b}[2J\n");
        assert!(!answer(vec![Ok("\u{1b}[2J")], true).unwrap().contains('\u{1b}'));
        assert!(answer(vec![Ok("a"), Err(RequestError::Shutdown)], true).is_err());
    }

    #[test]
    fn size_and_tokens_of_a_picture_are_told() {
        let load = |folder: PathBuf| {
            let (progress, warm_up) = (Progress::silent(), false);
            let model = folder.to_string_lossy();
            Llm::load(LoadOptions { progress, warm_up, ..LoadOptions::new(model) }).unwrap()
        };
        let look = eyes(&load(fixture("qwen3-vl"))).unwrap();
        let file = std::fs::read(fixture("qwen3-vl").join("images/0.png")).unwrap();
        assert_eq!(look(&Part::Image(Image::new(file))).unwrap(), "40 × 24 pixels, 15 tokens");
        assert!(look(&Part::Image(Image::new(vec![1, 2, 3]))).is_err());
        let sound = Part::Audio(Audio { bytes: vec![1].into() });
        assert!(look(&sound).unwrap_err().contains("no audio"));
        assert!(eyes(&load(stories260k())).is_none());
    }
}
