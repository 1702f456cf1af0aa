// Answers with a greeting and with where it ran.
export const handler = async (event, context) => ({
  message: `Hello, ${event.name ?? 'stranger'}!`,
  node: process.versions.node,
  request: context.awsRequestId,
});
