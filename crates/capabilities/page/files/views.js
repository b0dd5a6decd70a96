// The lists: peers, leaders, registers, relays and plans; what each shows of a row, and why it is so.

import {command, count, digits, duration, el, marked, millis, setText, since, when, whenMs, words} from './text.js';
import {state, eventsThen} from './store.js';
import {column} from './table.js';
import {get} from './link.js';

// How long after an answer round trips are asked for again; gossip measures the first within this.
const ROUND_TRIPS_EACH_MS = 15000, ROUND_TRIPS_MISSING_MS = 5000;
const encode = encodeURIComponent;
const peerPath = id => `peers/${encode(id)}`;
const scopePath = scope => `leaders/${encode(scope)}`;
const planPath = id => `rebalance-plans/${encode(id)}`;
const isMarked = (...marks) => given => marks.includes(given.mark);
const isBad = isMarked('bad', 'warn');
const labels = row => Object.entries(row.labels ?? {}).join(' ');

// Peers.

/** How a peer is, by what matters most of it. */
export function peerState(peer) {
	if (peer.unproven) return marked('bad', `unproven: ${words(peer.unproven)}`);
	if (peer.rival) return marked('bad', 'two daemons have this id');
	if (peer.status !== 'alive') return marked({dead: 'bad', suspect: 'warn', left: 'idle'}[peer.status] ?? 'unknown', peer.status);
	if (peer.draining) return marked('moving', 'draining');
	return peer.cordoned ? marked('paused', 'cordoned') : marked('ok', 'alive');
}

const GOSSIP = {alive: 'ok', suspect: 'warn', dead: 'bad', left: 'idle'};
const gossip = ({health}) => GOSSIP[health?.state] && marked(GOSSIP[health.state], health.state);

const VERDICTS = {
	confirmed: 'suspicion confirmed', refuted: 'answered the suspicion', died: 'found dead', returned: 'came back',
	streams_alone: 'calls reach it and datagrams do not', through_others: 'others reach it, this node does not', reached: 'reached again', answered: 'was accused, and answered',
};

function chapter({evidence, verdict, by, observer, time}) {
	const why = evidence ? ` (no answer for ${millis(evidence.waitedMs)}; ${evidence.nacks} of ${count(evidence.helpers.length, 'helper')} got none either)` : '';
	return {mark: {died: 'bad', suspected: 'warn', confirmed: 'warn', through_others: 'warn'}[verdict], time, text: `${VERDICTS[verdict] ?? words(verdict)}${by && by !== observer ? ` by ${by}` : ''}${why}`, note: `seen by ${observer}`};
}

const peerWhy = ({chapters, silent}) => [...chapters.map(chapter).reverse(), ...(silent.length ? [{mark: 'unknown', text: `did not answer when asked: ${silent.join(', ')}`}] : [])];

const drain = ({remaining, shards}) => [
	...remaining.map(of => ({mark: 'moving', text: `leads ${of.scope}`, note: of.blockedBy})),
	...shards.map(of => ({mark: 'moving', text: `owns ${count(of.shards, 'shard')} of ${of.namespace}`, note: of.blockedBy})),
];

/** Round trips, each node to each, or by zone where there are many: asked for again only while somebody looks at the present. */
class RoundTrips {
	constructor() {
		this.title = el('h3', {text: 'round trips'});
		this.table = el('table', {class: 'matrix'});
		this.frame = el('div', {class: 'matrix-frame', tabindex: '0', role: 'region', 'aria-label': 'round trips'}, this.table);
		this.element = el('section', {hidden: true}, this.title, this.frame);
		this.names = [];
	}

	start() {
		this.at = state.at;
		this.ask();
	}

	stop() {
		clearTimeout(this.timer);
		this.asked = null;
	}

