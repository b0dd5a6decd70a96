// The page before a stand-in for a daemon: many objects, many changes, cut streams, odd names, and callers who may little.

import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';
import {launch, openTab, pause, picture, say, seriousFaults, shows, tasksDuring, VIEWS} from './support.mjs';
import {Stub} from './stub.mjs';

// What a task of the page may take of the processor: the figure, and the same where the machine is slower.
const TASK_MS = Number(process.env.OMNIRELAY_TASK_MS ?? 50);
const FRAME_MS = Number(process.env.OMNIRELAY_FRAME_MS ?? 8);

const HEAP_MB = 10;
// How many events the page bears; a million takes some ten minutes.
const EVENTS = Number(process.env.OMNIRELAY_PAGE_EVENTS ?? 20_000);
const EVENTS_A_SECOND = 2000;

/** What the page's heap holds in MB once what nobody needs is gone. */
async function heap(context, page) {
	const session = await context.newCDPSession(page);
	await session.send('HeapProfiler.collectGarbage');
	const {usedSize} = await session.send('Runtime.getHeapUsage');
	await session.detach();
	return usedSize / 1e6;
}

/** What the heap of the one SharedWorker holds in MB. */
async function workerHeap() {
	const session = await browser.newBrowserCDPSession();
	const {targetInfos} = await session.send('Target.getTargets');
	const [worker] = targetInfos.filter(target => target.type === 'shared_worker');
	const {sessionId} = await session.send('Target.attachToTarget', {targetId: worker.targetId, flatten: false});
	let id = 0;
	const send = method => new Promise(done => {
		const sent = id += 1;
		const hear = ({message}) => {
			const answer = JSON.parse(message);
			if (answer.id !== sent) return;
			session.off('Target.receivedMessageFromTarget', hear);
			done(answer.result);
		};
		session.on('Target.receivedMessageFromTarget', hear);
		session.send('Target.sendMessageToTarget', {sessionId, message: JSON.stringify({id: sent, method})});
	});
	await send('HeapProfiler.collectGarbage');
	const {usedSize} = await send('Runtime.getHeapUsage');
	await session.detach();
	return usedSize / 1e6;
}

let browser;
before(async () => {
	browser = await launch();
});
after(() => browser?.close());

/** Runs `work` with a stub and a fresh context of the browser. */
async function withStub(given, work) {
	const stub = await new Stub(given).start();
	const context = await browser.newContext({viewport: {width: 1280, height: 800}});
	try {
		await work(stub, context, given);
		assert.equal(stub.notGet, 0, 'only GET is asked for');
	} finally {
		await context.close();
		await stub.stop();
	}
}

const text = (page, selector) => page.locator(selector).textContent();
const waitFor = (page, condition, argument) => page.waitForFunction(condition, argument, {timeout: 15000});

test('ten_thousand_shards_are_drawn_in_short_tasks', () => withStub({peers: 40, shards: 10000}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#overview`);
	await shows(page, 'overview');
	const {tasks, frames} = await tasksDuring(browser, page, async () => {
		await page.keyboard.press('4');
		await waitFor(page, () => document.querySelector('.shard-line') && !document.querySelector('.list-view section').hidden && document.querySelector('.table').getAttribute('aria-rowcount') === '10001');
		await pause(500);
	});
	say('10,000 shards, longest tasks in ms of thread time', tasks.slice(0, 5).map(Math.round));
	await picture(page, 'shards-10000');
	assert.ok(tasks[0] <= TASK_MS, `a task of ${tasks[0]} ms`);
	const moved = await tasksDuring(browser, page, async () => {
		for (let number = 0; number < 40; number += 1) {
			stub.moveShard(number * 7, 'node-1');
			await pause(40);
		}
	});
	say('10,000 shards, script time of a frame in ms', moved.frames.slice(0, 5).map(ms => ms.toFixed(1)));
	say('10,000 shards, the first frames', frames.slice(0, 3).map(ms => ms.toFixed(1)));
	assert.ok(moved.frames[0] <= FRAME_MS, `a frame of ${moved.frames[0]} ms`);
	assert.deepEqual(page.troubles, []);
}));

