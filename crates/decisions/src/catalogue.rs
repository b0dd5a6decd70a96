//! The catalogue of a node: what a register may say, and what a change makes of it.

use std::collections::BTreeMap;
use std::ops::Range;

use omnirelay_core::labels::{self, LabelError, Labels};
use omnirelay_core::text::is_unseen;
use omnirelay_wire::pb::omnirelay::registers::v1::ImportedRegister;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;

use super::peer::difference;
use super::register::{RegisterIdError, RegisterTextError, check_described, check_named, check_register_id};

/// How much of a text a line of a difference shows, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// Error of a change to a register, or of a new one. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    #[error("{0}")]
    Id(RegisterIdError),
    #[error("{0}")]
    Name(RegisterTextError),
    #[error("{0}")]
    Description(RegisterTextError),
    #[error("{0}")]
    Labels(LabelError),
    #[error("it is {held} and never goes back, not to {given} either")]
    GoesBack { field: &'static str, held: u64, given: u64 },
}

impl RegisterError {
    /// The field that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Id(_) => "registerId",
            Self::Name(_) => "name",
            Self::Description(_) => "description",
            Self::Labels(_) => "labels",
            Self::GoesBack { field, .. } => field,
        }
    }
}

/// Change to a register; what is absent stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegisterChange<'a> {
    pub name: Option<&'a str>,
    pub description: Option<&'a str>,
    pub advertise: Option<bool>,
    pub latest_version: Option<u64>,
    pub latest_docket_version: Option<u64>,
    pub set_labels: Option<&'a Labels>,
    pub remove_labels: &'a [String],
}

/// Treatment of a version that is lower than the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionDecrease {
    Refused,
    LeftOut,
}

impl<'a> RegisterChange<'a> {
    /// Change that an item of an import makes.
    pub fn of_import(item: &'a ImportedRegister) -> Self {
        Self {
            name: item.name.as_deref(),
            description: item.description.as_deref(),
            advertise: item.advertise,
            latest_version: item.latest_version,
            latest_docket_version: item.latest_docket_version,
            set_labels: Some(&item.labels),
            remove_labels: &[],
        }
    }

    /// The register after the change; labels that have another value are overwritten.
    ///
    /// # Errors
    /// [`RegisterError`], with the field at fault.
    pub fn applied_to(
        &self,
        held: &RegisterValue,
        lower: VersionDecrease,
    ) -> Result<RegisterValue, RegisterError> {
        let mut after = held.clone();
        if let Some(name) = self.name {
            check_named(name).map_err(RegisterError::Name)?;
            name.clone_into(&mut after.name);
        }
        if let Some(description) = self.description {
            check_described(description).map_err(RegisterError::Description)?;
            description.clone_into(&mut after.description);
        }
        after.advertise = self.advertise.unwrap_or(held.advertise);
        after.latest_version = version("latestVersion", held.latest_version, self.latest_version, lower)?;
        after.latest_docket_version =
            version("latestDocketVersion", held.latest_docket_version, self.latest_docket_version, lower)?;
        let none = Labels::new();
        let set = self.set_labels.unwrap_or(&none);
        after.labels =
            labels::update(&held.labels, set, self.remove_labels, true).map_err(RegisterError::Labels)?;
        Ok(after)
    }
}

/// Checks what an item of an import says, whatever there is of the register already.
///
/// # Errors
/// [`RegisterError`], with the field at fault.
pub fn check_imported(item: &ImportedRegister) -> Result<(), RegisterError> {
    check_register_id(&item.register_id).map_err(RegisterError::Id)?;
    RegisterChange::of_import(item)
        .applied_to(&RegisterValue::default(), VersionDecrease::LeftOut)
        .map(|_| ())
}

/// Indices of the items of an import that count, in their order: of two with one id the last.
pub fn counting(items: &[ImportedRegister]) -> Vec<usize> {
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, item) in items.iter().enumerate() {
        last.insert(&item.register_id, at);
    }
    let mut counting: Vec<usize> = last.into_values().collect();
    counting.sort_unstable();
    counting
}

/// Cuts items of these sizes into pieces, in their order: each of at most `items_max` items, and of at most
/// `bytes_max` bytes unless it is a single item.
pub fn pieces(sizes: &[usize], items_max: usize, bytes_max: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut start, mut bytes) = (0, 0_usize);
    for (at, size) in sizes.iter().enumerate() {
        let full = at - start >= items_max || bytes.saturating_add(*size) > bytes_max;
        if full && at > start {
            pieces.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(*size);
    }
    if start < sizes.len() {
        pieces.push(start..sizes.len());
    }
    pieces
}

/// Whether a change of a register, or its end, is one of what its node advertises.
pub fn concerns_pool(before: Option<&RegisterValue>, after: Option<&RegisterValue>) -> bool {
    let advertised = |value: Option<&RegisterValue>| value.is_some_and(|value| value.advertise);
    advertised(before) || advertised(after)
}

