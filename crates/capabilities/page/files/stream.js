// The one stream of events: fetched, parsed, watched for silence, and resumed where it ended.

// The daemon says something each 15 s; after 20 s of silence the connection is gone.
const SILENCE_MS = 20000;
const WAIT_FIRST_MS = 200;
const WAIT_MAX_MS = 5000;
// How much of the past is read at the start, and how many events of it at most.
const PAST = '15m';
const PAST_MAX = 5000;

/** Makes a parser of server-sent events: give it pieces of text; it calls `found({id, type, data})`, for a bare `id` as well. */
export function sseParser(found) {
	let rest = '', event = {data: ''};
	return piece => {
		const lines = (rest + piece).split('\n');
		rest = lines.pop();
		for (const given of lines) {
			const line = given.endsWith('\r') ? given.slice(0, -1) : given;
			const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
			if (line === '') {
				if (event.data || event.id !== undefined) found(event);
				event = {data: ''};
			} else if (field === 'data') event.data += event.data ? `\n${value}` : value;
			else if (field === 'event') event.type = value;
			else if (field === 'id') event.id = value;
		}
	};
}

export class EventStream {
	/** `on`: `events(list)`, `reset()`, `status(word, note)`, `heard()`, and `headers()`, what each request carries. */
	constructor(address, on) {
		Object.assign(this, {address, on, cursor: '', past: PAST, tries: 0, closed: false, note: '', silenceMs: SILENCE_MS});
	}

	async run() {
		while (!this.closed) {
			if (this.tries === 0) this.on.status('connecting', this.note);
			const ended = await this.connect();
			if (ended === 'refused') this.on.status('refused', this.note);
			if (this.closed || ended === 'refused') return;
			if (ended !== 'again') await this.pause();
		}
	}

	/** Waits twice as long each time, half of it by chance. */
	pause() {
		const most = Math.min(WAIT_MAX_MS, WAIT_FIRST_MS * 2 ** this.tries++);
		this.on.status('waiting', this.note);
		return new Promise(done => {
			this.wake = done;
			setTimeout(done, most * (0.5 + Math.random() / 2));
		});
	}

	reconnect() {
		this.tries = 0;
		this.abort?.abort();
		this.wake?.();
	}

	close() {
		this.closed = true;
		this.reconnect();
	}

	/** One connection, until it ends. `again`: connect at once; `refused`: not again. */
	async connect() {
		const abort = this.abort = new AbortController();
		const headers = {accept: 'text/event-stream', ...this.on.headers()};
		if (this.cursor) headers['last-event-id'] = this.cursor;
		const address = this.cursor || !this.past ? this.address : `${this.address}?since=${this.past}`;
		let silence;
		const heard = () => {
			clearTimeout(silence);
			silence = setTimeout(() => abort.abort('the daemon was silent'), this.silenceMs);
		};
		heard();
		try {
			const answer = await fetch(address, {headers, signal: abort.signal, cache: 'no-store'});
			return answer.ok ? await this.read(answer.body, heard) : await this.refused(answer);
		} catch {
			this.note = typeof abort.signal.reason === 'string' ? abort.signal.reason : 'the daemon does not answer';
		} finally {
			clearTimeout(silence);
			abort.abort();
		}
	}

	async refused(answer) {
		const problem = await answer.json().catch(() => ({}));
		this.note = problem.message ?? `the answer was ${answer.status}`;
		if (answer.status === 401 || answer.status === 403 || problem.reason === 'NOT_IN_BUNDLE') return 'refused';
		// A cursor that means nothing any more: begin with what comes next, and say so.
		if ([400, 410, 412].includes(answer.status) && (this.cursor || this.past)) return this.beginNow();
	}

	beginNow() {
		this.cursor = this.past = '';
		this.on.reset();
		return 'again';
	}

	async read(body, heard) {
		const startedAt = Date.now(), fromPast = !this.cursor && this.past;
		const found = [], parse = sseParser(event => found.push(event));
		const reader = body.pipeThrough(new TextDecoderStream()).getReader();
		let past = 0;
		for (let first = true; ; first = false) {
			const {done, value} = await reader.read();
			const lasted = Date.now() - startedAt;
			// One that went well for a while was cut: that is no reason to wait long.
			if (lasted > 1000) this.tries = 0;
			if (done) {
				this.note = 'the connection ended';
				return;
			}
			if (first) {
				this.note = '';
				this.on.status('open', '');
			}
			heard();
			this.on.heard();
			parse(value);
			past += found.length;
			this.take(found.splice(0));
			// More has happened than anybody reads: go on with what comes next.
			if (fromPast && past > PAST_MAX && lasted < 10000) return this.beginNow();
		}
	}

	take(found) {
		const events = [];
		for (const {id, type, data} of found) {
			if (id) this.cursor = id;
			const event = data ? JSON.parse(data) : {};
			if (type === 'error') this.note = event.message;
			else if (event.type === 'omnirelay.events.reset') this.on.reset();
			// What else is told of the stream itself is nothing that has happened.
			else if (event.type && !event.type.startsWith('omnirelay.events.')) events.push(event);
		}
		if (events.length) this.on.events(events);
	}
}
