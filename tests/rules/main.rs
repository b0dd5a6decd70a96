//! The rules of the house, checked on the source tree.
//!
//! `ARCHITECTURE.md` says why they are. Each check is a function from files to findings; each is
//! run on this repository, and on small planted files that it must and must not find fault with.

mod backends;
mod broken_inputs;
mod comments;
mod commits;
mod composition;
mod core;
mod decisions;
mod dependencies;
mod doors;
mod events;
mod faults;
mod foreign_errors;
mod frame;
mod glossary;
mod hooks;
mod links;
mod objects;
mod observability;
mod packaging;
mod paths;
mod ports;
mod repository;
mod rooms;
mod runbooks;
mod scripts;
mod settings;
mod size;
mod tokens;
mod unfinished;
mod words;
