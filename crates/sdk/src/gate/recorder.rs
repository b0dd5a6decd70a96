//! Makes marks durable; those that come while a write is under way share the next one.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use super::file::MarkFile;
use super::scope::Name;

/// The marks by the names of their scopes.
pub(super) type ScopeMarks = BTreeMap<Name, u64>;

#[derive(Debug)]
pub(super) struct Recorder {
    /// `None`: nothing is kept.
    file: Option<MarkFile>,
    state: Mutex<State>,
    /// Told when a write has ended.
    written: Condvar,
}

#[derive(Debug)]
struct State {
    /// What is certainly on disk. The file may hold more after a write that failed late.
    marks: ScopeMarks,
    /// What callers wait for, as far as no write has taken it up. Never more than there are callers.
    wanted: ScopeMarks,
    writing: bool,
    failing: bool,
}

impl Recorder {
    /// Records in `file`, which holds `marks`.
    pub(super) fn new(file: Option<MarkFile>, marks: ScopeMarks) -> Self {
        let state = State { marks, wanted: ScopeMarks::new(), writing: false, failing: false };
        Self { file, state: Mutex::new(state), written: Condvar::new() }
    }

    /// Returns when `token`, greater than the mark of `scope`, is durable. The caller holds the scope.
    ///
    /// # Errors
    /// Those of the file system. What is known to be recorded is as before.
    pub(super) fn record(&self, scope: &Name, token: u64) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut state = self.state();
        state.wanted.insert(scope.clone(), token);
        while state.marks.get(scope).is_none_or(|mark| *mark < token) {
            if state.writing {
                state = self.written.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                return self.write(file, state, scope, token);
            }
        }
        // The write of another caller took it along.
        Ok(())
    }

    /// Writes `token` and all else that is wanted. When that fails, it fails for this caller; the others
    /// try again themselves.
    fn write(
        &self,
        file: &MarkFile,
        mut state: MutexGuard<'_, State>,
        scope: &Name,
        token: u64,
    ) -> io::Result<()> {
        let mut marks = state.marks.clone();
        marks.append(&mut state.wanted);
        // A write that failed may have taken it out of what is wanted.
        marks.insert(scope.clone(), token);
        state.writing = true;
        drop(state);
        let result = file.write(&marks);
        let mut state = self.state();
        state.writing = false;
        state.say(&result);
        if result.is_ok() {
            state.marks = marks;
        }
        drop(state);
        self.written.notify_all();
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Logs when recording begins to fail, and when it works again.
    fn say(&mut self, result: &io::Result<()>) {
        match (result, self.failing) {
            (Err(error), false) => {
                warn!(%error, "fence marks could not be recorded: greater tokens are refused");
            }
            (Ok(()), true) => info!("fence marks were recorded again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        self.failing = result.is_err();
    }
}
