//! The ids that were known a moment ago, a file for each target and kind.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

use super::kind::{CompletedKind, KnownObject, OBJECTS_MAX};
use crate::frame::env::{self, EnvironmentVariables};
use crate::frame::settings::CommandTarget;

/// Up to this age the file is the answer, and no daemon is asked.
pub(super) const FRESH: Duration = Duration::from_secs(5);
/// Up to this age it is better than nothing.
pub(super) const STALE: Duration = Duration::from_secs(5 * 60);
/// A thousand ids of the longest kind.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Of more targets than this the oldest files of the kind go.
const FILES_MAX: usize = 32;

/// Cache of the ids of one kind and target.
#[derive(Debug)]
pub(super) struct CompletionCache {
    kind: &'static CompletedKind,
    folder: PathBuf,
    target: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheFile {
    /// Whose objects these are: file names could collide.
    target: String,
    written_at_ms: u64,
    known: Vec<KnownObject>,
}

impl CompletionCache {
    /// The cache of `target` below the user's cache folder; `None` when there is no such folder.
    pub(super) fn of(
        kind: &'static CompletedKind,
        target: &CommandTarget,
        env: &EnvironmentVariables,
    ) -> Option<Self> {
        let folder = match (env.get(env::XDG_CACHE_HOME), env.get(env::HOME)) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => Path::new(home).join(".cache"),
            (None, None) => return None,
        };
        let addresses = target.addresses.iter().map(ToString::to_string);
        let words: Vec<String> = std::iter::once(target.context.clone()).chain(addresses).collect();
        Some(Self { kind, folder: folder.join("omnirelay"), target: words.join(" ") })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}-{:016x}.json", self.kind.list, xxh64(self.target.as_bytes(), 0)))
    }

    /// The objects that were written at most `age_max` before `now`; whatever is wrong with the file is `None`.
    pub(super) fn read(&self, now: SystemTime, age_max: Duration) -> Option<Vec<KnownObject>> {
        let mut text = String::new();
        let file = std::fs::File::open(self.path()).ok()?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        let file: CacheFile = serde_json::from_str(&text).ok()?;
        let written = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(file.written_at_ms))?;
        // A time that is still to come says nothing about an age.
        let fresh = now.duration_since(written).ok()? <= age_max;
        let good = fresh && file.target == self.target && file.known.len() <= OBJECTS_MAX;
        (good && file.known.iter().all(|one| one.is_harmless(self.kind))).then_some(file.known)
    }

    /// Keeps `known`, whole or not at all; a cache that cannot be written is no failure.
    pub(super) fn write(&self, known: &[KnownObject], now: SystemTime) {
        let Ok(since) = now.duration_since(SystemTime::UNIX_EPOCH) else { return };
        let written_at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let file = CacheFile { target: self.target.clone(), written_at_ms, known: known.to_vec() };
        let Ok(text) = serde_json::to_vec(&file) else { return };
        let path = self.path();
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| std::fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        self.prune();
    }

    /// Removes the oldest files when there are too many, those of writers that were killed included.
    fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mark = format!("{}-", self.kind.list);
        let ours = entries
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(mark.as_bytes()));
        let aged = |entry: std::fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
        let mut files: Vec<_> = ours.filter_map(aged).collect();
        files.sort();
        for (_, path) in files.iter().take(files.len().saturating_sub(FILES_MAX)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::frame::address::Address;
    use crate::frame::settings::ValueSource;
    use crate::{leaders, peers};

    fn cache(folder: &Path, context: &str) -> CompletionCache {
        of_kind(&peers::OBJECTS, folder, context)
    }

    fn of_kind(kind: &'static CompletedKind, folder: &Path, context: &str) -> CompletionCache {
        let target = CommandTarget {
            context: context.to_owned(),
            ..CommandTarget::bare(vec![Address::built_in()], ValueSource::File)
        };
        let folder = folder.display().to_string();
        let env = EnvironmentVariables::from_source(|name| {
            (name == env::XDG_CACHE_HOME.name).then(|| folder.clone())
        });
        CompletionCache::of(kind, &target, &env).unwrap()
    }

    fn peers() -> Vec<KnownObject> {
        vec![KnownObject { id: "node-1".into(), status: "alive".into() }]
    }

    #[test]
    fn file_is_private_whole_and_of_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let (dev, prod) = (cache(folder.path(), "dev"), cache(folder.path(), "prod"));
        let now = SystemTime::now();
        dev.write(&peers(), now);
        assert_eq!(dev.read(now, FRESH), Some(peers()));
        assert_eq!(prod.read(now, FRESH), None, "each target has its own");
        assert_eq!(std::fs::metadata(dev.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&dev.folder).unwrap().count(), 1, "nothing is left beside it");
        assert_eq!(of_kind(&leaders::OBJECTS, folder.path(), "dev").read(now, FRESH), None, "and each kind");
        std::fs::copy(dev.path(), prod.path()).unwrap();
        assert_eq!(prod.read(now, FRESH), None, "a file of another target is not taken");
    }

    #[test]
    fn age_decides_whether_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), "dev");
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        cache.write(&peers(), written);
        let read = |after: u64, age_max| cache.read(written + Duration::from_secs(after), age_max).is_some();
        assert!(read(5, FRESH) && !read(6, FRESH));
        assert!(read(300, STALE) && !read(301, STALE));
        assert!(cache.read(written - Duration::from_secs(1), STALE).is_none(), "written in the future");
    }

    #[test]
    fn whatever_is_wrong_with_the_file_is_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), "dev");
        let now = SystemTime::now();
        cache.write(&peers(), now);
        let good = std::fs::read_to_string(cache.path()).unwrap();
        let cases = [
            ("empty", String::new()),
            ("half of it", good[..good.len() / 2].to_owned()),
            ("not JSON", "peers".to_owned()),
            ("an id that is a command", good.replace("node-1", "$(reboot)")),
            ("too long", good.replace("node-1", &"x".repeat(2 * FILE_BYTES_MAX as usize))),
        ];
        for (what, text) in cases {
            std::fs::write(cache.path(), text).unwrap();
            assert_eq!(cache.read(now, STALE), None, "{what}");
        }
        cache.write(&peers(), now);
        assert_eq!(cache.read(now, FRESH), Some(peers()), "the next answer replaces it");
    }

    #[test]
    fn files_are_bounded_in_number() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..FILES_MAX + 5 {
            cache(folder.path(), &format!("context-{number}")).write(&peers(), SystemTime::now());
        }
        assert_eq!(std::fs::read_dir(folder.path().join("omnirelay")).unwrap().count(), FILES_MAX);
    }
}
