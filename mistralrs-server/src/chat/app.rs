//! The full-featured chat as a state machine: keys and news go in, rows and actions come out.
//! Knows no file descriptor; [`super::tui`] connects it with a terminal.

use super::commands;
use super::consent::Reply;
use super::dialog::{Dialog, Ending, News, Outcome, Progress};
use super::editor::{Editor, Motion};
use super::history::History;
use super::markdown::Stream;
use super::session::Ask;
use super::view;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::text::Line;
use std::time::Instant;

const REPLIES: &str = "y = yes, a = always, n = no, Ctrl-C stops the answer";

/// What the terminal side has to do.
#[derive(Debug)]
pub enum Action {
    /// Nothing but to draw.
    Draw,
    /// Send this request; news about it carry no number, so a stopped one must fall silent.
    Ask(Ask),
    /// End the running answer.
    Stop,
    /// Clear the screen.
    Clear,
    /// Leave.
    Leave,
}

/// Rows to put on the screen.
#[derive(Debug, Default)]
pub struct Frame {
    /// For good.
    pub finished: Vec<Line<'static>>,
    /// Until the next frame.
    pub live: Vec<Line<'static>>,
    /// Column and row among the live ones.
    pub cursor: (usize, usize),
}

/// The state.
pub struct App {
    pub(super) dialog: Dialog,
    pub(super) editor: Editor,
    history: History,
    pub(super) stream: Stream,
    pub(super) answering: bool,
    pub(super) answer_begun: bool,
    pub(super) hint: Option<String>,
    /// Whether the next Ctrl-C leaves.
    leaving: bool,
    finished: Vec<Line<'static>>,
    width: usize,
}

impl App {
    /// A chat about to start on a terminal of this width; `warning` is shown below the greeting.
    pub fn new(dialog: Dialog, history: History, warning: Option<&str>, width: usize) -> Self {
        let mut app = Self {
            dialog,
            editor: Editor::default(),
            history,
            stream: Stream::default(),
            answering: false,
            answer_begun: false,
            hint: None,
            leaving: false,
            finished: Vec::new(),
            width,
        };
        let greeting = app.dialog.greeting();
        app.finished.extend(view::notice(&greeting, width));
        if let Some(warning) = warning {
            app.problem(warning);
        }
        app.finished.push(Line::default());
        app
    }

    /// The screen as it should be now, for a terminal of this size.
    pub fn frame(&mut self, width: usize, height: usize) -> Frame {
        self.width = width;
        let room = view::answer_room(self, width, height);
        let mut finished = std::mem::take(&mut self.finished);
        if self.answering {
            finished.extend(self.stream.take_finished(width, room));
        }
        let (live, cursor) = view::live(self, width, height);
        Frame { finished, live, cursor }
    }

