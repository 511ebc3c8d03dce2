//! How far loading is: a bar on a terminal, a callback, or nothing (row A11).
//!
//! There is no process-wide switch: whoever loads holds its own [`Progress`], so silent and loud
//! loads can nest, run at once and fail without one changing what another shows. Knows nothing of
//! what is being loaded.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

/// What the numbers of a report count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Tensors, layers, steps.
    #[default]
    Items,
    /// Bytes.
    Bytes,
}

/// One report: the stage, and how much of it is done.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressEvent {
    /// `download model.safetensors`, `load weights`, …
    pub stage: String,
    /// Done so far, in `unit`s.
    pub done: u64,
    /// In all; 0 = unknown.
    pub total: u64,
    /// What `done` and `total` count.
    pub unit: Unit,
}

/// Where reports go. Cheap to clone; clones share their bars.
#[derive(Clone)]
pub struct Progress {
    sink: Arc<dyn Fn(&ProgressEvent) + Send + Sync>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// Nothing is reported.
    pub fn silent() -> Self {
        Self { sink: Arc::new(|_| {}) }
    }

    /// Bars on standard error if it is a terminal, else nothing.
    pub fn terminal() -> Self {
        if std::io::stderr().is_terminal() {
            Self::bars(ProgressDrawTarget::stderr())
        } else {
            Self::silent()
        }
    }

    /// Every report goes to `sink`.
    pub fn callback(sink: impl Fn(&ProgressEvent) + Send + Sync + 'static) -> Self {
        Self { sink: Arc::new(sink) }
    }

    /// Both this and the other are told.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::callback(move |event| {
            (self.sink)(event);
            (other.sink)(event);
        })
    }

    /// Reports `done` of `total` items.
    pub fn report(&self, stage: &str, done: u64, total: u64) {
        self.send(stage, done, total, Unit::Items);
    }

    /// Reports `done` of `total` bytes.
    pub fn report_bytes(&self, stage: &str, done: u64, total: u64) {
        self.send(stage, done, total, Unit::Bytes);
    }

    fn send(&self, stage: &str, done: u64, total: u64, unit: Unit) {
        (self.sink)(&ProgressEvent { stage: stage.to_owned(), done, total, unit });
    }

    fn bars(target: ProgressDrawTarget) -> Self {
        let bars = Bars::new(target);
        Self::callback(move |event| bars.show(event))
    }
}

/// One bar per stage that has begun and not ended. Bars of an aborted load go with the last clone
/// of their [`Progress`].
struct Bars {
    screen: MultiProgress,
    stages: Mutex<Stages>,
}

#[derive(Default)]
struct Stages {
    running: HashMap<String, ProgressBar>,
    /// Ended and not begun again: who says so twice is not shown a second bar.
    ended: HashSet<String>,
}

impl Bars {
    fn new(target: ProgressDrawTarget) -> Self {
        Self { screen: MultiProgress::with_draw_target(target), stages: Mutex::default() }
    }

    fn show(&self, event: &ProgressEvent) {
        // A panic between two statements below leaves both collections valid: go on with them.
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let Stages { running, ended } = &mut *stages;
        let complete = event.total > 0 && event.done >= event.total;
        if complete && ended.contains(&event.stage) {
            return;
        }
        ended.remove(&event.stage);
        let bar =
            running.entry(event.stage.clone()).or_insert_with(|| self.screen.add(begin(event)));
        if event.total > 0 && bar.length() != Some(event.total) {
            bar.set_length(event.total);
            bar.set_style(style(event));
        }
        bar.set_position(event.done);
        if complete {
            bar.finish();
            running.remove(&event.stage);
            ended.insert(event.stage.clone());
        }
    }
}

fn begin(event: &ProgressEvent) -> ProgressBar {
    // Hidden until the screen has it: a bar on its own would draw itself on standard error, in a line that
    // the screen knows nothing of and so never clears.
    let length = (event.total > 0).then_some(event.total);
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden())
        .with_finish(ProgressFinish::Abandon);
    bar.set_style(style(event));
    bar.set_message(event.stage.clone());
    bar
}

