//! Actions: what a key changes of what is shown. None of them changes the mesh.

use super::command::command;
use super::listing::{ListFilter, Listing};
use super::{Pane, Prompt, TimeTravel, TopModel};
use crate::frame::prelude::*;
use crate::top::cells::Row;
use crate::top::keymap::{Action, Step};
use crate::top::views::{ListKind, View};

/// How far back each step in time is, in seconds.
const BACK_S: [i64; 16] =
    [10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];

/// How long before the time that is looked at events are read from the log.
const NEWS_BEFORE_MS: i64 = 300_000;

/// Rest that is left to do for whoever runs the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) enum Effect {
    None,
    Quit,
    Copy(String),
}

impl TopModel {
    /// Does what a key means.
    pub(in crate::top) fn act(&mut self, action: Action, now_ms: i64) -> Effect {
        self.dirty = true;
        match action {
            Action::Open(view) => self.open(view),
            Action::GoTo => self.prompt = Some(Prompt::View(String::new())),
            Action::Filter => self.begin_filter(now_ms),
            Action::Details => self.show_details(now_ms),
            Action::Explain => self.explain(now_ms),
            Action::History => self.show_history(now_ms),
            Action::Changes => self.show_changes(),
            Action::Problems => self.turn_problems(),
            Action::Sort => self.sort(now_ms, false),
            Action::Reverse => self.sort(now_ms, true),
            Action::Freeze => self.turn_freeze(now_ms),
            Action::Earlier => self.travel(now_ms, true),
            Action::Later => self.travel(now_ms, false),
            Action::Copy => return Effect::Copy(self.command()),
            Action::Times => {
                self.absolute = !self.absolute;
                let absolute = self.absolute;
                self.lists.values_mut().chain(&mut self.list).for_each(|list| list.settle(absolute));
            }
            Action::Namespace => self.next_namespace(now_ms),
            Action::Reconnect => {
                self.reconnect = true;
                self.begin_lists();
                self.counted_ms = None;
                self.looked_ms = i64::MIN / 2;
                self.say("connecting anew", now_ms);
            }
            Action::Help => self.show_help(),
            Action::Close => return self.close(),
            Action::Move(step) => self.step(step),
        }
        Effect::None
    }

    /// Closes what is open, the innermost first; at last the program.
    fn close(&mut self) -> Effect {
        if self.drawer.take().is_some() {
            return Effect::None;
        }
        if self.list.as_ref().is_some_and(|list| !list.filter.typed.is_empty()) {
            self.set_filter("");
            return Effect::None;
        }
        if !self.news_filter.is_empty() {
            self.news_filter.clear();
            return Effect::None;
        }
        if self.travel.is_some() {
            self.return_to_now();
            return Effect::None;
        }
        if self.wrong_only {
            self.turn_problems();
            return Effect::None;
        }
        if self.view != View::Overview {
            self.open(View::Overview);
            return Effect::None;
        }
        Effect::Quit
    }

    pub(in crate::top) fn open(&mut self, view: View) {
        self.drawer = None;
        if self.view == view {
            return;
        }
        self.view = view;
        self.event = 0;
        self.list = match view {
            View::List(kind) => {
                let mut list = Listing::new(kind);
                list.wrong_only = self.wrong_only;
                Some(list)
            }
            View::Overview | View::Events => None,
        };
        if self.travel.is_some() {
            let at = self.at();
            self.list.iter_mut().for_each(|list| list.move_to(&at));
        }
    }

    fn begin_filter(&mut self, now_ms: i64) {
        match &self.list {
            Some(list) => self.prompt = Some(Prompt::Filter(list.filter.typed.clone())),
            None if self.view == View::Events => self.prompt = Some(Prompt::Filter(self.news_filter.clone())),
            None => self.say("open a view to filter it: 2 peers, 3 leaders, 4 shards, ...", now_ms),
        }
    }

    pub(in crate::top) fn set_filter(&mut self, typed: &str) {
        if self.view == View::Events {
            self.news_filter = typed.trim().to_lowercase();
            self.event = 0;
        }
        if let Some(list) = &mut self.list {
            list.filter = ListFilter::of(typed, list.kind);
            (list.selected, list.top) = (0, 0);
            list.restart();
        }
        self.dirty = true;
    }

    /// Takes over what was typed at the prompt.
    pub(in crate::top) fn prompted(&mut self, now_ms: i64) {
        match self.prompt.take() {
            Some(Prompt::Filter(typed)) => self.set_filter(&typed),
            Some(Prompt::View(typed)) => {
                let typed = typed.trim();
                let mut names = self.keys.views.iter().map(|view| view.name.clone());
                match names.find(|name| !typed.is_empty() && name.starts_with(typed)) {
                    Some(name) => View::named(&name).into_iter().for_each(|view| self.open(view)),
                    None => self.say(format!("there is no view `{}`", printable(typed)), now_ms),
                }
            }
            None => {}
        }
        self.dirty = true;
    }

