// The page: signs in, follows the stream, listens to the keys, and shows one view at a time.

import {byId, copy, count, el, put, setText, setAttribute} from './text.js';
import {openLink, follow, get, getPast, giveToken, giveUp, listen, query, reconnect, trade} from './link.js';
import {state, change, may, onDraw, place, readPlace, redraw, EVENTS_MAX} from './store.js';
import {drawTopBar, startTopBar, turnBy} from './topbar.js';
import {Drawer} from './drawer.js';
import {Overview, findings, followCheck, recheck} from './overview.js';
import {ListView, paced, spaces} from './list.js';
import {views} from './views.js';
import {shardsView} from './shards.js';
import {eventsView} from './events.js';

const LISTS = [...views, shardsView, eventsView];
const made = new Map(), rail = new Map();
// The newest first: on a busy mesh there is no time for all.
const PAST_MINUTES = [1, 5, 15];
let keys, drawer, shown, shownAs = '', written = '', pastOf = '';

/** Shows the view of the state; it is made when it is first shown. */
function switchView() {
	const view = LISTS.find(of => of.name === state.view), tab = view?.tabs.find(of => (of.tab ?? '') === state.tab && (!of.scope || may(of.scope)));
	if (!tab) Object.assign(state, {tab: '', view: view ? state.view : 'overview'});
	const name = `${state.view}.${state.tab}`;
	if (name === shownAs) return;
	shown?.stop?.();
	if (!made.has(name)) made.set(name, view ? new ListView(view, tab ?? view.tabs[0]) : new Overview());
	shown = made.get(name);
	shownAs = name;
	const focused = !document.activeElement?.closest('#rail, #top');
	byId('main').replaceChildren(shown.element);
	shown.start();
	if (focused) shown.focus();
}

/** Goes to a place; what is not given begins anew there, but for the time and the namespace. */
const go = to => change({tab: '', selected: '', filter: '', order: '', onlyWrong: false, drawer: false, ...to});

/** Writes where we are into the address; another view is a step to go back from. */
function writePlace() {
	const fragment = place(state);
	if (fragment === written) return;
	const step = written && written.split(/[/?]/)[0] !== fragment.split(/[/?]/)[0];
	written = fragment;
	if (location.hash !== fragment) history[step ? 'pushState' : 'replaceState'](null, '', fragment);
}

function readAddress() {
	if (location.hash === written) return;
	const to = readPlace();
	written = location.hash;
	go({...to, namespace: to.namespace || state.namespace});
}

function drawRail() {
	const found = state.at ? [] : findings();
	for (const [name, link] of rail) {
		const own = found.filter(({view = 'overview'}) => view === name), bad = own.some(({result}) => result !== 'warn');
		setAttribute(link, 'aria-current', name === state.view && 'page');
		setAttribute(link, 'href', place({view: name}));
		setAttribute(link, 'hidden', state.hiddenViews.has(name));
		setText(link.lastChild, own.length ? `${own.length}${bad ? '✗' : '!'}` : '');
		setAttribute(link.lastChild, 'class', `badge ${bad ? 'bad' : 'warn'}`);
	}
}

/** Reads what happened before the moment that is shown, going back from it until the list is full. */
const readPast = paced(async () => {
	const {at} = state, found = [];
	let before = Date.parse(at) + 1;
	for (const minutes of PAST_MINUTES) {
		const since = new Date(Date.parse(at) - minutes * 60e3), {events = [], whole, problem, body} = await getPast(since.toISOString(), new Date(before).toISOString(), at);
		if (at !== state.at) return;
		// What was not read to its end has a gap before what is there.
		if (whole || !found.length) found.push(...events.reverse());
		const full = found.length >= EVENTS_MAX, why = problem ?? body.message;
		change({
			past: found.slice(0, EVENTS_MAX),
			pastNote: why ? `${found.length ? 'Incomplete' : 'What happened before could not be read'}: ${why}.` : full ? `The last ${EVENTS_MAX} before.` : minutes < PAST_MINUTES.at(-1) ? `Of ${count(minutes, 'minute')} before; reading on.` : '',
		});
		if (full || why) return;
		before = since.getTime();
	}
});

