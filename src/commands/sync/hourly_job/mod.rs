//! Nights and days of an hourly job in simulated time, over the scheduler, the writer and a store,
//! while the API has outages, quotas, a missing route, a firewall in front of it or a new key, and the
//! clock jumps. After every run the store holds exactly what the API answered, no answer is older and
//! no request more than promised, and after a healthy hour the store equals the truth.

mod api;
mod checks;
mod course;
mod job;
mod known;
mod world;

use api::SimulatedApi;
use course::{Course, HOUR};
use fastrand::Rng;
use known::Known;
use world::Worlds;

/// Nights and days in `cargo test`; `NIGHTS=n`, `DAYS=n` plays more, `SEED=n` others, `EMAILS=n` with
/// more emails.
const NIGHTS: u64 = 4;
const DAYS: u64 = 10;
const EMAILS: u64 = 300;

fn play(course: &Course, rng: &mut Rng, seed: u64) {
    let hours = course.hours.len() as u32;
    let worlds = Worlds::new(course.emails, hours, rng);
    let mut api = SimulatedApi::new(worlds, course, seed);
    let mut known = Known::new(course.emails);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hourly.db");
    for (begin, hour) in (0..).map(|number| HOUR * number).zip(&course.hours) {
        let ended = job::run(&path, course, begin, &mut api, seed);
        let name = format!("SEED={seed}, hour {}, {:?}", begin.as_secs() / 3600, hour.incidents);
        checks::check_run(&name, &ended, hour, &api, course);
        let is_undone = api.sent().iter().any(|one| one.status == Some(200) && !one.is_true);
        if is_undone {
            known.lose_turns(api.sent());
        } else {
            known.add(api.sent(), &api.worlds, begin + ended.time);
            let over = course.wall(begin + ended.time);
            known.end_run(begin, ended.report.counts.settled(), over);
        }
        checks::check_attempts(&name, &path, &ended, hour);
        checks::check_store(&name, &path, &known);
        checks::check_age(&name, &known);
    }
    checks::check_truth(&format!("SEED={seed}"), &path, api.worlds.at(HOUR * hours));
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn play_all(what: &str, times: u64, course: fn(usize, &mut Rng) -> Course) {
    let emails = number_of("EMAILS", EMAILS) as usize;
    let (first, times) = (number_of("SEED", 1), number_of(what, times));
    let mut hours = 0;
    for seed in first..first + times {
        let mut rng = Rng::with_seed(seed);
        let course = course(emails, &mut rng);
        hours += course.hours.len();
        play(&course, &mut rng, seed);
    }
    println!("figure: {what}: {times}, {hours} runs of {emails} emails: no difference");
}

#[test]
fn after_a_night_of_failures_the_store_equals_the_truth() {
    play_all("NIGHTS", NIGHTS, course::night);
}

#[test]
fn after_each_hour_of_a_day_of_failures_the_store_holds_what_the_api_answered() {
    play_all("DAYS", DAYS, course::day);
}
