//! Brings a model from the hub into the cache: through the crate hf-hub, whose folder layout every
//! Hugging Face tool shares.
//!
//! Commits are pinned: the files of one load belong together, and the branch's name is written to
//! the cache only when all are there. Knows ids, lists and the cache; [`super::transfer`] brings
//! one file.

use super::choose::{self, Choice, Wanted};
use super::hub_failure::{Failure, Place};
use super::transfer::{Transfer, guarded};
use super::{HubOptions, ModelFiles, local};
use crate::error::LoadError;
use crate::loading::LoadOptions;
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

const PUBLIC_HUB: &str = "https://huggingface.co";
/// Failures in a row after which a download is given up.
const RETRIES: u32 = 5;
/// A connection that brought this much was a good one: failures are counted anew.
const GOOD_BYTES: u64 = 8 << 20;

/// `org/name`, and the branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RepoId {
    pub id: String,
    pub revision: String,
}

impl RepoId {
    /// `None` if `model` cannot be an id.
    pub fn parse(model: &str) -> Option<Self> {
        let (id, revision) = model.split_once('@').unwrap_or((model, "main"));
        let (org, name) = id.split_once('/')?;
        let plain =
            is_plain(org) && is_plain(name) && !name.to_ascii_lowercase().ends_with(".gguf");
        let revision_fits = revision.split('/').all(is_plain);
        (plain && revision_fits).then(|| Self { id: id.to_owned(), revision: revision.to_owned() })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, revision.to_owned())
    }
}

/// A name that is safe as a part of a path and of an address.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['.', '-', '~'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Without a byte for this long, a transfer is given up.
    pub patience: Duration,
    /// Before the first retry; doubled for each further one.
    pub pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: Duration::from_secs(60), pause: Duration::from_millis(500) }
    }
}

/// Finds the model in the cache, or downloads it.
pub(super) fn resolve(
    id: &RepoId,
    wanted: &Wanted,
    options: &LoadOptions,
) -> Result<ModelFiles, LoadError> {
    resolve_at(id, wanted, options, Pace::default())
}

pub(super) fn resolve_at(
    id: &RepoId,
    wanted: &Wanted,
    options: &LoadOptions,
    pace: Pace,
) -> Result<ModelFiles, LoadError> {
    let cache = Cache::new(cache_dir(&options.hub)?);
    let cached = cached(&cache, id, wanted);
    if options.hub.offline {
        return cached.map_err(|reason| LoadError::Hub(offline_sentence(id, &cache, &reason)));
    }
    match cached {
        Ok(files) if is_settled(&files, wanted) => {
            tracing::info!(model = id.id, revision = id.revision, "found in the cache");
            Ok(files)
        }
        cached => {
            let hub = Hub::new(id, cache, options, pace)?;
            match (hub.listing(), cached) {
                (Err(failure), Ok(files)) if failure.is_no_answer() => {
                    tracing::warn!("{}; taking what is in the cache", hub.sentence(&failure, None));
                    Ok(files)
                }
                (Err(failure), _) => Err(LoadError::Hub(hub.sentence(&failure, None))),
                (Ok(listing), _) => hub.fetch_model(&listing, wanted),
            }
        }
    }
}

/// Whether the files would be the same if the hub were asked. Which GGUF to take of several is
/// decided by the full list, and the cache may know only some.
fn is_settled(files: &ModelFiles, wanted: &Wanted) -> bool {
    matches!(files, ModelFiles::HuggingFace { .. }) || !wanted.gguf_files.is_empty()
}

fn cache_dir(options: &HubOptions) -> Result<PathBuf, LoadError> {
    match (&options.cache_dir, std::env::home_dir()) {
        (Some(folder), _) => std::path::absolute(folder)
            .map_err(|source| LoadError::Io { file: folder.clone(), source }),
        (None, Some(home)) => Ok(home.join(".cache").join("huggingface").join("hub")),
        (None, None) => Err(LoadError::Option {
            option: "--hf-cache-path",
            reason: "there is no home folder to keep the cache in; name a folder".to_owned(),
        }),
    }
}

