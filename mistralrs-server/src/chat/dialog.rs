//! One conversation with its commands, the answer in the making and the figures of the last one:
//! everything both front ends share. Knows no terminal; time comes in with the news.

use super::attach;
use super::commands::{self, Command, Input};
use super::consent::{Consent, Reply};
use super::session::{Ask, Session};
use mistralrs_core::agent::ToolProgress;
use mistralrs_core::{Delta, FinishReason, Part, RequestError, RequestErrorKind, Usage};
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest part of arguments or results that is shown.
const MAX_TOOL_CHARS: usize = 200;

/// What the chat has to know about the model.
#[derive(Debug, Clone)]
pub struct ModelFacts {
    /// Shown in the status line.
    pub name: String,
    /// Most tokens of prompt and answer together.
    pub context_tokens: usize,
    /// Without a template the text is only continued.
    pub has_template: bool,
    /// What else the user is told at the start.
    pub opening: Option<&'static str>,
}

/// What an input leads to.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing.
    Nothing,
    /// Something to tell the user.
    Notice(String),
    /// Something went wrong; the chat goes on.
    Problem(String),
    /// A request to send; its news go to [`Dialog::news`]. What is told comes first.
    Ask(Ask, Option<String>),
    /// Leave.
    Exit,
}

/// What came from the engine about the answer in the making.
#[derive(Debug)]
pub enum News {
    /// A piece of it.
    Delta(Delta),
    /// A tool wants to run.
    Consent(Box<Consent>),
    /// It failed.
    Failed(RequestError),
    /// The stream ended.
    Closed,
}

/// What the news mean for the user.
#[derive(Debug, PartialEq)]
pub enum Progress {
    /// Nothing to show.
    Nothing,
    /// More text of the answer.
    Text(String),
    /// A tool runs, or has run: a line about it.
    Tool(String),
    /// A tool wants to run: a question, for [`Dialog::reply`].
    Question(String),
    /// The answer is complete.
    Ended(Ending),
}

/// How an answer ended.
#[derive(Debug, PartialEq, Default)]
pub struct Ending {
    /// It was cut off: show `…`.
    pub cut_off: bool,
    /// What to tell the user.
    pub problem: Option<String>,
    /// The question, when it was taken back because nothing was answered.
    pub taken_back: Option<String>,
}

/// The figures of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, from the prefix cache.
    pub cached_tokens: usize,
    /// Tokens of the answer.
    pub completion_tokens: usize,
    /// From asking to the first token.
    pub time_to_first_token: Duration,
    /// From the first token to the last.
    pub decode_time: Duration,
}

struct Answer {
    text: String,
    asked: Instant,
    first: Option<Instant>,
    figures: Figures,
    finished: Option<FinishReason>,
}

/// The conversation.
pub struct Dialog {
    model: ModelFacts,
    session: Session,
    answer: Option<Answer>,
    last: Option<Figures>,
    full: bool,
    /// Calls that wait for a reply, in order.
    questions: VecDeque<Consent>,
    /// Tools that may run unasked from now on.
    granted: BTreeSet<String>,
    tools: Option<ToolsReport>,
    eyes: Option<Look>,
    /// Goes with the next question.
    attached: Vec<Part>,
}

/// Says what a picture or a sound will be to the model, or why it cannot take it.
pub type Look = Arc<dyn Fn(&Part) -> Result<String, String> + Send + Sync>;

/// Tells about the tools at this moment.
pub type ToolsReport = Arc<dyn Fn() -> String + Send + Sync>;

impl Dialog {
    /// A conversation about to start.
    pub fn new(model: ModelFacts, session: Session) -> Self {
        Self {
            model,
            session,
            answer: None,
            last: None,
            full: false,
            questions: VecDeque::new(),
            granted: BTreeSet::new(),
            tools: None,
            eyes: None,
            attached: Vec::new(),
        }
    }

    /// The same for a model that takes pictures or sounds.
    #[must_use]
    pub fn with_eyes(mut self, eyes: Option<Look>) -> Self {
        self.eyes = eyes;
        self
    }

    /// The same with tools, of which `report` tells.
    #[must_use]
    pub fn with_tools(mut self, report: Option<ToolsReport>) -> Self {
        self.tools = report;
        self
    }

