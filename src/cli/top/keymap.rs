//! The key map that page and terminal have in common, as the page brings it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde::Deserialize;

use super::views::View;
use crate::frame::prelude::*;

/// Name of the map among the files of the page.
const FILE: &str = "keys.json";

/// The map: which key opens which view, and does what.
#[derive(Debug, Deserialize)]
pub(super) struct KeyMap {
    pub views: Vec<ViewKey>,
    pub actions: Vec<ActionKeys>,
}

/// The digit of a view.
#[derive(Debug, Deserialize)]
pub(super) struct ViewKey {
    pub key: String,
    pub name: String,
}

/// The keys of an action, and what help says of it.
#[derive(Debug, Deserialize)]
pub(super) struct ActionKeys {
    pub keys: Vec<String>,
    pub action: String,
    pub help: String,
}

/// Meaning of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Open(View),
    GoTo,
    Filter,
    Details,
    Explain,
    History,
    Changes,
    Problems,
    Sort,
    Reverse,
    Freeze,
    Earlier,
    Later,
    Copy,
    Times,
    Namespace,
    Reconnect,
    Help,
    Close,
    Move(Step),
}

/// Step of the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    /// The next pane of the overview.
    NextPane,
    PaneBefore,
}

impl KeyMap {
    /// The map that is built in.
    ///
    /// # Errors
    /// When it is not there or cannot be read, which a test rules out.
    pub(super) fn built_in() -> Result<Self, CliError> {
        let bytes = omnirelay_page::file(FILE).map_or(&[][..], |file| file.bytes);
        serde_json::from_slice(bytes)
            .map_err(|error| CliError::local(reasons::ENCODING, "cannot read the key map", &error))
    }

    /// Meaning of a key where nothing is being typed; `None`: nothing.
    pub(super) fn meaning(&self, key: &KeyEvent) -> Option<Action> {
        if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
            return None;
        }
        let typed = name_of(key.code)?;
        if let Some(view) = self.views.iter().find(|view| view.key == typed) {
            return View::named(&view.name).map(Action::Open);
        }
        let known = self.actions.iter().find(|known| known.keys.contains(&typed));
        known.and_then(|known| action(&known.action)).or_else(|| step(key.code).map(Action::Move))
    }
}

/// Name of a key as the map has it, which is that of browsers.
fn name_of(code: KeyCode) -> Option<String> {
    Some(match code {
        KeyCode::Char(' ') => "Space".to_owned(),
        KeyCode::Char(letter) => letter.to_string(),
        KeyCode::Enter => "Enter".to_owned(),
        KeyCode::Esc => "Escape".to_owned(),
        _ if step(code).is_some() => String::new(),
        _ => return None,
    })
}

/// Action with this name in the map.
fn action(name: &str) -> Option<Action> {
    Some(match name {
        "view" => Action::GoTo,
        "filter" => Action::Filter,
        "details" => Action::Details,
        "explain" => Action::Explain,
        "history" => Action::History,
        "changes" => Action::Changes,
        "problems" => Action::Problems,
        "sort" => Action::Sort,
        "reverse" => Action::Reverse,
        "freeze" => Action::Freeze,
        "earlier" => Action::Earlier,
        "later" => Action::Later,
        "copy" => Action::Copy,
        "times" => Action::Times,
        "namespace" => Action::Namespace,
        "reconnect" => Action::Reconnect,
        "help" => Action::Help,
        "close" => Action::Close,
        _ => return None,
    })
}

/// Keys that move the selection, which every list has.
fn step(code: KeyCode) -> Option<Step> {
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => Step::Up,
        KeyCode::Down | KeyCode::Char('j') => Step::Down,
        KeyCode::PageUp => Step::PageUp,
        KeyCode::PageDown => Step::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Step::First,
        KeyCode::End | KeyCode::Char('G') => Step::Last,
        KeyCode::Tab | KeyCode::Right => Step::NextPane,
        KeyCode::BackTab | KeyCode::Left => Step::PaneBefore,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn every_key_of_the_map_means_something_here() {
        let map = KeyMap::built_in().unwrap();
        assert_eq!(map.views.len(), 8);
        for view in &map.views {
            let known = View::named(&view.name).unwrap_or_else(|| panic!("no view `{}`", view.name));
            let digit = view.key.chars().next().unwrap();
            assert_eq!(map.meaning(&pressed(KeyCode::Char(digit))), Some(Action::Open(known)));
        }
        for known in &map.actions {
            let meant = action(&known.action).unwrap_or_else(|| panic!("`{}` does nothing", known.action));
            for key in &known.keys {
                let code = match key.as_str() {
                    "Enter" => KeyCode::Enter,
                    "Escape" => KeyCode::Esc,
                    "Space" => KeyCode::Char(' '),
                    letter => KeyCode::Char(letter.chars().next().unwrap()),
                };
                assert_eq!(map.meaning(&pressed(code)), Some(meant), "{key}");
            }
        }
    }

    #[test]
    fn keys_with_control_are_no_letters() {
        let map = KeyMap::built_in().unwrap();
        assert_eq!(map.meaning(&KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), None);
        assert_eq!(map.meaning(&pressed(KeyCode::Char('z'))), None);
        assert_eq!(map.meaning(&pressed(KeyCode::Down)), Some(Action::Move(Step::Down)));
    }
}
