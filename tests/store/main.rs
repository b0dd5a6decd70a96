//! The contract of the store, kept by every backend, and what the embedded one adds to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it finds"
)]

use omnirelay_support::{process, servers};

mod defects;
mod durability;
mod harness;
mod linearizable;
mod loops;
mod optimistic;
mod redis;
mod replacements;
mod retime;
mod suite;

/// Runs every rule on stores made by `$fresh`, each as a test of its own.
macro_rules! contract {
    ($fresh:expr; $($module:ident { $($rule:ident: $defect:ident $(=> $says:literal)?,)* })*) => {$(
        mod $module {
            $(
                #[tokio::test]
                async fn $rule() {
                    crate::suite::rule::$module::$rule($fresh.await).await;
                }
            )*
        }
    )*};
}

/// Runs every rule on a store with the defect that it must catch, and looks whether it fails
/// where the list says.
macro_rules! catches_defects {
    ($($module:ident { $($rule:ident: $defect:ident $(=> $says:literal)?,)* })*) => {$(
        mod $module {
            $(
                #[tokio::test]
                async fn $rule() {
                    crate::defects::watch_panics();
                    let broken = crate::defects::BrokenHarness::fresh(crate::defects::$defect).await;
                    let verdict = tokio::spawn(crate::suite::rule::$module::$rule(broken)).await;
                    let says: &[&str] = &[$($says)?];
                    crate::defects::assert_noticed(stringify!($defect), verdict, says);
                }
            )*
        }
    )*};
}

mod memory {
    crate::every_rule!(contract crate::harness::Memory::fresh(););
}

mod embedded {
    crate::every_rule!(contract crate::harness::Embedded::fresh(););
    crate::every_restart_rule!(contract crate::harness::Embedded::fresh(););
}

mod rows_in_memory {
    crate::every_rule!(contract crate::optimistic::Optimistic::fresh(););
    crate::every_restart_rule!(contract crate::optimistic::Optimistic::fresh(););
}

mod redis_standalone {
    crate::every_rule!(contract crate::redis::Redis::standalone(););
    crate::every_restart_rule!(contract crate::redis::Redis::standalone(););
}

mod redis_sentinel {
    crate::every_rule!(contract crate::redis::Redis::sentinel(););
    crate::every_restart_rule!(contract crate::redis::Redis::sentinel(););
}

mod redis_cluster {
    crate::every_rule!(contract crate::redis::Redis::cluster(););
    crate::every_restart_rule!(contract crate::redis::Redis::cluster(););
}

mod defects_are_caught {
    crate::every_rule!(catches_defects);
    crate::every_restart_rule!(catches_defects);
}

/// What a defect is put into keeps the rules itself, so that only the defect can break them.
mod without_a_defect {
    crate::every_rule!(contract crate::defects::BrokenHarness::fresh(crate::defects::Defect::default););
    crate::every_restart_rule!(contract crate::defects::BrokenHarness::fresh(crate::defects::Defect::default););
}
