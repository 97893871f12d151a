//! How a port is found: addresses and their spelling.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How a port is found. The kind of address chooses the kind of channel.
///
/// | spelling | channel |
/// |---|---|
/// | `tcp:HOST:PORT`, `ip:HOST:PORT` | TCP, IPv4 or IPv6; an IPv6 literal stands in brackets |
/// | `ip4:HOST:PORT`, `ip6:HOST:PORT` (also `ipv4:`, `ipv6:`) | TCP, one family only |
/// | `unix:PATH`, `local:PATH` | unix socket at a path |
/// | `unix:@NAME`, `local:@NAME` | unix socket in Linux's abstract name space |
/// | `ring:PATH`, `ring:@NAME` | shared memory, negotiated over that unix socket |
///
/// The `ip*:` and `local:` spellings are those of pyre's `inet` schema. In a path or name, `%` and two
/// hexadecimal digits stand for one byte; [`Display`](fmt::Display) writes `%`, control characters, bytes that are not
/// UTF-8 and a leading `@` of a path in that way, so that every address survives the round trip.
///
/// # Examples
///
/// ```
/// use ipc_core::{Address, UnixName};
///
/// let address: Address = "ring:/run/me/queue".parse()?;
/// assert_eq!(address, Address::Ring(UnixName::path("/run/me/queue")?));
/// assert_eq!(address.to_string(), "ring:/run/me/queue");
/// assert_eq!("tcp:localhost:99999".parse::<Address>().unwrap_err().part(), "99999");
/// # Ok::<(), ipc_core::ParseAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// Shared memory, negotiated over the unix socket of this name.
    Ring(UnixName),
    /// A TCP endpoint.
    Tcp(TcpName),
    /// A unix stream socket.
    Unix(UnixName),
}

/// The host and port of a TCP endpoint. The host is a literal address without brackets, or a name that
/// is looked up when it is used; port 0 lets the system choose one when binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TcpName {
    host: String,
    port: u16,
    family: Family,
}

/// Which versions of the internet protocol a [`TcpName`] stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Whatever the host resolves to.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// The name of a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixName(Name);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    Abstract(Vec<u8>),
    Path(PathBuf),
}

/// The longest path or abstract name, in bytes, that every system takes (Linux: 107, macOS: 103).
pub(crate) const UNIX_NAME_LEN_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

impl Address {
    /// The address `tcp:HOST:PORT`.
    ///
    /// # Errors
    ///
    /// When `host` is not a literal address and could not be a host name.
    pub fn tcp(host: &str, port: u16) -> Result<Self, ParseAddressError> {
        TcpName::new(host, port, Family::Any).map(Self::Tcp)
    }

    /// The address `unix:PATH`.
    ///
    /// # Errors
    ///
    /// When the path is empty, contains a NUL or is too long for a socket.
    pub fn unix(path: impl AsRef<Path>) -> Result<Self, ParseAddressError> {
        UnixName::path(path).map(Self::Unix)
    }

    /// The address `ring:PATH`.
    ///
    /// # Errors
    ///
    /// When the path is empty, contains a NUL or is too long for a socket.
    pub fn ring(path: impl AsRef<Path>) -> Result<Self, ParseAddressError> {
        UnixName::path(path).map(Self::Ring)
    }

    /// The name of the unix socket behind this address, when there is one.
    pub fn unix_name(&self) -> Option<&UnixName> {
        match self {
            Self::Ring(name) | Self::Unix(name) => Some(name),
            Self::Tcp(_) => None,
        }
    }
}

impl TcpName {
    /// A host, a port and the families to look the host up in.
    ///
    /// # Errors
    ///
    /// When `host` is not a literal address and could not be a host name, or is a literal of another
    /// family.
    pub fn new(host: &str, port: u16, family: Family) -> Result<Self, ParseAddressError> {
        let literal_v6 = host
            .split('%')
            .next()
            .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
        let literal_v4 = host.parse::<std::net::Ipv4Addr>().is_ok();
        match family {
            Family::V4 if literal_v6 => return Err(error(Problem::Family("IPv4"), host)),
            Family::V6 if literal_v4 => return Err(error(Problem::Family("IPv6"), host)),
            _ => {}
        }
        if !literal_v6 {
            check_host(host)?;
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            family,
        })
    }

    /// The host: a literal address without brackets, or a name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The families that the host is looked up in.
    pub fn family(&self) -> Family {
        self.family
    }
}

