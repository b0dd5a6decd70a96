//! Drawers that are opened: about what is selected, what changed, what is wrong, and the keys.

use super::command::command;
use super::drawer::{Drawer, DrawerKind, DrawerLine};
use super::{Ask, NewsItem, Pane, TopModel};
use crate::frame::prelude::*;
use crate::top::cells::Tone;
use crate::top::views::{ListKind, View, register};

/// The most subjects in a command; the daemon takes a few more.
const SUBJECTS_MAX: usize = 16;

impl TopModel {
    fn open_drawer(
        &mut self,
        kind: DrawerKind,
        title: &str,
        lines: Option<Vec<DrawerLine>>,
        command: String,
    ) {
        self.generation += 1;
        self.drawer = Some(Drawer {
            kind,
            title: printable(title),
            lines,
            top: 0,
            command,
            generation: self.generation,
        });
    }

    /// Row that is selected, or that the selected event is about: its list and its id.
    fn chosen(&self) -> Option<(ListKind, String)> {
        if let Some((kind, row)) = self.selected() {
            return Some((kind, row.id.clone()));
        }
        let subject = self.selected_subject()?;
        ListKind::ALL.into_iter().find_map(|kind| Some((kind, kind.spec().id_in(subject)?.to_owned())))
    }

    /// Title of what is asked of the daemon as it is now.
    fn of_now(&self, title: &str) -> String {
        match self.travel {
            Some(_) => format!("{title}, of now"),
            None => title.to_owned(),
        }
    }

    /// Subjects of the events of something.
    fn subjects(&self, kind: ListKind, id: &str) -> Vec<String> {
        let spec = kind.spec();
        if kind != ListKind::Registers {
            return vec![format!("{}/{id}", spec.subject)];
        }
        let lists = self.list.iter().chain(self.lists.get(&kind)).filter(|list| list.kind == kind);
        let row = lists.flat_map(|list| &list.rows).find(|row| row.id == id);
        let sources = row.map(|row| row.said(register::SOURCES)).unwrap_or_default().split(", ");
        let offered =
            sources.filter(|node| !node.is_empty()).map(|node| format!("{}/{node}/{id}", spec.subject));
        let told = self.news.newest().filter(|item| spec.id_in(&item.subject) == Some(id));
        let mut subjects: Vec<String> = offered.chain(told.map(|item| item.subject.clone())).collect();
        subjects.sort();
        subjects.dedup();
        subjects.truncate(SUBJECTS_MAX);
        subjects
    }

    pub(super) fn show_details(&mut self, now_ms: i64) {
        let event = (self.view == View::Events || self.pane == Pane::Events).then(|| self.event_lines());
        if let (None, Some(lines)) = (self.selected(), event) {
            return self.open_drawer(DrawerKind::Details, "event", Some(lines), self.command());
        }
        if self.view == View::Overview && self.pane == Pane::Problems {
            return self.show_problems();
        }
        let Some((kind, id)) = self.chosen() else { return self.say("nothing is selected", now_ms) };
        let spec = kind.spec();
        let Some(method) = spec.get else {
            let lines = self.row_lines(now_ms);
            return self.open_drawer(DrawerKind::Details, &id, Some(lines), self.command());
        };
        let command = command(&spec.command.replace(" explain", " get"), &[&id], &self.context);
        self.ask_drawer(DrawerKind::Details, &id, method, path_of(kind, &id), command);
    }

    pub(super) fn explain(&mut self, now_ms: i64) {
        if self.view == View::Overview && self.pane == Pane::Problems {
            return self.show_problems();
        }
        let Some((kind, id)) = self.chosen() else { return self.say("nothing is selected", now_ms) };
        let spec = kind.spec();
        let Some(method) = spec.explain else {
            return self.say(format!("{} explain themselves: d shows what is known", spec.noun), now_ms);
        };
        let command = command(spec.command, &[&id], &self.context);
        self.ask_drawer(DrawerKind::Explain, &format!("why {id}"), method, path_of(kind, &id), command);
    }

    pub(super) fn show_history(&mut self, now_ms: i64) {
        let Some((kind, id)) = self.chosen() else { return self.say("nothing is selected", now_ms) };
        let spec = kind.spec();
        let title = format!("history of {id}");
        match (kind, spec.history) {
            (ListKind::Leaders, Some(method)) => {
                let command = command("mesh leaders history", &[&id], &self.context);
                self.ask_drawer(DrawerKind::History, &title, method, json!({"scope": id}), command);
            }
            (ListKind::Shards, Some(method)) => {
                let namespace = id.split('/').next().unwrap_or_default();
                let title = format!("history of the map of {namespace}");
                let command = command("mesh shards history --namespace", &[namespace], &self.context);
                let request = json!({"namespace": namespace});
                self.ask_drawer(DrawerKind::History, &title, method, request, command);
            }
            _ => {
                let lines = self.news_lines(|item| spec.id_in(&item.subject) == Some(&id));
                let command = match self.subjects(kind, &id).join(",") {
                    none if none.is_empty() => {
                        command("events tail --since 1h --type registers", &[], &self.context)
                    }
                    subjects => command("events tail --since 1h --subject", &[&subjects], &self.context),
                };
                let title = self.of_now(&title);
                self.open_drawer(DrawerKind::History, &title, Some(lines), command);
            }
        }
    }

