// Clusters, and the domains that they follow of each other: how far this cluster is with each, and who decides where one is braked.

import {command, count, digits, duration, isBad, marked, quoted, when, words} from './text.js';
import {state} from './store.js';
import {column} from './table.js';

// What lists of both have in common: no event tells how far others are, and their tags do.
const KIND = {topics: ['clusters'], facts: 'tagged', present: true};
const LOST = 'This is not in the log: it is how it is now.';

// Domains.

const MARKS = {following: 'ok', loading: 'moving', silent: 'bad', braked: 'bad', active: 'ok', passive: 'idle', draining: 'moving', maintenance: 'paused'};

const told = (mark, word, ...why) => ({mark, word, text: [word, ...why].filter(Boolean).join(': ')});

/** How a domain is here: in a `word`, and as `text` with why. */
function domainState({activeHere, replica}) {
	if (activeHere) return told('ok', 'active');
	if (!replica) return told('warn', 'not followed yet');
	const {state: is, reason, setAside, unknownKinds, brakedDeletions, brakedReplacements} = replica, missing = setAside.length + unknownKinds.length;
	if (is === 'following' && missing) return told('warn', `following, ${missing} set aside`, reason);
	const stopped = is === 'braked' ? `${brakedDeletions} records would be deleted and ${brakedReplacements} replaced` : '';
	// The reason has the numbers as well.
	return told(MARKS[is] ?? 'unknown', words(is), !reason.includes(stopped) && stopped, reason);
}

const look = ({domain, activeCluster, replica}) => (replica?.state === 'braked' ? command('mesh state-diff --with', activeCluster) : command('mesh domains get', domain));

const SAYS = {
	loading: 'What differs is fetched: what is here is of different moments.', braked: 'Nothing is followed until somebody decides. What it is about:',
	following: 'What is here is what was there at that moment.', silent: 'What is here is what was heard last.',
};

/** What lets a braked domain go on: one of two commands, by who is right. */
const decisions = ({domain, activeCluster: active}) => [
	{text: `If ${active} has lost it: this, said at ${active}, gives it back.`, command: ['omnirelay mesh domains heal', ...[domain, '--from', state.daemon?.clusterId ?? 'THIS'].map(quoted)].join(' ')},
	{text: `If ${active} is right: by this, said here, what is not there is deleted here.`, command: command('mesh domains approve', domain)},
];

/** Why a domain is as it is here; of one that is active here, who follows it. */
function domainWhy(domain) {
	const {activeCluster, activeHere, version, replica, followers} = domain;
	if (activeHere) return [{text: version ? 'Changes are made here.' : 'Nobody has said where it is active: nobody follows it.'}, ...followers.map(of => ({link: ['clusters', of.clusterId], text: of.clusterId, note: `${count(of.lagRevisions, 'commit')} behind, up to ${of.durable}, said ${when(of.heardAt)}`}))];
	if (!replica) return [{text: `${activeCluster} was not reached since it was named. What is here is what was here before.`}];
	const {state: word, lagMs, lagRevisions, heardAt, setAside, unknownKinds} = replica, isBraked = word === 'braked';
	return [
		{...domainState(domain), note: `${duration(lagMs)} and ${count(lagRevisions, 'commit')} behind ${activeCluster}, heard ${when(heardAt)}`}, {text: SAYS[word] ?? '', command: isBraked && look(domain)}, ...(isBraked ? decisions(domain) : []),
		...setAside.map(of => ({mark: 'warn', text: `${of.kind}/${of.key} cannot be written here`, note: of.reason})), ...unknownKinds.map(of => ({mark: 'warn', text: `This version does not know ${of}: nothing of it is here.`})),
	];
}

const named = ({namespaces}) => namespaces.join(', ') || 'all others';
const followedBy = ({followers}) => followers.map(of => `${of.clusterId} ${digits(of.lagRevisions)} behind`).join(', ');

