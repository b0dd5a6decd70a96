// A stand-in for a daemon: as many peers, shards and changes as a test asks for, and whatever else may go wrong.

import {createServer} from 'node:http';
import {existsSync, readFileSync} from 'node:fs';
import {extname, join} from 'node:path';
import {FILES} from './support.mjs';

export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types omnirelay";
const TYPES = {'.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.json': 'application/json', '.svg': 'image/svg+xml'};
const EPOCH = 'e1';

const iso = ms => new Date(ms).toISOString();

function peerOf(id, at) {
	return {
		nodeId: id, status: 'alive', statusReason: 'registered', statusSince: iso(at), cordoned: false, draining: false, lastSeen: iso(at), rttMs: 1.2, metadata: {role: 'worker', clusterId: 'stub', region: 'r', zone: `zone-${id.length % 3}`, meshVersion: '0.0.0', http3Support: true, endpoints: {control: '127.0.0.1:1'}, metadataVersion: '1', labels: {}, auditKey: '', fetches: []},
		version: '1', lastWriterId: 'node-0', cordonReason: '', createdAt: iso(at), updatedAt: iso(at), leads: [], rpcTransport: 'http3', downgrade: '', health: {state: 'alive', since: iso(at), by: [], unwell: 0, incarnation: '1', flaps: 0}, shards: 0, unproven: '', rival: '',
	};
}

const shardOf = (id, owner, at) => ({namespace: 'orders', shardId: id, strategyId: 'rendezvous', ownerNodeId: owner, leaderId: owner, capacityHint: 0, status: 'active', version: '1', checksum: 'C', updatedAt: iso(at), changeTicket: '', localityHint: '', fenceToken: '1796037764848', statusReason: '', targetNodeId: '', ownedSince: iso(at), mapVersion: '1', planId: '', lastWriterId: 'node-0'});

export class Stub {
	/** `peers`, `shards`: how many; `names`: of peers besides; `scopes`; `token`: needed; `stale`; `clockAhead`: of its clock, in ms; `base`: below which path; `bundle`: as for a support bundle. */
	constructor({peers = 3, shards = 64, names = [], scopes = ['mesh.read', 'mesh.admin'], token = '', stale = false, clockAhead = 0, base = '', bundle = false} = {}) {
		Object.assign(this, {scopes, token, stale, clockAhead, base, bundle, revision: 1, streams: new Set(), streamsOpened: [], givenUp: 0, requests: [], notGet: 0, log: []});
		const at = this.now() - 3600e3;
		this.peers = [...Array.from({length: peers}, (_, number) => `node-${number}`), ...names].map(id => peerOf(id, at));
		const wide = String(shards - 1).length;
		this.shards = Array.from({length: shards}, (_, number) => shardOf(String(number).padStart(wide, '0'), `node-${number % Math.min(Math.max(1, peers), 40)}`, at));
	}

	now() {
		return Date.now() + this.clockAhead;
	}

	async start() {
		this.server = createServer((request, response) => this.answer(request, response));
		await new Promise(done => this.server.listen(0, '127.0.0.1', done));
		this.address = `http://127.0.0.1:${this.server.address().port}${this.base}/ui/`;
		return this;
	}

	stop() {
		clearInterval(this.timer);
		this.cut();
		this.server.closeAllConnections();
		return new Promise(done => this.server.close(done));
	}

	/** Ends all streams. */
	cut() {
		for (const stream of this.streams) stream.destroy();
	}

	answer(request, response) {
		if (request.method !== 'GET') this.notGet += 1;
		if (!request.url.startsWith(`${this.base}/`)) return response.writeHead(404).end();
		const url = new URL(request.url.slice(this.base.length), 'http://stub');
		if (url.pathname === '/ui/session') return this.json(response, request.headers['omnirelay-ui-code'] === this.code ? {token: this.token} : {reason: 'UNAUTHENTICATED', message: 'the code was used, or is none', hint: 'run `omnirelay ui` again'}, this.code && request.headers['omnirelay-ui-code'] === this.code ? 200 : 401);
		if (url.pathname.startsWith('/ui/')) return this.file(response, url.pathname.slice(4) || 'index.html');
		if (!url.pathname.startsWith('/control/')) return response.writeHead(404).end();
		this.requests.push(url.pathname + url.search);
		if (this.token && request.headers.authorization !== `Bearer ${this.token}`) return this.json(response, {reason: 'UNAUTHENTICATED', message: 'no token', hint: 'omnirelay login'}, 401);
		if (this.bundle && ['/control/whoami', '/control/events'].includes(url.pathname)) return this.json(response, {reason: 'NOT_IN_BUNDLE', message: 'the support bundle has no answer', hint: ''}, 404);
		if (url.pathname === '/control/events') return this.stream(request, response, url);
		const {searchParams} = url, answer = () => this.api(request, response, url.pathname.slice(9), searchParams);
		if (!this.pastTakesMs || !searchParams.has('at')) return answer();
		const later = setTimeout(answer, this.pastTakesMs);
		response.on('close', () => {
			clearTimeout(later);
			if (!response.writableEnded) this.givenUp += 1;
		});
	}

