// This page's link to the worker that all tabs share.

import {state, change, keepEvents, noteAnswer, redraw} from './store.js';

// `answers`: who waits, by the number of what is asked, and the time that it is of.
const answers = new Map(), listeners = {events: [], reset: []};
let port, next = 1;

/** Calls `heard` with each piece of events, or at each reset. */
export const listen = (what, heard) => listeners[what].push(heard);

const hearing = {
	answer(data) {
		answers.get(data.id).answer(data);
		answers.delete(data.id);
	},
	events({events}) {
		const last = events.at(-1);
		if (!last) return;
		if (!state.at) state.cursor = last.cursor;
		keepEvents(events);
		for (const heard of listeners.events) heard(events);
	},
	status({word, note, since}) {
		const back = word === 'open' && state.stream === 'waiting';
		change({stream: word, streamNote: note, streamSince: since});
		if (back) this.reset();
	},
	heard({at}) {
		state.heardAt = Math.max(state.heardAt, at);
	},
	reset() {
		for (const heard of listeners.reset) heard();
	},
};

const send = message => port.postMessage(message);

const timeOf = ({path, query}) => new URLSearchParams((path ?? query ?? '').replace(/^.*\?/, '')).get('at');

function ask(message) {
	const id = next++;
	return new Promise(answer => {
		answers.set(id, {answer, at: message.until ?? timeOf(message)});
		send({...message, id});
	});
}

/** Gives up what is asked of another time of the past than the one that is shown. */
export function giveUp() {
	for (const [id, {at}] of answers) if (at && at !== state.at) send({kind: 'drop', of: id});
}

/** Connects this page with the worker; says whether that has a token. */
export function openLink() {
	const script = 'worker.js';
	const policy = globalThis.trustedTypes?.createPolicy('omnirelay', {
		createScriptURL(address) {
			if (address === script) return address;
			throw new TypeError('only the worker');
		},
	});
	const address = policy?.createScriptURL(script) ?? script;
	port = globalThis.SharedWorker ? new SharedWorker(address, {type: 'module', name: 'omnirelay'}).port : new Worker(address, {type: 'module'});
	port.onmessage = ({data}) => hearing[data.kind](data);
	addEventListener('pagehide', () => send({kind: 'leave'}));
	addEventListener('pageshow', ({persisted}) => persisted && send({kind: 'follow'}));
	setInterval(send, 30000, {kind: 'here'});
	return ask({kind: 'hello'});
}

export const trade = code => ask({kind: 'code', code});
export const giveToken = token => ask({kind: 'token', token});
export const follow = () => send({kind: 'follow'});
export const reconnect = () => send({kind: 'reconnect'});

async function request(message) {
	const askedAt = Date.now(), answer = await ask(message);
	// An answer of the past says nothing of how fresh the present is.
	if (answer.status === 200 && !timeOf(message)) noteAnswer(answer.body, askedAt);
	if (answer.status === 304) state.heardAt = Date.now();
	redraw();
	return answer;
}

const asked = new Map();

/** One GET below `control/`: `{status, body, etag}`; status 0 is no answer. What is asked for twice at once is asked for once. */
export function get(path, etag = '') {
	const key = `${etag} ${path}`;
	if (!asked.has(key)) {
		asked.set(key, request({kind: 'get', path, etag}));
		setTimeout(() => asked.delete(key));
	}
	return asked.get(key);
}

/** The last events from `since` until `before`, the oldest first, for who looks at `until`. */
export const getPast = (since, before, until) => ask({kind: 'past', since, before, until});

export const getShardMap = parameters => request({kind: 'shards', query: query(parameters).slice(1)});

/** The query of a request: what is empty is left out, lists are repeated. */
export function query(parameters) {
	const parts = new URLSearchParams();
	for (const [name, value] of Object.entries(parameters)) for (const one of [value].flat()) if (one || one === 0) parts.append(name, one);
	return parts.size ? `?${parts}` : '';
}
