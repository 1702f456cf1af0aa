import fs from 'node:fs';

export const handler = async () => (fs.existsSync('/') ? 'module' : 'none');
