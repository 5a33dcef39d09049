import { defineConfig } from 'vite';

// The page is opened from a module's directory, below any path; file names carry hashes, because hosts cache for a day.
export default defineConfig({
  base: './',
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
