// Lists that the server filters, sorts, counts and pages, and that follow its events; and the views of them.

import {get, query} from './link.js';
import {state, change, redraw, may, place} from './store.js';
import {command, commandLine, digits, el, registryCursor, setText, setAttribute} from './text.js';
import {Table} from './table.js';

const TYPING_MS = 200;
const PAGE_ROWS = 100;
const PAGE_MAX = 1000;
// How many rows are looked through for words where the server has no search.
const SEARCHED_MAX = 10000;
const REFRESH_EACH_MS = 250;
export const FACTS_EACH_MS = 5000;

/** Runs `work` at once and then at most each `apart` ms, and never more than a quarter of the time. */
export function paced(work, apart = REFRESH_EACH_MS) {
	let timer = null, busy = false, again = false, freeAt = 0;
	async function run() {
		timer = null;
		busy = true;
		const began = performance.now();
		try {
			await work();
		} finally {
			freeAt = began + Math.max(apart, 4 * (performance.now() - began));
			busy = false;
			if (again) plan();
		}
	}
	function plan() {
		again = busy;
		if (!busy) timer ??= setTimeout(run, freeAt - performance.now());
	}
	plan.stop = () => {
		clearTimeout(timer);
		timer = null;
		again = false;
	};
	return plan;
}

/** The topic of an event: `peers` of `omnirelay.peers.added`. */
export const topic = event => event.type.split('.')[1];

/** Reads `key=value key=value words` by what `filters` allows: our word, the server's parameter. */
export function readFilter(text, filters = {}) {
	const given = {}, words = [], unknown = [];
	for (const part of text.split(/\s+/).filter(Boolean)) {
		const [, key, value] = /^([a-z]+)=(.*)$/i.exec(part) ?? [];
		if (!key) words.push(part);
		else if (!filters[key]) unknown.push(key);
		else if (value) given[filters[key]] = [...given[filters[key]] ?? [], ...(key === 'selector' ? [value] : value.split(','))];
	}
	return {given, words: words.join(' ').toLowerCase(), unknown};
}

const PAGES = {token: 'pageToken', next: 'nextPageToken', size: 'pageSize'};

export class List {
	/**
	 * `kind`: `path`; `items`, the field of the rows; `topics` of events that change it; `filters` as above; `search`, the server's
	 * parameter for words, else they are looked for in `text(row)`; `wrong(row)`; `pages`, what fields of pages are called; `facts`:
	 * it has what no event tells; `aside`, the path of what is shown above the list; `parameters()`; `present`: it has no past and no cursor.
	 */
	constructor(kind) {
		this.kind = kind;
		this.pages = kind.pages ?? PAGES;
		this.sequence = 0;
		this.refresh = paced(() => this.read(true));
	}

	filter() {
		return readFilter(state.filter, this.kind.filters);
	}

	/** Whether rows are picked here, because the server has no filter for it. */
	get picked() {
		return Boolean((this.filter().words && !this.kind.search) || (state.onlyWrong && this.kind.wrong));
	}

	/** Begins with the first page: the filter, the order or the time is another one. */
	begin() {
		Object.assign(this, {rows: [], wanted: PAGE_ROWS, etag: '', seen: '', error: null, loaded: false, total: undefined});
		this.stop();
		this.running = true;
		if (this.kind.facts) this.timer = setInterval(() => !document.hidden && this.heardOf(), FACTS_EACH_MS);
		return this.read(false);
	}

	stop() {
		this.running = false;
		this.sequence += 1;
		clearInterval(this.timer);
		this.refresh.stop();
	}

	/** Something may be otherwise that the tag of the list does not tell. */
	heardOf() {
		if (!this.running || state.frozen || state.at || state.bundle) return;
		this.etag = '';
		this.refresh();
	}

	/** Events of our topics: read anew, having seen the last one. */
	heard(events) {
		const last = events.findLast(event => this.kind.topics.includes(topic(event)));
		if (!last || !this.running || state.at) return;
		this.seen = registryCursor(last.cursor);
		this.behindSince ??= Date.now();
		if (!state.frozen) this.refresh();
	}

