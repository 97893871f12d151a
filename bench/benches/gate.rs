//! Counts the instructions of the hot paths under callgrind, which noise cannot touch.
//!
//! `cargo run -p bench --bin gate` runs it and compares with the committed baseline.

// The macros' modules, and their way of handing arguments on.
#![expect(
    missing_docs,
    reason = "what gungraun's macros make has no documentation"
)]

use bench::hot::{Hot, channels, events, frames, mailboxes, placement};
use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use ipc_marshal::{Bincode, Framing};

/// Which copy of `memcpy` and its like the C library takes depends on the processor; this pins the
/// plainest, which every x86-64 has. Other C libraries and processors ignore it.
const GLIBC_TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,\
    -AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-Prefer_ERMS,-Prefer_FSRM,Fast_Unaligned_Copy";

/// How often each operation is done: enough for what happens now and then to show.
const TIMES: usize = bench::gate::TIMES;

fn run(mut hot: Hot) -> Hot {
    hot.times(TIMES);
    hot
}

#[library_benchmark]
#[bench::ring_push_pop_64(channels::ring_push_pop(64))]
#[bench::ring_push_pop_4096(channels::ring_push_pop(4096))]
#[bench::ring_push_pop_65536(channels::ring_push_pop(65_536))]
#[bench::ring_reserve_pop_64(channels::ring_reserve_pop(64))]
#[bench::ring_arm(channels::ring_arm())]
#[bench::pipe_round_64(channels::pipe_round(64))]
#[bench::socket_round_64(channels::socket_round(64))]
fn core(hot: Hot) -> Hot {
    run(hot)
}

#[library_benchmark]
#[bench::frame_encode_64(frames::frame_encode(Framing::Native, 64))]
#[bench::frame_encode_4096(frames::frame_encode(Framing::Native, 4096))]
#[bench::frame_encode_pyre_64(frames::frame_encode(Framing::PYRE, 64))]
#[bench::frame_decode_64(frames::frame_decode(Framing::Native, 64))]
#[bench::frame_decode_4096(frames::frame_decode(Framing::Native, 4096))]
#[bench::frame_decode_pyre_64(frames::frame_decode(Framing::PYRE, 64))]
#[bench::record_encode_bincode(frames::record_encode(Bincode))]
#[bench::record_decode_bincode(frames::record_decode(Bincode))]
#[bench::duct_ring_round(frames::duct_ring_round())]
#[bench::duct_ring_bytes_4096(frames::duct_ring_bytes(4096))]
#[bench::duct_socket_round(frames::duct_socket_round())]
fn marshal(hot: Hot) -> Hot {
    run(hot)
}

#[library_benchmark]
#[bench::selector_turn_1of100(events::selector_turn(100))]
#[bench::post_turn(events::post_turn())]
#[bench::timer_arm_cancel_10000(events::timer_arm_cancel(10_000))]
#[bench::timer_lane_10000(events::timer_lane(10_000))]
#[bench::timer_fire_10000(events::timer_fire(10_000))]
fn dispatch(hot: Hot) -> Hot {
    run(hot)
}

#[library_benchmark]
#[bench::plan_step(placement::plan_step())]
fn exchange(hot: Hot) -> Hot {
    run(hot)
}

#[library_benchmark]
#[bench::mailbox_tell_64(mailboxes::mailbox_tell(64))]
#[bench::mailbox_ask(mailboxes::mailbox_ask())]
fn actors(hot: Hot) -> Hot {
    run(hot)
}

library_benchmark_group!(
    name = hot_paths,
    benchmarks = [core, marshal, dispatch, exchange, actors]
);

main!(
    // No cache simulation: only instructions are compared.
    config = LibraryBenchmarkConfig::default()
        .env("GLIBC_TUNABLES", GLIBC_TUNABLES)
        .tool(Callgrind::with_args(["--cache-sim=no", "--branch-sim=no"]));
    library_benchmark_groups = hot_paths
);
