//! Mirrors for outsiders: keys of a Redis that anybody may read, best effort and never the truth.

/// What should stand in the Redis; never waits.
#[derive(Default)]
pub struct Publications {}

impl Publications {
    /// Writes a key at once, in place of whatever stands there, with its time to live.
    pub fn put(&self, _key: &str, _value: &str) {}

    /// Keeps a key that was put alive from now on, unless another's value stands there.
    pub fn keep(&self, _key: &str) {}

    /// Keeps it alive no more: it ends with its time to live.
    pub fn let_go(&self, _key: &str) {}

    /// Deletes a key, unless another value than this stands there.
    pub fn remove(&self, _key: &str, _value: &str) {}
}