test('a_thousand_peers_and_a_thousand_changes_a_second_cost_little', () => withStub({peers: 1000, shards: 1000}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	await shows(page, 'peers');
	// All thousand rows are there, as for somebody who has scrolled to the end.
	await page.locator('.table').focus();
	for (let times = 0; times < 12; times += 1) {
		await page.keyboard.press('End');
		await pause(100);
	}
	await page.keyboard.press('Home');
	stub.requests.length = 0;
	const seconds = 5;
	let told, slowest = 0;
	const heapBefore = await heap(context, page);
	const {tasks, frames} = await tasksDuring(browser, page, async () => {
		const done = stub.storm(1000);
		for (let step = 0; step < seconds * 2; step += 1) {
			const began = Date.now();
			await page.keyboard.press('ArrowDown');
			await page.evaluate(() => new Promise(requestAnimationFrame));
			slowest = Math.max(slowest, Date.now() - began);
			await pause(500);
		}
		stub.calm();
		told = done();
	});
	const lists = stub.requests.filter(path => path.startsWith('/control/peers?pageSize=1000')).length;
	say('1,000 changes a second', `${told} told, ${lists} lists of peers, ${stub.requests.length} requests, longest tasks ${tasks.slice(0, 5).map(Math.round)} ms, ${frames.length} frames, slowest key ${slowest} ms, heap ${heapBefore.toFixed(1)} MB before, ${(await heap(context, page)).toFixed(1)} MB after`);
	assert.ok(await heap(context, page) - heapBefore <= HEAP_MB);
	assert.ok(lists <= (seconds + 1) * 4 + 2, `${lists} lists`);
	assert.ok(tasks[0] <= TASK_MS, `a task of ${tasks[0]} ms`);
	await pause(1500);
	assert.equal(await page.evaluate(() => document.querySelector('#fresh').dataset.state), 'live');
	const peer = stub.peers[0];
	await waitFor(page, wanted => document.querySelector('.rows .row[aria-rowindex="2"]')?.textContent.includes(wanted), peer.cordoned ? 'cordoned' : 'alive');
	assert.deepEqual(page.troubles, []);
}));

test('a_million_events_leave_no_heap_behind', () => withStub({peers: 200, shards: 1000}, async (stub, context) => {
	const tabs = [await openTab(context, `${stub.address}#peers`), await openTab(context, `${stub.address}#events`)];
	for (const [tab, view] of [[tabs[0], 'peers'], [tabs[1], 'events']]) await shows(tab, view);
	const total = async () => (await heap(context, tabs[0])) + (await heap(context, tabs[1])) + await workerHeap();
	// What a page keeps of the newest events is there before it is measured.
	let done = stub.storm(EVENTS_A_SECOND);
	while (done() < EVENTS / 10) await pause(200);
	stub.calm();
	await pause(2000);
	const heapBefore = await total(), before = done();
	done = stub.storm(EVENTS_A_SECOND);
	while (done() < EVENTS - before) await pause(500);
	stub.calm();
	await pause(2000);
	stub.tell([['peers.modified', 'peer/node-1', {peer: stub.peers[1]}, {reason: 'the last of all'}]]);
	await waitFor(tabs[1], () => document.querySelector('.rows').textContent.includes('the last of all'));
	const heapAfter = await total();
	say(`${before + done()} events, heap of two tabs and their worker in MB`, `${heapBefore.toFixed(1)} after the first ${before}, ${heapAfter.toFixed(1)} at the end`);
	assert.ok(heapAfter - heapBefore <= HEAP_MB, `${heapAfter} MB`);
	await waitFor(tabs[0], () => document.querySelector('#fresh').dataset.state === 'live');
	// The second: more than is read of a past came at once, so it went on with what comes next.
	assert.ok(stub.streamsOpened.length <= 2 && stub.streams.size === 1, JSON.stringify(stub.streamsOpened));
	for (const tab of tabs) assert.deepEqual(tab.troubles, []);
}));

test('rows_come_as_one_scrolls', () => withStub({peers: 1000}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	await shows(page, 'peers');
	assert.ok(stub.requests.some(path => path.includes('/control/peers?pageSize=100')));
	assert.ok(await page.locator('.rows .row').count() < 60, 'rows out of sight are not drawn');
	await page.locator('.table').focus();
	for (let times = 0; times < 12; times += 1) {
		await page.keyboard.press('End');
		await pause(120);
	}
	await waitFor(page, () => [...document.querySelectorAll('.rows .row')].some(row => row.textContent.includes('node-999')));
	await page.keyboard.press('/');
	await page.keyboard.type('node-77');
	await waitFor(page, () => document.querySelector('.heading .note').textContent === '11 of 1\u202f000');
}));

