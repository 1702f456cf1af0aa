// Deno as a host. It does without the node: modules, which take as long to load as
// Deno itself to start.

import { run, turned } from './core.mjs';

const encoder = new TextEncoder();

// Control is descriptor 3, where the driver listens: runtimes/README.md. Deno has
// no way to a descriptor that it has not opened but by way of the C library.
function control() {
  if (Deno.env.get('LAMBENT_CONTROL') === undefined) return { turn() {}, close() {} };
  Deno.env.delete('LAMBENT_CONTROL');
  const { symbols } = Deno.dlopen('libc.so.6', {
    write: { parameters: ['i32', 'buffer', 'usize'], result: 'isize' },
    close: { parameters: ['i32'], result: 'i32' },
    clock_gettime: { parameters: ['i32', 'buffer'], result: 'i32' },
  });
  return {
    turn() {
      const word = turned(symbols.clock_gettime);
      symbols.write(3, word, BigInt(word.length));
    },
    close: () => symbols.close(3),
  };
}

const driver = control();

await run({
  name: 'deno',
  version: Deno.version.deno,
  env: (name) => Deno.env.get(name),
  setenv: (name, value) => (value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value)),
  exit: (status) => Deno.exit(status),
  turnToFunction: () => driver.turn(),
  closeControl: () => driver.close(),

  async connect(hostname, port) {
    const connection = await Deno.connect({ hostname, port });
    connection.setNoDelay(true);
    const buffer = new Uint8Array(65536);
    return {
      async write(bytes) {
        for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
      },
      async read() {
        const size = await connection.read(buffer);
        return size === null ? null : buffer.slice(0, size);
      },
      close: () => connection.close(),
    };
  },

  isFile(path) {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  },

  print(text) {
    const bytes = encoder.encode(text);
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  },

  format(args) {
    if (typeof args[0] === 'string' && args[0].includes('%')) return process.getBuiltinModule('node:util').format(...args);
    return args.map((arg) => (typeof arg === 'string' ? arg : Deno.inspect(arg, { colors: false }))).join(' ');
  },

  importFault(error) {
    if (error instanceof SyntaxError || /^(SyntaxError:|The module's source code could not be parsed)/.test(error.message)) {
      return 'Runtime.UserCodeSyntaxError';
    }
    if (error instanceof TypeError && error.code === 'ERR_MODULE_NOT_FOUND') return 'Runtime.ImportModuleError';
    return /^(Import "|Module not found|Could not (resolve|find)|Relative import path)/.test(error.message) ? 'Runtime.ImportModuleError' : '';
  },

  onUncaught(die) {
    globalThis.addEventListener('error', (event) => {
      event.preventDefault();
      die('Uncaught Exception', event.error);
    });
    globalThis.addEventListener('unhandledrejection', (event) => {
      event.preventDefault();
      die('Unhandled Promise Rejection', event.reason);
    });
  },
});
