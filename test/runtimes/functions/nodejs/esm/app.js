const started = await Promise.resolve('awaited');

export const handler = async () => started;
