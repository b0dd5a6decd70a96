//! Where a reader stands in the log of one epoch.

use std::fmt;
use std::str::FromStr;

use omnirelay_store::{Epoch, Revision};

/// A place in the log: everything up to it has been seen. Opaque to clients.
///
/// Written as `<epoch in hex>:<revision>`, with `.<n>` behind it when only the first `n` events
/// of the commit after `revision` have been seen.
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
        let (epoch, place) = text.split_once(':').ok_or_else(refuse)?;
        let (revision, part) = place.split_once('.').unwrap_or((place, "0"));
        Ok(Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| refuse())?),
            revision: Revision(revision.parse().map_err(|_| refuse())?),
            part: part.parse().map_err(|_| refuse())?,
        })
    }
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
        for text in ["", "7", "x:1", "1:x", "1:2.x", "1:-2", "1:2:3"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
