// The overview: what is wrong, why, what to type; how much there is of everything; and what has changed.

import {clock, command, commandIn, commandLine, count, digits, el, setText, setAttribute, since, when, words, SIGNS} from './text.js';
import {get, query} from './link.js';
import {state, change, eventsThen, place} from './store.js';
import {paced, topic, FACTS_EACH_MS} from './list.js';
import {because, grouped, who} from './events.js';

const CHANGES_SHOWN = 30;
const ABOUT_SHOWN = 5;
const CHECK_EACH_MS = 700;
const MARKS = {fail: 'bad', unknown: 'unknown', warn: 'warn'};
const WORST_FIRST = Object.keys(MARKS);
// Which view a category of checks is about.
const VIEW_OF = {membership: 'peers', transport: 'peers', nodes: 'peers', leadership: 'leaders', shards: 'shards', registers: 'registers', relays: 'relays', audit: 'events'};

/** What `check` has found that is not well, the worst first. */
export const findings = () => (state.check?.categories ?? []).flatMap(({name, checks}) => checks.map(finding => ({...finding, category: name, view: VIEW_OF[name]})))
	.filter(({result}) => MARKS[result]).sort((a, b) => WORST_FIRST.indexOf(a.result) - WORST_FIRST.indexOf(b.result));

/** Asks `check` again: after events, and each 5 s while the page is in sight. */
export const recheck = paced(async () => {
	if (state.at || state.frozen || document.hidden || (state.bundle && state.check)) return;
	const {status, body} = await get('check');
	change(status === 200 ? {check: body, checkError: null} : {checkError: body});
}, CHECK_EACH_MS);

export function followCheck() {
	setInterval(recheck, FACTS_EACH_MS);
	recheck();
}

/** What is counted by the server: `parts` are words and filters; `limit` and `items` where the server has no sum. */
const COUNTS = [
	{view: 'peers', label: 'peer', topics: ['peers'], path: 'peers', parts: {'': {}, alive: {status: 'alive'}, suspect: {status: 'suspect'}, dead: {status: 'dead'}}},
	{view: 'leaders', label: 'scope', topics: ['leadership'], path: 'leaders', parts: {'': {}}},
	{view: 'shards', label: 'shard', topics: ['shards'], path: 'shards', parts: {'': {}, moving: {status: 'draining'}, paused: {status: 'paused'}}},
	{view: 'registers', label: 'available register', topics: ['advertisements'], path: 'registers/available', parts: {'': {}}},
	{view: 'plans', label: 'plan', topics: ['rebalance', 'rebalance-plans'], path: 'rebalance-plans', items: 'plans', parts: {'': {state: 'proposed', limit: 100}}, note: 'to approve'},
];

class Count {
	constructor(given) {
		Object.assign(this, {...given, answers: {}});
		this.number = el('b', {text: '–'});
		this.word = el('span');
		this.more = el('span', {class: 'note'});
		this.element = el('a', {class: 'count'}, this.number, this.word, this.more);
		this.read = paced(() => Promise.all(Object.entries(this.parts).map(async ([word, filter]) => {
			const {at} = state, answer = await get(this.path + query({pageSize: this.items ? '' : 1, ...filter, at: state.at}), this.answers[word]?.etag);
			if (answer.status === 200 && at === state.at) this.answers[word] = {etag: answer.etag, many: this.items ? answer.body[this.items].length : answer.body.totalSize};
		})), 500);
	}

	draw() {
		const {answers} = this, many = answers['']?.many;
		setAttribute(this.element, 'href', place({view: this.view}));
		setText(this.number, many === undefined ? '–' : digits(many));
		setText(this.word, `${this.label}${many === 1 ? '' : 's'}`);
		setText(this.more, this.note ?? Object.keys(this.parts).filter(word => word && answers[word]?.many).map(word => `${digits(answers[word].many)} ${word}`).join(', '));
	}
}

/** Availability, as the daemon has counted it since it started; rounded down. */
function answered({callsServed = 0, callsFailed = 0}) {
	const all = Number(callsServed) + Number(callsFailed);
	return all ? ` It has answered ${Math.floor(1e4 * callsServed / all) / 100} % of ${digits(all)} calls.` : '';
}

const findingCommand = ({hint, about, view, id}) => commandIn(hint) || (about.length === 1 && view === 'peers' ? command('mesh peers explain', about[0]) : command('explain', id));

function findingItem(finding) {
	const {about, view, result, id, category, message, description, hint} = finding, mark = MARKS[result];
	const node = of => el('a', {href: place({view: 'peers', selected: of}), text: of});
	const why = view === 'peers' && about.length ? {view, selected: about[0]} : {view: view ?? 'events', onlyWrong: Boolean(view)};
	return el('li', {class: mark, 'data-check': id},
		el('span', {class: `sign ${mark}`, text: SIGNS[mark]}),
		el('div', {}, el('b', {text: `${words(category)}: `}), el('bdi', {text: message || description}),
			el('p', {class: 'note'}, about.slice(0, ABOUT_SHOWN).flatMap(of => [node(of), ' ']), about.length > ABOUT_SHOWN && `and ${about.length - ABOUT_SHOWN} more `, el('a', {class: 'to-why', href: place(why), text: '→ why'}), commandIn(hint) === hint ? '' : el('bdi', {text: ` ${hint}`}))),
		commandLine(findingCommand(finding)));
}

