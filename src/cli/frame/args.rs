//! Flags that several commands share.

use std::convert::Infallible;

use clap::Args;
use serde_json::Value;

use super::client::fresh_key;
use super::document::text;
use super::error::CliError;
use super::global::{HumanDuration, token};
use super::session::CommandSession;
use super::table::{self, Column, SortBy, TableLayout};
use super::time;

/// Parser of the id of an object of a kind, which may be given as `KIND/ID`: so `-o name` prints it.
pub(crate) fn id_of(
    kind: &'static str,
) -> impl Fn(&str) -> Result<String, Infallible> + Clone + Send + Sync + 'static {
    move |given| Ok(id_in(kind, given).to_owned())
}

/// Id of an object of a kind, as it was given.
pub(crate) fn id_in<'g>(kind: &str, given: &'g str) -> &'g str {
    given.strip_prefix(kind).and_then(|given| given.strip_prefix('/')).unwrap_or(given)
}

/// Which columns, how wide.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Table options")]
pub(crate) struct TableArgs {
    /// Sort by a column; add :desc for the other direction
    #[arg(long, value_name = "COLUMN[:desc]")]
    pub sort_by: Option<SortBy>,

    /// Show these columns, in this order
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// Leave the headings out
    #[arg(long)]
    pub no_headers: bool,

    /// Never drop columns or shorten cells
    #[arg(long, hide_short_help = true)]
    pub no_trunc: bool,

    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    pub absolute: bool,
}

impl TableArgs {
    pub(crate) fn layout(&self) -> TableLayout {
        TableLayout { columns: self.columns.clone(), no_headers: self.no_headers, no_trunc: self.no_trunc }
    }

    /// Refuses a column to sort by that there is not, before anybody is asked anything.
    ///
    /// # Errors
    /// Usage, with the names there are.
    pub(crate) fn check_order(&self, columns: &[Column]) -> Result<(), CliError> {
        self.sort_by.iter().try_for_each(|by| table::find(columns, &by.column, "--sort-by").map(drop))
    }

    /// Sorts what a field of an answer lists, if it is said by what.
    ///
    /// # Errors
    /// As of [`TableArgs::check_order`].
    pub(crate) fn order(
        &self,
        columns: &[Column],
        document: &mut Value,
        field: &str,
    ) -> Result<(), CliError> {
        match (&self.sort_by, document.get_mut(field).and_then(Value::as_array_mut)) {
            (Some(by), Some(listed)) => table::sort(columns, listed, by),
            _ => Ok(()),
        }
    }
}

/// How much of a list.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "List options")]
pub(crate) struct PageArgs {
    /// At most this many in all; 0 is all of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: usize,

    /// At most this many per request, 1 to 1000
    #[arg(long, value_name = "N", hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub page_size: Option<u32>,

    /// Begin with this page: nextPageToken of the page before
    #[arg(long, value_name = "TOKEN", hide_short_help = true)]
    pub page_token: Option<String>,

    /// Exit with 10 when the list is empty
    #[arg(long)]
    pub fail_empty: bool,
}

/// Moment that a list shows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "List options")]
pub(crate) struct AtArgs {
    /// As it was then: a time in UTC (14:02, 2026-11-20T14:02:00Z), how long ago (10m), or a cursor
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<String>,
}

impl AtArgs {
    /// As requests say it; empty: now.
    pub(crate) fn text(&self) -> &str {
        self.at.as_deref().unwrap_or_default()
    }

    /// # Errors
    /// Usage, when what is to come is asked for as well.
    pub(crate) fn check(&self, watch: bool) -> Result<(), CliError> {
        match watch && self.at.is_some() {
            true => Err(CliError::usage("--at shows a moment that is over, and --watch what comes")),
            false => Ok(()),
        }
    }

    /// Says of which moment a list is, in text.
    pub(crate) fn tell(&self, document: &Value, session: &CommandSession) {
        if self.at.is_some() && session.format().is_text() {
            let of = text(document, "generatedAt");
            let of = if of.is_empty() { self.text() } else { of };
            session.notes().say(&format!("As it was at {of}; who was heard of then is not in the history"));
        }
    }
}

