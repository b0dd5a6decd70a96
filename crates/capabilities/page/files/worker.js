// The worker that all tabs share: it has the token, makes the requests, and reads the one stream of events.

import {EventStream, sseParser} from './stream.js';

const API = new URL('../control/', self.location.href).href;
const EVENTS_KEPT = 500;
const SEND_EACH_MS = 50;
// A tab says each 30 s that it is there; hidden ones may be late.
const GONE_AFTER_MS = 300000;
// A history that is silent so long has told all; and how long one reads at most.
const PAST_QUIET_MS = 400;
const PAST_MAX_MS = 4000;
const SHARDS_MAX = 10000;
const SHARD_STATES = ['active', 'draining', 'paused', 'disabled'];

const tabs = new Map();
let token = '', context = '', stream = null, status = {word: 'connecting', note: '', since: Date.now()};
let kept = [], waiting = [], sentAt = 0, sending = null, heardSentAt = 0;

const authorization = () => (token ? {authorization: `Bearer ${token}`} : {});

function tell(message) {
	for (const [port, seenAt] of tabs) {
		if (Date.now() - seenAt > GONE_AFTER_MS) tabs.delete(port);
		else port.postMessage(message);
	}
}

/** Sends events on in pieces: the first at once, then twenty times a second at most. */
function passOn(events) {
	kept = kept.concat(events).slice(-EVENTS_KEPT);
	waiting.push(...events);
	sending ??= setTimeout(() => {
		sending = null;
		sentAt = Date.now();
		tell({kind: 'events', events: waiting.splice(0)});
	}, Math.max(0, sentAt + SEND_EACH_MS - Date.now()));
}

function startStream() {
	if (stream) return;
	const mine = stream = new EventStream(`${API}events`, {
		headers: authorization,
		events: passOn,
		reset() {
			kept = [];
			tell({kind: 'reset'});
		},
		status(word, note) {
			status = {word, note, since: word === status.word ? status.since : Date.now()};
			tell({kind: 'status', ...status});
		},
		heard() {
			if (Date.now() - heardSentAt < 500) return;
			heardSentAt = Date.now();
			tell({kind: 'heard', at: heardSentAt});
		},
	});
	mine.run().finally(() => {
		if (stream === mine) stream = null;
	});
}

function setToken(value) {
	token = value;
	stream?.close();
	stream = null;
	return {ok: true, context};
}

async function trade(code) {
	try {
		const answer = await fetch(new URL('session', self.location.href), {headers: {'omnirelay-ui-code': code}, cache: 'no-store'});
		const body = await answer.json();
		context = body.context ?? '';
		return body.token ? setToken(body.token) : {problem: body};
	} catch {
		return {problem: {message: 'What serves this page does not answer.'}};
	}
}

/** One GET below `control/`; status 0 is no answer. */
async function get({path, etag}, dropped) {
	const headers = {accept: 'application/json', ...authorization()};
	if (etag) headers['if-none-match'] = etag;
	try {
		const answer = await fetch(API + path, {headers, cache: 'no-store', signal: AbortSignal.any([dropped, AbortSignal.timeout(30000)])});
		return {status: answer.status, etag: answer.headers.get('etag'), body: answer.status === 304 ? null : await answer.json()};
	} catch {
		return {status: 0, body: {message: 'The daemon does not answer.'}};
	}
}

/** The shards of a namespace in columns: 10,000 cross to a page as a few arrays. Place 0 of the owners is nobody. */
async function shardMap({query}, dropped) {
	const answer = await get({path: `shards?${query}&pageSize=${SHARDS_MAX}`}, dropped);
	if (answer.status !== 200) return answer;
	const {items, ...body} = answer.body;
	const owners = [''], places = new Map([['', 0]]);
	const place = node => {
		if (!places.has(node)) places.set(node, owners.push(node) - 1);
		return places.get(node);
	};
	const columns = {
		owner: Uint16Array.from(items, shard => place(shard.ownerNodeId)), target: Uint16Array.from(items, shard => place(shard.targetNodeId)),
		status: Uint8Array.from(items, shard => Math.max(0, SHARD_STATES.indexOf(shard.status))), owners,
		// One string: ids hold no line ends.
		ids: items.map(shard => shard.shardId).join('\n'),
	};
	return {status: 200, body, columns};
}

/** The last events from `since` until `before`: the history as a stream, read until it is past that, or silent. `problem`: what is missing, and why; `whole`: nothing of the end. */
async function past({since, before}, dropped) {
	const events = [], ended = new AbortController(), end = Date.parse(before);
	let whole = false, problem = '', quiet, heard = false;
	const stop = () => {
		whole = heard;
		ended.abort();
	};
	const parse = sseParser(({data}) => {
		const event = data ? JSON.parse(data) : {type: ''};
		if (event.type === 'omnirelay.events.reset') problem = 'the history reaches back no further';
		if (!event.time || event.type.startsWith('omnirelay.events.')) return;
		if (Date.parse(event.time) >= end) stop();
		else if (events.push(event) > EVENTS_KEPT) events.shift();
	});
	const last = setTimeout(() => ended.abort(), PAST_MAX_MS);
	try {
		const answer = await fetch(`${API}events?since=${since}`, {headers: {accept: 'text/event-stream', ...authorization()}, signal: AbortSignal.any([dropped, ended.signal]), cache: 'no-store'});
		if (!answer.ok) return {events, problem: (await answer.json()).message};
		const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
		for (;;) {
			const {done, value} = await reader.read();
			if (done) break;
			heard = true;
			parse(value);
			clearTimeout(quiet);
			quiet = setTimeout(stop, PAST_QUIET_MS);
		}
	} catch { /* it was ended when it had told enough, or too long, or there is no answer */ }
	clearTimeout(quiet);
	clearTimeout(last);
	return {events, whole, problem: problem || (whole ? '' : heard ? 'the daemon tells too much or too slowly' : 'the daemon does not answer')};
}

const answers = {get, past, shards: shardMap, code: ({code}) => trade(code), token: async message => setToken(message.token), hello: async () => ({hasToken: token !== '', context})};

async function hear(port, message) {
	port.asked ??= new Map();
	if (message.kind === 'drop') return port.asked.get(message.of)?.abort();
	if (message.kind === 'leave') return tabs.delete(port);
	tabs.set(port, Date.now());
	if (message.kind === 'follow') {
		startStream();
		port.postMessage({kind: 'status', ...status});
		port.postMessage({kind: 'events', events: kept});
	} else if (message.kind === 'reconnect') {
		if (stream) stream.reconnect();
		else startStream();
	} else if (message.id) {
		const {id} = message, dropped = new AbortController();
		port.asked.set(id, dropped);
		const answer = await answers[message.kind](message, dropped.signal).catch(error => ({status: 0, body: {message: `The page failed: ${error.message}`}}));
		port.asked.delete(id);
		port.postMessage({kind: 'answer', id, ...answer});
	}
}

function join(port) {
	port.onmessage = ({data}) => hear(port, data);
}

if ('onconnect' in self) self.onconnect = ({ports: [port]}) => join(port);
else join(self);
