// Lists that the server filters, sorts, counts and pages, and that follow its events.

import {get, query} from './link.js';
import {state, change, redraw} from './store.js';
import {registryCursor} from './text.js';

const PAGE_ROWS = 100;
const PAGE_MAX = 1000;
// How many rows are looked through for words: in most lists the server has no search.
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
		await work();
		const took = performance.now() - began;
		freeAt = began + Math.max(apart, 4 * took);
		busy = false;
		if (again) plan();
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
	 * it has what no event tells; `aside`, the path of what is shown above the list; `parameters()`; `at: false`: it is of the present.
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

	/** What was known may be void. */
	reset() {
		this.seen = '';
		this.heardOf();
	}

	address(token, size) {
		const {kind, pages, seen} = this, {given, words} = this.filter();
		const parameters = {...kind.parameters?.(), ...given, [pages.size]: size, [pages.token]: token, at: kind.at === false ? '' : state.at};
		if (kind.orderBy) parameters.orderBy = state.order;
		if (kind.search) parameters[kind.search] = words;
		if (!token && !state.at && kind.minRevision !== false) parameters.minRevision = seen;
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
