//! A gate in front of a resource: it refuses who has been succeeded.
//!
//! A leader holds its scope by a lease. It may be paused, lose the lease without noticing, and go on
//! writing when it wakes up. Each new holder of a scope gets a greater *fence token*, so the resource can
//! tell: once it has seen a token, every lower one is stale. [`FencingGate`] remembers the greatest token
//! of each scope, its *mark*, and refuses lower ones.
//!
//! # Which call
//!
//! [`FencingGate::run`] is the one to use: the write happens while the scope is held, so no greater token
//! is admitted between the check and the end of the write. [`FencingGate::admit`] only checks. What is
//! written after it returned may come later than a write of the successor; it is for a write that carries
//! the token to a place which compares again, and for a new leader that announces itself.
//!
//! A new leader calls the gate before it reads what its work is built on. Until its token is there, the
//! gate cannot know of it and admits its predecessor.
//!
//! # Why no admitted token is forgotten
//!
//! A greater token is durable in the file first, then becomes the mark in memory, then is admitted. So at
//! any time *admitted ≤ mark in memory ≤ mark on disk*, and a crash, which keeps only the disk, never
//! lowers the mark below what was admitted. The other way round, a second call with the same token would
//! be let through by the mark in memory before the disk has it, and a crash would forget it. When
//! recording fails, the token is refused and the mark in memory stays. The disk may hold the token all the
//! same; then its predecessors are refused from the next start on, which is early and does no harm.

mod file;
mod recorder;
mod scope;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use file::MarkFile;
use recorder::Recorder;
use scope::{Name, Scope};

/// The longest name of a scope, in bytes.
pub const SCOPE_BYTES_MAX: usize = 256;
/// The most scopes that a gate remembers. A scope counts from its first call and is never forgotten.
pub const SCOPES_MAX: usize = 100_000;

/// Lets writes pass that carry the greatest fence token seen for their scope, and refuses lower ones.
///
/// It can be shared by threads: calls for different scopes do not wait for each other, except that
/// greater tokens are recorded in one file, one write after the other (those that wait share the next
/// one). One gate guards a resource only if nothing reaches the resource past it: two processes with a
/// gate each do not see each other's marks.
///
/// A gate believes the tokens and the scope names that it is given; take them from callers that are
/// authenticated, because the mark of a scope never sinks and a scope is never forgotten. Names are
/// compared byte by byte.
#[derive(Debug)]
pub struct FencingGate {
    scopes: RwLock<HashMap<Name, Arc<Scope>>>,
    scopes_max: usize,
    recorder: Recorder,
    refused: AtomicU64,
}

/// Way in which a token was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It was the mark of the scope already.
    Current,
    /// It is greater than all before it, and the mark from now on.
    Raised,
}

/// Error of opening a gate. The file of marks is as it was.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The file system refuses.
    #[error("cannot use the fence marks in `{path}`")]
    Open { path: PathBuf, source: io::Error },
    /// Another gate, mostly of another process, has the file.
    #[error("the fence marks in `{path}` are in use by another process; stop that one first")]
    Locked { path: PathBuf },
    /// What is in the file was not written by a gate, or not all of it is there.
    #[error(
        "the fence marks in `{path}` are damaged at line {line}: {what}; a gate without them would let \
         stale leaders write, so make sure that no earlier leader still runs, then move the file away \
         together with `{lock}`"
    )]
    Damaged { path: PathBuf, lock: PathBuf, line: usize, what: String },
    /// There was a file, and it is gone.
    #[error(
        "the fence marks in `{path}` are gone, but `{lock}` says that there were some; bring the file \
         back, or make sure that no earlier leader still runs and remove `{lock}`"
    )]
    Vanished { path: PathBuf, lock: PathBuf },
}

/// Refusal of a token that was not let through. The caller must not write.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A greater token has been admitted: whoever sends this one has been succeeded, and shall stop.
    #[error(
        "stale fence token {token} for `{scope}`: {mark} was admitted before; stop writing as its leader"
    )]
    Stale { scope: String, token: u64, mark: u64 },
    /// The token is greater than the mark and could not be made durable. The mark is as it was; the call
    /// may be repeated.
    #[error(
        "cannot record fence token {token} for `{scope}`, so it is not admitted; free the disk, then retry"
    )]
    Unrecorded { scope: String, token: u64, source: io::Error },
    /// The gate knows as many scopes as it may.
    #[error(
        "no room for scope `{scope}`: the gate knows {scopes_max} already; use another gate for some of them"
    )]
    TooManyScopes { scope: String, scopes_max: usize },
    /// The name of the scope is empty, too long, or has control characters.
    #[error("the name of the scope {what}")]
    ScopeName { what: &'static str },
    /// Zero is what a token that was never set reads as.
    #[error("fence token 0 for `{scope}`: a token is at least 1; was it left out?")]
    NoToken { scope: String },
}