    /// The first lines the user sees.
    pub fn greeting(&self) -> String {
        let mut text = format!(
            "{} · context {} tokens · /help lists the commands",
            self.model.name, self.model.context_tokens
        );
        if let Some(opening) = self.model.opening {
            text.push('\n');
            text.push_str(opening);
        }
        if !self.model.has_template {
            text.push_str(
                "\nThis model has no chat template: it continues your text instead of answering it. \
                 /clear starts a new text.",
            );
        }
        text
    }

    /// The model's facts.
    pub fn model(&self) -> &ModelFacts {
        &self.model
    }

    /// The figures of the answer in the making, else of the last one.
    pub fn figures(&self) -> Option<Figures> {
        self.answer
            .as_ref()
            .filter(|answer| answer.first.is_some())
            .map(|it| it.figures.clone())
            .or(self.last.clone())
    }

    /// Tokens the conversation takes so far.
    pub fn context_used(&self) -> usize {
        self.figures().map_or(0, |figures| figures.prompt_tokens + figures.completion_tokens)
    }

    /// Understands an input and does what it says.
    pub fn enter(&mut self, input: &str, now: Instant) -> Outcome {
        match commands::parse(input) {
            Input::Empty => Outcome::Nothing,
            Input::Mistake(text) => Outcome::Problem(text),
            Input::Command(command) => self.execute(command, now),
            Input::Say(_) if self.full => Outcome::Problem(self.full_text()),
            Input::Say(text) => self.say_with_files(&text, now),
        }
    }

    /// Files that the text names go with it; if one cannot be read, nothing is said.
    fn say_with_files(&mut self, text: &str, now: Instant) -> Outcome {
        if self.eyes.is_none() {
            return self.say(text, now);
        }
        let (rest, paths) = attach::split(text);
        let before = self.attached.len();
        let attached = paths.iter().map(|path| self.attach(path)).collect::<Result<Vec<_>, _>>();
        let told = match attached {
            Ok(told) => told,
            Err(problem) => {
                self.attached.truncate(before);
                return Outcome::Problem(problem);
            }
        };
        if rest.is_empty() {
            return Outcome::Notice(told.join("\n"));
        }
        let ask = self.session.say(&rest, std::mem::take(&mut self.attached));
        self.begin(ask, (!told.is_empty()).then(|| told.join("\n")), now)
    }

    /// Puts a file beside the next question and tells what it is.
    fn attach(&mut self, path: &Path) -> Result<String, String> {
        let Some(look) = &self.eyes else { return Err("This model reads text only.".to_owned()) };
        let part = attach::read(path)?;
        let failed = |reason| format!("Cannot attach {}: {reason}.", path.display());
        let seen = look(&part).map_err(failed)?;
        self.attached.push(part);
        Ok(format!("Attached {}: {seen}.", path.display()))
    }

    /// The same for text that is never a command.
    pub fn say(&mut self, text: &str, now: Instant) -> Outcome {
        let ask = self.session.say(text, Vec::new());
        self.begin(ask, None, now)
    }

    /// Takes in what came about the answer in the making.
    pub fn news(&mut self, news: News, now: Instant) -> Progress {
        let Some(answer) = &mut self.answer else { return Progress::Nothing };
        match news {
            News::Delta(delta) => answer.take(delta, now),
            News::Consent(consent) => self.ask(*consent),
            News::Failed(error) => Progress::Ended(self.fail(&error)),
            News::Closed => Progress::Ended(self.end(false)),
        }
    }

    /// Whether a tool waits for the user's reply.
    pub fn asks(&self) -> bool {
        !self.questions.is_empty()
    }

    /// The user's reply to the question; the next question, if there is one.
    pub fn reply(&mut self, reply: Reply) -> Progress {
        let Some(consent) = self.questions.pop_front() else { return Progress::Nothing };
        if reply == Reply::Always {
            self.granted.insert(consent.tool.name.clone());
        }
        consent.answer(reply);
        let waiting = std::mem::take(&mut self.questions);
        let mut progress = Progress::Nothing;
        for consent in waiting {
            if let question @ Progress::Question(_) = self.ask(consent) {
                progress = question;
            }
        }
        progress
    }

