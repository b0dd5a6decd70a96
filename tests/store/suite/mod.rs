//! The contract suite: every behaviour of the port, once.
//!
//! A rule gets a fresh store and panics where the store breaks it. The list below is the only one:
//! it names each rule with the defect that it must catch, so no rule can be without one, and where
//! many states could be lost in the same way, with what the rule must then say.

mod commits;
mod graces;
mod groups;
mod idempotency;
mod imports;
mod leases;
mod limits;
mod log;
mod records;
mod restarts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupId, GroupRef, HousekeepingOutcome, Idempotency,
    IdempotencyKey, Lease, LeaseOp, LogEntry, LogPage, OpenGroup, OpenedGroup, PAGE_MAX, Precondition, Pulse,
    PulseAnswer, Record, RecordId, RecordKind, RecordOrigin, Retention, Revision, Scan, Store, Version,
    Write,
};

use crate::harness::{Harness, InEpoch};

/// Passes every rule and its defect to the macro `$with`, behind `$argument`.
#[macro_export]
macro_rules! every_rule {
    ($with:ident $($argument:tt)*) => { $with! { $($argument)*
        records {
            a_record_is_read_back_as_it_was_put: loses_the_end_of_values,
            a_version_rises_by_one_with_each_change: skips_versions,
            a_deletion_leaves_a_tombstone: hides_tombstones,
            a_version_goes_on_after_deletion: forgets_versions_at_deletion,
            a_version_goes_on_after_its_tombstone_was_collected: forgets_versions_at_collection,
            a_put_keeps_when_the_record_was_created: forgets_when_records_were_created,
            a_record_names_its_last_writer: forgets_writers,
            a_scan_goes_both_ways: ignores_the_direction,
            a_scan_goes_page_by_page_without_loss: loses_the_first_of_a_page,
            a_scan_keeps_to_its_kind: mixes_kinds,
            a_page_of_large_values_ends_early: ignores_the_bytes_of_a_page,
        }
        commits {
            a_refused_commit_leaves_nothing: loses_atomicity,
            a_commit_is_refused_when_a_version_differs: ignores_preconditions,
            version_zero_wants_that_there_is_no_record: takes_version_zero_for_any,
            of_rivals_on_one_version_one_wins: checks_before_it_writes,
            a_commit_leaves_one_entry_with_what_was_before: forgets_what_was_before,
            a_commit_that_changes_nothing_leaves_no_entry: logs_empty_commits,
            revisions_rise_and_name_the_one_before: breaks_the_chain,
            a_commit_of_another_epoch_is_refused: commits_in_any_epoch,
            a_fenced_out_writer_hears_of_the_fence_first: judges_preconditions_before_fences,
        }
        imports {
            an_import_stands_as_it_was: imports_as_it_puts,
            an_imported_record_goes_on_as_any_other: lets_no_write_be_before_an_import,
            an_import_leaves_what_is_there: imports_over_what_is_there,
            an_import_without_effect_raises_no_revision: counts_every_import,
            an_import_takes_the_place_of_an_expired_record: spares_expired_records_from_imports,
            an_import_over_a_tombstone_lowers_no_version: imports_with_any_version,
            an_import_over_a_collected_tombstone_lowers_no_version: imports_with_any_version,
            an_import_that_replaces_takes_the_place_of_anything: keeps_what_imports_replace,
            an_import_that_replaces_has_its_version: deletes_before_it_replaces,
            a_record_that_was_replaced_is_of_no_group: replaces_within_the_group,
            a_revision_is_above_all_that_are_imported: repeats_revisions_of_imports,
            the_log_goes_on_from_an_import: chains_by_counting,
            an_absurd_origin_is_refused: clamps_origins,
            the_greatest_origin_is_counted_on_from: counts_origins_inexactly,
            the_values_of_imports_count: ignores_the_bytes_of_a_commit,
        }
        idempotency {
            a_commit_repeated_under_its_key_is_made_once: applies_replays_twice,
            a_key_used_for_another_request_is_refused: ignores_the_request_hash,
            a_repetition_is_answered_whatever_has_changed: judges_preconditions_before_replays,
            an_answer_can_be_recalled: forgets_answers,
            a_refused_commit_keeps_no_answer: keeps_answers_of_refusals,
            a_commit_that_changes_nothing_keeps_its_answer: forgets_answers_of_nothing,
            keys_of_two_principals_are_two: confuses_principals,
            old_and_surplus_answers_are_forgotten: keeps_answers_forever,
        }
        groups {
            a_group_is_over_at_its_deadline: renews_what_is_over,
            a_renewal_moves_the_deadline: ignores_renewals,
            a_renewal_can_give_another_time_to_live: ignores_times_to_live,
            another_time_to_live_takes_nothing_away: cuts_lives_short,
            a_secret_replaces_a_live_group_and_others_wait: ignores_secrets,
            an_instance_never_repeats: repeats_instances,
            a_closed_group_is_over_at_once: closes_late,
            an_old_instance_closes_nothing: closes_any_instance,
            an_old_instance_cannot_be_renewed: renews_any_instance,
            a_pulse_reports_what_moved_since: ignores_since_when,
            a_pulse_reports_a_closed_group: hides_closed_groups,
            groups_leave_no_log_entry: logs_renewals,
            a_bound_record_is_gone_at_the_deadline: keeps_expired_records_visible,
            a_record_of_a_replaced_instance_is_gone: binds_records_to_any_instance,
            a_record_can_be_bound_anew: binds_records_forever,
            a_put_under_a_group_that_is_over_is_refused: puts_under_dead_groups,
            an_expired_record_counts_as_absent: counts_expired_records,
            expired_records_are_deleted_in_a_marked_entry: forgets_to_mark_expiry,
            many_expired_records_are_deleted_by_and_by: expires_everything_at_once,
            large_expired_records_are_deleted_by_and_by: expires_everything_at_once,
            a_commit_can_want_a_group_live: ignores_that_a_group_must_live,
            a_verdict_needs_the_group_to_be_over: ignores_that_a_group_must_be_over,
            nobody_is_judged_gone_in_a_quarantine: ignores_the_quarantine,
            a_renewal_of_another_epoch_is_refused: renews_in_any_epoch,
            a_pulse_without_an_epoch_renews_nothing: takes_no_epoch_for_the_present_one,
            a_group_opens_in_the_present_epoch_only: opens_in_any_epoch,
            a_group_is_closed_in_the_present_epoch_only: closes_in_any_epoch,
            an_old_group_is_collected: remembers_closed_groups,
            a_collected_group_opens_with_a_greater_instance: restarts_instances_at_collection,
            a_group_replaced_too_often_waits: replaces_without_limit,
            a_group_can_be_replaced_again_at_the_first_deadline: counts_replacements_for_ever,
        }
        graces {
            nobody_is_judged_gone_for_a_silence_of_all: forgets_silences,
            a_bound_record_outlives_a_silence_of_all: forgets_silences,
            a_record_that_was_gone_before_a_silence_stays_so: closes_late,
            nothing_expires_in_a_silence_of_all: expires_records_in_a_grace,
            a_silence_of_all_prolongs_no_session: renews_what_is_over,
            one_renewal_is_enough_to_break_the_silence: begins_a_grace_with_each_renewal,
            renewals_do_not_prolong_a_grace: prolongs_graces,
            a_beat_tells_of_a_grace: keeps_graces_to_itself,
            a_pulse_that_renews_nothing_begins_no_grace: takes_any_pulse_for_a_renewal,
            who_asks_for_no_grace_gets_none: gives_grace_unasked,
        }
        leases {
            a_lease_is_granted_to_a_live_group_only: grants_to_the_dead,
            a_held_scope_is_refused_to_others: steals_leases,
            a_scope_is_free_at_the_holders_deadline: holds_forever,
            term_and_token_rise_with_each_holder: repeats_tokens,
            a_token_is_above_its_floor: ignores_the_token_floor,
            a_token_is_not_below_store_time: counts_tokens_from_one,
            a_holder_confirms_its_lease_unchanged: grants_anew_to_the_holder,
            a_released_scope_is_free: keeps_released_leases,
            a_token_goes_on_after_a_release: forgets_tokens_at_release,
            a_free_lease_is_forgotten_and_tokens_rise_all_the_same: forgets_nothing,
            what_somebody_may_still_trust_is_not_forgotten: forgets_what_is_held,
            an_old_token_releases_nothing: releases_by_scope_alone,
            a_lease_of_a_replaced_session_waits_for_its_deadline: forgets_the_barrier,
            each_lease_of_a_session_that_is_replaced_again_waits_for_its_own_deadline: moves_barriers_on,
            a_free_lease_stays_free: holds_again_what_was_free,
            a_group_is_kept_while_a_lease_waits_for_it: frees_leases_in_housekeeping,
            a_replaced_session_can_still_release: forgets_releases_of_the_replaced,
            a_lease_of_a_closed_group_is_free_at_once: blocks_after_closing,
            a_quarantine_grants_nothing_and_confirms_what_is: ignores_the_quarantine,
            a_fenced_write_needs_the_current_token: forgets_the_fence,
            a_fence_falls_with_its_holder: fences_by_token_alone,
            a_scope_is_handed_over_in_one_commit: acquires_before_it_releases,
            lease_changes_stand_in_the_log: logs_no_leases,
            released_leases_are_listed: hides_released_leases,
        }
        log {
            the_log_is_read_behind_a_revision: drops_a_log_entry,
            memory_tells_the_log_as_it_is: remembers_the_log_with_a_gap,
            a_log_page_keeps_to_its_limit: ignores_page_limits,
            a_waiting_reader_wakes_with_the_next_commit: does_not_wait,
            a_commit_that_races_a_wait_ends_it: subscribes_after_reading,
            a_wait_ends_without_news: waits_forever,
            a_reader_behind_the_trimmed_log_is_told: serves_gaps_silently,
            a_reader_ahead_of_the_log_is_told: trusts_the_future,
            the_log_is_trimmed_by_age_and_by_number: never_trims,
            tombstones_are_collected_at_their_age: collects_tombstones_early,
            housekeeping_without_work_changes_nothing: logs_housekeeping,
            housekeeping_of_another_epoch_is_refused: keeps_house_in_any_epoch,
        }
        limits {
            a_commit_of_too_many_writes_is_refused: splits_large_commits,
            a_commit_of_too_many_bytes_is_refused: ignores_the_bytes_of_a_commit,
            a_record_written_twice_in_one_commit_is_refused: takes_the_last_of_two,
            bad_names_are_refused: takes_any_name,
            a_value_that_is_too_large_is_refused: cuts_large_values,
            absurd_pages_are_refused: clamps_pages,
        }
    } };
}

