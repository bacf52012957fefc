// Drives the official SignalR client by lines of JSON: {"n": 1, "do": "invoke", ...} in, {"n": 1, "result": ...} or
// {"n": 1, "error": "text"} out. It decides nothing; what is asked and expected is in the Python tests. It ends with
// its standard input.  usage: node driver.cjs NODE_MODULES
"use strict";

const path = require("node:path");
const readline = require("node:readline");
const { createRequire } = require("node:module");

const fromKit = createRequire(path.join(process.argv[2], "nowhere.js"));
const signalR = fromKit("@microsoft/signalr");
// The WebSocket package that the client itself uses, so that watching it changes nothing.
const WebSocket = createRequire(fromKit.resolve("@microsoft/signalr"))("ws");

const wire = []; // what went over the WebSockets: {socket, way: "in" | "out" | "end", text | code}
const log = []; // what the client told: {event, error, connectionId}
const events = new Map(); // target -> list of the arguments of each event
const streams = new Map(); // name -> {items, error, done, subscription}
const waiting = []; // {isMet, resolve}: looked at after everything that happens
let connection = null;
let sockets = 0;
let tokenCalls = 0;

class WatchedWebSocket extends WebSocket {
    constructor(...args) {
        super(...args);
        const socket = (this.number = sockets++);
        this.on("message", (data) => note(wire, { socket, way: "in", text: data.toString() }));
        this.on("close", (code) => note(wire, { socket, way: "end", code }));
    }
    send(data, ...rest) {
        note(wire, { socket: this.number, way: "out", text: data.toString() });
        return super.send(data, ...rest);
    }
}

function note(list, entry) {
    list.push(entry);
    wake();
}

function wake() {
    for (const entry of waiting.splice(0)) entry.isMet() ? entry.resolve(true) : waiting.push(entry);
}

function until(isMet) {
    return new Promise((resolve) => {
        waiting.push({ isMet, resolve });
        wake();
    });
}

const text = (error) => (error === undefined ? null : String(error && error.message !== undefined ? error.message : error));

async function token(options) {
    tokenCalls++;
    if (options.token !== undefined) return options.token;
    const answer = await fetch(options.tokenUrl);
    return (await answer.json()).token;
}

const commands = {
    /** Make a connection and start it. The times are in milliseconds. */
    async open(options) {
        const http = { skipNegotiation: options.skip, transport: signalR.HttpTransportType.WebSockets, WebSocket: WatchedWebSocket };
        if (options.token !== undefined || options.tokenUrl !== undefined) http.accessTokenFactory = () => token(options);
        let builder = new signalR.HubConnectionBuilder().withUrl(options.url, http).configureLogging(signalR.LogLevel.None);
        if (options.reconnect !== undefined) builder = builder.withAutomaticReconnect(options.reconnect);
        if (options.stateful) builder = builder.withStatefulReconnect();
        if (options.serverTimeout !== undefined) builder = builder.withServerTimeout(options.serverTimeout);
        if (options.keepAlive !== undefined) builder = builder.withKeepAliveInterval(options.keepAlive);
        connection = builder.build();
        connection.onclose((error) => note(log, { event: "closed", error: text(error) }));
        connection.onreconnecting((error) => note(log, { event: "reconnecting", error: text(error) }));
        connection.onreconnected((connectionId) => note(log, { event: "reconnected", connectionId: connectionId ?? null }));
        for (const target of options.on ?? []) {
            events.set(target, []);
            connection.on(target, (...args) => note(events.get(target), args));
        }
        for (const [target, answer] of Object.entries(options.answers ?? {})) {
            connection.on(target, (...args) => {
                if (answer.error !== undefined) throw new Error(answer.error);
                return answer.echo ? args : answer.value;
            });
        }
        await connection.start();
        return { connectionId: connection.connectionId ?? null, tokenCalls };
    },
    invoke: ({ target, args }) => connection.invoke(target, ...args),
    /** Invoke several methods without waiting in between; all outcomes, in the order of the calls. */
    async invokeAll({ calls }) {
        const done = await Promise.allSettled(calls.map(([target, ...args]) => connection.invoke(target, ...args)));
        return done.map((one) => (one.status === "fulfilled" ? { result: one.value ?? null } : { error: text(one.reason) }));
    },
    send: ({ target, args }) => connection.send(target, ...args),
    /** Wait for `count` events of `target`; return all there are, or only the field `pick` of their last argument. */
    async events({ target, count, pick }) {
        await until(() => events.get(target).length >= count);
        const got = events.get(target);
        return pick === undefined ? got : got.map((args) => args[args.length - 1][pick]);
    },
    async stream({ name, target, args }) {
        const state = { items: [], error: null, done: false };
        streams.set(name, state);
        const end = (error) => {
            state.error = text(error);
            state.done = true;
            wake();
        };
        state.subscription = connection.stream(target, ...args).subscribe({
            next: (item) => note(state.items, item),
            error: end,
            complete: () => end(undefined),
        });
    },
    /** Wait until the stream has `count` items, or, without a count, until it has ended. */
    async streamed({ name, count }) {
        const state = streams.get(name);
        await until(() => state.done || (count !== undefined && state.items.length >= count));
        return { items: state.items, error: state.error, done: state.done };
    },
    async cancel({ name }) {
        streams.get(name).subscription.dispose();
    },
    /** Invoke a method with one upload stream; `error` ends the stream with an error. */
    async upload({ target, items, error }) {
        const subject = new signalR.Subject();
        const answer = connection.invoke(target, subject);
        for (const item of items) subject.next(item);
        error === undefined ? subject.complete() : subject.error(new Error(error));
        return answer;
    },
    /** Wait until the client has told `event` (`count` times). */
    async told({ event, count }) {
        await until(() => log.filter((entry) => entry.event === event).length >= (count ?? 1));
        return log;
    },
    async log() {
        return log;
    },
    /** What went over the wire so far; `ends`: wait until so many WebSockets have ended. */
    async wire({ ends }) {
        await until(() => wire.filter((entry) => entry.way === "end").length >= (ends ?? 0));
        return wire;
    },
    async state() {
        return { state: connection.state, connectionId: connection.connectionId ?? null, tokenCalls };
    },
    async stop() {
        await connection.stop();
    },
};

function say(line) {
    process.stdout.write(JSON.stringify(line) + "\n");
}

const input = readline.createInterface({ input: process.stdin });
input.on("line", async (line) => {
    const { n, do: name, ...options } = JSON.parse(line);
    try {
        say({ n, result: (await commands[name](options)) ?? null });
    } catch (error) {
        say({ n, error: text(error) });
    }
});
input.on("close", () => process.exit(0));
