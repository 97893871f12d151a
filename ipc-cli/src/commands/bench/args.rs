//! What `ipc-cli bench` may be told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Measure this machine: latency and throughput of every transport, beside the raw limits.
///
/// Round trips and one-way streams between this process and another. The limit of pipes and sockets
/// is the same exchange by bare system calls; that of shared memory is one cache line bounced between
/// two threads and one plain copy each way. Takes less than a minute.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct BenchArgs {
    /// Measure only these; may be given more than once.
    #[arg(long, value_enum, value_name = "TRANSPORT", value_delimiter = ',')]
    pub(crate) transport: Vec<Transport>,
    /// Bytes of a message, up to 16777216; may be given more than once, at most 8 times [default: 64,
    /// 4096, 65536, 1048576].
    #[arg(long, value_name = "BYTES", value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=SIZE_MAX))]
    pub(crate) size: Vec<u32>,
    /// Print one JSON object per transport and size instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also draw a chart into FILE.
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Be the other process.
    #[arg(long, value_enum, hide = true)]
    pub(crate) serve: Option<Served>,
}

const SIZE_MAX: i64 = 16 << 20;

const HELP: &str = "\
Examples:
  ipc-cli bench
  ipc-cli bench --transport ring,unix --size 64 --json
  ipc-cli bench --plot machine.svg

Exit status: 0 everything was measured; 1 something could not be; 2 the command line was wrong; 128 + N ended by the signal N.";

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Shared memory.
    Ring,
    /// A unix socket.
    Unix,
    /// TCP within this machine.
    Tcp,
    /// Two pipes.
    Pipe,
}

impl Transport {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Pipe => "pipe",
        }
    }

    /// What its limit is called.
    pub(super) fn limit_name(self) -> &'static str {
        match self {
            Self::Ring => "memory",
            Self::Unix => "raw unix socket",
            Self::Tcp => "raw tcp socket",
            Self::Pipe => "raw pipe",
        }
    }
}

/// What the other process finds among its inherited descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Served {
    /// A channel at 3.
    Channel,
    /// The channel of two pipes at 3 and 4.
    Pipe,
    /// Bare descriptors at 3, to read from, and 4, to write to.
    Raw,
}
