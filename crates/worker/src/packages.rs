//! The cache of unpacked packages: fetched from the object store by SHA-256, checked, unpacked once, shown to
//! sandboxes read only, and forgotten when space is needed and nobody uses them.

mod image_root;
mod merge;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use lambfold_package::{Limits, PackageError};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, ObjectStore};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::sync::OnceCell;

use crate::hot_reload::HotCode;

/// Why a function's code is not at hand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The function names no package, or not by a SHA-256.
    #[error("{0:?} is no SHA-256 of a package")]
    InvalidName(String),
    /// The object store does not have it, or did not answer.
    #[error("the package {0} could not be fetched")]
    Store(String, #[source] object_store::Error),
    /// The object is not what its name says.
    #[error("the package {0} is damaged: its SHA-256 is another one")]
    Damaged(String),
    /// It was accepted once, so it should unpack.
    #[error("the package {0} could not be unpacked")]
    Unpack(String, #[source] PackageError),
    /// The cache directory cannot be read or written.
    #[error("the package cache failed")]
    Io(#[from] io::Error),
}

/// Unpacked packages, at most so many bytes of them.
pub(crate) struct PackageCache {
    directory: PathBuf,
    store: Arc<dyn ObjectStore>,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<String, Entry>,
    /// Counts uses, for the order of the last ones.
    uses: u64,
}

struct Entry {
    /// Set when the package is there; whoever comes first fills it, the others wait.
    ready: Arc<OnceCell<Unpacked>>,
    last_use: u64,
}

#[derive(Clone)]
struct Unpacked {
    /// As many clones as there are users, and one here.
    path: Arc<PathBuf>,
    bytes: u64,
}

/// An unpacked package that stays as long as this is held.
#[derive(Clone)]
pub(crate) struct Package {
    path: Arc<PathBuf>,
    /// Where it is no package but a directory that may change.
    live: Option<Arc<HotCode>>,
}

impl Package {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory that stands in for a package.
    pub(crate) fn live(path: Arc<PathBuf>, code: Arc<HotCode>) -> Self {
        Self { path, live: Some(code) }
    }

    /// What it may have changed from, where it may.
    pub(crate) fn hot_code(&self) -> Option<&Arc<HotCode>> {
        self.live.as_ref()
    }
}

impl PackageCache {
    /// Takes over what an earlier worker left in `directory`.
    pub(crate) fn open(directory: PathBuf, store: Arc<dyn ObjectStore>, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut state = State::default();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if let Some((name, bytes)) = left_behind(&path) {
                let unpacked = Unpacked { path: Arc::new(path), bytes };
                let entry = Entry { ready: Arc::new(OnceCell::new_with(Some(unpacked))), last_use: 0 };
                state.entries.insert(name, entry);
            } else if path.extension().is_none_or(|extension| extension != "bytes") {
                remove(&path)?;
            }
        }
        Ok(Self { directory, store, max_bytes, state: Mutex::new(state) })
    }

    /// The package of that SHA-256 (base64, as AWS shows it).
    pub(crate) async fn get(&self, code_sha256: &str) -> Result<Package, FetchError> {
        let digest = STANDARD.decode(code_sha256).ok().filter(|digest| digest.len() == 32);
        let Some(digest) = digest else {
            return Err(FetchError::InvalidName(code_sha256.chars().take(64).collect()));
        };
        let name = hex::encode(&digest);
        self.ready(&name, || self.fetch(&name, "packages", &digest, unpack_package)).await
    }

    /// The root directory of a container image of these layers (SHA-256 in hexadecimal, the lowest first), with what a
    /// sandbox needs in it: made once per list, and each layer unpacked once.
    pub(crate) async fn image(&self, layers: &[String]) -> Result<Package, FetchError> {
        let name = list_name("image", layers);
        self.ready(&name, || self.merge_image(&name, layers)).await
    }

    /// The layers of these SHA-256s, laid over each other in their order: one directory for `/opt`, made once per list.
    /// `None` without layers.
    pub(crate) async fn layers(&self, sha256s: &[String]) -> Result<Option<Package>, FetchError> {
        match sha256s {
            [] => Ok(None),
            [one] => self.get(one).await.map(Some),
            several => {
                let name = list_name("layers", several);
                self.ready(&name, || self.merge(&name, several)).await.map(Some)
            }
        }
    }

    /// What is cached under `name`, which is made if it is not there.
    async fn ready<F: Future<Output = Result<Unpacked, FetchError>>>(
        &self,
        name: &str,
        make: impl FnOnce() -> F,
    ) -> Result<Package, FetchError> {
        let ready = {
            let mut state = self.state();
            state.uses += 1;
            let last_use = state.uses;
            let entry = state
                .entries
                .entry(name.to_owned())
                .or_insert_with(|| Entry { ready: Arc::default(), last_use });
            entry.last_use = last_use;
            Arc::clone(&entry.ready)
        };
        // The clone is the use: made before eviction can look, since it only takes what is `ready` and unused.
        let package =
            ready.get_or_try_init(make).await.map(|it| Package { path: Arc::clone(&it.path), live: None });
        if package.is_ok() {
            self.evict();
        }
        package
    }

    async fn merge(&self, name: &str, sha256s: &[String]) -> Result<Unpacked, FetchError> {
        // Kept from eviction while they are merged.
        let mut layers = Vec::new();
        for sha256 in sha256s {
            layers.push(Box::pin(self.get(sha256)).await?);
        }
        self.lay(name, layers, |layers, to| merge::merge(layers.iter().map(Package::path), to)).await
    }

    async fn merge_image(&self, name: &str, sha256s: &[String]) -> Result<Unpacked, FetchError> {
        let mut layers = Vec::new();
        for sha256 in sha256s {
            let digest = hex::decode(sha256).ok().filter(|digest| digest.len() == 32);
            let Some(digest) = digest else {
                return Err(FetchError::InvalidName(sha256.chars().take(64).collect()));
            };
            // The same bytes as a package are unpacked in another way.
            let name = list_name("image layer", std::slice::from_ref(sha256));
            let fetch = || self.fetch(&name, "images", &digest, unpack_image_layer);
            layers.push(Box::pin(self.ready(&name, fetch)).await?);
        }
        self.lay(name, layers, |layers, to| image_root::make(layers.iter().map(Package::path), to)).await
    }

    /// Makes one directory of several; `make` tells how many entries it has.
    async fn lay(
        &self,
        name: &str,
        layers: Vec<Package>,
        make: impl FnOnce(&[Package], &Path) -> io::Result<usize> + Send + 'static,
    ) -> Result<Unpacked, FetchError> {
        let (unfinished, finished) =
            (self.directory.join(format!("{name}.unfinished")), self.directory.join(name));
        let merged = tokio::task::spawn_blocking(move || {
            clear(&[&unfinished, &finished])?;
            let entries = make(&layers, &unfinished)?;
            // The files are the layers' own, counted there; when those are evicted these keep them on the disk, so
            // they count here, too.
            let files: u64 = layers.iter().filter_map(|layer| size_of(layer.path())).sum();
            finish(&unfinished, finished, files + 4096 * entries as u64)
        });
        Ok(merged.await.unwrap_or_else(|_| Err(io::Error::other("merging was cut off")))?)
    }

    /// Fetches the object of that digest from a folder of the store, and unpacks it under `name`.
    async fn fetch(
        &self,
        name: &str,
        folder: &str,
        digest: &[u8],
        unpack: Unpack,
    ) -> Result<Unpacked, FetchError> {
        let archive = tempfile_in(&self.directory, name).await?;
        let outcome = self.fetch_to(name, folder, digest, &archive, unpack).await;
        // Nothing of an archive is kept, whether it was sound or not.
        let _ = tokio::fs::remove_file(&archive).await;
        outcome
    }

    async fn fetch_to(
        &self,
        name: &str,
        folder: &str,
        digest: &[u8],
        archive: &Path,
        unpack: Unpack,
    ) -> Result<Unpacked, FetchError> {
        let location = ObjectPath::from(format!("{folder}/{}", hex::encode(digest)));
        let failed = |error| FetchError::Store(name.to_owned(), error);
        let object = self.store.get_opts(&location, GetOptions::default()).await.map_err(failed)?;
        let mut file = tokio::fs::File::options().read(true).write(true).open(archive).await?;
        let mut hash = Sha256::new();
        let mut chunks = object.into_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(failed)?;
            hash.update(&chunk);
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        if hash.finalize().as_slice() != digest {
            return Err(FetchError::Damaged(name.to_owned()));
        }
        file.rewind().await?;
        let file = file.into_std().await;
        let (unfinished, finished) =
            (self.directory.join(format!("{name}.unfinished")), self.directory.join(name));
        let name = name.to_owned();
        let unpacked = tokio::task::spawn_blocking(move || {
            clear(&[&unfinished, &finished])?;
            let bytes = unpack(&file, &unfinished).map_err(|error| FetchError::Unpack(name, error))?;
            Ok(finish(&unfinished, finished, bytes)?)
        });
        unpacked.await.unwrap_or_else(|_| Err(io::Error::other("unpacking was cut off").into()))
    }

    /// Forgets the least recently used packages that nobody uses until the rest fits.
    fn evict(&self) {
        let mut removed = Vec::new();
        {
            let mut state = self.state();
            let mut total: u64 =
                state.entries.values().filter_map(|entry| entry.ready.get()).map(|it| it.bytes).sum();
            while total > self.max_bytes {
                let unused = state.entries.iter().filter_map(|(name, entry)| {
                    let unpacked = entry.ready.get()?;
                    // One count is the cache's; who waits for the cell holds the cell.
                    let unused =
                        Arc::strong_count(&unpacked.path) == 1 && Arc::strong_count(&entry.ready) == 1;
                    unused.then(|| (entry.last_use, name.clone(), unpacked.clone()))
                });
                let Some((_, name, unpacked)) = unused.min_by_key(|(last_use, ..)| *last_use) else { break };
                state.entries.remove(&name);
                total -= unpacked.bytes;
                // Out of the way at once, so that the same package can come again meanwhile.
                let doomed = self.directory.join(format!("{name}-{}.doomed", state.uses));
                state.uses += 1;
                if let Err(error) = fs::rename(&*unpacked.path, &doomed) {
                    tracing::warn!(%error, path = %unpacked.path.display(), "cannot forget a package");
                }
                removed.push(doomed);
            }
        }
        if !removed.is_empty() {
            tokio::task::spawn_blocking(move || {
                for path in removed {
                    if let Err(error) = remove(&path) {
                        tracing::warn!(%error, path = %path.display(), "cannot remove a package");
                    }
                }
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An empty file of that name's.
async fn tempfile_in(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let path = directory.join(format!("{name}.zip"));
    tokio::fs::File::create(&path).await?;
    Ok(path)
}

/// Unpacks a file into a directory that is not there yet, and tells the space that it takes.
type Unpack = fn(&fs::File, &Path) -> Result<u64, PackageError>;

fn unpack_package(archive: &fs::File, to: &Path) -> Result<u64, PackageError> {
    let summary = lambfold_package::unpack_file(archive, to, &Limits::default())?;
    // Small files take a block each, so the count of bytes alone would say too little.
    Ok(summary.unzipped_bytes + 4096 * summary.entries as u64)
}

fn unpack_image_layer(layer: &fs::File, to: &Path) -> Result<u64, PackageError> {
    let summary = lambfold_package::unpack_image_layer(layer, to, &Limits::of_image())?;
    Ok(summary.unpacked_bytes + 4096 * summary.entries as u64)
}

/// Takes away what an earlier attempt left.
fn clear(paths: &[&Path]) -> io::Result<()> {
    paths.iter().filter(|path| path.exists()).try_for_each(|path| remove(path))
}

/// Gives a directory that is whole its name.
fn finish(unfinished: &Path, finished: PathBuf, bytes: u64) -> io::Result<Unpacked> {
    fs::write(size_file(&finished), bytes.to_string())?;
    fs::rename(unfinished, &finished)?;
    Ok(Unpacked { path: Arc::new(finished), bytes })
}

/// The name of what is made of a list in some way: it tells the order, too.
fn list_name(way: &str, sha256s: &[String]) -> String {
    let mut hash = Sha256::new_with_prefix(way);
    for sha256 in sha256s {
        hash.update([0]);
        hash.update(sha256);
    }
    hex::encode(hash.finalize())
}

fn size_file(package: &Path) -> PathBuf {
    package.with_extension("bytes")
}

/// A whole package of an earlier worker: its name and size.
fn left_behind(path: &Path) -> Option<(String, u64)> {
    let name = path.file_name()?.to_str()?;
    let whole = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) && path.is_dir();
    let size = size_of(path).filter(|_| whole)?;
    Some((name.to_owned(), size))
}

fn size_of(package: &Path) -> Option<u64> {
    fs::read_to_string(size_file(package)).ok()?.parse().ok()
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    // An eviction of the cache before this one may still be at work here.
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;

    async fn put(store: &InMemory, content: &[u8]) -> String {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("index.py", zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
        let bytes = archive.finish().unwrap().into_inner();
        let digest = Sha256::digest(&bytes);
        let location = ObjectPath::from(format!("packages/{}", hex::encode(digest)));
        store.put(&location, PutPayload::from(bytes)).await.unwrap();
        STANDARD.encode(digest)
    }

    #[tokio::test]
    async fn packages_are_unpacked_once_and_kept_while_used() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(InMemory::new());
        let open = || PackageCache::open(directory.path().join("packages"), store.clone(), 10_000).unwrap();
        let (one, two, three) = (put(&store, b"1").await, put(&store, b"2").await, put(&store, b"3").await);
        let cache = open();
        let (first, again) = tokio::join!(cache.get(&one), cache.get(&one));
        let (first, again) = (first.unwrap(), again.unwrap());
        assert_eq!(first.path(), again.path());
        assert_eq!(fs::read(first.path().join("index.py")).unwrap(), b"1");
        drop(again);
        // Each takes 4097 bytes, so two fit: the third drives out the second, which nobody uses.
        let gone = cache.get(&two).await.unwrap().path().to_owned();
        let third = cache.get(&three).await.unwrap();
        assert!(first.path().exists() && third.path().exists() && !gone.exists());
        drop((cache, first));
        // Another worker finds them again.
        let cache = open();
        assert!(cache.get(&three).await.unwrap().path().exists());
        assert!(cache.get(&two).await.unwrap().path().exists());
    }

    #[tokio::test]
    async fn layers_are_merged_once_per_list_and_bounded_like_packages() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(InMemory::new());
        let cache = PackageCache::open(directory.path().to_owned(), store.clone(), 10_000).unwrap();
        let (one, two) = (put(&store, b"1").await, put(&store, b"2").await);
        assert!(cache.layers(&[]).await.unwrap().is_none());
        let lists = [vec![one.clone(), two.clone()], vec![two.clone(), one.clone()], vec![one.clone()]];
        let (forward, again, backward, single) = tokio::join!(
            cache.layers(&lists[0]),
            cache.layers(&lists[0]),
            cache.layers(&lists[1]),
            cache.layers(&lists[2]),
        );
        let path = |layers: Result<Option<Package>, FetchError>| layers.unwrap().unwrap().path().to_owned();
        let (forward, backward) = (path(forward), path(backward));
        assert_eq!(forward, path(again));
        let read = |path: &Path| fs::read(path.join("index.py")).unwrap();
        assert_eq!(
            (read(&forward), read(&backward), read(&path(single))),
            (b"2".into(), b"1".into(), b"1".into())
        );
        // Nobody uses them: what comes drives them out.
        let last = cache.get(&put(&store, b"3").await).await.unwrap();
        assert!(last.path().exists() && !forward.exists());
        assert_eq!(read(&path(cache.layers(&lists[0]).await)), b"2", "and they can come again");
        let missing = STANDARD.encode(Sha256::digest(b"missing"));
        assert!(matches!(cache.layers(&[one, missing]).await, Err(FetchError::Store(..))));
    }

    #[tokio::test]
    async fn what_is_not_what_its_name_says_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(InMemory::new());
        let name = put(&store, b"1").await;
        let other = STANDARD.encode(Sha256::digest(b"other"));
        let digest = hex::encode(STANDARD.decode(&other).unwrap());
        store
            .put(&ObjectPath::from(format!("packages/{digest}")), PutPayload::from_static(b"x"))
            .await
            .unwrap();
        let cache = PackageCache::open(directory.path().to_owned(), store, 1 << 20).unwrap();
        assert!(matches!(cache.get(&other).await, Err(FetchError::Damaged(_))));
        let missing = STANDARD.encode(Sha256::digest(b"missing"));
        assert!(matches!(cache.get(&missing).await, Err(FetchError::Store(..))));
        for wrong in ["", "../../etc", "AAAA"] {
            assert!(matches!(cache.get(wrong).await, Err(FetchError::InvalidName(_))));
        }
        assert!(cache.get(&name).await.is_ok());
        let leftovers = fs::read_dir(directory.path()).unwrap().flatten();
        assert_eq!(
            leftovers.filter(|entry| entry.path().extension().is_some_and(|it| it == "zip")).count(),
            0
        );
    }
}
