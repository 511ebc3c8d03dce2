//! A hub on the loopback for tests: speaks as much HTTP as hf-hub asks for, and misbehaves on
//! command. Bounded: short requests, short bodies, a thread per connection, gone when dropped.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const LARGEST_HEAD: usize = 16 << 10;

/// What a file does instead of being sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Answers with this status, always.
    Status(u16),
    /// Sends half of what is asked for and closes, so many times.
    Drop(u32),
    /// Sends the header and then nothing.
    Hang,
    /// Sends everything where the rest was asked for, so many times.
    IgnoreRange(u32),
    /// Answers with a redirect to another path of this hub.
    Redirect,
    /// Answers with a redirect that leads nowhere.
    EmptyRedirect,
    /// Announces half its length, as a server does that compresses.
    Understate,
    /// Gives an etag that climbs out of the cache.
    EvilEtag,
}

#[derive(Default)]
struct State {
    repos: HashMap<String, Vec<(String, Vec<u8>)>>,
    faults: HashMap<String, Fault>,
    silent_about_sizes: bool,
    gated: Option<(u16, &'static str)>,
    commit: String,
    endpoint: String,
    log: Vec<Request>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

impl Request {
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let path = lines.next()?.split(' ').nth(1)?.to_owned();
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let header = |name: &str| headers.get(name).cloned();
        Some(Self { path, range: header("range"), authorization: header("authorization") })
    }

    /// The first byte asked for, and the last if it is given.
    fn bytes(&self) -> (usize, Option<usize>) {
        let range = self.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return (0, None);
        };
        (first.parse().unwrap(), last.parse().ok())
    }
}

pub struct StubHub {
    address: String,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    server: Option<std::thread::JoinHandle<()>>,
}

impl StubHub {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            commit: COMMIT.to_owned(),
            endpoint: format!("http://{address}"),
            ..State::default()
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let server = {
            let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
            std::thread::spawn(move || {
                for connection in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
                    std::thread::spawn(move || serve(connection.unwrap(), &state, &stop));
                }
            })
        };
        Self { address, state, stop, server: Some(server) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn put(&self, id: &str, name: &str, body: impl Into<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        let files = state.repos.entry(id.to_owned()).or_default();
        files.retain(|(held, _)| held != name);
        files.push((name.to_owned(), body.into()));
    }

    pub fn fault(&self, name: &str, fault: Fault) {
        self.state.lock().unwrap().faults.insert(name.to_owned(), fault);
    }

    /// The list of files is refused with this status and code of the hub.
    pub fn gate(&self, status: u16, code: &'static str) {
        self.state.lock().unwrap().gated = Some((status, code));
    }

    /// The list of files holds names only, as mirrors have it.
    pub fn forget_sizes(&self) {
        self.state.lock().unwrap().silent_about_sizes = true;
    }

    pub fn move_to_commit(&self, commit: &str) {
        self.state.lock().unwrap().commit = commit.to_owned();
    }

    /// The requests so far; forgets them.
    pub fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

impl Drop for StubHub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        TcpStream::connect(&self.address).ok();
        self.server.take().unwrap().join().unwrap();
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < LARGEST_HEAD {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, stop: &AtomicBool) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let Some(request) = read_head(&mut stream).and_then(|head| Request::parse(&head)) else {
        return;
    };
    let answer = {
        let mut state = state.lock().unwrap();
        state.log.push(request.clone());
        answer(&request, &mut state)
    };
    let mut text = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
    stream.write_all(text.as_bytes()).ok();
    stream.write_all(&answer.body[..answer.sent]).ok();
    stream.flush().ok();
    while answer.hang && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.shutdown(Shutdown::Both).ok();
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Bytes of the body that are really sent.
    sent: usize,
    hang: bool,
}

