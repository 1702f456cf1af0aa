// A function that does what its event says: {"do": "echo", ...}. The verbs are
// those of the other languages beside this folder. Deno and Bun both run it.

import fs from 'node:fs';
import os from 'node:os';
import { execFileSync } from 'node:child_process';

type Event = { do: string; [name: string]: any };

let counter: number = 0;
const kept: Uint8Array[] = [];

class Custom extends Error {
  override name = 'Custom';
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const verbs: Record<string, (event: Event, context: any) => unknown> = {
  echo: (event) => event.value,
  error: (event) => { throw new Custom(event.message ?? 'went wrong'); },
  exit: (event) => process.exit(event.code ?? 1),
  crash: () => process.abort(),
  sleep: async (event) => { counter++; await sleep((event.seconds ?? 3600) * 1000); return 'woke'; },
  oom: () => { for (;;) kept.push(new Uint8Array(8 << 20).fill(1)); },
  big: (event) => 'x'.repeat(event.bytes ?? 6 << 20),
  size: (event) => (event.value ?? '').length,
  count: () => ({ count: ++counter, pid: process.pid }),
  env: () => ({ ...process.env }),
  context: (_, context) => ({
    aws_request_id: context.awsRequestId,
    function_name: context.functionName,
    function_version: context.functionVersion,
    invoked_function_arn: context.invokedFunctionArn,
    memory_limit_in_mb: context.memoryLimitInMB,
    log_group_name: context.logGroupName,
    log_stream_name: context.logStreamName,
    remaining: context.getRemainingTimeInMillis(),
    client_context: context.clientContext,
    identity: context.identity?.cognitoIdentityId,
    trace: process.env._X_AMZN_TRACE_ID,
  }),
  where: () => ({ cwd: process.cwd(), uid: process.getuid!(), user: execFileSync('id', ['-un']).toString().trim(), hostname: os.hostname() }),
  files: (event) => {
    if ('write' in event) {
      fs.writeFileSync(event.path, event.write);
      return event.write.length;
    }
    if (fs.statSync(event.path).isDirectory()) return fs.readdirSync(event.path).sort();
    return fs.readFileSync(event.path, 'utf8').slice(0, event.limit ?? 65536);
  },
  log: (event) => {
    const line = ('y'.repeat(99) + '\n').repeat(1000);
    for (let left = event.bytes ?? 100 << 20; left > 0; left -= 100000) fs.writeSync(1, line);
    return 'logged';
  },
  say: (event) => {
    const text = event.value ?? 'hello';
    console.log('log %s', text);
    console.debug('debug', text);
    console.warn('warn', { text });
    console.error(`error ${text}`);
    console.log('two\nlines');
    process.stdout.write(`print ${text}\n`);
    process.stderr.write(`stderr ${text}\n`);
    return 'said';
  },
  unserialisable: () => { const a: any = {}; a.a = a; return a; },
  run: (event) => execFileSync(event.command[0], event.command.slice(1), { stdio: 'pipe' }).toString(),
  throw_later: async () => { setTimeout(() => { throw new Custom('later'); }, 1); await sleep(3600000); },
  reject_later: async () => { Promise.reject(new Custom('rejected')); await sleep(3600000); },
  throw_value: () => { throw 'only text'; },
};

export async function handler(event: any, context: any): Promise<unknown> {
  if (event === null || typeof event !== 'object' || !('do' in event)) return event;
  return await verbs[event.do](event, context);
}

export const nested = { deep: { handler: () => 'nested export' } };

export const text: string = 'not a function';

await sleep(Number(process.env.INIT_SLEEP ?? 0));
