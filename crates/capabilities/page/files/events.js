// Events in words, as they come; and the audit trail.

import {command, count, marked, when, words} from './text.js';
import {state, eventsThen, may, redraw, EVENTS_MAX} from './store.js';
import {readFilter, topic} from './list.js';
import {column} from './table.js';
import {leaderState, peerState, stateOf} from './views.js';

const verb = event => words(event.type.split('.')[2]);
const VIEWS = {peer: 'peers', leadership: 'leaders', shard: 'shards', 'rebalance-plan': 'plans', relay: 'relays'};

/** What an event is of, as `[view, key]`, where there is such a view. */
function eventPlace({subject = ''}) {
	const [kind, ...key] = subject.split('/');
	return VIEWS[kind] && [VIEWS[kind], key.join('/')];
}

function shardOutcome({shard: {ownerNodeId, targetNodeId, status}, shardHistory}) {
	const owner = ownerNodeId || 'nobody', before = shardHistory?.previousOwnerNodeId;
	const way = status === 'draining' ? `${owner} → ${targetNodeId}, handing over` : `${before && before !== ownerNodeId ? `${before} → ` : ''}${owner}${status === 'active' ? '' : `, ${status}`}`;
	return marked(!ownerNodeId ? 'bad' : status === 'active' ? 'ok' : 'moving', `${way}${shardHistory?.cause ? ` (${words(shardHistory.cause)})` : ''}`);
}

/** What has become of it: `{mark, text}`. */
export function outcome(event) {
	const {peer, leadership, tenure, shard, plan, namespace, readiness, limit, placement} = event.data ?? {};
	if (event.type.endsWith('.removed')) return marked('idle', 'gone');
	if (peer) return peerState(peer);
	if (tenure) return marked(tenure.endedAt ? 'warn' : 'ok', `${verb(event)}: ${tenure.leaderId}, term ${tenure.term}`);
	if (leadership) return leaderState(leadership);
	if (shard) return shardOutcome(event.data);
	if (plan) return stateOf(plan);
	if (namespace) return marked('idle', namespace.stateReason || words(namespace.state));
	if (readiness) return marked(readiness.ok ? 'ok' : 'warn', `${readiness.name}: ${readiness.message || verb(event)}`);
	if (limit) return marked(limit.level === 'clear' ? 'ok' : 'warn', `${limit.name}: ${limit.used} of ${limit.max} ${limit.unit}`);
	return marked('idle', placement ? `held by ${placement.relayId}` : verb(event));
}

const changed = event => event.data?.shardHistory ?? {};
export const because = event => event.reason || changed(event).reason || words(event.action?.split('.')[1]) || '–';
export const who = event => event.actor || changed(event).actor || (/^store|^node|^limits/.test(topic(event)) ? event.source.split('/').at(-1) : '–');
export const eventLine = event => ({time: event.time, ...outcome(event), note: `${who(event)}: ${because(event)}`});

const TOGETHER_ROWS = 3, TOGETHER_MS = 10000;

/** Events that tell the same of the same, or of shards, as one row: `{event, what, outcome, place}`; the newest `most` of them. */
export function grouped(events, most) {
	const rows = [];
	for (const event of events) {
		const shard = event.data?.shard, plan = shard?.planId, {cause} = changed(event);
		const key = [event.type, who(event), because(event), ...(shard ? [shard.namespace, plan, cause] : [event.subject, outcome(event).text])].join();
		const row = rows.slice(-TOGETHER_ROWS).find(of => of.key === key && Date.parse(of.event.time) - Date.parse(event.time) < TOGETHER_MS);
		if (!row && rows.length === most) break;
		if (row) row.subjects.push(event.subject);
		else rows.push({key, event, cause, plan, subjects: [event.subject]});
	}
	return rows.map(({event, subjects, cause, plan}) => {
		const many = subjects.length, kinds = new Set(subjects).size, near = kinds === 1 && eventPlace(event);
		return {
			event, what: kinds > 1 ? `${count(kinds, topic(event).replace(/s$/, ''))} of ${event.data.shard.namespace}` : `${event.subject ?? topic(event)}${many > 1 ? ` ×${many}` : ''}`,
			outcome: kinds > 1 ? marked('moving', `${words(cause)}${plan ? `, ${plan}` : ''}`) : outcome(event),
			place: near ? {view: near[0], selected: near[1]} : {view: 'events', filter: kinds > 1 ? `topic=${topic(event)}` : event.subject && `subject=${event.subject}`},
		};
	});
}

