// Text: elements, times, states and commands as the page writes them.

import {state} from './store.js';

// Controls, marks of direction, what cannot be seen: each is shown as a sign of its own.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu;

function sign(character) {
	const code = character.codePointAt(0);
	return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
}

/** The text with a sign for each hidden character, for titles and labels. */
const plain = text => String(text ?? '').replace(HIDDEN, sign);

/** Puts `text` into `element` as text; hidden characters stand out. */
export function put(element, text) {
	const value = String(text ?? '');
	if (value.search(HIDDEN) < 0) element.textContent = value;
	else {
		let from = 0;
		element.textContent = '';
		for (const {0: found, index} of value.matchAll(HIDDEN)) {
			element.append(value.slice(from, index), el('span', {class: 'hidden-character', text: sign(found)}));
			from = index + found.length;
		}
		element.append(value.slice(from));
	}
	return element;
}

/** Makes an element. `given`: `text`, `on` (listeners by event), and attributes by their names. */
export function el(tag, given = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(given)) {
		if (name === 'text') put(element, value);
		else if (name === 'on') for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
		else setAttribute(element, name, value);
	}
	element.append(...children.flat().filter(child => child || child === 0));
	return element;
}

/** Sets text only where it is another one, so that nothing is laid out for nothing. */
export function setText(element, text) {
	if (element.shownText === text) return;
	element.shownText = text;
	put(element, text);
}

/** The same for an attribute; false takes it away. */
export function setAttribute(element, name, value) {
	if (value === false || value === undefined || value === null) element.removeAttribute(name);
	else {
		const text = value === true ? '' : plain(value);
		if (element.getAttribute(name) !== text) element.setAttribute(name, text);
	}
}

/** The step that a key without a modifier is, and then of nobody else; 0 where it is none. */
export function stepOf(event, steps) {
	const step = !event.ctrlKey && !event.altKey && !event.metaKey && steps[event.key] || 0;
	if (step) event.preventDefault();
	return step;
}

export const byId = id => document.getElementById(id);

/** Milliseconds by the daemon's clock, whatever the clock of this computer says. */
export const now = () => Date.now() + state.clockAhead;

const UNITS = {d: 86400e3, h: 3600e3, m: 60e3, s: 1e3};

/** A duration in its greatest unit: `350ms`, `8s`, `11d`. */
export function duration(ms) {
	for (const [unit, size] of Object.entries(UNITS)) if (ms >= size) return `${Math.floor(ms / size)}${unit}`;
	return `${Math.max(0, Math.round(ms))}ms`;
}

export const age = ms => (ms < 1000 ? '0s' : duration(ms));

/** `2026-01-31 14:03:11Z`, in UTC as everywhere in the program. */
export function moment(time) {
	const at = new Date(time);
	return Number.isNaN(+at) ? '–' : `${at.toISOString().slice(0, 19).replace('T', ' ')}Z`;
}

const today = () => moment(now()).slice(0, 11);

/** The same without the date where it is of today. */
export const clock = time => moment(time).replace(today(), '');

const passed = time => (state.at ? Date.parse(state.at) : now()) - Date.parse(time);

/** A time as it is to be shown: how long ago, or by the clock. */
export function when(time) {
	if (!time) return '–';
	const ms = passed(time);
	return state.absolute ? clock(time) : ms < -999 ? `in ${duration(-ms)}` : `${age(ms)} ago`;
}

/** The same of milliseconds since the epoch; 0 is none. */
export const whenMs = ms => when(Number(ms) && new Date(Number(ms)));

export const since = time => (!time ? '–' : state.absolute ? clock(time) : age(passed(time)));