impl UnixName {
    /// A socket file at this path.
    ///
    /// # Errors
    ///
    /// When the path is empty, contains a NUL or is longer than a socket's name may be.
    pub fn path(path: impl AsRef<Path>) -> Result<Self, ParseAddressError> {
        let path = path.as_ref();
        check_name(path.as_os_str().as_bytes())?;
        if let Some(at) = path
            .as_os_str()
            .as_bytes()
            .iter()
            .position(|&byte| byte == 0)
        {
            return Err(error(Problem::Nul(at), &path.to_string_lossy()));
        }
        Ok(Self(Name::Path(path.to_owned())))
    }

    /// A name in Linux's abstract name space: no file, gone with its socket, and open to every user
    /// of the network name space.
    ///
    /// # Errors
    ///
    /// When the name is empty or longer than a socket's name may be.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Result<Self, ParseAddressError> {
        check_name(name.as_ref())?;
        Ok(Self(Name::Abstract(name.as_ref().to_owned())))
    }

    /// The name with `-index` behind it, unless that is too long.
    pub(crate) fn neighbour(&self, index: u32) -> Option<Self> {
        let suffix = format!("-{index}");
        match &self.0 {
            Name::Path(path) => {
                let mut path = path.as_os_str().to_owned();
                path.push(suffix);
                Self::path(path).ok()
            }
            Name::Abstract(name) => Self::abstract_name([name, suffix.as_bytes()].concat()).ok(),
        }
    }

    /// The path, unless the name is abstract.
    pub fn as_path(&self) -> Option<&Path> {
        match &self.0 {
            Name::Path(path) => Some(path),
            Name::Abstract(_) => None,
        }
    }

    /// The abstract name, unless it is a path.
    pub fn as_abstract(&self) -> Option<&[u8]> {
        match &self.0 {
            Name::Path(_) => None,
            Name::Abstract(name) => Some(name),
        }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(error(Problem::NoScheme, text));
        };
        match scheme {
            "tcp" | "ip" => parse_tcp(rest, Family::Any),
            "ip4" | "ipv4" => parse_tcp(rest, Family::V4),
            "ip6" | "ipv6" => parse_tcp(rest, Family::V6),
            "unix" | "local" => parse_name(rest).map(Self::Unix),
            "ring" => parse_name(rest).map(Self::Ring),
            _ => Err(error(Problem::Scheme, scheme)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(name) => write!(f, "ring:{name}"),
            Self::Tcp(name) => name.fmt(f),
            Self::Unix(name) => write!(f, "unix:{name}"),
        }
    }
}

impl fmt::Display for TcpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.family {
            Family::Any => "tcp",
            Family::V4 => "ip4",
            Family::V6 => "ip6",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}:[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}:{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Abstract(name) => write!(f, "@{}", escaped(name)),
            Name::Path(path) => {
                let bytes = path.as_os_str().as_bytes();
                match bytes.strip_prefix(b"@") {
                    Some(rest) => write!(f, "%40{}", escaped(rest)),
                    None => f.write_str(&escaped(bytes)),
                }
            }
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            _ => address.ip().to_string(),
        };
        Self::Tcp(TcpName {
            host,
            port: address.port(),
            family: Family::Any,
        })
    }
}

/// An error returned when a text is not an [`Address`]. It names the part that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseAddressError {
    problem: Problem,
    part: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Bracket,
    Escape,
    Family(&'static str),
    Host,
    NameEmpty,
    NameLong(usize),
    NoPort,
    NoScheme,
    Nul(usize),
    Port,
    Scheme,
}