	/** Asks, and so again. Whoever comes back, to the page or to the present, starts it anew. */
	async ask() {
		this.stop();
		if (document.hidden || state.at || state.frozen) return;
		const asked = this.asked = get('round-trips'), {status, body} = await asked;
		if (asked !== this.asked) return;
		if (status === 200) this.show(body);
		const missing = body.rows?.some(row => row.roundTrips.length < this.names.length - 1) ?? true;
		if (!state.bundle) this.timer = setTimeout(() => this.ask(), missing ? ROUND_TRIPS_MISSING_MS : ROUND_TRIPS_EACH_MS);
	}

	show({byZone, rows}) {
		const times = rows.flatMap(row => row.roundTrips), names = this.names = [...new Set([...rows.map(row => row.from), ...times.map(trip => trip.to)])].sort();
		const most = Math.max(...times.map(trip => trip.rttMs));
		setText(this.title, byZone ? 'round trips between zones, the middle of each' : 'round trips');
		const name = (scope, text) => el('th', {scope}, el('bdi', {text}));
		const line = row => {
			const times = new Map(row.roundTrips.map(trip => [trip.to, trip.rttMs]));
			return el('tr', {title: row.trouble || null}, name('row', row.from), ...names.map(to => {
				const cell = el('td', {text: row.trouble ? '✗' : times.has(to) ? millis(times.get(to)) : '·'});
				cell.style.setProperty('--heat', (times.get(to) ?? 0) / most || 0);
				return cell;
			}));
		};
		this.table.replaceChildren(el('thead', {}, el('tr', {}, el('td', {text: 'from'}), ...names.map(to => name('col', to)))), el('tbody', {}, ...rows.map(line)));
		this.draw();
	}

	draw() {
		if (this.at !== state.at) this.start();
		this.element.hidden = Boolean(state.at) || this.names.length < 2;
	}
}

const peers = {
	title: 'Peers', key: peer => peer.nodeId, extra: RoundTrips,
	columns: [
		column('peer', '6 2', 'nodeId', 'sort=node_id'), column('state', '6 1.3', peerState, 'sort=status'), column('since', '5', peer => since(peer.statusSince), 'wide'),
		column('gossip', '5.5', gossip, '', 'how the daemon that answers hears of it'), column('round trip', '5.2', peer => millis(peer.rttMs), 'number', 'from the daemon that answers'),
		column('shards', '4', 'shards', 'number'), column('leads', '4', peer => (state.at ? '' : peer.leads.length), 'number wide'),
		column('calls by', '8', peer => (peer.downgrade ? marked('warn', `${peer.rpcTransport}: ${words(peer.downgrade)}`) : peer.rpcTransport), 'wide'),
		column('role', '6', 'metadata.role', 'sort=role wide'), column('zone', '6', 'metadata.zone', 'sort=zone wide'), column('version', '5', 'metadata.meshVersion', 'sort=version wide'),
	],
	kind: {
		path: 'peers', items: 'peers', topics: ['peers', 'leadership'], orderBy: true, facts: true, wrong: peer => isBad(peerState(peer)) || isBad(gossip(peer) ?? {}),
		filters: {role: 'role', cluster: 'cluster', status: 'status', version: 'version', region: 'region', zone: 'zone', health: 'health', selector: 'selector'},
		text: ({nodeId, metadata, ...peer}) => `${nodeId} ${metadata.role} ${metadata.zone} ${metadata.region} ${peerState(peer).text} ${labels(metadata)}`,
	},
	drawer: ({nodeId: id, cordoned, draining, ...peer}) => ({
		state: peerState({cordoned, draining, ...peer}), subject: `peer/${id}`, leave: ['auditKey', 'incarnation'],
		why: {path: `${peerPath(id)}/explain`, read: peerWhy, none: 'Gossip has nothing to tell of it.'},
		more: draining ? [{title: 'drain', path: `${peerPath(id)}/drain`, read: drain, none: 'It has handed over everything.'}] : [],
		commands: [...['explain', 'get', 'ping'], cordoned ? 'uncordon' : 'cordon', draining ? 'undrain' : 'drain'].map(verb => command(`mesh peers ${verb}`, id)),
	}),
	one: peerPath, oneOf: 'peer',
	verb: 'mesh peers',
	summary: ({body}) => (body?.heardOnly?.length ? `Heard of, and not in this registry: ${body.heardOnly.map(member => `${member.nodeId} (${member.health?.state})`).join(', ')}` : ''),
	empty: 'No peer is registered.', emptyCommand: () => command('mesh check'),
	lost: 'Health, round trips, last seen and what it leads are not in this list of the past.',
};

