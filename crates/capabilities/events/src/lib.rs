//! Events: everything that happens in a mesh, in one stream that can be resumed.
//!
//! What happens to records stands in the registry's log; what the daemon has noticed of itself, in its
//! notices, such as what it lacks or has again. A cursor names a place in each (decision 0029).

mod mount;
mod order;
mod places;
pub mod readiness_changes;
mod request;
mod telling;

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, iter, unfold};
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::chance::random_u64;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::{Caller, Scope};
use omnirelay_nouns::feed::{EventFrame, NounEventStream, NounWatches};
use omnirelay_nouns::notice::Notices;
use omnirelay_nouns::serve;
use omnirelay_nouns::topic::Topics;
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::place_in;
use omnirelay_registry::since::{WatchSince, WatchStart};
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

pub use mount::mount;
use order::by_time;
use pb::event_service_server::EventService;
use places::{PlacedEvent, READINESS, WatcherPlaces};
use request::WatchedTopics;
use telling::{WatchedEvents, of_notice, of_stream};

/// Serves `EventService`.
pub struct Events {
    registry: Arc<Registry>,
    topics: Arc<Topics>,
    notices: Arc<Notices>,
    watches: NounWatches<pb::Event>,
    /// Whose events they are.
    source: String,
}

impl Events {
    /// At most `watches_max` are watched at once.
    pub fn new(
        registry: Arc<Registry>,
        topics: Arc<Topics>,
        notices: Arc<Notices>,
        cluster: &str,
        watches_max: impl Into<Live<usize>>,
    ) -> Self {
        let watches = NounWatches::new(registry.clone(), watches_max);
        Self { registry, topics, notices, watches, source: format!("/clusters/{cluster}") }
    }

    async fn serve_watch(
        &self,
        caller: &Caller,
        asked: pb::WatchEventsRequest,
    ) -> Result<NounEventStream<pb::Event>, Fault> {
        let wanted = Arc::new(WatchedTopics::of(&self.topics.all(), &self.notices.topics(), &asked, caller)?);
        let since = WatchSince::of(&asked.since)?;
        let place = self.watches.places.take()?;
        self.registry.ready_for("").await?;
        let start = self.start_of(since).await?;
        let noticed = self.noticed_before(since, &asked.since);

        let shown = wanted.clone();
        let filter = move |record: &ViewRecord| shown.shows(record);
        let sees_audit = caller.scopes.contains(Scope::MeshAdmin);
        let telling = WatchedEvents::new(wanted.clone(), self.source.clone(), sees_audit);
        let begun = self.watches.begun(telling.kinds(), filter, Some(start.cursor), place);
        let parts = wanted.clone();
        let feed = begun.of(telling).with_parts(Box::new(move |entry, change| parts.parts(entry, change)));
        let in_log =
            unfold(feed, |mut feed| async { Some((PlacedEvent::InLog(feed.next_made().await), feed)) });

        let mut places = WatcherPlaces::new(start.cursor, noticed, random_u64().unwrap_or(0));
        let begins = first_words(since, start).map(|frame| of_stream(&self.source, &frame));
        let begins: Vec<pb::Event> = begins.map(|event| places.put(event)).collect();
        let now = self.registry.view().connectivity().now();
        let goes_on = by_time(in_log.boxed(), self.noticed_behind(noticed), now)
            .filter_map(move |happened| std::future::ready(places.pass(happened, &wanted)));
        Ok(iter(begins).chain(goes_on).map(|event| Ok(EncodedMessage::from(event))).boxed())
    }

    async fn start_of(&self, since: Option<WatchSince>) -> Result<WatchStart, Fault> {
        match since {
            Some(since) => self.registry.start_of(since).await,
            None => Ok(WatchStart { cursor: self.registry.view().head().cursor(), gap: false }),
        }
    }

    /// From which notice on they are told. Whoever has seen those of another daemon is told what came
    /// later; whoever names no place, what comes.
    fn noticed_before(&self, since: Option<WatchSince>, text: &str) -> Millis {
        let before = |time: Millis| Millis(time.0.saturating_sub(1));
        let place = match since {
            None => None,
            Some(WatchSince::Cursor(_)) => {
                // A clock that was set back since has not been there yet.
                let now = self.registry.view().connectivity().now();
                place_in(text, READINESS).and_then(|place| place.parse().ok()).map(|at| Millis(at).min(now))
            }
            Some(WatchSince::Time(time)) => Some(before(time)),
            Some(WatchSince::Ago(ago)) => {
                let now = self.registry.view().connectivity().now();
                Some(before(Millis(now.0.saturating_sub(whole_ms(ago)))))
            }
        };
        place.unwrap_or_else(|| self.notices.newest())
    }

    /// The notices behind a place; never ends.
    fn noticed_behind(&self, place: Millis) -> BoxStream<'static, PlacedEvent> {
        let node_id = self.registry.node_id().to_owned();
        let source = format!("{}/nodes/{node_id}", self.source);
        let notices = unfold((self.notices.clone(), place), |(notices, place)| async move {
            let notice = notices.next(place).await;
            let place = notice.at;
            Some((notice, (notices, place)))
        });
        notices.map(move |it| PlacedEvent::Noticed(it.at, of_notice(&source, &node_id, &it))).boxed()
    }
}

/// What a stream begins with.
fn first_words(since: Option<WatchSince>, start: WatchStart) -> impl Iterator<Item = EventFrame> {
    let reset = start.gap.then(|| EventFrame::reset("compacted"));
    let synced = !matches!(since, Some(WatchSince::Cursor(_)));
    reset.into_iter().chain(synced.then(|| EventFrame::synced(&start.cursor)))
}

serve! {
    EventService for Events {
        [WatchStream] watch(WatchEventsRequest) -> Event: |of, caller, asked| of.serve_watch(caller, asked);
    }
}
