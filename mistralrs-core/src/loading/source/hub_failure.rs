//! What can go wrong with the hub, and the sentence that says what to do about it.

use super::hub::RepoId;
use crate::loading::memory::Bytes;
use hf_hub::api::sync::ApiError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A situation with the hub.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub answered with an error; `code` is its own name for it.
    Status { status: u16, code: Option<String> },
    /// There was no connection at all.
    Unreachable(String),
    /// The connection broke after so many bytes.
    Interrupted { reason: String, gained: u64 },
    /// Nothing came for this long.
    Stalled(Duration),
    /// The disk is full.
    DiskFull,
    /// The cache cannot be written to.
    Disk(std::io::Error),
    /// Another process holds the file.
    Locked(PathBuf),
    /// The file is not as long as announced.
    WrongSize { wanted: u64, found: u64 },
    /// An answer that a hub does not give.
    Odd(String),
    /// The hub crate broke down.
    Crashed(String),
}

impl Failure {
    /// Whether trying again makes sense.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Interrupted { .. } | Self::WrongSize { .. } => true,
            _ => false,
        }
    }

    /// The hub said nothing about the model.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Interrupted { .. } | Self::Stalled(_))
            || self.may_pass()
    }

    /// Notes how many bytes came before it happened.
    pub fn after(self, bytes: u64) -> Self {
        match self {
            Self::Interrupted { reason, .. } => Self::Interrupted { reason, gained: bytes },
            other => other,
        }
    }

    /// Bytes that came before it happened.
    pub fn gained(&self) -> u64 {
        match self {
            Self::Interrupted { gained, .. } => *gained,
            _ => 0,
        }
    }

    /// An error of the cache's file system.
    pub fn from_disk(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Disk(error),
        }
    }

    /// An error before the answer's head was read: the disk has no part in it.
    fn from_connection(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => Self::Interrupted { reason: error.to_string(), gained: 0 },
            // An unknown host has no kind of its own.
            _ => Self::Unreachable(error.to_string()),
        }
    }

    /// An error while the body was written to disk: hf-hub does not say which side failed.
    fn from_copy(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::NotFound => Self::from_disk(error),
            _ => Self::Interrupted { reason: error.to_string(), gained: 0 },
        }
    }
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::StatusCode(status) => Self::Status { status, code: None },
            ureq::Error::Io(error) => Self::from_connection(error),
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(_)
            | ureq::Error::InvalidProxyUrl
            | ureq::Error::Tls(_) => Self::Unreachable(error.to_string()),
            other => Self::Odd(other.to_string()),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::RequestError(error) => Self::from(*error),
            ApiError::IoError(error) => Self::from_copy(error),
            ApiError::TooManyRetries(error) => Self::from(*error),
            ApiError::LockAcquisition(lock) => Self::Locked(lock),
            other => Self::Odd(other.to_string()),
        }
    }
}

/// Where it happened.
pub(super) struct Place<'a> {
    pub id: &'a RepoId,
    /// Without user and password.
    pub endpoint: String,
    /// The file, or the model as a whole.
    pub file: Option<&'a str>,
    pub has_token: bool,
    pub cache: &'a Path,
}

