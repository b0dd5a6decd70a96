//! What is logged now and then: a fault that lasts is told when it begins, and seldom after that.

use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::daemon::store::StoreError;

/// How long a fault of one sort is not told again.
const EVERY: Duration = Duration::from_secs(60);

/// When a fault of the store was told last, and of which sort it was.
#[derive(Default)]
pub struct Complaint(Mutex<Option<(Instant, Discriminant<StoreError>)>>);

impl Complaint {
    /// Whether this one is to be told: it is of another sort than the last, or the last is long ago.
    pub fn is_due(&self, error: &StoreError) -> bool {
        let sort = discriminant(error);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|(at, last)| last == sort && at.elapsed() < EVERY) {
            return false;
        }
        *told = Some((Instant::now(), sort));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_told_once_a_minute_and_another_at_once() {
        let complaint = Complaint::default();
        let away = StoreError::Unavailable("x".into());
        let full = StoreError::Full("x".into());
        assert!(complaint.is_due(&away));
        tokio::time::advance(EVERY - Duration::from_millis(1)).await;
        assert!(!complaint.is_due(&StoreError::Unavailable("y".into())), "another text, the same sort");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(complaint.is_due(&away));
        assert!(complaint.is_due(&full));
        assert!(!complaint.is_due(&full));
    }
}
