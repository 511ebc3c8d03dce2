//! Responses that are kept for a while, so that they can be read and continued: bounded in number, bytes and age.
//! What was stored longest ago goes first. Memory only; gone with the process.

use super::input::{Item, fetched_bytes};
use super::response::{ResponseBody, Status};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Most responses; 0 = none is kept.
    pub count: usize,
    /// Most bytes of all responses and their conversations, as JSON, and of the files read for them.
    pub bytes: usize,
    /// Longest time.
    pub age: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { count: 1000, bytes: 256_000_000, age: Duration::from_secs(24 * 3600) }
    }
}

/// A response and its conversation.
#[derive(Debug, Clone)]
pub struct Kept {
    /// As it was sent.
    pub response: Value,
    /// What it answered: the whole conversation before it.
    pub input: Arc<Vec<Item>>,
    /// What it said.
    pub output: Arc<Vec<Item>>,
    /// How far it is.
    pub status: Status,
    /// Whether it was begun in the background.
    pub background: bool,
    /// Work that goes on without its client.
    work: Option<AbortHandle>,
}

impl Kept {
    /// A response as it is now.
    pub fn new(response: &ResponseBody, input: Arc<Vec<Item>>) -> Self {
        let json = serde_json::to_value(response).unwrap_or_default();
        let items = serde_json::from_value(json["output"].clone()).unwrap_or_default();
        Self {
            output: Arc::new(items),
            status: response.status,
            background: response.background,
            response: json,
            input,
            work: None,
        }
    }

    /// The conversation that a response to it would continue.
    pub fn conversation(&self) -> Vec<Item> {
        self.input.iter().chain(self.output.iter()).cloned().collect()
    }

    fn bytes(&self) -> usize {
        let items = serde_json::to_string(&*self.input).map_or(0, |text| text.len());
        let files: usize = self.input.iter().map(fetched_bytes).sum();
        // The output is in the response too.
        self.response.to_string().len() * 2 + items + files
    }
}

struct Entry {
    kept: Kept,
    bytes: usize,
    since: Instant,
}

impl Drop for Entry {
    /// Work that nobody can ask for any more ends.
    fn drop(&mut self) {
        if let Some(work) = self.kept.work.take() {
            work.abort();
        }
    }
}

#[derive(Default)]
struct Shelf {
    entries: BTreeMap<String, Entry>,
    /// Oldest first. May name what is gone.
    order: VecDeque<String>,
    bytes: usize,
}

/// The kept responses.
pub struct ResponseStore {
    limits: StoreLimits,
    /// Held for moments only, and every state of it is valid, also after a panic.
    shelf: Mutex<Shelf>,
}

impl ResponseStore {
    /// Empty.
    pub fn new(limits: StoreLimits) -> Self {
        Self { limits, shelf: Mutex::default() }
    }

    /// Whether anything can be kept at all.
    pub fn is_on(&self) -> bool {
        self.limits.count > 0
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.forget_older(self.limits.age);
        shelf
    }

    /// Keeps a response, in place of what was kept under its id. One that is larger than everything that may be
    /// kept is not.
    pub fn keep(&self, id: &str, kept: Kept) {
        let bytes = kept.bytes();
        if bytes > self.limits.bytes || !self.is_on() {
            tracing::warn!(
                "the response {id} is not kept: {bytes} bytes are more than may be kept"
            );
            return;
        }
        let mut shelf = self.shelf();
        shelf.remove(id);
        shelf.bytes += bytes;
        shelf.order.push_back(id.to_owned());
        shelf.entries.insert(id.to_owned(), Entry { kept, bytes, since: Instant::now() });
        while shelf.entries.len() > self.limits.count || shelf.bytes > self.limits.bytes {
            let Some(oldest) = shelf.order.pop_front() else { break };
            shelf.remove(&oldest);
        }
    }

    /// Keeps the end of what was begun in the background, unless it was canceled or deleted meanwhile.
    pub fn finish(&self, id: &str, mut kept: Kept) {
        {
            let mut shelf = self.shelf();
            let Some(entry) = shelf.entries.get_mut(id) else { return };
            if entry.kept.status != Status::InProgress {
                return;
            }
            // The work has done what it had to; it must not be ended in the middle of this.
            entry.kept.work = None;
        }
        kept.work = None;
        self.keep(id, kept);
    }

