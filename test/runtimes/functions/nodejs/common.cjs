exports.handler = () => Promise.resolve('common');
