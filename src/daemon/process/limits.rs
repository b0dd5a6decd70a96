//! The limits that the system sets to the process: open files, the size of a file, threads.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::SIGXFSZ;
use tracing::debug;

/// How many threads the daemon needs beside those that its event loop runs on: for signals and for stalls, three of the embedded
/// store, and for files that are read and written.
const THREADS_BESIDES: usize = 2 + 3 + 8;

/// Raises the limit of open files and connections to what the system lets the process have: each agent, watch and client is
/// one, and the usual limit of 1024 is for programs that wait with `select`, which this one does not.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => debug!(?current, ?maximum, "limit of open files raised"),
        Err(error) => debug!(%error, ?current, ?maximum, "limit of open files stays"),
    }
}

/// Has a write beyond the limit of file sizes fail, as one to a full disk does: left to itself, the system ends the process by
/// a signal in the middle of it.
pub fn outlive_file_size() {
    // Nobody looks at the flag: that somebody hears the signal is enough.
    if let Err(error) = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))) {
        debug!(%error, "a file beyond the limit of sizes ends the process");
    }
}

/// The system does not let the process have the threads that it needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the system lets this process have {had} threads beside those that run, and it needs {needed}: raise the limit (TasksMax= \
     of its unit, pids.max of its container, ulimit -u of its user, whose other processes count)"
)]
pub struct TooFewThreads {
    had: usize,
    needed: usize,
    source: io::Error,
}

/// Checks that the process may have the threads that it needs, before it depends on any of them.
///
/// # Errors
/// [`TooFewThreads`].
pub fn check_threads() -> Result<(), TooFewThreads> {
    // As many as the event loop takes.
    check(thread::available_parallelism().map_or(1, usize::from) + THREADS_BESIDES, |thread| {
        thread::Builder::new().name("trial".to_owned()).spawn(thread).map(drop)
    })
}

type ThreadBody = Box<dyn FnOnce() + Send>;

/// Has so many threads at once, for a moment.
fn check(needed: usize, mut spawn: impl FnMut(ThreadBody) -> io::Result<()>) -> Result<(), TooFewThreads> {
    let (hold, gone) = mpsc::channel::<()>();
    // All wait until the sender is gone.
    let gate = Arc::new(Mutex::new(gone));
    let (end, ended) = mpsc::channel::<()>();
    let mut refused = None;
    for had in 0..needed {
        let (gate, end) = (gate.clone(), end.clone());
        let waits = move || {
            let _ = gate.lock().recv();
            drop(end);
        };
        if let Err(source) = spawn(Box::new(waits)) {
            refused = Some(TooFewThreads { had, needed, source });
            break;
        }
    }
    drop((hold, end));
    // Those that are needed next are not to meet them.
    let _ = ended.recv();
    refused.map_or(Ok(()), Err)
}

/// Has the process end when its main thread panics: what that has built waits for threads that may never end, and until then
/// the process would stand there and serve nobody.
///
/// For a process whose stores are open: until then the storage engine may panic over a damaged file on the main thread, which is
/// caught there and told as what it is.
pub fn end_when_main_panics() {
    let (main, told) = (thread::current().id(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        if thread::current().id() == main {
            std::process::exit(1);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_said_with_how_much_is_needed() {
        check(4, |thread| thread::Builder::new().spawn(thread).map(drop)).unwrap();
        let mut left = 3;
        let refused = check(4, |run| {
            if left == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            left -= 1;
            thread::Builder::new().spawn(run).map(drop)
        });
        let refused = refused.unwrap_err();
        assert_eq!((refused.had, refused.needed), (3, 4));
        assert!(refused.to_string().contains("raise the limit"), "{refused}");
    }
}