// Leaders.

export function leaderState(scope) {
	if (!scope.leaderId) return marked('bad', 'nobody leads');
	if (scope.order?.to) return marked('moving', `${words(scope.order.verb)} to ${scope.order.to}`);
	return scope.flapsLastHour ? marked('warn', `lost ${count(scope.flapsLastHour, 'time')} in 1h`) : marked('ok', 'led');
}

const leaderWhy = ({because, candidates}) => [
	...because.map(text => ({text})),
	...candidates.map(({leads, eligible, nodeId, rank, excludedBy}) => ({mark: leads ? 'ok' : eligible ? 'idle' : 'paused', link: ['peers', nodeId], text: nodeId, note: leads ? 'leads' : eligible ? `would be number ${rank}` : `may not: ${excludedBy.map(words).join(', ')}`})),
];

const tenure = told => ({
	time: told.electedAt, link: ['peers', told.leaderId], text: told.leaderId,
	note: `term ${told.term}, ${words(told.reason)}${told.endedAt ? `; until ${when(told.endedAt)}, ${words(told.endReason)}` : ''}${told.leaderlessMs ? `; ${duration(told.leaderlessMs)} without a leader before` : ''}`,
});

const leaders = {
	title: 'Leaders', key: scope => scope.scope,
	columns: [
		column('scope', '9 2', 'scope'), column('leader', '6 1.2', 'leaderId'), column('state', '7 1.2', leaderState), column('term', '4', 'term', 'number'),
		column('since', '5', scope => since(scope.leaderId ? scope.electedAt : scope.vacantSince)), column('because', '9', scope => words(scope.reason), 'wide'),
		column('elections in 1h', '8', 'electionsLastHour', 'wide number'), column('kind', '5', 'scopeKind', 'wide'),
	],
	kind: {
		path: 'leaders', items: 'scopes', topics: ['leadership'], wrong: scope => isBad(leaderState(scope)), filters: {scope: 'scope', kind: 'kind', leader: 'leader'},
		text: scope => `${scope.scope} ${scope.leaderId} ${leaderState(scope).text} ${scope.scopeKind} ${labels(scope)}`,
	},
	drawer: ({scope, ...rest}) => ({
		state: leaderState(rest), subject: `leadership/${scope}`, why: {path: `${scopePath(scope)}:explain`, read: leaderWhy},
		history: {path: `leaders:history?scope=${encode(scope)}&limit=16`, read: body => body.tenures.map(tenure)},
		commands: ['explain', 'history', 'get', 'step-down --dry-run'].map(verb => command(`mesh leaders ${verb}`, scope)),
	}),
	one: scopePath, oneOf: 'leadership',
	verb: 'mesh leaders',
	empty: 'There is no scope to lead.', emptyCommand: () => command('mesh leaders create', 'jobs/nightly'),
	lost: 'When leases were renewed is not in the log.',
};

// Registers.

const SYNC = {active: 'ok', fully_replicated: 'ok', subscribing: 'moving', syncing: 'moving', error: 'bad', unverified: 'warn'};
const sync = row => marked(SYNC[row.syncState] ?? 'unknown', words(row.syncState));
const shown = row => (row.advertise ? marked('ok', 'yes') : marked('paused', 'hidden'));
const version = column('version', '6', row => digits(row.latestVersion), 'number');
const register = column('register', '9 1.5', 'registerId');
const advertisementKey = row => `${row.source}/${row.registerId}/${row.producer}`;

const advertiser = one => ({
	mark: sync(one).mark, link: one.source.includes('@') ? undefined : ['peers', one.source], text: one.source,
	note: `${words(one.syncState)} at version ${one.latestVersion}, from ${one.producer}, changed ${when(one.timestamp)}`,
});

