import express from 'express';

const app = express();
app.get('/hello/:name', (request, response) => response.json({ message: `Hello, ${request.params.name}!` }));
app.listen(process.env.PORT);