test('three_tabs_make_one_stream', () => withStub({}, async (stub, context) => {
	const tabs = [];
	for (const view of ['overview', 'peers', 'shards']) tabs.push(await openTab(context, `${stub.address}#${view}`));
	for (const tab of tabs) await waitFor(tab, () => document.querySelector('#fresh').dataset.state === 'live');
	assert.equal(stub.streamsOpened.length, 1);
	stub.cordon(1);
	await waitFor(tabs[1], () => document.querySelector('.rows')?.textContent.includes('cordoned'));
	await tabs[0].close();
	await pause(300);
	assert.equal(stub.streams.size, 1);
}));

test('a_cut_stream_is_resumed_where_it_ended', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#events`);
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'live');
	stub.cordon(0);
	await waitFor(page, () => document.querySelector('.rows')?.textContent.includes('peer/node-0'));
	const {revision} = stub;
	stub.refuseStreams = true;
	stub.cut();
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'away');
	stub.cordon(1);
	await pause(1500);
	stub.refuseStreams = false;
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'live' && document.querySelector('.rows')?.textContent.includes('peer/node-1'));
	assert.equal(stub.streamsOpened.at(-1).from, `e1:${revision}`);
	assert.ok(stub.streamsOpened.length < 12, `${stub.streamsOpened.length} tries`);
}));

test('a_daemon_that_is_away_is_told_and_what_was_known_stays', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	await shows(page, 'peers');
	const {port} = stub.server.address();
	await stub.stop();
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'away' && document.querySelector('#fresh').classList.contains('bad'));
	assert.match(await text(page, '.rows'), /node-1/);
	stub.server.listen(port, '127.0.0.1');
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'live');
}));

const ODD = ['<img src=x onerror=alert(1)>', '\u202egnp.exe', 'a\u001b[31mred', 'זה-שלום', 'x'.repeat(300), "'; rm -rf /", '\u200b', '&amp;'];

test('odd_names_are_text_in_every_place', () => withStub({names: ODD}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	page.on('dialog', () => page.troubles.push('a name ran as a script'));
	await shows(page, 'peers');
	const shown = await text(page, '.rows');
	assert.ok(shown.includes('<img src=x onerror=alert(1)>') && shown.includes('U+202E') && shown.includes('␛[31m') && shown.includes('U+200B') && shown.includes('&amp;'));
	assert.equal(await page.locator('#main img').count(), 0);
	for (let number = 3; number < 3 + ODD.length; number += 1) stub.cordon(number, '<script>alert(2)</script>\u202e');
	for (const name of ODD.slice(0, 3)) {
		await page.goto(`${stub.address}#peers/${encodeURIComponent(name)}`);
		await waitFor(page, () => !document.querySelector('#drawer').hidden && document.querySelector('#drawer dl')?.children.length > 4);
	}
	await page.keyboard.press('1');
	await waitFor(page, () => document.querySelectorAll('.changes tbody tr').length > 3);
	await page.keyboard.press('8');
	await shows(page, 'events');
	assert.equal(await page.locator('#frame img, #frame script').count(), 0);
	assert.deepEqual(page.troubles, []);
}));

test('what_the_scopes_do_not_allow_is_not_there', () => withStub({scopes: ['mesh.read']}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#events`);
	await shows(page, 'events');
	assert.equal(await page.locator('.tabs a', {hasText: 'Audit'}).count(), 0);
	await page.goto(`${stub.address}#events.audit`);
	await shows(page, 'events');
	assert.equal(stub.requests.filter(path => path.startsWith('/control/audit')).length, 0);
}));

test('who_may_not_read_is_told_what_is_missing', () => withStub({scopes: ['mesh.connect']}, async (stub, context) => {
	const page = await openTab(context, stub.address);
	await waitFor(page, () => !document.querySelector('#sign-in').hidden);
	assert.match(await text(page, '#sign-in-problem'), /mesh\.read is missing/);
}));