/** What lists of registers have in common. */
const registerTab = (title, tab, kind, stateOf, subject, more) => ({
	title, tab, kind: {items: 'registers', topics: ['advertisements', 'peers'], wrong: row => isBad(stateOf(row)), text: row => `${row.registerId} ${row.name} ${row.source ?? row.sources}`, ...kind},
	drawer: row => ({
		state: stateOf(row), subject: subject(row), commands: ['get', 'watch --register', row.advertise ? 'unadvertise' : 'advertise'].map(verb => command(`registers ${verb}`, row.registerId)),
		why: {title: 'who advertises it', none: 'Nobody.', path: `registers/${encode(row.registerId)}${row.nodeId ? `?nodeId=${encode(row.nodeId)}` : ''}`, read: body => body.advertisements.map(advertiser)},
	}),
	verb: 'registers', listVerb: tab || 'available',
	empty: 'There is no register.', emptyCommand: () => command('registers create --advertise', 'orders'), ...more,
});

const pool = ({target, status, lastSuccessAt, drifted, error}) => `${target} ${words(status)} ${when(lastSuccessAt)}${drifted ? `, ${drifted} differ` : ''}${error ? `, ${error}` : ''}`;

/** How far the catalogue of the daemon that answers and the pools agree. */
const syncSummary = ({aside}) => (aside?.targets ? `${aside.localNodeId} hosts ${count(aside.registers, 'register')}, advertises ${digits(aside.advertise)}, and knows ${count(aside.remote, 'advertisement')} of others${aside.unverified ? `; ${aside.unverified} not confirmed since its start` : ''}${aside.deferred ? `; ${aside.deferred} wait for the store` : ''}. Pools: ${aside.targets.map(pool).join('; ')}.` : '');

const registers = [
	registerTab('Available Registers', '', {path: 'registers/available', filters: {source: 'source'}, aside: 'registers:syncState'}, sync, row => `/${row.registerId}/`, {
		key: row => row.registerId, summary: syncSummary,
		columns: [
			register, column('name', '8 2', 'name', 'wide'), column('state', '8', sync), version, column('nodes', '4.5', 'sources.length', 'number', 'how many nodes advertise it'),
			column('whole copies', '7', 'fullReplicaPeerCount', 'number wide', 'other nodes that have all of it'), column('advertised by', '8 1.5', row => row.sources.join(', '), 'wide'),
		],
	}),
	registerTab('Advertisements', 'advertisements', {path: 'advertisements', items: 'advertisements', filters: {register: 'registerId', source: 'source'}}, sync, row => `advertisement/${advertisementKey(row)}`, {
		key: advertisementKey, lost: 'When advertisements end is not in the log.',
		columns: [
			register, column('advertised by', '7 1.2', 'source'), column('producer', '8', 'producer', 'wide'), column('state', '8', sync), version,
			column('changed', '8', row => when(row.timestamp), 'wide'), column('gone', '7', row => when(row.expiresAt), 'wide', 'unless it is refreshed'),
		],
	}),
	registerTab('Catalogue', 'list', {path: 'registers', topics: ['registers'], orderBy: true, wrong: undefined, filters: {node: 'nodeId', advertise: 'advertise', selector: 'selector'}}, shown, row => `register/${row.nodeId}/${row.registerId}`, {
		key: row => `${row.nodeId}/${row.registerId}`, empty: 'This node hosts no register.',
		columns: [
			{...register, sort: 'register_id'}, column('name', '8 2', 'name', 'sort=name'), column('node', '7', 'nodeId', 'wide'), column('advertised', '7', shown),
			{...version, sort: 'latest_version'}, column('changed', '8', row => when(row.updatedAt), 'wide sort=updated_at'),
		],
	}),
];

// Relays and drones.

const heard = row => whenMs(row.lastHeartbeatUnixMs ?? row.lastUpdatedUnixMs);

