// Takes a function through its life with the AWS SDK for JavaScript.
// Arguments: code zip, layer zip.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import {
  CreateAliasCommand, CreateFunctionCommand, DeleteFunctionCommand, GetFunctionCommand, InvokeCommand,
  LambdaClient, ListFunctionsCommand, ListTagsCommand, PublishLayerVersionCommand, PublishVersionCommand,
  TagResourceCommand, UpdateFunctionCodeCommand, UpdateFunctionConfigurationCommand,
  waitUntilFunctionActiveV2, waitUntilFunctionUpdatedV2,
} from '@aws-sdk/client-lambda';

const [code, layer] = process.argv.slice(2, 4).map((path) => readFileSync(path));
const client = new LambdaClient({ maxAttempts: 1 });
const FunctionName = 'life-javascript';
const waiting = { client, maxWaitTime: 30, minDelay: 1, maxDelay: 1 };
const updated = () => waitUntilFunctionUpdatedV2(waiting, { FunctionName });

async function invoke(options = {}) {
  const out = await client.send(new InvokeCommand({ FunctionName, Payload: '{"n":1}', ...options }));
  const payload = JSON.parse(Buffer.from(out.Payload).toString());
  assert.equal(out.FunctionError, undefined, JSON.stringify(payload));
  return { out, payload };
}

const created = await client.send(new CreateFunctionCommand({
  FunctionName, Runtime: 'python3.11', Handler: 'app.handler', Role: 'arn:aws:iam::000000000000:role/test',
  Code: { ZipFile: code }, Environment: { Variables: { GREETING: 'hello' } },
}));
assert.equal(created.State, 'Pending');
await waitUntilFunctionActiveV2(waiting, { FunctionName });

const first = await invoke({ LogType: 'Tail' });
assert.deepEqual(first.payload.event, { n: 1 });
assert.equal(first.payload.greeting, 'hello');
assert.match(Buffer.from(first.out.LogResult, 'base64').toString(), /REPORT RequestId/);

await client.send(new UpdateFunctionConfigurationCommand({ FunctionName, Environment: { Variables: { GREETING: 'servus' } } }));
await updated();
assert.equal((await invoke()).payload.greeting, 'servus');

assert.equal((await client.send(new PublishVersionCommand({ FunctionName }))).Version, '1');
await client.send(new UpdateFunctionCodeCommand({ FunctionName, ZipFile: code }));
await updated();
await client.send(new CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1' }));
const live = await invoke({ Qualifier: 'live' });
assert.equal(live.out.ExecutedVersion, '1');

const { LayerVersionArn } = await client.send(new PublishLayerVersionCommand({ LayerName: 'words-javascript', Content: { ZipFile: layer } }));
await client.send(new UpdateFunctionConfigurationCommand({ FunctionName, Layers: [LayerVersionArn] }));
await updated();
assert.equal((await invoke()).payload.layer, 'from the layer');

await client.send(new TagResourceCommand({ Resource: created.FunctionArn, Tags: { team: 'blue' } }));
assert.deepEqual((await client.send(new ListTagsCommand({ Resource: created.FunctionArn }))).Tags, { team: 'blue' });
const listed = await client.send(new ListFunctionsCommand({}));
assert.ok(listed.Functions.some((f) => f.FunctionName === FunctionName));

await assert.rejects(client.send(new InvokeCommand({ FunctionName: 'no-such-function' })), { name: 'ResourceNotFoundException' });
await client.send(new DeleteFunctionCommand({ FunctionName }));
await assert.rejects(client.send(new GetFunctionCommand({ FunctionName })), { name: 'ResourceNotFoundException' });
console.log('ok');
