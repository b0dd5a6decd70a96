// Two hundred streams as pages open them: what they cost the daemon at ten changes a second, beside the changes alone.
//
//   node streams.mjs http://127.0.0.1:17420 PID [SECONDS]

import {readFileSync} from 'node:fs';
import http from 'node:http';

const [address, pid, seconds = '20'] = process.argv.slice(2);
if (!pid) {
	console.error('streams: give the address of a daemon and the id of its process');
	process.exit(2);
}
const STREAMS = 200;
const CHANGES = 10;
const TICKS = 100;

const agent = new http.Agent({keepAlive: true, maxSockets: Infinity});
/** Processor seconds that the process has taken. */
function used() {
	const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
	return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

function change(number) {
	return new Promise((done, failed) => {
		const request = http.request(`${address}/control/peers/node-1/labels`, {method: 'PATCH', agent, headers: {'content-type': 'application/json'}}, answer => {
			answer.resume();
			answer.on('end', () => (answer.statusCode === 200 ? done() : failed(new Error(`HTTP ${answer.statusCode}`))));
		});
		request.on('error', failed);
		request.end(JSON.stringify({set: {number: `n${number}`}, overwrite: true}));
	});
}

function open(heard) {
	return new Promise((done, failed) => {
		const request = http.get(`${address}/control/events`, {headers: {accept: 'text/event-stream'}}, answer => {
			if (answer.statusCode !== 200) failed(new Error(`HTTP ${answer.statusCode}`));
			answer.on('data', bytes => heard(bytes));
			done(request);
		});
		request.on('error', failed);
	});
}

/** The share of a core while there are ten changes a second. */
async function share() {
	const [begun, before] = [Date.now(), used()];
	for (let number = 0; number < CHANGES * Number(seconds); number += 1) {
		await change(number);
		const due = begun + (number + 1) * 1000 / CHANGES;
		await new Promise(done => setTimeout(done, Math.max(0, due - Date.now())));
	}
	return (used() - before) / ((Date.now() - begun) / 1000);
}

await change(0);
const alone = await share();
let events = 0;
const streams = await Promise.all(Array.from({length: STREAMS}, () => open(bytes => { events += bytes.toString().match(/^data:/gm)?.length ?? 0; })));
const beside = await share();
streams.forEach(stream => stream.destroy());
const percent = of => `${(of * 100).toFixed(1)} %`;
console.log(`${STREAMS} streams, ${CHANGES} changes a second, ${seconds} s: ${percent(beside)} of a core, without streams ${percent(alone)}; ${events} events were read, of ${STREAMS * CHANGES * Number(seconds)}`);
agent.destroy();
