//! Line mode, for when standard input or output is no terminal: one line in, one answer out.
//! Prints text as it comes; knows no keys and no colors.

use super::answer::{self, Responder, Stopper};
use super::consent::Reply;
use super::dialog::{Dialog, Ending, News, Outcome, Progress};
use super::width::harmless;
use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// What line mode reacts to.
#[derive(Debug)]
pub enum Event {
    /// A line of input, without its end.
    Line(String),
    /// No more input.
    EndOfInput,
    /// Ctrl-C.
    Interrupt,
    /// The process is told to end.
    Terminate,
    /// About the answer with this number.
    News(u64, News),
}

struct Lines<'a> {
    dialog: Dialog,
    responder: Arc<dyn Responder>,
    out: &'a mut dyn Write,
    sender: Sender<Event>,
    answering: Option<Stopper>,
    number: u64,
    /// Lines that came in while an answer was running.
    waiting: VecDeque<Event>,
    /// A line that ended in a backslash and goes on.
    begun: String,
    /// Whether the terminal does not show the user's line end: then we write one.
    quiet_input: bool,
}

/// A channel for [`run`], fed with the lines of `input` by a thread.
///
/// # Errors
/// When the thread cannot be started.
pub fn read_lines(
    input: impl FnOnce() -> Box<dyn BufRead> + Send + 'static,
) -> io::Result<(Sender<Event>, Receiver<Event>)> {
    let (sender, receiver) = channel();
    let events = sender.clone();
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut input = input();
        let mut line = Vec::new();
        // An unreadable input is an ended one.
        while matches!(input.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            if events.send(Event::Line(text)).is_err() {
                return;
            }
        }
        // The receiver may be gone; then nobody needs to know.
        let _ = events.send(Event::EndOfInput);
    })?;
    Ok((sender, receiver))
}

/// Runs until the input ends, `/exit`, or Ctrl-C at the prompt.
///
/// # Errors
/// When the output cannot be written.
pub fn run(
    dialog: Dialog,
    responder: Arc<dyn Responder>,
    (sender, events): (Sender<Event>, Receiver<Event>),
    out: &mut dyn Write,
    quiet_input: bool,
) -> io::Result<()> {
    let mut lines = Lines {
        dialog,
        responder,
        out,
        sender,
        answering: None,
        number: 0,
        waiting: VecDeque::new(),
        begun: String::new(),
        quiet_input,
    };
    writeln!(lines.out, "{}", lines.dialog.greeting())?;
    lines.prompt()?;
    loop {
        let next = if lines.answering.is_none() { lines.waiting.pop_front() } else { None };
        let event = match next {
            Some(event) => event,
            None => match events.recv() {
                Ok(event) => event,
                Err(_) => return Ok(()),
            },
        };
        if lines.take(event)? {
            return lines.out.flush();
        }
    }
}