/// The model from the cache, or why not.
fn cached(cache: &Cache, id: &RepoId, wanted: &Wanted) -> Result<ModelFiles, String> {
    let repo = id.repo(&id.revision);
    let reference = cache.path().join(repo.folder_name()).join("refs").join(&id.revision);
    let commit = std::fs::read_to_string(reference).map(|text| text.trim().to_owned());
    // Without a reference the revision may be a commit itself.
    let commit = commit.unwrap_or_else(|_| id.revision.clone());
    let snapshot = cache.repo(repo).pointer_path(&commit);
    if !is_plain(&commit) || !snapshot.is_dir() {
        return Err("it has not been downloaded yet".to_owned());
    }
    let wanted = Wanted { prefer_q4_k_m: true, ..wanted.clone() };
    local::folder(&snapshot, &wanted)
}

fn offline_sentence(id: &RepoId, cache: &Cache, reason: &str) -> String {
    format!(
        "`{}` (revision `{}`) cannot be loaded offline from the cache `{}`: {reason}; run once \
         without HF_HUB_OFFLINE to download it",
        id.id,
        id.revision,
        cache.path().display()
    )
}

/// The files of a repository at one commit. hf-hub's own type knows no sizes.
#[derive(serde::Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<ListedFile>,
}

#[derive(serde::Deserialize)]
struct ListedFile {
    rfilename: String,
    size: Option<u64>,
}

/// One repository at one hub.
struct Hub<'a> {
    id: &'a RepoId,
    endpoint: String,
    token: Option<String>,
    cache: Cache,
    api: Api,
    progress: &'a crate::loading::progress::Progress,
    pace: Pace,
}

impl<'a> Hub<'a> {
    fn new(
        id: &'a RepoId,
        cache: Cache,
        options: &'a LoadOptions,
        pace: Pace,
    ) -> Result<Self, LoadError> {
        let token = options.hub.token_source.read(&cache.token_path())?;
        let endpoint = options.hub.endpoint.as_deref().unwrap_or(PUBLIC_HUB).trim_end_matches('/');
        let is_web = endpoint.starts_with("http://") || endpoint.starts_with("https://");
        let parsed = endpoint.parse::<ureq::http::Uri>();
        if !is_web || !parsed.is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty())) {
            return Err(LoadError::Hub(format!(
                "the hub's address `{}` (HF_ENDPOINT) is none; it has the form `{PUBLIC_HUB}`",
                shown(endpoint)
            )));
        }
        let place = Place {
            id,
            endpoint: shown(endpoint),
            file: None,
            has_token: token.is_some(),
            cache: cache.path(),
        };
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(endpoint.to_owned())
            .with_token(token.clone())
            .with_progress(false)
            .with_user_agent("mistralrs", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| LoadError::Hub(place.sentence(&Failure::from(error))))?;
        let progress = &options.progress;
        Ok(Self { id, endpoint: endpoint.to_owned(), token, cache, api, progress, pace })
    }

    fn sentence(&self, failure: &Failure, file: Option<&str>) -> String {
        let place = Place {
            id: self.id,
            endpoint: shown(&self.endpoint),
            file,
            has_token: self.token.is_some(),
            cache: self.cache.path(),
        };
        let sentence = place.sentence(failure);
        // No part of a sentence is made from the token; an echoing server must not change that.
        match &self.token {
            Some(token) => sentence.replace(token.as_str(), "(token)"),
            None => sentence,
        }
    }

    /// The commit behind the revision, and its files.
    fn listing(&self) -> Result<Listing, Failure> {
        self.with_retries(|| self.ask_listing())
    }

    fn ask_listing(&self) -> Result<Listing, Failure> {
        let mut response = self
            .api
            .repo(self.id.repo(&self.id.revision))
            .info_request()
            .query("blobs", "true")
            .config()
            .timeout_global(Some(self.pace.patience))
            .http_status_as_error(false)
            .build()
            .call()
            .map_err(Failure::from)?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
            return Err(Failure::Status { status, code: code.map(str::to_owned) });
        }
        let info: Listing = response.body_mut().read_json().map_err(Failure::from)?;
        if !is_plain(&info.sha) {
            return Err(Failure::Odd("the commit's name is not one".to_owned()));
        }
        Ok(info)
    }

    /// Downloads what is missing: small files first, so that a snapshot with weights has all.
    fn fetch_model(&self, listing: &Listing, wanted: &Wanted) -> Result<ModelFiles, LoadError> {
        let not_found = |reason: String| LoadError::NotFound { model: self.id.id.clone(), reason };
        let names: BTreeSet<String> = listing
            .siblings
            .iter()
            .map(|file| file.rfilename.clone())
            .filter(|name| choose::stays_inside(name))
            .collect();
        let wanted = Wanted { prefer_q4_k_m: true, ..wanted.clone() };
        let choice = choose::choose(&names, &wanted).map_err(not_found)?;
        let snapshot = self.cache.repo(self.id.repo(&listing.sha)).pointer_path(&listing.sha);
        let fetch = |name: &String| self.fetch(listing, name);
        match &choice {
            Choice::Gguf { files, tower } => {
                files.iter().chain(tower.name()).try_for_each(fetch)?;
            }
            Choice::Safetensors { weights } => {
                choose::companions(&names).iter().chain(weights).try_for_each(fetch)?;
            }
            Choice::Sharded { index } => {
                choose::companions(&names).iter().chain([index]).try_for_each(fetch)?;
                let shards = local::shards(&snapshot.join(index)).map_err(not_found)?;
                if let Some(missing) = shards.iter().find(|name| !names.contains(*name)) {
                    return Err(not_found(format!(
                        "its index names `{missing}`, which it does not have"
                    )));
                }
                shards.iter().try_for_each(fetch)?;
            }
        }
        self.cache
            .repo(self.id.repo(&self.id.revision))
            .create_ref(&listing.sha)
            .map_err(|error| LoadError::Hub(self.sentence(&Failure::from_disk(error), None)))?;
        local::files(&snapshot, &choice, &wanted).map_err(not_found)
    }

    fn fetch(&self, listing: &Listing, name: &str) -> Result<(), LoadError> {
        let repo = self.id.repo(&listing.sha);
        let pointer = self.cache.repo(repo.clone()).pointer_path(&listing.sha);
        if pointer.join(name).is_file() {
            return Ok(());
        }
        let listed = listing.siblings.iter().find(|file| file.rfilename == name);
        let transfer = Transfer {
            api: self.api.clone(),
            cache: self.cache.clone(),
            repo,
            name: name.to_owned(),
            size: listed.and_then(|file| file.size),
        };
        self.with_retries(|| self.fetch_once(transfer.clone()))
            .map_err(|failure| LoadError::Hub(self.sentence(&failure, Some(name))))
    }

    fn fetch_once(&self, transfer: Transfer) -> Result<(), Failure> {
        let stage = format!("download {}", transfer.name);
        let mut span: Option<(u64, u64)> = None;
        let result = guarded(
            self.pace.patience,
            |done, total| {
                self.progress.report_bytes(&stage, done, total);
                span = Some((span.map_or(done, |(first, _)| first), done));
            },
            move |bytes| transfer.run(bytes),
        );
        let gained = span.map_or(0, |(first, last)| last.saturating_sub(first));
        result.map_err(|failure| failure.after(gained))
    }

    fn with_retries<T>(&self, attempt: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut failures = 0;
        loop {
            let failure = match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            if failure.gained() >= GOOD_BYTES {
                failures = 0;
            }
            if !failure.may_pass() || failures >= RETRIES {
                return Err(failure);
            }
            std::thread::sleep(self.pace.pause * 2u32.pow(failures));
            failures += 1;
        }
    }
}