    /// Notes who works on a response.
    pub fn works(&self, id: &str, work: AbortHandle) {
        match self.shelf().entries.get_mut(id) {
            Some(entry) if entry.kept.status == Status::InProgress => entry.kept.work = Some(work),
            Some(_) => {}
            None => work.abort(),
        }
    }

    /// A kept response.
    pub fn get(&self, id: &str) -> Option<Kept> {
        let kept = self.shelf().entries.get(id).map(|entry| entry.kept.clone());
        kept.map(|kept| Kept { work: None, ..kept })
    }

    /// Forgets a response; work on it ends. Whether there was one.
    pub fn delete(&self, id: &str) -> bool {
        self.shelf().remove(id)
    }

    /// Ends the work on a response. What it said until then is lost.
    pub fn cancel(&self, id: &str) -> Option<Kept> {
        let mut shelf = self.shelf();
        let entry = shelf.entries.get_mut(id)?;
        if let Some(work) = entry.kept.work.take() {
            work.abort();
        }
        if entry.kept.status == Status::InProgress {
            entry.kept.status = Status::Cancelled;
            entry.kept.response["status"] = "cancelled".into();
        }
        Some(Kept { work: None, ..entry.kept.clone() })
    }
}

impl Shelf {
    fn remove(&mut self, id: &str) -> bool {
        match self.entries.remove(id) {
            Some(entry) => {
                self.bytes -= entry.bytes;
                // Else the names of what is gone would pile up.
                self.order.retain(|name| name != id);
                true
            }
            None => false,
        }
    }

    fn forget_older(&mut self, age: Duration) {
        while let Some(oldest) = self.order.front() {
            let is_old = self.entries.get(oldest).is_none_or(|entry| entry.since.elapsed() > age);
            if !is_old {
                return;
            }
            if let Some(oldest) = self.order.pop_front() {
                self.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Kept {
        let response = ResponseBody { instructions: Some(text.to_owned()), ..Default::default() };
        Kept::new(&response, Arc::default())
    }

    fn store(count: usize, bytes: usize) -> ResponseStore {
        ResponseStore::new(StoreLimits { count, bytes, age: Duration::from_secs(3600) })
    }

    #[test]
    fn the_oldest_make_room() {
        let store = store(2, 1_000_000);
        for id in ["a", "b", "c"] {
            store.keep(id, kept(id));
        }
        assert!(store.get("a").is_none());
        assert_eq!(store.get("c").unwrap().response["instructions"], "c");
        assert!(store.delete("b") && !store.delete("b"));
        store.keep("d", kept("d"));
        assert!(store.get("c").is_some() && store.get("d").is_some());
    }

    #[test]
    fn bytes_and_age_are_bounded() {
        let size = kept("").bytes();
        let store = store(100, size * 3 + 100);
        for id in 0..10 {
            store.keep(&id.to_string(), kept(""));
        }
        let left = (0..10).filter(|id| store.get(&id.to_string()).is_some());
        assert_eq!(left.collect::<Vec<_>>(), [7, 8, 9]);
        store.keep("huge", kept(&"x".repeat(size * 4)));
        assert!(store.get("huge").is_none() && store.get("9").is_some());
        assert_eq!(store.shelf().bytes, size * 3);
        let limits = StoreLimits { age: Duration::ZERO, ..StoreLimits::default() };
        let brief = ResponseStore::new(limits);
        brief.keep("a", kept(""));
        std::thread::sleep(Duration::from_millis(2));
        assert!(brief.get("a").is_none());
        let shelf = brief.shelf();
        assert_eq!((shelf.bytes, shelf.order.len()), (0, 0));
    }

    #[tokio::test]
    async fn canceled_and_deleted_work_ends() {
        let store = store(10, 1_000_000);
        for id in ["a", "b"] {
            store.keep(id, kept(""));
            let work = tokio::spawn(std::future::pending::<()>());
            store.works(id, work.abort_handle());
            if id == "a" {
                assert_eq!(store.cancel("a").unwrap().response["status"], "cancelled");
                store.finish("a", kept("too late"));
                assert_eq!(store.get("a").unwrap().status, Status::Cancelled);
            } else {
                store.delete("b");
                store.finish("b", kept("too late"));
                assert!(store.get("b").is_none());
            }
            assert!(work.await.unwrap_err().is_cancelled());
        }
        let late = tokio::spawn(std::future::pending::<()>());
        store.works("gone", late.abort_handle());
        assert!(late.await.unwrap_err().is_cancelled());
    }
}