/// As `every_rule`, for the rules of backends whose records outlive their process.
#[macro_export]
macro_rules! every_restart_rule {
    ($with:ident $($argument:tt)*) => { $with! { $($argument)*
        restarts {
            records_are_there_after_a_restart: loses_records_at_restart => "the records",
            imported_records_are_there_after_a_restart: forgets_writers_at_restart => "the imports",
            the_log_is_there_after_a_restart: loses_the_log_at_restart => "the log",
            leases_are_there_after_a_restart: loses_leases_at_restart => "the leases",
            the_epoch_goes_on_through_a_restart: begins_an_epoch_at_restart => "the epoch",
            revisions_go_on_after_a_restart: forgets_the_head_at_restart => "the revision before",
            versions_go_on_after_a_restart: forgets_versions_at_restart => "the version",
            a_version_floor_outlives_a_restart: forgets_version_floors_at_restart => "the floor",
            a_trimmed_log_stays_so_after_a_restart: forgets_trimming_at_restart => "what was trimmed",
            terms_and_tokens_go_on_after_a_restart: forgets_tokens_at_restart => "term and token",
            instances_go_on_after_a_restart: forgets_instances_at_restart => "a greater instance",
            an_instance_floor_outlives_a_restart: forgets_instances_at_restart => "the collected one",
            an_answer_outlives_a_restart: forgets_answers_at_restart => "made twice",
            a_lease_of_a_replaced_session_waits_through_a_restart:
                forgets_barriers_at_restart => "is not refused",
            what_ended_stays_ended_after_a_restart: revives_groups_at_restart => "cannot be renewed",
            a_record_taken_from_an_ended_group_stays_so_after_a_restart:
                revives_groups_at_restart => "cannot be renewed",
            a_long_deadline_is_kept_by_a_restart: renews_groups_at_restart => "the deadline",
            time_does_not_go_back_with_a_restart: believes_the_wall_clock => "store time",
        }
    } };
}
/// What a rule works on.
pub(crate) struct Trial {
    harness: Box<dyn Harness>,
    /// Stands for the present epoch where a call names none.
    pub store: Arc<dyn Store>,
}