/// An address without the user and password it may hold.
fn shown(endpoint: &str) -> String {
    match (endpoint.split_once("://"), endpoint.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_what_is_none() {
        let id = |text: &str| RepoId::parse(text).map(|id| (id.id, id.revision));
        let found = |id: &str, revision: &str| Some((id.to_owned(), revision.to_owned()));
        assert_eq!(id("Qwen/Qwen2.5-0.5B"), found("Qwen/Qwen2.5-0.5B", "main"));
        assert_eq!(id("a/b@v1.0"), found("a/b", "v1.0"));
        assert_eq!(id("a/b@refs/pr/1"), found("a/b", "refs/pr/1"));
        for text in [
            "",
            "gpt2",
            "./a",
            "../a",
            "/a/b",
            "a/b/c",
            "~/a",
            "a/b.gguf",
            "a/b@",
            "a/b@../x",
            "a/b@x/..",
            "a/.b",
            "a /b",
            "a/b?c",
            "a/",
            "/",
            "https://hub/a",
            "a\\b",
            "a/b@-x",
            "ä/b",
        ] {
            assert_eq!(id(text), None, "{text}");
        }
    }

    #[test]
    fn passwords_in_an_address_are_not_shown() {
        assert_eq!(shown("https://me:secret@hub.example/x"), "https://hub.example/x");
        assert_eq!(shown("https://hub.example"), "https://hub.example");
    }
}
