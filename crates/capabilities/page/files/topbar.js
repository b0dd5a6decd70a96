// The bar on top: which mesh, who answers, how fresh it is, and the time that is shown.

import {age, byId, clock, duration, moment, now, parseMoment, registryCursor, setText, setAttribute} from './text.js';
import {state, change} from './store.js';

const STEP_MS = 60000;
const CLOCK_OFF_MS = 5000;
const LATE_MS = 1000;
// Where the slider stood still for so long, its time is shown.
const STILL_MS = 250;
let moving = 0;

function freshness(behindSince) {
	const here = Date.now(), heard = state.heardAt && `heard ${age(here - state.heardAt)} ago`;
	if (state.bundle) return ['bundle', 'moving', `support bundle of ${moment(state.answerOf)}`];
	if (state.at) return ['past', 'moving', `as of ${clock(state.at)}`];
	if (state.frozen) return ['frozen', 'paused', 'frozen: Space goes on'];
	if (state.stream === 'refused') return ['refused', 'bad', state.streamNote];
	if (state.stale) return ['stale', 'warn', `stale: ${state.staleMs === undefined ? 'a new epoch is being restored' : `the store is silent for ${duration(state.staleMs)}`}`];
	if (state.stream !== 'open') return ['away', here - state.streamSince > LATE_MS ? 'bad' : 'idle', [state.streamNote || 'connecting', heard].filter(Boolean).join(', ')];
	if (here - behindSince > LATE_MS) return ['behind', 'warn', `behind ${age(here - behindSince)}`];
	return ['live', 'ok', `live, ${heard}`];
}

/** Turns the time to `ms`; the future is the present. */
function turnTo(ms) {
	clearTimeout(moving);
	moving = 0;
	change({at: ms > now() - 1000 ? '' : new Date(Math.floor(ms / 1000) * 1000).toISOString()});
}

export const turnBy = steps => turnTo((state.at ? Date.parse(state.at) : now()) + steps * STEP_MS);

export function startTopBar() {
	const slider = byId('slider'), field = byId('moment');
	slider.addEventListener('input', () => {
		const ms = now() + slider.value * 1000;
		clearTimeout(moving);
		moving = setTimeout(turnTo, STILL_MS, ms);
		field.value = clock(ms);
	});
	field.addEventListener('change', () => {
		const ms = parseMoment(field.value.trim() || '0s');
		if (Number.isNaN(ms)) setText(byId('notice'), 'write 14:02 (UTC), 14:02:10, 10m or 2026-01-31T14:02:10Z');
		else turnTo(ms);
	});
	byId('present').addEventListener('click', () => turnTo(now()));
}

export function drawTopBar(behindSince) {
	const slider = byId('slider'), field = byId('moment'), fresh = byId('fresh'), off = state.clockAhead;
	setText(byId('mesh'), state.daemon?.clusterId ?? 'OmniRelay');
	setText(byId('node'), state.node && `via ${state.node}`);
	setText(byId('cursor'), state.cursor && `rev ${registryCursor(state.cursor)}`);
	const [word, mark, text] = freshness(behindSince);
	setText(fresh, text);
	setAttribute(fresh, 'class', `fresh ${mark}`);
	setAttribute(fresh, 'data-state', word);
	setAttribute(fresh, 'title', !state.bundle && Math.abs(off) > CLOCK_OFF_MS && `the clock of this computer is ${duration(Math.abs(off))} ${off > 0 ? 'behind' : 'before'} the daemon's; ages go by the daemon's`);
	if (!moving) slider.value = state.at ? (Date.parse(state.at) - now()) / 1000 : 0;
	if (!moving && document.activeElement !== field) field.value = state.at ? clock(state.at) : '';
	setAttribute(slider, 'aria-valuetext', state.at ? clock(state.at) : 'now');
	setAttribute(byId('present'), 'hidden', !state.at);
	document.body.classList.toggle('past', state.at !== '');
}
