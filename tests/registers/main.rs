//! Registers and their advertisements, from outside: real daemons on each store, restarted, cut off and told nonsense.
//!
//! One daemon is a catalogue of registers and a pool of advertisements. Most tests use one daemon for each, with stores
//! of their own, so that either can be away while the other is not. The catalogue is what Sorcha calls its register
//! service, the pool its peer service.
//!
//! What is required, and which tests show it. `every_requirement_is_tested` reads these tables.
//!
//! | requirement | tests |
//! | --- | --- |
//! | FR-001 persisted, with a time to live | `fr_001_entries_have_five_minutes_unless_it_is_set`, `fr_001_entries_that_nobody_refreshes_expire` |
//! | FR-002 loaded at the start, and verified again | `fr_002_loaded_entries_are_unverified_until_they_are_confirmed`, `a_restarted_node_serves_what_it_advertised_as_unverified_until_it_is_pushed_again`, `us4_1_withdrawn_entries_go_at_once_and_the_others_are_there_after_a_restart` |
//! | FR-003 pushed when the catalogue starts | `us2_1_registers_are_advertised_when_the_catalogue_starts`, `pushes_speak_the_contract_of_sorchas_peer_service` |
//! | FR-004 tried again with backoff | `us2_2_unreachable_pool_is_tried_again_until_it_answers`, `failing_peer_service_is_told_of_and_tried_again_with_backoff` |
//! | FR-005 many in one call | `register_services_are_answered_byte_by_byte`, `a_body_of_16_mib_is_taken_and_a_larger_one_refused` |
//! | FR-006 reconciled at an interval | `fr_006_the_catalogue_pushes_all_at_every_interval`, `us3_1_lost_advertisement_is_restored` |
//! | FR-007 a flag that changes | `fr_007_flags_that_change_reach_memory_and_store` |
//! | FR-008 a register that is deleted | `edge_deleted_while_running` |
//! | FR-009 idempotent | `us3_3_reconciliation_without_a_difference_changes_nothing` |
//! | FR-010 serves while the store is away | `edge_store_away_at_start`, `edge_store_away_in_the_middle`, `edge_store_away_and_back` |
//! | FR-011 full sync | `fr_011_full_sync_is_about_what_its_producer_pushed`, `an_empty_list_withdraws_all_with_full_sync_only` |
//! | SC-001 | `sc_001_all_is_shown_after_a_full_restart` |
//! | SC-002 | `sc_002_pool_that_restarts_alone_shows_what_it_had` |
//! | SC-003 | `sc_003_register_made_while_the_pool_was_away_is_shown_afterwards` |
//! | SC-004 | `sc_004_hundred_registers_are_advertised_at_the_start` |
//! | SC-005 | `sc_005_reads_are_answered_while_all_is_reconciled` |
//! | SC-006 | `edge_rolling_restart_in_every_order`, `edge_register_service_first` |
//!
//! What other pools of advertisements get wrong, and which tests show that this one does not.
//!
//! | defect | tests |
//! | --- | --- |
//! | D-01 an entry runs out just before it is refreshed | `what_is_true_never_runs_out_and_is_refreshed_without_an_event`, `what_an_outside_producer_pushes_once_in_a_ttl_never_blinks_and_ends_when_it_stops`, `fr_001_entries_that_nobody_refreshes_expire` |
//! | D-02 what is pushed unchanged is not refreshed | `what_an_outside_producer_pushes_once_in_a_ttl_never_blinks_and_ends_when_it_stops`, `fr_001_entries_that_nobody_refreshes_expire` |
//! | D-03 memory never expires | `fr_001_entries_that_nobody_refreshes_expire`, `us4_1_entries_of_a_dead_node_go_with_their_ttl` |
//! | D-04 a push of many ignores the flag, loses texts, resets versions | `fr_007_flags_that_change_reach_memory_and_store`, `versions_never_go_back` |
//! | D-05 what is unchanged counts as updated | `versions_never_go_back`, `us3_3_reconciliation_without_a_difference_changes_nothing` |
//! | D-06 what is removed is counted in the store only | `edge_store_away_in_the_middle` |
//! | D-07 full sync removes what others pushed | `fr_011_full_sync_is_about_what_its_producer_pushed` |
//! | D-08 writes overtake each other | `thousand_flips_end_in_the_right_state`, `a_thousand_flips_of_one_flag_end_in_the_right_state`, `a_thousand_flips_in_a_second_are_a_few_pushes_and_end_right` |
//! | D-09 nothing is written when the store is back | `edge_store_away_at_start`, `edge_store_away_in_the_middle`, `edge_store_away_and_back` |
//! | D-10 private entries are told to others | `us4_1_registers_of_one_node_are_seen_on_another`, `what_is_hidden_is_seen_by_its_own_node_only` |
//! | D-11 entries of others are lost at the start, and stay when they are withdrawn | `us4_1_withdrawn_entries_go_at_once_and_the_others_are_there_after_a_restart` |
//! | D-12 a deletion does not withdraw | `edge_deleted_while_running` |
//! | D-13 anybody may push: here whoever is on the host, for nobody proves who he is yet beyond coming over loopback; a daemon that others can reach does not start unless `--insecure` says so; what changes something is declared to need `mesh.operate`, which a caller without it is refused | `strangers_are_not_served_without_authentication`, `a_missing_scope_is_named` |
#![allow(clippy::unwrap_used, reason = "a test says so when it fails")]

use omnirelay_support::{process, servers, tables};

mod contract;
mod coverage;
mod demands;
mod edges;
mod intake;
mod mesh;
mod outages;
mod peer_service;
mod pushes;
mod requirements;
mod stories;
mod storms;
mod world;
