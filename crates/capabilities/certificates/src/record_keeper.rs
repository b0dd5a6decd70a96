//! Keeps signed records as they count: tells of what does not, and puts it right where this node can sign.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::{AUTHORITY, authority_id, current_authority};
use omnirelay_core::text::chain;
use omnirelay_decisions::identity_keeper::RETRY_AFTER;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_pki::certificate::key_of;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_registry::signed_records::{UnknownRecords, told};
use omnirelay_registry::view::{RefusedRecord, View};
use omnirelay_store::{CommitError, RecordId};
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, KeptRecord, KeptRecords, RecordSigning};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::time::Instant;
use tracing::{info, warn};

use super::authority_in;
use super::signer::Signer;
use crate::identity_keeper::KeepError;

/// How long an issuer has to put right what does not count before others tell the trail of it.
const ISSUERS_TURN: Duration = Duration::from_secs(3);
/// How often what counts is written to a file at most.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// How long it is told that somebody wrote what does not count, once it was put right.
const TOLD_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long other issuers have, once one has started or another signs, to write over what nobody else knows.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// How long whoever needs all records to be signed waits for that.
pub const SIGNED_WITHIN: Duration = Duration::from_secs(5);
/// How soon it is looked again while something is not as it is to be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many of them are told at once.
const NAMED_MAX: usize = 5;
/// How many are remembered for that.
const INCIDENTS_MAX: usize = 1000;
/// How long an issuer waits before it puts right again what it has put right a moment ago: another issuer may see it otherwise. Twice
/// as long each time, until nothing was wrong for a minute.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const CALM: Duration = Duration::from_secs(60);

/// Keeps signed records.
pub struct RecordKeeper {
    pub registry: Arc<Registry>,
    pub signer: Arc<Signer>,
    /// Where what counted last is kept.
    pub files: IdentityFiles,
    pub seen: Mutex<SeenRefusals>,
}

/// Records whose signatures were refused, as they were seen.
#[derive(Default)]
pub struct SeenRefusals {
    /// The newest of each record, and when.
    incidents: BTreeMap<RecordId, (RefusedRecord, Instant)>,
    /// What the trail was told of.
    told: BTreeMap<RecordId, RefusedRecord>,
    /// Who signed when this was looked at last, and since when it is known.
    signers: Option<(Option<RecordSigning>, Instant)>,
    /// When something was put right last, and how long the pause after it is.
    put_right: Option<(Instant, Duration)>,
}

impl RecordKeeper {
    /// Takes up what was kept, so that nothing counts again that was followed by something else before this host started.
    pub fn load(&self) {
        let kept = self.files.signed_records().map_err(|error| chain(&error));
        if let Err(why) = kept.and_then(|kept| self.registry.view().remember(&kept)) {
            warn!(
                why,
                "signed records that were kept do not count; those of the store are judged without them"
            );
        }
    }

