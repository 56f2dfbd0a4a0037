//! The switch that asks a run to stop: one of the two signals that flow against the path of an email.

use crate::domain::stop::StopReason;
use tokio::sync::watch;

/// Asks a run to stop, from anywhere, and lets its parts know.
#[derive(Clone, Debug)]
pub struct StopSwitch(watch::Sender<Option<StopReason>>);

impl Default for StopSwitch {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl StopSwitch {
    /// Asks for a stop. A greater reason replaces a lesser one, never the other way round.
    pub fn stop(&self, reason: StopReason) {
        self.0.send_if_modified(|held| {
            let greater = held.as_ref() < Some(&reason);
            if greater {
                *held = Some(reason);
            }
            greater
        });
    }

    /// The greatest reason so far.
    pub fn reason(&self) -> Option<StopReason> {
        self.0.borrow().clone()
    }

    /// Whether a stop was asked for.
    pub fn is_on(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// To wait for a stop, or for a greater reason.
    pub fn watch(&self) -> watch::Receiver<Option<StopReason>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_reason_wins_whatever_the_order() {
        let switch = StopSwitch::default();
        assert!(!switch.is_on());
        switch.stop(StopReason::Terminated);
        switch.stop(StopReason::Limit(3));
        assert_eq!(switch.reason(), Some(StopReason::Terminated));
        switch.stop(StopReason::KeyRefused);
        assert_eq!(switch.reason(), Some(StopReason::KeyRefused));
    }
}
