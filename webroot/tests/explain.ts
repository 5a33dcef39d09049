// After a failed test, prints what the machines' supervisors logged: the page shows only that something did not come.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { Machine } from './machine';

afterEach(({ task }) => {
  if (task.result?.state !== 'fail') return;
  for (const { root } of Machine.alive) {
    const log = join(root, 'data/log/supervisor.log');
    if (existsSync(log)) process.stderr.write(`--- ${log}\n${readFileSync(log, 'utf8')}`);
  }
});
