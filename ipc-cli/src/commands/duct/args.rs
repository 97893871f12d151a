//! What `ipc-cli duct` may be told.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ipc_core::Address;
use ipc_marshal::{AnyCodec, Framing};

/// Exchange messages with another program, as lines of JSON.
///
/// Each line of standard input is a JSON value and is sent as one message; each message received is
/// printed as one line of JSON. The end of standard input ends the sending, not the receiving.
#[derive(Debug, Args)]
#[command(after_long_help = DUCT_HELP)]
pub(crate) struct DuctArgs {
    #[command(subcommand)]
    pub(crate) side: Side,
}

const DUCT_HELP: &str = "\
Examples:
  ipc-cli duct listen unix:/tmp/weather --echo
  echo '{\"celsius\":-3.5}' | ipc-cli duct connect unix:/tmp/weather

  With a `multiprocessing.connection.Listener` of Python that has an authkey:
  ipc-cli duct connect tcp:127.0.0.1:6000 --framing multiprocessing --authkey-file key

Exit status: 0 the conversation ended well; 1 it failed, or lines could not be sent; 2 the command line was wrong; 128 + N ended by the signal N.";

/// Which end of the link this is.
#[derive(Debug, Subcommand)]
pub(crate) enum Side {
    /// Accept peers at ADDRESS, one after the other (with --echo, up to 64 at a time).
    ///
    /// The first line on standard error is the address that was really bound: port 0 becomes a
    /// number. Lines of standard input go to the peer that is there when they come.
    #[command(after_long_help = LISTEN_HELP)]
    Listen(LinkArgs),
    /// Connect to the peer that listens at ADDRESS.
    #[command(after_long_help = CONNECT_HELP)]
    Connect(LinkArgs),
}

const LISTEN_HELP: &str = "\
Examples:
  ipc-cli duct listen tcp:127.0.0.1:0 --framing ductworks --once
  ipc-cli duct listen ring:@weather --echo

Exit status: 0 the conversation ended well; 1 it failed, or lines could not be sent; 2 the command line was wrong; 128 + N ended by the signal N.";

const CONNECT_HELP: &str = "\
Example:
  seq 3 | ipc-cli duct connect unix:/tmp/port --framing pyre

Exit status: 0 the conversation ended well; 1 it failed, or lines could not be sent; 2 the command line was wrong; 128 + N ended by the signal N.";

/// How the two ends talk; they must agree on it.
#[derive(Clone, Debug, Args)]
pub(crate) struct LinkArgs {
    /// tcp:HOST:PORT, unix:PATH, unix:@NAME, or ring:PATH and ring:@NAME for shared memory.
    #[arg(value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) address: Address,
    /// How the bytes are cut into messages.
    #[arg(long, value_enum, default_value_t = FramingName::Native)]
    pub(crate) framing: FramingName,
    /// How a message is written in bytes [default: pickle for pyre and multiprocessing, else json].
    ///
    /// With bincode and postcard, whose bytes do not say what they mean, a message is a string that
    /// holds the line. With raw, it is the bytes of a JSON string, or a list of bytes.
    #[arg(long, value_enum)]
    pub(crate) codec: Option<CodecName>,
    /// Send everything that is received back, instead of standard input.
    #[arg(long)]
    pub(crate) echo: bool,
    /// Authenticate both ends by the key in FILE, as Python's authkey; one line break at its end is
    /// not part of it.
    #[arg(long, value_name = "FILE")]
    pub(crate) authkey_file: Option<PathBuf>,
    /// End after the first peer; nobody else can connect meanwhile.
    #[arg(long)]
    pub(crate) once: bool,
}

fn parse_address(text: &str) -> Result<Address, String> {
    text.parse::<Address>().map_err(|error| error.to_string())
}

impl LinkArgs {
    pub(crate) fn codec(&self) -> AnyCodec {
        let codec = self.codec.unwrap_or(match self.framing {
            FramingName::Pyre | FramingName::Multiprocessing => CodecName::Pickle,
            FramingName::Native | FramingName::Ductworks => CodecName::Json,
        });
        match codec {
            CodecName::Bincode => AnyCodec::Bincode,
            CodecName::Json => AnyCodec::Json,
            CodecName::Msgpack => AnyCodec::MessagePack,
            CodecName::Postcard => AnyCodec::Postcard,
            CodecName::Pickle => AnyCodec::Pickle,
            CodecName::Raw => AnyCodec::Raw,
        }
    }
}

/// The framings, by the names of those who use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FramingName {
    /// This workspace's own, with a hand-shake.
    Native,
    /// Ductworks' message ducts.
    Ductworks,
    /// Pyre's pickler.
    Pyre,
    /// Python's multiprocessing.connection.
    Multiprocessing,
}

impl FramingName {
    pub(crate) fn framing(self) -> Framing {
        match self {
            Self::Native => Framing::Native,
            Self::Ductworks => Framing::Ductworks,
            Self::Pyre => Framing::PYRE,
            Self::Multiprocessing => Framing::Multiprocessing,
        }
    }
}

/// The codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CodecName {
    Bincode,
    Json,
    #[value(alias = "messagepack")]
    Msgpack,
    Postcard,
    Pickle,
    Raw,
}
