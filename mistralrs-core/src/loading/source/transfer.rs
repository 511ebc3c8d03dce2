//! One file from the hub into the cache, by way of hf-hub, and what that crate leaves open.
//!
//! hf-hub 0.5 has no time limits (a transfer runs on its own thread and is given up when nothing
//! comes), never compares sizes, fails forever on a partial file that is in fact complete, may
//! write at the wrong place when it retries (we retry, it never does), downloads again what another
//! revision already brought, takes any etag for a file name, and asserts.

use super::hub::is_plain;
use super::hub_failure::Failure;
use hf_hub::api::sync::Api;
use hf_hub::{Cache, Repo};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Reports of progress are no more frequent than this.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// One file on its way into the cache.
#[derive(Clone)]
pub(super) struct Transfer {
    pub api: Api,
    pub cache: Cache,
    /// With the commit as its revision.
    pub repo: Repo,
    pub name: String,
    /// Bytes, if the list of files tells. It is trusted more than the answer for one byte, which
    /// tells the compressed length where a server compresses.
    pub size: Option<u64>,
}

impl Transfer {
    /// Brings the file, or links it if the cache has its content; reports bytes done and in all.
    pub fn run(&self, bytes: mpsc::Sender<(u64, u64)>) -> Result<(), Failure> {
        let source = self.api.repo(self.repo.clone());
        let file = self.api.metadata(&source.url(&self.name))?;
        let etag = file.etag().strip_prefix("W/").unwrap_or(file.etag());
        if !is_plain(etag) {
            return Err(Failure::Odd("the file's etag is not a name".to_owned()));
        }
        if file.commit_hash() != self.repo.revision() {
            return Err(Failure::Odd("the file belongs to another commit".to_owned()));
        }
        let announced = file.size() as u64;
        let size = self.size.unwrap_or(announced);
        let repo = self.cache.repo(self.repo.clone());
        let blob = repo.blob_path(file.etag());
        let pointer = repo.pointer_path(file.commit_hash()).join(&self.name);
        if length(&blob) == Some(size) && link(&blob, &pointer).is_ok() {
            return Ok(());
        }
        mend(&blob.with_extension("part"), size.min(announced)).map_err(Failure::from_disk)?;
        let path = source.download_with_progress(&self.name, Reporter::new(bytes, size))?;
        match length(&path) {
            Some(found) if found == size => Ok(()),
            found => {
                // Whatever this is, the next attempt must not build on it.
                std::fs::remove_file(&path).ok();
                std::fs::remove_file(&blob).ok();
                Err(Failure::WrongSize { wanted: size, found: found.unwrap_or(0) })
            }
        }
    }
}

fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

/// Puts a blob we already have under another snapshot's name.
fn link(blob: &Path, pointer: &Path) -> std::io::Result<()> {
    if let Some(folder) = pointer.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::hard_link(blob, pointer)
}

/// Makes a partial file one that can be resumed: asking for what follows the last byte is an
/// error, so a complete one gives its last byte back, and one that is too long is none.
fn mend(part: &Path, size: u64) -> std::io::Result<()> {
    match length(part) {
        Some(found) if found > size => std::fs::remove_file(part),
        Some(found) if found == size && size > 0 => {
            std::fs::OpenOptions::new().write(true).open(part)?.set_len(size - 1)
        }
        _ => Ok(()),
    }
}

/// Runs `work` on its own thread and passes its reports on, until it ends or falls silent. A
/// silent one is left behind: the crate it is stuck in cannot be interrupted.
pub(super) fn guarded<T: Send + 'static>(
    patience: Duration,
    mut on_bytes: impl FnMut(u64, u64),
    work: impl FnOnce(mpsc::Sender<(u64, u64)>) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::channel();
    let worker = std::thread::Builder::new()
        .name("hub".to_owned())
        .spawn(move || {
            let alive = sender.clone();
            let result = work(sender);
            drop(alive);
            result
        })
        .map_err(|error| Failure::Crashed(error.to_string()))?;
    loop {
        match receiver.recv_timeout(patience) {
            Ok((done, total)) => on_bytes(done, total),
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(Failure::Stalled(patience)),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.join().unwrap_or_else(|_| Err(Failure::Crashed("it panicked".to_owned())))
}

/// hf-hub's reports, thinned out. The first and the last of an attempt always come.
struct Reporter {
    bytes: mpsc::Sender<(u64, u64)>,
    done: u64,
    total: u64,
    next: Instant,
}

impl Reporter {
    fn new(bytes: mpsc::Sender<(u64, u64)>, total: u64) -> Self {
        Self { bytes, done: 0, total, next: Instant::now() }
    }
}

impl hf_hub::api::Progress for Reporter {
    fn init(&mut self, _: usize, _: &str) {
        self.done = 0;
        self.next = Instant::now();
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        let now = Instant::now();
        if now >= self.next || self.done >= self.total {
            self.next = now + REPORT_EVERY;
            // Nobody listens any more when the transfer was given up.
            self.bytes.send((self.done, self.total)).ok();
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_file_is_made_resumable() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("x.part");
        for (held, left) in
            [(Some(3), Some(3)), (Some(10), Some(9)), (Some(11), None), (None, None)]
        {
            if let Some(held) = held {
                std::fs::write(&part, vec![7; held]).unwrap();
            }
            mend(&part, 10).unwrap();
            assert_eq!(length(&part), left, "{held:?}");
            std::fs::remove_file(&part).ok();
        }
    }

    #[test]
    fn a_panic_or_silence_in_the_crate_is_a_failure() {
        let wait = Duration::from_millis(50);
        let long = Duration::from_secs(60);
        let panicked = guarded::<()>(long, |_, _| {}, |_| panic!("in the crate"));
        assert!(matches!(panicked, Err(Failure::Crashed(_))));
        let (go, stuck) = mpsc::channel::<()>();
        let silent = guarded(
            wait,
            |_, _| {},
            move |_| {
                stuck.recv().ok();
                Ok(())
            },
        );
        assert!(matches!(silent, Err(Failure::Stalled(_))));
        drop(go);
        let mut seen = Vec::new();
        let done = guarded(
            long,
            |done, total| seen.push((done, total)),
            |bytes| {
                bytes.send((1, 2)).unwrap();
                Ok(5)
            },
        );
        assert_eq!(done.ok(), Some(5));
        assert_eq!(seen, [(1, 2)]);
    }
}