    fn turn_problems(&mut self) {
        self.wrong_only = !self.wrong_only;
        let wrong_only = self.wrong_only;
        let absolute = self.absolute;
        for list in self.list.iter_mut() {
            list.wrong_only = wrong_only;
            (list.selected, list.top) = (0, 0);
            list.restart();
        }
        for list in self.lists.values_mut() {
            // Of the overview what is there already is looked through.
            list.wrong_here = wrong_only;
            list.settle(absolute);
            list.selected = list.selected.min(list.shown.len().saturating_sub(1));
        }
        self.pane = if wrong_only && !self.problems.is_empty() { Pane::Problems } else { self.pane };
    }

    fn sort(&mut self, now_ms: i64, turn: bool) {
        let Some(list) = &mut self.list else {
            return self.say("open a view to sort it: 2 peers, ...", now_ms);
        };
        let spec = list.kind.spec();
        if spec.orders.is_empty() {
            let note = format!("the daemon sorts {} by their ids alone", spec.noun);
            return self.say(note, now_ms);
        }
        let (place, turned) = list.order;
        list.order = if turn { (place, !turned) } else { ((place + 1) % spec.orders.len(), turned) };
        let (order, _) = spec.orders[list.order.0];
        let direction = if list.order.1 { ", descending" } else { "" };
        (list.selected, list.top) = (0, 0);
        list.restart();
        self.say(format!("sorted by {}{direction}", order.replace('_', " ")), now_ms);
    }

    fn turn_freeze(&mut self, now_ms: i64) {
        match self.frozen.take() {
            Some(_) => self.touch(&ListKind::ALL),
            None => self.frozen = Some((self.daemon_ms(now_ms), self.news.count)),
        }
    }

    fn travel(&mut self, now_ms: i64, earlier: bool) {
        let now = self.daemon_ms(now_ms);
        let step = match (self.travel, earlier) {
            (None, true) => 0,
            (None, false) => return self.say("this is now", now_ms),
            (Some(travel), true) => (travel.step + 1).min(BACK_S.len() - 1),
            (Some(TimeTravel { step: 0, .. }), false) => return self.return_to_now(),
            (Some(travel), false) => travel.step - 1,
        };
        self.travel = Some(TimeTravel { step, at_ms: now - BACK_S[step] * 1000 });
        self.move_lists();
    }

    fn return_to_now(&mut self) {
        self.travel = None;
        self.move_lists();
    }

    /// Has all lists asked for anew, of the time that is looked at.
    fn move_lists(&mut self) {
        let at = self.at();
        self.lists.values_mut().chain(&mut self.list).for_each(|list| list.move_to(&at));
        self.counted.clear();
        self.counted_ms = None;
    }

    /// Has all lists asked for anew.
    fn begin_lists(&mut self) {
        self.lists.values_mut().chain(&mut self.list).for_each(Listing::restart);
    }

    fn next_namespace(&mut self, now_ms: i64) {
        let names = self.namespaces();
        if names.is_empty() {
            return self.say("there is no namespace", now_ms);
        }
        match self.list.as_mut().filter(|list| list.kind == ListKind::Shards) {
            Some(list) => {
                // All of them come after the last.
                let place = names.iter().position(|name| *name == list.namespace);
                let next =
                    place.map_or(Some(0), |place| Some(place + 1).filter(|place| *place < names.len()));
                list.namespace = next.map(|place| names[place].clone()).unwrap_or_default();
                (list.selected, list.top) = (0, 0);
                list.restart();
            }
            None => {
                self.namespace = (self.namespace + 1) % names.len();
                self.follow_namespace();
            }
        }
    }

    /// Row that is selected, and the list that it is of.
    pub(super) fn selected(&self) -> Option<(ListKind, &Row)> {
        let list = match (&self.list, self.pane) {
            (Some(list), _) => list,
            (None, _) if self.view == View::Events => return None,
            (None, Pane::Peers) => self.lists.get(&ListKind::Peers)?,
            (None, Pane::Leaders) => self.lists.get(&ListKind::Leaders)?,
            (None, Pane::Shards) => self.lists.get(&ListKind::Shards)?,
            (None, Pane::Problems | Pane::Events) => return None,
        };
        list.selected_row().map(|row| (list.kind, row))
    }

    /// Subject of the selected event: `peer/node-2`.
    pub(super) fn selected_subject(&self) -> Option<&str> {
        let of_events = self.view == View::Events || (self.list.is_none() && self.pane == Pane::Events);
        let item = self.shown_news().nth(self.event).filter(|_| of_events)?;
        item.subject.contains('/').then_some(item.subject.as_str())
    }

    /// Events that are shown, the newest first.
    pub(in crate::top) fn shown_news(&self) -> impl Iterator<Item = &super::NewsItem> {
        let hidden = self.frozen.map_or(0, |(_, count)| self.news.count - count);
        let is_wanted = |item: &&super::NewsItem| {
            (!self.wrong_only || item.tone.is_wrong())
                && self.travel.is_none_or(|travel| item.at_ms <= travel.at_ms)
                && self.news_filter.split_whitespace().all(|text| item.has(text))
        };
        let shown = self.news.newest().skip(usize::try_from(hidden).unwrap_or(usize::MAX)).filter(is_wanted);
        // On the overview the newest of many of one sort stands for all of them.
        let folds = self.view == View::Overview;
        let mut covered = 0;
        shown.filter(move |item| {
            let is_first = covered == 0;
            covered = if is_first { item.run } else { covered - 1 };
            is_first || !folds
        })
    }

