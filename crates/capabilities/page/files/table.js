// The table of every list: it draws the rows that are in sight, however many there are.

import {el, field, setText, setAttribute, stepOf, SIGNS} from './text.js';

const ROW_PX = 28;
const HEAD_PX = 26;
const BEYOND = 8;
const NEAR_END = 20;
let tables = 0;

/**
 * A column. `width`: in em, after a blank its share of what is left; `of`: a function or the path of a field, giving text or
 * `{mark, text}`; `flags`: `number`, `wide` (not on small screens), `sort=` and what the server calls it.
 */
export const column = (name, width, of, flags = '', help) => ({
	name, help, width: width.replace(/(.+) (.+)/, 'minmax($1em, $2fr)').replace(/^[\d.]+$/, '$&em'), cell: typeof of === 'string' ? row => field(row, of) : of,
	number: flags.includes('number'), wide: flags.includes('wide'), sort: /sort=(\w+)/.exec(flags)?.[1],
});

const classes = ({number, wide}) => `cell${number ? ' number' : ''}${wide ? ' wide-only' : ''}`;
const widths = columns => columns.map(({width}) => width).join(' ');

export class Table {
	/** `on`: `select(key)`, `open(key)`, `sort(order)`, `more()`. */
	constructor({label, columns, key, on}) {
		Object.assign(this, {columns, key, on, rows: [], active: 0, activeKey: '', pool: [], id: `table-${tables += 1}`});
		this.heads = columns.map(of => el('div', {class: `${classes(of)}${of.sort ? ' sortable' : ''}`, role: 'columnheader', title: of.help ?? (of.sort && 'sort (s)'), on: {click: () => of.sort && on.sort(this.order === of.sort ? `${of.sort} desc` : of.sort)}}, el('span', {text: of.name})));
		this.body = el('div', {class: 'rows', role: 'rowgroup'});
		this.element = el('div', {class: 'table', role: 'grid', tabindex: '0', 'aria-label': label, on: {keydown: event => this.keyDown(event), scroll: () => this.draw()}}, el('div', {class: 'head', role: 'rowgroup'}, el('div', {class: 'row', role: 'row', 'aria-rowindex': 1}, this.heads)), this.body);
		this.element.style.setProperty('--columns', widths(columns));
		this.element.style.setProperty('--columns-narrow', widths(columns.filter(({wide}) => !wide)));
		new ResizeObserver(() => this.draw()).observe(this.element);
	}

	/** Shows `rows`; `total` of them there are, undefined where nobody has counted. */
	show(rows, total, order) {
		Object.assign(this, {rows, total, order});
		// The row that was chosen stays chosen where it goes.
		if (this.activeKey && this.current && this.key(this.current) !== this.activeKey) this.active = Math.max(0, rows.findIndex(row => this.key(row) === this.activeKey));
		this.active = Math.max(0, Math.min(this.active, rows.length - 1));
		this.draw();
	}

	get current() {
		return this.rows[this.active];
	}

	get inSight() {
		return this.element.clientHeight - HEAD_PX;
	}

	choose(key) {
		const at = this.rows.findIndex(row => this.key(row) === key);
		if (at >= 0) this.activate(at);
		this.activeKey = key;
	}

	activate(to) {
		if (!this.rows.length) return;
		this.active = Math.max(0, Math.min(to, this.rows.length - 1));
		this.activeKey = this.key(this.current);
		const top = this.active * ROW_PX, {scrollTop} = this.element, height = this.inSight;
		if (top < scrollTop) this.element.scrollTop = top;
		else if (top + ROW_PX > scrollTop + height) this.element.scrollTop = top + ROW_PX - height;
		this.draw();
		this.on.select(this.activeKey);
	}

	keyDown(event) {
		const page = Math.max(1, Math.floor(this.inSight / ROW_PX) - 1), all = this.rows.length;
		const step = stepOf(event, {ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -all, End: all});
		if (step) this.activate(this.active + step);
	}

	draw() {
		const {rows, active, element, columns, pool} = this, {scrollTop} = element;
		if (this.height !== rows.length) {
			this.height = rows.length;
			this.body.style.height = `${rows.length * ROW_PX}px`;
		}
		const first = Math.max(0, Math.floor(scrollTop / ROW_PX) - BEYOND), last = Math.min(rows.length, Math.ceil((scrollTop + this.inSight) / ROW_PX) + BEYOND);
		for (let at = 0; at < Math.max(last - first, pool.length); at += 1) this.drawRow(at, first + at, first + at < last);
		const [by, way] = (this.order ?? '').split(' ');
		columns.forEach(({sort}, at) => setAttribute(this.heads[at], 'aria-sort', sort && (by !== sort ? 'none' : way ? 'descending' : 'ascending')));
		setAttribute(element, 'aria-rowcount', this.total === undefined ? -1 : this.total + 1);
		setAttribute(element, 'aria-activedescendant', active >= first && active < last && `${this.id}-${active - first}`);
		if (last > rows.length - NEAR_END && last > 0) this.on.more();
	}

	drawRow(place, index, inSight) {
		const row = this.pool[place] ?? (inSight && this.newRow(place));
		if (!row) return;
		if (row.hidden === inSight) row.hidden = !inSight;
		if (!inSight) return;
		if (row.index !== index) {
			row.index = index;
			row.style.transform = `translateY(${index * ROW_PX}px)`;
			row.setAttribute('aria-rowindex', index + 2);
		}
		setAttribute(row, 'aria-selected', String(index === this.active));
		this.columns.forEach((of, at) => {
			const given = of.cell(this.rows[index]), cell = row.cells[at], mark = given?.mark ?? 'none';
			if (cell.mark !== mark) {
				cell.mark = mark;
				cell.sign.textContent = SIGNS[mark];
				cell.sign.className = `sign ${mark}`;
			}
			setText(cell.text, String((given?.mark ? given.text : given) ?? '') || '–');
		});
	}

	newRow(place) {
		const cells = this.columns.map(() => ({sign: el('span', {class: 'sign none'}), text: el('span', {class: 'text'}), mark: 'none'}));
		const row = el('div', {class: 'row', role: 'row', id: `${this.id}-${place}`, on: {click: () => {
			this.activate(row.index);
			this.on.open(this.activeKey);
		}}}, cells.map(({sign, text}, at) => el('div', {class: classes(this.columns[at]), role: 'gridcell'}, sign, text)));
		row.cells = cells;
		this.pool[place] = row;
		this.body.append(row);
		return row;
	}
}