    /// Puts a question, unless it was answered for good; only the first of several is shown.
    fn ask(&mut self, consent: Consent) -> Progress {
        if self.granted.contains(&consent.tool.name) {
            consent.answer(Reply::Yes);
            return Progress::Nothing;
        }
        let question = consent.question();
        self.questions.push_back(consent);
        match self.questions.len() {
            1 => Progress::Question(question),
            _ => Progress::Nothing,
        }
    }

    /// The user stopped the answer; what there is of it stays in the conversation.
    pub fn stop(&mut self) -> Ending {
        self.end(true)
    }

    /// The figures of the last answer as a block of lines.
    pub fn statistics(&self) -> Option<String> {
        let figures = self.last.as_ref()?;
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |it| format!("{it:.1}"));
        Some(format!(
            "Stats:\nTime to first token: {:.3} s\nPrompt: {} tokens ({} cached), {} T/s\n\
             Decode: {} tokens, {} T/s\nContext: {} of {} tokens",
            figures.time_to_first_token.as_secs_f64(),
            figures.prompt_tokens,
            figures.cached_tokens,
            rate(figures.prompt_rate()),
            figures.completion_tokens,
            rate(figures.decode_rate()),
            self.context_used(),
            self.model.context_tokens,
        ))
    }

    fn execute(&mut self, command: Command, now: Instant) -> Outcome {
        let sampling = &mut self.session.sampling;
        match command {
            Command::Help => Outcome::Notice(commands::help()),
            Command::Exit => Outcome::Exit,
            Command::Temperature(value) => {
                sampling.temperature = Some(value);
                Outcome::Notice(format!("Temperature is {value}."))
            }
            Command::TopK(value) => {
                sampling.top_k = Some(value);
                Outcome::Notice(format!("Top-k is {value}."))
            }
            Command::TopP(value) => {
                sampling.top_p = Some(value);
                Outcome::Notice(format!("Top-p is {value}."))
            }
            Command::System(None) => Outcome::Notice(match self.session.system() {
                Some(text) => format!("System text: {text}"),
                None => "No system text. Format: /system TEXT.".to_owned(),
            }),
            Command::System(Some(text)) => {
                tracing::debug!(%text, "system text set");
                self.session.set_system(text);
                Outcome::Notice("System text set.".to_owned())
            }
            Command::Clear => {
                self.session.clear();
                self.attached.clear();
                self.forget_figures();
                Outcome::Notice("Conversation cleared.".to_owned())
            }
            Command::Undo => match self.session.undo() {
                Some(text) => {
                    self.forget_figures();
                    Outcome::Notice(format!("Forgot: {}", first_line(&text)))
                }
                None => Outcome::Problem("There is nothing to undo.".to_owned()),
            },
            Command::Retry => match self.session.retry() {
                Some(ask) => self.begin(ask, None, now),
                None => Outcome::Problem("There is nothing to answer again.".to_owned()),
            },
            Command::Image(path) => match self.attach(&path) {
                Ok(told) => Outcome::Notice(told),
                Err(problem) => Outcome::Problem(problem),
            },
            Command::Mcp => match &self.tools {
                Some(report) => Outcome::Notice(report()),
                None => {
                    Outcome::Problem("No MCP servers: start with --mcp-config FILE.".to_owned())
                }
            },
            Command::Stats => match self.statistics() {
                Some(text) => Outcome::Notice(text),
                None => Outcome::Problem("There is no answer yet.".to_owned()),
            },
            Command::Save(file) => match self.session.save(&file) {
                Ok(()) => {
                    let count = self.session.messages().len();
                    Outcome::Notice(format!("Saved {count} messages to {}.", file.display()))
                }
                Err(text) => Outcome::Problem(text),
            },
            Command::Load(file) => match self.session.load(&file) {
                Ok(()) => {
                    self.forget_figures();
                    let count = self.session.messages().len();
                    Outcome::Notice(format!("Loaded {count} messages from {}.", file.display()))
                }
                Err(text) => Outcome::Problem(text),
            },
        }
    }

    fn begin(&mut self, ask: Ask, told: Option<String>, now: Instant) -> Outcome {
        self.full = false;
        tracing::debug!(?ask, "asking");
        self.answer = Some(Answer {
            text: String::new(),
            asked: now,
            first: None,
            figures: Figures::default(),
            finished: None,
        });
        Outcome::Ask(ask, told)
    }

    fn end(&mut self, stopped: bool) -> Ending {
        self.questions.clear();
        let Some(answer) = self.answer.take() else { return Ending::default() };
        let figures = answer.figures;
        let used = figures.prompt_tokens + figures.completion_tokens;
        let at_length = answer.finished == Some(FinishReason::Length);
        self.full = at_length && used >= self.model.context_tokens;
        let mut ending = Ending { cut_off: at_length || stopped, ..Ending::default() };
        if answer.text.is_empty() && stopped {
            ending.taken_back = self.session.take_back();
        } else {
            self.session.answered(&answer.text);
        }
        if self.full {
            ending.problem = Some(self.full_text());
        }
        if figures.prompt_tokens > 0 {
            self.last = Some(figures);
        }
        ending
    }

    fn fail(&mut self, error: &RequestError) -> Ending {
        self.questions.clear();
        let begun = self.answer.take().map(|answer| answer.text).filter(|text| !text.is_empty());
        let cut_off = begun.is_some();
        let taken_back = match begun {
            Some(text) => {
                self.session.answered(&text);
                None
            }
            None => self.session.take_back(),
        };
        let mut problem = format!("Error: {error}.");
        if error.kind() == RequestErrorKind::TooLong {
            problem = format!(
                "The conversation no longer fits: {error}. /undo forgets the last question, /clear everything."
            );
        }
        Ending { cut_off, problem: Some(problem), taken_back }
    }

    fn full_text(&self) -> String {
        format!(
            "The context of {} tokens is full. Nothing is dropped by itself: /undo forgets the last \
             question and its answer, /clear everything.",
            self.model.context_tokens
        )
    }

    fn forget_figures(&mut self) {
        self.full = false;
        self.last = None;
    }
}

