//! Live values: a setting as it is now, for code that runs longer than the setting stays as it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Value that may be replaced while others read it.
#[derive(Debug)]
pub struct LiveSource<C> {
    current: RwLock<Arc<C>>,
    /// How often it was replaced.
    replaced: watch::Sender<u64>,
}

impl<C: Send + Sync + 'static> LiveSource<C> {
    pub fn new(value: C) -> Arc<Self> {
        Arc::new(Self { current: RwLock::new(Arc::new(value)), replaced: watch::Sender::new(0) })
    }

    /// The value as it is now.
    pub fn now(&self) -> Arc<C> {
        self.current.read().clone()
    }

    /// Puts another value in its place. Whoever reads from now on has that one, and whoever waits is told.
    pub fn replace(&self, value: C) {
        *self.current.write() = Arc::new(value);
        self.replaced.send_modify(|times| *times += 1);
    }

    /// A part of the value, or what follows from it, as it is whenever it is read.
    pub fn live<T>(self: &Arc<Self>, of: impl Fn(&C) -> T + Send + Sync + 'static) -> Live<T> {
        let source = self.clone();
        Live { replaced: self.replaced.subscribe(), read: Arc::new(move || of(&source.now())) }
    }
}

/// A setting as it is whenever it is read.
pub struct Live<T> {
    replaced: watch::Receiver<u64>,
    read: Arc<dyn Fn() -> T + Send + Sync>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self { replaced: self.replaced.clone(), read: self.read.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.get()).finish()
    }
}

impl<T> Live<T> {
    /// The value as it is now.
    pub fn get(&self) -> T {
        (self.read)()
    }

    /// Projection of the value: what follows from it, as it is whenever that is read.
    pub fn map<U>(&self, of: impl Fn(T) -> U + Send + Sync + 'static) -> Live<U>
    where
        T: 'static,
    {
        let read = self.read.clone();
        Live { replaced: self.replaced.clone(), read: Arc::new(move || of(read())) }
    }

    /// Waits until the setting may be another one. For loops that look at more than that: it may also be as it was.
    pub async fn replaced(&mut self) {
        if self.replaced.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<T: PartialEq> Live<T> {
    /// Waits until the setting is another one than this, and gives that.
    pub async fn other_than(&mut self, last: &T) -> T {
        loop {
            let value = self.get();
            if value != *last {
                return value;
            }
            self.replaced().await;
        }
    }
}

impl<T: Clone + PartialEq> Live<T> {
    /// Applies each further value, for as long as it is awaited. A change between this call and the first look is not missed.
    pub fn each(mut self, mut apply: impl FnMut(T)) -> impl Future<Output = ()> {
        self.replaced.mark_unchanged();
        let mut last = self.get();
        async move {
            loop {
                self.replaced().await;
                let value = self.get();
                if value != last {
                    last = value.clone();
                    apply(value);
                }
            }
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Live<T> {
    /// A value that stays as it is.
    pub fn fixed(value: T) -> Self {
        Self { replaced: watch::channel(0).1, read: Arc::new(move || value.clone()) }
    }
}

impl<T: Clone + Send + Sync + 'static> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self::fixed(value)
    }
}

impl Live<Duration> {
    /// Waits for this long, counted from now on, and for as long as it says by then if it is changed meanwhile.
    pub async fn sleep(&self) {
        let (mut current, began) = (self.clone(), Instant::now());
        current.replaced.mark_unchanged();
        loop {
            // So far off is never.
            let until = began.checked_add(current.get()).unwrap_or(began + Duration::from_secs(1 << 30));
            tokio::select! {
                () = sleep_until(until) => return,
                () = current.replaced() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_has_the_value_of_now_and_who_waits_is_told() {
        let source = LiveSource::new((1, "a"));
        let (number, doubled) = (source.live(|value| value.0), source.live(|value| value.0).map(|of| of * 2));
        let seen = Arc::new(RwLock::new(Vec::new()));
        let into = seen.clone();
        let each = source.live(|value| value.0).each(move |value| into.write().push(value));
        // Between the call and the first look.
        source.replace((2, "a"));
        let task = tokio::spawn(each);
        tokio::task::yield_now().await;
        assert_eq!((number.get(), doubled.get(), seen.read().clone()), (2, 4, vec![2]));
        // Another part of it.
        source.replace((2, "b"));
        tokio::task::yield_now().await;
        source.replace((3, "b"));
        tokio::task::yield_now().await;
        assert_eq!(*seen.read(), [2, 3]);
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_by_what_is_set_by_then() {
        let source = LiveSource::new(Duration::from_secs(3600));
        let (live, began) = (source.live(|value| *value), Instant::now());
        let change = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            source.replace(Duration::from_secs(7));
        };
        tokio::join!(live.sleep(), change);
        assert_eq!(began.elapsed(), Duration::from_secs(7));
        Live::fixed(Duration::from_secs(1)).sleep().await;
        assert_eq!(began.elapsed(), Duration::from_secs(8));
    }
}
