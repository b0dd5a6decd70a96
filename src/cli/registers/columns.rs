//! The columns of a table of registers.

use crate::frame::prelude::*;

/// The columns, those of `-o wide` last: wide only adds on the right.
pub(super) static COLUMNS: &[Column] = &[
    Column::new("id", |register, _| text(register, "registerId").to_owned()).keep(),
    Column::new("name", |register, _| text(register, "name").to_owned()),
    Column::new("advertise", |register, _| yes_or_no(flag(register, "advertise")).to_owned()).keep(),
    Column::new("version", |register, _| plain(field(register, "latestVersion")))
        .number(|register| number(register, "latestVersion") as f64),
    Column::new("docket", |register, _| plain(field(register, "latestDocketVersion")))
        .number(|register| number(register, "latestDocketVersion") as f64),
    Column::new("updated", |register, moment| time::ago(field(register, "updatedAt"), moment))
        .ranked(|register| time::millis(field(register, "updatedAt")).unwrap_or(0) as f64),
    Column::new("description", |register, _| text(register, "description").to_owned()).wide(),
    Column::new("labels", |register, _| pairs(register, "labels")).wide(),
    Column::new("record", |register, _| plain(field(register, "version")))
        .number(|register| number(register, "version") as f64)
        .wide(),
];

pub(super) fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
