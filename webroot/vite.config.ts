import { readFileSync } from 'node:fs';
import { defineConfig } from 'vite';

const manifest = readFileSync(new URL('../Cargo.toml', import.meta.url), 'utf8');
const version = /^version = "([^"]+)"/m.exec(manifest)?.[1] ?? '';

// The page is opened from a module's directory, below any path; file names carry hashes, because hosts cache for a day.
export default defineConfig({
  base: './',
  define: { __DS_VERSION__: JSON.stringify(version) },
  build: {
    target: 'chrome80',
    outDir: process.env.DS_PAGE ?? '../target/webroot',
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    assetsInlineLimit: 0,
  },
  esbuild: { legalComments: 'none' },
});
