'use strict';

// What a process without a function does while it has time: everything that the way
// to the first event takes once.

const net = require('node:net');

// The builtin modules that functions and the SDK use most: no file of a function
// can have their names.
const BUILTINS = [
  'node:async_hooks', 'node:buffer', 'node:child_process', 'node:crypto', 'node:dns', 'node:events', 'node:fs/promises',
  'node:http', 'node:https', 'node:os', 'node:perf_hooks', 'node:querystring', 'node:stream/promises', 'node:string_decoder',
  'node:timers/promises', 'node:tls', 'node:url', 'node:util', 'node:zlib',
];

const NEXT = 'HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nContent-Length: 2\r\n\r\n{}';
const ACCEPTED = 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n';

async function warm() {
  for (const name of BUILTINS) require(name);
  await require('./load.cjs').load(__dirname, 'warm.warm');
  await import('node:module'); // the loader of ES modules
  rehearse();
  // A socket that closes looks whether it is process.stderr, which would open that
  // for good.
  const own = Object.getOwnPropertyDescriptor(process, 'stderr');
  Object.defineProperty(process, 'stderr', { ...own, get: () => null });
  await exchange();
  // What was closed is gone after another turn or two of the loop.
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
  Object.defineProperty(process, 'stderr', own);
}

// rehearse does with no function's settings what becoming a function does.
function rehearse() {
  const env = JSON.parse(JSON.stringify(process.env));
  for (const name of Object.keys(env)) {
    process.env.LAMBENT_BLANK = env[name];
    delete process.env.LAMBENT_BLANK;
  }
  process.chdir(process.cwd());
  require('./log.cjs').patchConsole(); // again when there are settings
}

// exchange runs the Runtime API's client against a server of our own, so that its
// code and that of the sockets is compiled. Where there is no loopback, it is later.
function exchange() {
  return new Promise((done) => {
    let client;
    const server = net.createServer((socket) => {
      socket.on('data', (data) => socket.write(data.latin1Slice(0, 4) === 'GET ' ? NEXT : ACCEPTED));
    });
    const end = () => {
      client.socket.destroy();
      server.close(done);
    };
    server.on('error', done);
    server.listen(0, '127.0.0.1', () => {
      const { Client } = require('./client.cjs');
      client = new Client(`127.0.0.1:${server.address().port}`);
      client.next(() => client.post('/invocation/1/response', { 'Content-Type': 'application/json' }, '{}', end));
    });
  });
}

module.exports = { warm };