/// Reads a moment: a time of day is the last one that was.
fn moment(given: &str) -> Result<String, String> {
    if humantime::parse_rfc3339(given).is_ok() || humantime::parse_duration(given).is_ok() {
        return Ok(given.to_owned());
    }
    let now = time::now_ms().unwrap_or_default();
    // The daemon reads the rest of it.
    let is_cursor = given.split_once(':').is_some_and(|(epoch, place)| {
        let begins = place.starts_with(|c: char| c.is_ascii_digit()) && !place.contains(':');
        u64::from_str_radix(epoch, 16).is_ok() && begins
    });
    of_day(given, now).or_else(|| is_cursor.then(|| given.to_owned())).ok_or_else(|| {
        "it is a time such as 14:02 or 2026-11-20T14:02:00Z, how long ago such as 10m, or a cursor".to_owned()
    })
}

/// The last time before `now`, in milliseconds since the epoch, at which it was this time of day in UTC.
fn of_day(given: &str, now: i64) -> Option<String> {
    const DAY: i64 = 24 * 3600 * 1000;
    let day = |ms| time::clock(ms).get(..10).map(str::to_owned);
    let full = if given.len() == 5 { format!("{given}:00") } else { given.to_owned() };
    let at = |ms| {
        let text = format!("{}T{full}Z", day(ms)?);
        Some((time::millis(&Value::String(text.clone()))?, text))
    };
    let (today, text) = at(now)?;
    if today <= now { Some(text) } else { at(now - DAY).map(|(_, text)| text) }
}

/// What a list is narrowed to.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "List options")]
pub(crate) struct FilterArgs {
    /// Label selector, such as tier=std,zone in (a,b),!canary
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,

    /// Fields and values, such as status=suspect,status=dead,role=gateway; several values of a field are alternatives
    #[arg(long, value_name = "FIELD=VALUE,...", value_delimiter = ',', value_parser = pair)]
    pub filter: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let halves = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let (name, value) = halves.ok_or_else(|| {
        format!("`{text}` is no FIELD=VALUE; alternatives are written FIELD=ONE,FIELD=OTHER")
    })?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl FilterArgs {
    /// The filter in words, such as `role=gateway, tier=std`; empty when there is none.
    pub(crate) fn describe(&self) -> String {
        let mut parts: Vec<String> =
            self.filter.iter().map(|(name, value)| format!("{name}={value}")).collect();
        parts.extend(self.selector.clone());
        parts.join(", ")
    }
}

/// How a watch begins, what it prints and when it ends.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Watch options")]
pub(crate) struct WatchArgs {
    /// Begin with what has changed since instead of with a snapshot: a cursor, a time in UTC, or how long ago, such as 10m
    #[arg(long, value_name = "CURSOR|TIME|DURATION")]
    pub since: Option<String>,

    /// Resume from the cursor in this file, and keep it up to date
    #[arg(long, value_name = "FILE")]
    pub cursor_file: Option<std::path::PathBuf>,

    /// End with 0 once this is true of every watched object, such as status==alive
    #[arg(long, value_name = "FIELD==VALUE")]
    pub until: Option<super::watch::until::FieldCondition>,

    /// End with 0 after this many changes; the snapshot does not count
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_events: Option<u64>,

    /// End with 0 after this time
    #[arg(long = "for", value_name = "DURATION")]
    pub for_duration: Option<HumanDuration>,

    /// End with 8 when --until or --max-events is not met after this time
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<HumanDuration>,

    /// One line per event, on a terminal as well
    #[arg(long)]
    pub append: bool,
}

impl WatchArgs {
    /// Whether something is waited for.
    pub(crate) fn has_aim(&self) -> bool {
        self.until.is_some() || self.max_events.is_some()
    }

    /// Checks that flags which make sense for a watch only were given with `--watch`.
    ///
    /// # Errors
    /// Usage, when they were not.
    pub(crate) fn check(&self, watch: bool) -> Result<(), CliError> {
        let ends = self.until.is_some() || self.max_events.is_some() || self.for_duration.is_some();
        let begins = self.since.is_some() || self.cursor_file.is_some();
        if !watch && (ends || begins || self.timeout.is_some() || self.append) {
            return Err(CliError::usage("options of a watch were given, but not --watch").hint("add --watch"));
        }
        Ok(())
    }
}

/// How a change is made.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Change options")]
pub(crate) struct WriteArgs {
    /// Have the daemon check and compute the change, and change nothing
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true,
          default_missing_value = "server", value_parser = ["server"])]
    dry_run: Option<String>,

    /// Exit with 10 when something changes, or would with --dry-run
    #[arg(long, hide_short_help = true)]
    pub exit_code: bool,

    /// Confirm without being asked
    #[arg(short, long)]
    pub yes: bool,

    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Only if the object still has this version
    #[arg(long, value_name = "VERSION")]
    pub if_match: Option<u64>,

    /// Key under which repeating this change is safe [default: a fresh one]
    #[arg(long, value_name = "KEY", hide_short_help = true, value_parser = token)]
    pub idempotency_key: Option<String>,
}

