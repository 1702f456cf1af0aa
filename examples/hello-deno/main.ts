interface Event {
  name?: string;
}

// Answers with a greeting and with where it ran.
export function handler(event: Event, context: { awsRequestId: string }) {
  return {
    message: `Hello, ${event.name ?? 'stranger'}!`,
    deno: Deno.version.deno,
    request: context.awsRequestId,
  };
}
