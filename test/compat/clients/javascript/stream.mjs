// Reads a streamed answer with the AWS SDK for JavaScript.
import assert from 'node:assert/strict';
import { InvokeWithResponseStreamCommand, LambdaClient } from '@aws-sdk/client-lambda';

const client = new LambdaClient({ maxAttempts: 1 });
const out = await client.send(new InvokeWithResponseStreamCommand({ FunctionName: 'flow', Payload: '{"n":1}' }));
let body = '';
let first = 0;
let complete;
for await (const event of out.EventStream) {
  if (event.PayloadChunk) {
    first ||= performance.now();
    body += Buffer.from(event.PayloadChunk.Payload).toString();
  }
  complete = event.InvokeComplete;
}
assert.ok(body.endsWith('first\nsecond\n'), body);
assert.ok(performance.now() - first > 700, 'the first part came with the second');
assert.ok(complete && !complete.ErrorCode);
await assert.rejects(client.send(new InvokeWithResponseStreamCommand({ FunctionName: 'missing' })), { name: 'ResourceNotFoundException' });
console.log('ok');