impl Answer {
    fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), sent: body.len(), body, hang: false }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn answer(request: &Request, state: &mut State) -> Answer {
    if let Some(rest) = request.path.strip_prefix("/api/models/") {
        return listing(rest.trim_end_matches("?blobs=true"), state);
    }
    let path = request.path.strip_prefix("/cdn").unwrap_or(&request.path);
    let found = path.trim_start_matches('/').split_once("/resolve/").and_then(|(id, rest)| {
        let (_, name) = rest.split_once('/')?;
        let (_, body) = state.repos.get(id)?.iter().find(|(held, _)| held == name)?;
        Some((name.to_owned(), body.clone()))
    });
    let Some((name, body)) = found else {
        return Answer::new(404, b"Entry not found".to_vec()).with("X-Error-Code", "EntryNotFound");
    };
    let fault = state.faults.get(&name).copied();
    let hash = etag(&body);
    let answer = match fault {
        Some(Fault::Status(status)) => return Answer::new(status, Vec::new()),
        Some(Fault::EmptyRedirect) => Answer::new(302, Vec::new()),
        Some(Fault::Redirect) if !request.path.starts_with("/cdn") => Answer::new(302, Vec::new())
            .with("X-Linked-Etag", format!("\"{hash}\""))
            .with("Location", format!("{}/cdn{}", state.endpoint, request.path)),
        _ => part(request, &body, state.faults.entry(name)),
    };
    let etag = match fault {
        Some(Fault::EvilEtag) => "\"../../../evil\"".to_owned(),
        _ => format!("\"{hash}\""),
    };
    answer.with("ETag", etag).with("X-Repo-Commit", state.commit.clone())
}

/// The bytes that were asked for, or what the fault makes of them. A question for the size (the
/// first byte alone) is always answered.
fn part(request: &Request, body: &[u8], fault: Entry<'_, String, Fault>) -> Answer {
    let (first, last) = request.bytes();
    if first >= body.len() {
        return Answer::new(416, Vec::new())
            .with("Content-Range", format!("bytes */{}", body.len()));
    }
    let end = last.map_or(body.len(), |last| (last + 1).min(body.len()));
    let mut answer = Answer::new(206, body[first..end].to_vec())
        .with("Content-Range", format!("bytes {first}-{}/{}", end - 1, body.len()));
    let Entry::Occupied(mut fault) = fault else {
        return answer;
    };
    match fault.get_mut() {
        Fault::Drop(times) if last.is_none() && *times > 0 => {
            *times -= 1;
            answer.sent /= 2;
        }
        Fault::IgnoreRange(times) if first > 0 && *times > 0 => {
            *times -= 1;
            answer = Answer::new(200, body.to_vec());
        }
        Fault::Understate if last.is_some() => {
            answer.headers.clear();
            answer = answer.with("Content-Range", format!("bytes 0-0/{}", body.len() / 2));
        }
        Fault::Hang if last.is_none() => {
            answer.sent = 0;
            answer.hang = true;
        }
        _ => {}
    }
    answer
}

fn listing(rest: &str, state: &State) -> Answer {
    if let Some((status, code)) = state.gated {
        return Answer::new(status, Vec::new()).with("X-Error-Code", code);
    }
    let Some((id, revision)) = rest.split_once("/revision/") else {
        return Answer::new(404, Vec::new());
    };
    let Some(files) = state.repos.get(id) else {
        return Answer::new(404, Vec::new()).with("X-Error-Code", "RepoNotFound");
    };
    let known: HashSet<&str> = ["main", "v1", COMMIT, state.commit.as_str()].into();
    if !known.contains(revision) {
        return Answer::new(404, Vec::new()).with("X-Error-Code", "RevisionNotFound");
    }
    let siblings: Vec<_> = files
        .iter()
        .map(|(name, body)| match state.silent_about_sizes {
            true => serde_json::json!({"rfilename": name}),
            false => serde_json::json!({"rfilename": name, "size": body.len()}),
        })
        .collect();
    let body = serde_json::json!({"sha": state.commit, "siblings": siblings, "private": false});
    Answer::new(200, body.to_string().into_bytes())
}

/// FNV-1a of the content: what distinguishes files is enough.
fn etag(body: &[u8]) -> String {
    let hash = body.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}