fn style(event: &ProgressEvent) -> ProgressStyle {
    let template = match (event.unit, event.total > 0) {
        (Unit::Bytes, true) => "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
        (Unit::Bytes, false) => "{msg} {spinner} {bytes} {bytes_per_sec}",
        (Unit::Items, true) => "{msg} [{wide_bar}] {pos}/{len}",
        (Unit::Items, false) => "{msg} {spinner} {pos}",
    };
    // The templates are ours and a test parses each; a plain bar is the worst that can happen.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;

    /// Keeps everything that is written, without interpreting the cursor.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }

        fn progress(&self) -> Progress {
            Progress::bars(ProgressDrawTarget::term_like(Box::new(self.clone())))
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> std::io::Result<()> {
            self.write_str(line)?;
            self.write_str("\n")
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_template_parses() {
        for unit in [Unit::Items, Unit::Bytes] {
            for total in [0, 10] {
                let event = ProgressEvent { stage: "s".into(), done: 1, total, unit };
                let paper = Paper::default();
                paper.progress().send("stage name", 1, total, unit);
                assert!(paper.text().contains("stage name"), "{event:?}: {}", paper.text());
                // The fallback style shows neither unit nor message first.
                assert_eq!(paper.text().contains("[="), total > 0, "{}", paper.text());
            }
        }
    }

    #[test]
    fn bytes_are_shown_as_bytes_and_items_as_counts() {
        let paper = Paper::default();
        let progress = paper.progress();
        progress.report_bytes("download a", 1024, 4096);
        progress.report("load weights", 3, 7);
        assert!(paper.text().contains("1.00 KiB/4.00 KiB"), "{}", paper.text());
        assert!(paper.text().contains("3/7"), "{}", paper.text());
    }

    #[test]
    fn a_finished_stage_is_forgotten_and_can_begin_again() {
        let bars = Bars::new(ProgressDrawTarget::hidden());
        let event = |done| ProgressEvent { stage: "s".into(), done, total: 2, unit: Unit::Items };
        bars.show(&event(1));
        assert_eq!(bars.stages.lock().unwrap().running.len(), 1);
        bars.show(&event(2));
        assert!(bars.stages.lock().unwrap().running.is_empty());
        bars.show(&event(1));
        assert_eq!(bars.stages.lock().unwrap().running["s"].position(), 1);
    }

    /// What a load says at its end, whether or not every tensor was counted before.
    #[test]
    fn a_stage_that_has_ended_does_not_end_again() {
        let paper = Paper::default();
        let progress = paper.progress();
        for (done, total) in [(1, 3), (3, 3), (1, 1)] {
            progress.report("load weights", done, total);
        }
        assert!(paper.text().contains("3/3"), "{}", paper.text());
        assert!(!paper.text().contains("1/1"), "{}", paper.text());
        progress.report("load weights", 2, 3);
        progress.report("load weights", 1, 1);
        assert!(paper.text().contains("1/1"), "{}", paper.text());
    }

    #[test]
    fn a_bar_begins_with_what_is_known_of_it_and_not_on_its_own() {
        let mut event = ProgressEvent { stage: "s".into(), done: 0, total: 7, unit: Unit::Items };
        assert_eq!(begin(&event).length(), Some(7));
        event.total = 0;
        assert_eq!(begin(&event).length(), None);
        let paper = Paper::default();
        paper.progress().report("load weights", 0, 7);
        assert!(!paper.text().contains("0/0"), "{}", paper.text());
    }

    #[test]
    fn an_unknown_total_may_become_known() {
        let bars = Bars::new(ProgressDrawTarget::hidden());
        let mut event = ProgressEvent { stage: "s".into(), done: 1, total: 0, unit: Unit::Bytes };
        bars.show(&event);
        assert_eq!(bars.stages.lock().unwrap().running["s"].length(), None);
        event.total = 9;
        bars.show(&event);
        assert_eq!(bars.stages.lock().unwrap().running["s"].length(), Some(9));
    }

    /// Stands for a load: reports, and fails halfway when told to.
    fn load(progress: &Progress, fail: bool) -> Result<(), ()> {
        progress.report("load weights", 1, 2);
        if fail {
            return Err(());
        }
        progress.report("load weights", 2, 2);
        Ok(())
    }

    #[test]
    fn a_silent_load_that_fails_does_not_silence_the_next() {
        let paper = Paper::default();
        assert!(load(&Progress::silent(), true).is_err());
        assert_eq!(paper.text(), "");
        load(&paper.progress(), false).unwrap();
        assert!(paper.text().contains("load weights"));
    }

    #[test]
    fn a_loud_load_that_fails_leaves_nothing_for_the_next() {
        let paper = Paper::default();
        assert!(load(&paper.progress(), true).is_err());
        let second = Paper::default();
        load(&second.progress(), false).unwrap();
        assert!(second.text().contains("1/2") && second.text().contains("2/2"));
    }

    #[test]
    fn nested_and_concurrent_loads_do_not_disturb_each_other() {
        let paper = Paper::default();
        let loud = paper.progress();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let loud = loud.clone();
                scope.spawn(move || {
                    load(&Progress::silent(), worker % 2 == 0).ok();
                    loud.report(&format!("stage {worker}"), 1, 1);
                });
            }
        });
        for worker in 0..4 {
            assert!(paper.text().contains(&format!("stage {worker} ")), "{}", paper.text());
        }
        assert!(!paper.text().contains("load weights"), "a silent load drew: {}", paper.text());
    }

    #[test]
    fn both_sinks_of_and_are_told() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = |seen: &Arc<Mutex<Vec<u64>>>| {
            let seen = Arc::clone(seen);
            Progress::callback(move |event| seen.lock().unwrap().push(event.done))
        };
        sink(&seen).and(sink(&seen)).report("s", 5, 6);
        assert_eq!(*seen.lock().unwrap(), [5, 5]);
    }
}
