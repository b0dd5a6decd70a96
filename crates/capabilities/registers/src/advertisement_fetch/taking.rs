//! Taking over what a node of another mesh offers: what is held of it, and how the store is brought to what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_decisions::range_digest::{OfferedRegisters, cluster_of, part_of};
use omnirelay_decisions::register::advertised;
use omnirelay_peer_records::own_session;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{GroupId, GroupRef, OpenedGroup, Write};
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;
use prost::Message as _;

use super::AdvertisementFetch;
use crate::advertisements::pool::{BATCH, ENTRIES_MAX};
use crate::advertisements::{ADVERTISEMENT, advertisement_id, check_items, parts};

/// The producer of what was fetched.
const PRODUCER: &str = "exchange";

/// Offers of one node, as they are held here.
#[derive(Default)]
pub(super) struct HeldOffers {
    records: Vec<Arc<ViewRecord>>,
    /// What its records are bound to: one group, or several where two nodes of this mesh have begun with it at once.
    pub groups: BTreeSet<GroupRef>,
    /// When somebody confirmed it last, all of it.
    pub confirmed_at: Option<Millis>,
    /// Until when all of it lives.
    pub until: Option<Millis>,
    /// Those of its groups that live for another time than is set.
    outdated: BTreeSet<GroupRef>,
}

impl HeldOffers {
    /// Of all nodes of a cluster, by their names as sources; it is to live for `ttl`.
    pub(super) fn of_cluster(view: &View, cluster: &str, ttl: Duration) -> BTreeMap<String, Self> {
        let mut all = BTreeMap::<String, Self>::new();
        for record in view.list(&ADVERTISEMENT).records.iter() {
            let Some((source, ..)) = parts(&record.record.id) else { continue };
            if cluster_of(source) != Some(cluster) {
                continue;
            }
            if !all.contains_key(source) {
                all.insert(source.to_owned(), Self::default());
            }
            let Some(held) = all.get_mut(source) else { continue };
            held.groups.extend(record.record.group.clone());
            held.records.push(record.clone());
        }
        for held in all.values_mut() {
            // The view hears of one that was opened a moment ago with the next beat.
            let groups: Vec<_> = held.groups.iter().filter_map(|group| view.group(&group.id)).collect();
            held.confirmed_at = groups.iter().map(|group| group.renewed_at).min();
            held.until = groups.iter().map(|group| group.deadline).min();
            let outdated = groups.iter().filter(|group| whole_ms(group.ttl) != whole_ms(ttl));
            held.outdated = outdated.map(|group| group.of.clone()).collect();
        }
        all
    }

    /// Number of these registers.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Registers that are offered, as the records say.
    pub(super) fn offered(&self) -> OfferedRegisters {
        let offered = self.records.iter().filter_map(|record| {
            let (_, register, _) = parts(&record.record.id)?;
            Some((register.to_owned(), AdvertisementValue::decode(record.record.value.clone()).ok()?))
        });
        offered.collect()
    }
}

/// Taking over what one node offers, answer by answer.
pub(super) struct OfferReceiver<'a> {
    pub exchange: &'a AdvertisementFetch,
    pub source: &'a str,
    pub held: &'a HeldOffers,
    /// What the records of [`Self::held`] say.
    pub offered: &'a OfferedRegisters,
    /// For how many more registers of the cluster there is place.
    pub room: &'a AtomicUsize,
    /// What is written is bound to this; `None`: nothing was written yet.
    pub group: Option<GroupRef>,
    /// Until when that lives, where it was opened here.
    pub opened_until: Option<Millis>,
    pub changes: usize,
    /// What of the answers cannot be taken: how many, and why the first.
    pub untaken: Option<(usize, String)>,
}