	file(response, name) {
		const path = join(FILES, name);
		if (!existsSync(path) || name.includes('/')) return response.writeHead(404).end();
		response.writeHead(200, {'content-type': TYPES[extname(path)], 'content-security-policy': POLICY, 'cache-control': 'no-cache'}).end(readFileSync(path));
	}

	json(response, body, status = 200, headers = {}) {
		response.writeHead(status, {'content-type': 'application/json', ...headers}).end(status === 304 ? undefined : JSON.stringify(body));
	}

	head() {
		return {schemaVersion: 'v1', generatedAt: iso(this.now()), localNodeId: 'node-0', cursor: `${EPOCH}:${this.revision}`, stale: this.stale, ...(this.stale ? {staleMs: 4200} : {})};
	}

	api(request, response, path, parameters) {
		const scope = path.startsWith('audit') ? 'mesh.admin' : 'mesh.read';
		if (this.isBroken && path !== 'whoami') return this.json(response, null);
		if (path !== 'whoami' && !this.scopes.includes(scope)) return this.json(response, {reason: 'MISSING_SCOPE', message: `${scope} is missing`, hint: ''}, 403);
		if (parameters.get('at') && Date.parse(parameters.get('at')) < this.now() - 1800e3) return this.json(response, {reason: 'HISTORY_UNAVAILABLE', message: 'the history reaches back to 14:02:10', hint: ''}, 410);
		const body = this.body(path, parameters);
		if (!body) return this.json(response, {reason: 'ROUTE_UNKNOWN', message: `this daemon has no route ${path}`, hint: ''}, 404);
		const etag = `W/"${this.revision}-${path}"`;
		if (request.headers['if-none-match'] === etag) return this.json(response, null, 304, {etag});
		this.json(response, {...this.head(), ...body}, 200, {etag});
	}

	page(parameters, all, items, sizeOf = 'pageSize', tokenOf = 'pageToken', next = 'nextPageToken') {
		const from = Number(parameters.get(tokenOf) ?? 0), size = Number(parameters.get(sizeOf) ?? 1000);
		return {[items]: all.slice(from, from + size), [next]: from + size < all.length ? String(from + size) : '', totalSize: all.length};
	}

	body(path, parameters) {
		const past = parameters.has('at');
		const lists = {
			whoami: () => ({principal: 'operator:stub', scopes: this.scopes}),
			node: () => ({clusterId: 'stub', version: '0.0.0', store: 'memory', startedAt: iso(this.now() - 7200e3), storeTrouble: ''}),
			check: () => ({success: false, summary: {pass: 50, warn: 0, fail: 1, skip: 5, unknown: 0}, nodes: [], categories: [{name: 'membership', checks: [{id: 'membership-dead', description: 'no peer is dead', result: 'fail', message: 'node-2 is dead', hint: 'omnirelay mesh peers explain node-2', about: ['node-2'], seenBy: []}]}]}),
			peers: () => this.page(parameters, this.peers.filter(peer => !parameters.has('status') || parameters.getAll('status').includes(peer.status)).map(peer => (past ? {...peer, health: undefined, rttMs: undefined, lastSeen: undefined} : peer)), 'peers'),
			...(this.roundTrips && {'round-trips': () => this.roundTrips}),
			relays: () => ({relays: [{relayId: 'relay-1', address: '127.0.0.1', grpcPort: 1, agents: 2, lastHeartbeatUnixMs: past ? '0' : String(this.now() - 3000)}], nextPageToken: ''}),
			leaders: () => this.page(parameters, [{scope: 'global-control', scopeKind: 'global', labels: {}, leaderId: 'node-0', term: '1', fenceToken: '1', electedAt: iso(this.now() - 60e3), reason: 'created', electionsLastHour: 1, flapsLastHour: 0, version: '1', lastWriterId: 'node-0'}], 'scopes'),
			shards: () => this.page(parameters, this.shards.filter(shard => !parameters.has('status') || shard.status === parameters.get('status')), 'items', 'pageSize', 'cursor', 'nextCursor'),
			namespaces: () => ({namespaces: [{namespace: 'orders', spec: {}, mapVersion: '1', checksum: 'C', shards: this.shards.length, ready: true, made: 0, deleting: false, state: 'steady', moving: 0, unowned: 0, orphaned: 0, paused: 0, imbalance: 1, version: '1'}], nextPageToken: ''}),
			'rebalance-plans': () => ({plans: [], nextPageToken: ''}), 'registers/available': () => this.page(parameters, [], 'registers'), registers: () => this.page(parameters, [], 'registers'),
			advertisements: () => this.page(parameters, [], 'advertisements'), audit: () => ({records: [], nextPageToken: ''}), 'registers:syncState': () => ({targets: [], registers: 0, advertise: 0, remote: 0, unverified: 0, deferred: 0}),
		};
		if (lists[path]) return lists[path]();
		if (/^peers\/[^/]+\/explain$/.test(path)) return {health: {}, chapters: [], silent: []};
		if (/:explain$/.test(path)) return {because: ['it is so'], candidates: [], changes: []};
		const peer = /^peers\/([^/]+)$/.exec(path);
		return peer && {peer: this.peers.find(of => of.nodeId === decodeURIComponent(peer[1]))};
	}