test('a_code_is_traded_and_a_token_may_be_pasted', () => withStub({token: 'T0'}, async (stub, context) => {
	stub.code = 'CODE';
	const page = await openTab(context, `${stub.address}#code=CODE`);
	await shows(page, 'overview');
	assert.doesNotMatch(page.url(), /CODE/);
	const second = await openTab(context, `${stub.address}#peers`);
	await shows(second, 'peers');
	const other = await browser.newContext();
	const third = await openTab(other, `${stub.address}#peers`);
	await waitFor(third, () => !document.querySelector('#sign-in').hidden);
	assert.match(await text(third, '#sign-in'), /no token.*omnirelay ui/s);
	assert.deepEqual(await seriousFaults(third), []);
	await picture(third, 'sign-in');
	await third.keyboard.type('wrong');
	await third.keyboard.press('Enter');
	await waitFor(third, () => document.querySelector('#sign-in-problem').textContent.includes('omnirelay login'));
	await third.keyboard.press('Control+a');
	await third.keyboard.type('T0');
	await third.keyboard.press('Enter');
	await shows(third, 'peers');
	await other.close();
	const spent = await browser.newContext();
	const fourth = await openTab(spent, `${stub.address}#code=OLD`);
	await waitFor(fourth, () => !document.querySelector('#sign-in').hidden);
	assert.match(await text(fourth, '#sign-in-problem'), /the code was used/);
	await spent.close();
}));

test('each_red_thing_has_a_why_and_a_command', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, stub.address);
	await waitFor(page, () => document.querySelector('.findings li'));
	assert.match(await text(page, '.verdict'), /Not well: 1 thing/);
	assert.equal(await text(page, '.findings code'), 'omnirelay mesh peers explain node-2');
	assert.match(await text(page, '#rail [href^="#peers"] .badge'), /1✗/);
	await page.locator('.findings a', {hasText: 'why'}).click();
	await waitFor(page, () => !document.querySelector('#drawer').hidden && document.querySelector('#drawer h2').textContent.includes('node-2'));
}));

test('time_turns_back_and_says_what_is_not_known', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	await shows(page, 'peers');
	await page.keyboard.press('[');
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'past' && document.querySelector('.list-view > .note').textContent.includes('of the past'));
	assert.ok(stub.requests.some(path => /\/control\/peers\?.*at=20/.test(path)));
	assert.match(await text(page, '.rows .row[aria-rowindex="2"]'), /–/);
	await page.locator('#moment').fill('2020-01-01T00:00:00Z');
	await page.keyboard.press('Enter');
	await waitFor(page, () => document.querySelector('.empty').textContent.includes('reaches back to 14:02:10'));
	await page.locator('#present').click();
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'live' && document.querySelector('.rows')?.textContent.includes('node-1'));
}));

test('the_past_says_what_happened_before', () => withStub({}, async (stub, context) => {
	stub.cordon(0);
	const at = new Date(Date.now() + 1100).toISOString();
	await pause(1300);
	stub.cordon(1);
	await pause(1500);
	const page = await openTab(context, `${stub.address}#overview`);
	await shows(page, 'overview');
	assert.doesNotMatch(await text(page, '.changes'), /node-0/);
	await page.locator('#moment').fill(at);
	await page.keyboard.press('Enter');
	await waitFor(page, () => document.querySelector('.changes')?.textContent.includes('peer/node-0'));
	assert.doesNotMatch(await text(page, '.changes'), /node-1/);
	await page.locator('.overview').focus();
	await page.keyboard.press('8');
	await waitFor(page, () => document.querySelector('.rows')?.textContent.includes('operator:ann'));
	for (let times = 0; times < 40 && stub.streams.size > 1; times += 1) await pause(50);
	assert.equal(stub.streams.size, 1, 'the history was read, and its stream ended');
}));