impl OfferReceiver<'_> {
    /// Brings the store to what an answer says, where it says something else than what is held.
    ///
    /// # Errors
    /// Why not, in words; what was written before stays.
    pub(super) async fn take(&mut self, answer: &pb::FetchAdvertisedResponse) -> Result<(), String> {
        let told: BTreeSet<usize> = answer.parts.iter().map(|part| *part as usize).collect();
        let wanted = self.wanted(&told, &answer.registers);
        let changed = |(id, value): &(&String, &AdvertisementValue)| self.offered.get(*id) != Some(*value);
        let mut puts: Vec<(&String, &AdvertisementValue)> = wanted.iter().filter(changed).collect();
        let mut full = 0;
        puts.retain(|(id, _)| {
            let fits = self.offered.contains_key(*id) || has_room(self.room);
            full += usize::from(!fits);
            fits
        });
        if full > 0 {
            self.leave(full, &format!("a federated cluster may have {ENTRIES_MAX} advertisements in a mesh"));
        }
        let of = |register: &str| advertisement_id(self.source, register, PRODUCER);
        let is_gone = |id: &&String| told.contains(&part_of(id)) && !wanted.contains_key(*id);
        let gone: Vec<Write> =
            self.offered.keys().filter(is_gone).map(|id| Write::Delete { id: of(id) }).collect();
        if !puts.is_empty() {
            self.begin().await?;
        }
        let puts = puts.into_iter().map(|(id, value)| Write::Put {
            id: of(id),
            value: value.encode_to_vec().into(),
            group: self.group.clone(),
        });
        // Whoever reads never misses what stays.
        let writes: Vec<Write> = puts.chain(gone).collect();
        self.write(&writes).await?;
        self.changes += writes.len();
        Ok(())
    }

    /// Binds what an outdated group carries to one that lives for as long as is set. To be done before anything is taken.
    ///
    /// # Errors
    /// As for [`Self::take`]; the rest is bound the next time.
    pub(super) async fn rebind(&mut self) -> Result<(), String> {
        let held = self.held;
        let records = held.records.iter().map(|record| &record.record);
        let of_outdated =
            records.filter(|record| record.group.as_ref().is_some_and(|of| held.outdated.contains(of)));
        let outdated: Vec<_> = of_outdated.collect();
        if outdated.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        let puts = outdated.into_iter().map(|record| Write::Put {
            id: record.id.clone(),
            value: record.value.clone(),
            group: self.group.clone(),
        });
        self.write(&puts.collect::<Vec<_>>()).await
    }

    /// Finds what is written is to be bound to: a group that is known and lives for as long as is set, or one that is opened.
    async fn begin(&mut self) -> Result<(), String> {
        if self.group.is_none() {
            let known = self.held.groups.difference(&self.held.outdated).next().cloned();
            self.group = Some(match known {
                Some(group) => group,
                None => self.open().await?,
            });
        }
        Ok(())
    }

    async fn write(&self, writes: &[Write]) -> Result<(), String> {
        for some in writes.chunks(BATCH) {
            let registry = &self.exchange.parts.registry;
            let session = own_session(registry).ok_or("this node has no session")?;
            let act =
                DaemonAct::new("advertisements.fetch", [ADVERTISEMENT], WriteAuthority::Session(session));
            let plan = CommitPlan::default().write(some.iter().cloned());
            registry.attempt(&act, plan).await.map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    /// What an answer says of the parts that it is about. Whatever is not public there is nobody's business here, and what
    /// cannot be a register is left.
    fn wanted(&mut self, told: &BTreeSet<usize>, items: &[pb::AdvertisedRegister]) -> OfferedRegisters {
        let mut wanted = OfferedRegisters::new();
        for item in items.iter().filter(|item| told.contains(&part_of(&item.register_id))) {
            match check_items(std::slice::from_ref(item)) {
                Ok(()) if item.is_public == Some(true) => {
                    wanted.insert(item.register_id.clone(), advertised(None, item));
                }
                Ok(()) => {}
                Err(fault) => self.leave(1, &fault.message),
            }
        }
        wanted
    }

    fn leave(&mut self, count: usize, why: &str) {
        self.untaken.get_or_insert_with(|| (0, why.to_owned())).0 += count;
    }

    /// Opens what the records of a node are bound to.
    async fn open(&mut self) -> Result<GroupRef, String> {
        let (registry, settings) = (&self.exchange.parts.registry, self.exchange.settings.get());
        let view = registry.view();
        // A name of its own for each life, as what the old one held is there until it is written under the new one.
        let id =
            format!("advertisements/{}/{PRODUCER}/{}/{:x}", self.source, registry.node_id(), view.now().0);
        let opened =
            registry.open_group(view.head().epoch, GroupId(id), settings.ttl, &settings.secret).await;
        match opened.map_err(|error| chain(&error))? {
            OpenedGroup::Open(group) => {
                self.opened_until = Some(group.deadline);
                Ok(group.of)
            }
            OpenedGroup::Held { .. } => Err("another daemon has this node's id".to_owned()),
        }
    }
}

/// Takes one place, if there is one.
fn has_room(room: &AtomicUsize) -> bool {
    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