	stream(request, response, url) {
		const from = request.headers['last-event-id'] ?? null;
		this.streamsOpened.push({from, since: url.searchParams.get('since')});
		if (this.refuseStreams) return response.destroy();
		if (this.refusePast && url.searchParams.get('since')?.includes('T')) return this.json(response, {reason: 'HISTORY_UNAVAILABLE', message: 'the history reaches back to 14:02:10Z', hint: ''}, 410);
		response.writeHead(200, {'content-type': 'text/event-stream', 'cache-control': 'no-cache'});
		response.write(`retry: 2000\n\nid: ${EPOCH}:${this.revision}\ndata: ${JSON.stringify({type: 'omnirelay.events.synced', cursor: `${EPOCH}:${this.revision}`})}\n\n`);
		if (from) response.write(this.log.filter(event => Number(event.cursor.split(':')[1]) > Number(from.split(':')[1])).map(event => this.frame(event)).join(''));
		const since = Date.parse(url.searchParams.get('since'));
		if (this.pastEachMs && since) return this.tellSlowly(response, since);
		if (!from && since) response.write(this.log.filter(event => Date.parse(event.time) >= since).map(event => this.frame(event)).join(''));
		this.streams.add(response);
		response.on('close', () => this.streams.delete(response));
	}

	/** Tells the history from `since` on, one of it each `pastEachMs`. */
	tellSlowly(response, since) {
		const left = this.log.filter(event => Date.parse(event.time) >= since);
		const timer = setInterval(() => left.length && response.write(this.frame(left.shift())), this.pastEachMs);
		response.on('close', () => clearInterval(timer));
	}

	/** Fills the history: so many changes a second, for so many seconds until now. */
	remember(perSecond, seconds) {
		const {length} = this.peers, until = this.now();
		this.log = Array.from({length: perSecond * seconds}, (_, at) => {
			const cursor = `${EPOCH}:${this.revision += 1}`, peer = this.peers[at % length], number = perSecond * seconds - at;
			return {id: cursor, source: '/clusters/stub', type: 'omnirelay.peers.modified', subject: `peer/${peer.nodeId}`, time: iso(until - number * 1000 / perSecond), data: {peer}, cursor, actor: 'operator:ann', reason: `before ${number}`};
		});
	}

	frame(event) {
		return `id: ${event.cursor}\ndata: ${JSON.stringify(event)}\n\n`;
	}

	/** Tells of a change; `events` are `[topic, subject, data, more]`. */
	tell(events) {
		const text = events.map(([topic, subject, data, more]) => {
			this.revision += 1;
			const cursor = `${EPOCH}:${this.revision}`;
			const event = {specversion: '1.0', id: `${cursor}/${subject}`, source: '/clusters/stub', type: `omnirelay.${topic}`, subject, time: iso(this.now()), data, cursor, prevcursor: `${EPOCH}:${this.revision - 1}`, actor: 'operator:ann', action: 'peers.cordon', reason: 'test', ...more};
			this.log = [...this.log.slice(-2000), event];
			return this.frame(event);
		}).join('');
		for (const stream of this.streams) stream.write(text);
	}

	cordon(number, reason = 'test') {
		const peer = this.peers[number];
		Object.assign(peer, {cordoned: !peer.cordoned, cordonReason: reason});
		this.tell([['peers.modified', `peer/${peer.nodeId}`, {peer}]]);
	}

	moveShard(number, owner) {
		const shard = this.shards[number];
		const before = shard.ownerNodeId;
		shard.ownerNodeId = owner;
		this.tell([['shards.modified', `shard/orders/${shard.shardId}`, {shard, shardHistory: {actor: 'node-0', cause: 'balance', previousOwnerNodeId: before}}, {action: 'shards.control'}]]);
	}

	/** Makes so many changes a second, of peers and shards in turn, until `calm`. */
	storm(perSecond) {
		const began = Date.now();
		let done = 0;
		this.timer = setInterval(() => {
			const due = Math.floor((Date.now() - began) * perSecond / 1000);
			for (; done < due; done += 1) {
				if (done % 2) this.cordon(done % this.peers.length);
				else this.moveShard(done % this.shards.length, `node-${done % 3}`);
			}
		}, 10);
		return () => done;
	}

	calm() {
		clearInterval(this.timer);
	}
}
