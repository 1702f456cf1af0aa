import { capitalize } from 'es-toolkit/string';

interface Event {
  name?: string;
}

// Answers with a greeting. What it imports is bundled by lambent deploy.
export const handler = async (event: Event) => ({
  message: `Hello, ${capitalize(event.name ?? 'stranger')}!`,
  node: process.versions.node,
});
