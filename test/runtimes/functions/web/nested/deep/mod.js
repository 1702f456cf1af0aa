export const handler = () => 'nested';
