//! What systemd is told (`NOTIFY_SOCKET`), if it listens.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Tells systemd how the program is: `READY=1`, `STOPPING=1`. Does nothing when it was not started by
/// systemd, or not with `Type=notify`; what cannot be told is not told.
pub(crate) fn notify(state: &str) {
    if let Some(socket) = env::var_os("NOTIFY_SOCKET") {
        // Nobody depends on it but the one who does not listen.
        drop(tell(&socket, state));
    }
}

fn tell(socket: &OsStr, state: &str) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return sender.send_to_addr(state.as_bytes(), &address).map(drop);
    }
    sender.send_to(state.as_bytes(), socket).map(drop)
}

/// How often systemd wants to hear from this process, if it watches over it (`WATCHDOG_USEC`): twice
/// per its limit.
pub(crate) fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let limit = number("WATCHDOG_USEC").filter(|&limit| mine && limit > 0)?;
    Some(Duration::from_micros(limit / 2))
}
