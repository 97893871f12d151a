//! Spellings of addresses.

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ipc_core::{Address, UnixName};
use proptest::prelude::*;

#[track_caller]
fn check(text: &str, display: &str) {
    let address: Address = text.parse().unwrap();
    assert_eq!(address.to_string(), display);
    assert_eq!(display.parse::<Address>().unwrap(), address);
}

#[track_caller]
fn check_error(text: &str, part: &str) {
    let error = text.parse::<Address>().unwrap_err();
    assert_eq!(error.part(), part, "{error}");
}

#[test]
fn every_spelling() {
    check("tcp:localhost:80", "tcp:localhost:80");
    check("ip:127.0.0.1:0", "tcp:127.0.0.1:0");
    check("ipv4:127.0.0.1:1", "ip4:127.0.0.1:1");
    check("ip6:[::1]:1", "ip6:[::1]:1");
    check("tcp:[fe80::1%2]:1", "tcp:[fe80::1%2]:1");
    check("unix:/run/a b", "unix:/run/a b");
    check("local:/run/x", "unix:/run/x");
    check("unix:@name", "unix:@name");
    check("unix:%40name", "unix:%40name");
    check("ring:/run/x", "ring:/run/x");
    check("ring:@a%00b", "ring:@a%00b");
    check("unix:/a%FF%25", "unix:/a%FF%25");
}

#[test]
fn errors_name_the_bad_part() {
    check_error("localhost", "localhost");
    check_error("udp:localhost:1", "udp");
    check_error("tcp:localhost", "localhost");
    check_error("tcp:localhost:99999", "99999");
    check_error("tcp:localhost:+1", "+1");
    check_error("tcp::1", "");
    check_error("tcp:a b:1", "a b");
    check_error("tcp:[::1:1", "[::1:1");
    check_error("tcp:::1:1", "::1");
    check_error("ip4:[::1]:1", "::1");
    check_error("ip6:1.2.3.4:1", "1.2.3.4");
    check_error("unix:", "");
    check_error("unix:/a%zz", "%zz");
    check_error("unix:/a%4", "%4");
    check_error("unix:/a%00", "/a\0");
    check_error(&format!("ring:{}", "x".repeat(108)), &"x".repeat(108));
}

proptest! {
    #[test]
    fn every_path_survives_the_round_trip(bytes in prop::collection::vec(1_u8.., 1..=103)) {
        let path = Path::new(OsStr::from_bytes(&bytes));
        for address in [Address::unix(path).unwrap(), Address::ring(path).unwrap()] {
            prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn every_abstract_name_survives_the_round_trip(bytes in prop::collection::vec(0_u8.., 1..=103)) {
        let address = Address::Unix(UnixName::abstract_name(&bytes).unwrap());
        prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn every_endpoint_survives_the_round_trip(ip: IpAddr, port: u16) {
        let address = Address::from(SocketAddr::new(ip, port));
        prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn what_is_accepted_is_spelt_as_it_is_parsed(text in ".{0,40}|(tcp|ip4|unix|ring):.{0,40}") {
        match text.parse::<Address>() {
            Ok(address) => prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address),
            Err(error) => prop_assert!(!error.to_string().ends_with('.')),
        }
    }
}
