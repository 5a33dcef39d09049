import { defineConfig } from 'vitest/config';

// Tests with a real browser and a real ds; `cargo xtask test --suite web` prepares what they need.
export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    setupFiles: ['tests/explain.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Each file has machines of its own.
    maxWorkers: 2,
    minWorkers: 1,
    retry: 0,
    expect: { poll: { timeout: 30_000 } },
  },
});
