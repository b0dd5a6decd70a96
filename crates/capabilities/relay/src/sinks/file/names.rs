//! Names of files: `PREFIX_SECONDS.jsonl`, `PREFIX_SECONDS_N.jsonl`, with `.zst` once they are compressed.

use std::path::{Path, PathBuf};

/// What a file ends with that is compressed.
pub(super) const ZSTD: &str = "jsonl.zst";
pub(super) const PLAIN: &str = "jsonl";
/// What one ends with that is being compressed.
pub(super) const PARTIAL: &str = "jsonl.zst.partial";

/// Name of a file: when it was begun, and which of that second's it is. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName {
    pub seconds: u64,
    pub at: u32,
}

impl FileName {
    /// The file of this name that ends so.
    pub(super) fn path(self, folder: &Path, prefix: &str, ending: &str) -> PathBuf {
        let Self { seconds, at } = self;
        folder.join(match at {
            0 => format!("{prefix}_{seconds}.{ending}"),
            at => format!("{prefix}_{seconds}_{at}.{ending}"),
        })
    }

    /// Name that comes after this one in the same second.
    pub(super) fn next(self) -> Option<Self> {
        Some(Self { at: self.at.checked_add(1)?, ..self })
    }

    /// Reads a file's name; `None` where it is not of this prefix and ending.
    pub(super) fn read(file: &str, prefix: &str, ending: &str) -> Option<Self> {
        let stem = file.strip_suffix(ending)?.strip_suffix('.')?.strip_prefix(prefix)?.strip_prefix('_')?;
        let (seconds, at) = stem.split_once('_').map_or((stem, None), |(seconds, at)| (seconds, Some(at)));
        let at = at.map(number::<u32>);
        match at {
            None => Some(Self { seconds: number(seconds)?, at: 0 }),
            Some(Some(at)) if at > 0 => Some(Self { seconds: number(seconds)?, at }),
            Some(_) => None,
        }
    }
}

/// As it is written here: no sign, no zeros before it.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    digits.then(|| text.parse().ok()).flatten()
}

/// All files of a folder with this prefix and ending, the oldest first.
pub(super) fn all(folder: &Path, prefix: &str, ending: &str) -> std::io::Result<Vec<FileName>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        found.extend(file?.file_name().to_str().and_then(|name| FileName::read(name, prefix, ending)));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let name = |seconds, at| Some(FileName { seconds, at });
        let cases = [
            ("t_1700000000.jsonl", name(1_700_000_000, 0)),
            ("t_1700000000_3.jsonl", name(1_700_000_000, 3)),
            ("t_0.jsonl", name(0, 0)),
            ("t_1_0.jsonl", None),
            ("t_01.jsonl", None),
            ("t_+1.jsonl", None),
            ("t_1_.jsonl", None),
            ("t_.jsonl", None),
            ("t_1.jsonl.zst", None),
            ("t_1jsonl", None),
            ("other_1.jsonl", None),
            ("t_x_1.jsonl", None),
        ];
        for (file, expected) in cases {
            let read = FileName::read(file, "t", PLAIN);
            assert_eq!(read, expected, "{file}");
            if let Some(name) = read {
                assert_eq!(name.path(Path::new(""), "t", PLAIN), Path::new(file));
            }
        }
        assert!(name(1, 2) < name(1, 10) && name(1, 10) < name(2, 0));
    }
}
