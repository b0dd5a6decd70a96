// Shards: a table beside a map with a shape, a colour and a letter for each owner, and a sign where something is the matter.

import {command, count, digits, el, marked, setText, since, stepOf, words} from './text.js';
import {getShardMap} from './link.js';
import {change, state, redraw} from './store.js';
import {paced, spaces} from './list.js';
import {column} from './table.js';

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

const SHAPES = 7, COLOURS = 8, LETTERS_FROM_PX = 15;
// What a frame may take; the rest of the squares is for the next one.
const FRAME_MS = 4;
const STATES = ['active', 'draining', 'paused', 'disabled'], STATE_SIGNS = ['', '→', '‖', '–'];

const byName = new Intl.Collator('en', {numeric: true}).compare;

/** What stands for the owner at `place` in a legend: the look of its squares, in text. */
const glyph = place => [...'■□▲●◆○☰'][(place - 1) % SHAPES];
const colour = place => `var(--owner-${(place - 1) % COLOURS + 1})`;
const letter = place => (place > 26 ? String.fromCharCode(64 + Math.floor((place - 1) / 26)) : '') + String.fromCharCode(65 + (place - 1) % 26);

const isHollow = place => [1, 5].includes((place - 1) % SHAPES);

/** Draws the shape of the owner at `place` into a square of `size`. */
function drawShape(pen, place, size, colours) {
	const pad = size > 10 ? 1.5 : 1, side = size - 2 * pad, half = size / 2, thick = Math.max(1, size / 8);
	pen.fillStyle = pen.strokeStyle = colours[(place - 1) % COLOURS];
	pen.lineWidth = thick;
	pen.beginPath();
	const corners = points => points.forEach(([x, y]) => pen.lineTo(pad + x * side, pad + y * side));
	[
		() => pen.rect(pad, pad, side, side),
		() => pen.rect(pad + thick / 2, pad + thick / 2, side - thick, side - thick),
		() => corners([[0.5, 0], [1, 1], [0, 1]]),
		() => pen.arc(half, half, side / 2, 0, 7),
		() => corners([[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]]),
		() => pen.arc(half, half, (side - thick) / 2, 0, 7),
		() => {
			pen.rect(pad, pad, side, side * 0.4);
			pen.rect(pad, pad + side * 0.6, side, side * 0.4);
		},
	][(place - 1) % SHAPES]();
	pen[isHollow(place) ? 'stroke' : 'fill']();
}

class ShardCanvas {
	/** `on.select(id)`, `on.open(id)`. */
	constructor(on) {
		Object.assign(this, {on, active: 0, many: 0});
		this.canvas = el('canvas', {tabindex: '0', role: 'application', 'aria-roledescription': 'map of shards', 'aria-label': 'shards by owner; arrow keys move, Enter opens', on: {
			keydown: event => this.keyDown(event), focus: () => this.draw(), blur: () => this.draw(), click: event => this.click(event), mousemove: event => this.say(this.at(event)), mouseleave: () => this.say(this.active),
		}});
		this.line = el('p', {class: 'note shard-line', role: 'status'});
		this.frame = el('div', {class: 'canvas-frame'}, this.canvas);
		this.element = el('div', {}, this.frame, this.line);
		new ResizeObserver(() => this.layOut()).observe(this.frame);
	}

	/**
	 * Takes the columns of a map. Squares lie by owner and id as they are at first, and stay there: what has moved since stands out.
	 * `places`: the place of each owner among all owners, so that its shape stays.
	 */
	take(columns, places) {
		const {length} = columns.owner, same = columns.ids === this.columns?.ids;
		Object.assign(this, {columns, places, many: length});
		if (same) return this.draw();
		this.ids = length ? columns.ids.split('\n') : [];
		this.index = new Map(this.ids.map((id, at) => [id, at]));
		const rank = [...columns.owners.keys()].sort((a, b) => byName(columns.owners[a], columns.owners[b]));
		const group = columns.owners.map((_, at) => rank.indexOf(at));
		this.order = Uint32Array.from(this.ids.keys()).sort((a, b) => group[columns.owner[a]] - group[columns.owner[b]] || a - b);
		this.position = new Uint32Array(length);
		this.order.forEach((at, position) => {
			this.position[at] = position;
		});
		this.active = 0;
		this.layOut();
	}

	layOut() {
		const {many, canvas} = this, width = this.frame.clientWidth, scale = this.scale = devicePixelRatio;
		if (!many || !width) return;
		const area = width * Math.min(innerHeight * 0.42, 460);
		const size = this.size = Math.max(7, Math.min(24, Math.floor(Math.sqrt(area / many))));
		const across = this.across = Math.min(many, Math.floor(width / size)), down = Math.ceil(many / across);
		canvas.width = across * size * scale;
		canvas.height = down * size * scale;
		canvas.style.width = `${across * size}px`;
		canvas.style.height = `${down * size}px`;
		this.pen = canvas.getContext('2d');
		this.readColours();
		this.tiles = new Map();
		this.drawn = new Int32Array(many).fill(-1);
		this.drawLater();
	}