impl Place<'_> {
    /// What happened, where, and what to do.
    pub fn sentence(&self, failure: &Failure) -> String {
        let what = self.what();
        let hub = &self.endpoint;
        match failure {
            Failure::Status { status, code } => self.refusal(*status, code.as_deref()),
            Failure::Unreachable(reason) => format!(
                "{what} is not in the cache and the hub {hub} cannot be reached ({reason}); check \
                 the network, the proxy and HF_ENDPOINT"
            ),
            Failure::Interrupted { reason, .. } => format!(
                "the transfer of {what} from {hub} broke off again and again ({reason}); what came is \
                 kept, run again to go on"
            ),
            Failure::Stalled(patience) => format!(
                "{hub} sent nothing of {what} for {} s; what came is kept, run again to go on",
                patience.as_secs_f32()
            ),
            Failure::DiskFull => format!(
                "the disk is full while downloading {what} to `{}`; make room or choose another folder \
                 with `--hf-cache-path`, what came is kept",
                self.cache.display()
            ),
            Failure::Disk(error) => format!(
                "cannot write {what} to the cache `{}` ({error}); make it writable or choose another \
                 folder with `--hf-cache-path`",
                self.cache.display()
            ),
            Failure::Locked(lock) => format!(
                "another process is downloading {what}; run again when it has ended (its lock is `{}`)",
                lock.display()
            ),
            Failure::WrongSize { wanted, found } => format!(
                "{what} came from {hub} with {} instead of {} ({found} and {wanted} bytes); run again, \
                 or check the proxy and HF_ENDPOINT",
                Bytes(*found),
                Bytes(*wanted)
            ),
            Failure::Odd(reason) => format!(
                "{hub} gave an answer for {what} that a hub does not give ({reason}); check HF_ENDPOINT \
                 and the proxy"
            ),
            Failure::Crashed(reason) => {
                format!(
                    "the hub client failed on {what} ({reason}); run again, it goes on where it stopped"
                )
            }
        }
    }

    /// `model.safetensors` of `org/name`.
    fn what(&self) -> String {
        let revision = match self.id.revision.as_str() {
            "main" => String::new(),
            other => format!(" at revision `{other}`"),
        };
        match self.file {
            Some(file) => format!("`{file}` of `{}`{revision}", self.id.id),
            None => format!("`{}`{revision}", self.id.id),
        }
    }

    fn refusal(&self, status: u16, code: Option<&str>) -> String {
        let (what, hub, id) = (self.what(), &self.endpoint, &self.id.id);
        let token = if self.has_token {
            "the token that was given does not open it"
        } else {
            "no token was given (`--token-source`)"
        };
        match (status, code) {
            (_, Some("GatedRepo")) | (403, _) => format!(
                "{hub} refuses {what} ({status}): the model is gated or private and {token}; accept its \
                 licence at {hub}/{id} and give a token of that account with `--token-source`"
            ),
            (_, Some("RevisionNotFound")) => {
                format!("`{id}` has no revision `{}` at {hub} ({status})", self.id.revision)
            }
            (401, _) => format!(
                "{hub} refuses {what} ({status}): the id is misspelt, or the model is private or gated \
                 and {token}; check the id, accept the model's licence at {hub}/{id} and give a token with \
                 `--token-source`"
            ),
            (404, _) if self.file.is_some() => {
                format!(
                    "{what} is listed but not found at {hub} (404); run again, or name another revision"
                )
            }
            (404, _) => format!(
                "there is no {what} at {hub} (404), nor a folder of that name here: the id is misspelt, or the \
                 model is private and {token}"
            ),
            (429, _) => format!(
                "{hub} answers too many requests (429) for {what}; wait some minutes, or give a token with \
                 `--token-source`"
            ),
            (500.., _) => format!(
                "{hub} has trouble of its own ({status}) with {what}; try again later, what came is kept"
            ),
            _ => format!("{hub} answers {status} for {what}; check HF_ENDPOINT and the proxy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cannot be staged with a hub on the loopback.
    #[test]
    fn troubles_of_the_disk_and_of_others_are_sentences() {
        let id = RepoId::parse("org/model@v2").unwrap();
        let cache = Path::new("/the/cache");
        let endpoint = "https://hub.example".to_owned();
        let place = Place { id: &id, endpoint, file: Some("a.gguf"), has_token: false, cache };
        let io = |kind: ErrorKind| Failure::from(ApiError::IoError(kind.into()));
        let host = ureq::Error::Io(std::io::Error::other("failed to look up the host"));
        let table = [
            (io(ErrorKind::StorageFull), "the disk is full"),
            (io(ErrorKind::QuotaExceeded), "the disk is full"),
            (io(ErrorKind::PermissionDenied), "make it writable"),
            (io(ErrorKind::ConnectionReset), "run again to go on"),
            (Failure::from(host), "cannot be reached (failed to look up the host)"),
            (Failure::from(ureq::Error::HostNotFound), "cannot be reached"),
            (Failure::from(ApiError::LockAcquisition("/x.lock".into())), "another process"),
            (Failure::from(ApiError::MissingHeader("etag")), "a hub does not give"),
            (Failure::WrongSize { wanted: 2048, found: 1024 }, "1.0 KiB instead of 2.0 KiB"),
            (Failure::Crashed("it panicked".into()), "run again"),
        ];
        for (failure, words) in table {
            let sentence = place.sentence(&failure);
            assert!(sentence.contains(words), "{failure:?}: {sentence}");
            assert!(sentence.contains("`a.gguf` of `org/model` at revision `v2`"), "{sentence}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status = |status| Failure::Status { status, code: None }.may_pass();
        assert_eq!(
            [401, 403, 404, 416, 429, 500, 503].map(status),
            [false, false, false, false, true, true, true]
        );
        assert!(!Failure::DiskFull.may_pass() && !Failure::Unreachable(String::new()).may_pass());
        assert!(Failure::Interrupted { reason: String::new(), gained: 0 }.may_pass());
    }
}
