// A view that is a list: its heading, filter, table, and what a view has besides.

import {command, commandLine, digits, el, setText, setAttribute} from './text.js';
import {List, spaces} from './list.js';
import {Table} from './table.js';
import {state, change, redraw, may, place} from './store.js';
import {get} from './link.js';

const TYPING_MS = 200;

export class ListView {
	/**
	 * `view` has `tabs`, of which `tab` is one: `title`, `columns`, `key(row)`, `kind` of list, `drawer(row)`, the `verb` and `listVerb` of its command, what is said of
	 * an `empty` list and the `emptyCommand()`, `one(key)` and `oneOf` to ask for a single row, `extra` above the table, `summary(list)`,
	 * what is `lost` in the past, `fallback` where the daemon has no such list, `byNamespace`, `scope` that it takes.
	 */
	constructor(view, tab) {
		Object.assign(this, {view, tab});
		this.list = tab.list ? new tab.list(tab.kind) : new List(tab.kind);
		this.table = new Table({label: tab.title, columns: tab.columns, key: tab.key, on: {select: selected => change({selected}), open: selected => change({selected, drawer: true}), sort: order => change({order}), more: () => this.list.needMore()}});
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
		if (state.at && tab.kind.at !== false && !tab.list) return command(`${tab.verb} ${tab.listVerb ?? 'list'} --at`, state.at);
		return row ? tab.drawer(row).commands[0] : command(`${tab.verb} ${tab.listVerb ?? 'list'}`);
	}

	/** What decides which rows are asked for. */
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
		this.list.stop();
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
			state.at ? (tab.kind.at === false ? !tab.scope && 'This list is of the present: it is not in the log.' : tab.lost) : list.loaded && tab.summary?.(list),
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
		const [text, advice, next] = missing ? ['The events tell of none.', '', tab.emptyCommand()] : list.error ? [list.error.message, list.error.hint] : state.filter || state.onlyWrong ? ['Nothing matches.', 'Esc shows all again.'] : state.at ? ['There was nothing then.'] : [tab.empty, '', tab.emptyCommand()];
		const key = [text, advice, next].join();
		if (this.emptyShown !== key) this.empty.replaceChildren(...[el('p', {text}), advice && el('p', {class: 'note', text: advice}), next && commandLine(next)].filter(Boolean));
		this.emptyShown = key;
	}
}
