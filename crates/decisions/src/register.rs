//! Registers: their ids, and what is advertised of them.

pub mod group_refresh;

use std::collections::{BTreeMap, BTreeSet};

use omnirelay_core::names::{IdError, check_id};
use omnirelay_core::text::is_unseen;
use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisedRegister;
use omnirelay_wire::pb::omnirelay::registers::v1::advertisement::SyncState;
use omnirelay_wire::pb::omnirelay::store::v1::{AdvertisementValue, RegisterValue};

/// What a route of ours calls all registers, so that none can be called so.
const RESERVED: &str = "available";
/// Up to so many removals need no consent, whatever part of the whole they are.
const BRAKE_FROM: usize = 10;

/// Reason why a text cannot be the id of a register.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterIdError {
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("`{RESERVED}` is a word of the API")]
    Reserved,
}

/// Checks the id of a register: 1 to 128 of `[A-Za-z0-9._:-]`, not beginning with `_`, and not `available`.
///
/// # Errors
/// What is wrong with it; the text itself is not repeated, because it may hold anything.
pub fn check_register_id(id: &str) -> Result<(), RegisterIdError> {
    check_id(id)?;
    if id == RESERVED { Err(RegisterIdError::Reserved) } else { Ok(()) }
}

/// The longest name of a register in characters.
pub const NAME_CHARS_MAX: usize = 256;
/// The longest description of a register in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 4096;

/// Reason why a text cannot be the name or the description of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterTextError {
    #[error("it is {count} characters long, the limit is {max}")]
    TooLong { count: usize, max: usize },
    #[error("it holds control characters, or others that cannot be seen")]
    Control,
}

/// Checks the name of a register; it may be empty.
///
/// # Errors
/// What is wrong with it.
pub fn check_named(name: &str) -> Result<(), RegisterTextError> {
    check_text(name, NAME_CHARS_MAX, is_unseen)
}

/// Checks the description of a register; it may be empty, and have lines.
///
/// # Errors
/// What is wrong with it.
pub fn check_described(description: &str) -> Result<(), RegisterTextError> {
    let control = |c: char| is_unseen(c) && !matches!(c, '\n' | '\r' | '\t');
    check_text(description, DESCRIPTION_CHARS_MAX, control)
}

fn check_text(text: &str, max: usize, control: impl Fn(char) -> bool) -> Result<(), RegisterTextError> {
    let count = text.chars().count();
    if count > max {
        return Err(RegisterTextError::TooLong { count, max });
    }
    if text.chars().any(control) { Err(RegisterTextError::Control) } else { Ok(()) }
}

/// Advertisement of a register by the node that hosts it.
pub fn advertisement_of(register: &RegisterValue) -> AdvertisementValue {
    AdvertisementValue {
        name: register.name.clone(),
        description: register.description.clone(),
        is_public: register.advertise,
        latest_version: register.latest_version,
        latest_docket_version: register.latest_docket_version,
        sync_state: SyncState::Active.into(),
        unknown_fields: Default::default(),
    }
}

/// Returns an entry as it is once its producer has pushed `item`: what is absent stays, and versions never go back.
pub fn advertised(held: Option<&AdvertisementValue>, item: &AdvertisedRegister) -> AdvertisementValue {
    let mut value = held.cloned().unwrap_or_default();
    if let Some(name) = &item.name {
        value.name.clone_from(name);
    }
    if let Some(description) = &item.description {
        value.description.clone_from(description);
    }
    value.is_public = item.is_public.unwrap_or(value.is_public);
    value.latest_version = value.latest_version.max(item.latest_version.unwrap_or(0));
    value.latest_docket_version = value.latest_docket_version.max(item.latest_docket_version.unwrap_or(0));
    value.set_sync_state(match item.sync_state.and_then(|state| SyncState::try_from(state).ok()) {
        None | Some(SyncState::Unspecified | SyncState::Unverified) => SyncState::Active,
        Some(state) => state,
    });
    value
}

/// Whether so many removals among so many entries are more than is done without consent: more than ten that are
/// more than half.
pub fn brakes(removals: usize, entries: usize) -> bool {
    removals > BRAKE_FROM && removals * 2 > entries
}

/// Treatment of the entries of a producer that it does not push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnpushedEntries {
    Stays,
    /// These go, the others stay.
    Withdraw(BTreeSet<String>),
    /// What is pushed is all there is.
    WithdrawAll,
}

/// An entry as it is before a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBefore {
    pub value: AdvertisementValue,
    /// Whether the store has it.
    pub stored: StoredState,
}

impl AsRef<Self> for EntryBefore {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// State of an entry in the store, compared with what is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredState {
    Same,
    /// Another value, or under a group that is over.
    Other,
    Missing,
}

/// Plan of a push: the entries that it adds, updates and removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushPlan {
    pub add: BTreeMap<String, AdvertisementValue>,
    pub update: BTreeMap<String, AdvertisementValue>,
    /// How many items change nothing, those that a later one of the same id overrides included.
    pub unchanged: usize,
    pub remove: BTreeSet<String>,
}

/// Says what pushing `items` does to the entries of their producer.
pub fn plan<H: AsRef<EntryBefore>>(
    held: &BTreeMap<String, H>,
    items: &[AdvertisedRegister],
    rest: &UnpushedEntries,
) -> PushPlan {
    let mut plan = PushPlan::default();
    let mut pushed = BTreeSet::new();
    // Of two with one id the last counts.
    for item in items.iter().rev() {
        if !pushed.insert(item.register_id.as_str()) {
            plan.unchanged += 1;
            continue;
        }
        let known = held.get(&item.register_id).map(AsRef::as_ref);
        let value = advertised(known.map(|held| &held.value), item);
        match known {
            None => plan.add.insert(item.register_id.clone(), value),
            Some(held) if held.stored == StoredState::Missing => {
                plan.add.insert(item.register_id.clone(), value)
            }
            Some(held) if held.stored == StoredState::Other || held.value != value => {
                plan.update.insert(item.register_id.clone(), value)
            }
            Some(_) => {
                plan.unchanged += 1;
                None
            }
        };
    }
    let goes = |id: &String| match rest {
        UnpushedEntries::Stays => false,
        UnpushedEntries::Withdraw(these) => these.contains(id),
        UnpushedEntries::WithdrawAll => true,
    };
    plan.remove = held.keys().filter(|id| !pushed.contains(id.as_str()) && goes(id)).cloned().collect();
    plan
}

#[cfg(test)]
mod register_test;