test('a_busy_past_is_read_from_its_end', () => withStub({}, async (stub, context) => {
	stub.remember(20, 300);
	const page = await openTab(context, `${stub.address}#events`);
	await shows(page, 'events');
	// Its own stream is open by then, and counts no more.
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'live');
	const note = wanted => waitFor(page, text => document.querySelector('.list-view > .note').textContent.includes(text), wanted);
	const goTo = async secondsAgo => {
		stub.streamsOpened.length = 0;
		await page.locator('#moment').fill(`${secondsAgo}s`);
		await page.keyboard.press('Enter');
	};
	await goTo(30);
	await note('The last 500 before');
	assert.equal(stub.streamsOpened.length, 1, 'the last minute has enough');
	const [, newest] = /before (\d+)/.exec(await text(page, '.rows .row[aria-rowindex="2"]'));
	assert.ok(newest >= 480 && newest <= 620, `the newest is ${newest} changes before now`);
	await waitFor(page, () => document.querySelector('.table').getAttribute('aria-rowcount') === '501');
	stub.remember(1, 500);
	await goTo(60);
	await note('Of the 15 minutes before');
	assert.equal(stub.streamsOpened.length, 3);
	const rows = Number(await page.locator('.table').getAttribute('aria-rowcount'));
	assert.ok(rows > 430 && rows <= 443, `${rows} rows`);
	stub.pastEachMs = 100;
	await goTo(90);
	await note('Incomplete: ');
	stub.refusePast = true;
	await goTo(120);
	await note('could not be read: the history reaches back to 14:02:10Z');
	await page.locator('.table').focus();
	await page.keyboard.press('1');
	await waitFor(page, () => document.querySelector('.overview .empty')?.textContent.includes('could not be read'));
	assert.deepEqual(page.troubles, []);
}));

test('a_drag_of_the_slider_asks_a_few_times', () => withStub({}, async (stub, context) => {
	for (const view of ['peers', 'overview', 'shards']) {
		const page = await openTab(context, `${stub.address}#${view}`);
		await shows(page, view);
		await pause(500);
		stub.requests.length = 0;
		const {x, y, width, height} = await page.locator('#slider').boundingBox();
		await page.mouse.move(x + width - 6, y + height / 2);
		await page.mouse.down();
		for (let step = 1; step <= 50; step += 1) {
			await page.mouse.move(x + width - 6 - step, y + height / 2);
			await pause(10);
		}
		assert.match(await page.locator('#moment').inputValue(), /\d\d:\d\d:\d\dZ$/);
		await page.mouse.up();
		await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'past');
		await pause(1000);
		const moments = new Set(stub.requests.map(path => new URLSearchParams(path.split('?')[1]).get('at')).filter(Boolean));
		say(`a drag of 50 steps, ${view}`, `${moments.size} moments, ${stub.requests.length} requests`);
		assert.ok(moments.size >= 1 && moments.size <= 3, `${moments.size} moments`);
		const shown = await page.evaluate(() => new URLSearchParams(location.hash.split('?')[1]).get('at'));
		const ago = (Date.now() - Date.parse(shown)) / 1000;
		assert.ok(ago > 600 && ago < 1800, `${ago} s before now`);
		await page.close();
	}
}));

test('what_is_asked_of_another_moment_is_given_up', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	await shows(page, 'peers');
	await page.locator('.table').focus();
	stub.pastTakesMs = 5000;
	await page.keyboard.press('[');
	await waitFor(page, () => document.querySelector('.heading .note').textContent === 'asking…');
	await pause(300);
	stub.pastTakesMs = 0;
	await page.keyboard.press('[');
	await waitFor(page, () => document.querySelector('.rows')?.textContent.includes('node-1'));
	await pause(100);
	assert.equal(stub.givenUp, 1);
	assert.deepEqual(page.troubles, []);
}));

test('an_answer_that_makes_no_sense_stops_nothing', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#shards`);
	await shows(page, 'shards');
	const drawn = () => waitFor(page, () => !document.querySelector('.list-view section').hidden);
	await drawn();
	stub.isBroken = true;
	stub.moveShard(0, 'node-1');
	stub.refuseStreams = true;
	stub.cut();
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'away');
	stub.refuseStreams = false;
	await waitFor(page, () => document.querySelector('.list-view section').hidden);
	await pause(1000);
	stub.isBroken = false;
	stub.moveShard(1, 'node-lately');
	await waitFor(page, () => document.querySelector('.rows').textContent.includes('node-lately'));
	stub.cut();
	await drawn();
}));

