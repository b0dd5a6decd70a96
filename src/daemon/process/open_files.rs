//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Raises the limit to what the system lets the process have: each agent, watch and client is an open file, and the
/// usual limit of 1024 is for programs that wait with `select`, which this one does not.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => debug!(?current, ?maximum, "limit of open files raised"),
        Err(error) => debug!(%error, ?current, ?maximum, "limit of open files stays"),
    }
}
