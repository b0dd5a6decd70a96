//! `audit tail`.

use std::path::PathBuf;

use omnirelay_wire::rpc::audit_service;

use super::list::{LIST, fetch};
use super::{COLUMNS, KIND, RecordArgs, summary};
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;
use crate::frame::watch::printer::EventPrinter;
use crate::frame::watch::{self, cursor};

pub(super) const WATCH: RpcMethod = audit_service::WATCH;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("audit tail", &[&LIST, &WATCH]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay audit tail
  omnirelay audit tail --limit 50 --no-follow
  omnirelay audit tail --action 'peers.*' -o jsonl --cursor-file audit.cursor";

/// Show the newest audit records, then new ones as they come
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct AuditTailArgs {
    #[command(flatten)]
    records: RecordArgs,
    /// How many records to begin with
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// End once the newest records are shown
    #[arg(long)]
    no_follow: bool,
    /// Resume from the cursor in this file, and keep it up to date
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    /// End with 0 after this many new records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events: Option<u64>,
    /// End with 0 after this time
    #[arg(long = "for", value_name = "DURATION")]
    for_duration: Option<HumanDuration>,
    /// End with 8 when --max-events is not met after this time
    #[arg(long, value_name = "DURATION")]
    timeout: Option<HumanDuration>,
}

pub(super) async fn run(args: &AuditTailArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut request = args.records.request();
    // What is new is later than any time in the past.
    request["since"] = Value::Null;
    let mut feed = WatchFeed {
        object: "record",
        id: |record| text(record, "recordId").to_owned(),
        columns: COLUMNS,
        summary,
        keep: KeptObjects::Nothing(Default::default()),
        ..WatchFeed::of(&WATCH, &request, KIND)?
    };
    let mut since = None;
    let resumes = cursor::is_kept(args.cursor_file.as_deref());
    if args.no_follow || !resumes {
        let (cursor, told) = show_newest(args, session, &feed).await?;
        since = Some(cursor).filter(|cursor| !cursor.is_empty());
        feed.keep = KeptObjects::Nothing(told.into_iter().collect());
    }
    if args.no_follow {
        return Ok(Exit::Ok);
    }
    if let Some(file) = args.cursor_file.as_deref().filter(|_| resumes) {
        let file = file.display();
        let note = format!("going on from the cursor in {file}; --limit and --since do not apply");
        session.notes().progress(&note);
    }
    let watching = WatchArgs {
        since,
        cursor_file: args.cursor_file.clone(),
        until: None,
        max_events: args.max_events,
        for_duration: args.for_duration,
        timeout: args.timeout,
        append: true,
    };
    watch::run(session, feed, &watching, &TableArgs::default()).await
}

/// Prints the newest records, oldest first; returns where to go on and what was told.
async fn show_newest(
    args: &AuditTailArgs,
    session: &mut CommandSession,
    feed: &WatchFeed<'_>,
) -> Result<(String, Vec<String>), CliError> {
    if args.limit == 0 {
        // Only where the registry stands is of interest.
        let pages = PageArgs { limit: 1, ..PageArgs::default() };
        let document = fetch(session, args.records.request(), &pages).await?;
        return Ok((text(&document, "cursor").to_owned(), Vec::new()));
    }
    let pages = PageArgs { limit: args.limit, ..PageArgs::default() };
    let document = fetch(session, args.records.request(), &pages).await?;
    let records = items(&document, "records");
    let mut printer = EventPrinter::of(session, true, TableArgs::default().layout(), false);
    let mut told = Vec::new();
    for record in records.iter().take(args.limit).rev() {
        told.push(text(record, "recordId").to_owned());
        let event = json!({
            "type": "snapshot", "cursor": "", "prevCursor": "", "time": field(record, "time"),
            "record": record, "reason": "",
        });
        printer.event(&mut session.out, feed, &event, None)?;
    }
    Ok((text(&document, "cursor").to_owned(), told))
}
