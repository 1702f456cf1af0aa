// Streams its answer as the path asks, on the managed runtime and on
// aws-lambda-ric. What /forever learns of its caller's leaving, /told tells.

import { setTimeout as sleep } from 'node:timers/promises';

let told = 'nothing';

function write(stream, data) {
  return new Promise((sent, failed) => stream.write(data, (error) => (error ? failed(error) : sent())));
}

async function forever(stream) {
  stream.on('error', () => { told = 'error'; });
  for (let n = 0; told === 'nothing' && n < 2000; n++) {
    await write(stream, 'x'.repeat(1000)).catch(() => { told = 'error'; });
    await sleep(2);
  }
}

export const handle = awslambda.streamifyResponse(async (event, stream) => {
  const path = event.rawPath.split('/').pop();
  if (path === 'early') throw new Error('before anything');
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 203, headers: { 'content-type': 'text/plain', 'x-a': 'b' } });
  switch (path) {
    case 'parts':
      await write(stream, 'one\n');
      await sleep(400);
      await write(stream, 'two\n');
      break;
    case 'late':
      await write(stream, 'some\n');
      await sleep(50);
      throw new Error('in the middle');
    case 'forever':
      told = 'nothing';
      await forever(stream);
      break;
    case 'silent':
      told = 'nothing';
      stream.on('error', () => { told = 'error'; });
      stream.on('close', () => { told = 'close'; });
      await write(stream, 'some\n');
      for (let n = 0; told === 'nothing' && n < 200; n++) await sleep(10);
      break;
    case 'told':
      await write(stream, told);
      break;
    case 'hang':
      await write(stream, 'some\n');
      await sleep(60000);
      break;
    case 'exit':
      await write(stream, 'some\n');
      await sleep(50);
      process.exit(3);
      break;
    case 'big':
      for (let n = 0; n < 64; n++) await write(stream, Buffer.alloc(1 << 20, 'x'));
      break;
    case 'none':
      break;
  }
  stream.end();
});
