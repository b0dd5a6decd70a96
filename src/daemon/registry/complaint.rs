//! What is logged now and then: a fault that lasts is told when it begins, and seldom after that.

use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use omnirelay_store::StoreError;
use tokio::time::Instant;

/// How long a fault of one sort is not told again.
const EVERY: Duration = Duration::from_secs(60);

/// When faults of each sort were told last; a sort is a variant of `E`, so there are few.
pub struct Complaint<E = StoreError>(Mutex<Vec<(Discriminant<E>, Instant)>>);

impl<E> Complaint<E> {
    /// Whether this one is to be told: none of its sort was, or the last is long ago.
    pub fn is_due(&self, error: &E) -> bool {
        let sort = discriminant(error);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.iter().any(|(of, at)| *of == sort && at.elapsed() < EVERY) {
            return false;
        }
        told.retain(|(of, _)| *of != sort);
        told.push((sort, Instant::now()));
        true
    }
}

impl<E> Default for Complaint<E> {
    fn default() -> Self {
        Self(Mutex::default())
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
    #[tokio::test(start_paused = true)]
    async fn faults_of_two_sorts_that_alternate_are_each_told_once_a_minute() {
        let complaint = Complaint::default();
        let away = StoreError::Unavailable("x".into());
        let unknown = StoreError::OutcomeUnknown("x".into());
        let told = |times: usize| (0..times).filter(|_| complaint.is_due(&away) | complaint.is_due(&unknown));
        assert!(complaint.is_due(&away) && complaint.is_due(&unknown));
        assert_eq!(told(100).count(), 0);
        tokio::time::advance(EVERY).await;
        assert_eq!(told(100).count(), 1);
    }
}
