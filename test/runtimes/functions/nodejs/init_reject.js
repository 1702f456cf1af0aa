Promise.reject(new Error('rejected at start'));

exports.handler = async () => 'never';
