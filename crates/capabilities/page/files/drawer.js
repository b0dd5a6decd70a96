// The drawer: what is selected, why it is so, the commands for it, and its history.

import {byId, clock, commandLine, el, facts, setText, when, SIGNS} from './text.js';
import {get, query} from './link.js';
import {state, may, change, place} from './store.js';
import {paced} from './list.js';
import {eventLine} from './events.js';

const HISTORY_MAX = 20;

const recordLine = record => ({time: record.time, text: `${record.action}${record.refused ? ' refused' : ''} by ${record.actor}`, note: [record.reason, ...record.changes].filter(Boolean).join('; ')});

/** A line: `{mark, time, text, note, link: [view, key]}`. */
const line = ({mark, time, text, note, link}) => el('li', {},
	mark && el('span', {class: `sign ${mark}`, text: SIGNS[mark]}), time && el('time', {datetime: time, title: clock(time), text: when(time)}),
	link ? el('a', {href: place({view: link[0], selected: link[1]}), text}) : el('bdi', {text}), note && el('span', {class: 'note', text: note}));

/** A part that is read from the API by `path` and `read(body)`, or has its `lines` already. */
class Part {
	constructor(name, given) {
		Object.assign(this, {name, given});
		this.lines = el('ul', {class: 'lines'});
		this.element = el('section', {class: `part ${name}`}, el('h3', {text: given.title ?? name}), this.lines);
		this.read = paced(() => this.load());
		if (!given.path) this.show(given.lines);
		else if (state.at && !given.past) this.show([{text: 'Only of the present.'}]);
		else this.read();
	}

	async load() {
		const {path, read, otherwise} = this.given, {status, body} = await get(path);
		this.show(status === 200 ? read(body) : otherwise?.() ?? [{mark: 'unknown', text: body?.message ?? 'no answer', note: body?.hint}]);
	}

	show(lines) {
		this.lines.replaceChildren(...(lines.length ? lines : [{text: this.given.none ?? 'Nothing is known.'}]).map(line));
	}
}

export class Drawer {
	constructor() {
		this.element = byId('drawer');
		this.sign = el('span');
		this.title = el('bdi');
		this.word = el('bdi', {class: 'note'});
		this.body = el('div', {class: 'drawer-body', tabindex: '0', role: 'region', 'aria-label': 'details'});
		this.element.append(el('header', {}, el('h2', {}, this.sign, this.title), this.word, el('button', {type: 'button', 'aria-label': 'close the details', text: '×', on: {click: () => change({drawer: false})}})), this.body);
	}

	/** Shows `row` of `tab`; its parts are made anew only where it is another one. */
	draw(tab, row) {
		const open = Boolean(state.drawer && tab?.drawer && row);
		if (this.element.hidden === open) this.element.hidden = !open;
		if (!open) {
			this.key = '';
			return;
		}
		const given = tab.drawer(row), key = `${state.view}.${state.tab}/${tab.key(row)}@${state.at}`;
		if (key !== this.key) this.begin(given, tab.key(row));
		this.key = key;
		this.sign.className = `sign ${given.state.mark}`;
		setText(this.sign, SIGNS[given.state.mark]);
		setText(this.word, given.state.text);
		this.drawFacts(facts(row, given.leave));
		const commands = given.commands.join('\n');
		if (commands !== this.commandsShown) this.commands.replaceChildren(el('h3', {text: 'commands'}), ...given.commands.map(commandLine));
		this.commandsShown = commands;
		if (state.drawerPart) this.goTo(state.drawerPart);
	}

	begin({subject, why, more = [], history}, title) {
		this.subject = subject;
		this.commandsShown = '';
		setText(this.title, title);
		this.element.setAttribute('aria-label', `details of ${this.title.textContent}`);
		this.facts = el('dl');
		this.commands = el('section', {class: 'part commands'});
		const last = new Part('history', history ?? this.trail());
		const parts = [why && new Part('why', why), ...more.map(of => new Part('more', of))].filter(Boolean);
		this.parts = [...parts, last];
		const [first, ...others] = parts.map(part => part.element);
		this.body.replaceChildren(...[first, this.commands, ...others, el('section', {class: 'part'}, el('h3', {text: 'facts'}), this.facts), last.element].filter(Boolean));
		this.body.scrollTop = 0;
	}

	/** The history of what has none of its own: the audit trail, or the events of late. */
	trail() {
		const {subject} = this, told = () => state.events.filter(event => event.subject?.includes(subject)).slice(0, HISTORY_MAX).map(eventLine);
		if (!may('mesh.admin') || subject.startsWith('/')) return {lines: told(), none: 'No event of late.'};
		return {path: `audit${query({object: subject, pageSize: HISTORY_MAX, until: state.at})}`, past: true, read: body => body.records.map(recordLine), otherwise: told, none: 'The audit trail has nothing of it.'};
	}

	drawFacts(pairs) {
		while (this.facts.children.length > pairs.length * 2) this.facts.lastChild.remove();
		pairs.forEach((pair, at) => {
			if (!this.facts.children[at * 2]) this.facts.append(el('dt'), el('dd'));
			pair.forEach((text, side) => setText(this.facts.children[at * 2 + side], text));
		});
	}

	goTo(name) {
		state.drawerPart = '';
		const part = this.body.querySelector(`.part.${name}`);
		part?.scrollIntoView({block: 'start'});
		part?.setAttribute('tabindex', '-1');
		part?.focus({preventScroll: true});
	}

	/** What is shown has changed: its parts are read anew. */
	heard(events) {
		if (!this.key || state.frozen || state.at || !events.some(event => event.subject?.includes(this.subject))) return;
		for (const part of this.parts) if (part.given.path) part.read();
	}
}
