//! Work in worker processes.

use anyhow::{Result, bail, ensure};
use ipc_exchange::{Cause, Exchange, Program, pmap};

use super::check::{Check, Verdict};
use crate::args::Layer;
use crate::tasks;

pub(crate) const CHECKS: &[Check] = &[
    check("pmap over two workers", map),
    check("a panic is the task's own error", panic),
    check("a killed worker costs one task", killed),
    check("a program and its duct", program),
];

const fn check(name: &'static str, run: fn() -> Result<Verdict>) -> Check {
    Check {
        layer: Layer::Exchange,
        name,
        run,
    }
}

fn map() -> Result<Verdict> {
    let squares: Result<Vec<u64>, _> = pmap(tasks::square, 0..1000, 2)?.collect();
    let expected = (0..1000).map(|n| n * n);
    ensure!(squares?.into_iter().eq(expected), "the results are wrong");
    Ok(Verdict::Passed)
}

fn panic() -> Result<Verdict> {
    let exchange = Exchange::new(1)?;
    let bad = exchange.submit(tasks::panic, "out of order".to_owned())?;
    let good = exchange.submit(tasks::square, 12)?;
    match bad.wait() {
        Err(error) if error.to_string().contains("out of order") => {}
        other => bail!("expected the panic's message, got {other:?}"),
    }
    ensure!(good.wait()? == 144, "the result is wrong");
    Ok(Verdict::Passed)
}

fn killed() -> Result<Verdict> {
    let exchange = Exchange::new(2)?;
    let before = exchange.map(tasks::square, 0..20);
    let dying = exchange.submit(tasks::die, ())?;
    let after = exchange.map(tasks::square, 20..40);
    match dying.wait() {
        Err(error) if matches!(error.cause(), Cause::Lost { .. }) => {}
        other => bail!("expected a lost task, got {other:?}"),
    }
    let squares: Result<Vec<u64>, _> = before.chain(after).collect();
    let expected = (0..40).map(|n| n * n);
    ensure!(squares?.into_iter().eq(expected), "another task was lost");
    Ok(Verdict::Passed)
}

fn program() -> Result<Verdict> {
    let mut program = Program::start(tasks::multiplier, &3)?;
    program.duct().send(14)?;
    let product = program.duct().recv()?;
    ensure!(product == 42, "3 times 14 became {product}");
    let (duct, process) = program.into_parts();
    drop(duct);
    let exit = process.wait()?;
    ensure!(exit.is_success(), "the program ended with {exit}");
    Ok(Verdict::Passed)
}