/** A list that daemons may have for gRPC alone: then it is what the last events tell of what is not gone. */
const relayTab = (title, tab, of, topic, field, key, columns, filters) => ({
	title, tab, key, kind: {path: of, items: of, topics: ['relays', 'agents'], facts: true, filters, text: row => `${row.agentId ?? ''} ${row.relayId} ${row.address ?? ''}`},
	columns: [...columns, column('last heard', '8', heard), column('ends in', '6', row => row.expiresInMs && duration(row.expiresInMs), 'number wide', 'unless it is heard of')],
	fallback: {
		text: `This daemon lists ${of} over gRPC alone. Here is what its last events tell; the command has all.`,
		rows() {
			const found = new Map();
			for (const {type, data} of eventsThen()) {
				const row = data?.[field];
				if (row && type.startsWith(`omnirelay.${topic}.`) && !found.has(key(row))) found.set(key(row), type.endsWith('.removed') ? null : row);
			}
			return [...found.values()].filter(Boolean).sort((a, b) => (key(a) < key(b) ? -1 : 1));
		},
	},
	drawer: row => ({state: state.at ? marked('unknown', 'lived then') : marked('ok', 'lives'), subject: `${of.slice(0, -1)}/${key(row)}`, commands: (of === 'relays' ? ['relays get', 'agents list --relay', 'drones list --relay'] : ['agents placement', 'drones status']).map(verb => command(verb, key(row)))}),
	verb: of, lost: 'When each was last heard is not in the log.',
	empty: of === 'relays' ? 'No relay has registered.' : 'No relay holds a drone.', emptyCommand: () => command(`${of} list`),
});

const relay = column('relay', '9 1.5', 'relayId');
const relays = [
	relayTab('Relays', '', 'relays', 'relays', 'relay', row => row.relayId, [relay, column('address', '9 1.5', row => `${row.address}:${row.grpcPort}`), column('drones', '5', 'agents', 'number')]),
	relayTab('Drones', 'drones', 'agents', 'agents', 'placement', row => row.agentId, [column('drone', '9 1.5', 'agentId'), relay, column('before', '8', 'previousRelayId', 'wide')], {relay: 'relayId'}),
];

// Plans and namespaces.

const STATES = {proposed: 'paused', approved: 'paused', running: 'moving', paused: 'paused', completed: 'ok', failed: 'bad', rejected: 'idle', cancelled: 'idle', superseded: 'idle', steady: 'ok', investigating: 'warn', draining: 'moving', rebalancing: 'moving', rebalancePending: 'paused'};
const NEXT = {proposed: ['approve', 'reject'], approved: ['apply'], running: ['pause'], paused: ['resume', 'cancel']};
const PROGRESS = {pending: 'idle', draining: 'moving', moved: 'ok', dropped: 'paused'};
const MOVES_SHOWN = 50;

export const stateOf = row => marked(STATES[row.state] ?? 'unknown', words(row.state));
const planCommands = plan => [...NEXT[plan.state] ?? [], 'get'].map(verb => command(`mesh rebalance-plans ${verb}`, plan.planId));

const WAITS = {proposed: 'It waits for somebody to approve it.', approved: 'It waits for somebody to apply it.'};
const planWhy = ({plan}) => [WAITS[plan.state], plan.stateReason, plan.reason, ...plan.waitsFor].filter(Boolean).map(text => ({text}));

const planMoves = ({plan: {moves}}) => [
	...moves.slice(0, MOVES_SHOWN).map(move => ({mark: PROGRESS[move.progress], text: `${move.shardId}: ${move.from || 'nobody'} → ${move.to}`, note: `${words(move.cause)}, ${words(move.progress)}`})),
	...(moves.length > MOVES_SHOWN ? [{text: `and ${moves.length - MOVES_SHOWN} more`}] : []),
];