impl ParseAddressError {
    /// The part of the text that is wrong.
    pub fn part(&self) -> &str {
        &self.part
    }
}

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = &self.part;
        match self.problem {
            Problem::Bracket => write!(
                f,
                "the host {part:?} has no closing bracket before its port"
            ),
            Problem::Escape => write!(f, "{part:?} is not % and two hexadecimal digits"),
            Problem::Family(family) => write!(f, "the host {part:?} is not an {family} address"),
            Problem::Host => write!(f, "the host {part:?} is not an address or a name"),
            Problem::NameEmpty => write!(f, "the path or name is empty"),
            Problem::NameLong(len) => write!(
                f,
                "the path or name {part:?} has {len} bytes, more than {UNIX_NAME_LEN_MAX}"
            ),
            Problem::NoPort => write!(f, "{part:?} has no port"),
            Problem::NoScheme => write!(f, "{part:?} does not begin with tcp:, unix: or ring:"),
            Problem::Nul(at) => write!(f, "the path {part:?} has a NUL at byte {at}"),
            Problem::Port => write!(f, "the port {part:?} is not a number up to 65535"),
            Problem::Scheme => {
                write!(
                    f,
                    "the kind {part:?} is none of tcp, ip, ip4, ip6, unix, local, ring"
                )
            }
        }
    }
}

impl std::error::Error for ParseAddressError {}

impl From<ParseAddressError> for std::io::Error {
    fn from(error: ParseAddressError) -> Self {
        Self::new(std::io::ErrorKind::InvalidInput, error)
    }
}

fn error(problem: Problem, part: &str) -> ParseAddressError {
    ParseAddressError {
        problem,
        part: part.to_owned(),
    }
}

fn parse_tcp(rest: &str, family: Family) -> Result<Address, ParseAddressError> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => inner
            .split_once("]:")
            .ok_or_else(|| error(Problem::Bracket, rest))?,
        None => rest
            .rsplit_once(':')
            .ok_or_else(|| error(Problem::NoPort, rest))?,
    };
    // `u16::from_str` takes a leading plus.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error(Problem::Port, port));
    }
    let port = port.parse().map_err(|_| error(Problem::Port, port))?;
    if rest.starts_with('[') != host.contains(':') {
        return Err(error(Problem::Host, host));
    }
    TcpName::new(host, port, family).map(Address::Tcp)
}

fn parse_name(rest: &str) -> Result<UnixName, ParseAddressError> {
    match rest.strip_prefix('@') {
        Some(name) => UnixName::abstract_name(unescaped(name)?),
        None => UnixName::path(PathBuf::from(OsString::from_vec(unescaped(rest)?))),
    }
}

fn check_host(host: &str) -> Result<(), ParseAddressError> {
    let fits = !host.is_empty() && host.len() <= 253;
    let clean = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if fits && clean {
        Ok(())
    } else {
        Err(error(Problem::Host, host))
    }
}

fn check_name(name: &[u8]) -> Result<(), ParseAddressError> {
    if name.is_empty() {
        Err(error(Problem::NameEmpty, ""))
    } else if name.len() > UNIX_NAME_LEN_MAX {
        Err(error(Problem::NameLong(name.len()), &escaped(name)))
    } else {
        Ok(())
    }
}

fn escaped(bytes: &[u8]) -> Cow<'_, str> {
    let plain = |text: &str| !text.contains(|c: char| c == '%' || c.is_control());
    if let Ok(text) = std::str::from_utf8(bytes)
        && plain(text)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() * 3);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_control() {
                let mut utf8 = [0; 4];
                push_escapes(&mut text, c.encode_utf8(&mut utf8).as_bytes());
            } else {
                text.push(c);
            }
        }
        push_escapes(&mut text, chunk.invalid());
    }
    Cow::Owned(text)
}

fn push_escapes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("%{byte:02X}"));
    }
}

fn unescaped(text: &str) -> Result<Vec<u8>, ParseAddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let pair = after.get(..2).and_then(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            Some(digit(pair[0])? * 16 + digit(pair[1])?)
        });
        let Some(byte) = pair.and_then(|byte| u8::try_from(byte).ok()) else {
            let part = String::from_utf8_lossy(&after[..after.len().min(2)]);
            return Err(error(Problem::Escape, &format!("%{part}")));
        };
        bytes.push(byte);
        rest = &after[2..];
    }
    Ok(bytes)
}
