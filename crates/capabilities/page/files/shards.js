// Shards: a map by owner beside the table.

import {command, count, digits, el, marked, setText, since, words} from './text.js';
import {getShardMap} from './link.js';
import {change, state, redraw} from './store.js';
import {paced, spaces} from './list.js';
import {column} from './table.js';
import {ShardCanvas, byName, colour, glyph, letter} from './shard_canvas.js';

const key = shard => `${shard.namespace}/${shard.shardId}`;
const path = id => `shards/${id.split('/').map(encodeURIComponent).join('/')}`;

function shardState({ownerNodeId, status, statusReason, targetNodeId}) {
	const why = statusReason ? `: ${words(statusReason)}` : '';
	if (!ownerNodeId) return marked('bad', 'nobody owns it');
	if (status === 'draining') return marked('moving', `moves to ${targetNodeId}${why}`);
	return status === 'active' ? marked('ok', 'active') : marked('paused', status + why);
}

const why = ({because, candidates}) => [
	...because.map(text => ({text})),
	...candidates.map(({nodeId, owns, rank, excludedBy, shards, most}) => ({
		mark: owns ? 'ok' : rank ? 'idle' : 'paused', link: ['peers', nodeId], text: nodeId,
		note: `${owns ? 'owns it' : rank ? `would be number ${rank}` : 'may not'}${excludedBy.length ? `: ${excludedBy.map(words).join(', ')}` : ''}; has ${digits(shards)}${most === undefined ? '' : ` of at most ${digits(most)}`}`,
	})),
];

const move = ({time, current, history}) => ({
	time, text: `${history.previousOwnerNodeId ? `${history.previousOwnerNodeId} → ` : ''}${current.ownerNodeId || 'nobody'}${current.status === 'active' ? '' : `, ${current.status}`}`,
	note: `map ${current.mapVersion}, ${words(history.cause)} by ${history.actor}${history.reason ? `: ${history.reason}` : ''}${current.planId ? `, plan ${current.planId}` : ''}`,
});

/** The map of the chosen namespace and its legend. */
class ShardMap {
	constructor() {
		const all = id => `${this.of}/${id}`;
		Object.assign(this, {of: '', names: []});
		this.canvas = new ShardCanvas({select: id => change({selected: all(id)}), open: id => change({selected: all(id), drawer: true})});
		this.legend = el('ul', {class: 'legend', 'aria-label': 'owners', tabindex: '0'});
		this.note = el('p', {class: 'note'});
		this.element = el('section', {hidden: true}, this.note, this.legend, this.canvas.element);
		this.read = paced(() => this.load(), 1000);
		matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
			this.canvas.layOut();
			this.changed = true;
			redraw();
		});
	}

	start() {
		if (state.namespace) this.read();
	}

	async load() {
		const of = state.namespace, at = state.at;
		this.wanted = `${of}@${at}`;
		const {status, body, columns} = await getShardMap({namespace: of, at});
		if (of !== state.namespace || at !== state.at) return this.start();
		if (of !== this.of) this.names = [];
		Object.assign(this, {of, total: body?.totalSize, changed: true, failed: status !== 200});
		if (!this.failed) this.canvas.take(columns, this.placesOf(columns.owners));
		redraw();
	}

	/** The place of each owner, by name and by when it was first seen: a shape stays with its owner. */
	placesOf(owners) {
		this.names.push(...owners.filter(owner => owner && !this.names.includes(owner)).sort(byName));
		return owners.map(owner => this.names.indexOf(owner) + 1);
	}

	heard(events) {
		if (state.at || state.frozen || !this.canvas.many) return;
		for (const {type, data} of events) {
			if (data?.shard?.namespace !== this.of) continue;
			this.changed = true;
			if (type.endsWith('.removed') || !this.canvas.patch(data.shard, owners => this.placesOf(owners))) this.start();
		}
	}

	draw() {
		if (`${state.namespace}@${state.at}` !== this.wanted) this.start();
		const {many} = this.canvas, about = !state.at && spaces.of(this.of);
		this.element.hidden = !many || this.failed || this.of !== state.namespace;
		if (this.element.hidden) return;
		if (!this.canvas.pen) this.canvas.layOut();
		if (state.selected.startsWith(`${this.of}/`)) this.canvas.choose(state.selected.slice(this.of.length + 1));
		setText(this.note, [
			this.of, about && `map ${about.mapVersion}`, count(many, 'shard') + (about ? `, ${about.unowned} unowned, ${about.moving} moving, ${about.paused} paused` : ''),
			about.imbalance && `imbalance ${about.imbalance.toFixed(2)}`, this.total > many && `of ${digits(this.total)}; those are drawn`,
		].filter(Boolean).join(' · '));
		if (!this.changed) return;
		this.changed = false;
		this.canvas.draw();
		this.drawLegend();
	}

	drawLegend() {
		const {columns, places} = this.canvas, counts = columns.owners.map(() => 0);
		for (const owner of columns.owner) counts[owner] += 1;
		const most = Math.max(...counts);
		const rows = columns.owners.map((owner, at) => [owner, places[at], counts[at]]).filter(row => row[2]).sort((a, b) => a[1] - b[1]);
		this.legend.replaceChildren(...rows.map(([owner, place, many]) => {
			const sign = el('span', {class: `sign ${place ? '' : 'bad'}`, text: place ? glyph(place) : '✗'}), bar = el('i');
			if (place) sign.style.color = bar.style.background = colour(place);
			bar.style.width = `${many / most * 100}%`;
			return el('li', {}, sign, el('b', {text: place ? letter(place) : ''}), el('bdi', {text: owner || 'nobody'}), el('span', {class: 'track'}, bar), el('span', {class: 'number', text: digits(many)}));
		}));
	}
}

const shards = {
	title: 'Shards', key, extra: ShardMap, byNamespace: 'one',
	columns: [
		column('shard', '6 1', 'shardId'), column('namespace', '6 1', 'namespace', 'wide'), column('owner', '6 1.2', 'ownerNodeId'), column('state', '7 1.6', shardState),
		column('owned for', '6', shard => since(shard.ownedSince)), column('fence', '10', 'fenceToken', 'number wide'), column('map', '4', 'mapVersion', 'number wide'), column('placed by', '8', 'strategyId', 'wide'),
	],
	kind: {
		path: 'shards', items: 'items', topics: ['shards'], pages: {token: 'cursor', next: 'nextCursor', size: 'pageSize'}, search: 'search', filters: {namespace: 'namespace', owner: 'owner', status: 'status'},
		parameters: () => ({namespace: state.namespace}), wrong: shard => !shard.ownerNodeId || shard.status !== 'active',
	},
	drawer: shard => ({
		state: shardState(shard), subject: `shard/${key(shard)}`, why: {path: `${path(key(shard))}:explain`, read: why}, history: {path: `${path(key(shard))}:explain`, read: body => body.changes.map(move)},
		commands: [...['explain', 'get', shard.status === 'active' ? 'pause' : 'resume'].map(verb => command(`mesh shards ${verb}`, key(shard))), command('mesh shards history -n', shard.namespace)],
	}),
	one: path, oneOf: 'shard',
	verb: 'mesh shards',
	empty: 'There are no shards.', emptyCommand: () => command('mesh namespaces create --shards 64', 'orders'),
};

export const shardsView = {name: 'shards', tabs: [shards]};