impl Lines<'_> {
    /// Reacts to one event; `true` = leave.
    fn take(&mut self, event: Event) -> io::Result<bool> {
        match event {
            Event::News(number, news) if number == self.number && self.answering.is_some() => {
                match self.dialog.news(news, Instant::now()) {
                    Progress::Nothing => {}
                    Progress::Text(text) => {
                        write!(self.out, "{}", harmless(&text))?;
                        self.out.flush()?;
                    }
                    Progress::Tool(line) => writeln!(self.out, "\n{}", harmless(&line))?,
                    Progress::Question(text) => self.question(&text)?,
                    Progress::Ended(ending) => self.ended(&ending)?,
                }
                Ok(false)
            }
            Event::News(..) => Ok(false),
            Event::Interrupt if self.answering.is_some() => {
                let ending = self.dialog.stop();
                self.ended(&ending)?;
                Ok(false)
            }
            Event::Interrupt => {
                writeln!(self.out)?;
                Ok(true)
            }
            Event::Terminate => Ok(true),
            Event::Line(line) if self.dialog.asks() => {
                self.reply(Reply::of(&line))?;
                Ok(false)
            }
            event if self.answering.is_some() => {
                self.waiting.push_back(event);
                if self.dialog.asks() {
                    // Nobody is left to reply.
                    self.reply(Reply::No)?;
                }
                Ok(false)
            }
            Event::EndOfInput => {
                writeln!(self.out)?;
                Ok(true)
            }
            Event::Line(line) => self.line(&line),
        }
    }

    fn line(&mut self, line: &str) -> io::Result<bool> {
        if self.quiet_input {
            writeln!(self.out)?;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            self.begun.push_str(begun);
            self.begun.push('\n');
            write!(self.out, ". ")?;
            self.out.flush()?;
            return Ok(false);
        }
        let text = std::mem::take(&mut self.begun) + line;
        match self.dialog.enter(&text, Instant::now()) {
            Outcome::Nothing => {}
            Outcome::Notice(text) => writeln!(self.out, "{}", harmless(&text))?,
            Outcome::Problem(text) => writeln!(self.out, "{}", harmless(&text))?,
            Outcome::Exit => return Ok(true),
            Outcome::Ask(ask, told) => {
                if let Some(told) = told {
                    writeln!(self.out, "{}", harmless(&told))?;
                }
                self.number += 1;
                let (number, sender) = (self.number, self.sender.clone());
                let tell = move |news| {
                    // Line mode may have ended; then nobody needs to know.
                    let _ = sender.send(Event::News(number, news));
                };
                self.answering = Some(answer::start(Arc::clone(&self.responder), ask, tell)?);
                return Ok(false);
            }
        }
        self.prompt()?;
        Ok(false)
    }

    /// Shows a question; what was typed ahead is the reply.
    fn question(&mut self, text: &str) -> io::Result<()> {
        write!(self.out, "\n{} ", harmless(text))?;
        self.out.flush()?;
        match self.waiting.front() {
            Some(Event::Line(line)) => {
                let reply = Reply::of(line);
                self.waiting.pop_front();
                self.reply(reply)
            }
            Some(_) => self.reply(Reply::No),
            None => Ok(()),
        }
    }

    fn reply(&mut self, reply: Reply) -> io::Result<()> {
        if self.quiet_input {
            writeln!(self.out)?;
        }
        match self.dialog.reply(reply) {
            Progress::Question(text) => self.question(&text),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, ending: &Ending) -> io::Result<()> {
        self.answering = None;
        writeln!(self.out, "{}", if ending.cut_off { "…" } else { "" })?;
        if let Some(problem) = &ending.problem {
            writeln!(self.out, "{}", harmless(problem))?;
        }
        if ending.taken_back.is_none()
            && let Some(statistics) = self.dialog.statistics()
        {
            writeln!(self.out, "\n{statistics}")?;
        }
        self.prompt()
    }

    fn prompt(&mut self) -> io::Result<()> {
        write!(self.out, "> ")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::answer::Answer;
    use crate::chat::consent::Asker;
    use crate::chat::consent::Person;
    use crate::chat::dialog::ModelFacts;
    use crate::chat::session::{Ask, Session};
    use expect_test::{Expect, expect};
    use futures::StreamExt as _;
    use mistralrs_core::agent::{
        Approval, Approver as _, ToolOutput, ToolProgress, ToolSpec, Verdict,
    };
    use mistralrs_core::{Delta, FinishReason, RequestError, SamplingParams, ToolCall, Usage};

    /// Answers with the last message in capitals; `fail` fails, `hang` never ends.
    struct Shouter;

    impl Responder for Shouter {
        fn respond(&self, ask: Ask, _: Option<Asker>) -> Result<Answer, RequestError> {
            let Ask::Chat(request) = ask else { panic!() };
            let text = format!("{:?}", request.messages.last().unwrap().content).to_uppercase();
            if text.contains("FAIL") {
                return Err(RequestError::Overloaded { queued: 3 });
            }
            let mut deltas = vec![
                Ok(Delta::Prompt {
                    prompt_tokens: 3,
                    cached_tokens: 1,
                    truncated_tokens: 0,
                    logprobs: vec![],
                }),
                Ok(Delta::Text { text, token_ids: vec![1, 2], logprobs: vec![] }),
            ];
            if matches!(&deltas[1], Ok(Delta::Text { text, .. }) if text.contains("HANG")) {
                return Ok(futures::stream::iter(deltas).chain(futures::stream::pending()).boxed());
            }
            let usage = Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() };
            deltas.push(Ok(Delta::Finished {
                reason: FinishReason::Stop,
                stop_string: None,
                usage,
            }));
            Ok(futures::stream::iter(deltas).boxed())
        }
    }

    /// Wants to run a tool for every answer; says what became of it.
    struct Asks;

    impl Responder for Asks {
        fn respond(&self, _: Ask, asker: Option<Asker>) -> Result<Answer, RequestError> {
            let asker = asker.unwrap();
            let tool = ToolSpec {
                name: "now".into(),
                description: None,
                parameters: serde_json::json!({}),
                origin: "clock".into(),
                approval: Approval::Unsaid,
            };
            let call = ToolCall { id: "1".into(), name: "now".into(), arguments: "{}".into() };
            let run = async move {
                let started = Delta::ToolProgress(ToolProgress::Started(call.clone()));
                let output = match Person(asker).approve(&tool, &call).await {
                    Verdict::Allow => ToolOutput { text: "12:30".into(), ..ToolOutput::default() },
                    Verdict::Deny(why) => ToolOutput::error(why),
                };
                let text = format!("It said: {}", output.text);
                let finished = Delta::ToolProgress(ToolProgress::Finished { call, output });
                let text = Delta::Text { text, token_ids: vec![], logprobs: vec![] };
                futures::stream::iter([started, finished, text].map(Ok))
            };
            Ok(futures::stream::once(run).flatten().boxed())
        }
    }

    #[test]
    fn tools_are_asked_for_shown_and_remembered() {
        let input = "time\nn\nagain\na\nonce more\n/mcp\nlast\n";
        let channels = read_lines(move || Box::new(input.as_bytes())).unwrap();
        let mut out = Vec::new();
        let report: crate::chat::dialog::ToolsReport = Arc::new(|| "a report".to_owned());
        run(dialog().with_tools(Some(report)), Arc::new(Asks), channels, &mut out, true).unwrap();
        let shown = String::from_utf8(out).unwrap();
        let question = "Run now of clock with {} ? y = yes, a = always, n = no";
        assert_eq!(shown.matches(question).count(), 2, "{shown}");
        assert!(shown.contains("✗ now: the user did not allow this call"), "{shown}");
        assert!(shown.contains("It said: the user did not allow this call"), "{shown}");
        assert_eq!(shown.matches("→ now {}\n").count(), 4, "{shown}");
        assert_eq!(shown.matches("← now: 12:30\n").count(), 3, "{shown}");
        assert!(shown.contains("a report"), "{shown}");
    }

    #[test]
    fn an_input_that_ends_refuses_what_is_asked() {
        let channels = read_lines(|| Box::new("time".as_bytes())).unwrap();
        let mut out = Vec::new();
        run(dialog(), Arc::new(Asks), channels, &mut out, true).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains("✗ now: the user did not allow this call"), "{shown}");
    }

    fn dialog() -> Dialog {
        let model = ModelFacts {
            name: "shouter".into(),
            context_tokens: 100,
            has_template: true,
            opening: None,
        };
        Dialog::new(model, Session::new(true, None, SamplingParams::default()))
    }

    fn check(input: &'static str, expected: Expect) {
        let channels = read_lines(move || Box::new(input.as_bytes())).unwrap();
        let mut out = Vec::new();
        run(dialog(), Arc::new(Shouter), channels, &mut out, true).unwrap();
        expected.assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn a_script() {
        check(
            "\nhello\\\nyou\n/topp 2\nfail\nlast",
            expect![[r#"
            shouter · context 100 tokens · /help lists the commands
            > 
            > 
            . 
            TEXT("HELLO\NYOU")

            Stats:
            Time to first token: 0.000 s
            Prompt: 3 tokens (0 cached), - T/s
            Decode: 2 tokens, - T/s
            Context: 5 of 100 tokens
            > 
            Format: /topp F, a number, 0 < F <= 1.
            > 

            Error: the server is busy: 3 requests are waiting (the limit); try again later.
            > 
            TEXT("LAST")

            Stats:
            Time to first token: 0.000 s
            Prompt: 3 tokens (0 cached), - T/s
            Decode: 2 tokens, - T/s
            Context: 5 of 100 tokens
            > 
        "#]],
        );
    }

    #[test]
    fn exit_ends_before_the_rest() {
        check(
            "\\exit\nhello\n",
            expect![[r#"
            shouter · context 100 tokens · /help lists the commands
            > 
        "#]],
        );
    }

    #[test]
    fn an_interrupt_stops_the_answer_and_not_the_program() {
        let (sender, receiver) = channel();
        sender.send(Event::Line("hang".into())).unwrap();
        let teller = sender.clone();
        let (out_sender, out_receiver) = channel::<u8>();
        struct Tee(Sender<u8>);
        impl Write for Tee {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                for byte in bytes {
                    self.0.send(*byte).unwrap();
                }
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let thread = std::thread::spawn(move || {
            run(dialog(), Arc::new(Shouter), (sender, receiver), &mut Tee(out_sender), true)
                .unwrap();
        });
        let mut seen = String::new();
        let mut wait_for = |what: &str| {
            while !seen.contains(what) {
                seen.push(out_receiver.recv().unwrap() as char);
            }
            std::mem::take(&mut seen)
        };
        wait_for("HANG");
        teller.send(Event::Interrupt).unwrap();
        wait_for("Stats:");
        teller.send(Event::Line("more".into())).unwrap();
        wait_for("MORE");
        wait_for("> ");
        teller.send(Event::Interrupt).unwrap();
        thread.join().unwrap();
    }
}
