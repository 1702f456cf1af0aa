Promise.reject(new Error('rejected at start')); await new Promise((resolve) => setTimeout(resolve, 1000)); export {};
