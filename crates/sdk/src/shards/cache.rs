//! The map on disk: what a service begins with where no daemon can be reached.

use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::map::{Shard, Snapshot};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    namespace: String,
    version: i64,
    checksum: String,
    shards: Vec<Shard>,
}

/// The map of a namespace that was kept last; `None`: there is none, or it is not whole.
pub(super) fn load(path: &Path, namespace: &str) -> Option<Snapshot> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let map = Snapshot::new(namespace, kept.version, kept.shards);
    let is_whole = kept.namespace == namespace && kept.checksum == map.checksum();
    is_whole.then(|| map.with_stale(true))
}

/// Keeps a map in the place of the one before: whoever reads meanwhile has one of the two.
///
/// # Errors
/// Those of the file system; what was there is there then.
pub(super) fn save(path: &Path, map: &Snapshot) -> io::Result<()> {
    let kept = Kept {
        namespace: map.namespace.clone(),
        version: map.version,
        checksum: map.checksum(),
        shards: map.shards().cloned().collect(),
    };
    // Several processes may keep it in one place.
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.tmp", std::process::id()));
    let mut file = std::fs::File::create(&aside)?;
    let written = file.write_all(&serde_json::to_vec(&kept)?).and_then(|()| file.sync_all());
    written.and_then(|()| std::fs::rename(&aside, path)).inspect_err(|_| drop(std::fs::remove_file(&aside)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::ShardStatus;

    #[test]
    fn what_is_not_whole_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("orders.json");
        assert!(load(&path, "orders").is_none());
        let shard =
            Shard { id: "0".to_owned(), owner: "a".to_owned(), fence: 7, status: ShardStatus::Active };
        let map = Snapshot::new("orders", 5, [shard]);
        save(&path, &map).unwrap();
        let loaded = load(&path, "orders").unwrap();
        assert_eq!((loaded.version, loaded.stale, loaded.checksum()), (5, true, map.checksum()));
        assert!(load(&path, "users").is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"a\"", "\"b\"")).unwrap();
        assert!(load(&path, "orders").is_none());
        std::fs::write(&path, "{").unwrap();
        assert!(load(&path, "orders").is_none());
    }
}
