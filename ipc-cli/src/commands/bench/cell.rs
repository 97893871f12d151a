//! One transport and size, measured in turns with its limit.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::args::Transport;
use super::link::Link;
use super::memory;

/// How often the two take turns: what disturbs the machine for a while disturbs both.
const ROUNDS: usize = 3;

/// How many parts a cell's time has: round trips and stream, each of the transport and its limit.
pub(super) const PARTS: u32 = 4 * ROUNDS as u32;

/// The most round trips of a batch, and messages of a stream.
const COUNT_MAX: u32 = 1 << 20;

/// What was measured of a transport or limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) rtt_us_p50: f64,
    /// Limits that are computed have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rtt_us_p99: Option<f64>,
    pub(super) msgs_per_s: f64,
    pub(super) mib_per_s: f64,
}

/// Measures a transport and its limit, for about `slice` in each part. `bounce_ns` is what a cache
/// line needs to another CPU and back.
///
/// # Errors
///
/// When a link cannot be made or fails.
pub(super) fn measure(
    transport: Transport,
    size: u32,
    slice: Duration,
    bounce_ns: f64,
) -> Result<(Figures, Figures)> {
    let mut ours = Probe::new(Link::channel(transport)?, size, slice)?;
    let raw = Link::raw(transport)?;
    let mut raw = raw.map(|link| Probe::new(link, size, slice)).transpose()?;
    for _ in 0..ROUNDS {
        ours.round()?;
        if let Some(raw) = &mut raw {
            raw.round()?;
        }
    }
    let limit = raw.map_or_else(|| memory_limit(size, slice, bounce_ns), Probe::figures);
    Ok((ours.figures(), limit))
}

/// One cache line there and back, and one copy each way: copying out overlaps with copying in.
fn memory_limit(size: u32, slice: Duration, bounce_ns: f64) -> Figures {
    let copy = memory::copy(size, slice);
    figures(size, (bounce_ns + 2.0 * copy) / 1e3, None, 1e9 / copy)
}

fn figures(size: u32, p50: f64, p99: Option<f64>, rate: f64) -> Figures {
    let mib = rate * f64::from(size) / f64::from(1 << 20);
    Figures {
        rtt_us_p50: rounded(p50),
        rtt_us_p99: p99.map(rounded),
        msgs_per_s: rate.round(),
        mib_per_s: rounded(mib),
    }
}

/// To three digits after the point, so that it prints short.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// What is gathered of one link.
struct Probe {
    link: Link,
    size: u32,
    slice_ns: u64,
    /// Round trips in a batch, and messages in a stream, that take about a slice.
    trips: u32,
    messages: u32,
    rtts_ns: Vec<u64>,
    rates: Vec<f64>,
}

impl Probe {
    /// Warms up and finds out how many fill a slice.
    fn new(link: Link, size: u32, slice: Duration) -> Result<Self> {
        let mut probe = Self {
            link,
            size,
            slice_ns: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
            trips: 0,
            messages: 0,
            rtts_ns: Vec::new(),
            rates: Vec::new(),
        };
        let mut total = 0;
        probe.link.round_trips(size, 9, |took| total += took)?;
        probe.trips = counts(probe.slice_ns, total / 8).max(2);
        let mut batch = 4;
        loop {
            let took = probe.link.stream(size, batch)?;
            if took > probe.slice_ns / 4 || batch >= COUNT_MAX {
                probe.messages = counts(probe.slice_ns, took / u64::from(batch));
                return Ok(probe);
            }
            batch *= 2;
        }
    }

    fn round(&mut self) -> Result<()> {
        let mut left = i128::from(self.slice_ns);
        let rtts = &mut self.rtts_ns;
        // In batches: the machine may have become slower since their number was found out.
        let batch = (self.trips / 8).max(2);
        while left > 0 {
            self.link.round_trips(self.size, batch, |took| {
                left -= i128::from(took);
                rtts.push(took);
            })?;
        }
        let took = self.link.stream(self.size, self.messages)?;
        self.rates
            .push(f64::from(self.messages) * 1e9 / took.max(1) as f64);
        Ok(())
    }

    fn figures(mut self) -> Figures {
        self.rtts_ns.sort_unstable();
        self.rates.sort_unstable_by(f64::total_cmp);
        let microseconds = |per_cent: usize| {
            let index = (self.rtts_ns.len() - 1) * per_cent / 100;
            self.rtts_ns[index] as f64 / 1e3
        };
        let rate = self.rates[self.rates.len() / 2];
        figures(self.size, microseconds(50), Some(microseconds(99)), rate)
    }
}

/// How many things of `each` nanoseconds fill a slice.
fn counts(slice_ns: u64, each: u64) -> u32 {
    let count = slice_ns / each.max(1);
    u32::try_from(count)
        .unwrap_or(COUNT_MAX)
        .clamp(1, COUNT_MAX)
}
