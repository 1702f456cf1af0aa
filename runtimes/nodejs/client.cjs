'use strict';

// The Runtime API over one keep-alive TCP connection. node:http would cost
// several milliseconds at start and a few hundred microseconds per invocation.

const net = require('node:net');

const API = '/2018-06-01/runtime';
const END = Buffer.from('\r\n\r\n');

class Client {
  constructor(address) {
    const colon = address.lastIndexOf(':');
    this.host = address.slice(0, colon) || '127.0.0.1';
    this.port = Number(address.slice(colon + 1));
    this.common = `Host: ${address}\r\nUser-Agent: lambent-nodejs/${process.versions.node}\r\n`;
    this.getNext = `GET ${API}/invocation/next HTTP/1.1\r\n${this.common}\r\n`;
    this.socket = null;
    this.pending = null;
    this.buffer = null;
  }

  // next asks for an event: done(error, headers, body).
  next(done) {
    this.request(this.getNext, null, (error, status, headers, body) => {
      if (!error && status !== 200) error = new Error(`the Runtime API answered ${status} to next`);
      done(error, headers, body);
    });
  }

  // post sends body: done(error). An answer that the platform has no more use for
  // (410) or finds too large (413) is in order: the caller has been told.
  post(path, headers, body, done) {
    const data = Buffer.from(body);
    const head = this.head(path, headers) + `Content-Length: ${data.length}\r\n\r\n`;
    this.request(head, data, (error, status, _, answer) => done(error || refused(path, status, answer)));
  }

  head(path, headers) {
    let text = `POST ${API}${path} HTTP/1.1\r\n${this.common}`;
    for (const name of Object.keys(headers)) text += `${name}: ${headerValue(headers[name])}\r\n`;
    return text;
  }

  request(head, data, done) {
    const fresh = this.socket === null;
    if (fresh) this.connect();
    this.pending = { head, data, done, fresh };
    this.socket.ref();
    this.send(head, data);
  }

  send(head, data) {
    if (data === null) {
      this.socket.write(head, 'latin1');
    } else if (data.length < 16384) {
      this.socket.write(Buffer.concat([Buffer.from(head, 'latin1'), data]));
    } else {
      this.socket.cork();
      this.socket.write(head, 'latin1');
      this.socket.write(data);
      this.socket.uncork();
    }
  }

  // stream begins a chunked request with trailers and returns how to go on:
  // done(error, early). early tells that it was over before its end, because the
  // caller has gone or the answer is too large: writes fail from then on.
  stream(path, headers, done) {
    const head = this.head(path, headers) +
      'Transfer-Encoding: chunked\r\n' +
      'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n';
    let ended = false;
    let gone = null; // why no more is taken
    let waiting = null; // the write that waits for the socket
    if (this.socket === null) this.connect();
    const socket = this.socket;
    let held = true; // the head goes out with the first part
    socket.cork();
    const release = () => {
      if (held) socket.uncork();
      held = false;
    };
    this.request(head, null, (error, status, _, answer) => {
      const early = !ended;
      gone = error || new Error('The response stream was closed: its caller takes no more.');
      if (early) this.drop(socket);
      done(early ? gone : error || refused(path, status, answer), early);
      if (waiting) waiting(gone);
    });
    this.pending.fresh = true; // what is half sent cannot be sent again
    return {
      write(chunk, sent) {
        if (gone || ended || chunk.length === 0) return sent(gone);
        socket.cork();
        socket.write(chunk.length.toString(16) + '\r\n', 'latin1');
        socket.write(chunk);
        const more = socket.write('\r\n', 'latin1');
        socket.uncork();
        release();
        if (more) return sent();
        waiting = sent;
        socket.once('drain', () => {
          if (waiting !== sent) return;
          waiting = null;
          sent();
        });
      },
      end(trailers) {
        if (gone || ended) return;
        ended = true;
        let text = '0\r\n';
        for (const name of Object.keys(trailers)) text += `${name}: ${headerValue(trailers[name])}\r\n`;
        socket.write(text + '\r\n', 'latin1');
        release();
      },
    };
  }

  connect() {
    const socket = net.connect({ host: this.host, port: this.port, noDelay: true });
    this.socket = socket;
    this.buffer = null;
    socket.on('data', (data) => this.receive(data));
    socket.on('error', (error) => this.lost(socket, error));
    socket.on('close', () => this.lost(socket, new Error('the Runtime API closed the connection')));
  }

  // drop gives up a connection on which a request was not sent to its end.
  drop(socket) {
    if (this.socket === socket) this.socket = null;
    socket.destroy();
  }

  // lost repeats a request whose connection had gone stale before it was used,
  // as it may while the sandbox is frozen, and fails any other.
  lost(socket, error) {
    if (this.socket !== socket) return;
    this.socket = null;
    const pending = this.pending;
    if (!pending) return;
    this.pending = null;
    if (pending.fresh || this.buffer !== null) pending.done(error);
    else this.request(pending.head, pending.data, pending.done);
  }

  receive(data) {
    this.buffer = this.buffer === null ? [data] : (this.buffer.push(data), this.buffer);
    const pending = this.pending;
    if (!pending) return this.socket.destroy();
    if (pending.need) {
      pending.have += data.length;
      if (pending.have < pending.need) return;
    }
    const all = this.buffer.length === 1 ? this.buffer[0] : Buffer.concat(this.buffer);
    this.buffer = [all];
    const answer = parse(all, pending);
    if (answer === null) return;
    this.buffer = null;
    this.pending = null;
    this.socket.unref(); // only the handler's own work keeps the process alive
    pending.done(null, answer.status, answer.headers, answer.body);
  }
}

// parse reads one whole HTTP answer, or returns null until it is there.
function parse(all, pending) {
  const end = all.indexOf(END);
  if (end < 0) return null;
  const lines = all.latin1Slice(0, end).split('\r\n');
  const headers = Object.create(null);
  for (let i = 1; i < lines.length; i++) {
    const colon = lines[i].indexOf(':');
    headers[lines[i].slice(0, colon).toLowerCase()] = lines[i].slice(colon + 1).trim();
  }
  const start = end + 4;
  let body;
  if (headers['transfer-encoding'] === 'chunked') {
    body = dechunk(all, start);
    if (body === null) return null;
  } else {
    const size = Number(headers['content-length'] || 0);
    if (all.length < start + size) {
      pending.need = start + size; // spares joining the parts again and again
      pending.have = all.length;
      return null;
    }
    body = all.subarray(start, start + size);
  }
  return { status: Number(lines[0].slice(9, 12)), headers, body };
}

function dechunk(all, at) {
  const parts = [];
  for (;;) {
    const eol = all.indexOf('\r\n', at, 'latin1');
    if (eol < 0) return null;
    const size = parseInt(all.latin1Slice(at, eol), 16);
    if (all.length < eol + 2 + size + 2) return null;
    if (size === 0) return all.indexOf('\r\n', eol + 2, 'latin1') < 0 ? null : Buffer.concat(parts);
    parts.push(all.subarray(eol + 2, eol + 2 + size));
    at = eol + 2 + size + 2;
  }
}

function refused(path, status, answer) {
  if (status === 202 || status === 410 || status === 413) return null;
  return new Error(`the Runtime API answered ${status} to ${path}: ${answer.toString('utf8', 0, 500)}`);
}

// headerValue makes a value that cannot break out of its line.
function headerValue(value) {
  return String(value).replace(/[^\x20-\x7e]/g, ' ');
}

module.exports = { Client };