impl WriteArgs {
    /// A change of which is known only whether somebody confirmed it.
    pub(crate) fn confirmed(yes: bool) -> Self {
        Self { yes, ..Self::default() }
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run.is_some()
    }

    /// The same change as a dry run.
    #[must_use]
    pub(crate) fn for_preview(&self) -> Self {
        Self { dry_run: Some("server".to_owned()), ..self.clone() }
    }

    /// Arguments of a change that follows from this one: of another object, and already confirmed.
    #[must_use]
    pub(crate) fn for_the_next(&self) -> Self {
        Self { if_match: None, idempotency_key: None, ..self.clone() }
    }

    pub(crate) fn reason_text(&self) -> String {
        self.reason.clone().unwrap_or_default()
    }

    /// The idempotency key: the one that was given, or a fresh one.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub(crate) fn key(&self) -> Result<String, CliError> {
        self.idempotency_key.clone().map_or_else(fresh_key, Ok)
    }

    /// Checks what holds for every change of `items` objects at the target of `session`.
    ///
    /// # Errors
    /// Usage, when a protected context lacks a reason or one version is to match several objects.
    pub(crate) fn check(&self, session: &CommandSession, items: usize) -> Result<(), CliError> {
        let target = session.target()?;
        if target.protected && self.reason.as_deref().unwrap_or_default().is_empty() {
            let message = format!("context `{}` is protected: a change there needs a reason", target.context);
            return Err(CliError::usage(message).hint("add --reason TEXT"));
        }
        if self.if_match.is_some() && items > 1 {
            return Err(CliError::usage(format!("--if-match is one version, but there are {items} objects"))
                .hint("change them one by one"));
        }
        Ok(())
    }

    /// Refuses a version for `what`, which has none.
    ///
    /// # Errors
    /// Usage, when one was given.
    pub(crate) fn without_version(&self, what: &str) -> Result<(), CliError> {
        match self.if_match {
            Some(_) => Err(CliError::usage(format!("--if-match: {what} has no version to match"))),
            None => Ok(()),
        }
    }

    /// Has a destructive change confirmed: by `--yes`, or by typing.
    ///
    /// # Errors
    /// Usage, when nobody confirmed and nobody can be asked.
    pub(crate) fn confirm(&self, session: &CommandSession, question: &str) -> Result<(), CliError> {
        let target = session.target()?;
        if !self.yes {
            session.announce_target()?;
        }
        if !target.protected {
            return if self.yes {
                Ok(())
            } else {
                session.confirm(&format!("{question} [y/N]"), &["y", "yes"], "--yes")
            };
        }
        if self.yes && target.named_by_flag {
            return Ok(());
        }
        let word = target.confirmation();
        let flags = format!("--yes --context {}", target.context);
        if self.yes {
            let message = format!("context `{}` is protected: --yes alone does not confirm", target.context);
            return Err(CliError::usage(message).hint(format!("add --context {} as well", target.context)));
        }
        session.confirm(&format!("{question} Type `{word}` to confirm:"), &[word], &flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_the_last_that_was() {
        let now = time::millis(&Value::String("2026-11-20T14:02:30Z".to_owned())).unwrap();
        for (given, expected) in [
            ("14:02", Some("2026-11-20T14:02:00Z")),
            ("14:02:31", Some("2026-11-19T14:02:31Z")),
            ("00:00", Some("2026-11-20T00:00:00Z")),
            ("24:01", None),
            ("2:02", None),
        ] {
            assert_eq!(of_day(given, now).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn moments_are_times_durations_and_cursors() {
        for given in [
            "2026-11-20T14:02:30Z",
            "10m",
            "1h 5m",
            "19d0f2c48213:77",
            "19d0f2c48213:77.1",
            "19d0f2c48213:77,a=b",
        ] {
            assert_eq!(moment(given).as_deref(), Ok(given));
        }
        for given in ["", "yesterday", "14", "14:02:00:00", "zz:7"] {
            assert!(moment(given).is_err(), "{given}");
        }
    }
}
