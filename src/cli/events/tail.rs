//! `events tail`.

use std::path::PathBuf;

use super::{WATCH, line};
use crate::complete;
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;
use crate::frame::watch::{self, cursor};
use crate::peers;

pub(super) const LEAF: LeafCommand = LeafCommand::read("events tail", &[&WATCH]).exiting("0 1 2 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay events tail
  omnirelay events tail --since 10m --type leadership,peers
  omnirelay events tail --type audit,store --subject peer/node-2
  omnirelay events tail -o jsonl --cursor-file events.cursor";

/// Show what happens, as it does
///
/// One line for each event: to peers, leadership, registers, advertisements, relays and agents, to the store and the
/// node that is asked; of the audit trail when it is asked for with --type audit. With -o jsonl each is an event of
/// CloudEvents 1.0. It goes on at any node where the connection was lost, and misses nothing that the history reaches
/// back to.
#[derive(Args, Debug, Default)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct EventsTailArgs {
    /// Only these, such as leadership or peers.added
    #[arg(long = "type", visible_alias = "topic", value_name = "TOPIC[.WHAT],...", value_delimiter = ',',
          add = complete::list(topics))]
    types: Vec<String>,
    /// Only what happens to these, such as peer/node-2
    #[arg(long, value_name = "KIND/KEY,...", value_delimiter = ',',
          add = complete::named(&peers::OBJECTS))]
    subject: Vec<String>,
    /// Begin with what has happened since: a time in UTC, how long ago, such as 10m, or a cursor
    #[arg(long, value_name = "TIME|DURATION|CURSOR")]
    since: Option<String>,
    /// Resume from the cursor in this file, and keep it up to date; --since is for the first time
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    /// End with 0 after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events: Option<u64>,
    /// End with 0 after this time
    #[arg(long = "for", value_name = "DURATION")]
    for_duration: Option<HumanDuration>,
    /// End with 8 when --max-events is not met after this time
    #[arg(long, value_name = "DURATION")]
    timeout: Option<HumanDuration>,
}

/// What can be asked for, for completion; the daemon says what it knows.
fn topics() -> Vec<String> {
    const TOPICS: &str = "peers leadership registers advertisements relays agents transport-policy join-policy store node \
                          limits audit";
    TOPICS.split(' ').map(str::to_owned).collect()
}

/// Prints all that happens for a while, as it does.
///
/// # Errors
/// As of [`run`].
pub(crate) async fn stream(
    for_duration: Option<HumanDuration>,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    run(&EventsTailArgs { for_duration, ..EventsTailArgs::default() }, session).await
}

pub(super) async fn run(args: &EventsTailArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let resumes = cursor::is_kept(args.cursor_file.as_deref());
    if let Some(file) = args.cursor_file.as_deref().filter(|_| resumes && args.since.is_some()) {
        let file = file.display();
        session.notes().progress(&format!("going on from the cursor in {file}; --since does not apply"));
    }
    let feed = WatchFeed {
        id: |event| text(event, "subject").to_owned(),
        line: Some(line::of),
        keep: KeptObjects::Nothing(Default::default()),
        ..WatchFeed::of(&WATCH, &json!({"type": args.types, "subject": args.subject}), "")?
    };
    let watching = WatchArgs {
        since: args.since.clone().filter(|_| !resumes),
        cursor_file: args.cursor_file.clone(),
        until: None,
        max_events: args.max_events,
        for_duration: args.for_duration,
        timeout: args.timeout,
        append: true,
    };
    watch::run(session, feed, &watching, &TableArgs::default()).await
}
