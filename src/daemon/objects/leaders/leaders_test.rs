//! What can be asked about scopes, on the memory store.
