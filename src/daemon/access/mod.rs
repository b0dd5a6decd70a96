//! Who may come in: the control socket, the file of tokens, and what users of this host are called.
//!
//! What a caller proves is judged by the authenticators of the surface; here is what they are given.

pub mod permissions;
pub mod socket;
pub mod tokens;
pub mod users;

use std::sync::Arc;

use self::socket::ControlSocket;
use super::surface::Tokens;

/// By what a node lets callers in, besides its ports.
#[derive(Debug, Default)]
pub struct Access {
    /// The socket for users of this host.
    pub socket: Option<ControlSocket>,
    /// The tokens that prove somebody.
    pub tokens: Arc<Tokens>,
}
