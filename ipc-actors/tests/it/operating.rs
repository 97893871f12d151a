//! What an operator does from another program: look, call by name, stop.

use ipc_actors::{
    Access, Arbiter, ArbiterOptions, ArbiterThread, AskError, Listener, MonitorSpec, Placement,
    Proxy, RemoteArbiter, RemoteOptions, Spec, State, SupervisorOptions, SupervisorSpec,
};
use ipc_core::Address;
use ipc_marshal::AuthKey;

use crate::actors::{Add, Counter, Pid, Read, Start};
use crate::support::{LIMIT, eventually, is_alive, set_up, signal, spawn};
use crate::support::{with_arbiter, within};

fn listen(arbiter: &Arbiter, name: &str) -> Listener {
    let address = format!("unix:@ipc-actors-operating-{}-{name}", std::process::id());
    let address: Address = address.parse().expect("an address");
    arbiter
        .listen(&address, RemoteOptions::new().abstract_names(true))
        .expect("a listener")
}

fn connect(listener: &Listener) -> RemoteArbiter {
    RemoteArbiter::connect(listener.address(), None).expect("a connection")
}

fn named(name: &str) -> Spec<Counter> {
    Spec::<Counter>::new(Start::default()).name(name)
}

#[test]
fn the_tree_tells_ids_pids_states_restarts_and_requests() {
    with_arbiter(|arbiter| {
        let listener = listen(arbiter, "tree");
        let remote = connect(&listener);
        let free = spawn(arbiter, named("free").timeout(LIMIT / 100));
        let spec = SupervisorSpec::new("front", SupervisorOptions::default())
            .child(named("desk").thread())
            .supervisor(
                SupervisorSpec::new("back", SupervisorOptions::default())
                    .child(named("safe").local()),
            );
        arbiter.supervise(spec).wait().expect("a start");
        let pool = MonitorSpec::new("crew", named("worker").thread(), 2);
        let _pool = arbiter.monitor(pool).wait().expect("a start");
        let before = free.ask_timeout(Pid, LIMIT).unwrap();
        signal(before, "KILL");
        eventually(|| free.ask_timeout(Pid, LIMIT).is_ok_and(|pid| pid != before));

        // What a process has handled comes with its signs of life.
        let mut tree = remote.tree().wait().expect("the tree");
        eventually(|| {
            tree = remote.tree().wait().expect("the tree");
            let free = tree.actors.iter().find(|actor| actor.info.name == "free");
            free.is_some_and(|free| free.info.handled > 0)
        });
        assert_eq!((tree.pid, tree.ending), (std::process::id(), false));
        let parents: Vec<_> = tree
            .actors
            .iter()
            .map(|actor| (actor.info.name.as_str(), actor.parent.as_str()))
            .collect();
        let expected = [
            ("free", ""),
            ("desk", "front"),
            ("safe", "front/back"),
            ("crew-0", "crew"),
            ("crew-1", "crew"),
        ];
        assert_eq!(parents, expected);
        let info = &tree.actors[0].info;
        assert_eq!(info.id, free.id());
        assert_eq!((info.state, info.incarnation), (State::Running, 1));
        assert_eq!(info.placement, Placement::Process);
        assert_eq!(info.pid, free.ask_timeout(Pid, LIMIT).unwrap());
        let pool = &tree.pools[0];
        assert_eq!((pool.name.as_str(), pool.size, pool.up), ("crew", 2, 2));
    });
}

#[cfg(feature = "json")]
#[test]
fn commands_are_called_by_name_with_json() {
    with_arbiter(|arbiter| {
        let listener = listen(arbiter, "call");
        let remote = connect(&listener);
        for placement in crate::support::PLACEMENTS {
            let name = placement.to_string();
            spawn(arbiter, named(&name).placement(placement));
            let actor = remote.find(&name).expect("the actor");
            assert_eq!(actor.kind(), "counter");
            assert!(actor.commands().contains(&"add".to_owned()));
            assert_eq!(actor.call("add", "5").wait(), Ok("5".to_owned()));
            assert_eq!(actor.call("read", "null").wait(), Ok("5".to_owned()));
            let wrong = actor.call("add", "\"five\"").wait();
            assert!(matches!(wrong, Err(AskError::Codec(_))), "{wrong:?}");
            let unknown = AskError::UnknownCommand("subtract".to_owned());
            assert_eq!(actor.call("subtract", "5").wait(), Err(unknown));
            assert_eq!(actor.ping().wait(), Ok(()));
            assert_eq!(actor.info().wait().unwrap().id, actor.id());
        }
    });
}

