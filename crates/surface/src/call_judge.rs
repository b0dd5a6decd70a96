//! Judgement of calls: whether one that was let in may begin.

use std::any::Any;

use omnirelay_wire::fault::Fault;

/// Judge of the calls of a surface. It is asked on the task that serves the call: it must not wait.
pub trait CallJudge: Send + Sync + 'static {
    /// Lets a call begin; what is given is kept until the call is over, a stream with it.
    ///
    /// # Errors
    /// The fault that its caller is told.
    fn begin(&self, call: &BeginningCall) -> Result<CallHold, Fault>;
}

/// Call that was let in, and is about to begin.
#[derive(Clone, Copy, Debug)]
pub struct BeginningCall {
    /// `/package.Service/Method`.
    pub method: &'static str,
    /// What the port is called that it came in by.
    pub port: &'static str,
    /// Whether its answer is a stream, and its request is none.
    pub is_watch: bool,
}

/// Hold that a judge has of a call until that is over.
pub type CallHold = Option<Box<dyn Any + Send + Sync>>;
