interface Event {
  name?: string;
}

// Answers with a greeting and with where it ran.
export function handler(event: Event, context: { awsRequestId: string }) {
  return {
    message: `Hello, ${event.name ?? 'stranger'}!`,
    bun: Bun.version,
    request: context.awsRequestId,
  };
}