function draw() {
	if (pastOf !== state.at) {
		pastOf = state.at;
		Object.assign(state, {past: [], pastNote: 'Reading what happened before.'});
		giveUp();
		if (pastOf) readPast();
	}
	switchView();
	shown.draw();
	drawRail();
	drawTopBar(shown.list?.behindSince);
	drawer.draw(shown.tab, shown.row);
	setText(byId('command'), shown.command);
	writePlace();
	document.title = `${state.view} · ${state.daemon?.clusterId ?? 'OmniRelay'}`;
}

function openDrawer(drawerPart) {
	if (shown.table?.current || state.selected) change({selected: state.selected || shown.tab.key(shown.table.current), drawer: true, drawerPart});
}

function sortNext() {
	const orders = shown.table?.columns.map(column => column.sort).filter(Boolean) ?? [];
	if (orders.length) change({order: orders[(orders.indexOf(state.order.split(' ')[0]) + 1) % orders.length]});
}

/** Closes what is open, else takes the filter back, else goes back to the present. */
function close() {
	if (state.drawer) shown.focus();
	change(state.drawer ? {drawer: false} : state.filter || state.onlyWrong ? {filter: '', onlyWrong: false} : {at: ''});
}

const open = name => !state.hiddenViews.has(name) && go({view: name});

function askForView() {
	const dialog = byId('go'), field = byId('go-name'), names = [...rail.keys()].filter(name => !state.hiddenViews.has(name));
	byId('go-names').replaceChildren(...names.map(value => el('option', {value})));
	field.value = '';
	field.onkeydown = event => {
		if (event.key !== 'Enter') return;
		event.preventDefault();
		dialog.close();
		const name = names.find(of => of.startsWith(field.value.trim().toLowerCase() || ' '));
		if (name) open(name);
	};
	dialog.showModal();
}

// What the keys do, by the names in keys.json.
const actions = {
	view: askForView,
	filter: () => shown.input?.focus(),
	details: () => openDrawer(''),
	explain: () => openDrawer('why'),
	history: () => openDrawer('history'),
	changes: () => open('events'),
	problems: () => (state.view === 'overview' ? document.querySelector('.findings a')?.focus() : change({onlyWrong: !state.onlyWrong})),
	sort: sortNext,
	reverse: () => state.order && change({order: state.order.endsWith(' desc') ? state.order.slice(0, -5) : `${state.order} desc`}),
	freeze() {
		change({frozen: !state.frozen});
		if (state.frozen) return;
		shown.reset();
		recheck();
	},
	earlier: () => turnBy(-1),
	later: () => state.at && turnBy(1),
	copy: () => copy(shown.command),
	times: () => change({absolute: !state.absolute}),
	namespace: () => spaces.next(shown.tab?.byNamespace !== 'one'),
	reconnect,
	help: () => byId('help').showModal(),
	close,
};

function leaveField(field) {
	if (field.type === 'search') change({filter: field.value = ''});
	shown.focus();
}

function keyDown(event) {
	const {target} = event, key = event.key === ' ' ? 'Space' : event.key;
	if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || document.querySelector('dialog[open]')) return;
	if (target.matches('input:not([type=range]), select')) return key === 'Escape' && leaveField(target);
	// A button or a link has its own Enter and Space.
	if (['Enter', 'Space'].includes(key) && target.closest('button, a')) return;
	const view = keys.views.find(of => of.key === key), action = keys.actions.find(of => of.keys.includes(key));
	if (!view && !action) return;
	event.preventDefault();
	if (view) open(view.name);
	else actions[action.action]?.();
}