test('round_trips_are_asked_for_while_somebody_looks', () => withStub({}, async (stub, context) => {
	const row = (from, ...to) => ({from, nodeId: from, trouble: '', roundTrips: to.map(one => ({to: one, rttMs: 1.25}))});
	const asked = () => stub.requests.filter(path => path === '/control/round-trips').length;
	stub.roundTrips = {byZone: false, rows: [row('a'), row('b', 'a')]};
	const page = await openTab(context, `${stub.address}#peers`);
	const measured = many => waitFor(page, wanted => [...document.querySelectorAll('.matrix tbody td')].filter(cell => cell.textContent === '1.3ms').length === wanted, many);
	await measured(1);
	assert.equal(asked(), 1);
	stub.roundTrips = {byZone: false, rows: [row('a', 'b'), row('b', 'a')]};
	await measured(2);
	assert.equal(asked(), 2, 'while pairs are missing it is asked again soon');
	await pause(5500);
	assert.equal(asked(), 2, 'and not so often once they are there');
	const show = hidden => page.evaluate(is => {
		Object.defineProperty(document, 'hidden', {value: is, configurable: true});
		document.dispatchEvent(new Event('visibilitychange'));
	}, hidden);
	stub.roundTrips = {byZone: false, rows: [row('a', 'b'), row('b')]};
	await show(true);
	await show(false);
	await measured(1);
	assert.equal(asked(), 3, 'somebody looks again');
	await show(true);
	await pause(5500);
	assert.equal(asked(), 3, 'nobody sees it');
	await show(false);
	await page.locator('.table').focus();
	await page.keyboard.press('[');
	await waitFor(page, () => document.querySelector('.matrix-frame').parentElement.hidden);
	const before = asked();
	await pause(5500);
	assert.equal(asked(), before, 'the past has none');
	await page.locator('#present').click();
	await waitFor(page, () => !document.querySelector('.matrix-frame').parentElement.hidden);
	await pause(300);
	assert.equal(asked(), before + 1, 'the present is back');
	await page.keyboard.press('3');
	await shows(page, 'leaders');
	await pause(5500);
	assert.equal(asked(), before + 1, 'another view is shown');
	assert.deepEqual(page.troubles, []);
}));

test('a_relay_of_the_past_was_heard_at_no_known_time', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#relays`);
	await waitFor(page, () => document.querySelector('.rows')?.textContent.includes('3s ago'));
	await page.locator('.table').focus();
	await page.keyboard.press('[');
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'past' && document.querySelector('.rows .row')?.children[3].textContent === '–');
	assert.match(await text(page, '.list-view > .note'), /not in the log/);
	await page.keyboard.press('d');
	await waitFor(page, () => !document.querySelector('#drawer').hidden && document.querySelector('#drawer dl').textContent.includes('last heartbeat–'));
	assert.deepEqual(page.troubles, []);
}));

test('a_frozen_page_stands_still_and_goes_on', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	await shows(page, 'peers');
	await page.locator('.table').focus();
	await page.keyboard.press('Space');
	stub.cordon(2);
	await pause(800);
	assert.doesNotMatch(await text(page, '.rows'), /cordoned/);
	await page.keyboard.press('Space');
	await waitFor(page, () => document.querySelector('.rows')?.textContent.includes('cordoned'));
}));

test('stale_answers_and_a_wrong_clock_are_told', () => withStub({stale: true, clockAhead: 630e3}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	await waitFor(page, () => document.querySelector('#fresh').textContent.includes('the store is silent for 4s'));
	assert.match(await page.locator('#fresh').getAttribute('title'), /10m behind/);
	assert.match(await text(page, '.rows .row[aria-rowindex="2"]'), /1h/);
}));

test('it_works_below_a_path', () => withStub({base: '/x/y'}, async (stub, context) => {
	const page = await openTab(context, stub.address);
	for (const {key, name} of VIEWS) {
		await page.keyboard.press(key);
		await shows(page, name);
	}
	assert.deepEqual(page.troubles, []);
}));

test('nothing_is_asked_while_nothing_happens_and_nobody_looks', () => withStub({}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#leaders`);
	await shows(page, 'leaders');
	await pause(1500);
	stub.requests.length = 0;
	await pause(6000);
	assert.deepEqual([...new Set(stub.requests)], ['/control/check'], 'only what no event tells');
}));

test('a_support_bundle_is_shown_as_it_was_recorded', () => withStub({bundle: true, clockAhead: -864e5}, async (stub, context) => {
	const page = await openTab(context, `${stub.address}#peers`);
	await shows(page, 'peers');
	await waitFor(page, () => document.querySelector('#fresh').dataset.state === 'bundle');
	assert.match(await text(page, '.rows .row[aria-rowindex="2"]'), /1h/);
	await page.keyboard.press('1');
	await waitFor(page, () => document.querySelector('.verdict')?.textContent.includes('Not well'));
	await pause(1000);
	stub.requests.length = 0;
	await pause(6000);
	assert.deepEqual(stub.requests, [], 'nothing changes in a bundle');
}));
