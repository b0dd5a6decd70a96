//! `omnirelay dev`: faults on demand for the nodes of `omnirelay up`.

mod change;
mod kill;
mod list;
mod pause;
mod resume;

use super::verbs::verbs;

verbs! {
    DevArgs {
        List: list::ListArgs,
        Kill: kill::KillArgs,
        Pause: pause::PauseArgs,
        Resume: resume::ResumeArgs,
    }
}