	readColours() {
		const style = getComputedStyle(this.canvas), of = name => style.getPropertyValue(`--${name}`);
		this.colours = Array.from({length: COLOURS}, (_, at) => of(`owner-${at + 1}`));
		[this.bad, this.text, this.ground, this.accent] = ['bad', 'text', 'ground', 'accent'].map(of);
	}

	/** Draws what looks otherwise than before: owner, state, and whether it is the active one. */
	draw() {
		if (!this.pen) return;
		const {drawn, size, across, scale, columns: {owner, status}, places, pen, active, order} = this, side = size * scale;
		const marked = this.chosen || document.activeElement === this.canvas, until = performance.now() + FRAME_MS;
		for (let position = 0; position < drawn.length; position += 1) {
			const at = order[position], look = (places[owner[at]] << 3) | (status[at] << 1) | (marked && position === active);
			if (drawn[position] === look) continue;
			if (performance.now() > until) return this.drawLater();
			drawn[position] = look;
			const x = (position % across) * side, y = Math.floor(position / across) * side;
			pen.clearRect(x, y, side, side);
			pen.drawImage(this.tile(look), x, y);
		}
	}

	drawLater() {
		this.later ??= requestAnimationFrame(() => {
			this.later = undefined;
			this.draw();
		});
	}

	tile(look) {
		if (!this.tiles.has(look)) this.tiles.set(look, this.makeTile(look >> 3, (look >> 1) & 3, look & 1));
		return this.tiles.get(look);
	}

	makeTile(place, status, marked) {
		const {size, scale} = this, tile = new OffscreenCanvas(size * scale, size * scale), pen = tile.getContext('2d');
		pen.scale(scale, scale);
		pen.globalAlpha = status ? 0.35 : 1;
		if (place) drawShape(pen, place, size, this.colours);
		pen.globalAlpha = 1;
		const matters = !place || status, sign = !place ? '✗' : STATE_SIGNS[status] || (size >= LETTERS_FROM_PX ? letter(place) : '');
		pen.fillStyle = !place ? this.bad : status || isHollow(place) ? this.text : this.ground;
		pen.font = `${matters ? 'bold ' : ''}${Math.round(size * (matters ? 0.85 : 0.5))}px system-ui`;
		pen.textAlign = 'center';
		pen.textBaseline = 'middle';
		pen.fillText(sign, size / 2, size * ((place - 1) % SHAPES === 2 && !status ? 0.66 : 0.53));
		pen.strokeStyle = this.accent;
		pen.lineWidth = 2;
		if (marked) pen.strokeRect(1, 1, size - 2, size - 2);
		return tile.transferToImageBitmap();
	}

	say(position) {
		const at = this.order?.[position];
		if (at === undefined) return;
		const {owners, owner, target, status} = this.columns, to = owners[target[at]];
		setText(this.line, `${this.ids[at]}: ${owners[owner[at]] || 'nobody owns it'}${status[at] ? `, ${STATES[status[at]]}` : ''}${to ? ` to ${to}` : ''}`);
	}

	move(to) {
		if (!this.many) return;
		this.active = Math.max(0, Math.min(to, this.many - 1));
		this.chosen = true;
		this.draw();
		this.say(this.active);
		this.on.select(this.ids[this.order[this.active]]);
	}

	choose(id) {
		const position = this.position?.[this.index.get(id)];
		if (position === undefined || position === this.active) return;
		this.active = position;
		this.chosen = true;
		this.draw();
	}

	keyDown(event) {
		const step = stepOf(event, {ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.across, ArrowUp: -this.across, PageDown: this.across * 10, PageUp: -this.across * 10, Home: -this.many, End: this.many});
		if (step) this.move(this.active + step);
	}

	at(event) {
		const {left, top} = this.canvas.getBoundingClientRect();
		return Math.floor((event.clientY - top) / this.size) * this.across + Math.floor((event.clientX - left) / this.size);
	}

	click(event) {
		const position = this.at(event);
		if (position >= this.many) return;
		this.move(position);
		this.on.open(this.ids[this.order[position]]);
	}

	/** Folds the shard of an event into the map; false: the map has to be read anew. `placesOf`: as of `take`. */
	patch({shardId, ownerNodeId, targetNodeId, status: word}, placesOf) {
		const at = this.index.get(shardId), {owners, owner, target, status} = this.columns;
		const place = node => (owners.includes(node) ? owners.indexOf(node) : owners.push(node) - 1);
		if (at === undefined) return false;
		owner[at] = place(ownerNodeId);
		target[at] = place(targetNodeId);
		status[at] = Math.max(0, STATES.indexOf(word));
		this.places = placesOf(owners);
		return true;
	}
}

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