const domains = {
	title: 'Domains', tab: 'domains', key: domain => domain.domain,
	columns: [
		column('domain', '6 1', 'domain'), column('active in', '6 1', 'activeCluster'), column('here', '8 3.5', domainState), column('lag', '4', ({replica}) => replica && duration(replica.lagMs), 'number', 'how old what is not here may be'),
		column('behind', '4', ({replica}) => replica && digits(replica.lagRevisions), 'number', 'commits of the active cluster that are not here'), column('compared', '6', ({replica}) => replica && when(replica.comparedAt), 'wide', 'when it was the same as there, by sums over all of it'),
		column('followed by', '6 1.2', followedBy, 'wide'), column('namespaces', '6 1', named, 'wide'), column('version', '5', 'version', 'wide'), column('applied', '8', 'replica.applied', 'wide'),
	],
	kind: {...KIND, path: 'domains', items: 'domains', wrong: domain => isBad(domainState(domain)), text: domain => `${domain.domain} ${domain.activeCluster} ${domainState(domain).text} ${named(domain)} ${followedBy(domain)}`},
	drawer: domain => ({state: {...domainState(domain), text: domainState(domain).word}, subject: `domain/${domain.domain}`, why: {lines: domainWhy(domain)}, commands: [look(domain), command('mesh domains list')]}),
	oneOf: 'domain',
	verb: 'mesh domains', lost: LOST,
};

/** Domains that are not followed as they should be, as `check` tells what it has found; those of a cluster that are so alike are one. */
export function domainFindings() {
	const found = new Map();
	for (const domain of state.domains) {
		const is = domainState(domain), key = `${is.text} ${domain.activeCluster}`;
		if (isBad(is)) found.set(key, [...found.get(key) ?? [], domain]);
	}
	return [...found].map(([id, [first, ...more]]) => {
		const {mark, text} = domainState(first), many = more.length;
		return {
			id, category: 'clusters', view: 'clusters', about: [], hint: '', result: mark === 'bad' ? 'fail' : 'warn', message: `domain ${first.domain}${many ? ` and ${digits(many)} more` : ''} of ${first.activeCluster}: ${text}`,
			command: look(first), why: {view: 'clusters', tab: 'domains', selected: many ? '' : first.domain, onlyWrong: many > 0},
		};
	});
}

// Clusters.

/** How a cluster is; where nothing was heard of how it vouches, nobody of it is let in. */
const clusterState = ({state: word, local, trust, maintenanceOrder: order}) => (order || local || trust ? marked(MARKS[word] ?? 'unknown', words(word) + (order ? `: ${order.reason}` : '')) : marked('warn', `${words(word)}, not heard`));

const activeFor = ({clusterId}) => state.domains.filter(domain => domain.activeCluster === clusterId);

/** How what another cluster is active for is followed here: the worst of it. */
function followed(cluster) {
	const states = cluster.local ? [] : activeFor(cluster).map(domain => ({...domainState(domain), name: domain.domain}));
	const worst = ['bad', 'warn', 'unknown', 'moving', 'ok'].map(mark => states.find(of => of.mark === mark)).find(Boolean);
	return worst && marked(worst.mark, `${worst.name}: ${worst.word}`);
}

const clusters = {
	title: 'Clusters', key: cluster => cluster.clusterId,
	columns: [
		column('cluster', '7 1.2', ({clusterId, local}) => clusterId + (local ? ' (this one)' : '')), column('state', '7 1.2', clusterState), column('active for', '6 1', cluster => activeFor(cluster).map(of => of.domain).join(', ')), column('followed here', '8 1.8', followed),
		column('region', '5 .6', 'region', 'wide'), column('priority', '4.5', 'priority', 'number wide', 'the least takes over first'),
		column('endpoints', '8 1.4', cluster => cluster.replicationEndpoints.join(', '), 'wide'), column('owners', '6 1', cluster => cluster.owners.join(', '), 'wide'),
	],
	kind: {
		...KIND, path: 'clusters', items: 'clusters', filters: {region: 'region', state: 'state'}, wrong: cluster => isBad(clusterState(cluster)) || isBad(followed(cluster)),
		text: cluster => `${cluster.clusterId} ${clusterState(cluster).text} ${cluster.region} ${cluster.replicationEndpoints} ${cluster.owners}`,
	},
	drawer: cluster => ({
		state: clusterState(cluster), subject: `cluster/${cluster.clusterId}`, commands: [command('mesh clusters get', cluster.clusterId), command('mesh clusters check')],
		why: {title: 'active for', none: 'Nothing.', lines: activeFor(cluster).map(domain => ({mark: domainState(domain).mark, link: ['clusters.domains', domain.domain], text: domain.domain, note: domainState(domain).text}))},
	}),
	oneOf: 'cluster',
	verb: 'mesh clusters', lost: LOST,
	// Nobody else is there, and nobody has said anything of a domain.
	isEmpty: rows => rows.length < 2 && !state.domains.some(domain => domain.version),
	empty: 'There is no other cluster. One that follows this one has what is made here, also when this one is lost. To see two on this machine:', emptyCommand: () => 'omnirelay up --clusters 2',
};

export const clustersView = {name: 'clusters', tabs: [clusters, domains]};
