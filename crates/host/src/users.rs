//! Users and groups of this host, as its files name them.
//!
//! Those that only a directory service knows have numbers here: asking one would take code of the system's C
//! library in this process, and a connection would wait for a server.

use std::io;
use std::path::Path;

use rustix::process::geteuid;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
/// Longer names are shown as their number.
const NAME_CHARS_MAX: usize = 64;

/// A user of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uid(pub u32);

impl Uid {
    pub const ROOT: Self = Self(0);

    /// The user that this process acts as.
    pub fn of_process() -> Self {
        Self(geteuid().as_raw())
    }
}

/// Name of a user; the number where no name can stand for it.
pub fn user_name(uid: Uid) -> String {
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    name_of(&users, uid.0).map_or_else(|| uid.0.to_string(), str::to_owned)
}

/// The number of a group, which may be named by its number.
///
/// # Errors
/// When there is no such group, or the groups cannot be read.
pub fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string(Path::new(GROUPS))?;
    let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("{GROUPS} has no group `{group}`"));
    rows(&groups).find(|(name, _)| *name == group).map(|(_, number)| number).ok_or_else(not_found)
}

/// The first name with this number, as the system has it, if it can be told from a number and stands in a line.
fn name_of(users: &str, wanted: u32) -> Option<&str> {
    let (name, _) = rows(users).find(|(_, number)| *number == wanted)?;
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'$');
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number && name.len() <= NAME_CHARS_MAX && name.bytes().all(sane)).then_some(name)
}

/// The names of such a file with their numbers.
fn rows(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, number.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_where_no_name_can() {
        let users = "root:x:0:0:root:/:/bin/sh\nann:x:1000:1000::/:\nanna:x:1000:1000::/:\n\
                     # no user\n77:x:5:5::/:\nev\u{1b}il:x:6:6::/:\nodd:x\n:x:8:8::/:\n";
        let cases = [
            ("a user", 0, Some("root")),
            ("the first of two names", 1000, Some("ann")),
            ("nobody known", 7, None),
            ("a name that is a number", 5, None),
            ("a name with an escape", 6, None),
            ("no name", 8, None),
        ];
        for (what, uid, expected) in cases {
            assert_eq!(name_of(users, uid), expected, "{what}");
        }
        assert_eq!(user_name(Uid(4_000_000_000)), "4000000000");
    }

    #[test]
    fn groups_are_found_by_name_and_number() {
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(group_id("4000000000").unwrap(), 4_000_000_000);
        assert!(group_id("no-such-group").unwrap_err().to_string().contains("`no-such-group`"));
    }
}