/** The bounded list of events that the stream has told, with the face of a list of the API. */
class EventList {
	constructor(kind) {
		Object.assign(this, {kind, rows: [], loaded: true});
	}

	filter() {
		return readFilter(state.filter, this.kind.filters);
	}

	begin() {
		const {given, words: looked} = this.filter();
		const isGiven = (word, value) => !given[word] || given[word].includes(value);
		this.rows = eventsThen().filter(event => isGiven('topic', topic(event)) && isGiven('actor', event.actor) && isGiven('subject', event.subject)
			&& (!state.onlyWrong || ['bad', 'warn'].includes(outcome(event).mark))
			&& (!looked || `${event.subject} ${event.type} ${who(event)} ${because(event)} ${outcome(event).text}`.toLowerCase().includes(looked)));
		this.total = this.rows.length;
		redraw();
	}

	heard() {
		if (!state.frozen) this.begin();
	}

	reset() {
		this.heard();
	}
}

const events = {
	title: 'Events', key: event => event.id, list: EventList,
	columns: [
		column('when', '9', event => when(event.time)), column('what', '9 1.5', event => event.subject ?? topic(event)), column('outcome', '9 2', outcome), column('who', '7', who),
		column('why', '7 1.5', because, 'wide'), column('event', '12', event => event.type.replace('omnirelay.', ''), 'wide'),
	],
	kind: {filters: {topic: 'topic', actor: 'actor', subject: 'subject'}, wrong: true},
	drawer: event => ({
		state: outcome(event), subject: event.subject ?? '/', leave: ['specversion', 'datacontenttype', 'prevcursor', 'data'], why: {lines: [eventLine(event)]},
		more: Object.entries(event.data ?? {}).map(([name, value]) => ({title: words(name), lines: [{text: JSON.stringify(value).replace(/([,{[])(?=")/g, '$1 ')}]})),
		commands: [command('events tail --since 15m --subject', event.subject ?? event.source), ...(may('mesh.admin') && event.subject ? [command('audit list --object', event.subject)] : [])],
	}),
	verb: 'events', listVerb: 'tail --since 15m',
	summary: () => `The last ${EVENTS_MAX} at most, of 15 minutes before the page was opened and since.`, 
	get lost() {
		return state.pastNote || 'Of the 15 minutes before.';
	},
	empty: 'Nothing has happened in the last 15 minutes.', emptyCommand: () => command('events tail --since 1h'),
};

const recordState = record => (record.refused ? marked('warn', `refused: ${words(record.refusal)}`) : record.dryRun ? marked('idle', 'dry run') : marked('ok', 'done'));
const auditPath = id => `audit/${encodeURIComponent(id)}`;

const audit = {
	title: 'Audit', tab: 'audit', key: record => record.recordId, scope: 'mesh.admin',
	columns: [
		column('when', '9', record => when(record.time)), column('who', '7 1', 'actor'), column('what', '8 1.2', 'action'), column('object', '8 1.5', 'object'),
		column('outcome', '7', recordState, 'wide'), column('why', '7 1.5', 'reason', 'wide'),
	],
	kind: {
		path: 'audit', items: 'records', topics: ['peers', 'leadership', 'shards', 'rebalance', 'rebalance-plans', 'registers', 'advertisements', 'transport-policy', 'join-policy'], present: true,
		filters: {actor: 'actor', action: 'action', object: 'object', node: 'nodeId', since: 'since', until: 'until'}, parameters: () => ({until: state.at}), text: record => `${record.actor} ${record.action} ${record.object} ${record.reason}`,
	},
	drawer: ({recordId, object, ...record}) => ({
		state: recordState(record), subject: object, why: {title: 'what changed', lines: record.changes.map(text => ({text})), none: 'Nothing.'}, leave: ['changes'],
		commands: [command('audit get', recordId), command('audit list --object', object), command('audit verify')],
	}),
	one: auditPath, oneOf: 'record',
	verb: 'audit',
	empty: 'The audit trail has nothing that matches.', emptyCommand: () => command('audit list'),
};

export const eventsView = {name: 'events', tabs: [events, audit]};
