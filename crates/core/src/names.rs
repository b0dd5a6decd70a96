//! The names of nodes, clusters, roles, regions and zones, and the ids of relays and agents.

/// The longest node name in bytes; node names are DNS names and SPIFFE path segments too.
pub const NODE_NAME_BYTES_MAX: usize = 63;

/// Reason why a text cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("it is empty")]
    Empty,
    #[error("it is {0} bytes long, the limit is {max}", max = NODE_NAME_BYTES_MAX)]
    TooLong(usize),
    #[error("it may hold only a-z, 0-9, `.` and `-`, and must begin and end with a letter or digit")]
    Characters,
}

/// Checks the name of a node, cluster, role, region or zone:
/// `[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?`.
///
/// # Errors
/// What is wrong with it; the text itself is not repeated, because it may hold anything.
pub fn check_node_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NODE_NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let inside = bytes.iter().all(|&byte| edge(byte) || byte == b'.' || byte == b'-');
    if inside && edge(bytes[0]) && edge(bytes[bytes.len() - 1]) { Ok(()) } else { Err(NameError::Characters) }
}

/// The nearest node name to any text, such as a host name; `None` if nothing of it can be kept.
pub fn to_node_name(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let kept: String = lower
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .take(NODE_NAME_BYTES_MAX - 8)
        .collect();
    let trimmed = kept.trim_matches(['.', '-']);
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// The longest id of a register, a relay or an agent in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// Reason why a text cannot be the id of a register, a relay or an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("it is empty")]
    Empty,
    #[error("it is {0} bytes long, the limit is {ID_BYTES_MAX}")]
    TooLong(usize),
    #[error("it may hold only A-Z, a-z, 0-9, `.`, `_`, `:` and `-`, and must not begin with `_`")]
    Characters,
}

/// Checks the id of a register, a relay or an agent: 1 to 128 of `[A-Za-z0-9._:-]`, not beginning with `_`.
///
/// # Errors
/// What is wrong with it; the text itself is not repeated, because it may hold anything.
pub fn check_id(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong(id.len()));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if id.starts_with('_') || !id.bytes().all(known) { Err(IdError::Characters) } else { Ok(()) }
}

/// The nearest id: what cannot stand in one becomes `-`; `None` where nothing is left.
pub fn nearest_id(text: &str) -> Option<String> {
    // Behind a letter, as one sign may not be the first.
    let fit = |letter: char| check_id(&format!("a{letter}")).is_ok();
    let id: String = text.chars().map(|letter| if fit(letter) { letter } else { '-' }).collect();
    let id = id.trim_start_matches(['-', '_']).trim_end_matches('-');
    let id = id.get(..ID_BYTES_MAX).unwrap_or(id);
    check_id(id).is_ok().then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_of_at_most_63_bytes() {
        let long = "a".repeat(64);
        let cases = [
            ("one letter", "a", Ok(())),
            ("letters, digits, inner dots and dashes", "relay-7.eu-1", Ok(())),
            ("the longest", &long[..63], Ok(())),
            ("one too long", &long[..], Err(NameError::TooLong(64))),
            ("empty", "", Err(NameError::Empty)),
            ("upper case", "Relay", Err(NameError::Characters)),
            ("leading dash", "-a", Err(NameError::Characters)),
            ("trailing dot", "a.", Err(NameError::Characters)),
            ("control character", "a\nb", Err(NameError::Characters)),
            ("slash", "a/b", Err(NameError::Characters)),
            ("letters beyond ASCII", "größe", Err(NameError::Characters)),
        ];
        for (what, name, expected) in cases {
            assert_eq!(check_node_name(name), expected, "{what}");
        }
    }

    #[test]
    fn ids_are_1_to_128_letters_digits_and_four_signs() {
        let long = "a".repeat(129);
        let cases = [
            ("all that may be in one", "Relay-7.eu_1:50051", Ok(())),
            ("the longest", &long[..128], Ok(())),
            ("one too long", &long[..], Err(IdError::TooLong(129))),
            ("empty", "", Err(IdError::Empty)),
            ("ours", "_relay", Err(IdError::Characters)),
            ("slash", "a/b", Err(IdError::Characters)),
            ("blank", "a b", Err(IdError::Characters)),
            ("letters beyond ASCII", "größe", Err(IdError::Characters)),
        ];
        for (what, id, expected) in cases {
            assert_eq!(check_id(id), expected, "{what}");
        }
    }

    #[test]
    fn a_host_name_becomes_a_name() {
        let cases = [
            ("kept", "host-1", Some("host-1")),
            ("lowered", "HOST.Example", Some("host.example")),
            ("underscores", "_my_host_", Some("my-host")),
            ("nothing left", "---", None),
        ];
        for (what, text, expected) in cases {
            assert_eq!(to_node_name(text).as_deref(), expected, "{what}");
        }
    }

    #[test]
    fn the_nearest_id_is_one_or_none() {
        let long = "a".repeat(200);
        let cases = [
            ("a name", "relay-7", true, Some("relay-7")),
            ("all that may stand in it", "A.b_c:d-1", true, Some("A.b_c:d-1")),
            ("what registries keep for themselves", "_relay", false, Some("relay")),
            ("nothing else", "_-_", false, None),
            ("spaces", "my relay", false, Some("my-relay")),
            ("letters beyond ASCII", "größe", false, Some("gr--e")),
            ("too long", &long, false, Some(&long[..128])),
            ("the mark of what is ours", "_relay", false, Some("relay")),
            ("nothing", "", false, None),
            ("nothing left", "///", false, None),
        ];
        for (what, text, is, made) in cases {
            assert_eq!((check_id(text).is_ok(), nearest_id(text).as_deref()), (is, made), "{what}");
        }
    }
}
