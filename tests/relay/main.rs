//! Relays and their registry, from outside: real daemons on each store, killed, cut off and told nonsense, and agents in
//! two languages.
//!
//! What integrators are promised, and which tests show it. `every_promise_is_tested` reads these tables.
//!
//! | Register | tests |
//! | --- | --- |
//! | R-01 session ids are 128 random bits, new each time | `session_ids_are_random_and_new_each_time` |
//! | R-02 the answer names the agent and how much may be in flight | `register_names_the_agent_and_how_much_may_be_in_flight` |
//! | R-03 an id that is empty or none is INVALID_ARGUMENT | `ids_that_are_none_are_refused` |
//! | R-04 registering again begins another session in place of the one before | `registering_again_begins_another_session` |
//! | R-05 a session does not outlive its relay | `a_session_ends_with_its_relay` |
//! | R-06 what agent v0.1.0 does not say is not asked for | `what_agent_v0_1_0_does_not_say_is_not_asked_for`, `agents_in_another_language_are_served` |
//! | R-07 more sessions than there is room for are RESOURCE_EXHAUSTED | `more_sessions_than_there_is_room_for_are_refused` |
//! | R-08 a session without a stream ends with its time to live | `a_session_without_a_stream_ends_with_its_time_to_live` |
//!
//! | TelemetryStream | tests |
//! | --- | --- |
//! | T-01 missing metadata or header is INVALID_ARGUMENT | `streams_without_a_name_are_refused` |
//! | T-02 the unregistered are FAILED_PRECONDITION: "must register first" | `streams_of_the_unregistered_are_refused`, `a_session_ends_with_its_relay` |
//! | T-03 each frame is acknowledged by its seq | `each_frame_is_acknowledged_by_its_seq` |
//! | T-04 the end of a stream is a clean close | `the_end_of_a_stream_is_a_clean_close` |
//! | T-05 bare frames and envelopes on one path, told apart by the first message | `the_first_message_tells_the_shape`, `agents_in_another_language_are_served` |
//! | T-06 answers have the shape of the stream | `answers_have_the_shape_of_the_stream` |
//! | T-07 another shape later is INVALID_ARGUMENT | `another_shape_later_ends_the_stream` |
//! | T-08 `telemetryWire` forces one | `a_shape_can_be_forced` |
//! | T-09 bursts of a thousand | `bursts_of_a_thousand_are_acknowledged`, `agents_in_another_language_are_served` |
//! | T-10 duplicates are acknowledged again | `duplicates_are_acknowledged_again` |
//! | T-11 storms of reconnects | `storms_of_reconnects_are_served`, `nothing_acknowledged_is_missing_when_relays_are_killed` |
//! | T-12 a frame of 4 MiB and one byte ends only its stream | `too_large_messages_end_only_their_stream` |
//! | T-13 garbage ends only its stream | `garbage_ends_only_its_stream` |
//! | T-14 seq 0 is not taken | `frames_without_seq_are_not_taken` |
//! | T-15 a frame that was captured under another id than the header's is taken, and told once in a stream | `frames_captured_under_another_id_are_taken` |
//! | T-16 a frame of an earlier session of its agent is taken | `frames_of_an_earlier_session_are_taken` |
//! | T-17 a newer stream takes the place of the older, whose end takes nothing away | `a_newer_stream_replaces_the_older`, `the_end_of_an_older_session_leaves_the_newer_published`, `an_agent_has_eight_streams_at_most` |
//! | T-18 frames reach the file whole and in order, under the names of the contract | `frames_reach_the_file_whole_and_in_order` |
//! | T-19 OK is said when a frame is as durable as was configured | `what_is_acknowledged_survives_a_kill`, `queued_does_not_wait_for_the_sink`, `what_is_not_written_is_not_acknowledged` |
//! | T-20 what could not be taken is never acknowledged, and ends a stream of envelopes with UNAVAILABLE after a pause | `a_full_queue_loses_nothing_that_is_acknowledged`, `a_failing_sink_ends_streams_of_those_who_wait` |
//! | T-21 no more is held than `max_inflight` | `no_more_is_in_flight_than_was_said` |
//! | T-22 TLS, where it is configured | `agents_in_another_language_speak_tls`, `drones_are_asked_under_tls` |
//!
//! | sinks | tests |
//! | --- | --- |
//! | K-01 each sink gets every frame | `every_sink_gets_every_frame` |
//! | K-02 one that is slow or fails stops no other | `one_failing_sink_stops_no_other` |
//! | K-03 one that blocks makes streams wait, and drops nothing | `a_blocking_sink_makes_streams_wait` |
//! | K-04 a full disk loses nothing that was acknowledged | `a_full_disk_loses_nothing_that_is_acknowledged`, `a_folder_that_is_gone_loses_nothing_that_is_acknowledged` |
//! | K-05 a relay that stops loses nothing that was acknowledged | `nothing_acknowledged_is_lost_when_the_relay_stops` |
//!
//! | RelayControl | tests |
//! | --- | --- |
//! | C-01 drones are listed in their order | `drones_are_listed_in_order` |
//! | C-02 "" is INVALID_ARGUMENT, an unknown drone NOT_FOUND, a known one is told | `a_drone_is_asked_for_by_its_name` |
//! | C-03 contexts are set and cleared: APPLIED | `contexts_are_set_and_cleared`, `agents_in_another_language_are_served` |
//! | C-04 the same command again gets the first answer, another one under its id is ALREADY_EXISTS | `a_repeated_command_gets_the_first_answer` |
//! | C-05 missing ids, version 0 and too much are INVALID_ARGUMENT | `commands_without_what_they_need_are_refused`, `a_command_that_is_too_long_is_refused` |
//! | C-06 the unregistered are NOT_FOUND | `commands_to_the_unregistered_are_not_found` |
//! | C-07 no stream is UNAVAILABLE | `commands_without_a_stream_are_unavailable` |
//! | C-08 a legacy or undecided stream is FAILED_PRECONDITION | `commands_to_streams_that_take_none_are_refused` |
//! | C-09 a session that was replaced meanwhile is ABORTED | `a_command_to_a_session_that_was_replaced_is_aborted` |
//! | C-10 the caller's deadline is DEADLINE_EXCEEDED | `a_command_ends_with_its_callers_patience` |
//! | C-11 an answer with another context is INTERNAL | `an_answer_that_contradicts_the_command_is_internal` |
//! | C-12 what the agent says is passed on | `what_the_agent_says_of_a_command_is_passed_on` |
//! | C-13 answers that nobody waits for are ignored | `answers_that_nobody_waits_for_are_ignored` |
//! | C-14 commands from other hosts are refused | `commands_from_other_hosts_are_refused` |
//! | C-15 what later versions put into commands and answers is passed on | `what_later_versions_say_is_passed_on` |
//!
//! | Redis | tests |
//! | --- | --- |
//! | P-01 nothing is published unless `REDIS_ADDR` is set | `nothing_is_published_unless_it_is_asked_for` |
//! | P-02 `drone:{id}` is `{"relay_id","session_id"}` from Register on | `a_session_is_published_when_it_registers` |
//! | P-03 it lives for 45 s | `the_default_time_to_live_is_45_s` |
//! | P-04 it is refreshed while there is a stream | `a_session_that_streams_stays_published` |
//! | P-05 a clean disconnect deletes it | `a_clean_disconnect_unpublishes` |
//! | P-06 only that of its own session, and of its own relay | `the_end_of_an_older_session_leaves_the_newer_published`, `a_session_of_another_relay_is_left_alone` |
//! | P-07 that of a killed relay is gone with its time to live | `a_session_of_a_killed_relay_is_gone_with_its_time_to_live`, `a_killed_relay_is_gone_on_time_for_the_others` |
//! | P-08 Redis away at the start, in the middle, or slow stops and delays nothing | `redis_away_at_the_start_stops_nothing`, `redis_away_in_the_middle_stops_nothing`, `slow_redis_delays_nothing` |
//! | P-09 a `REDIS_DB` that is no number is 0 | `bad_database_numbers_are_taken_for_0` |
//! | P-10 `REDIS_PASSWORD` and `REDIS_DB` are used | `passwords_and_databases_are_used` |
//! | P-11 `RELAY_ID`, else the host's name | `the_relay_is_named_by_its_environment` |
//!
//! | health | tests |
//! | --- | --- |
//! | H-01 `/healthz` is 200 and JSON | `healthz_is_ok_while_the_process_lives` |
//! | H-02 `/readyz` is 200 once the sinks are up, else 503 and text | `readyz_is_ok_once_the_sinks_are_up` |
//! | H-03 `/metrics` has the names of the contract | `metrics_have_the_names_of_the_contract` |
//!
//! | AeroRegistry | tests |
//! | --- | --- |
//! | S-01 RegisterRelay is an idempotent upsert | `register_relay_is_an_idempotent_upsert` |
//! | S-02 it refuses what is none: INVALID_ARGUMENT | `register_relay_refuses_what_is_none` |
//! | S-03 HeartbeatRelay: only the registry's clock counts | `heartbeat_relay_moves_its_time_by_the_registrys_clock` |
//! | S-04 of the unknown: NOT_FOUND | `heartbeat_relay_of_the_unknown_is_not_found` |
//! | S-05 ListRelays is sorted and paged | `list_relays_is_sorted_and_paged` |
//! | S-06 RegisterAgent moves the placement | `register_agent_moves_the_placement` |
//! | S-07 it refuses what is none, in the order of the contract; an unknown relay is NOT_FOUND | `register_agent_refuses_what_is_none` |
//! | S-08 HeartbeatAgent: only the registry's clock counts | `heartbeat_agent_moves_its_times_by_the_registrys_clock` |
//! | S-09 of the unknown: NOT_FOUND | `heartbeat_agent_of_the_unknown_is_not_found` |
//! | S-10 of a relay that holds it no more: FAILED_PRECONDITION; without a relay it is taken | `heartbeat_agent_of_a_former_owner_is_refused` |
//! | S-11 ListAgents is sorted, filtered and paged | `list_agents_is_sorted_filtered_and_paged` |
//! | S-12 GetAgentPlacement says who holds it | `get_agent_placement_says_who_holds_it` |
//! | S-13 it refuses what is none | `get_agent_placement_refuses_what_is_none` |
//! | S-14 Watch tells what comes, moves and goes, and goes on where it was | `a_watch_tells_what_comes_moves_and_goes`, `a_watch_goes_on_behind_its_cursor`, `a_watch_tells_what_it_was_asked_for` |
//! | S-15 heartbeats are not audited, and no events | `heartbeats_leave_no_trail`, `a_watch_tells_what_comes_moves_and_goes` |
//! | S-16 live only while the time to live is valid, on every read | `what_is_not_heard_of_ends_with_its_time_to_live`, `what_is_heard_of_lives_on` |
//! | S-17 placements live only while agent and relay do | `agents_end_with_their_relay`, `an_agent_that_moves_belongs_to_its_new_relay` |
//! | S-18 best effort, and marked, while the store is away | `without_its_store_the_registry_tells_what_it_knew` |
//! | S-19 relays tell it of themselves and of their agents, here or elsewhere | `relays_tell_the_registry_of_themselves_and_their_agents` |
//!
//! | where it must hold | tests |
//! | --- | --- |
//! | W-01 a killed relay is gone on time, as other daemons see it | `a_killed_relay_is_gone_on_time_for_the_others` |
//! | W-02 its agents are taken over | `an_agent_is_taken_over_by_another_daemon`, `an_agent_with_two_streams_belongs_to_the_later_relay` |
//! | W-03 one that stops is gone at once | `a_relay_that_stops_is_gone_at_once` |
//! | W-04 half-open connections are noticed | `agents_that_vanish_are_noticed` |
//! | W-05 what agents in another language had acknowledged is in the files, however often relays are killed | `nothing_acknowledged_is_missing_when_relays_are_killed` |
//! | W-06 what operators list is what others read in Redis | `drones_list_and_redis_agree` |
#![allow(clippy::unwrap_used, reason = "a test says so when it fails")]

use omnirelay_support::{network, process, servers, tables};

mod agent;
mod alert_faults;
mod calls;
mod command_line;
mod control;
mod coverage;
mod dead_connections;
mod durability;
mod foreign;
mod health;
mod kills;
mod lifetimes;
mod meshes;
mod published;
mod python_agent;
mod register;
mod registry;
mod secured;
mod shapes;
mod stream;
mod watch;
mod world;
