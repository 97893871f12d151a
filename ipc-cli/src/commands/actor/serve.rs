//! `ipc-cli actor serve`: the demonstration application.

use std::env;
use std::path::Path;
use std::process;

use anyhow::Result;
use ipc_actors::{
    Access, Application, Failure, Listener, RemoteOptions, Running, Settings, Spec, Value, arbiter,
};
use ipc_core::Address;

use super::args::ServeArgs;
use crate::demo::{Demo, NAME};
use crate::key::read_key;
use crate::output::{Output, complain};
use crate::run::Outcome;

/// How many callers there may be: each call from a command line is a connection of its own, whose end
/// is seen a little later.
const CONNECTIONS_MAX: usize = 1024;

struct Server {
    listener: Option<Listener>,
}

impl Application for Server {
    type Worker = Demo;
    const NAME: &'static str = NAME;

    fn settings(settings: &mut Settings) {
        let text = |text: &str| Value::Text(text.to_owned());
        settings
            .define(
                "bind",
                None,
                text("unix:@ipc-cli-demo"),
                "where callers connect",
            )
            .define(
                "key_file",
                None,
                text(""),
                "callers must know the key in it",
            )
            .fix(&["bind", "key_file"]);
    }

    fn worker(&self, _: &Settings) -> Result<(), Failure> {
        Ok(())
    }

    /// Workers that sleep or compute still tell that they do.
    fn adapt(&self, worker: Spec<Demo>) -> Spec<Demo> {
        worker.cpu_bound()
    }

    fn started(&mut self, running: &Running<Demo>) -> Result<(), Failure> {
        let settings = running.settings();
        let address: Address = settings.text("bind").ok_or("bind is empty")?.parse()?;
        // Whoever gives an abstract name wants one.
        let mut options = RemoteOptions::new()
            .abstract_names(true)
            .connections_max(CONNECTIONS_MAX);
        if let Some(path) = settings.text("key_file").filter(|path| !path.is_empty()) {
            let key = read_key(Path::new(path)).map_err(|error| format!("{error:#}"))?;
            options = options.key_for(key, Access::Peer);
        }
        running.monitor().publish(NAME)?;
        let arbiter = arbiter().ok_or("there is no arbiter here")?;
        let listener = arbiter
            .listen(&address, options)
            .map_err(|error| format!("cannot listen at '{address}': {error}"))?;
        let mut output = Output::open().map_err(|error| error.to_string())?;
        let (address, pid) = (listener.address(), process::id());
        output
            .line(format_args!("{address} pid {pid}"))
            .and_then(|()| output.flush())
            .map_err(|error| format!("{error:#}"))?;
        self.listener = Some(listener);
        Ok(())
    }

    fn stopped(&mut self) {
        self.listener = None;
    }
}

/// Runs the application to its end.
pub(super) fn serve(args: &ServeArgs) -> Result<Outcome> {
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            arguments.extend([format!("--{name}"), value]);
        }
    };
    let path = |path: &std::path::PathBuf| path.display().to_string();
    option("config", args.config.as_ref().map(path));
    option("bind", args.bind.as_ref().map(ToString::to_string));
    option("workers", args.workers.map(|count| count.to_string()));
    option(
        "max-requests",
        args.max_requests.map(|count| count.to_string()),
    );
    option("key-file", args.key_file.as_ref().map(path));
    let status = Server { listener: None }
        .run(
            arguments,
            env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            }),
        )
        .unwrap_or_else(|error| {
            let status = error.exit_status();
            complain(format_args!("{:#}", anyhow::Error::from(error)));
            status
        });
    Ok(Outcome::Status(u8::try_from(status).unwrap_or(1)))
}
