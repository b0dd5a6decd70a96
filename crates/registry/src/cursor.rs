//! Cursors: the place of a reader in the log of one epoch.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use omnirelay_store::{Epoch, Revision};

/// The longest text of a cursor, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// A place in the log: everything up to it has been seen. Opaque to clients.
///
/// Written as `<epoch in hex>:<revision>`, with `.<n>` behind it when only the first `n` events
/// of the commit after `revision` have been seen. Places in further sources may follow, each as `,<source>=<place>`: a
/// later release writes them, and whoever does not know a source passes it over (decision 0023).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: Epoch,
    pub revision: Revision,
    /// How many events of the next commit have been seen as well.
    pub part: u32,
}

impl Cursor {
    /// The place right behind the commit `revision`.
    pub fn at(epoch: Epoch, revision: Revision) -> Self {
        Self { epoch, revision, part: 0 }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{}", self.epoch.0, self.revision.0)?;
        if self.part > 0 {
            write!(f, ".{}", self.part)?;
        }
        Ok(())
    }
}

/// The text is not a cursor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a cursor: expected <epoch>:<revision> as an answer gave it")]
pub struct NotACursor(String);

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || NotACursor(text.chars().take(64).collect());
        let (log, further) = text.split_once(',').unwrap_or((text, ""));
        if text.len() > TEXT_BYTES_MAX || log.len() < text.len() && !are_further(further) {
            return Err(refuse());
        }
        let (epoch, place) = log.split_once(':').ok_or_else(refuse)?;
        let (revision, part) = place.split_once('.').unwrap_or((place, "0"));
        Ok(Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| refuse())?),
            revision: Revision(revision.parse().map_err(|_| refuse())?),
            part: part.parse().map_err(|_| refuse())?,
        })
    }
}

/// The place in a further source that the text of a cursor names.
pub fn place_in<'c>(cursor: &'c str, source: &str) -> Option<&'c str> {
    cursor
        .split(',')
        .skip(1)
        .filter_map(|one| one.split_once('='))
        .find(|(name, _)| *name == source)
        .map(|(_, at)| at)
}

/// Whether they are places in further sources, each of another: `<source>=<place>,<source>=<place>`.
fn are_further(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let of_place = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'-' | b'_');
    let mut known = BTreeSet::new();
    text.split(',').all(|one| {
        let Some((source, place)) = one.split_once('=') else { return false };
        let is_source = !source.is_empty() && source.bytes().all(letter) && known.insert(source);
        is_source && !place.is_empty() && place.bytes().all(of_place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_was_written() {
        for text in ["0:0", "19a2f:48213", "ff:7.3"] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        assert!(format!("1:2,a={}", "x".repeat(1024)).parse::<Cursor>().is_err());
        for text in [
            "",
            "7",
            "x:1",
            "1:x",
            "1:2.x",
            "1:-2",
            "1:2:3",
            "1:2,",
            "1:2,a",
            "1:2,a=",
            "1:2,A=1",
            "1:2,a=1,a=2",
            "1:2,a=b c",
            "a=1,1:2",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn sources_of_later_releases_are_passed_over() {
        for text in ["19a2f:48213,health=7:12", "19a2f:48213,health=7:12,other-one=x_1.2"] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), "19a2f:48213", "{text}");
        }
        assert_eq!("ff:7.3,health=1:1".parse::<Cursor>().unwrap().part, 3);
        assert_eq!(place_in("ff:7.3,health=1:1,x=2", "x"), Some("2"));
        assert_eq!(place_in("ff:7,health=1:1", "ff:7"), None);
    }
}
