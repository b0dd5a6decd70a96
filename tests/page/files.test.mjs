// The files themselves: how large they are, how they begin, and what may not be in them; and the parts that need no browser.

import assert from 'node:assert/strict';
import {cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, test} from 'node:test';
import {brotliCompressSync, gzipSync} from 'node:zlib';
import {FILES, say} from './support.mjs';

// A copy that says it is modules, which browsers are told by the page and Node before 20.19 by nothing else.
const MODULES = mkdtempSync(join(tmpdir(), 'page-'));
cpSync(FILES, MODULES, {recursive: true});
writeFileSync(join(MODULES, 'package.json'), '{"type": "module"}');
after(() => rmSync(MODULES, {recursive: true}));

// Above the goal, which is told beside what they are: they may not grow further.
const PLAIN_MAX = 138.2e3;
const GZIP_MAX = 53e3;

const names = readdirSync(FILES);
const text = name => readFileSync(join(FILES, name), 'utf8');
const scripts = names.filter(name => name.endsWith('.js'));

test('files_are_small', () => {
	const sum = of => names.reduce((bytes, name) => bytes + of(readFileSync(join(FILES, name))), 0);
	const plain = sum(bytes => bytes.length), gzip = sum(bytes => gzipSync(bytes, {level: 9}).length), brotli = sum(bytes => brotliCompressSync(bytes).length);
	say('files', `${plain} bytes, ${gzip} by gzip, ${brotli} by brotli`);
	say('files, the goal', '100000 bytes, 35000 by gzip');
	assert.ok(plain <= PLAIN_MAX && gzip <= GZIP_MAX, `${plain} bytes, ${gzip} by gzip`);
});

test('each_file_says_what_it_is_and_holds_one_subject', () => {
	for (const name of names.filter(name => !name.endsWith('.json'))) {
		const lines = text(name).split('\n');
		assert.match(lines[name === 'index.html' ? 1 : 0], /^(\/\/|\/\*|<!--) /, name);
		assert.ok(lines.length <= 600, `${name} has ${lines.length} lines`);
	}
});

test('nothing_comes_from_outside_or_goes_around_the_policy', () => {
	for (const name of names) {
		const found = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|style=|localStorage|sessionStorage|document\.cookie|method: '|https?:\/\/(?!www\.w3\.org\/2000\/svg)/.exec(text(name));
		assert.equal(found?.[0], undefined, name);
		assert.doesNotMatch(text(name), /(?:src|href)="\//, `${name} has an absolute address`);
	}
});

test('all_that_is_imported_is_there', () => {
	for (const name of scripts) for (const [, from] of text(name).matchAll(/from '([^']+)'/g)) assert.ok(names.includes(from.replace('./', '')), `${name} imports ${from}`);
});

test('server_sent_events_are_parsed_in_any_pieces', async () => {
	const {sseParser} = await import(join(MODULES, 'stream.js'));
	const given = ': a comment\n\nretry: 2000\n\nid: 1:2\ndata: {"a":\ndata: 1}\n\nid: 1:3\n\nevent: error\r\ndata:x\r\n\r\n';
	const wanted = [{id: '1:2', data: '{"a":\n1}'}, {id: '1:3', data: ''}, {type: 'error', data: 'x'}];
	for (const size of [1, 2, 3, 7, given.length]) {
		const found = [];
		const parse = sseParser(event => found.push(event));
		for (let at = 0; at < given.length; at += size) parse(given.slice(at, at + size));
		assert.deepEqual(found, wanted, `in pieces of ${size}`);
	}
});

test('times_of_day_are_in_utc', async () => {
	const {clock, moment, parseMoment, whenMs} = await import(join(MODULES, 'text.js'));
	const zone = process.env.TZ;
	try {
		for (const TZ of ['Asia/Tokyo', 'America/Los_Angeles', 'UTC']) {
			process.env.TZ = TZ;
			assert.equal(clock('2020-01-31T14:02:10.5Z'), '2020-01-31 14:02:10Z');
			assert.match(clock(new Date().toISOString()), /^\d\d:\d\d:\d\dZ$/);
			assert.equal(moment('nonsense'), '–');
			for (const [given, wanted] of [['14:02', '14:02:00'], ['9:05', '09:05:00'], ['14:02:10', '14:02:10'], ['14:02Z', '14:02:00']]) {
				const ms = parseMoment(given), ago = Date.now() - ms;
				assert.equal(new Date(ms).toISOString().slice(11, 19), wanted, `${given}, ${TZ}`);
				assert.ok(ago >= 0 && ago < 86401e3, `${given} is the last that was, ${TZ}`);
			}
			for (const given of ['2026-01-31T14:02:10', '2026-01-31 14:02:10Z', '2026-01-31T23:02:10+09:00']) assert.equal(parseMoment(given), Date.UTC(2026, 0, 31, 14, 2, 10), `${given}, ${TZ}`);
			for (const given of ['', '14', '25:99', 'yesterday', 'foo 1', '14:02 or so']) assert.ok(Number.isNaN(parseMoment(given)), given);
		}
	} finally {
		if (zone === undefined) delete process.env.TZ;
		else process.env.TZ = zone;
	}
	for (const none of [0, '0', undefined]) assert.equal(whenMs(none), '–');
	assert.equal(whenMs(String(Date.now() - 5000)), '5s ago');
});

test('commands_survive_a_shell', async () => {
	const {execFileSync} = await import('node:child_process');
	const {quoted} = await import(join(MODULES, 'text.js'));
	for (const word of ['node-3', 'a b', "it's", '$(id)', '`id`', 'a\nb', '\u001b[31m', '\u202egnp', '<b>', '*', '-x', 'a\\b', "\n'"]) {
		assert.equal(execFileSync('bash', ['-c', `printf %s ${quoted(word)}`], {env: {...process.env, LC_ALL: 'C.UTF-8'}}).toString(), word, JSON.stringify(word));
	}
});

test('a_silent_stream_is_given_up_and_resumed', async () => {
	const {createServer} = await import('node:http');
	const {EventStream} = await import(join(MODULES, 'stream.js'));
	const asked = [];
	const server = createServer((request, response) => {
		asked.push(request.headers['last-event-id'] ?? request.url);
		response.writeHead(200, {'content-type': 'text/event-stream'}).write(`id: 1:${asked.length}\ndata: {"type":"omnirelay.peers.added"}\n\ndata: {"type":"omnirelay.events.progress"}\n\n`);
	});
	await new Promise(done => server.listen(0, '127.0.0.1', done));
	const stream = new EventStream(`http://127.0.0.1:${server.address().port}/events`, {headers: () => ({}), events: list => told.push(...list), reset() {}, status() {}, heard() {}});
	const told = [];
	stream.silenceMs = 150;
	const ended = stream.run();
	while (asked.length < 3) await new Promise(done => setTimeout(done, 20));
	stream.close();
	await ended;
	server.closeAllConnections();
	server.close();
	assert.deepEqual([...new Set(told.map(event => event.type))], ['omnirelay.peers.added']);
	assert.deepEqual(asked.slice(0, 3), ['/events?since=15m', '1:1', '1:2']);
});