impl Answer {
    fn take(&mut self, delta: Delta, now: Instant) -> Progress {
        match delta {
            Delta::Prompt { prompt_tokens, cached_tokens, .. } => {
                self.figures.prompt_tokens = prompt_tokens;
                self.figures.cached_tokens = cached_tokens;
                Progress::Nothing
            }
            Delta::Text { text, token_ids, .. } => {
                let first = *self.first.get_or_insert(now);
                self.figures.time_to_first_token = first - self.asked;
                self.figures.decode_time = now - first;
                self.figures.completion_tokens += token_ids.len();
                self.text.push_str(&text);
                if text.is_empty() { Progress::Nothing } else { Progress::Text(text) }
            }
            // Shown, and not part of what is remembered.
            Delta::Reasoning { text, token_ids, .. } => {
                self.first.get_or_insert(now);
                self.figures.completion_tokens += token_ids.len();
                Progress::Text(text)
            }
            // Those of tools that do not run here; none are offered.
            Delta::ToolCall { .. } => Progress::Nothing,
            Delta::ToolProgress(progress) => Progress::Tool(tool_line(&progress)),
            Delta::Finished { reason, usage, .. } => {
                self.finished = Some(reason);
                self.figures = Figures::from(&usage);
                Progress::Nothing
            }
        }
    }
}

impl From<&Usage> for Figures {
    fn from(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            completion_tokens: usage.completion_tokens,
            time_to_first_token: usage.time_to_first_token,
            decode_time: usage.decode_time,
        }
    }
}

impl Figures {
    /// Prompt tokens computed per second.
    pub fn prompt_rate(&self) -> Option<f64> {
        rate(self.prompt_tokens.saturating_sub(self.cached_tokens), self.time_to_first_token)
    }

    /// Tokens generated per second; the first one belongs to the prompt.
    pub fn decode_rate(&self) -> Option<f64> {
        rate(self.completion_tokens.saturating_sub(1), self.decode_time)
    }
}

fn rate(tokens: usize, time: Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
}

