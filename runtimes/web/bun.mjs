// Bun as a host.

import { dlopen } from 'bun:ffi';
import fs from 'node:fs';
import { run, turned } from './core.mjs';

// Control is descriptor 3, where the driver listens: runtimes/README.md.
const controlled = process.env.LAMBENT_CONTROL !== undefined;
delete process.env.LAMBENT_CONTROL;

// connect makes of Bun's callbacks something to await.
async function connect(hostname, port) {
  const parts = [];
  let waiting = null;
  let ended = false;
  let drained = null;
  const wake = () => {
    if (waiting === null || (parts.length === 0 && !ended)) return;
    const done = waiting;
    waiting = null;
    done(parts.length > 0 ? parts.shift() : null);
  };
  const finish = () => {
    ended = true;
    wake();
    if (drained) drained();
  };
  const socket = await Bun.connect({
    hostname, port,
    socket: {
      binaryType: 'uint8array',
      data(_, bytes) {
        parts.push(bytes.slice());
        wake();
      },
      drain() {
        if (drained) drained();
      },
      close: finish, end: finish, error: finish,
    },
  });
  socket.setNoDelay(true);
  return {
    async write(bytes) {
      for (let at = 0; at < bytes.length && !ended;) {
        at += Math.max(0, socket.write(bytes, at, bytes.length - at));
        if (at < bytes.length && !ended) await new Promise((resolve) => { drained = resolve; });
        drained = null;
      }
      if (ended) throw new Error('the Runtime API closed the connection');
    },
    read: () => new Promise((resolve) => {
      waiting = resolve;
      wake();
    }),
    close: () => socket.end(),
  };
}

await run({
  name: 'bun',
  version: Bun.version,
  env: (name) => process.env[name],
  setenv(name, value) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  },
  exit: (status) => process.exit(status),
  turnToFunction() {
    if (!controlled) return;
    const { symbols } = dlopen('libc.so.6', { clock_gettime: { args: ['i32', 'ptr'], returns: 'i32' } });
    fs.writeSync(3, turned(symbols.clock_gettime));
  },
  closeControl() {
    if (controlled) fs.closeSync(3);
  },
  connect,

  isFile(path) {
    return fs.statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  },

  print(text) {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length;) {
      try {
        at += fs.writeSync(1, bytes, at);
      } catch (error) {
        if (error.code !== 'EAGAIN') return;
        Bun.sleepSync(1);
      }
    }
  },

  format(args) {
    if (typeof args[0] === 'string' && args[0].includes('%')) return process.getBuiltinModule('node:util').format(...args);
    return args.map((arg) => (typeof arg === 'string' ? arg : Bun.inspect(arg))).join(' ');
  },

  importFault(error) {
    if (error instanceof SyntaxError || error.name === 'BuildMessage' || error.name === 'AggregateError') return 'Runtime.UserCodeSyntaxError';
    return error.code === 'ERR_MODULE_NOT_FOUND' || error.name === 'ResolveMessage' ? 'Runtime.ImportModuleError' : '';
  },

  onUncaught(die) {
    process.on('uncaughtException', (error) => die('Uncaught Exception', error));
    process.on('unhandledRejection', (reason) => die('Unhandled Promise Rejection', reason));
  },
});
