exports.handler = async () => 'nested';
