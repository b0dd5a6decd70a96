// The one store: what is known and chosen, where that stands in the address, and the frame in which it is drawn.

export const state = {
	// Where we are: the view, its tab, what is selected, and whether it is in the drawer.
	view: 'overview', tab: '', selected: '', drawer: false, drawerPart: '',
	filter: '', order: '', onlyWrong: false, namespace: '', at: '', absolute: false, frozen: false,
	// `bundle`: nobody is asked, what a support bundle has is shown.
	scopes: [], context: '', bundle: false, hiddenViews: new Set(),
	// How fresh it is; `clockAhead`: the daemon's clock before that of this computer, in milliseconds.
	node: '', cursor: '', stale: false, staleMs: undefined, clockAhead: 0, heardAt: 0, answerOf: '', stream: 'connecting', streamNote: '', streamSince: 0,
	// What the daemon says of itself, what `check` says of the mesh, the newest events and those before the time that is
	// shown, the newest first; `pastNote`: what of these is not there.
	daemon: null, check: null, checkError: null, events: [], past: [], pastNote: '',
};

export const EVENTS_MAX = 500;
export const may = scope => state.scopes.includes(scope);

export const eventsThen = () => (state.at ? state.past : state.events);

const drawers = [];
let waiting = false;

/** Calls `draw` in each frame in which something has changed. */
export const onDraw = draw => drawers.push(draw);

export function redraw() {
	if (waiting) return;
	waiting = true;
	requestAnimationFrame(() => {
		waiting = false;
		for (const draw of drawers) draw();
	});
}

export function change(part) {
	Object.assign(state, part);
	redraw();
}

/** Keeps events, oldest first, in the bounded list; those that are there already are left out. */
export function keepEvents(found) {
	const known = new Set(state.events.map(event => event.id));
	change({events: [...found.filter(event => !known.has(event.id)).reverse(), ...state.events].slice(0, EVENTS_MAX)});
}

/** Takes from an answer what tells how fresh it is. */
export function noteAnswer(body, askedAt) {
	const here = Date.now();
	if (body.generatedAt) {
		// A slow answer says little of the clock: the daemon wrote it at some time between.
		if (here - askedAt < 2000) state.clockAhead = Date.parse(body.generatedAt) - (askedAt + here) / 2;
		state.heardAt = here;
		state.answerOf = body.generatedAt;
	}
	if (body.localNodeId) state.node = body.localNodeId;
	if ('stale' in body) Object.assign(state, {stale: body.stale, staleMs: body.staleMs});
	const cursor = body.registryCursor ?? body.cursor;
	if (cursor) state.cursor = cursor;
}

const PARTS = {filter: 'filter', order: 'sort', namespace: 'ns', at: 'at', onlyWrong: 'wrong'};

/** The fragment of a place: `#view.tab/key?filter=...`; the time goes along. */
export function place(to) {
	const given = {at: state.at, ...to}, parameters = new URLSearchParams();
	for (const [part, word] of Object.entries(PARTS)) if (given[part]) parameters.set(word, given[part]);
	return `#${given.view}${given.tab ? `.${given.tab}` : ''}${given.selected ? `/${encodeURIComponent(given.selected)}` : ''}${parameters.size ? `?${parameters}` : ''}`;
}

export function readPlace() {
	const [, view, tab = '', key = '', text] = /^#?([\w-]*)\.?([\w-]*)\/?([^?]*)\??(.*)$/.exec(location.hash) ?? [];
	const parameters = new URLSearchParams(text), read = {view: view || 'overview', tab, selected: ''};
	try {
		read.selected = decodeURIComponent(key);
	} catch { /* a broken address selects nothing */ }
	for (const [part, word] of Object.entries(PARTS)) read[part] = parameters.get(word) ?? '';
	return {...read, onlyWrong: read.onlyWrong !== '', drawer: read.selected !== ''};
}