    pub(super) fn show_changes(&mut self) {
        let lines =
            self.news_lines(|item| !item.event.starts_with("node.") && !item.event.starts_with("events."));
        let command = command("events tail --since 10m", &[], &self.context);
        self.open_drawer(DrawerKind::Changes, &self.of_now("what changed"), Some(lines), command);
    }

    fn show_problems(&mut self) {
        let mut lines = Vec::new();
        for problem in &self.problems {
            lines.push(DrawerLine::new(format!("{}  ({})", problem.message, problem.id), problem.tone));
            for hint in problem.hint.lines().filter(|hint| !hint.is_empty()) {
                lines.push(DrawerLine::new(format!("    try: {hint}"), Tone::Quiet));
            }
        }
        if lines.is_empty() {
            lines.push(DrawerLine::plain("nothing is wrong"));
        }
        let title = self.of_now("what is wrong, and what to do");
        self.open_drawer(DrawerKind::Problems, &title, Some(lines), self.command());
    }

    /// Fills a drawer of problems that is open with what the check finds now.
    pub(super) fn fill_problems(&mut self) {
        if let Some(drawer) = self.drawer.take_if(|drawer| drawer.kind == DrawerKind::Problems) {
            self.show_problems();
            self.drawer.iter_mut().for_each(|shown| shown.top = drawer.top);
        }
    }

    fn ask_drawer(
        &mut self,
        kind: DrawerKind,
        title: &str,
        method: RpcMethod,
        request: Value,
        command: String,
    ) {
        self.open_drawer(kind, &self.of_now(title), None, command);
        self.asks.push(Ask::Facts { method, request, generation: self.generation });
    }

    fn news_lines(&self, is_wanted: impl Fn(&NewsItem) -> bool) -> Vec<DrawerLine> {
        let line = |item: &NewsItem| {
            DrawerLine::new(format!("{}  {}", time::of_day(item.at_ms), item.line()), item.tone)
        };
        let lines: Vec<DrawerLine> = self.news.newest().filter(|item| is_wanted(item)).map(line).collect();
        if lines.is_empty() {
            return vec![DrawerLine::new("nothing, since this is open and shortly before", Tone::Quiet)];
        }
        lines
    }

    fn event_lines(&self) -> Vec<DrawerLine> {
        let Some(item) = self.shown_news().nth(self.event) else { return Vec::new() };
        let parts = [
            ("time", time::exact_clock(item.at_ms)),
            ("event", item.event.clone()),
            ("subject", item.subject.clone()),
            ("what", item.what.clone()),
            ("action", item.action.clone()),
            ("actor", item.actor.clone()),
            ("reason", item.reason.clone()),
        ];
        let parts = parts.into_iter().filter(|(_, said)| !said.is_empty());
        parts.map(|(name, said)| DrawerLine::plain(format!("{name:<10} {said}"))).collect()
    }

    fn row_lines(&self, now_ms: i64) -> Vec<DrawerLine> {
        let Some((kind, row)) = self.selected() else { return Vec::new() };
        let moment = self.moment(now_ms);
        let cells = kind.spec().columns.iter().zip(&row.cells);
        cells
            .map(|(column, cell)| (column.title.to_lowercase(), cell.shown(moment)))
            .filter(|(_, said)| !said.is_empty())
            .map(|(title, said)| DrawerLine::plain(format!("{title:<12} {said}")))
            .collect()
    }

    /// Keys: what they do on the left, views and steps on the right, where there is room for both.
    pub(super) fn show_help(&mut self) {
        let line = |keys: &str, help: &str| DrawerLine::plain(format!("{keys:<9} {help}"));
        let mut lines: Vec<DrawerLine> =
            self.keys.actions.iter().map(|known| line(&known.keys.join(" "), &known.help)).collect();
        let left = lines.len();
        lines.extend(self.keys.views.iter().map(|view| line(&view.key, &view.name)));
        lines.push(DrawerLine::plain(""));
        lines.extend([
            line("↑ ↓ j k", "the row above, below"),
            line("PgUp PgDn", "a page up, down"),
            line("g G", "first row, last row"),
            line("Tab", "the next part"),
        ]);
        lines.resize(left * 2 - 1, DrawerLine::plain(""));
        lines.push(DrawerLine::new("No key changes the mesh.", Tone::Quiet));
        self.open_drawer(DrawerKind::Help, "keys", Some(lines), String::new());
    }
}

/// Fields of the route of one object.
fn path_of(kind: ListKind, id: &str) -> Value {
    match kind {
        ListKind::Peers => json!({"nodeId": id}),
        ListKind::Leaders => json!({"scope": id}),
        ListKind::Plans => json!({"planId": id}),
        ListKind::Shards => {
            let (namespace, shard) = id.split_once('/').unwrap_or((id, ""));
            json!({"namespace": namespace, "shardId": shard})
        }
        ListKind::Namespaces => json!({"namespace": id}),
        ListKind::Registers | ListKind::Relays => json!({}),
    }
}