#[test]
fn actors_are_stopped_for_good_and_killed() {
    with_arbiter(|arbiter| {
        let listener = listen(arbiter, "stop");
        let remote = connect(&listener);
        let here = spawn(arbiter, named("mortal"));
        let first = here.ask_timeout(Pid, LIMIT).unwrap();
        assert_eq!(remote.kill_actor(here.id()).wait(), Ok(()));
        eventually(|| here.ask_timeout(Pid, LIMIT).is_ok_and(|pid| pid != first));
        let second = here.ask_timeout(Pid, LIMIT).unwrap();
        assert_eq!(remote.stop_actor(here.id()).wait(), Ok(true));
        assert!(!is_alive(second));
        assert_eq!(remote.stop_actor(here.id()).wait(), Ok(false));
    });
}

#[test]
fn an_application_is_shut_down_from_elsewhere() {
    within(3 * LIMIT, || {
        set_up();
        let thread = ArbiterThread::start(ArbiterOptions::default()).expect("an arbiter");
        let listener = listen(&thread.arbiter(), "shutdown");
        let remote = connect(&listener);
        let here = spawn(&thread.arbiter(), named("desk"));
        let pid = here.ask_timeout(Pid, LIMIT).unwrap();
        assert_eq!(remote.reload().wait(), Ok(()));
        assert_eq!(remote.shutdown().wait(), Ok(()));
        assert_eq!(thread.join().expect("a clean end"), 0);
        assert!(!is_alive(pid));
    });
}

#[test]
fn over_tcp_a_key_lets_look_and_not_touch() {
    with_arbiter(|arbiter| {
        let key = AuthKey::new(b"a key that both know");
        let address: Address = "tcp:127.0.0.1:0".parse().expect("an address");
        let options = RemoteOptions::new().key(key.clone());
        let listener = arbiter.listen(&address, options).expect("a listener");
        let here: Proxy<Counter> = spawn(arbiter, named("desk").thread());
        let remote = RemoteArbiter::connect(listener.address(), Some(&key)).expect("welcome");
        assert_eq!(remote.tree().wait().expect("the tree").actors.len(), 1);
        let actor = remote.find("desk").expect("the actor");
        assert_eq!(actor.commands(), ["read"], "what its level may use");
        for (name, answer) in [
            ("shutdown", remote.shutdown()),
            ("reload", remote.reload()),
            ("kill", remote.kill_actor(here.id())),
        ] {
            assert_eq!(answer.wait(), Err(AskError::Forbidden(name.to_owned())));
        }
        assert_eq!(here.ask_timeout(Add(1), LIMIT), Ok(1), "it lives");
        assert_eq!(here.ask_timeout(Read, LIMIT), Ok(1));
        assert!(Access::Authenticated < Access::Peer);
    });
}

#[cfg(feature = "json")]
#[test]
fn a_published_pool_is_called_like_one_actor() {
    with_arbiter(|arbiter| {
        let listener = listen(arbiter, "pool");
        let remote = connect(&listener);
        let pool = MonitorSpec::new("crew", named("crew").placement(Placement::Process), 2);
        let pool = arbiter
            .monitor(pool.requests_max(3, 0))
            .wait()
            .expect("a start");
        pool.publish("crew").expect("the name is free");
        assert!(pool.publish("crew").is_err());
        let crew = remote.find("crew").expect("the pool");
        assert_eq!(crew.kind(), "counter");
        assert_eq!(crew.ping().wait(), Ok(()));
        assert_eq!(crew.echo("to and fro").wait().as_deref(), Ok("to and fro"));
        // More than the workers that there are at first will do.
        for _ in 0..10 {
            assert!(crew.call("add", "1").wait().is_ok());
        }
        let unknown = crew.call("frobnicate", "null").wait();
        assert_eq!(
            unknown,
            Err(AskError::UnknownCommand("frobnicate".to_owned()))
        );
        eventually(|| {
            let tree = remote.tree().wait().expect("the tree");
            tree.actors.iter().all(|actor| actor.info.handled <= 3)
        });
        let proxy: Proxy<Counter> = remote.get_actor("crew").expect("the kind is right");
        assert!(proxy.ask_timeout(Pid, LIMIT).is_ok());
    });
}