    /// Time from which on the log is to be read for what happened before the time that is looked at.
    pub(in crate::top) fn news_since(&self) -> String {
        self.travel.map(|travel| time::clock(travel.at_ms - NEWS_BEFORE_MS)).unwrap_or_default()
    }

    /// Command for what is selected.
    pub(in crate::top) fn command(&self) -> String {
        let of = |verb: &str, names: &[&str]| command(verb, names, &self.context);
        if let Some(drawer) = self.drawer.as_ref().filter(|drawer| !drawer.command.is_empty()) {
            return drawer.command.clone();
        }
        if self.view == View::Overview && self.pane == Pane::Problems {
            let problem = self.problems.get(self.problem);
            return problem.and_then(super::Problem::command).map_or_else(
                || of("mesh check --short", &[]),
                |command| match self.context.as_str() {
                    context if context.is_empty() || command.contains(" --addr ") => command,
                    context => format!("{command} --context {}", super::command::quoted(context)),
                },
            );
        }
        if let Some((kind, row)) = self.selected() {
            return of(kind.spec().command, &[&row.id]);
        }
        match self.selected_subject() {
            None if self.view == View::Events && self.travel.is_some() => {
                let since = self.news_since();
                of("events tail --since", &[&since])
            }
            Some(subject) => of("events tail --since 10m --subject", &[subject]),
            None => of("mesh status", &[]),
        }
    }

    fn step(&mut self, step: Step) {
        let page = self.page_rows.max(1);
        if let Some(drawer) = &mut self.drawer {
            let last = drawer.lines.as_ref().map_or(0, |lines| lines.len().saturating_sub(1));
            drawer.top = moved(drawer.top, last, page, step);
            return;
        }
        match (&mut self.list, self.view) {
            (Some(list), _) => {
                list.selected = moved(list.selected, list.shown.len().saturating_sub(1), page, step);
            }
            (None, View::Events) => {
                let last = self.shown_news().count().saturating_sub(1);
                self.event = moved(self.event, last, page, step);
            }
            (None, _) => self.step_in_overview(step, page),
        }
    }

    /// Panes of the overview that have something in them.
    fn panes(&self) -> Vec<Pane> {
        let filled = |kind| self.lists.get(&kind).is_some_and(|list: &Listing| !list.shown.is_empty());
        let mut panes = Vec::new();
        panes.extend((!self.problems.is_empty()).then_some(Pane::Problems));
        panes.extend(filled(ListKind::Peers).then_some(Pane::Peers));
        panes.extend(filled(ListKind::Leaders).then_some(Pane::Leaders));
        panes.extend(filled(ListKind::Shards).then_some(Pane::Shards));
        panes.extend(self.shown_news().next().is_some().then_some(Pane::Events));
        panes
    }

    fn step_in_overview(&mut self, step: Step, page: usize) {
        let panes = self.panes();
        let place = panes.iter().position(|pane| *pane == self.pane).unwrap_or(0);
        let Some(&pane) = panes.get(place) else { return };
        let turned = match step {
            Step::NextPane => Some((place + 1) % panes.len()),
            Step::PaneBefore => Some((place + panes.len() - 1) % panes.len()),
            Step::Up | Step::Down | Step::PageUp | Step::PageDown | Step::First | Step::Last => None,
        };
        if let Some(turned) = turned {
            self.pane = panes[turned];
            return;
        }
        self.pane = pane;
        let events = self.shown_news().count();
        let (selected, rows) = match pane {
            Pane::Problems => (&mut self.problem, self.problems.len()),
            Pane::Events => (&mut self.event, events),
            Pane::Peers | Pane::Leaders | Pane::Shards => {
                let kind = match pane {
                    Pane::Leaders => ListKind::Leaders,
                    Pane::Shards => ListKind::Shards,
                    Pane::Problems | Pane::Peers | Pane::Events => ListKind::Peers,
                };
                let Some(list) = self.lists.get_mut(&kind) else { return };
                let rows = list.shown.len();
                (&mut list.selected, rows)
            }
        };
        let last = rows.saturating_sub(1);
        // Beyond the end of a pane the next one begins.
        match step {
            Step::Down if *selected >= last && place + 1 < panes.len() => self.pane = panes[place + 1],
            Step::Up if *selected == 0 && place > 0 => self.pane = panes[place - 1],
            step => *selected = moved(*selected, last, page, step),
        }
    }
}

fn moved(place: usize, last: usize, page: usize, step: Step) -> usize {
    match step {
        Step::Up => place.saturating_sub(1),
        Step::Down => (place + 1).min(last),
        Step::PageUp => place.saturating_sub(page),
        Step::PageDown => (place + page).min(last),
        Step::First => 0,
        Step::Last => last,
        Step::NextPane | Step::PaneBefore => place,
    }
}
