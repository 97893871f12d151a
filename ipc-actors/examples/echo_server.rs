//! An application: echoes what its clients send, by workers in processes, with settings and signals.
//!
//! `cargo run -p ipc-actors --example echo_server -- --bind unix:/tmp/echo.sock -w 2`, then
//! `cargo run -p ipc-actors --example echo_server -- --connect unix:/tmp/echo.sock hello`.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ipc_actors::{
    Actor, Application, ApplicationError, Commands, Context, Down, Failure, Guest, Handler,
    Message, Monitor, Running, Settings, SettingsError, Value, arbiter, host,
};
use ipc_core::Address;
use ipc_exchange::{init, registry};
use ipc_marshal::{Duct, DuctOptions, RecvError};
use serde::{Deserialize, Serialize};

/// What its answers begin with.
struct Echo(String);

#[derive(Serialize, Deserialize)]
struct Say(String);

impl Message for Say {
    type Reply = String;
    const NAME: &'static str = "say";
}

impl Actor for Echo {
    type Params = String;
    const NAME: &'static str = "echo";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Say>();
    }

    fn init(prefix: String, _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self(prefix))
    }
}

impl Handler<Say> for Echo {
    fn handle(&mut self, Say(text): Say, _: &mut Context<'_, Self>) -> String {
        let Self(prefix) = self;
        format!("{prefix}{text} (from process {})", std::process::id())
    }
}

struct Server;

impl Application for Server {
    type Worker = Echo;
    const NAME: &'static str = "echo-server";

    fn settings(settings: &mut Settings) {
        let text = |text: &str| Value::Text(text.to_owned());
        settings
            .define(
                "bind",
                Some('b'),
                text("tcp:127.0.0.1:8060"),
                "where clients connect",
            )
            .define(
                "connect",
                None,
                text(""),
                "be a client of this address instead",
            )
            .define("prefix", None, text(""), "what answers begin with")
            .fix(&["bind", "connect"]);
    }

    /// Asked again whenever settings change: HUP and `config set` reach the workers without a lost word.
    fn worker(&self, settings: &Settings) -> Result<String, Failure> {
        let prefix = settings.text("prefix").unwrap_or_default();
        if prefix.len() > 80 {
            return Err("the prefix is longer than 80 bytes".into());
        }
        Ok(prefix.to_owned())
    }

    #[expect(clippy::print_stdout, reason = "says where it listens")]
    fn started(&mut self, running: &Running<Echo>) -> Result<(), Failure> {
        if let Some(word) = running.positional().first() {
            return Err(format!("{word} is no setting").into());
        }
        let settings = running.settings();
        let address: Address = settings.text("bind").ok_or("bind is empty")?.parse()?;
        let opened = running.open(&address);
        let mut inlet = opened.map_err(|error| format!("cannot listen at {address}: {error}"))?;
        println!("listening on {}", inlet.address());
        if let Some(arbiter) = arbiter() {
            arbiter.on_end(log);
        }
        let monitor = running.monitor().clone();
        thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || {
                while let Ok(Some((channel, guest))) = inlet.accept() {
                    let monitor = monitor.clone();
                    let client = thread::Builder::new().name("client".to_owned());
                    // A client that cannot be served is dropped, which it sees.
                    drop(client.spawn(move || {
                        serve(
                            DuctOptions::new().handshake(true).from_channel(channel),
                            &guest,
                            &monitor,
                        );
                    }));
                }
            })?;
        Ok(())
    }

    #[expect(clippy::print_stderr, reason = "there is no log")]
    fn reload_failed(&mut self, error: &SettingsError) {
        eprintln!("{error}");
    }

    #[expect(clippy::print_stderr, reason = "there is no log")]
    fn upgrade_failed(&mut self, why: &str) {
        eprintln!("{why}");
    }
}

/// Says how a worker came to grief.
#[expect(clippy::print_stderr, reason = "there is no log")]
fn log(down: &Down) {
    if !down.reason.is_clean() {
        eprintln!("{down}");
    }
}

/// How often an idle connection is looked at.
const LOOK: Duration = Duration::from_millis(50);

fn serve(mut duct: Duct<Result<String, String>, String>, guest: &Guest, monitor: &Monitor<Echo>) {
    let mut served = false;
    loop {
        let text = match duct.recv_timeout(LOOK) {
            Ok(text) => text,
            // Who has come in is served at least once, even while the server ends.
            Err(RecvError::Timeout) if served && guest.is_closing() => break,
            Err(RecvError::Timeout) => continue,
            Err(_) => break,
        };
        served = true;
        let answer = monitor.ask(Say(text)).wait();
        if duct
            .send(answer.map_err(|error| error.to_string()))
            .is_err()
        {
            break;
        }
    }
}

#[expect(clippy::print_stdout, reason = "a client shows the answers")]
fn client(address: &str, words: &[String]) -> Result<(), Box<dyn Error>> {
    let mut duct = Duct::<String, Result<String, String>>::connect(&address.parse()?)?;
    for word in words {
        duct.send(word.clone())?;
        println!("{}", duct.recv()??);
    }
    Ok(())
}

/// An error and why it came about, and why that.
#[expect(clippy::print_stderr, reason = "errors of a command go there")]
fn complain(error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "help that was asked for goes there")]
fn main() -> ExitCode {
    init(registry![host::<Echo>]);
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [option, address, words @ ..] = &arguments[..]
        && option == "--connect"
    {
        return match client(address, words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&*error);
                ExitCode::FAILURE
            }
        };
    }
    let status = Server
        .run(arguments, std::env::vars())
        .unwrap_or_else(|error| {
            match &error {
                ApplicationError::Help(text) => print!("{text}"),
                error => complain(error),
            }
            error.exit_status()
        });
    u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from)
}