pub(crate) const KEEP_ALL: Retention = Retention {
    log_age: Duration::from_secs(1_000_000),
    log_entries_max: usize::MAX,
    tombstone_age: Duration::from_secs(1_000_000),
    idempotency_age: Duration::from_secs(1_000_000),
    idempotency_entries_max: usize::MAX,
};

/// The time to live of most groups here: long enough for a real clock that goes on while a busy
/// machine does something else, and short enough that a restart gives it anew.
pub(crate) const TTL: Duration = Duration::from_secs(8);
pub(crate) const HALF: Duration = Duration::from_secs(4);

macro_rules! rules_of {
    ($($module:ident { $($rule:ident: $defect:ident $(=> $says:literal)?,)* })*) => {
        $(pub(crate) mod $module {
            $(
                pub(crate) async fn $rule(harness: Box<dyn $crate::harness::Harness>) {
                    let mut trial = $crate::suite::Trial::new(harness).await;
                    $crate::suite::$module::$rule(&mut trial).await;
                }
            )*
        })*
    };
}

/// Each rule as a function of a fresh store.
pub(crate) mod rule {
    every_rule!(rules_of);
    every_restart_rule!(rules_of);
}

impl Trial {
    pub(crate) async fn new(harness: Box<dyn Harness>) -> Self {
        let store = Arc::new(InEpoch::of(harness.store()).await);
        Self { harness, store }
    }

