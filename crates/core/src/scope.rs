//! The names of leadership scopes.

use super::labels::Labels;
use super::text::shown;

/// The scope that every mesh has unless it is configured otherwise.
pub const GLOBAL_CONTROL: &str = "global-control";
/// The longest name of a scope in bytes.
pub const SCOPE_BYTES_MAX: usize = 256;
/// The longest part of a name between slashes, in bytes.
const SEGMENT_BYTES_MAX: usize = 128;

/// Kind of a scope, as its name tells: all of the mesh, a shard, or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// `global-control`
    Global,
    /// `shard/<namespace>/<shard>`
    Shard { namespace: String, shard: String },
    /// Any other.
    Custom,
}

/// Reason why a text cannot be the name of a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("it is empty")]
    Empty,
    #[error("it is {0} bytes long, the limit is {SCOPE_BYTES_MAX}")]
    TooLong(usize),
    #[error(
        "the part `{0}` is none: parts are separated by `/`, of 1 to {SEGMENT_BYTES_MAX} of A-Z, a-z, 0-9, `.`, `_`, `:` and \
         `-`, and do not begin with `_`"
    )]
    Segment(String),
}

impl ScopeKind {
    /// Reads the kind of a scope from its name; names of shards have exactly three parts.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn of(name: &str) -> Result<Self, ScopeError> {
        if name.is_empty() {
            return Err(ScopeError::Empty);
        }
        if name.len() > SCOPE_BYTES_MAX {
            return Err(ScopeError::TooLong(name.len()));
        }
        let parts: Vec<&str> = name.split('/').collect();
        if let Some(bad) = parts.iter().find(|part| !is_segment(part)) {
            return Err(ScopeError::Segment(shown(bad, 40)));
        }
        Ok(match parts[..] {
            [GLOBAL_CONTROL] => Self::Global,
            ["shard", namespace, shard] => {
                Self::Shard { namespace: namespace.to_owned(), shard: shard.to_owned() }
            }
            _ => Self::Custom,
        })
    }

    /// Words of all kinds.
    pub const WORDS: [&'static str; 3] = ["global", "shard", "custom"];

    /// One of [`Self::WORDS`].
    pub fn word(&self) -> &'static str {
        match self {
            Self::Global => Self::WORDS[0],
            Self::Shard { .. } => Self::WORDS[1],
            Self::Custom => Self::WORDS[2],
        }
    }

    /// The word for a name that was checked before.
    pub fn word_of(name: &str) -> &'static str {
        Self::of(name).unwrap_or(Self::Custom).word()
    }

    /// The labels of a scope: those given, and for a shard its namespace and id.
    pub fn labels(&self, given: &Labels) -> Labels {
        let mut labels = given.clone();
        if let Self::Shard { namespace, shard } = self {
            labels.insert("namespace".to_owned(), namespace.clone());
            labels.insert("shardId".to_owned(), shard.clone());
        }
        labels
    }
}

fn is_segment(part: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    !part.is_empty()
        && part.len() <= SEGMENT_BYTES_MAX
        && part.bytes().all(known)
        && !part.starts_with('_')
        // They would mean a step in a path.
        && part != "."
        && part != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_scope_is_about() {
        let long = "a".repeat(129);
        let shard = |namespace: &str, shard: &str| {
            Ok(ScopeKind::Shard { namespace: namespace.to_owned(), shard: shard.to_owned() })
        };
        let segment = |text: &str| Err(ScopeError::Segment(text.to_owned()));
        let cases = [
            ("global", "global-control", Ok(ScopeKind::Global)),
            ("shard", "shard/orders/03", shard("orders", "03")),
            ("upper case is kept", "shard/Orders/A:1", shard("Orders", "A:1")),
            ("a shard of two parts", "shard/orders", Ok(ScopeKind::Custom)),
            ("a shard of four parts", "shard/orders/03/x", Ok(ScopeKind::Custom)),
            ("custom", "billing.nightly", Ok(ScopeKind::Custom)),
            ("empty", "", Err(ScopeError::Empty)),
            ("an empty part", "shard//1", segment("")),
            ("a blank", "my scope", segment("my scope")),
            ("an underscore first", "a/_b", segment("_b")),
            ("a step up", "a/../b", segment("..")),
            ("a control character", "a\nb", segment("a?b")),
            ("a long part", &long, Err(ScopeError::Segment("a".repeat(40)))),
            ("too long", &"a/".repeat(129), Err(ScopeError::TooLong(258))),
        ];
        for (what, name, expected) in cases {
            assert_eq!(ScopeKind::of(name), expected, "{what}");
        }
    }

    #[test]
    fn a_shard_is_labelled_with_its_namespace_and_id() {
        let given = Labels::from([("tier".to_owned(), "gold".to_owned())]);
        let labels = |name: &str| {
            let labels = ScopeKind::of(name).unwrap().labels(&given);
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels("shard/orders/03"), "namespace=orders shardId=03 tier=gold");
        assert_eq!(labels("global-control"), "tier=gold");
        assert_eq!(ScopeKind::word_of("shard/orders/03"), "shard");
    }
}