	reset() {
		this.seen = '';
		this.heardOf();
	}

	address(token, size) {
		const {kind, pages, seen} = this, {given, words} = this.filter();
		const parameters = {...kind.parameters?.(), ...given, [pages.size]: size, [pages.token]: token, at: kind.present ? '' : state.at};
		if (kind.orderBy) parameters.orderBy = state.order;
		if (kind.search) parameters[kind.search] = words;
		if (!token && !state.at && !kind.present) parameters.minRevision = seen;
		return kind.path + query(parameters);
	}

	/** Reads pages until there are as many rows as are wanted. */
	async read(again) {
		const {sequence, picked, kind, pages} = this;
		const wanted = picked ? SEARCHED_MAX : this.wanted, size = picked ? PAGE_MAX : Math.min(PAGE_MAX, wanted);
		let rows = [], token = '', first;
		if (kind.aside && !state.at) get(kind.aside).then(({body}) => Object.assign(this, {aside: body}));
		do {
			const answer = await get(this.address(token, size), again && !token ? this.etag : '');
			if (sequence !== this.sequence) return;
			if (answer.status === 304) break;
			if (answer.status !== 200) return this.failed(answer);
			first ??= answer;
			rows = rows.concat(answer.body[kind.items]);
			token = answer.body[pages.next];
			// Lists are drawn before they are complete.
			if (!again || !token || rows.length >= wanted) this.take(first.body, rows, token);
		} while (token && rows.length < wanted);
		if (first) this.etag = first.etag;
		this.behindSince = undefined;
		redraw();
	}

	take(body, all, token) {
		const {words} = this.filter(), {search, wrong, text} = this.kind;
		let rows = all;
		if (words && !search) rows = rows.filter(row => text(row).toLowerCase().includes(words));
		if (state.onlyWrong && wrong) rows = rows.filter(wrong);
		Object.assign(this, {body, rows, next: token, error: null, loaded: true, whole: body.totalSize, total: this.picked ? (token ? undefined : rows.length) : body.totalSize ?? (token ? undefined : rows.length)});
		redraw();
	}

	failed({status, body}) {
		if (body?.reason === 'EPOCH_CHANGED' && this.seen) return this.reset();
		// What was shown stays where the daemon is merely away.
		Object.assign(this, {error: {status, message: `The answer was ${status}.`, ...body}, loaded: true}, status && status < 500 ? {rows: []} : {});
		redraw();
	}

	/** The end of what is there was reached: read the next hundred. */
	async needMore() {
		const {sequence, body, rows, kind, pages} = this;
		if (!this.next || this.growing || this.picked || !this.loaded) return;
		this.growing = true;
		const answer = await get(this.address(this.next, PAGE_ROWS));
		this.growing = false;
		// The list was read anew meanwhile: the end of the page will ask again.
		if (sequence !== this.sequence || rows !== this.rows) return;
		if (answer.status !== 200) return this.heardOf();
		this.wanted = rows.length + PAGE_ROWS;
		this.take(body, rows.concat(answer.body[kind.items]), answer.body[pages.next]);
	}
}

const SPACES_MAX = 1000;
let firstWanted = false;

/** The namespaces of the mesh, for all views that show one of them. */
export const spaces = {
	rows: [],
	of: namespace => spaces.rows.find(row => row.namespace === namespace),

	read: paced(async () => {
		const {status, body} = await get(`namespaces?pageSize=${SPACES_MAX}`);
		if (status === 200) spaces.rows = body.namespaces;
		if (firstWanted && !state.namespace) change({namespace: spaces.rows[0]?.namespace ?? ''});
	}, 1000),

	/** They are shown. `first`: one is chosen where none is. */
	want(first) {
		firstWanted = first;
		spaces.read();
	},

	heard(events) {
		if (spaces.rows.length && events.some(event => ['shards', 'rebalance'].includes(topic(event)))) spaces.read();
	},

	/** The next namespace; after the last one all of them where that may be. */
	next(all) {
		const names = [...spaces.rows.map(row => row.namespace), ...(all ? [''] : [])];
		if (names.length) change({namespace: names[(names.indexOf(state.namespace) + 1) % names.length]});
	},
};