impl FencingGate {
    /// Opens a gate that keeps its marks in the file `path`, which is made, readable by its owner only,
    /// if it is not there. Beside it `path.lock` is made and stays; it keeps a second process out.
    ///
    /// # Errors
    /// When the file cannot be used, is in use, is damaged, or has vanished. A gate never begins anew
    /// because it could not read its marks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GateError> {
        Self::open_limited(path.as_ref(), SCOPES_MAX)
    }

    /// As [`FencingGate::open`], remembering at most `scopes_max` scopes, which is held to
    /// [`SCOPES_MAX`]. With too low a limit new scopes are refused; those in the file always fit.
    ///
    /// # Errors
    /// Those of [`FencingGate::open`].
    pub fn open_limited(path: &Path, scopes_max: usize) -> Result<Self, GateError> {
        let (file, marks) = MarkFile::open(path)?;
        let scopes =
            marks.iter().map(|(name, mark)| (name.clone(), Arc::new(Scope::new(name.clone(), *mark))));
        Ok(Self {
            scopes: RwLock::new(scopes.collect()),
            scopes_max: scopes_max.min(SCOPES_MAX),
            recorder: Recorder::new(Some(file), marks),
            refused: AtomicU64::new(0),
        })
    }

    /// Makes a gate that forgets all marks when it is dropped: after a restart, stale leaders pass. For
    /// tests, and for those who keep the marks elsewhere and [`FencingGate::admit`] them at the start.
    pub fn in_memory() -> Self {
        Self {
            scopes: RwLock::default(),
            scopes_max: SCOPES_MAX,
            recorder: Recorder::new(None, Default::default()),
            refused: AtomicU64::new(0),
        }
    }

    /// Runs `write` if `token` is not stale, and admits no greater token for `scope` until it has ended.
    ///
    /// Calls with the same token run beside each other. Who brings a greater one waits for them, so
    /// `write` must end, even when what it talks to hangs: give it a timeout. It must not call the gate
    /// for the same scope (that can wait for ever), and it must be done when it returns: a request that is
    /// still on its way can arrive after the successor's. A panic in it lets go of the scope.
    ///
    /// # Errors
    /// As [`FencingGate::admit`]; `write` has not been called then.
    pub fn run<R>(&self, scope: &str, token: u64, write: impl FnOnce() -> R) -> Result<R, Refused> {
        self.counting(|| {
            let scope = self.scope(scope, token)?;
            let _held = match token.cmp(&scope.mark()) {
                Ordering::Less => return Err(scope.stale(token)),
                Ordering::Equal => scope.share(),
                Ordering::Greater => RwLockWriteGuard::downgrade(self.raise(&scope, token)?.0),
            };
            // It may have been raised while this waited; from here on it cannot be.
            if token < scope.mark() {
                return Err(scope.stale(token));
            }
            Ok(write())
        })
    }

    /// Checks `token`: that of the mark is let through, at the cost of a look into memory; a greater one
    /// is made durable, waits until no [`FencingGate::run`] of the scope is under way, and becomes the
    /// mark; a lower one is refused.
    ///
    /// The answer is about this instant. A greater token may be admitted before the caller writes.
    ///
    /// # Errors
    /// All variants of [`Refused`]; the mark is then as it was.
    pub fn admit(&self, scope: &str, token: u64) -> Result<Admitted, Refused> {
        self.counting(|| {
            let scope = self.scope(scope, token)?;
            match token.cmp(&scope.mark()) {
                Ordering::Less => Err(scope.stale(token)),
                Ordering::Equal => Ok(Admitted::Current),
                Ordering::Greater => self.raise(&scope, token).map(|(_held, admitted)| admitted),
            }
        })
    }

    /// The greatest token admitted for `scope`; `None` before the first one.
    pub fn mark(&self, scope: &str) -> Option<u64> {
        self.known(scope).map(|scope| scope.mark()).filter(|mark| *mark > 0)
    }

    /// Number of calls that were refused, for whatever reason, since this gate was opened.
    pub fn refused(&self) -> u64 {
        self.refused.load(Memory::Relaxed)
    }

    fn counting<R>(&self, call: impl FnOnce() -> Result<R, Refused>) -> Result<R, Refused> {
        call().inspect_err(|_| {
            self.refused.fetch_add(1, Memory::Relaxed);
        })
    }

    fn known(&self, name: &str) -> Option<Arc<Scope>> {
        self.scopes.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The scope of this name, which `token` may be the first to call.
    fn scope(&self, name: &str, token: u64) -> Result<Arc<Scope>, Refused> {
        if token == 0 {
            return Err(Refused::NoToken { scope: scope::shortened(name) });
        }
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        scope::check_name(name).map_err(|what| Refused::ScopeName { what })?;
        let mut scopes = self.scopes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = scopes.get(name) {
            return Ok(known.clone());
        }
        if scopes.len() >= self.scopes_max {
            return Err(Refused::TooManyScopes { scope: name.to_owned(), scopes_max: self.scopes_max });
        }
        let name = Name::from(name);
        Ok(scopes.entry(name.clone()).or_insert_with(|| Arc::new(Scope::new(name, 0))).clone())
    }

    /// Makes `token` the mark, unless it is stale by now; the scope is still held when this returns.
    fn raise<'a>(
        &self,
        scope: &'a Scope,
        token: u64,
    ) -> Result<(RwLockWriteGuard<'a, ()>, Admitted), Refused> {
        let held = scope.hold();
        match token.cmp(&scope.mark()) {
            Ordering::Less => return Err(scope.stale(token)),
            Ordering::Equal => return Ok((held, Admitted::Current)),
            Ordering::Greater => {}
        }
        self.recorder.record(scope.name(), token).map_err(|source| Refused::Unrecorded {
            scope: scope.name().to_string(),
            token,
            source,
        })?;
        scope.raise(token);
        Ok((held, Admitted::Raised))
    }
}