/** A moment as people write it: `14:02` and `14:02:10` of the last day in UTC, `10m`, or an RFC 3339 time; NaN where it is none. */
export function parseMoment(text) {
	const [, many, unit] = /^(\d+) ?([smhd])$/.exec(text) ?? [];
	if (many) return now() - many * UNITS[unit];
	const isOfDay = /^\d?\d:\d\d/.test(text), full = (isOfDay ? today() : '') + text;
	const at = /^\d{4}-\d\d-/.test(full) ? Date.parse(/(z|[+-]\d\d:\d\d)$/i.test(full) ? full : `${full}Z`) : NaN;
	return isOfDay && at > now() ? at - UNITS.d : at;
}

export const digits = number => String(number ?? 0).replace(/\B(?=(\d{3})+$)/g, '\u202f');
export const count = (number, one) => `${digits(number)} ${one}${Number(number) === 1 ? '' : 's'}`;
export const millis = ms => (ms === undefined ? '–' : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)}ms`);

/** A word of the API as words: `session_expired`, `rebalancePending`. */
export const words = text => String(text ?? '').replace(/_/g, ' ').replace(/([a-z\d])([A-Z])/g, '$1 $2').toLowerCase();

/** The commit of a cursor, without the place in it and what a single daemon notes behind a comma. */
export const registryCursor = cursor => (cursor ?? '').split(/[.,]/)[0];

/** What marks look like: never colour alone. */
export const SIGNS = {ok: '✓', warn: '!', bad: '✗', idle: '·', moving: '→', paused: '‖', unknown: '?', none: ''};
export const marked = (mark, text) => ({mark, text});

export const field = (row, path) => path.split('.').reduce((value, part) => value?.[part], row);

const BARE = ['metadata', 'summary', 'spec'];

/** What the API says of an object, field by field, as words and values; lists of objects are for sections of their own. */
export function facts(object, left = [], before = '') {
	const found = [];
	for (const [key, value] of Object.entries(object)) {
		const label = before + words(key.replace(/(Unix)?Ms$/, ''));
		if (left.includes(key) || value === '' || value === null || value === false) continue;
		if (key === 'labels') found.push([label, Object.entries(value).map(pair => pair.join('=')).join(' ')]);
		else if (Array.isArray(value)) found.push([label, typeof value[0] === 'object' ? '' : value.join(', ')]);
		else if (typeof value === 'object') found.push(...facts(value, left, BARE.includes(key) ? before : `${label} `));
		else if (key.endsWith('UnixMs')) found.push([label, whenMs(value)]);
		else if (key.endsWith('Ms')) found.push([label, value < 100 ? millis(Number(value)) : duration(value)]);
		else found.push([label, value === true ? 'yes' : /^\d{4}-\d\d-\d\dT\d\d:/.test(value) ? when(value) : String(value)]);
	}
	return found.filter(([, text]) => text !== '');
}

/** A word as a shell takes it; controls as bash and zsh write them. */
export function quoted(word) {
	const text = String(word);
	if (/^[\w./:@%+,=-]+$/.test(text)) return text;
	if (text.search(HIDDEN) < 0) return `'${text.replaceAll("'", `'\\''`)}'`;
	return `$'${text.replace(/[\\']/g, '\\$&').replace(HIDDEN, one => `\\U${one.codePointAt(0).toString(16).padStart(8, '0')}`)}'`;
}

/** The command, in the context of `omnirelay ui` where that is known. */
export const command = (verb, ...names) => ['omnirelay', verb, ...[...names, ...(state.context ? ['--context', state.context] : [])].map(quoted)].join(' ');

/** The command in a hint of the API; empty where there is none. */
export const commandIn = hint => (/`(omnirelay [^`]+)`/.exec(hint) ?? /^(omnirelay .+)$/.exec(hint) ?? ['', ''])[1];

export async function copy(text) {
	const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
	setText(byId('notice'), done ? 'copied' : 'the browser does not let the page copy');
	setTimeout(() => setText(byId('notice'), ''), 3000);
}

export const commandLine = text => el('div', {class: 'command'}, el('code', {text}), el('button', {type: 'button', class: 'copy', 'aria-label': `copy ${text}`, text: 'copy', on: {click: () => copy(text)}}));
