//! Options of an embedded store: how it uses its files.

/// Options of an embedded store.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedOptions {
    /// The most memory for pages of the file, in bytes. Less than the pages that are in use
    /// costs reads from the operating system's cache, more costs memory.
    pub cache_bytes: usize,
    /// How long each of the two segments of the log becomes, in bytes: what is in one is kept in memory as well, until
    /// it is written to the file. A batch that is longer makes its segment longer.
    pub segment_bytes: u64,
    /// Whether a short call is made on its caller's thread where nobody else writes and the disk is quick, which saves two
    /// changes of threads. Else all are made on the thread of the store.
    pub callers_write: bool,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { cache_bytes: 1024 * 1024, segment_bytes: 4 * 1024 * 1024, callers_write: true }
    }
}