    /// Keeps what counts for ever, once a second at most.
    pub async fn keep(&self) {
        let mut last = 0;
        loop {
            let changed = |view: &View| Some(view.changes_of_signed()).filter(|changes| *changes != last);
            let changes = self.registry.look_until_found(changed).await;
            let (records, files) = (self.registry.view().kept_records(), self.files.clone());
            // What panics there is told by the runtime.
            match tokio::task::spawn_blocking(move || files.keep_signed_records(&records)).await {
                Ok(Err(error)) => {
                    warn!(%error, "signed records not kept, a restart knows nothing of them; it is tried again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Ok(Ok(())) | Err(_) => last = changes,
            }
            tokio::time::sleep(KEPT_EVERY).await;
        }
    }

    /// Does so for ever.
    pub async fn run(&self) {
        let sense = |view: &View| {
            let authority = view.get(&authority_id()).map(|found| found.record.version);
            (view.refusals_of_records(), authority, view.head().epoch)
        };
        self.registry.react(sense, || self.look()).await;
    }

    async fn look(&self) -> Option<Instant> {
        let refused = self.registry.view().refused_records();
        let since = self.note(&refused);
        let looked = match current_authority(self.registry.view())
            .filter(|authority| self.signer.can_issue(authority))
        {
            Some(authority) => self.put_right(&authority, &refused).await,
            None => self.tell(&refused, since).await,
        };
        match looked {
            Ok(again) => again,
            Err(error) => {
                warn!(error = %chain(&error), "signed records not put right; it is tried again");
                Some(Instant::now() + RETRY_AFTER)
            }
        }
    }

    /// Notes what does not count; since when the newest of it is known.
    fn note(&self, refused: &BTreeMap<RecordId, RefusedRecord>) -> Instant {
        let (mut seen, now) = (self.seen.lock(), Instant::now());
        let mut newest = None;
        for (id, one) in refused.iter().filter(|(_, one)| !one.is_lost) {
            let known = seen.incidents.get(id).filter(|(known, _)| known == one).map(|(_, at)| *at);
            let has_room = seen.incidents.len() < INCIDENTS_MAX || seen.incidents.contains_key(id);
            if known.is_none() && has_room {
                warn!(record = %id, writer = &*one.writer, why = one.why, "record does not count");
                seen.incidents.insert(id.clone(), (one.clone(), now));
            }
            newest = newest.max(Some(known.unwrap_or(now)));
        }
        seen.incidents.retain(|_, (_, at)| at.elapsed() < TOLD_FOR);
        newest.unwrap_or(now)
    }

    /// Puts right what does not count, signs by the newest issuer what others have signed, and then has no other one count; when to
    /// look again.
    async fn put_right(
        &self,
        authority: &AuthorityValue,
        refused: &BTreeMap<RecordId, RefusedRecord>,
    ) -> Result<Option<Instant>, KeepError> {
        if !refused.is_empty() {
            if let Some(until) = self.pause() {
                return Ok(Some(until));
            }
            self.registry.restore_signed(refused, self.unknown(authority)).await?;
        }
        let Some(signing) = &authority.record_signing else { return Ok(None) };
        let unsigned = self.registry.view().records_to_sign();
        if !unsigned.is_empty() {
            self.registry.sign_anew(&unsigned).await?;
            info!(count = unsigned.len(), "records signed by the newest issuer");
        }
        let is_under_way = is_being_signed(signing);
        match is_under_way && self.registry.view().is_all_signed() {
            true => self.finish().await.map(|()| None),
            false => Ok((is_under_way || !refused.is_empty()).then(|| Instant::now() + LOOK_AGAIN)),
        }
    }

    /// What becomes of records that this node knows nothing of: for a while after its start, and while records are being signed, they
    /// may be of others who have yet to be heard.
    fn unknown(&self, authority: &AuthorityValue) -> UnknownRecords {
        let is_at_rest = authority.record_signing.as_ref().is_some_and(|signing| !is_being_signed(signing));
        let mut seen = self.seen.lock();
        let since = match &seen.signers {
            Some((known, since)) if *known == authority.record_signing => *since,
            Some(_) | None => {
                let now = Instant::now();
                seen.signers = Some((authority.record_signing.clone(), now));
                now
            }
        };
        if is_at_rest && since.elapsed() >= UNKNOWN_FOR {
            UnknownRecords::Deleted
        } else {
            UnknownRecords::Left
        }
    }

    /// Until when to wait before something is put right; `None`: not at all, and it is noted that it is.
    fn pause(&self) -> Option<Instant> {
        let (mut seen, now) = (self.seen.lock(), Instant::now());
        let pause = match seen.put_right {
            Some((last, pause)) if now < last + pause => return Some(last + pause),
            Some((last, pause)) if now < last + CALM => (pause * 2).min(PAUSE_MAX),
            Some(_) | None => PAUSE,
        };
        seen.put_right = Some((now, pause));
        None
    }

    /// Has nothing count any more but what the newest issuer has signed, once that is all.
    async fn finish(&self) -> Result<(), KeepError> {
        let action = "authority.require-signatures";
        let done = self.registry.change_own::<_, KeepError>(action, [AUTHORITY], |reader| {
            let mut value = (*authority_in(reader)?).clone();
            let Some(signing) = value.record_signing.as_mut() else { return Ok(None) };
            if !self.registry.view().is_all_signed() {
                return Err(CommitError::Store(omnirelay_store::StoreError::Unavailable(
                    "others have signed something by the issuer before meanwhile".into(),
                ))
                .into());
            }
            let changes = finished(signing);
            Ok((!changes.is_empty()).then(|| OwnChange::of(put(authority_id(), &value), changes)))
        });
        done.await.map(drop)
    }

    /// Tells the trail what does not count, where no issuer has put it right in its turn; when to look again.
    async fn tell(
        &self,
        refused: &BTreeMap<RecordId, RefusedRecord>,
        since: Instant,
    ) -> Result<Option<Instant>, KeepError> {
        if refused.is_empty() || self.seen.lock().told == *refused {
            return Ok(None);
        }
        let turn = since + ISSUERS_TURN;
        if Instant::now() < turn {
            return Ok(Some(turn));
        }
        self.registry.tell_refused(refused).await?;
        self.seen.lock().told.clone_from(refused);
        Ok(None)
    }

    /// Trouble with records that do not count, or did not within a day; `None`: there is none.
    pub fn trouble(&self) -> Option<String> {
        let refused = self.registry.view().refused_records();
        let forged: Vec<_> = refused.iter().filter(|(_, one)| !one.is_lost).collect();
        if !forged.is_empty() {
            let named =
                forged.iter().take(NAMED_MAX).map(|(id, one)| told(id, one)).collect::<Vec<_>>().join("; ");
            let more = forged.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            return Some(format!(
                "what the store holds does not count, and no issuer has put it right yet: {named}{more}"
            ));
        }
        if !refused.is_empty() {
            return Some(format!(
                "a new epoch of the registry has lost {} signed records, and no issuer has put them back yet; they count as before",
                refused.len()
            ));
        }
        let seen = self.seen.lock();
        let newest = seen.incidents.iter().filter(|(_, (_, at))| at.elapsed() < TOLD_FOR);
        let (id, (one, _)) = newest.max_by_key(|(_, (_, at))| *at)?;
        let count = seen.incidents.len();
        Some(format!(
            "somebody wrote to the store what does not count, {count} within a day, and it was put right; the last was {}",
            told(id, one)
        ))
    }
}

/// The keys of the issuers of an authority that count once the first of them signs: those of before count until all is signed
/// anew, unless they are revoked.
pub fn signing_by(
    authority: &AuthorityValue,
    before: Option<&RecordSigning>,
    unsigned_counts: bool,
) -> RecordSigning {
    let newest = authority.issuers.first().and_then(|issuer| key_of(&issuer.certificate).ok());
    let newest = newest.map(|key| key.as_bytes().to_vec());
    let others = before.into_iter().flat_map(|before| before.keys.iter().cloned());
    let others = others.filter(|key| Some(key) != newest.as_ref()).collect::<Vec<_>>();
    RecordSigning {
        keys: newest.clone().into_iter().chain(others).collect(),
        unsigned_counts,
        unknown_fields: before.map(|before| before.unknown_fields.clone()).unwrap_or_default(),
    }
}

/// Whether something else counts than what the newest issuer has signed, as not all has been signed by it.
pub fn is_being_signed(signing: &RecordSigning) -> bool {
    signing.unsigned_counts || signing.keys.len() > 1
}

/// Records that a host keeps that knows the authority alone, as it is signed: empty where records are not.
pub fn kept_by_joining(signed_authority: Vec<u8>) -> Vec<u8> {
    let RecordId { kind, key } = authority_id();
    let record =
        KeptRecord { kind: kind.0.to_string(), key, value: signed_authority, ..KeptRecord::default() };
    let records = if record.value.is_empty() { Vec::new() } else { vec![record] };
    KeptRecords { records, ..KeptRecords::default() }.encode_to_vec()
}

/// Leaves the newest issuer alone, and says what has changed.
fn finished(signing: &mut RecordSigning) -> Vec<String> {
    let mut changes = Vec::new();
    if std::mem::take(&mut signing.unsigned_counts) {
        changes.push("records without a signature: count -> do not count".to_owned());
    }
    if signing.keys.len() > 1 {
        changes.push(format!("issuers whose signatures count: {} -> 1", signing.keys.len()));
        signing.keys.truncate(1);
    }
    changes
}
