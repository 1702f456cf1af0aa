// The test function of the aws-lambda-ric client: it does what its event says.

if (process.env.INIT_FAIL === "1") {
  throw new Error("init failed as asked");
}

export async function handle(event, context) {
  switch (event.do) {
    case "error":
      throw new Error("boom");
    case "exit":
      process.exit(3);
    case "sleep":
      await new Promise((resolve) => setTimeout(resolve, event.ms));
      break;
    case "oom":
      exhaust();
    case "big":
      return "x".repeat(event.size - 2);
    case "context":
      return {
        requestId: context.awsRequestId,
        functionArn: context.invokedFunctionArn,
        remainingMs: context.getRemainingTimeInMillis(),
        traceId: process.env._X_AMZN_TRACE_ID,
        clientContext: context.clientContext,
      };
  }
  return event;
}

// Takes and touches memory until the function is ended.
function exhaust() {
  const held = [];
  for (;;) held.push(Buffer.alloc(8 << 20, 1));
}
