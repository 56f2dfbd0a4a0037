//! Random histories, played against the program and against a small model of its contract.
//!
//! `HISTORIES` says how many, `SEED` which.

mod compare;
mod contract;
mod cursor;
mod follow;
mod forget;
mod history;
mod observed;
mod play;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::{count, rng};
use history::{Step, history, shrunk};
use play::{Figures, play};

/// Histories that are played at the same time: most of their time they wait.
const LANES: u64 = 6;

/// What was played of a history, or what went wrong.
fn outcome(steps: &[Step]) -> Result<Figures, String> {
    let panicked = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    };
    catch_unwind(AssertUnwindSafe(|| play(steps))).unwrap_or_else(panicked)
}

fn played(number: u64) -> Figures {
    let steps = history(&mut rng(number));
    match outcome(&steps) {
        Ok(figures) => figures,
        Err(failed) => {
            let (steps, failed) = shrunk(steps, failed, |steps| outcome(steps).err());
            let steps: Vec<_> = steps.iter().map(|step| format!("  {step:?}")).collect();
            panic!("history {number}, at its shortest:\n{}\n{failed}", steps.join("\n"));
        }
    }
}

#[test]
fn after_any_history_the_store_is_as_the_contract_says() {
    let histories = count("HISTORIES", 200);
    let next = AtomicU64::new(0);
    let lane = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let mut sum = Figures::default();
        for number in numbers.take_while(|number| *number < histories) {
            sum += played(number);
        }
        sum
    };
    let mut sum = Figures::default();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        for lane in lanes {
            sum += lane.join().expect("histories that hold");
        }
    });
    let Figures { runs, kills, stops, undone, forgotten, changes } = sum;
    println!(
        "figure: {histories} histories of {runs} runs, {kills} of them killed, {stops} stopped and \
         {undone} undone; {forgotten} people forgotten; {changes} changes in the feed"
    );
}