    /// The store itself.
    pub(crate) fn plain(&self) -> Arc<dyn Store> {
        self.harness.store()
    }

    pub(crate) async fn advance(&mut self, by: Duration) {
        self.harness.advance(by).await;
    }

    pub(crate) async fn quarantine(&self, length: Duration) {
        self.harness.quarantine(length).await;
    }

    pub(crate) async fn reopen(&mut self, wall_back: Duration) {
        // The harness must hold the last reference when it closes the store.
        self.store = Arc::new(omnirelay_store::MemoryStore::system());
        self.harness.reopen(wall_back).await;
        self.store = Arc::new(InEpoch::of(self.harness.store()).await);
    }

    /// Makes a commit that must be made.
    pub(crate) async fn done(&self, commit: Commit) -> Arc<LogEntry> {
        match self.store.commit(commit).await.expect("the commit is made") {
            CommitOutcome::Done(entry) => entry,
            CommitOutcome::Replayed { .. } => panic!("the commit was made before"),
        }
    }

    /// Makes a commit that must be refused for what the store holds.
    pub(crate) async fn refused(&self, commit: Commit) -> CommitError {
        match self.store.commit(commit).await {
            Ok(made) => panic!("the commit is not refused: {made:?}"),
            Err(CommitError::Store(failure)) => panic!("the store fails: {failure}"),
            Err(refusal) => refusal,
        }
    }

