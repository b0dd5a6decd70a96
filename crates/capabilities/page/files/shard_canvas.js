// The shards of a namespace as squares: a shape, a colour and a letter for each owner, and a sign where something is the matter.

import {el, setText} from './text.js';

const SHAPES = 7, COLOURS = 8, LETTERS_FROM_PX = 15;
// What a frame may take; the rest of the squares is for the next one.
const FRAME_MS = 4;
const STATES = ['active', 'draining', 'paused', 'disabled'], STATE_SIGNS = ['', '→', '‖', '–'];

export const byName = new Intl.Collator('en', {numeric: true}).compare;

/** What stands for the owner at `place` in a legend: the look of its squares, in text. */
export const glyph = place => [...'■□▲●◆○☰'][(place - 1) % SHAPES];
export const colour = place => `var(--owner-${(place - 1) % COLOURS + 1})`;
export const letter = place => (place > 26 ? String.fromCharCode(64 + Math.floor((place - 1) / 26)) : '') + String.fromCharCode(65 + (place - 1) % 26);

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

export class ShardCanvas {
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

	/** Says what is at a position. */
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
		const step = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.across, ArrowUp: -this.across, PageDown: this.across * 10, PageUp: -this.across * 10, Home: -this.many, End: this.many}[event.key];
		if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
		event.preventDefault();
		this.move(this.active + step);
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