const plans = {
	title: 'Plans', key: plan => plan.planId, byNamespace: 'any',
	columns: [
		column('plan', '9 1.3', 'planId'), column('namespace', '6 1', 'namespace'), column('state', '8', stateOf), column('moved', '6', plan => `${digits(plan.moved)} of ${digits(plan.summary?.moves)}`, 'number'),
		column('since', '5', plan => since(plan.stateSince)), column('proposed by', '8', 'author', 'wide'), column('why', '8 2', plan => plan.reason || words(plan.stateReason), 'wide'),
	],
	kind: {
		path: 'rebalance-plans', items: 'plans', topics: ['rebalance', 'rebalance-plans', 'shards'], filters: {state: 'state', namespace: 'namespace'}, pages: {token: 'pageToken', next: 'nextPageToken', size: 'limit'},
		parameters: () => ({namespace: state.namespace}), wrong: plan => ['failed', 'proposed'].includes(plan.state), text: plan => `${plan.planId} ${plan.namespace} ${plan.state} ${plan.author} ${plan.reason}`,
	},
	drawer: plan => ({
		state: stateOf(plan), subject: `rebalance-plan/${plan.planId}`, commands: planCommands(plan), leave: ['waitsFor'],
		why: {title: 'why, and what it waits for', path: planPath(plan.planId), read: planWhy, none: 'It waits for nothing.'}, more: [{title: 'moves', path: planPath(plan.planId), read: planMoves, none: 'It moves nothing.'}],
		history: {path: planPath(plan.planId), read: body => body.plan.decisions.map(said => ({time: said.at, text: `${words(said.what)} by ${said.by}`, note: said.reason}))},
	}),
	one: planPath, oneOf: 'plan',
	verb: 'mesh rebalance-plans',
	empty: 'No plan was made.', emptyCommand: () => command('mesh shards rebalance --dry-run'),
};

const namespaceState = row => (row.deleting ? marked('moving', 'being deleted') : row.ready ? stateOf(row) : marked('moving', `being made, ${row.made}`));
const mapChange = told => ({time: told.at, text: `map ${told.version}: ${count(told.moved, 'shard')} moved, ${digits(told.changed)} changed`, note: `${told.actor}, ${words(told.cause)}${told.reason ? `: ${told.reason}` : ''}${told.planId ? `, plan ${told.planId}` : ''}`});

const namespaces = {
	title: 'Namespaces', tab: 'namespaces', key: row => row.namespace,
	columns: [
		column('namespace', '8 1.5', 'namespace'), column('state', '8 1.2', namespaceState), column('shards', '5', row => digits(row.shards), 'number'), column('unowned', '5.5', row => (row.unowned ? marked('bad', row.unowned) : 0), 'number'),
		column('moving', '5', 'moving', 'number'), column('paused', '5', 'paused', 'number wide'), column('imbalance', '6', row => row.imbalance?.toFixed(2), 'number wide'),
		column('map', '5', 'mapVersion', 'number wide'), column('strategy', '7', 'spec.strategyId', 'wide'),
	],
	kind: {path: 'namespaces', items: 'namespaces', topics: ['rebalance', 'shards', 'peers'], wrong: row => isBad(namespaceState(row)) || row.unowned > 0, text: row => `${row.namespace} ${row.state}`},
	drawer: ({namespace, ...row}) => ({
		state: namespaceState(row), subject: `namespace/${namespace}`,
		history: {path: `shards/${encode(namespace)}:history?limit=20`, read: body => body.changes.map(mapChange)},
		commands: ['namespaces get', 'shards history -n', 'shards rebalance --dry-run -n'].map(verb => command(`mesh ${verb}`, namespace)),
	}),
	one: id => `namespaces/${encode(id)}`, oneOf: 'detail',
	verb: 'mesh namespaces',
	empty: 'There is no namespace.', emptyCommand: () => command('mesh namespaces create --shards 64', 'orders'),
};

export const views = [{name: 'peers', tabs: [peers]}, {name: 'leaders', tabs: [leaders]}, {name: 'registers', tabs: registers}, {name: 'relays', tabs: relays}, {name: 'plans', tabs: [plans, namespaces]}];