/// What runs, or the beginning of what came back.
fn tool_line(progress: &ToolProgress) -> String {
    let short = |text: &str| {
        let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((cut, _)) = line.char_indices().nth(MAX_TOOL_CHARS) {
            line.truncate(cut);
            line.push('…');
        }
        line
    };
    match progress {
        ToolProgress::Started(call) => format!("→ {} {}", call.name, short(&call.arguments)),
        ToolProgress::Finished { call, output } if output.is_error => {
            format!("✗ {}: {}", call.name, short(&output.text))
        }
        ToolProgress::Finished { call, output } => {
            format!("← {}: {}", call.name, short(&output.text))
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mistralrs_core::{Content, Message, Role, SamplingParams};

    fn dialog() -> Dialog {
        let model = ModelFacts {
            name: "tiny".into(),
            context_tokens: 20,
            has_template: true,
            opening: None,
        };
        Dialog::new(model, Session::new(true, None, SamplingParams::default()))
    }

    fn text(text: &str) -> News {
        News::Delta(Delta::Text { text: text.into(), token_ids: vec![1], logprobs: Vec::new() })
    }

    fn prompt(prompt_tokens: usize) -> News {
        News::Delta(Delta::Prompt {
            prompt_tokens,
            cached_tokens: 0,
            truncated_tokens: 0,
            logprobs: Vec::new(),
        })
    }

    fn finished(reason: FinishReason, prompt_tokens: usize, completion_tokens: usize) -> News {
        let usage = Usage { prompt_tokens, completion_tokens, ..Usage::default() };
        News::Delta(Delta::Finished { reason, stop_string: None, usage })
    }

    fn said(dialog: &Dialog) -> Vec<&'static str> {
        dialog.session.messages().iter().map(|message| message.role.as_str()).collect()
    }

    #[test]
    fn an_answer_from_question_to_figures() {
        let mut dialog = dialog();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(matches!(dialog.enter("hello", at(0)), Outcome::Ask(Ask::Chat(_), None)));
        assert_eq!(dialog.news(prompt(5), at(40)), Progress::Nothing);
        assert_eq!(dialog.news(text("Hi"), at(50)), Progress::Text("Hi".into()));
        assert_eq!(dialog.news(text(""), at(60)), Progress::Nothing);
        dialog.news(text("!"), at(150));
        let figures = dialog.figures().unwrap();
        assert_eq!((figures.completion_tokens, figures.time_to_first_token.as_millis()), (3, 50));
        assert_eq!(figures.decode_rate(), Some(20.0));
        assert_eq!(dialog.context_used(), 8);
        dialog.news(finished(FinishReason::Stop, 5, 4), at(160));
        assert_eq!(dialog.news(News::Closed, at(161)), Progress::Ended(Ending::default()));
        assert_eq!(dialog.news(News::Closed, at(162)), Progress::Nothing, "late news are nothing");
        assert_eq!(said(&dialog), ["user", "assistant"]);
        let statistics = dialog.statistics().unwrap();
        assert!(
            statistics.contains("Prompt: 5 tokens") && statistics.contains("Context: 9 of 20"),
            "{statistics}"
        );
    }

    #[test]
    fn stopping_keeps_what_there_is() {
        let mut dialog = dialog();
        dialog.enter("a", Instant::now());
        dialog.news(text("half"), Instant::now());
        assert_eq!(dialog.stop(), Ending { cut_off: true, ..Ending::default() });
        assert_eq!(said(&dialog), ["user", "assistant"]);
        dialog.enter("b", Instant::now());
        assert_eq!(dialog.stop().taken_back.as_deref(), Some("b"));
        assert_eq!(said(&dialog), ["user", "assistant"]);
        assert_eq!(dialog.stop(), Ending::default());
    }

    #[test]
    fn a_full_context_is_told_and_nothing_is_dropped() {
        let mut dialog = dialog();
        dialog.enter("a", Instant::now());
        dialog.news(text("x"), Instant::now());
        dialog.news(finished(FinishReason::Length, 5, 15), Instant::now());
        let Progress::Ended(ending) = dialog.news(News::Closed, Instant::now()) else { panic!() };
        assert!(ending.cut_off && ending.problem.unwrap().contains("/undo"));
        assert!(
            matches!(dialog.enter("b", Instant::now()), Outcome::Problem(it) if it.contains("full"))
        );
        assert_eq!(said(&dialog), ["user", "assistant"]);
        assert!(matches!(dialog.enter("/undo", Instant::now()), Outcome::Notice(_)));
        assert!(matches!(dialog.enter("b", Instant::now()), Outcome::Ask(..)));
    }

    #[test]
    fn an_answer_cut_by_its_own_limit_leaves_the_context_open() {
        let mut dialog = dialog();
        dialog.enter("a", Instant::now());
        dialog.news(finished(FinishReason::Length, 5, 5), Instant::now());
        let Progress::Ended(ending) = dialog.news(News::Closed, Instant::now()) else { panic!() };
        assert_eq!(ending, Ending { cut_off: true, ..Ending::default() });
        assert!(matches!(dialog.enter("b", Instant::now()), Outcome::Ask(..)));
    }

    #[test]
    fn errors_take_the_question_back() {
        let mut dialog = dialog();
        dialog.enter("a", Instant::now());
        let error = RequestError::TooLong { prompt_tokens: 30, limit: 20 };
        let Progress::Ended(ending) = dialog.news(News::Failed(error), Instant::now()) else {
            panic!()
        };
        assert_eq!(ending.taken_back.as_deref(), Some("a"));
        assert!(ending.problem.unwrap().contains("/clear"));
        assert!(said(&dialog).is_empty());
        dialog.enter("b", Instant::now());
        dialog.news(text("x"), Instant::now());
        let Progress::Ended(ending) =
            dialog.news(News::Failed(RequestError::Shutdown), Instant::now())
        else {
            panic!()
        };
        assert!(ending.taken_back.is_none() && ending.cut_off);
        assert_eq!(said(&dialog), ["user", "assistant"]);
    }

    #[test]
    fn commands_change_the_next_request() {
        let mut dialog = dialog();
        for line in ["/temperature 0.5", "\\topk 7", "/topp 0.9", "\\system Be brief."] {
            assert!(matches!(dialog.enter(line, Instant::now()), Outcome::Notice(_)), "{line}");
        }
        let Outcome::Ask(Ask::Chat(request), _) = dialog.enter("x", Instant::now()) else {
            panic!()
        };
        let sampling = &request.options.sampling;
        assert_eq!(
            (sampling.temperature, sampling.top_k, sampling.top_p),
            (Some(0.5), Some(7), Some(0.9))
        );
        assert_eq!(request.messages[0].role.as_str(), "system");
        assert!(matches!(dialog.enter("/exit", Instant::now()), Outcome::Exit));
    }

    #[test]
    fn pictures_go_with_the_next_question() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a cat.png");
        std::fs::write(&file, [1, 2, 3]).unwrap();
        let named = file.display();
        let mut blind = dialog();
        assert!(matches!(blind.enter(&format!("/image {named}"), Instant::now()),
            Outcome::Problem(text) if text.contains("text only")));
        let said = format!("what is '{named}'?");
        let Outcome::Ask(Ask::Chat(request), None) = blind.enter(&said, Instant::now()) else {
            panic!()
        };
        assert_eq!(request.messages[0], Message::text(Role::User, said.as_str()));

        let mut dialog = dialog().with_eyes(Some(Arc::new(|part| match part {
            Part::Image(image) => Ok(format!("{} bytes", image.bytes.len())),
            other => Err(format!("no {}", other.kind())),
        })));
        let Outcome::Notice(told) = dialog.enter(&format!("/image {named}"), Instant::now()) else {
            panic!()
        };
        assert!(told.contains("a cat.png") && told.contains("3 bytes"), "{told}");
        let Outcome::Ask(Ask::Chat(request), Some(told)) = dialog.enter(&said, Instant::now())
        else {
            panic!()
        };
        assert!(told.contains("3 bytes"));
        let Content::Parts(parts) = &request.messages[0].content else { panic!() };
        let kinds: Vec<_> = parts.iter().map(Part::kind).collect();
        assert_eq!(
            (kinds.as_slice(), parts[2].as_text()),
            (["image", "image", "text"].as_slice(), Some("what is ?"))
        );
        dialog.news(text("A cat."), Instant::now());
        dialog.news(News::Closed, Instant::now());
        let said = dialog.session.messages().len();
        for line in ["and nothing.png?", "/image nothing.png", "hear x.wav"] {
            let Outcome::Problem(text) = dialog.enter(line, Instant::now()) else {
                panic!("{line}")
            };
            assert!(text.contains("Cannot attach"), "{text}");
        }
        assert_eq!(dialog.session.messages().len(), said);
    }
}