/** Reads the map of the keys; builds the rail and the help of it. */
async function readKeys() {
	keys = await (await fetch('keys.json')).json();
	const line = (names, text) => [el('dt', {}, names.map(name => el('kbd', {text: name}))), el('dd', {text})];
	byId('help-keys').replaceChildren(...keys.views.flatMap(view => line([view.key], view.name)), ...keys.actions.flatMap(action => line(action.keys, action.help)), ...line(['↑', '↓', 'Home', 'End'], 'go through the list'), ...line(['Tab'], 'from part to part'));
	for (const {key, name} of keys.views) {
		rail.set(name, el('a', {}, el('kbd', {text: key}), el('span', {text: name}), el('span', {class: 'badge'})));
		byId('rail').append(rail.get(name));
	}
}

/** Asks who we are: null when we may read, else what is in the way. */
async function whoAmI() {
	const {status, body} = await get('whoami');
	// A support bundle knows no callers, and has no events: whoever has it may read all of it.
	if (body?.reason === 'NOT_IN_BUNDLE') {
		change({bundle: true, scopes: ['mesh.read', 'mesh.admin']});
		return null;
	}
	if (status !== 200) return {...body, status};
	change({scopes: body.scopes});
	return may('mesh.read') ? null : {message: `${body.principal || 'Who proves nothing'} may not read this mesh: the scope mesh.read is missing.`};
}

/** Comes back once we may read: by a code, by the token that the worker has, without any, or by one that is pasted. */
async function signIn() {
	const code = new URLSearchParams(location.hash.slice(1)).get('code');
	// The code stays in no history.
	if (code) history.replaceState(null, '', location.pathname);
	const hello = await openLink(), traded = code ? await trade(code) : hello;
	state.context = traded.context ?? '';
	let problem = await whoAmI();
	if (!problem) return;
	problem = traded.problem ?? (problem.status === 401 && !hello.hasToken && !code ? {message: 'This page has no token.'} : problem);
	byId('frame').hidden = true;
	byId('sign-in').hidden = false;
	while (problem) {
		put(byId('sign-in-problem'), [problem.message, problem.hint].filter(Boolean).join(' — '));
		byId('token').focus();
		await new Promise(entered => {
			byId('enter').onclick = entered;
			byId('token').onkeydown = event => void (event.key === 'Enter' && entered());
		});
		if (byId('token').value) await giveToken(byId('token').value.trim());
		problem = await whoAmI();
	}
	byId('token').value = '';
	byId('sign-in').hidden = true;
	byId('frame').hidden = false;
}

/** A view whose list the caller may not read is not there. */
async function hideForbidden() {
	await Promise.all(LISTS.map(async ({name, tabs: [{kind}]}) => {
		const {status} = kind.path ? await get(kind.path + query({[kind.pages?.size ?? 'pageSize']: 1})) : {};
		if (status === 403) state.hiddenViews.add(name);
	}));
	redraw();
}

async function begin() {
	await Promise.all([signIn(), readKeys()]);
	Object.assign(state, readPlace());
	drawer = new Drawer();
	startTopBar();
	document.addEventListener('keydown', keyDown);
	byId('copy').addEventListener('click', actions.copy);
	byId('help-button').addEventListener('click', actions.help);
	for (const dialog of document.querySelectorAll('dialog')) dialog.addEventListener('click', event => event.target === dialog && dialog.close());
	for (const event of ['hashchange', 'popstate']) addEventListener(event, readAddress);
	const catchUp = () => {
		shown?.reset();
		spaces.read();
		recheck();
	};
	document.addEventListener('visibilitychange', () => !document.hidden && catchUp());
	listen('reset', catchUp);
	listen('events', events => {
		if (document.hidden) return;
		for (const part of [shown, drawer, spaces]) part?.heard(events);
		recheck();
	});
	onDraw(draw);
	draw();
	follow();
	followCheck();
	hideForbidden();
	setInterval(() => !document.hidden && redraw(), 1000);
	const {status, body} = await get('node');
	if (status === 200) change({daemon: body});
}

begin();
