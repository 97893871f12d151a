//! Alarms, posts from a thread, a child and a future in one loop.

#![expect(clippy::print_stdout, reason = "an example shows something")]

use std::io;
use std::process::Command;
use std::time::Duration;

use ipc_dispatch::Selector;

fn main() -> io::Result<()> {
    let mut selector = Selector::<u32>::new()?;
    selector.every(Duration::from_millis(100), |ctx| {
        *ctx.state += 1;
        println!("tick {}", ctx.state);
        *ctx.state < 5
    });

    let child = Command::new("sleep").arg("0.25").spawn()?;
    selector.on_child(child.id(), |status, _| {
        println!("the child ended: {status:?}")
    })?;

    let poster = selector.poster();
    let thread =
        std::thread::spawn(move || poster.post(|ctx| println!("a thread saw {} ticks", ctx.state)));

    let poster = selector.poster();
    let result = selector.spawn(async move {
        poster.sleep(Duration::from_millis(350)).await?;
        Ok::<_, ipc_dispatch::Failure>("a future is done")
    });

    selector.run(&mut 0)?;
    println!("{:?}, {:?}", result.wait(), thread.join().is_ok());
    Ok(())
}
