//! The terminal side of the chat: raw mode and its end in every case, the threads that feed the event
//! channel, and the loop that connects [`App`] with [`Surface`].

use super::answer::{self, Responder, Stopper};
use super::app::{Action, App};
use super::dialog::News;
use super::signals::{self, Signal};
use super::surface::Surface;
use crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste};
use crossterm::{cursor, execute, terminal};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

enum Event {
    Terminal(event::Event),
    News(u64, News),
    Signal(Signal),
    /// The keyboard is gone.
    Closed,
}

/// The terminal in raw mode; dropping it, or a panic of this thread, ends that.
struct RawMode {
    active: Arc<AtomicBool>,
}

impl RawMode {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let guard = Self { active: Arc::new(AtomicBool::new(true)) };
        execute!(io::stdout(), EnableBracketedPaste)?;
        let active = Arc::clone(&guard.active);
        let owner = std::thread::current().id();
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let raw = active.load(Ordering::SeqCst);
            if raw && std::thread::current().id() != owner {
                // Another thread's panic is handled there; its text would only tear the screen.
                tracing::error!(panic = %info, "a thread panicked");
                return;
            }
            if active.swap(false, Ordering::SeqCst) {
                restore();
            }
            previous(info);
        }));
        Ok(guard)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if self.active.swap(false, Ordering::SeqCst) {
            restore();
        }
    }
}

fn restore() {
    // Nothing can be done about a terminal that does not listen any more.
    let _ = execute!(io::stdout(), DisableBracketedPaste, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// Runs the chat until the user leaves. `app` makes it, given the width of the terminal.
///
/// # Errors
/// When the terminal cannot be used.
pub fn run(app: impl FnOnce(usize) -> App, responder: Arc<dyn Responder>) -> io::Result<()> {
    let (sender, events) = channel();
    let (width, height) = terminal::size()?;
    let mut app = app(usize::from(width));
    let raw = RawMode::enter()?;
    let mut surface = Surface::new(io::BufWriter::new(io::stdout()), width, height);
    read_keys(sender.clone())?;
    let tell = sender.clone();
    signals::listen(move |signal| tell.send(Event::Signal(signal)).is_ok())?;
    let mut screen = Connection { responder, sender, answering: None, number: 0 };
    let result = screen.run(&mut app, &mut surface, &events);
    surface.close()?;
    drop(raw);
    io::stdout().flush()?;
    result
}

fn read_keys(sender: Sender<Event>) -> io::Result<()> {
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(Event::Terminal(event)).is_err() {
                return;
            }
        }
        // The chat may have ended; then nobody needs to know.
        let _ = sender.send(Event::Closed);
    })?;
    Ok(())
}

struct Connection {
    responder: Arc<dyn Responder>,
    sender: Sender<Event>,
    answering: Option<Stopper>,
    number: u64,
}

impl Connection {
    fn run(
        &mut self,
        app: &mut App,
        surface: &mut Surface<impl io::Write>,
        events: &Receiver<Event>,
    ) -> io::Result<()> {
        loop {
            let (width, height) = surface.size();
            let frame = app.frame(width, height);
            surface.draw(&frame.finished, frame.live, Some(frame.cursor))?;
            // Everything that is there at once makes one frame.
            let Ok(first) = events.recv() else { return Ok(()) };
            for event in std::iter::once(first).chain(events.try_iter()) {
                if self.take(app, surface, event)? {
                    let (width, height) = surface.size();
                    return surface.draw(&app.frame(width, height).finished, Vec::new(), None);
                }
            }
        }
    }

    /// Reacts to one event; `true` = leave.
    fn take(
        &mut self,
        app: &mut App,
        surface: &mut Surface<impl io::Write>,
        event: Event,
    ) -> io::Result<bool> {
        let action = match event {
            Event::Terminal(event::Event::Key(key)) => app.key(key),
            Event::Terminal(event::Event::Paste(text)) => {
                app.paste(&text);
                Action::Draw
            }
            Event::Terminal(event::Event::Resize(width, height)) => {
                surface.resize(width, height)?;
                Action::Draw
            }
            Event::News(number, news) if number == self.number && self.answering.is_some() => {
                app.news(news, Instant::now())
            }
            Event::Terminal(_) | Event::News(..) => Action::Draw,
            Event::Signal(Signal::Interrupt) => app.interrupt(false),
            Event::Signal(Signal::Terminate) | Event::Closed => Action::Leave,
        };
        match action {
            Action::Draw => {}
            Action::Stop => self.answering = None,
            Action::Clear => surface.clear()?,
            Action::Leave => return Ok(true),
            Action::Ask(ask) => {
                self.number += 1;
                let (number, sender) = (self.number, self.sender.clone());
                let tell = move |news| {
                    // The chat may have ended; then nobody needs to know.
                    let _ = sender.send(Event::News(number, news));
                };
                self.answering = Some(answer::start(Arc::clone(&self.responder), ask, tell)?);
            }
        }
        Ok(false)
    }
}
