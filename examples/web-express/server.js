import express from 'express';

const app = express();
const hello = (request, response) => response.json({ message: `Hello, ${request.params.name ?? 'stranger'}!` });
app.get('/', hello);
app.get('/hello/:name', hello);
app.listen(process.env.PORT);