/// One line per field that differs, such as `advertise: false -> true`; the first is `created` for a register
/// that was not there.
pub fn differences(before: Option<&RegisterValue>, after: &RegisterValue) -> Vec<String> {
    let none = RegisterValue::default();
    let was = before.unwrap_or(&none);
    let mut lines: Vec<String> = before.is_none().then(|| "created".to_owned()).into_iter().collect();
    let fields = [
        text("name", &was.name, &after.name),
        text("description", &was.description, &after.description),
        difference("advertise", was.advertise, after.advertise),
        difference("latestVersion", was.latest_version, after.latest_version),
        difference("latestDocketVersion", was.latest_docket_version, after.latest_docket_version),
    ];
    lines.extend(fields.into_iter().flatten());
    lines.extend(labels::differences(&was.labels, &after.labels));
    lines
}

fn version(
    field: &'static str,
    held: u64,
    given: Option<u64>,
    lower: VersionDecrease,
) -> Result<u64, RegisterError> {
    match (given, lower) {
        (Some(given), VersionDecrease::Refused) if given < held => {
            Err(RegisterError::GoesBack { field, held, given })
        }
        (given, _) => Ok(given.map_or(held, |given| given.max(held))),
    }
}

/// The line of a text that differs; what is long is cut, and each line end is one sign.
fn text(name: &str, before: &str, after: &str) -> Option<String> {
    let quoted = |text: &str| {
        let shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(escaped).collect();
        let more = if text.chars().nth(SHOWN_CHARS_MAX).is_some() { "..." } else { "" };
        format!("\"{shown}\"{more}")
    };
    (before != after).then(|| format!("{name}: {} -> {}", quoted(before), quoted(after)))
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    let escape = is_unseen(c).then(|| c.escape_default());
    let plain = escape.is_none().then_some(c);
    escape.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX};

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn held() -> RegisterValue {
        RegisterValue {
            name: "Orders".to_owned(),
            description: "of the shop".to_owned(),
            advertise: true,
            latest_version: 7,
            latest_docket_version: 3,
            labels: labels(&[("tier", "std"), ("old", "1")]),
            unknown_fields: Default::default(),
        }
    }

    #[test]
    fn what_is_given_changes_and_what_is_absent_stays() {
        let set = labels(&[("tier", "gold")]);
        let remove = ["old".to_owned(), "never".to_owned()];
        let cases: [(&str, RegisterChange<'_>, RegisterValue); 7] = [
            ("nothing", RegisterChange::default(), held()),
            (
                "texts, one of them emptied",
                RegisterChange { name: Some("Sales"), description: Some(""), ..RegisterChange::default() },
                RegisterValue { name: "Sales".to_owned(), description: String::new(), ..held() },
            ),
            (
                "a flag",
                RegisterChange { advertise: Some(false), ..RegisterChange::default() },
                RegisterValue { advertise: false, ..held() },
            ),
            (
                "higher versions",
                RegisterChange {
                    latest_version: Some(8),
                    latest_docket_version: Some(9),
                    ..RegisterChange::default()
                },
                RegisterValue { latest_version: 8, latest_docket_version: 9, ..held() },
            ),
            (
                "the same version",
                RegisterChange { latest_version: Some(7), ..RegisterChange::default() },
                held(),
            ),
            (
                "labels",
                RegisterChange {
                    set_labels: Some(&set),
                    remove_labels: &remove,
                    ..RegisterChange::default()
                },
                RegisterValue { labels: set.clone(), ..held() },
            ),
            (
                "a label, and the others stay",
                RegisterChange { set_labels: Some(&set), ..RegisterChange::default() },
                RegisterValue { labels: labels(&[("tier", "gold"), ("old", "1")]), ..held() },
            ),
        ];
        for (what, given, expected) in cases {
            assert_eq!(given.applied_to(&held(), VersionDecrease::Refused), Ok(expected), "{what}");
        }
    }

    #[test]
    fn a_lower_version_is_refused_or_left_out() {
        let docket = RegisterChange { latest_docket_version: Some(2), ..RegisterChange::default() };
        let back = RegisterError::GoesBack { field: "latestDocketVersion", held: 3, given: 2 };
        assert_eq!(docket.applied_to(&held(), VersionDecrease::Refused), Err(back));
        let both = RegisterChange { name: Some("new"), latest_version: Some(0), ..docket };
        let after = RegisterValue { name: "new".to_owned(), ..held() };
        assert_eq!(both.applied_to(&held(), VersionDecrease::LeftOut), Ok(after));
    }

    #[test]
    fn texts_and_labels_are_bounded() {
        let (name, long_name) = ("\u{e9}".repeat(NAME_CHARS_MAX), "n".repeat(NAME_CHARS_MAX + 1));
        let description = "\u{1f4d2}\r\n\t".repeat(DESCRIPTION_CHARS_MAX / 4);
        let long = "d".repeat(DESCRIPTION_CHARS_MAX + 1);
        let (wrong, fine) = (labels(&[("a b", "")]), labels(&[("a", "")]));
        let some = |set| RegisterChange { set_labels: Some(set), ..RegisterChange::default() };
        let name_of = |name| RegisterChange { name: Some(name), ..RegisterChange::default() };
        let described = |text| RegisterChange { description: Some(text), ..RegisterChange::default() };
        let cases = [
            ("characters, not bytes", name_of(&name), None),
            ("a long name", name_of(&long_name), Some("name")),
            ("a line end in a name", name_of("a\nb"), Some("name")),
            ("line ends and tabs in a description", described(&description), None),
            ("a long description", described(&long), Some("description")),
            ("a bell in a description", described("a\u{7}"), Some("description")),
            ("a wrong label", some(&wrong), Some("labels")),
            ("a label", some(&fine), None),
        ];
        for (what, given, expected) in cases {
            let field = given.applied_to(&held(), VersionDecrease::Refused).err().map(|error| error.field());
            assert_eq!(field, expected, "{what}");
        }
    }

    #[test]
    fn an_item_is_checked_by_itself() {
        let item = |id: &str| ImportedRegister { register_id: id.to_owned(), ..ImportedRegister::default() };
        let field = |item: ImportedRegister| check_imported(&item).err().map(|error| error.field());
        assert_eq!(field(item("orders")), None);
        assert_eq!(field(item("available")), Some("registerId"));
        assert_eq!(field(ImportedRegister { name: Some("\u{7}".to_owned()), ..item("a") }), Some("name"));
        let many: Labels = (0..=labels::LABELS_MAX).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(field(ImportedRegister { labels: many, ..item("a") }), Some("labels"));
    }

    #[test]
    fn of_two_items_with_one_id_the_last_counts() {
        let items: Vec<ImportedRegister> = ["a", "b", "a", "c", "b", "a"]
            .map(|id| ImportedRegister { register_id: id.to_owned(), ..ImportedRegister::default() })
            .into();
        assert_eq!(counting(&items), [3, 4, 5]);
        assert!(counting(&[]).is_empty());
    }

    #[test]
    fn pieces_are_bounded_by_items_and_by_bytes() {
        let cases: [(&str, &[usize], &str); 6] = [
            ("nothing", &[], ""),
            ("one piece", &[1, 1, 1], "0..3"),
            ("by items", &[1, 1, 1, 1, 1, 1, 1], "0..3 3..6 6..7"),
            ("by bytes", &[6, 4, 1, 9, 1], "0..2 2..4 4..5"),
            ("too large by itself", &[1, 99, 1], "0..1 1..2 2..3"),
            ("too large at first", &[99, 1, 1], "0..1 1..3"),
        ];
        for (what, sizes, expected) in cases {
            let cut: Vec<String> = pieces(sizes, 3, 10).iter().map(|piece| format!("{piece:?}")).collect();
            assert_eq!(cut.join(" "), expected, "{what}");
        }
    }

    #[test]
    fn only_what_is_or_was_advertised_concerns_the_pool() {
        let (public, hidden) = (held(), RegisterValue { advertise: false, ..held() });
        let cases = [
            ("hidden from the first", None, Some(&hidden), false),
            ("advertised from the first", None, Some(&public), true),
            ("hidden now", Some(&public), Some(&hidden), true),
            ("advertised now", Some(&hidden), Some(&public), true),
            ("hidden as before", Some(&hidden), Some(&hidden), false),
            ("the end of a hidden one", Some(&hidden), None, false),
            ("the end of an advertised one", Some(&public), None, true),
        ];
        for (what, before, after, expected) in cases {
            assert_eq!(concerns_pool(before, after), expected, "{what}");
        }
    }

    #[test]
    fn each_field_that_differs_has_a_line() {
        let after = RegisterValue {
            name: "Sales".to_owned(),
            description: format!("two\nlines {}", "x".repeat(100)),
            advertise: false,
            labels: labels(&[("tier", "gold"), ("old", "1")]),
            ..held()
        };
        let description = format!("two\\nlines {}", "x".repeat(70));
        let lines = [
            "name: \"Orders\" -> \"Sales\"".to_owned(),
            format!("description: \"of the shop\" -> \"{description}\"..."),
            "advertise: true -> false".to_owned(),
            "label tier: \"std\" -> \"gold\"".to_owned(),
        ];
        assert_eq!(differences(Some(&held()), &after), lines);
        assert!(differences(Some(&held()), &held()).is_empty());
        assert_eq!(differences(None, &RegisterValue::default()), ["created"]);
        let new = RegisterValue { advertise: true, latest_version: 4, ..RegisterValue::default() };
        let lines = ["created", "advertise: false -> true", "latestVersion: 0 -> 4"];
        assert_eq!(differences(None, &new), lines);
    }
}
