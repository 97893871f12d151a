//! Who may do what before and after proving a key.

use ipc_actors::{Access, AskError, Proxy, RemoteArbiter, RemoteError};
use ipc_marshal::AuthKey;

use super::alone;
use super::served::Served;
use crate::desk::{Desk, Look, allowed, clerk, missing, operator};
use crate::support::LIMIT;

/// The rights of a connection grow with what it proves, and no other's; what is proved by one is not
/// told to anybody.
#[test]
fn p12_rights_are_proved_by_each_connection_for_itself() {
    let test = "behaviours::p12_auth::p12_rights_are_proved_by_each_connection_for_itself";
    alone(test, 2 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let mut served = Served::start(folder.path());
        let enter = |key: Option<&AuthKey>| {
            let remote = RemoteArbiter::connect(&served.tcp, key).expect("welcome");
            let desk: Proxy<Desk> = remote.get_actor("desk").expect("the desk");
            (remote, desk)
        };
        let (remote, desk) = enter(None);
        let (other, others) = enter(None);
        let levels: [(Option<AuthKey>, &[&str]); 3] = [
            (None, &["look"]),
            (Some(clerk()), &["look", "read", "info", "tree"]),
            (
                Some(operator()),
                &["look", "read", "write", "info", "tree", "kill"],
            ),
        ];
        for (key, commands) in levels {
            if let Some(key) = &key {
                remote.auth(key).expect("known");
            }
            assert_eq!(allowed(&remote, &desk), commands);
            assert_eq!(may_operate(&remote), remote.access() == Access::Peer);
            assert_eq!(
                allowed(&other, &others),
                ["look"],
                "another connection is unaffected"
            );
            // From the start it gives the same.
            let (begun, begins) = enter(key.as_ref());
            assert_eq!(allowed(&begun, &begins), commands);
        }
        // A wrong one turns it off again, and one that is made anew has nothing.
        let wrong = AuthKey::new(b"a guess");
        assert!(matches!(remote.auth(&wrong), Err(RemoteError::Refused)));
        assert_eq!(allowed(&remote, &desk), ["look"]);
        remote.auth(&operator()).expect("known");
        remote.quit();
        assert!(desk.ask_timeout(Look, LIMIT).is_err());
        let (again, desk) = enter(None);
        assert_eq!(allowed(&again, &desk), ["look"]);
        again.auth(&operator()).expect("known");
        let told = format!(
            "{again:?} {desk:?} {:?} {:?} {:?}",
            desk.info().wait().expect("a peer may"),
            again.tree().wait().expect("a peer may"),
            operator(),
        );
        assert!(!told.contains("know"), "{told}");
        assert!(served.come().failed >= 1);
        drop((remote, other, others, again, desk));
        assert!(served.end());
    });
}

/// Whether what changes things is done; what is not there counts as done.
fn may_operate(remote: &RemoteArbiter) -> bool {
    let forbidden = |error: Option<AskError>| matches!(error, Some(AskError::Forbidden(_)));
    let refused = [
        forbidden(remote.run("greet", "you").wait().err()),
        forbidden(remote.run("rm", "-rf").wait().err()),
        forbidden(remote.spawn("shell").wait().err()),
        forbidden(remote.config_set("workers", "9").wait().err()),
        forbidden(remote.stop_actor(missing()).wait().err()),
        forbidden(remote.reload().wait().err()),
    ];
    assert!(refused.iter().all(|&one| one == refused[0]), "{refused:?}");
    !refused[0]
}