export class Overview {
	constructor() {
		this.verdict = el('h1', {class: 'verdict', role: 'status'});
		this.sub = el('p', {class: 'note'});
		this.found = el('ul', {class: 'findings'});
		this.counts = COUNTS.map(given => new Count(given));
		this.changes = el('tbody');
		this.quiet = el('p', {class: 'empty'});
		this.element = el('div', {class: 'overview', tabindex: '-1'},
			this.verdict, this.sub, this.found, el('nav', {class: 'counts', 'aria-label': 'how much there is'}, this.counts.map(one => one.element)), el('h2', {text: 'what changed'}),
			el('div', {class: 'changes', tabindex: '0', role: 'region', 'aria-label': 'what changed'}, el('table', {}, el('thead', {}, el('tr', {}, ['when', 'what', 'outcome', 'who', 'why'].map(text => el('th', {scope: 'col', text})))), this.changes), this.quiet));
	}

	get command() {
		const [first] = findings();
		return first ? findingCommand(first) : command('mesh check');
	}

	start() {
		this.askedAt = state.at;
		for (const one of this.counts) {
			one.answers = {};
			one.read();
		}
		this.readDaemon();
	}

	async readDaemon() {
		const {status, body} = await get('node');
		if (status === 200) change({daemon: body});
	}

	heard(events) {
		const topics = new Set(events.map(topic));
		if (state.frozen || state.at) return;
		for (const one of this.counts) if (one.topics.some(of => topics.has(of))) one.read();
		if (topics.has('store') || topics.has('node')) this.readDaemon();
	}

	reset() {
		this.start();
	}

	focus() {
		this.element.focus({preventScroll: true});
	}

	draw() {
		if (this.askedAt !== state.at) this.start();
		for (const one of this.counts) one.draw();
		this.drawVerdict();
		if (!state.frozen) this.drawChanges();
	}

	drawVerdict() {
		const {check, checkError, daemon, at} = state, found = at ? [] : findings(), bad = found.filter(({result}) => result !== 'warn').length;
		const [mark, text] = at ? ['idle', `As it was at ${clock(at)}`] : !check ? ['idle', checkError ? 'Not known' : 'Asking…'] : bad ? ['bad', `Not well: ${count(bad, 'thing')}`] : found.length ? ['warn', `Well, with ${count(found.length, 'warning')}`] : ['ok', 'Well'];
		setText(this.verdict, text);
		setAttribute(this.verdict, 'class', `verdict ${mark}`);
		setText(this.sub, at ? `Checks are of the present. Counts and changes are of that time. ${state.past.length ? state.pastNote : ''}` : checkError?.message ?? [
			check && `${check.summary.pass} checks pass, ${check.summary.skip} have nothing to look at.`,
			daemon && `${daemon.localNodeId} ${daemon.version}, up for ${since(daemon.startedAt)}, store ${daemon.store}${daemon.storeTrouble ? `: ${daemon.storeTrouble}` : ''}.${answered(daemon)}`,
		].filter(Boolean).join(' '));
		const shown = JSON.stringify(found) + at;
		if (shown !== this.shown) this.found.replaceChildren(...found.map(findingItem));
		this.shown = shown;
	}

	drawChanges() {
		const rows = grouped(eventsThen(), CHANGES_SHOWN);
		setAttribute(this.quiet, 'hidden', rows.length > 0);
		setText(this.quiet, state.bundle ? 'A support bundle has no events. The audit trail, in view 8, may have been recorded.' : state.at && state.pastNote || 'Nothing has changed in the 15 minutes before.');
		rows.forEach((row, at) => this.drawChange(at, row));
		while (this.changes.children.length > rows.length) this.changes.lastChild.remove();
	}

	drawChange(at, {event, ...row}) {
		if (!this.changes.children[at]) this.changes.append(el('tr', {}, el('td'), el('td', {}, el('a')), el('td', {}, el('span'), el('bdi')), el('td'), el('td')));
		const [time, {firstChild: link}, result, actor, reason] = this.changes.children[at].children, {mark, text} = row.outcome;
		setText(time, when(event.time));
		setText(link, row.what);
		setAttribute(link, 'href', place(row.place));
		setAttribute(result.firstChild, 'class', `sign ${mark}`);
		setText(result.firstChild, SIGNS[mark]);
		setText(result.lastChild, text);
		setText(actor, who(event));
		setText(reason, because(event));
	}
}