    /// Text pasted into the terminal.
    pub fn paste(&mut self, text: &str) {
        self.leaving = false;
        self.hint = None;
        self.editor.insert(text);
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Draw;
        }
        let leaving = std::mem::take(&mut self.leaving);
        self.hint = None;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Char('c') if control => return self.interrupt(leaving),
            code if self.dialog.asks() => return self.reply(code),
            KeyCode::Esc if self.answering => return self.stop(),
            KeyCode::Char('d') if control && self.editor.is_empty() => {
                if self.answering {
                    self.hint = Some("Ctrl-C stops the answer".to_owned());
                    return Action::Draw;
                }
                return Action::Leave;
            }
            KeyCode::Char('l') if control => return Action::Clear,
            KeyCode::Char('j') if control => self.editor.insert("\n"),
            KeyCode::Enter if alt || key.modifiers.contains(KeyModifiers::SHIFT) => {
                self.editor.insert("\n")
            }
            KeyCode::Enter => return self.submit(),
            KeyCode::Tab => self.complete(),
            KeyCode::Up => self.up(),
            KeyCode::Down => self.down(),
            KeyCode::Char('p') if control => self.earlier(),
            KeyCode::Char('n') if control => self.later(),
            KeyCode::Char('y') if control => self.editor.yank(),
            KeyCode::Char(c) if !control && !alt => self.editor.insert(c.encode_utf8(&mut [0; 4])),
            code => self.edit(code, control, alt),
        }
        Action::Draw
    }

    fn edit(&mut self, code: KeyCode, control: bool, alt: bool) {
        let word = control || alt;
        let editor = &mut self.editor;
        match code {
            KeyCode::Left if word => editor.go(Motion::WordLeft),
            KeyCode::Right if word => editor.go(Motion::WordRight),
            KeyCode::Left => editor.go(Motion::Left),
            KeyCode::Right => editor.go(Motion::Right),
            KeyCode::Home => editor.go(Motion::LineStart),
            KeyCode::End => editor.go(Motion::LineEnd),
            KeyCode::Backspace if word => editor.delete(Motion::WordLeft),
            KeyCode::Delete if word => editor.delete(Motion::WordRight),
            KeyCode::Backspace => editor.delete(Motion::Left),
            KeyCode::Delete => editor.delete(Motion::Right),
            KeyCode::Char('b') if alt => editor.go(Motion::WordLeft),
            KeyCode::Char('f') if alt => editor.go(Motion::WordRight),
            KeyCode::Char('d') if alt => editor.delete(Motion::WordRight),
            KeyCode::Char('a') if control => editor.go(Motion::LineStart),
            KeyCode::Char('e') if control => editor.go(Motion::LineEnd),
            KeyCode::Char('b') if control => editor.go(Motion::Left),
            KeyCode::Char('f') if control => editor.go(Motion::Right),
            KeyCode::Char('h') if control => editor.delete(Motion::Left),
            KeyCode::Char('d') if control => editor.delete(Motion::Right),
            KeyCode::Char('w') if control => editor.delete(Motion::WordLeft),
            KeyCode::Char('u') if control => editor.delete(Motion::LineStart),
            KeyCode::Char('k') if control => editor.delete(Motion::LineEnd),
            _ => {}
        }
    }

    /// News about the running answer.
    pub fn news(&mut self, news: News, now: Instant) -> Action {
        match self.dialog.news(news, now) {
            Progress::Nothing => {}
            Progress::Text(text) => {
                self.answer_begun = true;
                self.stream.push(&text);
            }
            Progress::Tool(line) => self.aside(view::notice(&line, self.width)),
            Progress::Question(text) => self.question(&text),
            Progress::Ended(ending) => {
                self.ended(ending);
                return Action::Stop;
            }
        }
        Action::Draw
    }

    /// Rows between two parts of the answer.
    fn aside(&mut self, rows: Vec<Line<'static>>) {
        let begun = self.stream.finish(self.width);
        self.finished.extend(begun);
        self.finished.extend(rows);
        self.answer_begun = false;
    }

    fn question(&mut self, text: &str) {
        self.aside(view::problem(text, self.width));
        self.hint = Some(REPLIES.to_owned());
    }

    /// A key while a tool waits for leave: a reply, or nothing.
    fn reply(&mut self, code: KeyCode) -> Action {
        let reply = match code {
            KeyCode::Char('y' | 'Y') => Reply::Yes,
            KeyCode::Char('a' | 'A') => Reply::Always,
            KeyCode::Char('n' | 'N') | KeyCode::Esc => Reply::No,
            _ => {
                self.hint = Some(REPLIES.to_owned());
                return Action::Draw;
            }
        };
        if let Progress::Question(text) = self.dialog.reply(reply) {
            self.question(&text);
        }
        Action::Draw
    }

    /// Ctrl-C: stops the answer, else empties the input, else says how to leave, else leaves.
    pub fn interrupt(&mut self, leaving: bool) -> Action {
        if self.answering {
            return self.stop();
        }
        if !self.editor.is_empty() {
            self.editor.take();
            return Action::Draw;
        }
        if leaving {
            return Action::Leave;
        }
        self.leaving = true;
        self.hint = Some("Ctrl-C again or Ctrl-D leaves".to_owned());
        Action::Draw
    }

    fn stop(&mut self) -> Action {
        let ending = self.dialog.stop();
        self.ended(ending);
        Action::Stop
    }

    fn ended(&mut self, ending: Ending) {
        self.answering = false;
        let rest = self.stream.finish(self.width);
        self.finished.extend(rest);
        if ending.cut_off {
            self.finished.extend(view::notice("…", self.width));
        }
        if let Some(problem) = &ending.problem {
            self.problem(problem);
        }
        if let Some(text) = ending.taken_back
            && self.editor.is_empty()
        {
            self.editor.set(&text);
        }
        self.finished.push(Line::default());
    }

    fn submit(&mut self) -> Action {
        if self.editor.continue_line() {
            return Action::Draw;
        }
        if self.answering {
            self.hint = Some("The answer is still coming; Ctrl-C stops it".to_owned());
            return Action::Draw;
        }
        let text = self.editor.take();
        if text.trim().is_empty() {
            return Action::Draw;
        }
        self.finished.extend(view::question(&text, self.width));
        if let Some(warning) = self.history.add(&text) {
            self.problem(&warning);
        }
        match self.dialog.enter(&text, Instant::now()) {
            Outcome::Nothing => Action::Draw,
            Outcome::Exit => Action::Leave,
            Outcome::Ask(ask, told) => {
                if let Some(told) = told {
                    self.finished.extend(view::notice(&told, self.width));
                }
                self.answering = true;
                self.answer_begun = false;
                self.finished.push(Line::default());
                Action::Ask(ask)
            }
            Outcome::Notice(text) => {
                let rows = view::notice(&text, self.width);
                self.finished.extend(rows);
                self.finished.push(Line::default());
                Action::Draw
            }
            Outcome::Problem(text) => {
                self.problem(&text);
                self.finished.push(Line::default());
                Action::Draw
            }
        }
    }

    fn problem(&mut self, text: &str) {
        self.finished.extend(view::problem(text, self.width));
    }

    fn up(&mut self) {
        if !self.editor.up(view::input_width(self.width)) {
            self.earlier();
        }
    }

    fn down(&mut self) {
        if !self.editor.down(view::input_width(self.width)) {
            self.later();
        }
    }

    fn earlier(&mut self) {
        if let Some(text) = self.history.earlier(self.editor.text()) {
            self.editor.set(text);
        }
    }

    fn later(&mut self) {
        if let Some(text) = self.history.later() {
            self.editor.set(text);
        }
    }

    /// Completes the name of a command, or says which ones there are.
    fn complete(&mut self) {
        let text = self.editor.text().to_owned();
        let Some(begun) =
            text.strip_prefix(['/', '\\']).filter(|it| !it.contains(char::is_whitespace))
        else {
            return self.editor.insert("  ");
        };
        let names: Vec<&str> = commands::names().filter(|name| name.starts_with(begun)).collect();
        match names.as_slice() {
            [] => {}
            [name] => self.editor.set(&format!("/{name} ")),
            several => self.hint = Some(several.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests;
