//! Taking over what a node of another mesh offers: what is held of it, and how the store is brought to what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_store::{GroupId, GroupRef, Opened, RecordId, Write};
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;
use prost::Message as _;

use super::Exchange;
use crate::core::exchange::{Offered, cluster_of, part_of};
use crate::core::register::advertised;
use crate::daemon::objects::advertisements::pool::{BATCH, ENTRIES_MAX};
use crate::daemon::objects::advertisements::{ADVERTISEMENT, advertisement_id, check_items, parts};
use crate::daemon::objects::peers::own_session;
use crate::daemon::registry::act::{Act, Authority, Plan};
use crate::daemon::registry::view::View;

/// The producer of what was fetched.
const PRODUCER: &str = "exchange";

/// What is held of one node.
#[derive(Debug, Default)]
pub struct Held {
    /// Of the group that lives.
    pub offered: Offered,
    /// All of its records, those of groups that are over too.
    pub records: BTreeSet<RecordId>,
    /// What its records are bound to; `None`: there are none, or it is over.
    pub group: Option<GroupRef>,
    /// When somebody confirmed it last.
    pub renewed_at: Option<Millis>,
}

impl Held {
    /// Of all nodes of other meshes, by their names as sources.
    pub fn all(view: &View) -> BTreeMap<String, Self> {
        let mut all = BTreeMap::<String, Self>::new();
        for record in view.list(&ADVERTISEMENT).records.iter() {
            let record = &record.record;
            let Some((source, register, _)) = parts(&record.id).filter(|(of, ..)| cluster_of(of).is_some())
            else {
                continue;
            };
            if !all.contains_key(source) {
                all.insert(source.to_owned(), Self::default());
            }
            let Some(held) = all.get_mut(source) else { continue };
            held.records.insert(record.id.clone());
            let Some(group) = &record.group else { continue };
            held.renewed_at = held.renewed_at.max(view.group(&group.id).map(|group| group.renewed_at));
            // It was opened a moment ago where the view has not heard of it.
            let lives = held.group.as_ref() == Some(group) || view.is_live(group);
            if lives && let Ok(value) = AdvertisementValue::decode(record.value.clone()) {
                held.group = Some(group.clone());
                held.offered.insert(register.to_owned(), value);
            }
        }
        all
    }
}

impl Exchange {
    /// Brings the store to what an answer of a node says, where it says something else than what is held of it; `room` is for
    /// how many more registers of its cluster there is place. Says how many have changed.
    ///
    /// # Errors
    /// Why not, in words; what was written before stays.
    pub(super) async fn take(
        &self,
        source: &str,
        held: &Held,
        answer: &pb::FetchAdvertisedResponse,
        room: usize,
    ) -> Result<usize, String> {
        let told: BTreeSet<usize> = answer.parts.iter().map(|part| *part as usize).collect();
        // Whatever it is that is not public there, it is nobody's business here.
        let public = answer.registers.iter().filter(|item| item.is_public == Some(true));
        let items = public.filter(|item| told.contains(&part_of(&item.register_id)));
        let mut wanted = Offered::new();
        for item in items {
            check_items(std::slice::from_ref(item)).map_err(|fault| fault.message)?;
            wanted.insert(item.register_id.clone(), advertised(None, item));
        }
        let of = |register: &str| advertisement_id(source, register, PRODUCER);
        let is_new = |id: &&String| !held.records.contains(&of(id));
        if wanted.keys().filter(is_new).count() > room {
            return Err(format!("a federated cluster may have {ENTRIES_MAX} advertisements in a mesh"));
        }
        let puts: Vec<_> =
            wanted.iter().filter(|(id, value)| held.offered.get(*id) != Some(*value)).collect();
        let gone = held.records.iter().filter(|id| {
            parts(id).is_some_and(|(_, register, _)| {
                told.contains(&part_of(register)) && !wanted.contains_key(register)
            })
        });
        let group = match (puts.is_empty(), &held.group) {
            (true, _) => None,
            (false, Some(group)) => Some(group.clone()),
            (false, None) => Some(self.open(source).await?),
        };
        let puts = puts.into_iter().map(|(id, value)| Write::Put {
            id: of(id),
            value: value.encode_to_vec().into(),
            group: group.clone(),
        });
        // Whoever reads never misses what stays.
        let writes = puts.chain(gone.map(|id| Write::Delete { id: id.clone() }));
        self.write(writes.collect()).await
    }

    /// Writes these, some at a time, and says how many.
    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<usize, String> {
        let count = writes.len();
        for some in writes.chunks(BATCH) {
            let session = own_session(&self.parts.registry).ok_or("this node has no session")?;
            let act = Act::new("advertisements.fetch", [ADVERTISEMENT], Authority::Session(session));
            let plan = Plan::default().write(some.iter().cloned());
            self.parts.registry.attempt(&act, plan).await.map_err(|error| chain(&error))?;
        }
        Ok(count)
    }

    /// Opens what records of a node are bound to.
    async fn open(&self, source: &str) -> Result<GroupRef, String> {
        let (registry, settings) = (&self.parts.registry, &self.settings);
        let view = registry.view();
        // A name of its own for each life, as what the old one held is there until it is written under the new one.
        let id = GroupId(format!("advertisements/{source}/{PRODUCER}/{:x}", view.now().0));
        let opened = registry.open_group(view.head().epoch, id, settings.ttl, &settings.secret).await;
        match opened.map_err(|error| chain(&error))? {
            Opened::Open(group) => Ok(group.of),
            Opened::Held { .. } => Err("another node of this mesh has just begun with it".to_owned()),
        }
    }

    /// Keeps what was confirmed from running out.
    pub(super) async fn renew(&self, groups: Vec<GroupRef>) -> Result<(), String> {
        if groups.is_empty() {
            return Ok(());
        }
        let renewed = self.parts.registry.renew_groups(groups, self.settings.grace).await;
        renewed.map(drop).map_err(|error| chain(&error))
    }
}

/// What is held of the nodes of one cluster, in registers.
pub fn count(held: &BTreeMap<String, Arc<Held>>, cluster: &str) -> usize {
    let of_cluster = held.iter().filter(|(source, _)| cluster_of(source) == Some(cluster));
    of_cluster.map(|(_, held)| held.records.len()).sum()
}
