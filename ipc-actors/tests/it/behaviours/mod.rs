//! What actors must be seen to do, with real processes: fifteen behaviours that a survey of actor
//! libraries asks for (`a01` to `a15`, and cheap ones after them), fifteen that the specification of
//! their ancestor ends with (`p01` to `p15`), and the five departures from OTP that are known of others
//! (`p1` to `p5`). Where a test elsewhere in this crate shows one, or a part of it, it is named here.
//!
//! `IPC_ACTORS_ROUNDS=200` shows each that often in one process ([`alone`]), `IPC_ACTORS_SECONDS=30` has
//! workers recycled for so long.
//!
//! | | behaviour | shown by |
//! |---|---|---|
//! | a01 | killed with a hundred asks in flight | `b01_killed` |
//! | a02 | fault, abort, overflow, illegal instruction | `b02_*`; `processes::whatever_ends_the_process_only_that_actor_comes_back` |
//! | a03 | stuck in a loop, a read, a stop, a lock | `b03_*`; `processes::a_stuck_actor_is_found_killed_and_replaced` |
//! | a04 | the arbiter is killed | `b04_*`; `application::when_the_arbiter_is_killed_its_workers_end_by_themselves`, `application::workers_outlive_a_killed_arbiter_where_they_have_a_refuge` |
//! | a05 | the thread that spawned is gone | `b05_spawners` |
//! | a06 | zombies, other children, SIGCHLD, first process | `b06_children` |
//! | a07 | process numbers come again | `b07_numbers` |
//! | a08 | crash loops | `b08_crash_loop`; `supervision::histories` for all orders; `supervision::rules` for random delays |
//! | a09 | descriptors | `b09_*`; `processes::many_lives_leak_nothing` |
//! | a10 | ten thousand signals | `b10_signals` |
//! | a11 | recycling under load (a pool promises no order between its workers) | `b11_recycling`; `messages::many_senders_keep_their_own_order` for one actor |
//! | a12 | the next version, and a broken one | `b12_upgrade`; `upgrade::usr2_starts_the_program_anew_and_no_connection_is_lost` |
//! | a13 | limits of memory, processor, disk, rights | `b13_*`; `b02_*` for the disk |
//! | a14 | hostile clients | `b14_*`; `hostile` |
//! | a15 | faults in shared memory | `b15_memory`; rings by themselves: `hostile`, `killed` and `in_place` of `ipc-core` |
//! | a16-a19 | clock jumps, fork bomb, no standard streams, a debugger's pause | `extras` |
//! | a20 | a socket and a watch dog from systemd | `upgrade::systemd_gives_a_socket_and_hears_how_it_goes` |
//! | p01 | a spawn is done when the actor serves | `p_lives` |
//! | p02 | a process has another spawned | `among::a_spawn_requested_by_a_process_is_done_by_the_arbiter` |
//! | p03 | starts that crash or hang | `p_lives`; `a08` for what comes after; not for ever: `pools::a_pool_does_not_try_for_ever_to_come_up` |
//! | p04 | as many workers as shall be | `pools::killed_workers_are_replaced_and_their_work_is_done_by_others`, `pools::it_is_resized_while_it_works`; by age: `simulated::workers_of_an_age_are_replaced_and_pools_can_be_changed`; never more: `supervision::pools` |
//! | p05 | silent after it was heard of | `p_lives` |
//! | p06 | long jobs | `processes::a_long_job_of_a_cpu_bound_actor_and_many_short_ones_of_any_are_progress`, `processes::a_cpu_bound_actor_answers_for_itself_while_it_works`, `processes::a_stuck_actor_is_found_killed_and_replaced` |
//! | p07 | exactly so many requests | `pools::each_worker_serves_exactly_so_many_and_no_message_is_lost` |
//! | p08 | hooks and the bound of a stop | `p_lives` |
//! | p09 | signals that end the program | `p_program` |
//! | p10 | a signal to one worker | `application::a_worker_can_be_ended_alone_and_is_replaced` |
//! | p11 | the program is killed | `application::when_the_arbiter_is_killed_its_workers_end_by_themselves` |
//! | p12 | keys | `p_messages`, `p12_auth`; rights: `remote::over_tcp_a_key_is_needed_and_gives_no_more_than_was_granted`, `hostile::each_key_has_its_rights_and_strangers_have_few`; `run` and `spawn`: `operating` |
//! | p13 | slow and fast, nothing, wrong, dead | `p_messages`, `p13_messaging`; wrong frames: `hostile::frames_that_are_changed_repeated_or_swallowed_end_the_connection`; too long: `remote::a_message_that_is_too_long_is_refused`; unknown commands: `operating::a_published_pool_is_called_like_one_actor` |
//! | p14 | pid file and daemon | `p_program`; `application::a_second_instance_is_refused`; a stale one: p11; `upgrade::a_daemon_has_a_session_and_no_terminal_and_says_how_its_start_went` |
//! | p15 | each job once | `p_program`; layers: `settings::each_layer_beats_the_one_before`; `upgrade::operators_look_at_settings_and_change_them_while_it_runs`, `upgrade::settings_that_change_reach_the_workers_and_nothing_is_lost` |
//! | P1 | restarts are counted in a window that slides | `supervision::departures::p1_*` |
//! | P2 | a temporary sibling stays down | `supervision::departures::p2_*` |
//! | P3 | a busy sibling delays a restart by its time-out only | `supervision::departures::p3_*` |
//! | P4 | children stop in reverse and start in order | `supervision::departures::p4_*` |
//! | P5 | normal exits beyond the limit end the supervisor | `supervision::departures::p5_*` |

mod alone;
mod b01_killed;
mod b02_faults;
mod b03_stuck;
mod b04_adopted;
mod b04_orphans;
mod b05_spawners;
mod b06_children;
mod b07_numbers;
mod b08_crash_loop;
mod b09_descriptors;
mod b10_signals;
mod b11_recycling;
mod b12_upgrade;
mod b13_limits;
mod b14_hostile;
mod b15_memory;
mod extras;
mod p12_auth;
mod p13_messaging;
mod p_lives;
mod p_messages;
mod p_program;
mod served;
mod victim;
mod witness;

pub(crate) use alone::{alone, alone_by, figure, namespace, note, runs, skipped};
pub(crate) use victim::Victim;
pub(crate) use witness::{Job, Plan, Witness};
