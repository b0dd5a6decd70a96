// What the tests of the page share: a browser, pages that note what goes wrong in them, and the command line.

import {execFile} from 'node:child_process';
import {mkdirSync, readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import {chromium} from 'playwright-core';

export const FILES = join(dirname(fileURLToPath(import.meta.url)), '../../crates/capabilities/page/files');
export const VIEWS = JSON.parse(readFileSync(join(FILES, 'keys.json'), 'utf8')).views;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export const launch = () => chromium.launch({executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS});

/** Runs the command line; its standard output. */
export async function cli(...words) {
	const {stdout} = await promisify(execFile)(process.env.OMNIRELAY_BIN, words, {env: process.env});
	return stdout;
}

// Ours and of Chromium's own: a password field outside of a form is meant, as a form could be sent.
const isHarmless = text => text.includes('Password field is not contained in a form') || text.includes('Failed to load resource');

/** A page of `context`; `page.troubles` has errors, warnings and what the content security policy forbade. */
export async function openTab(context, address) {
	const page = await context.newPage();
	page.troubles = [];
	page.on('console', message => ['error', 'warning'].includes(message.type()) && !isHarmless(message.text()) && page.troubles.push(message.text()));
	page.on('pageerror', error => page.troubles.push(error.stack));
	await page.addInitScript(() => {
		addEventListener('securitypolicyviolation', event => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
		globalThis.firstContent = new Promise(seen => {
			new PerformanceObserver(list => list.getEntriesByName('first-contentful-paint').forEach(entry => seen(entry.startTime))).observe({type: 'paint', buffered: true});
		});
	});
	await page.goto(address);
	return page;
}

/** Waits until the page shows a view, with rows where it is a list. */
export const shows = (page, view) => page.waitForFunction(name => document.querySelector('#rail [aria-current]')?.textContent.includes(name) && !document.querySelector('#main').textContent.includes('asking…'), view);

/** What axe-core finds that is serious. */
export async function seriousFaults(page) {
	// As of a browser's extension: the policy of the page forbids injected scripts, and is not what is looked at.
	const session = await page.context().newCDPSession(page);
	const run = expression => session.send('Runtime.evaluate', {expression, awaitPromise: true, returnByValue: true});
	await run(AXE);
	const {result} = await run(`axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.filter(of => ['serious', 'critical'].includes(of.impact)).map(of => of.id + ': ' + of.nodes.map(node => node.html.slice(0, 160) + ' ' + (node.any[0]?.message ?? '')).join(' | ')))`);
	await session.detach();
	return result.value;
}

/** Thread time in milliseconds of each task of the page's main thread while `work` runs, the longest first. */
export async function tasksDuring(browser, page, work) {
	await browser.startTracing(page, {categories: ['-*', 'toplevel', 'disabled-by-default-devtools.timeline', 'devtools.timeline', '__metadata']});
	await work();
	const {traceEvents} = JSON.parse((await browser.stopTracing()).toString());
	const threads = traceEvents.filter(event => event.name === 'thread_name' && event.args.name === 'CrRendererMain').map(event => `${event.pid}/${event.tid}`);
	const tasks = traceEvents.filter(event => event.name.endsWith('RunTask') && event.tdur && threads.includes(`${event.pid}/${event.tid}`));
	const scripts = traceEvents.filter(event => ['FireAnimationFrame', 'FunctionCall'].includes(event.name) && event.tdur && threads.includes(`${event.pid}/${event.tid}`));
	const longest = of => of.map(event => event.tdur / 1000).sort((a, b) => b - a);
	return {tasks: longest(tasks), scripts: longest(scripts), frames: longest(scripts.filter(event => event.name === 'FireAnimationFrame'))};
}

/** Takes a picture into OMNIRELAY_PICTURES, where that is set. */
export async function picture(page, name) {
	const folder = process.env.OMNIRELAY_PICTURES;
	if (!folder) return;
	mkdirSync(folder, {recursive: true});
	await page.screenshot({path: join(folder, `${name}.png`)});
}

export const say = (what, value) => console.log(`${what}: ${value}`);
export const pause = ms => new Promise(done => setTimeout(done, ms));