export class ListView {
	/**
	 * `view` has `tabs`, of which `tab` is one: `title`, `columns`, `key(row)`, `kind` of list, `drawer(row)`, the `verb` and `listVerb` of its command, what is said of
	 * an `empty` list and the `emptyCommand()`, `one(key)` and `oneOf` to ask for a single row, `extra` above the table, `summary(list)`,
	 * what is `lost` in the past, `fallback` where the daemon has no such list, `byNamespace`, `scope` that it takes.
	 */
	constructor(view, tab) {
		Object.assign(this, {view, tab});
		this.list = tab.list ? new tab.list(tab.kind) : new List(tab.kind);
		this.table = new Table({label: tab.title, columns: tab.columns, key: tab.key, on: {select: selected => change({selected}), open: selected => change({selected, drawer: true}), sort: order => change({order}), more: () => this.list.needMore?.()}});
		this.extra = tab.extra && new tab.extra(this);
		this.tabs = el('nav', {class: 'tabs', 'aria-label': `parts of ${view.name}`});
		this.count = el('span', {class: 'note', role: 'status'});
		this.note = el('p', {class: 'note'});
		this.empty = el('div', {class: 'empty'});
		const [first] = Object.keys(tab.kind.filters ?? {});
		this.input = el('input', {type: 'search', 'aria-label': 'filter', placeholder: `/ ${first ? `${first}=… or ` : ''}words`, spellcheck: 'false', autocomplete: 'off', on: {input: () => this.typed(TYPING_MS), keydown: event => event.key === 'Enter' && this.typed(0) && this.focus()}});
		this.wrong = el('button', {type: 'button', text: '! only wrong', hidden: !tab.kind.wrong, on: {click: () => change({onlyWrong: !state.onlyWrong})}});
		this.spaces = el('select', {'aria-label': 'namespace', hidden: !tab.byNamespace, on: {change: () => change({namespace: this.spaces.value})}});
		this.element = el('div', {class: 'list-view'},
			el('div', {class: 'heading'}, el('h1', {text: tab.title}), this.tabs, this.count, el('span', {class: 'push'}), this.spaces, this.wrong, this.input),
			this.note, this.extra?.element, el('div', {class: 'table-box'}, this.table.element, this.empty));
	}

	/** Takes the filter over once nothing was typed for `ms`. */
	typed(ms) {
		clearTimeout(this.typing);
		return this.typing = setTimeout(() => {
			this.typing = 0;
			change({filter: this.input.value});
		}, ms);
	}

	/** The row that is selected, be it in the list or asked for by itself. */
	get row() {
		const {current} = this.table;
		return !state.selected || (current && this.tab.key(current) === state.selected) ? current : this.found?.key === state.selected ? this.found.row : undefined;
	}

	get command() {
		const {row, tab} = this;
		if (state.at && !tab.kind.present && !tab.list) return command(`${tab.verb} ${tab.listVerb ?? 'list'} --at`, state.at);
		return row ? tab.drawer(row).commands[0] : command(`${tab.verb} ${tab.listVerb ?? 'list'}`);
	}

	get asked() {
		return JSON.stringify([state.filter, state.order, state.at, state.onlyWrong, this.tab.byNamespace && state.namespace, this.tab.list && state.past.length]);
	}

	start() {
		this.input.value = state.filter;
		this.askedAs = this.asked;
		if (this.tab.byNamespace) spaces.want(this.tab.byNamespace === 'one');
		this.list.begin();
		this.extra?.start?.();
	}

	stop() {
		clearTimeout(this.typing);
		this.typing = 0;
		this.list.stop?.();
		this.extra?.stop?.();
	}