    /// Makes a commit that must be refused for the version of a record.
    pub(crate) async fn conflicts(&self, commit: Commit) {
        let refusal = self.refused(commit).await;
        assert!(matches!(refusal, CommitError::Conflict { .. }), "refused for something else: {refusal}");
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> Record {
        self.done(commit(vec![put(key, value)])).await.changes[0].after.clone()
    }

    pub(crate) async fn delete(&self, key: &str) -> Record {
        self.done(commit(vec![delete(key)])).await.changes[0].after.clone()
    }

    /// All records of the kind of these tests, tombstones included.
    pub(crate) async fn records(&self) -> Vec<Record> {
        self.scan(None, false, PAGE_MAX).await.records
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        self.records().await.into_iter().map(|record| record.id.key).collect()
    }

    pub(crate) async fn record(&self, key: &str) -> Option<Record> {
        self.records().await.into_iter().find(|record| record.id.key == key)
    }

    pub(crate) async fn scan(
        &self,
        after: Option<&str>,
        backwards: bool,
        limit: usize,
    ) -> omnirelay_store::ScanPage {
        let scan = Scan { kind: KIND, after: after.map(str::to_owned), backwards, limit };
        self.store.scan(scan).await.expect("a page")
    }

    /// Opens a group that must open.
    pub(crate) async fn open(&self, id: &str, ttl: Duration, secret: &str) -> GroupRef {
        match self.store.open_group(open(id, ttl, secret)).await.expect("an answer") {
            OpenedGroup::Open(group) => group.of,
            OpenedGroup::Held { until } => panic!("`{id}` is held until {until}"),
        }
    }

    pub(crate) async fn pulse(&self, renew: &[&GroupRef]) -> PulseAnswer {
        let renew = renew.iter().copied().cloned().collect();
        self.store.pulse(Pulse { renew, ..Pulse::default() }).await.expect("a beat")
    }

    /// Renews a group, which lives for `ttl` from then on.
    pub(crate) async fn renewed_for(&self, group: &GroupRef, ttl: Duration) -> PulseAnswer {
        let pulse = Pulse { renew: vec![group.clone()], ttl: Some(ttl), ..Pulse::default() };
        self.store.pulse(pulse).await.expect("a beat")
    }

    pub(crate) async fn close(&self, group: GroupRef) -> bool {
        self.store.close_group(Epoch(0), group).await.expect("an answer")
    }

    /// Whether this life of a group is live, asked without renewing it.
    pub(crate) async fn is_live(&self, of: &GroupRef) -> bool {
        let preconditions = vec![Precondition::GroupLive(of.clone())];
        match self.store.commit(Commit { preconditions, ..Commit::default() }).await {
            Ok(_) => true,
            Err(CommitError::GroupOver(told)) if told == *of => false,
            Err(other) => panic!("{other}"),
        }
    }

    pub(crate) async fn acquire(&self, scope: &str, holder: &GroupRef) -> Lease {
        self.done(leasing(vec![acquire(scope, holder, 0)])).await;
        self.lease(scope).await
    }

    pub(crate) async fn lease(&self, scope: &str) -> Lease {
        let leases = self.store.leases().await.expect("the leases").leases;
        leases.into_iter().find(|lease| lease.scope == scope).expect("a lease of the scope")
    }

    pub(crate) async fn head(&self) -> Revision {
        self.log(Revision(0)).await.head
    }

    pub(crate) async fn log(&self, after: Revision) -> LogPage {
        self.store.log(after, PAGE_MAX, Duration::ZERO).await.expect("a page of the log")
    }

    pub(crate) async fn housekeep(&self, keep: Retention) -> HousekeepingOutcome {
        self.store.housekeep(Epoch(0), keep).await.expect("a step of housekeeping")
    }
}

const KIND: RecordKind = RecordKind::of("thing");

pub(crate) fn id(key: &str) -> RecordId {
    RecordId::new(KIND, key)
}

pub(crate) fn commit(writes: Vec<Write>) -> Commit {
    Commit { writes, writer: "node-a".into(), ..Commit::default() }
}

pub(crate) fn leasing(leases: Vec<LeaseOp>) -> Commit {
    Commit { leases, writer: "node-a".into(), ..Commit::default() }
}

pub(crate) fn put(key: &str, value: &str) -> Write {
    Write::Put { id: id(key), value: Bytes::copy_from_slice(value.as_bytes()), group: None }
}

pub(crate) fn put_in(group: &GroupRef, key: &str, value: &str) -> Write {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Write::Put { id: id(key), value, group: Some(group.clone()) }
}

pub(crate) fn delete(key: &str) -> Write {
    Write::Delete { id: id(key) }
}

/// What a record of another registry was there.
pub(crate) fn origin(version: u64, revision: u64) -> RecordOrigin {
    RecordOrigin {
        version: Version(version),
        revision: Revision(revision),
        created_at: Millis(1_000),
        updated_at: Millis(2_000),
        writer: "node-z".into(),
    }
}

pub(crate) fn version(key: &str, version: u64) -> Precondition {
    Precondition::Version { id: id(key), version: Version(version) }
}

pub(crate) fn open(id: &str, ttl: Duration, secret: &str) -> OpenGroup {
    OpenGroup { epoch: Epoch(0), id: GroupId(id.into()), ttl, secret: secret.into() }
}

/// What a caller may take for the epoch of a store in `present`, the absence of one included.
pub(crate) fn other_epochs(Epoch(present): Epoch) -> [Epoch; 3] {
    [Epoch(0), Epoch(present - 1), Epoch(present + 1)]
}

pub(crate) fn acquire(scope: &str, holder: &GroupRef, token_floor: u64) -> LeaseOp {
    LeaseOp::Acquire { scope: scope.into(), holder: holder.clone(), token_floor }
}

pub(crate) fn release(scope: &str, token: u64) -> LeaseOp {
    LeaseOp::Release { scope: scope.into(), token }
}

pub(crate) fn forget(scope: &str) -> LeaseOp {
    LeaseOp::Forget { scope: scope.into() }
}

pub(crate) fn key(id: &str) -> IdempotencyKey {
    IdempotencyKey { principal: "ada".into(), method: "/test/Put".into(), id: id.into() }
}

pub(crate) fn once(id: &str, request_hash: u64, answer: &'static str) -> Option<Idempotency> {
    Some(Idempotency { key: key(id), request_hash, answer: Bytes::from_static(answer.as_bytes()) })
}
