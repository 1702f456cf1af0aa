// Does with the API what its event says, with SDK clients that are told nothing.
import { CreateFunctionCommand, InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const lambda = new LambdaClient();
const sts = new STSClient();

const operations = {
  echo: (event) => event,
  who: async () => (await sts.send(new GetCallerIdentityCommand())).Arn,
  create: (event) =>
    lambda.send(
      new CreateFunctionCommand({
        FunctionName: "another",
        Runtime: "python3.12",
        Handler: "a.b",
        Role: event.role,
        Code: { ZipFile: Buffer.from("PK") },
      }),
    ),
  invoke: async (event) => {
    const out = await lambda.send(
      new InvokeCommand({
        FunctionName: event.function,
        InvocationType: event.type ?? "RequestResponse",
        Payload: JSON.stringify(event.event ?? {}),
      }),
    );
    return { status: out.StatusCode, payload: Buffer.from(out.Payload ?? []).toString(), error: out.FunctionError ?? "" };
  },
};

export async function handle(event) {
  try {
    return await operations[event.do](event);
  } catch (e) {
    return { code: e.name, message: e.message, status: e.$metadata?.httpStatusCode };
  }
}