	/** What is selected and not among the rows is asked for by itself. */
	async find() {
		const key = this.looked = state.selected;
		if (!this.tab.one || state.at) return;
		const {status, body} = await get(this.tab.one(key));
		if (status === 200) this.found = {key, row: body[this.tab.oneOf]};
		redraw();
	}

	heard(events) {
		this.list.heard(events);
		this.extra?.heard?.(events);
		if (this.found && events.some(event => event.subject?.endsWith(`/${this.found.key}`))) this.find();
	}

	reset() {
		this.list.reset();
		this.extra?.start?.();
	}

	focus() {
		this.table.element.focus();
	}

	draw() {
		const {list, tab, table} = this;
		if (this.asked !== this.askedAs) {
			this.askedAs = this.asked;
			list.begin();
		}
		const missing = list.error?.reason === 'ROUTE_UNKNOWN' && tab.fallback, rows = missing ? tab.fallback.rows() : list.rows;
		table.show(rows, missing ? rows.length : list.total, state.order);
		if (state.selected && list.loaded) {
			if (table.activeKey !== state.selected) table.choose(state.selected);
			if (!this.row && this.looked !== state.selected) this.find();
		}
		this.extra?.draw(list);
		this.drawHeading(missing);
		this.drawEmpty(rows, missing);
	}

	drawHeading(missing) {
		const {list, tab, view} = this, tabs = view.tabs.filter(one => !one.scope || may(one.scope));
		setAttribute(this.tabs, 'hidden', tabs.length < 2);
		if (this.tabs.children.length !== tabs.length) this.tabs.replaceChildren(...tabs.map(one => el('a', {text: one.title, 'aria-current': one === tab && 'page'})));
		tabs.forEach((one, at) => setAttribute(this.tabs.children[at], 'href', place({view: view.name, tab: one.tab})));
		setAttribute(this.wrong, 'aria-pressed', String(state.onlyWrong));
		if (document.activeElement !== this.input && !this.typing) this.input.value = state.filter;
		if (tab.byNamespace) this.drawSpaces();
		const {unknown} = list.filter(), filters = Object.keys(tab.kind.filters ?? {});
		setText(this.count, !list.loaded ? 'asking…' : missing ? '' : `${list.total === undefined ? `${digits(list.rows.length)}+` : digits(list.total)}${list.picked && list.whole ? ` of ${digits(list.whole)}` : ''}`);
		const note = [
			unknown.length && `There is no filter ${unknown.join(', ')}; there are ${filters.join(', ')}.`,
			missing && tab.fallback.text,
			list.error && !missing && list.rows.length && `${list.error.message} This is what was known.`,
			state.at ? tab.lost : list.loaded && tab.summary?.(list),
		].filter(Boolean).join(' ');
		setText(this.note, note);
		setAttribute(this.note, 'hidden', !note);
	}

	drawSpaces() {
		const names = [...(this.tab.byNamespace === 'one' && spaces.rows.length ? [] : ['']), ...spaces.rows.map(row => row.namespace)], text = names.join('\n');
		if (this.spacesShown !== text) this.spaces.replaceChildren(...names.map(value => el('option', {text: value || 'all namespaces', value})));
		this.spacesShown = text;
		this.spaces.value = state.namespace;
	}

	drawEmpty(rows, missing) {
		const {list, tab} = this, bare = list.loaded && !rows.length;
		setAttribute(this.empty, 'hidden', !bare);
		if (!bare) return;
		const [text, advice, next] = missing ? ['The events tell of none.', '', tab.emptyCommand()] : list.error ? [list.error.message, list.error.hint] : state.filter || state.onlyWrong ? ['Nothing matches.', 'Esc shows all again.'] : state.at ? [tab.list && state.pastNote || 'There was nothing then.'] : [tab.empty, '', tab.emptyCommand()];
		const key = [text, advice, next].join();
		if (this.emptyShown !== key) this.empty.replaceChildren(...[el('p', {text}), advice && el('p', {class: 'note', text: advice}), next && commandLine(next)].filter(Boolean));
		this.emptyShown = key;
	}
}
